"""What a Session may be told about how requests are executed (layer: driver). Nothing in here waits or switches."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from geventcql.profiles import NOT_SET, ExecutionProfile
from geventcql.protocol.handler import ProtocolHandler
from geventcql.query import PreparedStatement

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

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
    """A setting that a Session takes from the default profile until it is given a value of its own."""

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
        session.__dict__[self._own] = value


class _Remembered:
    """The prepared statements that keep what they were resolved into under a Session's present settings."""

    def __init__(self) -> None:
        self.shape = object()
        """Stands for the settings, as a key; another one as soon as any of them changes."""
        self.statements: WeakSet[PreparedStatement] = WeakSet()

    def forget(self) -> None:
        """Those settings, or the whole Session, are gone; the statements live on."""
        for prepared in self.statements:
            prepared._templates.pop(self.shape, None)
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
    client_protocol_handler: ProtocolHandler | None = None
    use_client_timestamp = True
    def __init__(self, cluster: Cluster) -> None:
        self._remembered = _Remembered()
        self._shape = self._remembered.shape
        weakref.finalize(self, self._remembered.forget).atexit = False
        self.cluster = cluster
        self.timestamp_generator: Callable[[], int] = cluster.timestamp_generator

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in _SETTINGS:
            self._reshape()

    def _reshape(self) -> None:
        self._remembered.forget()
        self._shape = self._remembered.shape

    def _profile(self, name: Any) -> ExecutionProfile:
        profile = self.cluster.profile_manager.get(name)
        profile._users.add(self)
        policy, profiles = profile.load_balancing_policy, self.cluster.profile_manager
        if not profiles.is_populated(policy):  # of a profile that was never added, or set later
            profiles.introduce(policy, self.cluster, self.cluster.metadata.all_hosts())
            self.cluster._registry.open_pools(None)  # on hosts that only this one uses
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
