"""Reconnection policies: how long to wait before each attempt to reach a host again.

Layer: model. Schedules are drawn from by the host's supervisor, in its greenlet.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import repeat

__all__ = ["ConstantReconnectionPolicy", "ExponentialReconnectionPolicy", "ReconnectionPolicy"]


class ReconnectionPolicy:
    """Gives schedules of delays (`cassandra.policies.ReconnectionPolicy`): a base for applications' own."""

    def new_schedule(self) -> Iterable[float]:
        """The delays in seconds before one attempt and the next, finite or not."""
        raise NotImplementedError


class ConstantReconnectionPolicy(ReconnectionPolicy):
    """The same delay each time.

    `delay` is in seconds; `max_attempts` is the length of a schedule, endless if None or 0. ValueError if negative.
    """

    def __init__(self, delay: float, max_attempts: int | None = 64) -> None:
        if delay < 0:
            raise ValueError(f"delay must not be negative: {delay}")
        _check_attempts(max_attempts)
        self.delay = delay
        self.max_attempts = max_attempts

    def new_schedule(self) -> Iterable[float]:
        """The delay, `max_attempts` times."""
        return repeat(self.delay, self.max_attempts) if self.max_attempts else repeat(self.delay)


class ExponentialReconnectionPolicy(ReconnectionPolicy):
    """Delays whose bound doubles each time, from `base_delay` to at most `max_delay` seconds, with full jitter.

    Each delay is drawn evenly from zero to the bound. cassandra-driver only strays 15 % from the bound itself, so that
    the many clients of a node that restarts come back in waves; spread evenly they do not.

    `max_attempts` is the length of a schedule, endless if None. ValueError for what is negative, or a maximum below
    the base.
    """

    def __init__(self, base_delay: float, max_delay: float, max_attempts: int | None = 64) -> None:
        if base_delay < 0 or max_delay < 0:
            raise ValueError(f"delays must not be negative: {base_delay}, {max_delay}")
        if max_delay < base_delay:
            raise ValueError(f"max_delay must not be below base_delay: {max_delay} < {base_delay}")
        _check_attempts(max_attempts)
        self.base_delay = base_delay
        self.max_delay = max_delay
        self.max_attempts = max_attempts

    def new_schedule(self) -> Iterator[float]:
        """The delays of one run of attempts."""
        bound = self.base_delay
        for _ in repeat(None) if self.max_attempts is None else repeat(None, self.max_attempts):
            yield random.uniform(0, bound)
            bound = min(bound * 2, self.max_delay)


def _check_attempts(max_attempts: int | None) -> None:
    if max_attempts is not None and max_attempts < 0:
        raise ValueError(f"max_attempts must not be negative: {max_attempts}")
