"""A node that many Clusters come back to at once: no more connections a second than it is to bear."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from geventcql import reconnecting
from geventcql.policies import ConstantReconnectionPolicy
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, pooled, serve_keys
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Ready, Reply, Request
from tests.support.logs import UNREACHABLE
from tests.support.memory import resident

pytestmark = pytest.mark.logs(UNREACHABLE, r"WARNING \d+ Clusters are connected")

CLUSTERS = 40
RATE = 40.0


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate of this test's own, so that neither has the other tests' connections counted, nor they these."""
    monkeypatch.setattr(reconnecting, "RATE", reconnecting.OpeningRate(per_endpoint=RATE, total=1000.0))


class SlowNode:
    """A node that notes when connections are opened, and takes `slowness` seconds to accept each, when it has refused as many
    as `refusals` says.
    """

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.slowness = 0.0
        self.refusals = 0
        self.opened: list[float] = []
        node.on(Opcode.STARTUP, self._start_up)
        serve_keys(node)

    def _start_up(self, request: Request, connection: Any) -> Reply:
        self.opened.append(time.monotonic())
        if self.refusals:
            self.refusals -= 1
            return Error(ErrorCode.IS_BOOTSTRAPPING)
        return Ready().after(self.slowness)


def most_since(began: float, rate: float) -> float:
    """How many connections may have been opened since then: what one second allows may come at once.

    Over all the time, not over each second: where the machine is busy, connections are seen late and together.
    """
    return rate * (time.monotonic() - began + 2)


@pytest.fixture
def slow() -> Iterator[SlowNode]:
    with FakeNode() as node:
        yield SlowNode(node)


@contextmanager
def clusters_of(slow: SlowNode, count: int, connect_timeout: float = 0.2) -> Iterator[list[Session]]:
    """Clusters that try again without a pause, and give a handshake little time."""
    options = {"reconnection_policy": ConstantReconnectionPolicy(0, None), "connect_timeout": connect_timeout}
    clusters = [cluster_of(slow.node, **options) for _ in range(count)]
    try:
        yield [cluster.connect() for cluster in clusters]
    finally:
        for cluster in clusters:
            cluster.shutdown()


@pytest.fixture
def sessions(slow: SlowNode, limited: None) -> Iterator[list[Session]]:
    with clusters_of(slow, CLUSTERS) as connected:
        yield connected


def everybody_is_back(sessions: list[Session]) -> bool:
    return all(pooled(session) and session.cluster._control.connection is not None for session in sessions)


@pytest.mark.timeout(120)
def test_many_clusters_come_back_to_a_slow_node(slow: SlowNode, sessions: list[Session]) -> None:
    assert len(slow.opened) == 2 * CLUSTERS  # first connections pass freely
    slow.node.stop()
    slow.opened.clear()
    slow.slowness = 1.0  # longer than anybody waits: they try again and again
    slow.node.start()
    began = time.monotonic()
    gevent.sleep(4)
    tries = len(slow.opened)
    assert tries > RATE  # they did
    slow.slowness = 0.01
    with gevent.Timeout(60):
        while not everybody_is_back(sessions):
            gevent.sleep(0.05)
    assert len(slow.opened) <= most_since(began, RATE)
    # Nobody has more than a connection of the pool's and the control connection, and nothing is left of the tries.
    slow.node.wait_for(lambda node: len(node.connections) == 2 * CLUSTERS)
    for k, session in enumerate(sessions):
        assert session.execute(session.prepare(BY_KEY), [k]).one() == (k,)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_log")
def test_two_hundred_clusters(slow: SlowNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their attempts that come to nothing leave nothing: memory is afterwards what it was (pitfall C6)."""
    rate, count = 100.0, 200
    monkeypatch.setattr(reconnecting, "RATE", reconnecting.OpeningRate(per_endpoint=rate, total=1000.0))
    slow.node.record = False
    with clusters_of(slow, count, connect_timeout=20) as sessions:
        sizes = []
        for _ in range(4):
            slow.node.stop()
            slow.opened.clear()
            slow.refusals = 500
            slow.node.start()
            began = time.monotonic()
            with gevent.Timeout(120):
                while slow.refusals or not everybody_is_back(sessions):
                    gevent.sleep(0.05)
            assert 500 + 2 * count <= len(slow.opened) <= most_since(began, rate)
            sizes.append(resident())
        print("MB after each storm:", *(f"{size:.1f}" for size in sizes))
        assert sizes[-1] - sizes[0] < 5


@pytest.mark.timeout(120)
def test_a_node_that_drops_what_it_accepts_is_not_stormed(slow: SlowNode, sessions: list[Session]) -> None:
    slow.opened.clear()
    began = time.monotonic()
    while time.monotonic() < began + 3:
        slow.node.drop_connections(rst=True)
        gevent.sleep(0.05)
    assert RATE / 2 < len(slow.opened) <= most_since(began, RATE)
    with gevent.Timeout(60):
        while not everybody_is_back(sessions):
            gevent.sleep(0.05)
