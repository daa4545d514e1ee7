"""Gunicorn's gevent workers: one that is killed because it blocks, and those that end or are replaced at work."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import psutil
import pytest
from gevent import socket
from gevent.event import Event

from tests.driver.processes import ROOT
from tests.driver.support import eventually, serve_keys
from tests.support.children import Popen
from tests.support.fakenode import FakeNode, Rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GRACEFUL = 60
"""Seconds; another worker takes as long to begin where a machine is busy."""
SLOW = 5
"""Requests under way."""


class Gunicorn:
    """A master with one worker, on a unix socket.

    :param timeout: seconds that the worker may block
    """

    def __init__(self, directory: Path, node: FakeNode, timeout: int) -> None:
        self.node = node
        self._path = str(directory / "socket")
        options = ["-k", "gevent", "-w", "1", "-t", str(timeout), "--graceful-timeout", str(GRACEFUL)]
        options += ["-b", f"unix:{self._path}"]
        command = [sys.executable, "-m", "gunicorn", *options, "tests.driver.gunicornapp:app"]
        self.process = Popen(command, cwd=ROOT, env={**os.environ, "NODE_PORT": str(node.port)})
        self.errors = gevent.spawn(self.process.stderr.read)

    def ask(self, path: str) -> tuple[int, int] | None:
        """The number that the row has, and the worker's process id; None if nobody answers."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(self._path)
                sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
            except OSError:
                return None
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")):
            return None
        number, worker = map(int, body.split())
        return number, worker

    def worker(self) -> int:
        """The process id of one that answers."""
        found = eventually(lambda: self.ask("/row/7"), GRACEFUL)
        assert found[0] == 7
        return int(found[1])

    def end(self, how: signal.Signals) -> str:
        """Its log."""
        self.process.poll()
        if self.process.returncode is None:
            os.kill(self.process.pid, how)
        self.process.wait()
        log = self.errors.get(timeout=10).decode()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
        return str(log)


@pytest.fixture
def gate() -> Event:
    return Event()


@pytest.fixture
def server(tmp_path: Path, gate: Event, request: pytest.FixtureRequest) -> Iterator[Gunicorn]:
    with FakeNode() as node:
        serve_keys(node)
        node.on("SELECT slow", Rows([("v", "int")], [(1,)]).when(gate))
        started = Gunicorn(tmp_path, node, request.param)
        try:
            yield started
        finally:
            started.end(signal.SIGKILL)


@pytest.mark.parametrize("server", [2], indirect=True, ids=["2 s"])
def test_a_worker_that_blocks_is_killed_and_the_next_one_answers(server: Gunicorn) -> None:
    blocked = server.worker()
    asking = gevent.spawn(server.ask, "/block")
    assert asking.get(timeout=30) is None
    assert server.worker() != blocked
    assert [server.ask(f"/row/{key}")[0] for key in range(20)] == list(range(20))  # type: ignore[index]
    log = server.end(signal.SIGTERM)
    assert "WORKER TIMEOUT" in log and "geventcql.errors" not in log, log


@pytest.mark.parametrize("server", [60], indirect=True, ids=["60 s"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_requests_under_way_are_answered(server: Gunicorn, gate: Event, how: signal.Signals) -> None:
    """SIGTERM ends the server, SIGHUP gives it another worker."""
    worker = server.worker()
    asking = [gevent.spawn(server.ask, "/slow") for _ in range(SLOW)]
    eventually(lambda: server.node.count("SELECT slow") == SLOW)
    os.kill(server.process.pid, how)
    if how == signal.SIGHUP:
        eventually(lambda: server.worker() != worker, GRACEFUL)
    else:
        eventually(lambda: server.ask("/row/7") is None)
    began = time.monotonic()
    gate.set()
    assert [greenlet.get(timeout=10) for greenlet in asking] == [(1, worker)] * SLOW
    if how == signal.SIGHUP:
        eventually(lambda: not psutil.pid_exists(worker), GRACEFUL)  # until then both accept
        assert worker not in {server.worker() for _ in range(20)}
    log = server.end(signal.SIGTERM)
    assert time.monotonic() - began < GRACEFUL and server.process.returncode == 0
    assert "WORKER TIMEOUT" not in log and "Traceback" not in log, log
