"""How a greenlet waits for a request (layer: driver): parked itself, without a link or an event.

Replies come in batches; one callback of the hub wakes all greenlets of a batch. A future names the greenlet that is parked
on it (``_waiter``) exactly while that greenlet is inside :func:`park`. Whoever leaves it by a Timeout or a kill clears the
name, so a wake that was under way finds nobody and nothing is ever switched to twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from greenlet import getcurrent

from geventcql.cython.wire import WakeQueue, process_number, thread_id
from geventcql.errors import ForkedError, WrongHubError
from geventcql.net.forking import inherit

__all__ = ["Begun", "OfItsThread", "Waker", "park", "thread_id"]

PROCESS_BIT = 48
"""From this bit on a :func:`thread_id` has the number of the process; threads differ below."""
# gevent runs this many callbacks, too, before it looks at the clock and at its watchers again.
WAKES_PER_CALLBACK = 50


class Waker(WakeQueue):
    """Wakes parked greenlets of one hub, in the order in which their futures ended."""

    @classmethod
    def for_hub(cls, hub: Any = None) -> Waker:
        """The waker of ``hub`` (by default the calling thread's)."""
        hub = hub or gevent.get_hub()
        # An attribute of the hub, so that the two go together when the hub's thread ends.
        waker: Waker | None = getattr(hub, "_geventcql_waker", None)
        if waker is None or waker.process != process_number():
            waker = hub._geventcql_waker = cls(hub.loop.run_callback, hub.handle_error, WAKES_PER_CALLBACK)
            inherit(waker)
        return waker

    def _forget(self) -> object:
        """In the child of a fork nobody of the parent's is woken: see :class:`WakeQueue`."""
        return self


class Begun:
    """Where something was begun that others may wait for."""

    __slots__ = ("_hub", "_thread")

    def __init__(self) -> None:
        self._thread = thread_id()
        self._hub = gevent.get_hub()

    def refuse_elsewhere(self) -> None:
        """Refuse to wait in another thread, in the child of a fork, or in another hub.

        :raises WrongHubError: in another thread, or its hub has been destroyed
        :raises ForkedError: in the child of a fork
        """
        here = thread_id()
        if here != self._thread:
            raise ForkedError() if (here ^ self._thread) >> PROCESS_BIT else WrongHubError()
        if self._hub.loop is None:
            raise WrongHubError("the hub that it was begun in has been destroyed")


class OfItsThread:
    """What only the thread that began it may wait for: a base class before gevent's, whose waits all use ``rawlink``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun = Begun()

    def rawlink(self, callback: Callable[[Any], Any]) -> None:
        """As gevent's.

        :raises WrongHubError: in another thread, or its hub has been destroyed
        :raises ForkedError: in the child of a fork, if it goes on in the parent
        """
        gevents: Any = super()
        if not gevents.ready():
            self._begun.refuse_elsewhere()
        gevents.rawlink(callback)


def park(future: Any, hub: Any) -> None:
    """Wait in the calling greenlet until ``future`` is ready; the caller has checked that nobody else is parked on it."""
    future._waiter = getcurrent()
    try:
        while not future.ready():
            hub.switch()
    finally:
        future._waiter = None
