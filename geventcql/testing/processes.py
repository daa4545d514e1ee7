"""Helper processes: run one to its end, and make sure that servers never outlive the process that started them.

Layer: testing. Runs in the calling greenlet and waits with ``gevent.sleep``. ``subprocess`` is used through its module,
so that a monkey-patched process uses gevent's.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence

import gevent

# Reads lists of process ids, one list a line, until its standard input ends, which happens at the latest when the
# process that holds the other end dies, however it dies. Then it ends the processes of the last list and removes the
# directory; the second try is for files that a dying server still wrote.
_GUARD = """
while read -r line; do pids=$line; done
[ -z "$pids" ] || kill -9 $pids
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"""

_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


class Guard:
    """A temporary directory and the servers that work in it; both go when this process ends, even by SIGKILL.

    A small shell process watches over them. ``directory`` is the directory's path. In a child made by ``os.fork`` the
    guard guards nothing: the servers are the parent's.
    """

    def __init__(self, prefix: str) -> None:
        self.directory = tempfile.mkdtemp(prefix=prefix)
        self._pids: set[int] = set()
        reader, self._writer = os.pipe()
        try:
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "guard", self.directory],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(reader)
        _guards.add(self)

    def add(self, pid: int) -> None:
        """End the process `pid` when this process ends."""
        self._pids.add(pid)
        self._tell()

    def discard(self, pid: int) -> None:
        """`pid` has ended: nothing to do for it any more."""
        self._pids.discard(pid)
        self._tell()

    def close(self) -> None:
        """End the processes that are left and remove the directory. May be called again."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
            wait_for(lambda: self._watcher.poll() is not None, timeout=30)

    def abandon(self) -> None:
        """Leave servers and directory to the process that this one was forked from."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def _tell(self) -> None:
        if self._writer < 0:
            return
        # A line this short is written whole or not at all, and the pipe is never full.
        os.write(self._writer, (" ".join(map(str, sorted(self._pids))) + "\n").encode())


def _abandon_guards() -> None:
    # A child that held the pipe open would keep the servers alive when the parent is gone.
    for guard in _guards:
        guard.abandon()


os.register_at_fork(after_in_child=_abandon_guards)


def wait_for(condition: Callable[[], bool], timeout: float, interval: float = 0.02) -> bool:
    """Wait until `condition()` is true or `timeout` seconds have gone by; returns whether it became true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        gevent.sleep(interval)
    return True


def run(command: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run `command` without standard input; returns its exit status and what it wrote (both outputs, as text).

    Raises OSError if it cannot be started, and TimeoutError, after killing it, when `timeout` seconds have gone by.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            finished = wait_for(lambda: process.poll() is not None, timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if not finished:
        raise TimeoutError(f"{command[0]} did not end within {timeout:g} s; it wrote:\n{text}")
    return process.returncode, text
