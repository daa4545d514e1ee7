"""Requests that wait for room (layer: driver): a Session's bounded FIFO, without a greenlet for any of them.

A freed stream id or a drained socket admits the oldest request that may use it. Runs in readers, in the hub and in
callers; nothing in here switches or runs user code.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any

from geventcql.errors import Busy
from geventcql.net.pool import HostPool
from geventcql.net.scheduler import Scheduler, Timer

__all__ = ["Admission"]

NEVER = float("inf")
# Deadlines of waiting requests are looked at in passes no closer than this, seconds.
GRAIN = 0.005


class Admission:
    """The waiting requests of one Session.

    :param limit: how many may wait; one more is refused
    """

    def __init__(self, scheduler: Scheduler, limit: int) -> None:
        self.limit = limit
        self._scheduler = scheduler
        self._waiting: deque[tuple[Any, list[HostPool]]] = deque()
        self._timer: Timer | None = None
        self._armed = NEVER

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, execution: Any, pools: list[HostPool]) -> None:
        """Let a request wait until one of ``pools`` has room, or its deadline comes.

        :raises Busy: too many are waiting already
        """
        if len(self._waiting) >= self.limit:
            raise Busy(len(self._waiting), sum(pool.in_flight for pool in pools))
        execution.connection = None
        self._waiting.append((execution, pools))
        if execution.deadline < self._armed:
            self._arm(execution.deadline)

    def admit(self) -> None:
        """Send the oldest requests as far as there is room."""
        waiting = self._waiting
        stuck: list[tuple[Any, list[HostPool]]] = []
        while waiting:
            execution, pools = entry = waiting[0]
            if execution.done:
                waiting.popleft()
                continue
            sent = False
            for pool in pools:
                connection = pool.pick()
                if connection is not None and execution.send_on(connection, pool.host):
                    sent = True
                    break
            if not sent:
                # Others behind it may wait for other hosts; but not all of a long queue is looked at for each reply.
                if len(stuck) >= 8:
                    break
                stuck.append(entry)
            waiting.popleft()
        waiting.extendleft(reversed(stuck))

    def fail_all(self, error_for: Any) -> None:
        """The Session ends: ``error_for(execution)`` gives each request's error."""
        waiting, self._waiting = self._waiting, deque()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for execution, _ in waiting:
            execution._fail(error_for(execution))

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self._scheduler.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._armed = NEVER
        now = monotonic()
        kept: deque[tuple[Any, list[HostPool]]] = deque()
        earliest = NEVER
        due = []
        for entry in self._waiting:
            execution = entry[0]
            if execution.done:
                continue
            if execution.deadline <= now:
                due.append(execution)
            else:
                earliest = min(earliest, execution.deadline)
                kept.append(entry)
        self._waiting = kept
        if earliest < NEVER:
            self._arm(max(earliest, now + GRAIN))
        for execution in due:
            execution.expire()
