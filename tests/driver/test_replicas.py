"""Which replica a request goes to: data centres, racks, chance, busy ones, and Paxos; by the coordinator that answered.

Each is tried on the way that a prepared statement takes, without the policy's generator, and on that of other statements,
which go by its plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.host import Host
from geventcql.policies import (
    DCAwareRoundRobinPolicy,
    DefaultLoadBalancingPolicy,
    HostFilterPolicy,
    LoadBalancingPolicy,
    RackAwareRoundRobinPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
    WrapperPolicy,
)
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.query import BatchStatement, HostTargetingStatement, SimpleStatement
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, serve_keys
from tests.driver.test_routing import KEYSPACES, TEXT
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import NEVER, Rows, Void
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

CONDITIONAL = "INSERT INTO t (k) VALUES (?) IF NOT EXISTS"
WAYS = pytest.mark.parametrize("prepared", [True, False], ids=["route", "plan"])


@pytest.fixture
def nodes() -> Iterator[FakeCluster]:
    """Two data centres of four nodes in two racks, three replicas of everything in each."""
    with FakeCluster({"dc1": 4, "dc2": 4}) as started:
        for number, node in enumerate(started):
            node.system.local.rack = f"r{number % 2}"
        serve_keys(started)
        started.on(TEXT, Rows([("v", "int")], [(1,)]))
        started.on(CONDITIONAL, Void(), binds=[("k", "int")], pk_indexes=[0])
        columns = [("keyspace_name", "text"), ("durable_writes", "boolean"), ("replication", "map<text, text>")]
        strategy = {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc1": "3", "dc2": "3"}
        started.on(KEYSPACES, Rows(columns, [("ks", True, strategy)]))
        yield started


def connect(nodes: FakeCluster, policy: LoadBalancingPolicy, **profile: Any) -> Cluster:
    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(policy, **profile)}
    return cluster_of(nodes, execution_profiles=profiles)


def statement(session: Session, key: int, prepared: bool, text: str = BY_KEY) -> Any:
    if prepared:
        return session.prepare(text).bind((key,))
    text = TEXT if text == BY_KEY else text.replace("?", str(key))
    return SimpleStatement(text, routing_key=key.to_bytes(4, "big"), keyspace="ks")


def coordinator(session: Session, query: Any) -> Host:
    future = session.execute_async(query)
    future.result()
    host: Host = future.coordinator_host
    return host


def replicas(session: Session, key: int, centre: str = "dc1") -> list[Host]:
    found = session.cluster.metadata.get_replicas("ks", key.to_bytes(4, "big"))
    return [host for host in found if host.datacenter == centre]


@WAYS
def test_the_local_data_centre(nodes: FakeCluster, prepared: bool) -> None:
    with connect(nodes, TokenAwarePolicy(DCAwareRoundRobinPolicy("dc2"))) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for key in range(20):
            ring = replicas(session, key, "dc2")
            assert len(ring) == 3 and coordinator(session, statement(session, key, prepared)) is ring[0]


def test_remote_hosts_come_when_all_local_ones_are_gone(nodes: FakeCluster) -> None:
    with connect(nodes, TokenAwarePolicy(DCAwareRoundRobinPolicy("dc1", used_hosts_per_remote_dc=2))) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        assert len(session.get_pools()) == 6
        query = statement(session, 1, True)
        query.is_idempotent = True
        for number in range(4):
            assert coordinator(session, query).datacenter == "dc1"
            nodes[number].stop()
        assert {coordinator(session, query).datacenter for _ in range(4)} == {"dc2"}
        assert sum(bool(node.queries) for node in nodes.nodes[4:]) <= 2


@WAYS
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_local_rack(nodes: FakeCluster, prepared: bool, shuffle: bool) -> None:
    with connect(nodes, TokenAwarePolicy(RackAwareRoundRobinPolicy("dc1", "r1"), shuffle)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for key in range(10):
            mine = [host for host in replicas(session, key) if host.rack == "r1"]
            seen = {coordinator(session, statement(session, key, prepared)) for _ in range(20 if shuffle else 3)}
            assert seen == set(mine if shuffle else mine[:1])
        plain = SimpleStatement(TEXT)  # no replica is known
        assert {host.rack for host in (coordinator(session, plain) for _ in range(10))} == {"r1"}


@WAYS
def test_chance(nodes: FakeCluster, prepared: bool) -> None:
    with connect(nodes, TokenAwarePolicy(DCAwareRoundRobinPolicy("dc1"), shuffle_replicas=True)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        query = statement(session, 5, prepared)
        seen = Counter(coordinator(session, query) for _ in range(90))
        assert set(seen) == set(replicas(session, 5)) and min(seen.values()) >= 10


@WAYS
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("how", ["conditional", "serial", "of the profile"])
def test_paxos_finds_the_replicas_in_ring_order(nodes: FakeCluster, how: str, shuffle: bool, prepared: bool) -> None:
    policy = TokenAwarePolicy(RackAwareRoundRobinPolicy("dc1", "r1"), shuffle)
    level = ConsistencyLevel.SERIAL if how == "of the profile" else ConsistencyLevel.ONE
    with connect(nodes, policy, consistency_level=level) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for key in range(6):
            query = statement(session, key, prepared, CONDITIONAL if how == "conditional" else BY_KEY)
            if how == "serial":
                query.consistency_level = ConsistencyLevel.LOCAL_SERIAL
            assert {coordinator(session, query) for _ in range(10)} == {replicas(session, key)[0]}


@pytest.mark.parametrize("how", ["plain", "conditional", "serial", "of a text", "without a key"])
def test_batches(nodes: FakeCluster, how: str) -> None:
    """They go where the first of their statements goes that has a key."""
    with connect(nodes, TokenAwarePolicy(RackAwareRoundRobinPolicy("dc1", "r1"), shuffle_replicas=True)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for key in range(6):
            batch = BatchStatement(consistency_level=ConsistencyLevel.SERIAL if how == "serial" else None).add("INSERT 1")
            if how != "without a key":
                text = CONDITIONAL if how == "conditional" else BY_KEY
                batch.add(statement(session, key, how != "of a text", text)).add(statement(session, key + 1, True))
            ring = replicas(session, key)
            expected = {host for host in session.hosts if host.datacenter == "dc1" and host.rack == "r1"}
            if how in ("conditional", "serial"):
                expected = {ring[0]}
            elif how != "without a key":
                expected &= set(ring)
            assert {coordinator(session, batch) for _ in range(30)} == expected


class Wrapper(WrapperPolicy):
    """An application's own, which knows nothing of all this."""

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        yield from self._child_policy.make_query_plan(working_keyspace, query)


@WAYS
@pytest.mark.parametrize("how", ["conditional", "serial", "of the profile", "of the profile, targeted"])
@pytest.mark.parametrize(
    "wrap",
    [
        DefaultLoadBalancingPolicy,
        Wrapper,
        lambda policy: DefaultLoadBalancingPolicy(HostFilterPolicy(policy, lambda host: host.datacenter == "dc1")),
    ],
    ids=["default", "own", "filter"],
)
def test_paxos_finds_the_replicas_in_ring_order_inside_wrappers(
    nodes: FakeCluster, wrap: Any, how: str, prepared: bool
) -> None:
    policy = wrap(TokenAwarePolicy(RackAwareRoundRobinPolicy("dc1", "r1"), shuffle_replicas=True))
    level = ConsistencyLevel.SERIAL if how.startswith("of the profile") else ConsistencyLevel.ONE
    with connect(nodes, policy, consistency_level=level) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for key in range(4):
            query = statement(session, key, prepared, CONDITIONAL if how == "conditional" else BY_KEY)
            if how == "serial":
                query.consistency_level = ConsistencyLevel.LOCAL_SERIAL
            expected = replicas(session, key)[0]
            if how.endswith("targeted"):  # the wrapper is asked first, as ever
                query = HostTargetingStatement(query, replicas(session, key)[2].address)
                if isinstance(policy, DefaultLoadBalancingPolicy):
                    expected = replicas(session, key)[2]
            assert {coordinator(session, query) for _ in range(10)} == {expected}
            assert query.consistency_level == (ConsistencyLevel.LOCAL_SERIAL if how == "serial" else None)


@WAYS
@pytest.mark.parametrize("avoid", [True, False])
def test_a_replica_that_does_not_answer_gets_no_more_than_a_few(nodes: FakeCluster, prepared: bool, avoid: bool) -> None:
    with connect(nodes, TokenAwarePolicy(DCAwareRoundRobinPolicy("dc1"), avoid_busy_replicas=avoid)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        query = statement(session, 3, prepared)
        slow = next(node for node in nodes if node.host == replicas(session, 3)[0].address)
        slow.on(BY_KEY, NEVER)
        slow.on(TEXT, NEVER)
        futures = [session.execute_async(query, timeout=5) for _ in range(60)]
        asked = Counter(future.coordinator_host.address for future in futures)
        assert asked[slow.host] == 60 if not avoid else 10 <= asked[slow.host] <= 50
        if avoid:  # nothing comes from there; from the others all does
            others = [future for future in futures if future.coordinator_host.address != slow.host]
            assert len([future.result() for future in others]) >= 10
            again = [session.execute_async(query, timeout=5) for _ in range(10)]
            assert slow.host not in {future.coordinator_host.address for future in again}
        for future in futures:
            future._execution.cancel()


def test_the_plan_of_a_policy_begins_where_the_route_does(nodes: FakeCluster) -> None:
    """What the plan would say, when it is asked behind the first host, is never another beginning."""
    for policy in (
        RoundRobinPolicy(),
        TokenAwarePolicy(RoundRobinPolicy()),
        TokenAwarePolicy(DCAwareRoundRobinPolicy("dc2")),
        TokenAwarePolicy(RackAwareRoundRobinPolicy("dc1", "r0")),
    ):
        with connect(nodes, policy) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            for key in range(10):
                query = statement(session, key, True)
                planned = next(iter(policy.make_query_plan(None, query)))
                if isinstance(policy, TokenAwarePolicy):
                    assert coordinator(session, query) is planned
