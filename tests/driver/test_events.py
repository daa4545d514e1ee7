"""Events of topology and status, in any order and whatever they say: what is true in the end, each change told once."""

from __future__ import annotations

import itertools
import random
from typing import Any

import gevent
import pytest

from geventcql.cluster import Cluster
from geventcql.reconnecting import OpeningRate
from tests.driver.hostlife import Told, addresses, answers, connected, other_node, reachable, settle
from tests.driver.support import eventually
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode
from tests.support.logs import UNREACHABLE
from tests.support.replies import status_change, topology_change

pytestmark = pytest.mark.logs(UNREACHABLE)

TELLING = {"join": {"NEW_NODE", "UP", "refresh"}, "leave": {"REMOVED_NODE", "refresh"}}
"""Behind which what there is gets looked at; the others may come before there is anything to see."""
ORDERS = list(itertools.permutations(["NEW_NODE", "UP", "DOWN", "REMOVED_NODE", "refresh"]))


def push(nodes: FakeCluster, event: str, node: FakeNode) -> None:
    make = topology_change if event.endswith("NODE") else status_change
    nodes.push(make(event, node.host, nodes.port))


class Orders:
    """A node joins and leaves by turns, while the five things that may tell of it happen in an order that says otherwise."""

    def __init__(self, nodes: FakeCluster, cluster: Cluster, told: Told, rng: random.Random) -> None:
        self.nodes, self.cluster, self.told, self.rng = nodes, cluster, told, rng
        self.node = nodes.add()
        nodes.remove(self.node)
        self.wrong: list[Any] = []

    def change(self, what: str) -> None:
        if what == "join":
            self.node = self.nodes.add()
        else:
            self.nodes.remove(self.node)

    def run(self, what: str, order: tuple[str, ...]) -> None:
        """Change at some point before the last event that tells of it; wait until it has been seen."""
        last = max(order.index(event) for event in TELLING[what])
        at = self.rng.randrange(last + 1)
        self.told.clear()
        for number, event in enumerate(order):
            if number == at:
                self.change(what)
            if event == "refresh":
                self.cluster.refresh_nodes()
            else:
                push(self.nodes, event, self.node)
            gevent.sleep(self.rng.choice([0, 0.001, 0.005]))
        eventually(lambda: addresses(self.cluster) == set(self.nodes.addresses), 10)
        host = self.node.host
        right = [[("add", host)]] if what == "join" else [[("down", host), ("remove", host)], [("remove", host)]]
        eventually(lambda: len(self.told.news) >= len(right[-1]), 10)
        gevent.sleep(0.02)
        if self.told.news not in right:
            self.wrong.append((what, order, at, list(self.told.news)))


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
def test_every_order_of_events_leaves_what_is_true(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 120 orders of four events and a reading, half of them around a node that really comes and half around one that goes,
    the other time the other half (pitfall C3).
    """
    monkeypatch.setattr("geventcql.control.CONFIRM_AFTER", 0.02)
    monkeypatch.setattr("geventcql.reconnecting.RATE", OpeningRate(1000, 1000))
    orders = random.Random(1).sample(ORDERS, len(ORDERS))
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, told):
        world = Orders(nodes, cluster, told, random.Random(first))
        for join, leave in zip(orders[first::2], orders[1 - first :: 2], strict=True):
            world.run("join", join)
            world.run("leave", leave)
        assert world.wrong == []
        settle(lambda: reachable(session) == set(nodes.addresses) == addresses(cluster))
        answers(session, nodes)


def test_events_that_lie_change_nothing() -> None:
    rng = random.Random(20261125)
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, told):
        for order in rng.sample(list(itertools.permutations(["NEW_NODE", "UP", "DOWN", "REMOVED_NODE"])), 8):
            for event in order:
                push(nodes, event, rng.choice(nodes.nodes))
                gevent.sleep(rng.choice([0, 0.001, 0.01]))
        settle(lambda: reachable(session) == set(nodes.addresses))
        assert addresses(cluster) == set(nodes.addresses)
        assert told.news == []
        answers(session, nodes)


def test_events_about_a_node_that_goes_and_comes_tell_each_change_once() -> None:
    rng = random.Random(4)
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, told):
        node = other_node(cluster, nodes)
        for _ in range(4):
            node.stop()
            settle(lambda: told.news == [("down", node.host)])
            for event in rng.choices(["UP", "DOWN"], k=6):
                push(nodes, event, node)
            node.start()
            for event in rng.choices(["UP", "DOWN"], k=6):
                push(nodes, event, node)
            settle(lambda: told.news == [("down", node.host), ("up", node.host)])
            assert reachable(session) == set(nodes.addresses)
            told.clear()
