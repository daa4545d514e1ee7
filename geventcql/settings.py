"""What a Session may be told about how requests are executed (layer: driver). Nothing in here waits or switches."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from geventcql.execution import Execution
from geventcql.profiles import EXEC_PROFILE_DEFAULT, NOT_SET, ExecutionProfile
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.protocol.handler import ProtocolHandler
from geventcql.query import PreparedStatement
from geventcql.throttle import Throttle, ThrottledExecution

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.resolve import Resolved

__all__ = ["SessionSettings"]

# Statements that were resolved before one of these was set are resolved anew.
_SETTINGS = frozenset(
    [
        "client_protocol_handler",
        "default_consistency_level",
        "default_fetch_size",
        "default_serial_consistency_level",
        "default_timeout",
        "keyspace",
        "row_factory",
        "timestamp_generator",
        "use_client_timestamp",
    ]
)


class _OfDefaultProfile:
    """A setting that a Session takes from the default profile until it is given a value of its own, which cannot be mixed
    with profiles of the application's.
    """

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute

    def __set_name__(self, owner: type, name: str) -> None:
        self._own = f"_own_{name}"

    def __get__(self, session: Any, owner: type | None = None) -> Any:
        if session is None:
            return self
        own = session.__dict__.get(self._own, NOT_SET)
        return getattr(session.cluster.profile_manager.default, self._attribute) if own is NOT_SET else own

    def __set__(self, session: Any, value: Any) -> None:
        name = self._own.removeprefix("_own_")
        if session.cluster._has_profiles:
            raise ValueError(f"Session.{name} cannot be set on a Cluster that has execution profiles: set it in a profile")
        if self._attribute == "serial_consistency_level" and value is not None and not ConsistencyLevel.is_serial(value):
            raise ValueError(f"{name} must be ConsistencyLevel.SERIAL or LOCAL_SERIAL, not {value!r}")
        session.__dict__[self._own] = value
        session.cluster._legacy = True


class _Handler:
    """An instance of ProtocolHandler, or None; set to a class as in cassandra-driver, it is one of that class."""

    def __get__(self, session: Any, owner: type | None = None) -> ProtocolHandler | None:
        return None if session is None else session.__dict__.get("_handler")

    def __set__(self, session: Any, value: ProtocolHandler | type[ProtocolHandler] | None) -> None:
        session.__dict__["_handler"] = value() if isinstance(value, type) else value


class _Remembered:
    """The prepared statements that keep what they were resolved into under a Session's present settings."""

    def __init__(self) -> None:
        self.shape = object()
        """Stands for the settings, as a key; another one as soon as any of them changes."""
        self.statements: WeakSet[PreparedStatement] = WeakSet()

    def variants(self, prepared: PreparedStatement) -> dict[Any, Resolved]:
        """What is kept of a prepared statement by profile and options."""
        kept: dict[Any, Resolved] | None = prepared._variants.get(self.shape)
        if kept is None:
            kept = prepared._variants[self.shape] = {}
            self.statements.add(prepared)
        return kept

    def forget(self) -> None:
        """Those settings, or the whole Session, are gone; the statements live on."""
        for prepared in self.statements:
            prepared._templates.pop(self.shape, None)
            prepared._variants.pop(self.shape, None)
        self.statements.clear()
        self.shape = object()


class SessionSettings:
    """The settings of a Session, and what has been resolved under them."""

    keyspace: str | None = None
    default_fetch_size: int | None = 5000
    default_timeout = _OfDefaultProfile("request_timeout")
    default_consistency_level = _OfDefaultProfile("consistency_level")
    default_serial_consistency_level = _OfDefaultProfile("serial_consistency_level")
    row_factory = _OfDefaultProfile("row_factory")
    client_protocol_handler = _Handler()
    use_client_timestamp = True
    _throttle: Throttle | None = None
    _execution_class: type[Execution]
    """What requests of the application's are made of: without a limit none of them knows that there could be one."""

    def __init__(self, cluster: Cluster) -> None:
        self._remembered = _Remembered()
        self._shape = self._remembered.shape
        weakref.finalize(self, self._remembered.forget).atexit = False  # what that holds lives as long as the Session
        self._simple: dict[Any, Resolved] = {}
        self.cluster = cluster
        self.timestamp_generator: Callable[[], int] = cluster.timestamp_generator

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in _SETTINGS:
            self._reshape()

    @property
    def max_requests_per_second(self) -> float | None:
        """How many requests are started in a second, all greenlets' together; None for no limit. May be set at any time.

        Counted are those that the application makes (``execute``, ``execute_async`` and what is built on them), and each
        further page of a result; not what the driver does with them or for itself: retries, speculative attempts, PREPARE,
        its control connection.
        Those that come faster wait in order of arrival, within their timeouts; ``max_requests_waiting`` of them at most, then
        ``Busy`` is raised. After a pause up to a twentieth of a second's requests start at once.

        :raises ValueError: set to what is no positive number
        """
        return None if self._throttle is None else self._throttle.rate

    @max_requests_per_second.setter
    def max_requests_per_second(self, rate: float | None) -> None:
        if self._throttle is not None:
            self.cluster._check_thread()
            self._throttle.rate = rate
        elif rate is not None:
            self._throttle = Throttle(self, rate)  # type: ignore[arg-type]
        self._execution_class = Execution if rate is None else ThrottledExecution

    def _reshape(self) -> None:
        self._remembered.forget()
        self._shape = self._remembered.shape
        self._simple = {}

    def _variants(self, prepared: PreparedStatement | None) -> dict[Any, Resolved]:
        """What is kept by profile and options: of a prepared statement, or of all simple ones."""
        return self._simple if prepared is None else self._remembered.variants(prepared)

    def _profile(self, name: Any) -> ExecutionProfile:
        profile = self.cluster.profile_manager.get(name)
        if self.cluster._legacy and name is not EXEC_PROFILE_DEFAULT and not profile._of_driver:
            raise ValueError("an execution profile cannot be named beside settings of the Session or policies of the Cluster")
        profile._users.add(self)
        policy, introductions = profile.load_balancing_policy, self.cluster._registry.introductions
        if not introductions.knows(policy):  # of a profile that was never added, or set later
            introductions.introduce(policy, self._timeout(profile))
            profile._former_policies.clear()
        return profile

    def _is_default(self, profile: ExecutionProfile) -> bool:
        return profile is self.cluster.profile_manager.default

    # What the Session says counts for the default profile only.

    def _timeout(self, profile: ExecutionProfile) -> float | None:
        timeout: float | None = self.default_timeout if self._is_default(profile) else profile.request_timeout
        return timeout

    def _consistency(self, profile: ExecutionProfile) -> int:
        level: int = self.default_consistency_level if self._is_default(profile) else profile.consistency_level
        return level

    def _serial_consistency(self, profile: ExecutionProfile) -> int | None:
        default = self._is_default(profile)
        level: int | None = self.default_serial_consistency_level if default else profile.serial_consistency_level
        return level

    def _row_factory(self, profile: ExecutionProfile) -> Callable[..., Any]:
        factory: Callable[..., Any] = self.row_factory if self._is_default(profile) else profile.row_factory
        return factory

    def _timestamp(self) -> int:
        return self.timestamp_generator()

    def get_execution_profile(self, name: Any) -> ExecutionProfile:
        """The execution profile of that name.

        :raises ValueError: there is none
        """
        return self.cluster.profile_manager.get(name)

    def execution_profile_clone_update(self, ep: Any, **kwargs: Any) -> ExecutionProfile:
        """A copy of the profile (or of the one named) ``ep`` with some attributes changed."""
        return self.get_execution_profile(ep).clone(**kwargs)
