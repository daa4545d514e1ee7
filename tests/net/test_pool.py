"""A host's connections: which is picked, what is reported, what becomes of those that are replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.net.connection import Connection
from geventcql.net.pool import MAX_ORPHANS, HostPool
from tests.net.peers import connect, send, settle_turns, wait_all
from tests.support.fakenode import NEVER as SILENCE
from tests.support.fakenode import FakeNode, Opcode, Void
from tests.support.waits import eventually


class Pool(HostPool):
    """A pool of two connections whose reports are written down."""

    def __init__(self) -> None:
        self.below: list[int] = []
        self.rooms = 0
        super().__init__("the host", None, 2, lambda pool: self.below.append(pool.missing), self._count_room)

    def _count_room(self, pool: HostPool) -> None:
        self.rooms += 1


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void())
        node.on("silent", SILENCE)
        yield node


@pytest.fixture
def pool(node: FakeNode) -> Iterator[Pool]:
    pool = Pool()
    for _ in range(2):
        pool.add(connect(node, 4, max_in_flight=MAX_ORPHANS + 10))
    yield pool
    pool.shutdown()


def _idle(pool: Pool) -> tuple[Connection, Connection]:
    first, second = pool.connections
    return first, second


def test_least_loaded(pool: Pool) -> None:
    first, second = _idle(pool)
    for _ in range(3):
        send(first, "silent")
    assert pool.pick() is second
    for _ in range(4):
        send(second, "silent")
    assert pool.pick() is first
    assert pool.in_flight == 7 and pool.missing == 0
    assert repr(pool) == "<HostPool the host 2/2 connections, 7 in flight>"


def test_suspect_ones_last(pool: Pool) -> None:
    first, second = _idle(pool)
    first.suspect = True
    for _ in range(100):
        send(second, "silent")
    assert pool.pick() is second
    second.suspect = True
    assert pool.pick() is first
    second.suspect = False
    second.drain()
    assert pool.pick() is first, "better a suspect than none"


def test_none_is_usable(node: FakeNode) -> None:
    pool = Pool()
    assert pool.pick() is None and pool.missing == 2
    connection = connect(node, max_in_flight=1)
    pool.add(connection)
    assert pool.pick() is connection and pool.missing == 1
    waiting = send(connection)
    assert pool.pick() is None
    rooms = pool.rooms
    wait_all([waiting])
    settle_turns()
    assert pool.rooms > rooms and pool.pick() is connection
    pool.shutdown()


def test_a_lost_connection_is_reported(pool: Pool, node: FakeNode) -> None:
    first, second = _idle(pool)
    waiting = send(first, "silent")
    node.wait_for(lambda n: n.count("silent"))
    next(c for c in node.connections if c.in_flight).close(rst=True)
    assert wait_all([waiting]) == ["lost"]
    assert pool.connections == [second] and pool.below == [1] and pool.missing == 1
    assert pool.last_error is first.cause is not None
    pool.add(connect(node))
    assert pool.missing == 0 and pool.last_error is None


def test_a_connection_that_broke_before_it_was_added(pool: Pool, node: FakeNode) -> None:
    connection = connect(node)
    connection.defunct(ValueError("early"))
    pool.add(connection)
    assert connection not in pool.connections and pool.below == [0] and "early" in str(pool.last_error)


def test_replaced_ones_finish_what_they_have(pool: Pool, node: FakeNode) -> None:
    gate = Event()
    node.on("slow", Void().when(gate))
    first, second = _idle(pool)
    waiting = send(first, "slow")
    pool.replace(first)
    pool.replace(first)
    assert pool.below == [1] and pool.connections == [second] and pool.pick() is second
    assert not first.closed
    gate.set()
    assert wait_all([waiting]) == ["page"]
    eventually(lambda: first.closed)
    assert pool.below[0] == 1 and pool.last_error is None


@pytest.mark.parametrize("way", ["timeouts", "late replies"])
def test_too_many_orphans_replace_a_connection_once(pool: Pool, node: FakeNode, way: str) -> None:
    """A server that is mute for one table must not fill a connection's ids (pitfall B4)."""
    first, second = _idle(pool)
    last = send(first, "silent", timeout=None if way == "late replies" else 0.3)
    lost = [send(first, "silent", timeout=0.05) for _ in range(MAX_ORPHANS)]
    assert set(wait_all(lost)) == {"timeout"}
    settle_turns()
    assert pool.below == [1] and pool.missing == 1 and not first.draining, "it is used until there is another"
    assert wait_all([send(first), send(second)]) == ["page", "page"]
    pool.add(third := connect(node))
    assert pool.connections == [second, third] and pool.missing == 0 and first.draining
    assert wait_all([send(second)]) == ["page"]
    if way == "timeouts":
        assert wait_all([last]) == ["timeout"]
    else:
        for connection in node.connections:
            for request in list(connection.in_flight.values()):
                connection.reply(request, Void())
        assert wait_all([last]) == ["page"]
    eventually(lambda: first.closed)
    assert not pool._draining, "and nothing is kept of it"


def test_a_connection_that_ends_before_its_successor_is_there(pool: Pool) -> None:
    first, second = _idle(pool)
    pool.succeed(first)
    pool.succeed(first)
    assert pool.missing == 1 and pool.below == [1], "told once"
    first.defunct(ValueError("x"))
    assert pool.connections == [second] and pool.missing == 1


def test_shutdown(pool: Pool, node: FakeNode) -> None:
    first, second = _idle(pool)
    waiting = [send(connection, "silent") for connection in (first, second)]
    pool.replace(first)
    below = list(pool.below)
    pool.shutdown()
    pool.shutdown()
    assert wait_all(waiting) == ["lost"] * 2 and first.closed and second.closed
    assert pool.below == below and pool.pick() is None and pool.missing == 0
    late = connect(node)
    pool.add(late)
    assert late.closed
    gevent.sleep(0)


def test_a_listener_gets_the_connection_as_it_is(node: FakeNode) -> None:
    """When the loss is reported the connection has left the pool already: who opens another counts right."""
    seen: list[Any] = []
    pool = HostPool("h", "ks", 1, lambda pool: seen.append((pool.missing, list(pool.connections))), lambda pool: None)
    connection = connect(node)
    pool.add(connection)
    connection.defunct(ValueError("x"))
    assert seen == [(1, [])] and repr(pool) == "<HostPool h keyspace=ks 0/1 connections, 0 in flight>"
    pool.shutdown()
