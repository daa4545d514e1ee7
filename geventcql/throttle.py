"""A limit on how many requests a Session starts in a second (layer: driver): a token bucket with a queue.

Requests that come faster wait their turn without a greenlet for any of them; the scheduler starts them, in order of arrival.
Runs in callers and in the hub; nothing in here switches or runs user code: what a policy has to be asked for goes on in
a greenlet of the request's own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from geventcql.admission import FORGET_FLOOR, NEVER, Deadlines, arrivals
from geventcql.errors import Busy
from geventcql.execution import Execution
from geventcql.net.scheduler import MAX_TURN_ENDED, Timer

if TYPE_CHECKING:
    from geventcql.session import Session

__all__ = ["Throttle", "ThrottledExecution"]

BURST = 0.05
"""Seconds; so much of a second's requests may start at once behind a pause, or after the hub was busy."""
GRAIN = 0.001
"""Seconds between one pass over those who wait and the next, at least."""


class ThrottledExecution(Execution):
    """A request of a Session with a limit: it starts when its turn has come."""

    def start(self, sink: Any) -> None:
        throttle = self.session._throttle
        if throttle.admits():
            super().start(sink)
            return
        self.sink = sink
        try:
            throttle.wait(self)
        except BaseException as error:
            self.abandon(error)
            raise

    def proceed(self) -> None:
        """Its turn has come; in the hub, where no policy may be asked."""
        if self._over():
            return
        resolved = self.resolved
        if resolved.watch is not None and self.only_host is None:
            self._decide(self._watch)
            return
        try:
            if resolved.plain_policy and resolved.watch is None and self.only_host is None:
                pool = self.session._router.route(resolved).first(resolved.encoder, self.values)
                if pool is not None and self.try_pool(pool):
                    return
        except Exception as error:  # it cannot be sent at all
            self._fail(error)
            return
        self._decide(self._go_on)

    def _watch(self) -> None:
        self.resolved.watch(self)

    def _go_on(self) -> None:
        if not self._over():
            super().start(self.sink)


class Throttle:
    """The limit of one Session, and its requests that wait their turn.

    :param session: whose it is
    :param rate: requests per second
    """

    waits_for = "its turn under max_requests_per_second"

    def __init__(self, session: Session, rate: float | None) -> None:
        self._session = session
        self._scheduler = session.cluster._scheduler
        self._limit = session.cluster.max_requests_waiting
        self._queue: deque[Any] = deque()
        self._ended = 0
        """Requests in the queue that have ended."""
        self._deadlines = Deadlines(self._scheduler, self.cancelled)
        self._timer: Timer | None = None
        self._due = 0.0
        """When the next request may start, monotonic seconds."""
        self.rate = rate

    def __len__(self) -> int:
        return len(self._queue) - self._ended

    @property
    def rate(self) -> float | None:
        """Requests per second; None for no limit, which those who wait already come to know at once.

        :raises ValueError: set to what is no positive number
        """
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        check_rate(rate)
        self._rate = rate
        self._interval = 0.0 if rate is None else 1 / rate
        self._slack = 0.0 if rate is None else max(0.0, BURST - self._interval)
        self._due = min(self._due, monotonic() + self._interval)
        if self._timer is not None:
            self._timer.cancel()
            self._arm()

    def admits(self) -> bool:
        """Whether a request may start now; it counts as started then."""
        return not self._queue and self._take(monotonic())

    def _take(self, now: float) -> bool:
        due = max(self._due, now - self._slack)
        if due > now:
            return False
        self._due = due + self._interval
        return True

    def wait(self, execution: Any) -> None:
        """Let a request wait its turn, or for its deadline.

        :raises Busy: too many are waiting already
        :raises ConnectionShutdown: the Session was shut down
        """
        waiting = len(self)
        if self._session.is_shutdown:  # a page of a result that outlives it
            raise self._session._closed()
        if waiting >= self._limit:
            raise Busy(waiting, sum(pool.in_flight for pool in self._session.get_pools()), self.waits_for)
        number = next(arrivals)
        execution.begin_waiting(self, number)
        self._queue.append(execution)
        if execution.deadline < NEVER:
            self._deadlines.keep(number, execution, waiting)
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        self._timer = self._scheduler.call_at(max(self._due, monotonic() + GRAIN), self._start_due)

    def _start_due(self) -> None:
        """Start those whose turn has come; in the hub."""
        self._timer = None
        now = monotonic()
        for _ in range(MAX_TURN_ENDED):
            while self._queue and self._queue[0].done:
                self._queue.popleft()
                self._ended -= 1
            if not self._queue or not self._take(now):
                break
            execution = self._queue.popleft()
            execution.end_waiting()
            execution.proceed()
        if self._queue:
            self._arm()
        else:
            self._deadlines.clear()

    def cancelled(self, end: Callable[[], None] | None = None) -> None:
        """A request was ended while it waited.

        :param end: ends it, if that is still to be done
        """
        self._ended += 1
        if end is not None:
            end()
        waiting = len(self)
        if not waiting or self._ended > max(FORGET_FLOOR, waiting):
            self._queue = deque(execution for execution in self._queue if not execution.done)
            self._ended = 0
            self._stop_if_empty()

    def fail_all(self, error_for: Any) -> None:
        """The Session ends: ``error_for(execution)`` gives each request's error."""
        queue, self._queue = self._queue, deque()
        self._ended = 0
        self._stop_if_empty()
        for execution in queue:
            execution._fail(error_for(execution))

    def _stop_if_empty(self) -> None:
        if self._queue:
            return
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def check_rate(rate: float | None) -> None:
    """Refuse what is no number of requests per second.

    :raises ValueError: it is not positive and finite
    """
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"max_requests_per_second must be a positive number, or None for no limit, not {rate!r}")
