"""Three nodes: who is found, who is asked, and what becomes of requests when nodes die, fall silent and come back."""

from __future__ import annotations

import bisect
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from geventcql import ConsistencyLevel
from geventcql.cluster import Cluster
from geventcql.errors import ConnectionShutdown, NoHostAvailable, ReadTimeout, Unavailable
from geventcql.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, FallthroughRetryPolicy, RoundRobinPolicy
from geventcql.query import SimpleStatement
from geventcql.session import Session
from geventcql.testing import CassandraCluster, CassandraNode
from tests.integration.faults import wait_until
from tests.integration.peer import Peer, PeerError
from tests.integration.support import connect, make_tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KEYS = 300


@pytest.fixture(scope="module")
def servers() -> Iterator[CassandraCluster]:
    yaml = {"read_request_timeout": "1500ms", "write_request_timeout": "1500ms"}
    with CassandraCluster(3, heap="400m", yaml=yaml) as servers:
        replications = {f"rf{n}": f"'class': 'SimpleStrategy', 'replication_factor': {n}" for n in (1, 3)}
        make_tables(servers, replications, "text", (f"v{k}" for k in range(KEYS)))
        yield servers


@pytest.fixture(params=[5], ids=lambda version: f"v{version}")
def session(request: pytest.FixtureRequest, servers: CassandraCluster) -> Iterator[Session]:
    """Knows one node beforehand, tries lost ones again every half second and gives silent ones up after three."""
    options = {
        "port": servers.port,
        "protocol_version": request.param,
        "reconnection_policy": ConstantReconnectionPolicy(0.5),
        "idle_heartbeat_interval": 1,
        "idle_heartbeat_timeout": 2,
    }
    with Cluster(servers.contact_points[:1], **options) as cluster:
        yield cluster.connect(wait_for_all_pools=True)


def on_versions(*versions: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("session", versions, ids=[f"v{version}" for version in versions], indirect=True)


@pytest.fixture
def victim(servers: CassandraCluster) -> Iterator[CassandraNode]:
    """A node to be maltreated, not the one that Sessions know; well again after the test."""
    yield servers[1]
    if servers[1].running:
        servers[1].resume()
    servers.start()


def coordinator(session: Session, statement: Any, values: Any = None) -> str:
    future = session.execute_async(statement, values)
    future.result()
    address: str = future.coordinator_host.address
    return address


# -- who is there, who is asked ---------------------------------------------------------------------------------------


@on_versions(3, 4, 5)
def test_peers_are_found(session: Session, servers: CassandraCluster) -> None:
    hosts = sorted(session.hosts, key=lambda host: socket.inet_aton(host.address))
    assert [host.address for host in hosts] == servers.contact_points
    assert {(host.datacenter, host.rack, host.is_up) for host in hosts} == {("datacenter1", "rack1", True)}
    assert len({host.host_id for host in hosts}) == 3
    (release,) = session.execute("SELECT release_version FROM system.local").one()
    assert {host.release_version for host in hosts} == {release}
    assert {host.address for host in session.get_pool_state()} == set(servers.contact_points)


def test_requests_go_round(session: Session, servers: CassandraCluster) -> None:
    counts = Counter(coordinator(session, "SELECT key FROM system.local") for _ in range(60))
    assert set(counts) == set(servers.contact_points)
    assert min(counts.values()) >= 10


def owner_by_tokens(session: Session, ring: dict[int, str]) -> dict[int, str]:
    """Who has each key of the table without copies: the node of the first token that is not below the key's."""
    tokens = sorted(ring)
    rows = session.execute("SELECT k, token(k) AS t FROM rf1.t")
    return {row.k: ring[tokens[bisect.bisect_left(tokens, row.t) % len(tokens)]] for row in rows}


@on_versions(4, 5)  # v3 does not tell which parameters are the partition key
def test_token_aware_requests_land_on_replicas(session: Session, servers: CassandraCluster) -> None:
    ring = {}
    for host in session.hosts:
        local = session.execute("SELECT tokens, rpc_address FROM system.local", host=host).one()
        ring.update({int(token): local.rpc_address for token in local.tokens})
    owners = owner_by_tokens(session, ring)
    assert len(owners) == KEYS and set(owners.values()) == set(servers.contact_points)
    for key in (0, 1):
        assert owners[key] in servers[0].nodetool("getendpoints", "rf1", "t", str(key))

    select = session.prepare("SELECT v FROM rf1.t WHERE k = ?")
    insert = session.prepare("INSERT INTO rf1.t (k, v) VALUES (?, ?)")
    assert {k: coordinator(session, select, [k]) for k in owners} == owners
    assert {k: coordinator(session, insert.bind((k, f"v{k}"))) for k in owners} == owners
    assert {k: coordinator(session, insert, {"k": k, "v": f"v{k}"}) for k in owners} == owners


def test_the_host_argument(session: Session) -> None:
    for host in session.hosts:
        future = session.execute_async("SELECT rpc_address FROM system.local", host=host)
        assert future.result().one().rpc_address == host.address == future.coordinator_host.address


@pytest.mark.parametrize("policy", [RoundRobinPolicy, lambda: DCAwareRoundRobinPolicy("datacenter1")], ids=["plain", "dc"])
def test_other_policies(servers: CassandraCluster, policy: Callable[[], Any]) -> None:
    with connect(servers, load_balancing_policy=policy()) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        assert {coordinator(session, "SELECT key FROM system.local") for _ in range(30)} == set(servers.contact_points)


# -- nodes that die ---------------------------------------------------------------------------------------------------


class Traffic:
    """30 greenlets that read by key. `done`: answers by coordinator; `errors`: what came instead; `slowest`: seconds.

    A context manager: those errors fail the test, unless it is about statements that may not be sent again.
    """

    def __init__(self, session: Session, is_idempotent: bool = True) -> None:
        self.done: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self.slowest = 0.0
        self._is_idempotent = is_idempotent
        self._session = session
        self._select = session.prepare("SELECT v FROM rf3.t WHERE k = ?")
        self._select.is_idempotent = is_idempotent
        self._stop = False
        self._greenlets = [gevent.spawn(self._run, n) for n in range(30)]

    def _run(self, n: int) -> None:
        while not self._stop:
            n = (n + 7) % KEYS
            started = time.monotonic()
            future = self._session.execute_async(self._select, [n])
            try:
                assert future.result().one().v == f"v{n}"
                self.done[future.coordinator_host.address] += 1
            except Exception as error:
                self.errors.append(error)
            self.slowest = max(self.slowest, time.monotonic() - started)
            gevent.sleep(0.05)

    def since_now(self, seconds: float) -> Counter[str]:
        """Who answers during the next `seconds`."""
        before = self.done.copy()
        gevent.sleep(seconds)
        return self.done - before

    def __enter__(self) -> Traffic:
        gevent.sleep(1)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop = True
        gevent.joinall(self._greenlets, raise_error=True)
        if self._is_idempotent:
            assert self.errors == []
        else:  # what was in flight may have been executed
            assert all(type(error) is ConnectionShutdown and "is_idempotent" in str(error) for error in self.errors)


def test_a_killed_node(session: Session, victim: CassandraNode) -> None:
    down = next(host for host in session.hosts if host.address == victim.address)
    with Traffic(session) as traffic, Traffic(session, is_idempotent=False) as other:
        assert victim.address in traffic.since_now(0.5)
        victim.kill()
        gevent.sleep(0.5)
        meanwhile = traffic.since_now(2)
        assert len(meanwhile) == 2 and victim.address not in meanwhile
        assert down.is_up is False
        victim.start()
        wait_until(lambda: victim.address in traffic.since_now(0.2) and victim.address in other.since_now(0.2), 30)
    assert down.is_up and session.get_pool_state()[down]["open_count"] == 1


def test_a_node_that_goes_in_good_order(session: Session, victim: CassandraNode) -> None:
    with Traffic(session) as traffic:
        victim.restart()
        wait_until(lambda: victim.address in traffic.since_now(0.2), 30)


def test_a_node_that_falls_silent(session: Session, victim: CassandraNode) -> None:
    """Its connections stay open and answer nothing, until they are given up: requests then go elsewhere."""
    with Traffic(session) as traffic:
        victim.pause()
        gevent.sleep(5)
        meanwhile = traffic.since_now(1)
        assert len(meanwhile) == 2 and victim.address not in meanwhile
        victim.resume()
        wait_until(lambda: victim.address in traffic.since_now(0.2), 60)
    assert traffic.slowest < 6


def test_all_nodes_are_lost_and_return(session: Session, servers: CassandraCluster) -> None:
    select = session.prepare("SELECT v FROM rf3.t WHERE k = ?")
    assert session.execute(select, [1]).one().v == "v1"
    for node in servers:
        node.kill()
    gevent.sleep(0.5)
    with pytest.raises(NoHostAvailable) as caught:
        session.execute(select, [1])
    assert {host.address for host in caught.value.errors} == set(servers.contact_points)
    servers.start()
    wait_until(lambda: all(state["open_count"] for state in session.get_pool_state().values()), 30)
    assert {coordinator(session, "SELECT key FROM system.local") for _ in range(30)} == set(servers.contact_points)
    assert session.execute(select, [1]).one().v == "v1"


# -- errors that take several nodes -----------------------------------------------------------------------------------


def test_unavailable_and_read_timeout(session: Session, servers: CassandraCluster, victim: CassandraNode) -> None:
    """By cassandra-driver's classes. A node that has just fallen silent is still taken for alive."""
    survivors = [host for host in session.hosts if host.address != victim.address]
    query = "SELECT v FROM rf3.t WHERE k = 1"
    statement = SimpleStatement(query, consistency_level=ConsistencyLevel.ALL, retry_policy=FallthroughRetryPolicy())
    with Peer(survivors[0].address, servers.port) as peer:
        victim.pause()
        with pytest.raises(ReadTimeout) as timeout:
            session.execute(statement, host=survivors[0])
        assert (timeout.value.required_responses, timeout.value.received_responses) == (3, 2)
        assert timeout.value.consistency == ConsistencyLevel.ALL
        with pytest.raises(PeerError, match="ReadTimeout") as theirs:
            peer.execute(query, consistency=ConsistencyLevel.ALL)
        assert theirs.value.name == "ReadTimeout"
        victim.kill()

        def unavailable() -> bool:
            try:
                session.execute(statement, host=survivors[0])
            except Unavailable as error:
                return (error.required_replicas, error.alive_replicas) == (3, 2)
            except ReadTimeout:
                return False
            return False

        wait_until(unavailable, 60)
