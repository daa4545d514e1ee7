"""The scheduler (layer: net): every deadline of a hub on one libev timer.

Deadlines of requests, heartbeats, reconnections and debounces are entries of one heap. A callback runs in the hub, so it
must not block and must not switch; whatever needs to wait is spawned by it. An entry leaves the heap before its callback
runs, and a callback that raises is reported to the hub once and disturbs no other entry. One that a signal's handler has cut
short is called again: it must bear that.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent

from geventcql.cython.wire import Histogram, process_number
from geventcql.net.forking import inherit, notice
from geventcql.net.interrupts import is_interrupt

__all__ = ["A_TURN", "MAX_TURN_ENDED", "Scheduler", "Timer", "Turn"]

A_TURN = 1e-9
"""Seconds to sleep for everybody else to have a turn. Not 0: the hub runs what sleeps for 0 again and again, up to 50 times,
before it looks at sockets and timers."""
MAX_TURN_ENDED = 256
"""A pass over deadlines ends no more requests than this; the next ones have their turn when others had theirs."""

MAX_TURN = 0.002
"""Seconds that a greenlet of the driver's works on many rows before others get a turn."""

Callback = Callable[..., object]

# Below this many dead entries the heap is not rebuilt: it would cost more than it frees.
REBUILD_FLOOR = 64


class Turn:
    """How long a greenlet has worked without waiting."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """It has just waited."""
        self._ends = monotonic() + MAX_TURN

    def give_way(self) -> None:
        """Let others run if it has worked for :data:`MAX_TURN`."""
        if monotonic() > self._ends:
            gevent.sleep(A_TURN)
            self.begin()


class Timer:
    """One entry of the scheduler: a callback that will run at a time, unless :meth:`cancel` comes first."""

    __slots__ = ("_args", "_callback", "_scheduler", "when")

    def __init__(self, scheduler: Scheduler, when: float, callback: Callback, args: tuple[Any, ...]) -> None:
        self.when = when
        self._scheduler = scheduler
        self._callback: Callback | None = callback
        self._args = args

    @property
    def pending(self) -> bool:
        """Whether the callback has still to run."""
        return self._callback is not None

    def cancel(self) -> None:
        """Forget the callback and its arguments at once; harmless when it has run already."""
        if self._callback is not None:
            self._callback = None
            self._args = ()
            self._scheduler._cancelled()

    def _take(self) -> tuple[Callback | None, tuple[Any, ...]]:
        callback, args = self._callback, self._args
        self._callback, self._args = None, ()
        return callback, args


class Scheduler:
    """All timers of one hub. Get it by :meth:`for_hub`; times are ``time.monotonic()`` seconds."""

    def __init__(self, hub: Any) -> None:
        self._loop = hub.loop
        self._handle_error = hub.handle_error
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._dead = 0
        self._watcher: Any = None
        self._armed = float("inf")
        self._due = 0.0
        self._process = process_number()
        self.lag = Histogram()
        """How late the loop's timer came, seconds: how long the hub was busy with something else."""
        inherit(self)

    @classmethod
    def for_hub(cls, hub: Any = None) -> Scheduler:
        """The scheduler of ``hub`` (by default the calling thread's), made at first use."""
        hub = hub or gevent.get_hub()
        # An attribute of the hub, so that the two go together when the hub's thread ends.
        scheduler: Scheduler | None = getattr(hub, "_geventcql_scheduler", None)
        if scheduler is None or scheduler._loop is not hub.loop or scheduler._process != process_number():
            scheduler = hub._geventcql_scheduler = cls(hub)
        return scheduler

    def __len__(self) -> int:
        """Timers that are pending."""
        return len(self._heap) - self._dead

    def recent_lag(self) -> float:
        """How late the loop's timer came at most in the last minute or two, seconds."""
        return float(self.lag.recent_statistics(())[1])

    def call_at(self, when: float, callback: Callback, *args: Any) -> Timer:
        """Run ``callback(*args)`` in the hub at ``when`` (monotonic seconds), or soon after if that has passed."""
        timer = Timer(self, when, callback, args)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        if when < self._armed:
            self._arm(when)
        return timer

    def call_later(self, delay: float, callback: Callback, *args: Any) -> Timer:
        """Run ``callback(*args)`` in the hub in ``delay`` seconds."""
        return self.call_at(monotonic() + delay, callback, *args)

    def _cancelled(self) -> None:
        self._dead += 1
        if self._dead > REBUILD_FLOOR and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            self._dead = 0
            if not self._heap:
                self._disarm()

    def _forget(self) -> object:
        """In the child of a fork none of the parent's timers runs."""
        self._disarm()
        return self

    def _arm(self, when: float) -> None:
        self._disarm()
        now = monotonic()
        self._due = max(when, now)
        # ref=True: a process that waits only for a deadline of ours must not end in LoopExit.
        self._watcher = self._loop.timer(self._due - now)
        self._watcher.start(self._fire)
        self._armed = when  # last: what an interrupt prevents is made up for at the next call

    def _disarm(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        self._armed = float("inf")

    def _fire(self) -> None:
        if self._process != process_number():
            notice()
            return
        self._disarm()
        try:
            self._run_due(monotonic())
        finally:
            if self._heap:
                self._arm(self._heap[0][0])

    def _run_due(self, now: float) -> None:
        self.lag.record(max(0.0, now - self._due), now)
        newest = next(self._order)  # what callbacks add waits for the next turn of the hub, even if it is due
        while self._heap and self._heap[0][1] < newest and (self._heap[0][0] <= now or not self._heap[0][2].pending):
            timer = heapq.heappop(self._heap)[2]
            callback, args = timer._take()
            if callback is None:
                self._dead -= 1
                continue
            try:
                callback(*args)
            except BaseException as error:
                if is_interrupt(error):
                    self.call_at(now, callback, *args)
                self._handle_error(callback, type(error), error, error.__traceback__)
