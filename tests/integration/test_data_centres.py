"""Two data centres of two nodes in two racks: who is asked, by the coordinator that answered and by what the servers trace."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventcql import ConsistencyLevel
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.policies import (
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    HostDistance,
    LoadBalancingPolicy,
    RackAwareRoundRobinPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)
from geventcql.query import SimpleStatement
from geventcql.session import Session
from geventcql.testing import CassandraCluster
from tests.driver.support import eventually
from tests.integration.faults import wait_until
from tests.integration.support import connect, make_tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEYS = 1000
REQUESTS = 1000
WHO = "SELECT rpc_address FROM system.local"  # what a coordinator tells of itself


@pytest.fixture(scope="module")
def servers() -> Iterator[CassandraCluster]:
    with CassandraCluster({"dc1": 2, "dc2": 2}, racks=2, heap="400m") as servers:
        replications = {f"rf{n}": f"'class': 'NetworkTopologyStrategy', 'dc1': {n}, 'dc2': {n}" for n in (1, 2)}
        make_tables(servers, replications, "int", range(KEYS))
        yield servers


def connected(servers: CassandraCluster, policy: LoadBalancingPolicy, version: int = 5, **options: Any) -> Cluster:
    profile = ExecutionProfile(policy, consistency_level=ConsistencyLevel.LOCAL_ONE, **options)
    return connect(servers, version, execution_profiles={EXEC_PROFILE_DEFAULT: profile})


def of(servers: CassandraCluster, datacenter: str) -> list[str]:
    return [node.address for node in servers if node.datacenter == datacenter]


def asked(session: Session, statement: Any, values: list[Any], count: int) -> Counter[str]:
    """Who answered `count` requests that tell themselves who executed them; the driver says the same."""
    futures = [session.execute_async(statement, values) for _ in range(count)]
    answers = Counter()
    for future in futures:
        address = future.result().one().rpc_address
        assert future.coordinator_host.address == address
        answers[address] += 1
    return answers


def test_what_is_known_of_the_nodes(servers: CassandraCluster) -> None:
    with connected(servers, DCAwareRoundRobinPolicy("dc1")) as cluster:
        cluster.connect()
        hosts = {host.address: (host.datacenter, host.rack) for host in cluster.metadata.all_hosts()}
    assert hosts == {node.address: (node.datacenter, node.rack) for node in servers}
    assert sorted(hosts.values()) == [("dc1", "rack1"), ("dc1", "rack2"), ("dc2", "rack1"), ("dc2", "rack2")]


@pytest.mark.parametrize("datacenter", ["dc1", "dc2"])
def test_the_local_data_centre_is_asked(servers: CassandraCluster, datacenter: str) -> None:
    with connected(servers, DCAwareRoundRobinPolicy(datacenter)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        answers = asked(session, WHO, [], 100)
        assert set(answers) == set(of(servers, datacenter))
        assert min(answers.values()) == 50
        assert {host.address for host in session.get_pool_state()} == set(of(servers, datacenter))


def test_the_data_centre_of_the_contact_points_is_the_local_one(servers: CassandraCluster) -> None:
    with connect(servers) as cluster:
        cluster.contact_points = of(servers, "dc2")
        session = cluster.connect(wait_for_all_pools=True)
        assert set(asked(session, WHO, [], 50)) == set(of(servers, "dc2"))


def test_plans_go_on_in_other_data_centres(servers: CassandraCluster) -> None:
    policy = DCAwareRoundRobinPolicy("dc1", used_hosts_per_remote_dc=1)
    with connected(servers, policy) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        plan = [host.address for host in policy.make_query_plan()]
        assert sorted(plan[:2]) == of(servers, "dc1") and len(plan) == 3 and plan[2] in of(servers, "dc2")
        distances = Counter(policy.distance(host) for host in cluster.metadata.all_hosts())
        assert distances == {HostDistance.LOCAL: 2, HostDistance.REMOTE: 1, HostDistance.IGNORED: 1}
        assert set(asked(session, WHO, [], 50)) == set(of(servers, "dc1"))


def test_round_robin_asks_all(servers: CassandraCluster) -> None:
    with connected(servers, RoundRobinPolicy()) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        assert set(asked(session, WHO, [], 100)) == {node.address for node in servers}


# -- replicas -----------------------------------------------------------------------------------------------------------


def replicas(servers: CassandraCluster, session: Session, keyspace: str) -> dict[int, set[str]]:
    """The nodes that have each key, by nodetool's description of the ring and the server's own token() function."""
    ranges = []
    for line in servers[0].nodetool("describering", keyspace).splitlines():
        if "TokenRange(" in line:
            start, end, endpoints = line.split("start_token:")[1].split(", ", 2)
            addresses = endpoints.split("endpoints:[")[1].split("]")[0].split(", ")
            ranges.append((int(start), int(end.split(":")[1]), {address.split(":")[0] for address in addresses}))
    owners = {}
    for row in session.execute(f"SELECT k, token(k) AS t FROM {keyspace}.t"):
        [owners[row.k]] = [
            nodes for start, end, nodes in ranges if (start < row.t <= end if start < end else row.t > start or row.t <= end)
        ]
    return owners


def executed_by(session: Session, trace_ids: list[Any]) -> list[str]:
    """The coordinators that traces tell of."""
    found = session.prepare("SELECT coordinator FROM system_traces.sessions WHERE session_id = ?")
    found.consistency_level = ConsistencyLevel.ALL
    coordinators = []
    for trace_id in trace_ids:
        with gevent.Timeout(30):
            while (row := session.execute(found, [trace_id]).one()) is None or row.coordinator is None:
                gevent.sleep(0.1)
        coordinators.append(row.coordinator)
    return coordinators


@pytest.mark.parametrize("keyspace", ["rf1", "rf2"])
@pytest.mark.parametrize("version", [4, 5])
def test_token_aware_requests_land_on_replicas(servers: CassandraCluster, version: int, keyspace: str) -> None:
    """Of the local data centre, as the driver says, and as the servers' traces of some of them do."""
    with connected(servers, TokenAwarePolicy(DCAwareRoundRobinPolicy("dc2")), version) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        owners = {k: nodes & set(of(servers, "dc2")) for k, nodes in replicas(servers, session, keyspace).items()}
        assert len(owners) == KEYS and {len(nodes) for nodes in owners.values()} == {1 if keyspace == "rf1" else 2}
        select = session.prepare(f"SELECT v FROM {keyspace}.t WHERE k = ?")
        insert = session.prepare(f"INSERT INTO {keyspace}.t (k, v) VALUES (?, ?)")
        choose = random.Random(version)
        keys = [choose.randrange(KEYS) for _ in range(REQUESTS)]
        asked = []
        for k in keys:
            asked += [(k, session.execute_async(select, [k])), (k, session.execute_async(insert, [k, k]))]
            if len(asked) % 100 == 0:
                asked[-1][1].result()
        right = 0
        for k, future in asked:
            assert all(row.v == k for row in future.result())
            right += future.coordinator_host.address in owners[k]
        assert right >= 0.999 * len(asked)

        traced = keys[:50]
        ids = [session.execute(select, [k], trace=True).response_future.get_query_trace_ids()[0] for k in traced]
        by_trace = executed_by(session, ids)
        assert all(address in owners[k] for k, address in zip(traced, by_trace, strict=True))


# -- racks, conditional statements, speculation --------------------------------------------------------------------------


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
        # A node that an attempt found not to know the statement may still be told it, though another one has answered.
        eventually(lambda: not cluster._preparer._again)
        for pool in session.get_pools():
            for connection in pool.connections:
                connection.check_invariants()
                assert connection.in_flight == 0


# -- a data centre that is lost -------------------------------------------------------------------------------------------


def test_a_lost_data_centre(servers: CassandraCluster) -> None:
    """Its clients go on in the other one if they may, and come back."""
    policy = DCAwareRoundRobinPolicy("dc1", used_hosts_per_remote_dc=2)
    with connected(servers, policy) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        select = session.prepare("SELECT v FROM rf2.t WHERE k = ?")
        select.is_idempotent = True
        select.consistency_level = ConsistencyLevel.ONE
        try:
            for node in servers:
                if node.datacenter == "dc1":
                    node.kill()
            for k in range(100):
                future = session.execute_async(select, [k])
                assert future.result().one().v == k
                assert future.coordinator_host.datacenter == "dc2"
        finally:
            servers.start()

        def is_back() -> bool:
            return set(asked(session, WHO, [], 20)) == set(of(servers, "dc1"))

        wait_until(is_back, 30)
