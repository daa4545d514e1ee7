"""The hard timeout of a test: says where every thread and every greenlet stands, then ends the test.

Test support, a pytest plugin that takes the place of pytest-timeout's own timers: a signal handler may run in whichever
greenlet is current, the hub included, and so end nothing. A real thread waits instead, patched or not. It prints the
stacks and throws into the test's greenlet through the hub; if the hub does not run either, the process ends.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import monkey
from gevent.util import format_run_info

GRACE_SECONDS = 10.0

_start_thread: Callable[..., int] = monkey.get_original("_thread", "start_new_thread")
_allocate_lock: Callable[[], Any] = monkey.get_original("_thread", "allocate_lock")
_terminal = pytest.StashKey[int]()


class Watchdog:
    """Watches one test, made in the greenlet that runs it. `terminal`: descriptor to print to."""

    def __init__(self, name: str, seconds: float, terminal: int) -> None:
        self._name = name
        self._seconds = seconds
        self._terminal = terminal
        self._hub = gevent.get_hub()
        self._greenlet = gevent.getcurrent()
        self._cancelled = _allocate_lock()
        self._cancelled.acquire()
        _start_thread(self._watch, ())

    def cancel(self) -> None:
        """The test has ended."""
        self._cancelled.release()

    def _watch(self) -> None:
        if self._cancelled.acquire(True, self._seconds):
            return
        try:
            self._print_stacks()
        finally:
            self._hub.loop.run_callback_threadsafe(self._interrupt)
            if not self._cancelled.acquire(True, GRACE_SECONDS):
                self._write(f"\n{self._name}: the hub is blocked, or the test ignores its timeout: giving up\n")
                os._exit(1)

    def _interrupt(self) -> None:
        if self._cancelled.locked():
            self._greenlet.throw(pytest.fail.Exception(f"timeout: still running after {self._seconds:g} s"))

    def _print_stacks(self) -> None:
        self._write(f"\n\n{'+' * 30} timeout of {self._name} after {self._seconds:g} s {'+' * 30}\n")
        faulthandler.dump_traceback(self._terminal, all_threads=True)
        self._write("\n".join(format_run_info(thread_stacks=False)) + "\n")

    def _write(self, text: str) -> None:
        os.write(self._terminal, text.encode(errors="replace"))


_watchdog = pytest.StashKey[Watchdog]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_terminal] = os.dup(2)  # capturing has not begun: this is the terminal


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_terminal])


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    item.stash[_watchdog] = Watchdog(item.nodeid, settings.timeout, item.config.stash[_terminal])
    return True


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    if _watchdog in item.stash:
        item.stash[_watchdog].cancel()
        del item.stash[_watchdog]
    return True
