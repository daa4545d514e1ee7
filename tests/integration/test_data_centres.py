"""Two data centres of two nodes in two racks: who is asked, by the coordinator that answered and by what the servers trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from geventcql import ConsistencyLevel
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.policies import (
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    LoadBalancingPolicy,
    RackAwareRoundRobinPolicy,
    TokenAwarePolicy,
)
from geventcql.query import SimpleStatement
from geventcql.testing import CassandraCluster
from tests.integration.support import DDL_TIMEOUT, connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEYS = 1000


@pytest.fixture(scope="module")
def servers() -> Iterator[CassandraCluster]:
    with CassandraCluster({"dc1": 2, "dc2": 2}, racks=2, heap="400m") as servers:
        with connect(servers) as cluster:
            session = cluster.connect()
            for factor in (1, 2):
                replication = f"{{'class': 'NetworkTopologyStrategy', 'dc1': {factor}, 'dc2': {factor}}}"
                session.execute(f"CREATE KEYSPACE rf{factor} WITH replication = {replication}", timeout=DDL_TIMEOUT)
                session.execute(f"CREATE TABLE rf{factor}.t (k int PRIMARY KEY, v int)", timeout=DDL_TIMEOUT)
        yield servers


def connected(servers: CassandraCluster, policy: LoadBalancingPolicy, **options: Any) -> Cluster:
    profile = ExecutionProfile(policy, consistency_level=ConsistencyLevel.LOCAL_ONE, **options)
    return Cluster(servers.contact_points, port=servers.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile})


@pytest.mark.parametrize("centre", ["dc1", "dc2"])
def test_requests_land_on_the_local_replica(servers: CassandraCluster, centre: str) -> None:
    with connected(servers, TokenAwarePolicy(DCAwareRoundRobinPolicy(centre))) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        insert = session.prepare("INSERT INTO rf1.t (k, v) VALUES (?, ?)")
        select = session.prepare("SELECT k FROM rf1.t WHERE k = ?")
        landed: Counter[bool] = Counter()
        for key in range(KEYS):
            replicas = cluster.metadata.get_replicas("rf1", key.to_bytes(4, "big"))
            [local] = [host for host in replicas if host.datacenter == centre]
            for rows in (session.execute(insert, (key, 1)), session.execute(select, (key,))):
                landed[rows.response_future.coordinator_host is local] += 1
        assert landed[True] >= 0.999 * 2 * KEYS, landed
        traced = 0
        for key in range(20):  # a coordinator that is the replica reads by itself
            future = session.execute_async(select, (key,), trace=True)
            future.result()
            trace = future.get_query_trace(max_wait=10, query_cl=ConsistencyLevel.ONE)  # traces know no data centres
            others = {str(event.source) for event in trace.events} - {future.coordinator_host.address}
            assert not others, [str(event) for event in trace.events]
            traced += bool(trace.events)
        assert traced > 10  # some of a trace may be written later


def test_the_local_rack(servers: CassandraCluster) -> None:
    for rack in ("rack1", "rack2"):
        with connected(servers, TokenAwarePolicy(RackAwareRoundRobinPolicy("dc2", rack))) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            select = session.prepare("SELECT k FROM rf2.t WHERE k = ?")
            for query in (select, SimpleStatement("SELECT key FROM system.local")):
                asked = [
                    session.execute(query, (key,) if query is select else None).response_future.coordinator_host
                    for key in range(50)
                ]
                assert {(host.datacenter, host.rack) for host in asked} == {("dc2", rack)}


def test_conditional_statements_begin_at_the_same_replica(servers: CassandraCluster) -> None:
    coordinators = []
    for rack, shuffle in (("rack1", False), ("rack2", True)):
        with connected(servers, TokenAwarePolicy(RackAwareRoundRobinPolicy("dc1", rack), shuffle)) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            update = session.prepare("UPDATE rf2.t SET v = ? WHERE k = ? IF v = NULL")
            update.serial_consistency_level = ConsistencyLevel.LOCAL_SERIAL
            assert update.is_lwt()
            done = [session.execute(update, (1, key)) for key in range(5000, 5020)]
            coordinators.append([rows.response_future.coordinator_host.address for rows in done])
            assert len({rows.was_applied for rows in done}) == 1
    assert coordinators[0] == coordinators[1] and len(set(coordinators[0])) == 2


def test_speculation(servers: CassandraCluster) -> None:
    """On real nodes, at once: the first answer counts, and nothing is left in flight."""
    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy("dc1"))
    with connected(servers, policy, speculative_execution_policy=ConstantSpeculativeExecutionPolicy(0.0, 1)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        select = session.prepare("SELECT count(*) FROM rf2.t WHERE k = ?")
        select.is_idempotent = True
        futures = [session.execute_async(select, (-key,)) for key in range(1, 301)]
        assert [future.result().one()[0] for future in futures] == [0] * 300
        assert any(len(set(future.attempted_hosts)) == 2 for future in futures)
        for pool in session.get_pools():
            for connection in pool.connections:
                connection.check_invariants()
                assert connection.in_flight == 0
