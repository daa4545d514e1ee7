"""Greenlets that keep something as it should be (layer: driver): supervisors, and the control connection's.

They are level-triggered: whatever woke one, it looks at everything, mends what is not as it should be, and waits for the next
report or for what is due next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

from geventcql import reconnecting
from geventcql.net.forking import spawn, spawn_later

__all__ = ["Reconciler"]

log = logging.getLogger(__name__)


class Reconciler:
    """Looks after something until it has ended, in a greenlet of its own. Whatever goes wrong, it must not be lost by it:
    applications' policies may raise anything, and who ends all greenlets there are ends this one, which another one follows.

    :param what: for the log
    :param wake: set when there is something to look at
    :param reconcile: looks; when there is something to do unless ``wake`` is set before, monotonic seconds, None: nothing
    """

    def __init__(
        self, what: object, wake: Event, reconcile: Callable[[], float | None], has_ended: Callable[[], bool]
    ) -> None:
        self._what = what
        self._wake = wake
        self._reconcile = reconcile
        self._has_ended = has_ended
        self.ended = Event()
        """Set when nobody looks after it any more, nor will."""
        self._waits_until: float | None = 0.0
        """When it looks again unless it is woken, monotonic seconds; None: not before; 0: it is about to."""
        self._begin(0)

    @property
    def is_alive(self) -> bool:
        """Whether it goes on, or will."""
        return not self.greenlet.dead

    def kill(self) -> None:
        """End it, once it counts as ended; does not wait, and lets a greenlet that kills itself go on to its end."""
        if self.greenlet is not gevent.getcurrent():
            self.greenlet.kill(block=False)

    def _begin(self, delay: float) -> None:
        self.greenlet: Any = spawn_later(delay, self._run) if delay else spawn(self._run)
        self.greenlet.rawlink(self._over)

    def _over(self, greenlet: Any) -> None:
        if self._has_ended():
            self.ended.set()
        else:
            self._begin(reconnecting.PAUSE)

    def _run(self) -> None:
        while not self._has_ended():
            self._wake.clear()
            try:
                due = self._reconcile()
                if not self._has_ended():
                    self._wait(due)
            except (Exception, gevent.Timeout, gevent.GreenletExit) as error:
                if self._has_ended():
                    return
                log.exception("%s could not be looked after; trying again in %s s", self._what, reconnecting.PAUSE)
                if isinstance(error, gevent.GreenletExit):
                    return  # whoever killed it may wait for its end
                gevent.sleep(reconnecting.PAUSE)

    def _wait(self, due: float | None) -> None:
        self._waits_until = due
        try:
            self._wake.wait(None if due is None else max(0.0, due - monotonic()))
        finally:
            self._waits_until = 0.0

    def check_invariants(self, due: float | None) -> None:
        """Assert that it is alive, and looks again when something is due (for tests); at any switch point.

        :param due: when there is something to do, monotonic seconds; None: nothing
        """
        assert self.is_alive, f"who looks after {self._what} has died"
        if due is not None and not self._wake.is_set():
            until = self._waits_until
            assert until is not None and until <= due, f"{self._what}: something is due at {due}, looked at not before {until}"
