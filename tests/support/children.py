"""Child processes that a test talks to while its own greenlets go on.

Over the standard library's ``subprocess``: gevent's has libev reap every child of the process, and whoever else started one
by other means then never learns how it ended.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import gevent
from gevent.fileobject import FileObject

PIPE = subprocess.PIPE
POLL = 0.01


class Popen:
    """As ``subprocess.Popen`` with pipes for all three standard streams; waits cooperatively."""

    def __init__(self, command: Sequence[str], *, cwd: Any = None, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=cwd, env=env)
        self.pid = self._process.pid
        self.stdin: Any = FileObject(self._process.stdin, "wb")
        self.stdout: Any = FileObject(self._process.stdout, "rb")
        self.stderr: Any = FileObject(self._process.stderr, "rb")

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for its end: the exit status."""
        while (status := self._process.poll()) is None:
            gevent.sleep(POLL)
        return status

    @property
    def returncode(self) -> int | None:
        """The exit status as last seen."""
        return self._process.returncode

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def communicate(self) -> tuple[bytes, bytes]:
        """Close its input and read both outputs to their ends."""
        self.stdin.close()
        err = gevent.spawn(self.stderr.read)
        out = self.stdout.read()
        errors = err.get()
        self.wait()
        self.stdout.close()
        self.stderr.close()
        return out, errors


def run(command: Sequence[str], *, cwd: Any = None) -> tuple[bytes, bytes]:
    """What a program prints, on either output; AssertionError with the latter unless it ends well."""
    process = Popen(command, cwd=cwd)
    out, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return out, errors
