"""When connections are opened again: pauses of the policy, and a rate that many at once do not exceed."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest

from geventcql.policies import ConstantReconnectionPolicy
from geventcql.reconnecting import Backoff, OpeningRate
from tests.driver.support import cluster_of, eventually, pooled
from tests.support.fakenode import FakeNode


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


def test_many_clusters_come_back_at_a_rate(monkeypatch: pytest.MonkeyPatch, node: FakeNode) -> None:
    monkeypatch.setattr("geventcql.reconnecting.RATE", OpeningRate(per_endpoint=40, total=1000))
    clusters = [cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(0.01)) for _ in range(30)]
    sessions = [cluster.connect() for cluster in clusters]
    assert node.accepted == 60  # nothing slows the first ones down
    node.stop()
    eventually(lambda: all(session.hosts[0].is_up is False for session in sessions), 10)
    gevent.sleep(1.0)  # attempts that are refused count, too
    node.start()
    before, started = node.accepted, time.monotonic()
    eventually(lambda: all(pooled(session) for session in sessions), 20)
    took = time.monotonic() - started
    assert node.accepted - before <= 40 * (took + 1) + 1
    for cluster in clusters:
        cluster.shutdown()


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
