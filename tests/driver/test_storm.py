"""A node that many Clusters come back to at once: no more connections a second than it is to bear."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from geventcql import reconnecting
from geventcql.policies import ConstantReconnectionPolicy
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, eventually, pooled, serve_keys
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Ready, Reply, Request
from tests.support.logs import UNREACHABLE
from tests.support.memory import resident

pytestmark = pytest.mark.logs(UNREACHABLE, r"WARNING \d+ Clusters are connected")

CLUSTERS = 40
RATE = 40.0
WINDOW = 3.0
"""Seconds, in any of which no more are opened than the rate allows."""


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


def is_at_rate(opened: list[float], rate: float) -> bool:
    """Whether that many connections were opened in a second, over all the time and over each three seconds of it.

    What one second allows may come at once, and another second's where the machine is busy: they are seen late and together.
    """
    within = max(bisect_right(opened, at + WINDOW) - number for number, at in enumerate(opened))
    return within <= rate * (WINDOW + 2) and len(opened) <= rate * (opened[-1] - opened[0] + 2)


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
    eventually(lambda: len(slow.opened) > 3 * RATE, 20)
    slow.slowness = 0.01
    with gevent.Timeout(60):
        while not everybody_is_back(sessions):
            gevent.sleep(0.05)
    assert is_at_rate(slow.opened, RATE)
    # Nobody has more than a connection of the pool's and the control connection, and nothing is left of the tries.
    slow.node.wait_for(lambda node: len(node.connections) == 2 * CLUSTERS)
    for k, session in enumerate(sessions):
        assert session.execute(session.prepare(BY_KEY), [k]).one() == (k,)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_log")
def test_two_hundred_clusters(slow: SlowNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their attempts that come to nothing leave nothing: memory stays what it was after the first storm (pitfall C6)."""
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
            with gevent.Timeout(120):
                while slow.refusals or not everybody_is_back(sessions):
                    gevent.sleep(0.05)
            assert 500 + 2 * count <= len(slow.opened) and is_at_rate(slow.opened, rate)
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
    assert len(slow.opened) > RATE / 2 and is_at_rate(slow.opened, RATE)
    with gevent.Timeout(60):
        while not everybody_is_back(sessions):
            gevent.sleep(0.05)
