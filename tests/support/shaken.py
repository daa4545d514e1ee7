"""Another order of things in the hub, drawn at random: what is woken or begun comes later than others that came behind it.

Test support; imports nothing of geventcql. Whatever waits under gevent is switched to by a callback of the loop, so a callback
that is put off is as if its greenlet had switched once more, and others had run meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

CHANCE = 0.3
"""Of a callback to be put off, each time that it comes to it."""
MOST = 8
"""So often at most."""


class _Later:
    """A callback that is put off: what gevent's own are to those who hold them."""

    def __init__(self, loop: ShakenLoop, callback: Callable[..., object], args: tuple[Any, ...], times: int) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args: tuple[Any, ...] | None = args
        self._loop = loop
        self._times = times
        self._next = loop.real.run_callback(self._run)

    def _run(self) -> None:
        callback, args = self.callback, self.args
        if callback is None or args is None:
            return
        self._times -= 1
        if self._times > 0:
            self._next = self._loop.real.run_callback(self._run)
            return
        self.stop()
        callback(*args)

    def stop(self) -> None:
        self.callback = self.args = None
        self._next.stop()

    close = stop

    def __bool__(self) -> bool:
        return self.args is not None

    @property
    def pending(self) -> bool:
        return self.callback is not None


class ShakenLoop:
    """A loop that puts callbacks off."""

    def __init__(self, real: Any, drawn: random.Random) -> None:
        self.real = real
        self.put_off = 0
        self._drawn = drawn

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def run_callback(self, callback: Callable[..., object], *args: Any) -> Any:
        times = 0
        while times < MOST and self._drawn.random() < CHANCE:
            times += 1
        if not times:
            return self.real.run_callback(callback, *args)
        self.put_off += 1
        return _Later(self, callback, args, times + 1)


@contextmanager
def shaken(drawn: random.Random) -> Iterator[ShakenLoop]:
    """Have the calling thread's hub put callbacks off; whatever holds on to its loop is to be made inside."""
    hub = gevent.get_hub()
    real = hub.loop
    loop = hub.loop = ShakenLoop(real, drawn)
    try:
        yield loop
    finally:
        hub.loop = real
