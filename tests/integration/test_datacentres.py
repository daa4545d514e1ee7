"""Two data centres of two nodes, each in a rack of its own: who is asked, by the coordinator that says so itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventcql import ConsistencyLevel
from geventcql.policies import DCAwareRoundRobinPolicy, HostDistance, RoundRobinPolicy, TokenAwarePolicy
from geventcql.session import Session
from geventcql.testing import CassandraCluster
from tests.integration.faults import wait_until
from tests.integration.support import DDL_TIMEOUT, connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KEYS = 500
REQUESTS = 2000
WHO = "SELECT rpc_address FROM system.local"  # what a coordinator tells of itself


@pytest.fixture(scope="module")
def servers() -> Iterator[CassandraCluster]:
    with CassandraCluster({"dc1": 2, "dc2": 2}, racks=2, heap="400m") as servers:
        with connect(servers) as cluster:
            session = cluster.connect()
            for name, factors in (("one", "'dc1': 1, 'dc2': 1"), ("two", "'dc1': 2, 'dc2': 2")):
                replication = f"{{'class': 'NetworkTopologyStrategy', {factors}}}"
                session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}", timeout=DDL_TIMEOUT)
                session.execute(f"CREATE TABLE {name}.t (k int PRIMARY KEY, v text)", timeout=DDL_TIMEOUT)
                insert = session.prepare(f"INSERT INTO {name}.t (k, v) VALUES (?, ?)")
                insert.consistency_level = ConsistencyLevel.ALL
                for _ in session.imap_unordered(insert, ((k, f"v{k}") for k in range(KEYS))):
                    pass
        yield servers


def of(servers: CassandraCluster, datacenter: str) -> list[str]:
    return [node.address for node in servers if node.datacenter == datacenter]


def open_session(servers: CassandraCluster, policy: Any, version: int = 5) -> Any:
    return connect(servers, version, load_balancing_policy=policy)


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
    with open_session(servers, DCAwareRoundRobinPolicy("dc1")) as cluster:
        cluster.connect()
        hosts = {host.address: (host.datacenter, host.rack) for host in cluster.metadata.all_hosts()}
    assert hosts == {node.address: (node.datacenter, node.rack) for node in servers}
    assert sorted(hosts.values()) == [("dc1", "rack1"), ("dc1", "rack2"), ("dc2", "rack1"), ("dc2", "rack2")]


@pytest.mark.parametrize("datacenter", ["dc1", "dc2"])
def test_the_local_data_centre_is_asked(servers: CassandraCluster, datacenter: str) -> None:
    with open_session(servers, DCAwareRoundRobinPolicy(datacenter)) as cluster:
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
    with open_session(servers, policy) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        plan = [host.address for host in policy.make_query_plan()]
        assert sorted(plan[:2]) == of(servers, "dc1") and len(plan) == 3 and plan[2] in of(servers, "dc2")
        distances = Counter(policy.distance(host) for host in cluster.metadata.all_hosts())
        assert distances == {HostDistance.LOCAL: 2, HostDistance.REMOTE: 1, HostDistance.IGNORED: 1}
        assert set(asked(session, WHO, [], 50)) == set(of(servers, "dc1"))


def test_round_robin_asks_all(servers: CassandraCluster) -> None:
    with open_session(servers, RoundRobinPolicy()) as cluster:
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


@pytest.mark.parametrize("keyspace", ["one", "two"])
@pytest.mark.parametrize("version", [4, 5])
def test_token_aware_requests_land_on_replicas(servers: CassandraCluster, version: int, keyspace: str) -> None:
    """Of the local data centre, as the driver says, and as the servers' traces of some of them do."""
    with open_session(servers, TokenAwarePolicy(DCAwareRoundRobinPolicy("dc2")), version) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        owners = {k: nodes & set(of(servers, "dc2")) for k, nodes in replicas(servers, session, keyspace).items()}
        assert len(owners) == KEYS and {len(nodes) for nodes in owners.values()} == {1 if keyspace == "one" else 2}
        select = session.prepare(f"SELECT v FROM {keyspace}.t WHERE k = ?")
        choose = random.Random(version)
        keys = [choose.randrange(KEYS) for _ in range(REQUESTS)]
        futures = []
        for k in keys:
            futures.append(session.execute_async(select, [k]))
            if len(futures) % 100 == 0:
                futures[-1].result()
        right = 0
        for k, future in zip(keys, futures, strict=True):
            assert future.result().one().v == f"v{k}"
            right += future.coordinator_host.address in owners[k]
        assert right >= 0.999 * REQUESTS

        traced = keys[:50]
        ids = [session.execute(select, [k], trace=True).response_future.get_query_trace_ids()[0] for k in traced]
        by_trace = executed_by(session, ids)
        assert all(address in owners[k] for k, address in zip(traced, by_trace, strict=True))


# -- a data centre that is lost -------------------------------------------------------------------------------------------


def test_a_lost_data_centre(servers: CassandraCluster) -> None:
    """Its clients go on in the other one if they may, and come back."""
    policy = DCAwareRoundRobinPolicy("dc1", used_hosts_per_remote_dc=2)
    with open_session(servers, policy) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        select = session.prepare("SELECT v FROM two.t WHERE k = ?")
        select.is_idempotent = True
        select.consistency_level = ConsistencyLevel.ONE
        try:
            for node in servers:
                if node.datacenter == "dc1":
                    node.kill()
            for k in range(100):
                future = session.execute_async(select, [k])
                assert future.result().one().v == f"v{k}"
                assert future.coordinator_host.datacenter == "dc2"
        finally:
            servers.start()

        def is_back() -> bool:
            return set(asked(session, WHO, [], 20)) == set(of(servers, "dc1"))

        wait_until(is_back, 30)
