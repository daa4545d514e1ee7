"""Speculative execution: when to send an idempotent request to a further host without giving up on the first.

Layer: model. Plans are asked in the greenlet that owns the request.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geventcql.host import Host

__all__ = [
    "ConstantSpeculativeExecutionPolicy",
    "LatencySample",
    "NoSpeculativeExecutionPlan",
    "NoSpeculativeExecutionPolicy",
    "PercentileSpeculativeExecutionPolicy",
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


class LatencySample:
    """The latest latencies, and what share of them was how long. Filled by the driver where answers come in; cheap."""

    SIZE = 1000
    """How many are kept."""
    RENEWED = 100
    """So many new ones make a percentile be worked out anew."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=self.SIZE)
        self._sorted: list[float] = []
        self._new = 0

    def add(self, seconds: float) -> None:
        """Another one; must not switch."""
        self._latest.append(seconds)
        self._new += 1

    def __len__(self) -> int:
        return len(self._latest)

    def percentile(self, percent: float) -> float:
        """The seconds that at least `percent` per cent of them did not exceed; ValueError if there are none."""
        if self._new >= self.RENEWED or not self._sorted:
            self._sorted = sorted(self._latest)
            self._new = 0
        if not self._sorted:
            raise ValueError("no latency has been measured yet")
        return self._sorted[max(0, math.ceil(len(self._sorted) * percent / 100) - 1)]


class PercentileSpeculativeExecutionPolicy(SpeculativeExecutionPolicy):
    """A further execution as soon as a request has taken longer than `percentile` per cent of the latest ones, and again
    after each such time, at most `max_attempts` of them besides the first. cassandra-driver has no such policy; that of
    the DataStax Java drivers is alike.

    The latencies are those of the requests that the policy is asked about, over all hosts, as `latencies`; no further
    execution is made before there are `min_samples` of them. One policy may serve several profiles. ValueError for a
    percentile that is not between 0 and 100.
    """

    def __init__(self, percentile: float = 99.0, max_attempts: int = 1, min_samples: int = 100) -> None:
        if not 0 < percentile < 100:
            raise ValueError(f"percentile must be between 0 and 100: {percentile}")
        self.percentile = percentile
        self.max_attempts = max_attempts
        self.min_samples = max(1, min_samples)
        self.latencies = LatencySample()

    def new_plan(self, keyspace: str | None, statement: Any) -> SpeculativeExecutionPlan:
        """A plan with `max_attempts` executions, or with none while too little has been measured."""
        if len(self.latencies) < self.min_samples:
            return NoSpeculativeExecutionPlan()
        delay = self.latencies.percentile(self.percentile)
        return ConstantSpeculativeExecutionPolicy.ConstantSpeculativeExecutionPlan(delay, self.max_attempts)
