"""How a greenlet waits for a request (layer: driver): parked itself, without a link or an event.

Replies come in batches; one callback of the hub wakes all greenlets of a batch. A future names the greenlet that is parked
on it (``_waiter``) exactly while that greenlet is inside :func:`park`. Whoever leaves it by a Timeout or a kill clears the
name, so a wake that was under way finds nobody and nothing is ever switched to twice.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.monkey import get_original
from greenlet import getcurrent

__all__ = ["Waker", "park", "thread_id"]

thread_id = get_original("_thread", "get_ident")
"""The calling thread's id; the real one, also where gevent has patched ``get_ident`` to tell greenlets apart."""

# gevent runs this many callbacks, too, before it looks at the clock and at its watchers again.
WAKES_PER_CALLBACK = 50


class Waker:
    """Wakes parked greenlets of one hub, in the order in which their futures ended."""

    _wakers: WeakKeyDictionary[Any, Waker] = WeakKeyDictionary()

    def __init__(self, hub: Any) -> None:
        self._run_callback = hub.loop.run_callback
        self._handle_error = hub.handle_error
        self._ended: deque[Any] = deque()
        self._scheduled = False

    @classmethod
    def for_hub(cls, hub: Any = None) -> Waker:
        """The waker of ``hub`` (by default the calling thread's)."""
        hub = hub or gevent.get_hub()
        waker = cls._wakers.get(hub)
        if waker is None:
            waker = cls._wakers[hub] = cls(hub)
        return waker

    def wake(self, future: Any) -> None:
        """Wake the greenlet parked on ``future``, if it still is when the hub comes to it."""
        self._ended.append(future)
        if not self._scheduled:
            self._scheduled = True
            self._run_callback(self._run)

    def _run(self) -> None:
        ended = self._ended
        for _ in range(min(len(ended), WAKES_PER_CALLBACK)):
            waiter = ended.popleft()._waiter
            if waiter is not None:
                try:
                    waiter.switch()
                except BaseException as error:  # a raw greenlet that ends by an error throws it at whoever switched
                    self._handle_error(waiter, type(error), error, error.__traceback__)
        if ended:
            self._run_callback(self._run)
        else:
            self._scheduled = False


def park(future: Any, hub: Any) -> None:
    """Wait in the calling greenlet until ``future`` is ready; the caller has checked that nobody else is parked on it."""
    future._waiter = getcurrent()
    switch, ready = hub.switch, future.ready
    try:
        while not ready():
            switch()
    finally:
        future._waiter = None
