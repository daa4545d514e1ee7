"""The driver in processes of its own: patched or not, alone with a dead server, and at the interpreter's end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gevent.event import Event

from tests.driver.processes import Child
from tests.driver.support import serve_public_calls
from tests.support.fakenode import Error, ErrorCode, FakeNode, Rows, paged
from tests.support.tls import Tls

DEVELOPMENT = ("-X", "dev")
"""Tells of each socket that is not closed."""
SECONDS = 2.0
"""That the interpreter may take to end, and a call where no server answers."""


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as started:
        serve_public_calls(started, Event())
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


LEAVING = {
    "connected": 0, "dropped": 0, "held_by_the_cluster_only": 0, "connecting": 0, "in_flight": 0, "not_sent": 0,
    "others_wait": 0, "iterating": 0, "iterating_parameters": 0, "iterating_parameters_unordered": 0, "with_callbacks": 0,
    "in_with": 3, "in_a_greenlet": 3, "in_a_callback": 3, "with_an_error": 1,
}  # fmt: skip
"""The exit status of each."""


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("state", LEAVING)
def test_the_end_without_a_shutdown(tls: Tls, state: str, with_tls: bool) -> None:
    """pitfalls C9: nothing has to be done at exit, and nothing is said there."""
    with FakeNode(ssl_context=tls.server if with_tls else None) as node:
        node.on("SELECT v", Rows([("v", "int")], [(1,)]))
        node.on("SELECT pages", paged([("v", "int")], [(i,) for i in range(10)], 3))
        node.on("SELECT never")
        node.on("SELECT wrong", Error(ErrorCode.INVALID, "as it should be"))
        ca_file = str(tls.ca_file) if with_tls else ""
        child = Child("leaving.py", state, str(node.port), ca_file, options=(*DEVELOPMENT, "-W", "error"))
        assert child.tell() == "leaving"
        errors = child.end(LEAVING[state], SECONDS).splitlines()
    if state == "with_an_error":
        assert errors.pop().startswith("geventcql.errors.InvalidRequest") and errors.pop(0).startswith("Traceback")
        assert not [line for line in errors if not line.startswith(" ")]
    else:
        assert errors == []


MAY_GO_WELL = {
    "Session.shutdown", "ResponseFuture.wait", "ResponseFuture.wait gevent", "ResponseFuture.rawlink", "ResponseFuture.link",
    "ResponseFuture.add_callback", "ResponseFuture.add_callback ready", "ResponseFuture.add_errback",
    "ResponseFuture.add_callbacks", "Submitted.join", "Cluster.connect", "Cluster.add_execution_profile", "Cluster.shutdown",
    "Cluster.shutdown timeout", "Cluster.set_core_connections_per_host", "Cluster.policies_changed", "Cluster.on_up",
    "Cluster.on_down", "Cluster.on_remove", "Cluster.add_host", "Cluster.remove_host",
    "Cluster.signal_connection_failure",
}  # fmt: skip
"""Calls that tell by what they return, or ask the server nothing."""


@pytest.mark.parametrize("death", ["stopped", "hangs up", "mute"])
@pytest.mark.parametrize("patch", ["never", "first"])
def test_alone_with_a_dead_server(node: FakeNode, patch: str, death: str) -> None:
    """pitfalls A11: "this operation would block forever" where nothing else runs in the process."""
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
    called = set()
    for name, error, seconds in iter(child.tell, None):
        assert name in MAY_GO_WELL if error is None else error.startswith("geventcql.errors."), (name, error)
        assert seconds < SECONDS, name
        called.add(name)
    assert called > MAY_GO_WELL
    child.end()
