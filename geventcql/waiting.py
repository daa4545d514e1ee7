"""How a greenlet waits for a request (layer: driver): parked itself, without a link or an event.

Replies come in batches; one callback of the hub wakes all greenlets of a batch. A future names the greenlet that is parked
on it (``_waiter``) exactly while that greenlet is inside :func:`park`. Whoever leaves it by a Timeout or a kill clears the
name, so a wake that was under way finds nobody and nothing is ever switched to twice.
"""

from __future__ import annotations

from typing import Any

import gevent
from gevent.monkey import get_original
from greenlet import getcurrent

from geventcql.cython.wire import WakeQueue

__all__ = ["Waker", "park", "thread_id"]

thread_id = get_original("_thread", "get_ident")
"""The calling thread's id; the real one, also where gevent has patched ``get_ident`` to tell greenlets apart."""

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
        if waker is None:
            waker = hub._geventcql_waker = cls(hub.loop.run_callback, hub.handle_error, WAKES_PER_CALLBACK)
        return waker


def park(future: Any, hub: Any) -> None:
    """Wait in the calling greenlet until ``future`` is ready; the caller has checked that nobody else is parked on it."""
    future._waiter = getcurrent()
    try:
        while not future.ready():
            hub.switch()
    finally:
        future._waiter = None
