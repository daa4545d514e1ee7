"""The loop of greenlets that keep something as it should be (layer: driver): supervisors, and the control connection's.

They are level-triggered: whatever woke one, it looks at everything, mends what is not as it should be, and waits for the next
report or for what is due next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

import gevent
from gevent.event import Event

from geventcql import reconnecting

__all__ = ["keep_reconciled"]

log = logging.getLogger(__name__)


def keep_reconciled(
    what: object, wake: Event, reconcile: Callable[[], float | None], has_ended: Callable[[], bool]
) -> None:
    """Look after something until it has ended, in the calling greenlet. Whatever goes wrong, it must not be lost by it:
    applications' policies may raise anything, and end the greenlet that asks them.

    :param what: for the log
    :param wake: set when there is something to look at
    :param reconcile: looks; when there is something to do unless ``wake`` is set before, monotonic seconds, None: nothing
    """
    while not has_ended():
        wake.clear()
        try:
            due = reconcile()
            if not has_ended():
                wake.wait(None if due is None else max(0.0, due - monotonic()))
        except (Exception, gevent.Timeout, gevent.GreenletExit):
            if not has_ended():
                log.exception("%s could not be looked after; trying again in %s s", what, reconnecting.PAUSE)
                gevent.sleep(reconnecting.PAUSE)
