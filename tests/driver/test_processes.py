"""The driver in processes of its own: patched or not, alone with a dead server, and at the interpreter's end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.driver.support import serve_keys
from tests.support.children import Popen
from tests.support.fakenode import FakeNode, paged

ROOT = Path(__file__).parents[2]


class Child:
    """A child process; `tell` reads what it says next."""

    def __init__(self, patch: str, act: str, port: int, *options: str) -> None:
        program = str(Path(__file__).with_name("child.py"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = Popen([sys.executable, *options, program, patch, act, str(port)], env=environment)

    def tell(self) -> Any:
        with gevent.Timeout(20):
            line = self.process.stdout.readline()
        assert line, self.process.communicate()[1].decode()
        return json.loads(line)

    def go_on(self) -> None:
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """Its stderr; it must end by itself, and well."""
        with gevent.Timeout(20):
            _, errors = self.process.communicate()
        assert self.process.returncode == 0, errors.decode()
        return str(errors.decode())


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as started:
        serve_keys(started)
        started.on("SELECT pages", paged([("v", "int")], [(i,) for i in range(10)], 3))
        started.on("SELECT never")
        yield started


@pytest.mark.parametrize("patch", ["never", "first", "after"])
@pytest.mark.parametrize("act", ["work", "work_and_leave", "in_thread"])
def test_patched_or_not(node: FakeNode, patch: str, act: str) -> None:
    """Also under the development mode, which tells of each socket that is not closed, with and without a shutdown."""
    child = Child(patch, act, node.port, "-X", "dev")
    count, right = child.tell()
    assert right and count == 423
    errors = child.end()
    assert "Warning" not in errors and "Traceback" not in errors and "Exception" not in errors, errors


def test_a_failed_connect_and_the_end(node: FakeNode) -> None:
    child = Child("never", "fail_and_leave", node.port, "-X", "dev")
    assert child.tell() == "failed"
    errors = child.end()
    assert "Warning" not in errors and "Traceback" not in errors, errors


@pytest.mark.parametrize("death", ["stopped", "hangs up", "mute"])
@pytest.mark.parametrize("patch", ["never", "first"])
def test_alone_with_a_dead_server(node: FakeNode, patch: str, death: str) -> None:
    """pitfalls: "this operation would block forever" where nothing else runs in the process."""
    child = Child(patch, "dead_server", node.port)
    assert child.tell() == "ready"
    if death == "stopped":
        node.stop()
    elif death == "mute":
        node.mute = True
    else:
        node.drop_connections()
        node.on(lambda request: True, lambda request, connection: connection.close())
    child.go_on()
    outcomes = child.tell()
    assert len(outcomes) == 16
    wrong = {name: how for name, how in outcomes.items() if not how.startswith("geventcql.errors.")}
    assert not wrong
    child.end()
