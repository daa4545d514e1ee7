"""The driver in processes of its own: patched or not, alone with a dead server, and at the interpreter's end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.driver.processes import Child
from tests.driver.support import serve_keys
from tests.support.fakenode import FakeNode, paged
DEVELOPMENT = ("-X", "dev")
"""Tells of each socket that is not closed."""


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
    child = Child("child.py", patch, act, str(node.port), options=DEVELOPMENT)
    count, right = child.tell()
    assert right and count == 423
    errors = child.end()
    assert "Warning" not in errors and "Traceback" not in errors and "Exception" not in errors, errors


def test_a_failed_connect_and_the_end(node: FakeNode) -> None:
    child = Child("child.py", "never", "fail_and_leave", str(node.port), options=DEVELOPMENT)
    assert child.tell() == "failed"
    errors = child.end()
    assert "Warning" not in errors and "Traceback" not in errors, errors


@pytest.mark.parametrize("death", ["stopped", "hangs up", "mute"])
@pytest.mark.parametrize("patch", ["never", "first"])
def test_alone_with_a_dead_server(node: FakeNode, patch: str, death: str) -> None:
    """pitfalls: "this operation would block forever" where nothing else runs in the process."""
    child = Child("child.py", patch, "dead_server", str(node.port))
    assert child.tell() == "ready"
    if death == "stopped":
        node.stop()
    elif death == "mute":
        node.mute = True
    else:
        node.drop_connections()
        node.on(lambda request: True, lambda request, connection: connection.close())
    child.say()
    outcomes = child.tell()
    assert len(outcomes) == 16
    wrong = {name: how for name, how in outcomes.items() if not how.startswith("geventcql.errors.")}
    assert not wrong
    child.end()
