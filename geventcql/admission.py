"""Requests that wait for room (layer: driver): a Session's bounded queue, without a greenlet for any of them.

Requests that wait for the same hosts form a queue; a freed stream id or a drained socket admits whoever has waited longest
among the heads of the queues that have room, so that one mute host holds up nobody who waits for another. Runs in readers,
in the hub and in callers; nothing in here switches or runs user code.
"""

from __future__ import annotations

import itertools
from collections import deque
from time import monotonic
from typing import Any

from geventcql.errors import Busy
from geventcql.net.pool import HostPool
from geventcql.net.scheduler import Scheduler, Timer

__all__ = ["Admission", "admit"]

NEVER = float("inf")
# Deadlines of waiting requests are looked at in passes no closer than this, seconds.
GRAIN = 0.005
# Below this many requests that were cancelled while they waited, the queues are not looked through for them.
FORGET_FLOOR = 64

Hosts = frozenset[HostPool]
Entry = tuple[int, Any, list[HostPool]]
"""The number of its arrival, the request, and the pools it may use, best first."""

arrivals = itertools.count()
"""Of all Sessions: room goes to whoever has waited longest, whatever Session he waits in."""


def admit(waiting: set[Admission]) -> None:
    """Send the requests that have waited longest, as far as there is room.

    :param waiting: those of a Cluster's Admissions that have any
    """
    queues = {(admission, hosts): queue for admission in waiting for hosts, queue in admission._queues.items()}
    while queues:
        key = min(queues, key=lambda waiting: queues[waiting][0][0])
        admission, hosts = key
        queue = queues[key]
        if not admission._admit(*queue[0]):
            del queues[key]
            continue
        queue.popleft()
        if not queue:
            del queues[key], admission._queues[hosts]
            admission._left()


class Admission:
    """The waiting requests of one Session.

    :param limit: how many may wait; one more is refused
    :param waiting: it is in this set of the Cluster's while requests wait, which keeps it and its Session alive
    """

    def __init__(self, scheduler: Scheduler, limit: int, waiting: set[Admission]) -> None:
        self.limit = limit
        self._waiting = waiting
        self._scheduler = scheduler
        self._queues: dict[Hosts, deque[Entry]] = {}
        self._cancelled = 0
        self._timer: Timer | None = None
        self._armed = NEVER

    def __len__(self) -> int:
        return sum(map(len, self._queues.values())) - self._cancelled

    def wait(self, execution: Any, pools: list[HostPool]) -> None:
        """Let a request wait until one of ``pools`` has room, or its deadline comes.

        :raises Busy: too many are waiting already
        """
        waiting = len(self)
        if waiting >= self.limit:
            raise Busy(waiting, sum(pool.in_flight for pool in pools))
        execution.waiting = True
        self._waiting.add(self)
        self._queues.setdefault(frozenset(pools), deque()).append((next(arrivals), execution, pools))
        if execution.deadline < self._armed:
            self._arm(execution.deadline)

    def _admit(self, number: int, execution: Any, pools: list[HostPool]) -> bool:
        """Send a request that waited; False if there is still no room for it."""
        if execution.done:
            self._cancelled -= 1
            return True
        try:
            for pool in pools:
                connection = pool.pick()
                if connection is not None and execution.send_on(connection, pool.host):
                    execution.waiting = False
                    return True
        except Exception as error:  # it cannot be sent at all: its own error, not the connection's
            execution._fail(error)
            return True
        return False

    def cancelled(self) -> None:
        """A waiting request was ended by whoever waited for it."""
        self._cancelled += 1
        if self._cancelled > max(FORGET_FLOOR, len(self)):
            self._keep(lambda execution: True)

    def give_up(self) -> None:
        """A host could not be reached: whoever waits for such hosts only is told so."""
        for hosts in [h for h in self._queues if not any(pool.connections or pool.opening for pool in h)]:
            for _, execution, pools in self._queues.pop(hosts):
                if execution.done:
                    self._cancelled -= 1
                else:
                    execution.unreachable(pools)
        self._left()

    def _left(self) -> None:
        if not self._queues:
            self._waiting.discard(self)

    def fail_all(self, error_for: Any) -> None:
        """The Session ends: ``error_for(execution)`` gives each request's error."""
        queues, self._queues = self._queues, {}
        self._left()
        self._cancelled = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for queue in queues.values():
            for _, execution, _ in queue:
                execution._fail(error_for(execution))

    def _keep(self, wanted: Any) -> None:
        """Drop the requests that have ended, and those that ``wanted(execution)`` is false for."""
        queues = {
            hosts: deque(entry for entry in queue if not entry[1].done and wanted(entry[1]))
            for hosts, queue in self._queues.items()
        }
        self._queues = {hosts: queue for hosts, queue in queues.items() if queue}
        self._left()
        self._cancelled = 0

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self._scheduler.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._armed = NEVER
        now = monotonic()
        due: list[Any] = []
        earliest = NEVER

        def wanted(execution: Any) -> bool:
            nonlocal earliest
            if execution.deadline <= now:
                due.append(execution)
                return False
            earliest = min(earliest, execution.deadline)
            return True

        self._keep(wanted)
        if earliest < NEVER:
            self._arm(max(earliest, now + GRAIN))
        for execution in due:
            execution.expire()
