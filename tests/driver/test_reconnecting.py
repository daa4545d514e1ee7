"""When connections are opened again: pauses of the policy, and a rate that many at once do not exceed."""

from __future__ import annotations

import random
import time
from typing import Any

import gevent
import pytest

from geventcql.auth import PlainTextAuthProvider
from geventcql.cluster import Cluster
from geventcql.policies import ConstantReconnectionPolicy, ExponentialReconnectionPolicy
from geventcql.reconnecting import Backoff, OpeningRate
from geventcql.session import Session
from tests.driver.hostlife import Told, answers, connected, settle
from tests.driver.support import cluster_of, eventually, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode
from tests.support.logs import REFUSED, UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

LONGEST = 0.2
"""The longest pause between attempts, seconds, while nodes restart again and again."""


def test_what_a_second_allows_may_come_at_once_and_the_rest_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventcql.reconnecting.monotonic", lambda: 1000.0)
    rate = OpeningRate(per_endpoint=10, total=1000)
    waits = [rate.reserve("a") for _ in range(30)]
    assert waits[:10] == pytest.approx([0.0] * 10)
    assert waits[10:] == pytest.approx([n / 10 for n in range(1, 21)])
    assert rate.reserve("b") == pytest.approx(0.0)


def test_end_points_share_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventcql.reconnecting.monotonic", lambda: 1000.0)
    rate = OpeningRate(per_endpoint=10, total=20)
    assert [rate.reserve(n) for n in range(20)] == pytest.approx([0.0] * 20)
    assert rate.reserve(20) > 0.01


def test_end_points_that_are_not_used_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = OpeningRate(per_endpoint=1e9, total=1e9)
    for n in range(5000):
        rate.reserve(n)
    assert len(rate._free) <= 1002


class Owner:
    reconnection_policy = ConstantReconnectionPolicy(30)


def test_losses_and_failures() -> None:
    owner: Any = Owner()
    backoff = Backoff(owner)
    assert backoff.is_due() and not backoff.again
    backoff.opened()
    backoff.lost()
    assert backoff.is_due() and backoff.again
    backoff.failed()
    assert not backoff.is_due() and 29 < backoff.due - time.monotonic() <= 30
    backoff.hurry()
    assert backoff.is_due()


def test_an_attempt_that_began_before_there_was_word_is_followed_by_another_at_once() -> None:
    owner: Any = Owner()
    backoff = Backoff(owner)
    backoff.begin()
    backoff.hurry()
    backoff.failed()
    assert backoff.is_due()
    backoff.begin()
    backoff.failed()
    assert not backoff.is_due()


@pytest.mark.parametrize("size", [1, 3])
def test_connections_by_distance(node: FakeNode, size: int) -> None:
    from geventcql.policies import HostDistance

    with cluster_of(node, connections_per_host={HostDistance.LOCAL: size}) as cluster:
        session = cluster.connect()
        eventually(lambda: len(pooled(session)) == size)
        assert cluster.get_core_connections_per_host(HostDistance.LOCAL) == size
        assert cluster.get_core_connections_per_host(HostDistance.REMOTE) == 1
        cluster.set_core_connections_per_host(HostDistance.LOCAL, 5)
        eventually(lambda: len(pooled(session)) == 5)
        cluster.set_core_connections_per_host(HostDistance.LOCAL, 2)
        eventually(lambda: len(pooled(session)) == 2 and len(node.connections) == 3)
        with pytest.raises(ValueError, match="at least 1"):
            cluster.set_core_connections_per_host(HostDistance.LOCAL, 0)


class Restarts:
    """A node of three at a time ends in some way, at any moment of what comes of the one before."""

    def __init__(self, nodes: FakeCluster, rng: random.Random) -> None:
        self.nodes, self.rng = nodes, rng
        self.ways = (self.stop, self.drop, self.refuse, self.pause)

    def some_time(self) -> None:
        gevent.sleep(self.rng.choice([0, 0.001, 0.003, 0.01, 0.03]) * self.rng.random())

    def one(self) -> None:
        node = self.rng.choice(self.nodes.nodes)
        self.rng.choice(self.ways)(node)
        self.some_time()

    def stop(self, node: FakeNode) -> None:
        node.stop()
        self.some_time()
        node.start()

    def drop(self, node: FakeNode) -> None:
        node.drop_connections(rst=self.rng.random() < 0.5)

    def refuse(self, node: FakeNode) -> None:
        node.refuse()
        node.drop_connections()
        self.some_time()
        node.listen()

    def pause(self, node: FakeNode) -> None:
        node.pause()
        node.drop_connections()
        self.some_time()
        node.resume()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.logs(REFUSED)
def test_a_thousand_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """At random phases, the password being changed now and then: all pools are full again within the longest pause and the
    time of two handshakes, however many came before (pitfall C2).
    """
    monkeypatch.setattr("geventcql.reconnecting.RATE", OpeningRate(1000, 1000))
    rng = random.Random(1)
    users = {"ada": "0"}
    provider = PlainTextAuthProvider("ada", "0")
    options: dict[str, Any] = {"auth_provider": provider, "connections_per_host": 2, "connect_timeout": 0.5}
    options["reconnection_policy"] = ExponentialReconnectionPolicy(0.01, LONGEST)
    with FakeCluster(3, auth=users) as nodes, connected(nodes, **options) as (cluster, session, told):
        restarts = Restarts(nodes, rng)
        slowest = 0.0
        for number in range(1000):
            if number % 50 == 25:
                users["ada"] = str(number)
            restarts.one()
            if number % 50 == 25:
                restarts.some_time()
                provider.password = str(number)
            if number % 10 == 9:
                began = time.monotonic()
                gevent.sleep(0.02)  # what happened last is heard of: until then all looks whole
                eventually(lambda: is_whole(cluster, session), 10)
                slowest = max(slowest, time.monotonic() - began)
                cluster._registry.check_invariants()
                answers(session, nodes, 12)
        print(f"whole again after {slowest:.2f} s at most")
        assert slowest < LONGEST + 2 * options["connect_timeout"]
        settle(lambda: is_whole(cluster, session))
        eventually(lambda: alternate(told, nodes))


def is_whole(cluster: Cluster, session: Session) -> bool:
    pools = session.get_pools()
    full = len(pools) == 3 and not any(pool.missing for pool in pools)
    return full and cluster._control.connection is not None and all(host.is_up for host in session.hosts)


def alternate(told: Told, nodes: FakeCluster) -> bool:
    """Whether the listener was told of each host by turns that it is down and that it is up, up at last."""
    stories = [[what for what, address in told.news if address == node.host] for node in nodes]
    return all(story == ["down", "up"] * (len(story) // 2) for story in stories)
