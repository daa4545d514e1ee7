"""Execution profiles (layer: driver): how a request is executed, apart from what it says.

Pure data and a registry; any greenlet may use them. A profile that changes tells the Sessions that use it, which then
resolve their statements anew.
"""

from __future__ import annotations

import copy
from collections import UserDict
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from geventcql.policies import (
    LoadBalancingPolicy,
    NoSpeculativeExecutionPolicy,
    RetryPolicy,
    SpeculativeExecutionPolicy,
    default_lbp_factory,
)
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.rows import named_tuple_factory

__all__ = ["EXEC_PROFILE_DEFAULT", "NOT_SET", "ExecutionProfile", "ProfileManager", "default_lbp_factory", "refuse_classes"]


class _NotSet:
    def __repr__(self) -> str:
        return "<NOT_SET>"


NOT_SET: Any = _NotSet()
"""Tells an argument that was left out from None, which often means "no limit"."""


class _DefaultProfile:
    def __repr__(self) -> str:
        return "EXEC_PROFILE_DEFAULT"


EXEC_PROFILE_DEFAULT: Any = _DefaultProfile()
"""The key of the profile that requests have unless they name another."""


def refuse_classes(**given: Any) -> None:
    """Refuse classes where their instances are wanted.

    :raises TypeError: one of them is a class
    """
    for name, value in given.items():
        if isinstance(value, type):
            raise TypeError(f"{name} should not be a class, it should be an instance of that class")


class ExecutionProfile:
    """How requests are executed (``cassandra.cluster.ExecutionProfile``).

    :param load_balancing_policy: chooses the hosts; :func:`default_lbp_factory` if left out
    :param retry_policy: what to do about server errors
    :param consistency_level: of statements that have none of their own; LOCAL_ONE if left out
    :param serial_consistency_level: SERIAL or LOCAL_SERIAL for conditional statements; None leaves it to the server
    :param request_timeout: seconds; None for no limit
    :param row_factory: what rows become; :func:`~geventcql.query.named_tuple_factory` by default
    :param speculative_execution_policy: when to try another host as well; never by default
    :param continuous_paging_options: DSE only; not supported
    :param attempt_timeout: seconds after which an idempotent request that a host has not answered is sent to another one, if
        there is one that can take it, and the first attempt is given up; None for never
    """

    load_balancing_policy: LoadBalancingPolicy
    retry_policy: RetryPolicy
    consistency_level: int
    serial_consistency_level: int | None
    request_timeout: float | None
    row_factory: Callable[..., Any]
    speculative_execution_policy: SpeculativeExecutionPolicy
    continuous_paging_options: Any
    attempt_timeout: float | None
    _of_driver = False
    """Made by the driver for a question of its own, whatever the application uses."""

    def __init__(
        self,
        load_balancing_policy: Any = NOT_SET,
        retry_policy: RetryPolicy | None = None,
        consistency_level: Any = NOT_SET,
        serial_consistency_level: int | None = None,
        request_timeout: float | None = 10.0,
        row_factory: Callable[..., Any] = named_tuple_factory,
        speculative_execution_policy: SpeculativeExecutionPolicy | None = None,
        continuous_paging_options: Any = None,
        *,
        attempt_timeout: float | None = None,
    ) -> None:
        if continuous_paging_options is not None:
            raise ValueError("continuous paging is a feature of DSE that geventcql does not have; use automatic paging")
        if serial_consistency_level is not None and not ConsistencyLevel.is_serial(serial_consistency_level):
            raise ValueError("serial_consistency_level must be ConsistencyLevel.SERIAL or LOCAL_SERIAL")
        refuse_classes(
            load_balancing_policy=load_balancing_policy,
            retry_policy=retry_policy,
            speculative_execution_policy=speculative_execution_policy,
        )
        self._users: WeakSet[Any] = WeakSet()
        self._former_policies: list[Any] = []
        """Those that were in use until the present one knows the hosts: the connections they want are kept as long."""
        self.load_balancing_policy = default_lbp_factory() if load_balancing_policy is NOT_SET else load_balancing_policy
        self.retry_policy = retry_policy or RetryPolicy()
        self.consistency_level = ConsistencyLevel.LOCAL_ONE if consistency_level is NOT_SET else consistency_level
        self.serial_consistency_level = serial_consistency_level
        self.request_timeout = request_timeout
        self.row_factory = row_factory
        self.speculative_execution_policy = speculative_execution_policy or NoSpeculativeExecutionPolicy()
        self.continuous_paging_options = continuous_paging_options
        self.attempt_timeout = attempt_timeout

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "attempt_timeout" and value is not None and value <= 0:
            raise ValueError(f"attempt_timeout must be positive, or None for never, not {value}")
        if name == "load_balancing_policy":
            self._former_policies.append(self.__dict__.get(name))
        object.__setattr__(self, name, value)
        self._changed()

    def _changed(self) -> None:
        """What Sessions have kept of it counts no more."""
        for session in self.__dict__.get("_users", ()):
            session._reshape()

    def clone(self, **changes: Any) -> ExecutionProfile:
        """A copy with some attributes changed.

        :raises AttributeError: there is no such attribute
        """
        other = copy.copy(self)
        other.__dict__.update(_users=WeakSet(), _former_policies=[])
        for name, value in changes.items():
            if not hasattr(other, name) or name.startswith("_"):
                raise AttributeError(f"an execution profile has no attribute {name!r}")
            setattr(other, name, value)
        return other


class _Profiles(UserDict[Any, ExecutionProfile]):
    """The profiles by name. Sessions keep what requests with a profile are made of, also when another one takes its place."""

    def __setitem__(self, name: Any, profile: ExecutionProfile) -> None:
        former = self.data.get(name)
        super().__setitem__(name, profile)
        if former is not None:
            former._changed()


class ProfileManager:
    """The execution profiles of a Cluster by name; :data:`EXEC_PROFILE_DEFAULT` is always among them."""

    def __init__(self, profiles: dict[Any, ExecutionProfile] | None = None) -> None:
        self.profiles = _Profiles(profiles or {})
        for name, profile in self.profiles.items():
            if not isinstance(profile, ExecutionProfile):
                raise TypeError(f"execution profile {name!r} must be an ExecutionProfile, not {profile!r}")
        self.profiles.setdefault(EXEC_PROFILE_DEFAULT, ExecutionProfile())

    @property
    def default(self) -> ExecutionProfile:
        """The profile of requests that name none."""
        return self.profiles[EXEC_PROFILE_DEFAULT]

    def get(self, name: Any) -> ExecutionProfile:
        """The profile called ``name``; a profile itself is given back as it is.

        :raises ValueError: there is none of that name
        """
        if isinstance(name, ExecutionProfile):
            return name
        try:
            return self.profiles[name]
        except KeyError:
            known = ", ".join(sorted(str(n) for n in self.profiles))
            raise ValueError(f"there is no execution profile {name!r}; there are: {known}") from None

    def add(self, name: Any, profile: ExecutionProfile) -> None:
        """Register another profile.

        :raises TypeError: it is no ExecutionProfile
        :raises ValueError: the name is taken
        """
        if not isinstance(profile, ExecutionProfile):
            raise TypeError(f"execution profile {name!r} must be an ExecutionProfile, not {profile!r}")
        if name in self.profiles:
            raise ValueError(f"there is an execution profile {name!r} already")
        self.profiles[name] = profile

    def policies(self) -> list[LoadBalancingPolicy]:
        """The load-balancing policies of all profiles, each once."""
        return list({id(p.load_balancing_policy): p.load_balancing_policy for p in self.profiles.values()}.values())
