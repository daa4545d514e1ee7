"""Sessions that nobody holds go; what they have under way does not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent.event import Event

import geventcql
from geventcql.cluster import Cluster
from geventcql.errors import NoHostAvailable
from geventcql.policies import RoundRobinPolicy
from tests.driver.support import BY_KEY, cluster_of, eventually, in_hub, outcome, pooled
from tests.support.fakenode import FakeNode, Opcode, Rows

TEXT = "SELECT v FROM t"
GOOD = Rows([("v", "int")], [(1,)])
BUSY: dict[str, Any] = {"idle_heartbeat_interval": 0.1}
"""Something comes all the time: a reader holds what it read last."""


def gone(*references: Any) -> Callable[[], bool]:
    """Whether all of these weak references are dead."""
    return lambda: gc.collect() >= 0 and not any(reference() for reference in references)


def test_sessions_that_nobody_holds(node: FakeNode) -> None:
    with cluster_of(node) as cluster:
        kept = cluster.connect()
        for _ in range(20):
            session = cluster.connect()
            session.execute(session.prepare(BY_KEY), (1,))
        last = weakref.ref(session)
        del session
        assert kept.execute(kept.prepare(BY_KEY), (1,)).one().k == 1  # a reader holds what it read last
        eventually(gone(last))
        assert list(cluster.sessions) == [kept]


def test_a_session_lives_for_its_requests_in_flight(node: FakeNode) -> None:
    node.on(TEXT, GOOD.after(0.1))
    with cluster_of(node) as cluster:
        future = cluster.connect().execute_async(TEXT)
        gc.collect()
        assert future.result().one().v == 1
        rows = cluster.connect().execute(TEXT)
        gc.collect()
        assert rows.one().v == 1


def test_a_session_lives_for_its_requests_that_wait(node: FakeNode) -> None:
    """Also if nobody waits for them, and they have no deadline."""
    with cluster_of(node) as cluster:
        sessions = [cluster.connect()]
        [pool] = sessions[0].get_pools()
        done: list[Any] = []

        def send() -> None:  # between the loss of the connection and the next: it waits
            pool.connections[0].defunct(ConnectionResetError())
            sessions.pop().execute_async("INSERT INTO t (k) VALUES (1)", timeout=None).add_callback(done.append)
            gc.collect()

        in_hub(send)
        eventually(lambda: done == [None])


def test_a_request_that_waits_is_woken_though_its_policy_let_others_run(node: FakeNode) -> None:
    planning, planned, quick, slow = Event(), Event(), Event(), Event()

    class Pausing(RoundRobinPolicy):
        def make_query_plan(self, *args: Any) -> Iterator[Any]:
            yield from super().make_query_plan(*args)
            planning.set()
            planned.wait()

    node.on("SELECT quick", GOOD.when(quick))
    node.on(TEXT, GOOD.when(slow))
    with cluster_of(node, load_balancing_policy=Pausing(), max_requests_in_flight=1) as cluster:
        session = cluster.connect()
        other = cluster.connect()
        first = session.execute_async("SELECT quick")
        waiting = gevent.spawn(session.execute, "SELECT quick")
        planning.wait()
        quick.set()
        first.result()
        second = other.execute_async(TEXT)  # the only place is taken again
        planned.set()
        eventually(lambda: len(session._admission) == 1)
        slow.set()
        assert second.result().one().v == waiting.get(timeout=5).one().v == 1


def test_dropping_the_session_of_connect_closes_everything(node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    session = geventcql.connect(node.host, port=node.port, **BUSY)
    cluster = weakref.ref(session.cluster)
    rows = session.execute(TEXT)
    del session
    gc.collect()
    gevent.sleep(0.02)
    assert node.connections and rows.one().v == 1  # the result belongs to it
    del rows
    eventually(lambda: gc.collect() >= 0 and not node.connections)
    eventually(gone(cluster))


def test_a_request_of_a_dropped_session_of_connect_is_answered(node: FakeNode) -> None:
    node.on(TEXT, GOOD.after(0.1))
    done: list[Any] = []
    geventcql.connect(node.host, port=node.port, **BUSY).execute_async(TEXT).add_callback(done.append)
    gc.collect()
    eventually(lambda: [row.v for rows in done for row in rows] == [1])
    eventually(lambda: gc.collect() >= 0 and not node.connections)


def test_a_connect_that_fails_leaves_what_is_in_flight_alone(node: FakeNode) -> None:
    with Cluster([node.host], port=node.port) as cluster:
        node.on(TEXT, GOOD.after(0.1))
        session = cluster.connect()
        future = session.execute_async(TEXT)
        session.shutdown()
        assert isinstance(outcome(cluster.connect, "nope"), NoHostAvailable)
        assert future.result().one().v == 1
        assert node.count(Opcode.STARTUP) == 2 and not pooled(cluster.connect())[0].closed


def test_nothing_is_left_of_a_request_that_waited_with_a_long_timeout(node: FakeNode) -> None:
    node.on(TEXT, GOOD.after(0.05))
    session = geventcql.connect(node.host, port=node.port, max_requests_in_flight=1, **BUSY)
    futures = [session.execute_async(TEXT, timeout=3600) for _ in range(5)]
    assert len(session._admission) == 4
    assert [future.result().one().v for future in futures] == [1] * 5
    futures.clear()
    del session
    eventually(lambda: gc.collect() >= 0 and not node.connections)


def test_another_session_keeps_the_cluster_of_connect(node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    first = geventcql.connect(node.host, port=node.port, **BUSY)
    second = first.cluster.connect()
    gone_first = weakref.ref(first)
    del first
    eventually(gone(gone_first))
    gevent.sleep(0.05)
    assert second.execute(TEXT).one().v == 1
    second.cluster.shutdown()
