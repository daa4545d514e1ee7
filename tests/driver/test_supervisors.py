"""What a host's supervisor gives up is given up, and whoever waits for it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql import supervisor
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.errors import NoHostAvailable
from geventcql.policies import HostDistance, RoundRobinPolicy
from tests.driver.hostlife import connected, control_node, other_node
from tests.driver.support import cluster_of, eventually
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode, Rows


@pytest.fixture
def nodes() -> Iterator[FakeCluster]:
    with FakeCluster(2) as started:
        yield started


def probing(cluster: Cluster, node: FakeNode) -> tuple[Any, Any]:
    """The supervisor of a node, and an attempt of it that has begun."""
    [keeper] = [each for host, each in cluster._registry._supervisors.items() if host.address == node.host]
    keeper._attempt = supervisor.Attempt(keeper, None)
    gevent.sleep(0)
    return keeper, keeper._attempt


def test_an_attempt_that_succeeds_though_it_was_given_up(nodes: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an application's authenticator takes the kill for an error of its own."""
    opened: list[Any] = []
    with connected(nodes) as (cluster, _, _):
        really = cluster._open_pooled

        def stubborn(*args: Any) -> Any:
            try:
                gevent.sleep(60)
            except gevent.GreenletExit:
                opened.append(really(*args))
            return opened[-1]

        monkeypatch.setattr(cluster, "_open_pooled", stubborn)
        keeper, _ = probing(cluster, other_node(cluster, nodes))
        keeper._cancel_attempt()
        eventually(lambda: opened and opened[0].closed)


def test_a_host_that_leaves_is_looked_at_no_more(nodes: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(nodes) as (cluster, _, _):
        monkeypatch.setattr(cluster, "_open_pooled", lambda *args: gevent.sleep(60))
        keeper, attempt = probing(cluster, other_node(cluster, nodes))
        cluster._registry.remove(keeper.host)
        assert keeper.ended.wait(5)
        eventually(lambda: attempt._greenlet.dead)


def test_connections_follow_a_host_that_moves(nodes: FakeCluster) -> None:
    """Also where something still answers at its former address."""
    with connected(nodes) as (cluster, session, _):
        node, there = other_node(cluster, nodes), control_node(cluster, nodes)
        [host] = [host for host in session.hosts if host.address == node.host]
        [pool] = [pool for pool in session.get_pools() if pool.host is host]
        former = list(pool.connections)
        [place] = [each.endpoint for each in session.hosts if each.address == there.host]
        cluster._registry.place(host, (place, host.datacenter, host.rack))
        eventually(lambda: [connection.endpoint.address for connection in pool.connections] == [there.host])
        eventually(lambda: all(connection.closed for connection in former))


def test_who_waits_for_a_host_that_is_not_used_any_more_is_told() -> None:
    class Fickle(RoundRobinPolicy):
        seen = HostDistance.LOCAL

        def distance(self, host: Any) -> Any:
            return self.seen

    policy, gate = Fickle(), Event()
    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(policy)}
    with FakeNode() as node, cluster_of(node, max_requests_in_flight=1, execution_profiles=profiles) as cluster:
        node.on("SELECT gated", Rows([("v", "int")], [(7,)]).when(gate))
        session = cluster.connect()
        sent, waiting = [session.execute_async("SELECT gated", timeout=None) for _ in range(2)]
        policy.seen = HostDistance.IGNORED
        cluster._registry.reconsider()
        with gevent.Timeout(5), pytest.raises(NoHostAvailable):
            waiting.get()
        gate.set()
        assert sent.result().one().v == 7
