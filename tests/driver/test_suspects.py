"""Hosts that fall silent: what may be sent twice does not wait for them."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import gevent
import pytest

from geventcql import OperationTimedOut, events
from geventcql.cluster import Cluster, Session
from geventcql.net import heartbeat
from geventcql.policies import RoundRobinPolicy
from geventcql.query import SimpleStatement
from tests.driver.support import eventually, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode, Rows, status_change
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

QUERY = "SELECT v FROM t"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SUSPECT_AFTER", 0.2)
    monkeypatch.setattr(heartbeat, "TICK", 0.05)


@pytest.fixture
def nodes() -> Iterator[FakeCluster]:
    with FakeCluster(2) as nodes:
        nodes.on(QUERY, rows=[("v", "int")], data=[(1,)])
        yield nodes


@pytest.fixture
def session(nodes: FakeCluster) -> Iterator[Session]:
    with Cluster(nodes.addresses, port=nodes.port, load_balancing_policy=RoundRobinPolicy()) as cluster:
        yield cluster.connect(wait_for_all_pools=True)


def statement(idempotent: bool) -> SimpleStatement:
    return SimpleStatement(QUERY, is_idempotent=idempotent)


def silence(session: Session, node: FakeNode) -> None:
    node.pause()
    assert node.host in {host.address for host in session.hosts}


def test_idempotent_requests_go_to_the_next_host(nodes: FakeCluster, session: Session) -> None:
    silence(session, nodes[0])
    started = monotonic()
    futures = [session.execute_async(statement(True), timeout=10) for _ in range(20)]
    assert [future.result().one().v for future in futures] == [1] * 20
    assert monotonic() - started < 5  # not the deadline of ten seconds
    assert any(len(future.attempted_hosts) == 2 for future in futures)
    assert {future.coordinator_host.address for future in futures} == {nodes[1].host}
    # New requests do not try the silent host any more.
    assert {session.execute(statement(False)).response_future.coordinator_host.address for _ in range(6)} == {nodes[1].host}
    nodes[0].resume()
    gevent.sleep(0.3)  # its answers show that it lives
    hosts = {session.execute(statement(False)).response_future.coordinator_host.address for _ in range(6)}
    assert hosts == {nodes[0].host, nodes[1].host}


def test_others_wait_for_their_deadline(nodes: FakeCluster, session: Session) -> None:
    silence(session, nodes[0])
    futures = [session.execute_async(statement(False), timeout=1.5) for _ in range(4)]
    gevent.wait(futures)
    errors = [future.exception for future in futures if future.exception is not None]
    assert len(errors) == 2
    assert all(isinstance(error, OperationTimedOut) for error in errors)
    assert len(nodes[1].queries) == 2  # nothing was sent twice
    nodes[0].resume()


def test_a_silent_host_is_asked_when_there_is_no_other(nodes: FakeCluster, session: Session) -> None:
    for node in nodes:
        silence(session, node)
    futures = [session.execute_async(statement(True), timeout=10) for _ in range(4)]
    gevent.sleep(0.8)
    for node in nodes:
        node.resume()
    assert [future.result().one().v for future in futures] == [1] * 4


@pytest.mark.logs(r"WARNING the control connection to .* is silent, and there is no other")
def test_a_request_stays_with_a_silent_host_when_no_other_is_well(nodes: FakeCluster, session: Session) -> None:
    nodes[1].stop()
    silence(session, nodes[0])
    futures = [session.execute_async(statement(True), timeout=10) for _ in range(4)]
    gevent.sleep(0.8)
    assert not any(future.ready() for future in futures)
    nodes[0].resume()
    assert [future.result().one().v for future in futures] == [1] * 4
    assert len(nodes[0].queries) == 4  # nothing was sent twice


def test_a_host_that_was_silent_before(nodes: FakeCluster, session: Session) -> None:
    """The plan has passed it by, but when the next one falls silent it is well again."""
    silence(session, nodes[0])
    asked = [session.execute_async(statement(False), timeout=10) for _ in range(2)]
    eventually(lambda: any(connection.suspect for connection in pooled(session)))
    nodes[1].pause()
    futures = [session.execute_async(statement(True), timeout=10) for _ in range(4)]
    nodes[0].resume()
    started = monotonic()
    assert [future.result().one().v for future in futures] == [1] * 4
    assert monotonic() - started < 5
    nodes[1].resume()
    gevent.wait(asked)


def test_a_host_that_is_up_again_in_a_flood_of_events_is_not_down_at_its_next_silence(
    nodes: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More events than are kept: with them goes the word that it is up."""
    monkeypatch.setattr(events, "MOST_WAITING", 20)
    with Cluster(nodes.addresses, port=nodes.port, status_event_refresh_window=0) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        host = next(host for host in session.hosts if host != cluster.get_control_connection_host())
        node = next(node for node in nodes if node.host == host.address)
        control = next(other for other in nodes if other is not node)
        control.push(status_change("DOWN", host.address, nodes.port))
        eventually(lambda: cluster._registry._supervisors[host].said_down)
        flood = [status_change("DOWN", f"10.0.0.{index}", 9042) for index in range(200)]
        flood[5] = status_change("UP", host.address, nodes.port)
        for event in flood:
            control.push(event)
        eventually(lambda: not cluster._registry._supervisors[host].said_down)
        silence(session, node)
        asked = session.execute_async(statement(False), timeout=10, host=host)
        eventually(lambda: any(connection.suspect for connection in pooled(session)))
        gevent.sleep(0.3)
        node.resume()
        assert asked.result().one().v == 1 and host.is_up


def test_who_waits_for_room_is_not_sent_to_a_silent_host(nodes: FakeCluster) -> None:
    options = {"load_balancing_policy": RoundRobinPolicy(), "max_requests_in_flight": 2}
    nodes[1].on(QUERY, Rows([("v", "int")], [(1,)]).after(0.3))
    with Cluster(nodes.addresses, port=nodes.port, **options) as cluster:  # type: ignore[arg-type]
        session = cluster.connect(wait_for_all_pools=True)
        silence(session, nodes[0])
        first = [session.execute_async(statement(False), timeout=1) for _ in range(4)]
        waiting = [session.execute_async(statement(False), timeout=10) for _ in range(8)]
        gevent.wait(first)
        assert sum(isinstance(future.exception, OperationTimedOut) for future in first) == 2
        assert [future.result().one().v for future in waiting] == [1] * 8
        assert {future.coordinator_host.address for future in waiting} == {nodes[1].host}
        nodes[0].resume()
