"""Shared by the tests of hosts that come, go and change: a Cluster on a fake one, and a listener that remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from geventcql.cluster import Cluster
from geventcql.policies import ConstantReconnectionPolicy, HostStateListener
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, eventually, serve_keys
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode

SOON = ConstantReconnectionPolicy(0.02)
AT_ONCE: dict[str, Any] = {
    "reconnection_policy": SOON,
    "topology_event_refresh_window": 0,
    "status_event_refresh_window": 0,
    "schema_event_refresh_window": 0,
}


class Told(HostStateListener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.news: list[tuple[str, str]] = []

    def on_up(self, host: Any) -> None:
        self.news.append(("up", host.address))

    def on_down(self, host: Any) -> None:
        self.news.append(("down", host.address))

    def on_add(self, host: Any) -> None:
        self.news.append(("add", host.address))

    def on_remove(self, host: Any) -> None:
        self.news.append(("remove", host.address))

    def clear(self) -> None:
        self.news.clear()


@contextmanager
def connected(nodes: FakeCluster, **options: Any) -> Iterator[tuple[Cluster, Session, Told]]:
    """A Cluster with a pool on every node, and a listener that has forgotten how that came about."""
    serve_keys(nodes)
    told = Told()
    with cluster_of(nodes, **{**AT_ONCE, **options}) as cluster:
        cluster.register_listener(told)
        session = cluster.connect(wait_for_all_pools=True)
        eventually(lambda: len(told.news) >= len(cluster.metadata.all_hosts()))
        told.clear()
        yield cluster, session, told
        cluster._registry.check_invariants()


def addresses(cluster: Cluster) -> set[str]:
    return {host.address for host in cluster.metadata.all_hosts()}


def reachable(session: Session) -> set[str]:
    return {pool.host.address for pool in session.get_pools() if pool.connections}


def answers(session: Session, nodes: FakeCluster, count: int = 60) -> None:
    """Every node gets requests, and each answer is the one to its request."""
    prepared = session.prepare(BY_KEY)
    before = [node.count(BY_KEY) for node in nodes]
    for key in range(count):
        assert session.execute(prepared, (key,)).one().k == key
    after = [node.count(BY_KEY) for node in nodes]
    assert all(now > was for was, now in zip(before, after, strict=True)), (before, after)


def settle(predicate: Callable[[], Any]) -> None:
    eventually(predicate, 10)
    gevent.sleep(0.05)  # and nothing more comes of it
    assert predicate()


def control_node(cluster: Cluster, nodes: FakeCluster) -> FakeNode:
    """The node that the control connection leads to."""
    return next(node for node in nodes if node.host == cluster.get_control_connection_host().address)


def other_node(cluster: Cluster, nodes: FakeCluster) -> FakeNode:
    """A node that the control connection does not lead to."""
    return next(node for node in nodes if node.host != cluster.get_control_connection_host().address)
