"""Anything may happen to nodes, in any order, while policies fail and whoever waits is killed; then all is well again.

What is done is drawn at random, from a seed that the test's name tells. What must hold in the end: every node is in use, no
other is known, and each policy and each listener was told each transition once. `GEVENTCQL_RANDOM_SEEDS=1000` has more seeds
tried.
"""

from __future__ import annotations

import os
import random
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.policies import HostStateListener, RoundRobinPolicy
from geventcql.session import Session
from tests.driver.hostlife import AT_ONCE, addresses, answers, reachable
from tests.driver.support import eventually, have_keyspaces, outcome, serve_keys
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Ready
from tests.support.replies import status_change, topology_change

pytestmark = pytest.mark.logs("WARNING ", r"(ZeroDivisionError|GreenletExit) ")

STEPS = 60
FOLLOWS = {
    None: {"on_add"},
    "on_add": {"on_down", "on_remove"},
    "on_up": {"on_down", "on_remove"},
    "on_down": {"on_up", "on_remove"},
    "on_remove": {"on_add"},
}
"""What may be told of a host behind what was told last."""


class Moods:
    """How applications' code behaves: it fails, and waits, until it is to be ``calm``."""

    def __init__(self, drawn: random.Random) -> None:
        self._drawn = drawn
        self.calm = False

    def __call__(self) -> None:
        if self.calm:
            return
        if self._drawn.random() < 0.2:
            gevent.sleep(self._drawn.random() * 0.01)
        chance = self._drawn.random()
        if chance < 0.05:
            raise ZeroDivisionError("a mood")
        if chance < 0.07:
            raise gevent.GreenletExit


class Record(HostStateListener):
    """Notes what it is told, and what cannot be so."""

    again: frozenset[str] = frozenset()
    """What may be told a second time."""

    def __init__(self, moods: Moods) -> None:
        self._moods = moods
        self.last: dict[Any, str | None] = defaultdict(lambda: None)
        self.story: list[Any] = []
        self.wrong: list[Any] = []

    def _hear(self, method: str, host: Any) -> None:
        self.story.append((method, host.host_id, host.address))
        last = self.last[host.host_id]
        if method not in FOLLOWS[last] and not (method == last and method in self.again):
            self.wrong.append(self.story[-1])
        self.last[host.host_id] = method
        self._moods()

    def on_add(self, host: Any) -> None:
        self._hear("on_add", host)

    def on_remove(self, host: Any) -> None:
        self._hear("on_remove", host)

    def on_up(self, host: Any) -> None:
        self._hear("on_up", host)

    def on_down(self, host: Any) -> None:
        self._hear("on_down", host)

    def all_up(self) -> set[Any]:
        """The hosts that it thinks to be up."""
        return {host_id for host_id, last in self.last.items() if last in ("on_add", "on_up")}


class Policy(RoundRobinPolicy):
    """As Record, and is asked how near hosts are."""

    def __init__(self, moods: Moods) -> None:
        self.record = Record(moods)
        self.record.again = frozenset(["on_down", "on_up"])  # so they are told of another rack, one after the other
        self._moods = moods

    def populate(self, cluster: Any, hosts: Any) -> None:
        super().populate(cluster, hosts)
        for host in hosts:
            self.record.last[host.host_id] = "on_up" if host.is_up else "on_down"
        self._moods()

    def distance(self, host: Any) -> int:
        self._moods()
        return super().distance(host)

    def on_add(self, host: Any) -> None:
        super().on_add(host)
        self.record.on_add(host)

    def on_remove(self, host: Any) -> None:
        super().on_remove(host)
        self.record.on_remove(host)

    def on_up(self, host: Any) -> None:
        super().on_up(host)
        self.record.on_up(host)

    def on_down(self, host: Any) -> None:
        super().on_down(host)
        self.record.on_down(host)


class World:
    """The nodes, and what may happen to them."""

    def __init__(self, nodes: FakeCluster, session: Session, moods: Moods, drawn: random.Random) -> None:
        self.nodes = nodes
        self.session = session
        self.moods = moods
        self.drawn = drawn
        self.policies: list[Policy] = []
        self.log: list[str] = []
        self._waiting: list[gevent.Greenlet] = []
        self._rules: list[Any] = []

    def step(self) -> None:
        happens: Callable[[FakeNode], object] = self.drawn.choice(
            [
                self.stop, self.start, self.start, self.cut, self.cut, self.refuse, self.mute, self.unmute, self.overload,
                self.move, self.swap, self.join, self.leave, self.replace, self.lie, self.ask, self.ask, self.meet,
                self.refresh, self.kill, self.slow, self.rack,
            ]
        )  # fmt: skip
        node = self.drawn.choice(self.nodes.nodes)
        self.log.append(f"{happens.__name__} {node.host}")
        happens(node)
        gevent.sleep(self.drawn.choice([0, 0.001, 0.01, 0.05]))

    def stop(self, node: FakeNode) -> None:
        node.stop()

    def start(self, node: FakeNode) -> None:
        if node._listener is None:
            node.start()
            self.nodes.push(status_change("UP", node.host, self.nodes.port))

    def cut(self, node: FakeNode) -> None:
        node.drop_connections(rst=self.drawn.random() < 0.5)

    def refuse(self, node: FakeNode) -> None:
        node.refuse()

    def mute(self, node: FakeNode) -> None:
        node.mute = True

    def unmute(self, node: FakeNode) -> None:
        node.mute = False

    def overload(self, node: FakeNode) -> None:
        self._rules.append(node.on(Opcode.STARTUP, Error(ErrorCode.OVERLOADED), times=3))

    def slow(self, node: FakeNode) -> None:
        self._rules.append(node.on(Opcode.STARTUP, Ready().after(self.drawn.random() * 0.1), times=3))

    def rack(self, node: FakeNode) -> None:
        node.system.local.rack = f"r{self.drawn.randrange(3)}"

    def move(self, node: FakeNode) -> None:
        self.nodes.move(node)
        self.nodes.push(status_change("UP", node.host, self.nodes.port))

    def swap(self, node: FakeNode) -> None:
        other = self.drawn.choice(self.nodes.nodes)
        if other is node:
            return
        node.stop()
        other.stop()
        one, two = node.host, other.host
        node.host = node.system.local.address = two
        other.host = other.system.local.address = one
        for each in (node, other):
            each.start()
            self.nodes.push(status_change("UP", each.host, self.nodes.port))

    def join(self, node: FakeNode) -> None:
        if len(self.nodes) < 6:
            joined = self.nodes.add()
            have_keyspaces(joined, "ks")
            self.nodes.push(topology_change("NEW_NODE", joined.host, self.nodes.port))

    def leave(self, node: FakeNode) -> None:
        if len(self.nodes) > 2:
            self.nodes.remove(node)
            self.nodes.push(topology_change("REMOVED_NODE", node.host, self.nodes.port))

    def replace(self, node: FakeNode) -> None:
        node.stop()
        node.system.local.host_id = uuid.uuid4()
        node.start()
        self.nodes.push(status_change("UP", node.host, self.nodes.port))

    def lie(self, node: FakeNode) -> None:
        self.nodes.push(status_change(self.drawn.choice(["UP", "DOWN"]), node.host, self.nodes.port))

    def ask(self, node: FakeNode) -> None:
        self._wait(lambda: self.session.execute("SELECT key FROM system.local", timeout=1))

    def meet(self, node: FakeNode) -> None:
        policy = Policy(self.moods)
        self.policies.append(policy)
        profile = ExecutionProfile(policy, request_timeout=1)
        self._wait(lambda: self.session.execute("SELECT key FROM system.local", execution_profile=profile))

    def refresh(self, node: FakeNode) -> None:
        self._wait(self.session.cluster.refresh_nodes)

    def kill(self, node: FakeNode) -> None:
        while self._waiting:
            self._waiting.pop().kill(block=False)

    def _wait(self, work: Callable[[], Any]) -> None:
        self._waiting.append(gevent.spawn(outcome, work))

    def calm_down(self) -> None:
        self.moods.calm = True
        for rule in self._rules:
            rule.remove()
        for node in self.nodes:
            node.mute = False
            node.listen()
            self.nodes.push(status_change("UP", node.host, self.nodes.port))
        self.session.cluster._registry.reconsider()  # policies answer otherwise now
        gevent.joinall(self._waiting, timeout=10)
        eventually(lambda: outcome(self.session.cluster.refresh_nodes) is None)


@contextmanager
def world(seed: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Half of them below v5, where there are pools for keyspaces, and half of them with several connections to a host."""
    for name, seconds in (("control.CONFIRM_AFTER", 0.05), ("control.CONFIRM_LATEST", 0.2), ("reconnecting.PAUSE", 0.02)):
        monkeypatch.setattr(f"geventcql.{name}", seconds)
    monkeypatch.setattr("geventcql.reconnecting.RATE.reserve", lambda endpoint: 0.0)
    drawn = random.Random(seed)
    random.seed(seed)
    moods = Moods(drawn)
    moods.calm = True
    policy, record = Policy(moods), Record(moods)
    with FakeCluster(3) as nodes:
        serve_keys(nodes)
        for node in nodes:
            have_keyspaces(node, "ks")

        def resolve(name: str, port: int) -> list[Any]:
            found = nodes.addresses if name == "cassandra.example" else [name]
            return [(socket.AF_INET, (address, port)) for address in found]

        monkeypatch.setattr("geventcql.control.resolve", resolve)
        profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(policy)}
        options: dict[str, Any] = {
            "connect_timeout": 0.3,
            "control_connection_timeout": 0.3,
            "execution_profiles": profiles,
            "protocol_version": 4 + seed % 2,
            "connections_per_host": 1 + seed // 2 % 2,
        }
        heartbeat = {"idle_heartbeat_interval": 0.2, "idle_heartbeat_timeout": 0.3}
        with Cluster(["cassandra.example"], port=nodes.port, **AT_ONCE, **options, **heartbeat) as cluster:
            cluster.register_listener(record)
            session = cluster.connect("ks", wait_for_all_pools=True)
            moods.calm = False
            made = World(nodes, session, moods, drawn)
            made.policies.append(policy)
            yield made
            if not cluster.is_shutdown:
                made.calm_down()
                check(made, record)
            moods.calm = True


def check(made: World, record: Record) -> None:
    cluster, nodes, session = made.session.cluster, made.nodes, made.session
    expected = set(nodes.addresses)
    ids = {node.system.local.host_id for node in nodes}
    racks = {(node.system.local.host_id, node.system.local.rack) for node in nodes}

    def is_full(host: Any) -> bool:
        """Whether it has all its connections, in each keyspace, and answers on them."""
        pools = cluster._registry.pools_of(host)
        connections = [connection for pool in pools for connection in pool.connections]
        return not any(pool.missing for pool in pools) and not any(connection.suspect for connection in connections)

    def troubles() -> list[str]:
        known = [policy for policy in made.policies if cluster._registry.introductions.knows(policy)]
        hosts = cluster.metadata.all_hosts()
        holds = {
            "hosts are known by their addresses": addresses(cluster) == reachable(session) == expected,
            "hosts are known": {(host.host_id, host.rack) for host in hosts} == racks,
            "hosts are up": all(host.is_up for host in hosts),
            "hosts have their connections": all(is_full(host) for host in hosts),
            "the listener knows": record.all_up() == ids,
            "policies know": all(policy.record.all_up() == ids for policy in known),
            "policies use": all({host.host_id for host in policy._live_hosts} == ids for policy in known),
        }
        return [what for what, does_hold in holds.items() if not does_hold]

    try:
        deadline = time.monotonic() + 10
        while troubles() or gevent.sleep(0.05) or troubles():  # what was silent may still be found out
            assert time.monotonic() < deadline, troubles()
            gevent.sleep(0.002)
        for each in (record, *(policy.record for policy in made.policies)):
            assert not each.wrong, each.story
        cluster._registry.check_invariants()
        answers(session, nodes)
    except AssertionError:
        print("expected", sorted(expected), "hosts", cluster.metadata.all_hosts(), "reachable", reachable(session))
        print(*made.log, sep="\n")
        raise


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(int(os.environ.get("GEVENTCQL_RANDOM_SEEDS", "8"))))
def test_whatever_happens_all_is_well_behind_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(seed, monkeypatch) as made:
        for _ in range(STEPS):
            made.step()


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(1000, 1008))
def test_a_shutdown_in_the_middle_of_it_leaves_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(seed, monkeypatch) as made:
        for _ in range(10 + seed % 7):
            made.step()
        made.session.cluster.shutdown()


def test_what_is_noted() -> None:
    """The record itself finds what is told twice, or in the wrong order."""

    class SomeHost:
        host_id, address = 1, "127.0.0.1"

    moods = Moods(random.Random(0))
    moods.calm = True
    for story, wrong in (("add down up remove add", 0), ("add add", 1), ("down", 1), ("add remove up", 1), ("add up", 1)):
        record = Record(moods)
        for word in story.split():
            getattr(record, f"on_{word}")(SomeHost)
        assert len(record.wrong) == wrong
