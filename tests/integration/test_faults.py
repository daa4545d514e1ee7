"""Three nodes under load; one at a time is killed, or falls silent, and returns: nobody notices but the clock.

The scenarios last for GEVENTCQL_FAULT_SECONDS (60 by default) and are meant to be run for 300 by hand.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventcql import ConsistencyLevel
from geventcql.errors import ReadTimeout, Unavailable, WriteTimeout
from geventcql.policies import ExponentialReconnectionPolicy, RetryPolicy
from geventcql.session import Session
from geventcql.testing import CassandraCluster, CassandraNode
from tests.integration.faults import SECONDS, Load, Told, in_full_use, make_table, restart_noting_when_it_listens, wait_until
from tests.integration.relays import Relays
from tests.integration.support import DDL_TIMEOUT, alone, connect
from tests.support.relay import Link, Relay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SECONDS + 300)]

PAUSE = 10.0
DEAD_FOR = 3.0
SLOWEST_KILLED = 2.0
SLOWEST_PAUSED = 5.0
IDLE_CPU = 0.1  # seconds, of a minute
BACK_WITHIN = 12.0  # of listening; the reconnection policy's longest pause is 10 s


@pytest.fixture(scope="module")
def servers() -> Iterator[CassandraCluster]:
    # On a busy machine a well node may take long; that is not to look like a fault.
    yaml = {"read_request_timeout": "5s", "write_request_timeout": "5s"}
    with CassandraCluster(3, heap="400m", yaml=yaml) as servers:
        yield servers


@pytest.fixture(scope="module")
def table(servers: CassandraCluster) -> str:
    with connect(servers) as cluster:
        return make_table(cluster.connect(), "faults")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(params=[4, 5], ids=lambda version: f"v{version}")
def session(request: pytest.FixtureRequest, servers: CassandraCluster, table: str, told: Told) -> Iterator[Session]:
    policy = ExponentialReconnectionPolicy(1, 10)
    with connect(servers, request.param, reconnection_policy=policy) as cluster:
        cluster.register_listener(told)
        session = cluster.connect(wait_for_all_pools=True)
        wait_until(lambda: all(in_full_use(session, node.address) for node in servers), 30)
        told.clear()
        yield session


def test_idle(servers: CassandraCluster, table: str) -> None:
    """Without requests there is nothing to do but heartbeats: no polling."""
    result = alone("idle", servers, table)
    print(result)
    assert result["hosts"] == result["open"] == 3
    assert result["cpu"] < IDLE_CPU, result


class Faults:
    """Makes one fault after the other, the next only when the last node is back in full use."""

    def __init__(self, servers: CassandraCluster, session: Session, load: Load, told: Told) -> None:
        self.slowest_return = 0.0
        self.made: Counter[str] = Counter()
        self._servers = servers
        self._session = session
        self._load = load
        self._told = told

    def kill(self, node: CassandraNode) -> None:
        self._told.clear()
        with self._load.during("killed", node.address):
            node.kill()
            gevent.sleep(DEAD_FOR)
            assert not self._load.uses(node.address)
            starting, listens_since = restart_noting_when_it_listens(self._servers, node.address)
            self._load.enter("returning")
            wait_until(lambda: self._is_back(node), BACK_WITHIN)
            self.slowest_return = max(self.slowest_return, time.monotonic() - listens_since)
            starting.get()
        assert self._told.events == [("down", node.address), ("up", node.address)]
        self.made["kill"] += 1

    def pause(self, node: CassandraNode) -> None:
        self._told.clear()
        with self._load.during("paused", node.address):
            node.pause()
            gevent.sleep(PAUSE)
            assert not self._load.uses(node.address)
            node.resume()
            wait_until(lambda: self._is_back(node), BACK_WITHIN)
            self._servers.settle()
        # Down only if its connections were given up.
        assert self._told.events in ([], [("down", node.address), ("up", node.address)])
        self.made["pause"] += 1

    def _is_back(self, node: CassandraNode) -> bool:
        return in_full_use(self._session, node.address) and self._load.uses(node.address)

    def go_on(self, seconds: float) -> None:
        """One fault after the other, node by node, for that long."""
        end = time.monotonic() + seconds
        for turn in itertools.count():
            node = self._servers[turn % len(self._servers)]
            (self.kill, self.pause)[turn % 2](node)
            if time.monotonic() > end:
                break
        print(*self._load.worst.items(), dict(self.made), dict(self._load.done), sep="\n")
        print("bystanders", {phase: round(seconds, 2) for phase, seconds in self._load.bystanders.items()})
        print(f"in full use again at most {self.slowest_return:.1f} s after it listened")


def test_one_node_at_a_time(servers: CassandraCluster, session: Session, table: str, told: Told) -> None:
    with Load(session, table) as load:
        faults = Faults(servers, session, load, told)
        faults.go_on(SECONDS)
    assert load.errors == []
    assert load.slowest["killed"] <= SLOWEST_KILLED
    assert load.slowest["paused"] <= SLOWEST_PAUSED
    assert load.slowest["returning"] <= SLOWEST_PAUSED  # a node that has just started is slow itself


# -- connections that are cut between driver and nodes ------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
def test_one_of_several_connections_is_cut(servers: CassandraCluster, table: str, told: Told, version: int) -> None:
    """Of a host's three, or the control connection, by FIN and by RST: no host is down, no request fails."""
    options = {"connections_per_host": 3, "reconnection_policy": ExponentialReconnectionPolicy(1, 10)}
    with (
        Relays(servers.contact_points, servers.port) as relays,
        connect(relays, version, address_translator=relays, **options) as cluster,
    ):
        cluster.register_listener(told)
        session = cluster.connect(wait_for_all_pools=True)

        def all_in_use() -> bool:
            return all(in_full_use(session, address, connections=3) for address in relays.contact_points)

        def links(is_control: bool) -> list[tuple[Relay, Link]]:
            return [(relay, link) for relay in relays for link in relay.links if link.is_control == is_control]

        wait_until(all_in_use, 30)
        told.clear()
        with Load(session, table) as load:
            for turn, rst in enumerate([False, True] * 3):
                relay, link = links(is_control=False)[3 * (turn % 3)]
                link.cut(rst)
                wait_until(lambda link=link, relay=relay: link not in relay.links and all_in_use(), BACK_WITHIN)
            for rst in (False, True):
                [(relay, link)] = links(is_control=True)
                link.cut(rst)
                wait_until(lambda link=link, relay=relay: link not in relay.links and links(is_control=True), BACK_WITHIN)
        print(load.worst)
        assert load.errors == []
        assert told.events == []


# -- LOCAL_QUORUM: a node that has just gone is still counted on by the others ------------------------------------------


class Written(RetryPolicy):
    """The default policy, which writes down its decisions: the retries, and how many errors it lets through."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, int]] = Counter()

    def _decide(self, what: str, args: Any, kwargs: Any) -> Any:
        decision = getattr(super(), what)(*args, **kwargs)
        self.decisions[what, decision[0]] += 1
        return decision

    def on_read_timeout(self, *args: Any, **kwargs: Any) -> Any:
        return self._decide("on_read_timeout", args, kwargs)

    def on_write_timeout(self, *args: Any, **kwargs: Any) -> Any:
        return self._decide("on_write_timeout", args, kwargs)

    def on_unavailable(self, *args: Any, **kwargs: Any) -> Any:
        return self._decide("on_unavailable", args, kwargs)

    def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
        return self._decide("on_request_error", args, kwargs)


@pytest.mark.parametrize("session", [5], ids=["v5"], indirect=True)
def test_a_quorum_while_one_node_at_a_time_is_away(
    servers: CassandraCluster, session: Session, table: str, told: Told
) -> None:
    policy = Written()
    with Load(session, table, ConsistencyLevel.LOCAL_QUORUM, policy) as load:
        Faults(servers, session, load, told).go_on(SECONDS)
    expected = {"on_read_timeout": ReadTimeout, "on_write_timeout": WriteTimeout, "on_unavailable": Unavailable}
    print(policy.decisions)
    let_through = {what: n for (what, decision), n in policy.decisions.items() if decision == RetryPolicy.RETHROW}
    came = Counter(type(error) for error in load.errors)
    assert came == {expected[what]: n for what, n in let_through.items()}
    # What the policy does not let through at once it sends once more.
    assert all(error.attempts <= 2 for error in load.errors if not isinstance(error, ReadTimeout | WriteTimeout))
    assert policy.decisions.total() > 0


# -- changes of the schema wait for the nodes that are there, not for others --------------------------------------------


def change_schema(session: Session, node: CassandraNode, table: str) -> float:
    """Make a table through a node; when it was done, which all nodes then knew."""
    host = next(host for host in session.hosts if host.address == node.address)
    future = session.execute_async(f"CREATE TABLE faults.{table} (k int PRIMARY KEY)", host=host, timeout=DDL_TIMEOUT)
    future.result()
    assert future.is_schema_agreed
    return time.monotonic()


def schemas(session: Session, node: CassandraNode, live: list[CassandraNode]) -> set[Any]:
    """The versions of the schema that the nodes that live have, as one of them knows."""
    host = next(host for host in session.hosts if host.address == node.address)
    (own,) = session.execute("SELECT schema_version FROM system.local", host=host).one()
    peers = session.execute("SELECT peer, schema_version FROM system.peers", host=host)
    return {own, *(row.schema_version for row in peers if row.peer in [other.address for other in live])}


def agreement(session: Session, node: CassandraNode, live: list[CassandraNode], before: set[Any]) -> float:
    """Wait until the nodes that live have agreed on another schema than that from before; when that was."""
    with gevent.Timeout(60):
        while len(now := schemas(session, node, live)) > 1 or now == before:
            gevent.sleep(0.02)
    return time.monotonic()


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_ddl_while_a_node_is_away(servers: CassandraCluster, table: str, told: Told, fault: str) -> None:
    """It returns within a second of the node being marked down, or of the others having agreed, if that comes later."""
    victim = servers[2]
    options = {
        "max_schema_agreement_wait": 60,
        "idle_heartbeat_interval": 1,
        "idle_heartbeat_timeout": 2,
        "connect_timeout": 1,
        "reconnection_policy": ExponentialReconnectionPolicy(1, 10),
    }
    with connect(servers, **options) as cluster:
        cluster.register_listener(told)
        session = cluster.connect(wait_for_all_pools=True)
        told.clear()
        try:
            getattr(victim, fault)()
            for turn, node in enumerate(servers.nodes[:2]):  # the second time the node has been marked down before
                before = schemas(session, node, servers.nodes[:2])
                changing = gevent.spawn(change_schema, session, node, f"{fault}_{turn}")
                agreeing = gevent.spawn(agreement, session, node, servers.nodes[:2], before)
                wait_until(lambda: told.of(victim.address), 30)
                assert told.events == [("down", victim.address)]
                late = changing.get(timeout=60) - max(told.when[0], agreeing.get(timeout=60))
                print(f"{fault}: DDL returned after {late:.2f} s")
                assert late <= 1.0
        finally:
            victim.resume()
            servers.start()
            servers.settle()
        wait_until(lambda: told.of(victim.address) == ["down", "up"], BACK_WITHIN)
