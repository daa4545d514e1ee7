"""Fork safety: the parent notices nothing, the child has its own connections, what is the parent's stays silent there.

The processes that fork are apart from this one, whose fake nodes would be forked, too (`forks.py`). The node sees which
connection each request comes over.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from tests.driver.support import BY_KEY, have_keyspaces, own_key, serve_keys
from tests.support.children import Popen
from tests.support.fakenode import FakeNode, Opcode, Ready, ServerConnection, paged
from tests.support.tls import Tls

ROOT = Path(__file__).parents[2]
GATED = "SELECT k FROM gated WHERE k = ?"
KINDS = ("os", "gevent", "libc")


class Forking:
    """A process that forks; `tell` reads what it or a child of it says next."""

    def __init__(self, node: FakeNode, act: str, kind: str = "os", place: str = "main", **options: Any) -> None:
        program = str(Path(__file__).with_name("forks.py"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = [act, kind, place, str(node.port), json.dumps(options)]
        self.process = Popen([sys.executable, "-X", "dev", program, *words], env=environment)
        self._told: list[Any] = []

    def tell(self, who: str = "") -> Any:
        """What comes next, or what comes next from one of them: lines of two processes come in any order."""
        for told in self._told:
            if told["who"] == who:
                self._told.remove(told)
                break
        else:
            told = self._read()
            while who not in ("", told["who"]):
                self._told.append(told)
                told = self._read()
        if who:
            del told["who"]
        return told

    def _read(self) -> Any:
        with gevent.Timeout(60):
            line = self.process.stdout.readline()
        assert line, self.process.communicate()[1].decode()
        told = json.loads(line)
        assert "error" not in told, told
        return told

    def go_on(self) -> None:
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """What a test that failed has left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def end(self) -> list[Any]:
        """What else they say; all must end well, and without a word on stderr."""
        with gevent.Timeout(60):
            output, errors = self.process.communicate()
        assert self.process.returncode == 0 and not errors, errors.decode()
        return [*self._told, *map(json.loads, output.splitlines())]


Begin = Callable[..., Forking]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begins a Forking, which ends with the test."""
    begun: list[Forking] = []

    def begin(*args: Any, **options: Any) -> Forking:
        begun.append(Forking(*args, **options))
        return begun[-1]

    yield begin
    for forking in begun:
        forking.kill()


@pytest.fixture
def gate() -> Event:
    """Opens the answers to GATED."""
    return Event()


def gated_node(gate: Event, **options: Any) -> FakeNode:
    node = FakeNode(**options)
    serve_keys(node)
    node.on(GATED, lambda request, connection: own_key(request).when(gate), rows=[("k", "int")], binds=[("k", "int")])
    node.on("SELECT pages", paged([("v", "int")], [(i,) for i in range(10)], 3))
    have_keyspaces(node, "ks")
    return node


@pytest.fixture
def node(gate: Event) -> Iterator[FakeNode]:
    with gated_node(gate) as started:
        yield started


def executed(connections: list[ServerConnection]) -> int:
    """How often BY_KEY was, over these connections."""
    requests = [request for connection in connections for request in connection.requests]
    return sum(request.opcode == Opcode.EXECUTE and request.text == BY_KEY for request in requests)


def check_in_flight(begin: Begin, node: FakeNode, gate: Event, kind: str, place: str = "main", **options: Any) -> None:
    forking = begin(node, "in_flight", kind, place, **options)
    assert forking.tell("parent") == {"forked": True}
    of_parent = node.connections[:2]
    told = forking.tell("child")
    assert "Session open" in told.pop("repr")
    assert told == {"right": True, "waited": ["ForkedError"], "new_id": True}
    assert executed(of_parent) == 0
    of_child = node.connections[2:]
    assert len(of_child) == 2
    assert executed(of_child) == 100
    gate.set()
    assert forking.tell("parent") == {"right": True}
    assert forking.tell("child") == {"ready": 0, "woken": 0}
    assert forking.tell("parent") == {"ended": 0, "after": True}
    assert forking.end() == []
    assert node.accepted == 4 and not any(connection.error for connection in of_parent)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *itertools.product(KINDS, ("main", "greenlet", "hub")),
        *itertools.product(("os", "gevent"), ("submit", "callback")),  # in C: see docs/processes.md
        ("os", "thread"),  # gevent.os.fork is not for threads; forked in C from one, CPython waits for a thread that is gone
    ],
)
def test_a_thousand_requests_in_flight(begin: Begin, node: FakeNode, gate: Event, kind: str, place: str) -> None:
    """pitfalls: A1."""
    check_in_flight(begin, node, gate, kind, place)


@pytest.mark.parametrize("kind", KINDS)
def test_named_contact_points(begin: Begin, node: FakeNode, gate: Event, kind: str) -> None:
    """A plain os.fork leaves gevent's resolver without its threads."""
    check_in_flight(begin, node, gate, kind, contact_points=["localhost"])


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("kind", ["os", "libc"])
def test_versions(begin: Begin, node: FakeNode, gate: Event, kind: str, version: int) -> None:
    check_in_flight(begin, node, gate, kind, protocol_version=version)


@pytest.mark.parametrize("kind", KINDS)
def test_tls(begin: Begin, tls: Tls, gate: Event, kind: str) -> None:
    """The parent's TLS goes on: the child sends no close_notify."""
    with gated_node(gate, ssl_context=tls.server) as node:
        check_in_flight(begin, node, gate, kind, "greenlet", ca_file=str(tls.ca_file))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_of_those_that_are_woken_forks(begin: Begin, node: FakeNode, gate: Event, kind: str) -> None:
    forking = begin(node, "woken", kind, "greenlet")
    assert forking.tell("parent") == {"asked": True}
    gate.set()
    assert forking.tell("child") == {"right": True, "woken": 1}
    assert forking.tell("parent") == {"woken": 100, "ended": 0}
    assert forking.end() == []


def test_an_interrupt_while_the_child_lets_go(begin: Begin, node: FakeNode) -> None:
    """Forked in C, since what Python's hook raises is only printed."""
    forking = begin(node, "interrupted", "libc", "greenlet", connections_per_host=3)
    assert forking.tell("child") == {"first": "KeyboardInterrupt", "right": True}
    assert len(node.connections) >= 4 and executed(node.connections[:4]) == 0
    forking.go_on()
    assert forking.end() == [{"who": "parent", "ended": 0, "right": True}]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_while_it_connects(begin: Begin, node: FakeNode, kind: str) -> None:
    first = Event()
    rule = node.on(Opcode.STARTUP, Ready().when(first), times=1)
    forking = begin(node, "connecting", kind)
    node.wait_for(lambda _: rule.hits, timeout=20)
    forking.go_on()
    assert forking.tell("child") == {"right": True, "parents": "False"}
    assert forking.tell("parent") == {"ended": 0}
    first.set()
    assert forking.tell("parent") == {"right": True}
    assert forking.end() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [3, 5])
def test_what_goes_on_and_what_does_not(begin: Begin, node: FakeNode, gate: Event, kind: str, version: int) -> None:
    forking = begin(node, "everything", kind, protocol_version=version)
    told = forking.tell("child")
    assert told.pop("tables")
    assert told == {
        "right": True, "keyspace": "ks", "pages": list(range(10)), "half way": list(range(10)), "page": [0, 1, 2],
        "imap": "ForkedError", "imap_unordered": "ForkedError", "concurrent": "ForkedError", "submitted": ["ForkedError"] * 3,
        "throttled": "ForkedError", "throttle": 20, "counted": 1, "populated": [2, 2], "told": 2, "profile": 7,
        "prepare": True, "imap again": [1, 2], "all": [True, True], "submit": 3, "ids": 4,
    }  # fmt: skip
    assert forking.tell("child") == {"after": ["ConnectionShutdown", "DriverException"]}
    assert forking.tell("parent") == {"ended": 0}
    gate.set()
    forking.go_on()
    assert forking.tell("parent") == {
        "right": True, "submitted": 1, "concurrent": True, "ordered": 8, "unordered": 8, "throttled": True,
        "populated": [1, 1], "told": 1,
    }  # fmt: skip
    assert forking.end() == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_first_use(begin: Begin, node: FakeNode, kind: str) -> None:
    forking = begin(node, "first_use", kind)
    found = {}
    while "use" in (told := forking.tell()):
        found[told["use"]] = told["found"]
    assert told == {"who": "parent", "right": True, "open": 1}
    keyspaces = found.pop("metadata")
    assert "'ks'" in keyspaces
    state = found.pop("state")
    assert state == "(0, {}, None)" or kind == "libc"  # where nothing has been noticed yet
    assert found == {
        "execute": "1", "execute text": "0", "execute_async": "1", "prepare": "'SELECT pages'", "set_keyspace": "None",
        "USE": "None", "connect": "1", "refresh_nodes": "None", "next page": str(list(range(10))), "imap": "[1]",
        "execute_concurrent_async": "1", "submit": "1", "in the hub": "'BlockingSwitchOutError'",
        "repr": "True", "shutdown": "None", "after shutdown": "ConnectionShutdown", "session.shutdown": "None",
        "nothing": "None",
    }  # fmt: skip
    assert forking.end() == []


@pytest.mark.parametrize("kind", KINDS)
def test_forks_in_a_row_and_grandchildren(begin: Begin, node: FakeNode, kind: str) -> None:
    forking = begin(node, "generations", kind)
    told = forking.end()
    assert all(each.pop("right") for each in told)
    parent, children = {"who": "parent", "ended": [0, 0]}, [{"who": "child", "ended": [0, 0]}, {"who": "child", "ended": [0]}]
    expected = [parent, *children, *[{"who": "grandchild"}] * 3]
    assert sorted(told, key=repr) == sorted(expected, key=repr)
    assert node.accepted == 6 * 2 - 2  # of the two children one does not use it


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_that_was_never_connected(begin: Begin, node: FakeNode, kind: str) -> None:
    forking = begin(node, "never_connected", kind, contact_points=["localhost"])
    assert forking.end() == [{"who": "child", "right": True}, {"who": "parent", "ended": 0}]


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_session_closes_the_childs_connections(begin: Begin, node: FakeNode, kind: str) -> None:
    forking = begin(node, "dropped", kind)
    child = forking.tell("child")
    assert child == {"right": True, "closed": 2}
    assert forking.end() == [{"who": "parent", "ended": 0, "right": True}]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_during_a_shutdown(begin: Begin, node: FakeNode, gate: Event, kind: str) -> None:
    forking = begin(node, "shutting_down", kind)
    assert forking.tell("child") == {"found": ["ConnectionShutdown", "DriverException", "ForkedError"]}
    assert forking.tell("parent") == {"ended": 0}
    gate.set()
    forking.go_on()
    assert forking.tell("parent") == {"row": 5}
    assert forking.end() == []
