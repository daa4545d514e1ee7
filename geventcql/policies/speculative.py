"""Speculative execution: when to send an idempotent request to a further host without giving up on the first.

Layer: model. Plans are asked in the greenlet that owns the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geventcql.host import Host

__all__ = [
    "ConstantSpeculativeExecutionPolicy",
    "NoSpeculativeExecutionPlan",
    "NoSpeculativeExecutionPolicy",
    "SpeculativeExecutionPlan",
    "SpeculativeExecutionPolicy",
]


class SpeculativeExecutionPlan:
    """The plan for one request: a base for applications' own."""

    def next_execution(self, host: Host | None) -> float:
        """Seconds to wait for `host`, which was asked last, before asking another; negative: ask no further one."""
        raise NotImplementedError


class SpeculativeExecutionPolicy:
    """Gives each idempotent request its plan (`cassandra.policies.SpeculativeExecutionPolicy`): a base."""

    def new_plan(self, keyspace: str | None, statement: Any) -> SpeculativeExecutionPlan:
        """A new plan for a request of this statement."""
        raise NotImplementedError


class NoSpeculativeExecutionPlan(SpeculativeExecutionPlan):
    """Asks no further host."""

    def next_execution(self, host: Host | None) -> float:
        """-1."""
        return -1


class NoSpeculativeExecutionPolicy(SpeculativeExecutionPolicy):
    """No speculation: the default."""

    def new_plan(self, keyspace: str | None, statement: Any) -> SpeculativeExecutionPlan:
        """A plan without further executions."""
        return NoSpeculativeExecutionPlan()


class ConstantSpeculativeExecutionPolicy(SpeculativeExecutionPolicy):
    """A further execution every `delay` seconds, at most `max_attempts` of them besides the first."""

    class ConstantSpeculativeExecutionPlan(SpeculativeExecutionPlan):
        """Counts down the executions that are left."""

        def __init__(self, delay: float, max_attempts: int) -> None:
            self.delay = delay
            self.remaining = max_attempts

        def next_execution(self, host: Host | None) -> float:
            """The delay, or -1 once all are spent."""
            if self.remaining <= 0:
                return -1
            self.remaining -= 1
            return self.delay

    def __init__(self, delay: float, max_attempts: int) -> None:
        self.delay = delay
        self.max_attempts = max_attempts

    def new_plan(self, keyspace: str | None, statement: Any) -> SpeculativeExecutionPlan:
        """A plan with `max_attempts` executions."""
        return self.ConstantSpeculativeExecutionPlan(self.delay, self.max_attempts)
