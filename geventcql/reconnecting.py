"""When connections are opened again (layer: driver): the reconnection policy's pauses, and a rate that nobody exceeds.

Nothing in here waits or switches; supervisors and the control connection's greenlet ask, and wait themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["Backoff", "OpeningRate"]

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Between attempts to reach a host, seconds, where the reconnection policy gives none."""
LONGEST_PAUSE = 3600.0
"""Seconds; what a policy says beyond that is as good as never, and no host is given up."""
SHORTEST_PAUSE = 0.01
"""Seconds; attempts that are refused at once must not follow one another faster, whatever the policy says."""
STABLE = 1.0
"""Seconds that the latest connection must have lasted for a loss to say nothing about the next one."""


class OpeningRate:
    """How fast connections that were lost are opened again: per end point and in all.

    A first connection is the application's own doing and passes freely. What a restarted node, or one behind a broken
    switch, would see of many pools and Clusters of a process at once is what this bounds.

    :param per_endpoint: connections a second to one end point; as many at once
    :param total: connections a second in all; as many at once
    """

    def __init__(self, per_endpoint: float = 10.0, total: float = 100.0) -> None:
        self._per_endpoint = per_endpoint
        self._total = total
        self._free: dict[Any, float] = {}
        """By end point (None: in all), when those that were reserved will have been made up for, monotonic seconds."""

    def reserve(self, endpoint: Any) -> float:
        """Take the next turn to open a connection to ``endpoint``; how many seconds to wait for it."""
        now = monotonic()
        if len(self._free) > 1000:
            self._free = {key: free for key, free in tuple(self._free.items()) if free > now}
        return max(self._take(endpoint, self._per_endpoint, now), self._take(None, self._total, now))

    def _take(self, key: Any, rate: float, now: float) -> float:
        free = max(now, self._free.get(key, 0.0))
        self._free[key] = free + 1 / rate
        return max(0.0, free + 1 / rate - now - 1)  # what one second allows may come at once


RATE = OpeningRate()
"""Of the process."""


class Backoff:
    """When to open a connection: at once, or after the reconnection policy's pauses if the last came to nothing."""

    def __init__(self, cluster: Cluster) -> None:
        self.due = 0.0
        """Monotonic seconds; in the past: at once."""
        self.again = False
        """Whether the next connection takes the place of one that was lost or could not be opened."""
        self._cluster = cluster
        self._pauses: Iterator[float] | None = None
        self._opened = 0.0
        self._early_losses = 0
        self._has_word = False
        """Whether there has been word since the last attempt began, whose failure then says nothing of now."""
        self._is_fresh = False
        """Whether nothing has been lost since a connection was opened: those that are lost together count once."""

    def begin(self) -> None:
        """An attempt begins."""
        self._has_word = False

    def opened(self) -> None:
        """A connection was opened; whether the host keeps it is to be seen."""
        self._opened = monotonic()
        self._is_fresh = True

    def lost(self) -> None:
        """A connection was lost; in readers and in the hub."""
        self.again = True
        if monotonic() - self._opened < STABLE:
            self._early_losses += self._is_fresh
            self._is_fresh = False
        else:
            self._early_losses = 0
            self.begin_anew()

    def failed(self) -> None:
        """No connection could be opened."""
        self.again = True
        if self._has_word:
            return
        if self._pauses is None:
            self._pauses = self._schedule()
        try:
            self.due = monotonic() + next(self._pauses)
        except BaseException:  # a kill or an interrupt has ended the generator
            self._pauses = None
            raise

    def hurry(self) -> None:
        """There is word that the host is up, or may let us in: try at once, and with the shortest pauses from then on."""
        self.begin_anew()
        self._has_word = True

    def begin_anew(self) -> None:
        """Try at once, with the shortest pauses from then on; an attempt that is under way counts all the same."""
        self.due = 0.0
        self._pauses = None

    def is_due(self) -> bool:
        """Whether to try now. A host that takes connections only to drop them is left alone as one that takes none."""
        if self._early_losses > 1:
            self._early_losses = 1
            self.failed()
        return self.due <= monotonic()

    def _schedule(self) -> Iterator[float]:
        """What the reconnection policy says, seconds; a policy that ends or fails must not lose the host."""
        while True:
            given = False
            try:
                for pause in self._cluster.reconnection_policy.new_schedule():
                    seconds = min(max(SHORTEST_PAUSE, float(pause)), LONGEST_PAUSE)
                    given = True
                    yield seconds
            except (Exception, gevent.Timeout):
                log.exception("%r failed", self._cluster.reconnection_policy)
            if not given:
                yield PAUSE
