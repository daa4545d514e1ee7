"""Threads and blocking that are real, whether or not the process is monkey-patched.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent.monkey import get_original

_start_new_thread: Callable[..., int] = get_original("_thread", "start_new_thread")

block: Callable[[float], None] = get_original("time", "sleep")
"""Keep the calling thread for so many seconds, its hub and all its greenlets."""


class Thread:
    """As ``threading.Thread``; waiting for it lets other greenlets run."""

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        self._target = target
        self._args = args
        self._alive = False

    def start(self) -> None:
        self._alive = True
        _start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._target(*self._args)
        finally:
            self._alive = False

    def is_alive(self) -> bool:
        return self._alive

    def join(self) -> None:
        while self._alive:
            gevent.sleep(0.005)


class Socket(get_original("socket", "socket")):  # type: ignore[misc]
    """A socket that blocks the calling thread: for servers in threads."""

    def accept(self) -> tuple[Socket, Any]:
        descriptor, address = self._accept()
        return Socket(fileno=descriptor), address

    @classmethod
    def listening(cls, host: str) -> Socket:
        """One that takes connections on a free port."""
        listener = cls()
        listener.bind((host, 0))
        listener.listen()
        return listener
