"""What becomes of the driver in the child of a fork (layer: net).

The child has the parent's connections: what it wrote to them would go into the parent's streams, and what it read would be
lost to the parent. And gevent keeps greenlets over a fork. So in the child descriptors are closed, by no more than ``close``,
and whatever of the driver's its hub could come to (timers, callbacks, greenlets) knows the process that it was made in and
does nothing in another. Nothing is ended, told or freed: an end would be told to the parent's greenlets, and one that is freed
runs to its end.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, Protocol
from weakref import WeakSet

import gevent
from gevent.pool import Group
from greenlet import getcurrent

from geventcql.cython.wire import of_its_process, process_number

__all__ = ["ApplicationGreenlet", "Greenlets", "OwnGreenlet", "inherit", "notice", "settle", "spawn", "spawn_later"]


class Inherited(Protocol):
    """What a child has to let go of."""

    def _forget(self) -> object:
        """Let go of it, and give what must not be freed; tells nobody, does not switch, and logs nothing."""


_inherited: WeakSet[Inherited] = WeakSet()
_to_forget: deque[Inherited] = deque()
"""What the parent had, in a child that has not let go of it yet."""
_kept: list[object] = []
"""What is the parent's, in a child: nothing of it is ever freed."""
_noticed = _settled = process_number()
"""The process as it was last looked at, and as gevent was last made ready for it."""


def inherit(thing: Inherited) -> None:
    """Have a child of this process forget ``thing``."""
    _inherited.add(thing)


def notice() -> None:
    """Forget what the parent has, if this is the child of a fork and that has not been done; anywhere, does not switch."""
    global _noticed
    process = process_number()
    if process != _noticed:
        here = getcurrent()
        if isinstance(here, ApplicationGreenlet):
            here._go_on_in_child()
        _to_forget.extend(_inherited)
        _inherited.clear()
        _noticed = process
    while _to_forget:
        thing = _to_forget.popleft()
        try:
            _kept.append(thing._forget())
        except BaseException:  # of a signal's handler: the next of the driver's that runs goes on here
            _to_forget.append(thing)
            raise


os.register_at_fork(after_in_child=notice)  # forks in C are noticed by the first of the driver's that runs in the child


def settle() -> None:
    """The child of a fork is going to wait: have gevent ready for that, which after a plain ``os.fork`` it is not."""
    global _settled
    notice()
    if _settled != _noticed:
        _settled = _noticed
        gevent.reinit()


class OwnGreenlet(gevent.Greenlet):  # type: ignore[misc]
    """A greenlet of the driver's. One of the parent's never runs in a child, whatever wakes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._process = process_number()

    @property
    def is_of_parent(self) -> bool:
        """Whether it was made in the process that this one was forked from, where it goes on."""
        return self._process != process_number()

    switch = of_its_process(gevent.Greenlet.switch, notice)  # its descriptors are to wake it no more
    throw = of_its_process(gevent.Greenlet.throw, notice)


class ApplicationGreenlet(OwnGreenlet):
    """A greenlet of the driver's that runs the application's code, and nothing of its own that a child must not do.

    If that code forks, it goes on in the child too, as it would in any greenlet.
    """

    def _go_on_in_child(self) -> None:
        """It is the one that runs where a child begins, so it has forked; who waits for it does so in the parent."""
        if self.is_of_parent:
            self._process = process_number()
            self.unlink_all()


spawn = OwnGreenlet.spawn
spawn_later = OwnGreenlet.spawn_later


class Greenlets(Group):  # type: ignore[misc]
    """A group of the driver's greenlets."""

    greenlet_class = OwnGreenlet
