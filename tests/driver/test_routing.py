"""Which host a request goes to: peers, round robin, replicas by token, profiles, a pinned host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.errors import NoHostAvailable
from geventcql.policies import (
    DCAwareRoundRobinPolicy,
    HostFilterPolicy,
    RackAwareRoundRobinPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
    WhiteListRoundRobinPolicy,
)
from geventcql.query import BatchStatement, SimpleStatement, dict_factory
from geventcql.routing import Router
from geventcql.session import Session
from tests.driver.support import BY_KEY, INSERT, cluster_of, eventually, pooled, serve_keys
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode, Rows
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

TEXT = "SELECT v FROM t"
KEYSPACES = "SELECT keyspace_name, durable_writes, replication FROM system_schema.keyspaces"


def serve(nodes: FakeCluster, factor: int = 1) -> None:
    serve_keys(nodes)
    nodes.on(TEXT, Rows([("v", "int")], [(1,)]))
    columns = [("keyspace_name", "text"), ("durable_writes", "boolean"), ("replication", "map<text, text>")]
    strategy = {"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": str(factor)}
    nodes.on(KEYSPACES, Rows(columns, [("ks", True, strategy)]))


@pytest.fixture
def three() -> Iterator[FakeCluster]:
    with FakeCluster(3) as nodes:
        serve(nodes)
        yield nodes


def asked(nodes: FakeCluster, text: str) -> list[int]:
    return [node.count(text) for node in nodes]


def owner(nodes: FakeCluster, key: int) -> FakeNode:
    """The node whose token range a key falls into, by the tokens as cassandra-driver computes them."""
    from cassandra.metadata import Murmur3Token as Theirs

    token = Theirs.hash_fn(key.to_bytes(4, "big"))
    ring = sorted((int(node.system.local.tokens[0]), node) for node in nodes)
    return next((node for start, node in ring if start >= token), ring[0][1])


def test_peers_are_discovered(three: FakeCluster) -> None:
    with Cluster([three[0].host], port=three.port) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        assert {host.address for host in session.hosts} == set(three.addresses)
        assert {connection.endpoint.address for connection in pooled(session)} == set(three.addresses)
        assert all(host.is_up and host.datacenter == "dc1" and host.release_version == "5.0.6" for host in session.hosts)
        assert cluster.metadata.cluster_name == "fake"
        assert cluster.get_control_connection_host().address == three[0].host
        assert len(session.get_pool_state()) == 3


def test_round_robin(three: FakeCluster) -> None:
    with cluster_of(three, load_balancing_policy=RoundRobinPolicy()) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for _ in range(30):
            session.execute(TEXT)
        assert asked(three, TEXT) == [10, 10, 10]


@pytest.mark.parametrize("how", ["prepared", "bound", "simple", "batch"])
def test_token_aware_requests_go_to_the_replica(three: FakeCluster, how: str) -> None:
    with cluster_of(three) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        prepared = session.prepare(BY_KEY)
        insert = session.prepare(INSERT)
        for key in [*range(40), -1, 2**31 - 1, -(2**31)]:
            made: Any = prepared
            if how == "bound":
                made = prepared.bind((key,))
            elif how == "simple":
                made = SimpleStatement(TEXT, routing_key=key.to_bytes(4, "big", signed=True), keyspace="ks")
            elif how == "batch":
                made = BatchStatement().add(insert, (key,)).add(insert, (key + 1 if key < 2**31 - 1 else 0,))
            future = session.execute_async(made, (key,) if how == "prepared" else None)
            future.result()
            assert future.coordinator_host.address == owner(three, key % 2**32).host, key
        assert len({owner(three, key).host for key in range(40)}) == 3


def test_replicas_in_any_order(three: FakeCluster) -> None:
    serve(three, factor=2)
    with cluster_of(three, load_balancing_policy=TokenAwarePolicy(RoundRobinPolicy(), shuffle_replicas=True)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        prepared = session.prepare(BY_KEY)
        for key in range(10):
            replicas = cluster.metadata.get_replicas("ks", key.to_bytes(4, "big"))
            assert len(replicas) == 2 and replicas[0].address == owner(three, key).host
            asked = [session.execute(prepared, (key,)).response_future.attempted_hosts[0] for _ in range(40)]
            seen = Counter(host.address for host in asked)
            assert set(seen) <= {host.address for host in replicas}
            assert min(seen[host.address] for host in replicas) >= 5


def test_replicas_follow_the_tokens(three: FakeCluster) -> None:
    with cluster_of(three) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        prepared = session.prepare(BY_KEY)
        for key in range(10):
            session.execute(prepared, (key,))
        for host in session.hosts:  # all that there is moves to one host, then to the next
            cluster.metadata.rebuild_token_map("Murmur3Partitioner", {host: ["5"]})
            for key in range(10):
                assert session.execute(prepared, (key,)).response_future.coordinator_host is host


def test_a_replica_that_is_down_is_passed_over(three: FakeCluster) -> None:
    with cluster_of(three) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        prepared = session.prepare(BY_KEY)
        key = next(k for k in range(100) if owner(three, k) is not three[0])
        away = owner(three, key)
        away.stop()
        eventually(lambda: len(pooled(session)) == 2)
        eventually(lambda: any(host.is_up is False for host in session.hosts))
        for _ in range(5):
            assert session.execute(prepared, (key,)).one().k == key


def test_composite_partition_keys(three: FakeCluster) -> None:
    text = "SELECT v FROM u WHERE a = ? AND b = ?"
    three.prepare(text, [("a", "int"), ("b", "text")], [("v", "int")], [1, 0])
    with cluster_of(three) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        prepared = session.prepare(text)
        for number in range(20):
            future = session.execute_async(prepared, (number, "ab"))
            future.result()
            key = b"\0\x02ab\0" + b"\0\x04" + number.to_bytes(4, "big") + b"\0"
            assert prepared.bind((number, "ab")).routing_key == key
            [replica] = cluster.metadata.get_replicas("ks", key)
            assert future.coordinator_host is replica


def test_a_pinned_host(three: FakeCluster) -> None:
    with cluster_of(three) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for host in session.hosts:
            for _ in range(4):
                future = session.execute_async(TEXT, host=host)
                future.result()
                assert future.coordinator_host is host
        assert asked(three, TEXT) == [4, 4, 4]
        three[1].stop()
        away = next(host for host in session.hosts if host.address == three[1].host)
        eventually(lambda: away.is_up is False)
        with pytest.raises(NoHostAvailable) as raised:
            session.execute(TEXT, host=away)
        assert list(raised.value.errors) == [away]


def test_profiles(three: FakeCluster) -> None:
    only = three[2].host
    profiles = {
        EXEC_PROFILE_DEFAULT: ExecutionProfile(RoundRobinPolicy()),
        "one": ExecutionProfile(
            WhiteListRoundRobinPolicy([only]), row_factory=dict_factory, consistency_level=6, request_timeout=3
        ),
    }
    with cluster_of(three, execution_profiles=profiles) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for _ in range(6):
            assert session.execute(TEXT, execution_profile="one").one() == {"v": 1}
        assert asked(three, TEXT) == [0, 0, 6]
        assert three[2].queries[-1].consistency == 6
        changed = session.execution_profile_clone_update("one", consistency_level=4)
        session.execute(TEXT, execution_profile=changed)
        assert three[2].queries[-1].consistency == 4
        prepared = session.prepare(BY_KEY)
        assert session.execute(prepared, (1,), execution_profile="one").one() == {"k": 1}
        with pytest.raises(ValueError, match="no execution profile"):
            session.execute(TEXT, execution_profile="two")
        cluster.add_execution_profile("two", ExecutionProfile(WhiteListRoundRobinPolicy([three[0].host])))
        future = session.execute_async(TEXT, execution_profile="two")
        assert future.result() and future.coordinator_host.address == three[0].host
        with pytest.raises(ValueError):
            cluster.add_execution_profile("two", ExecutionProfile())
        profiles["one"].consistency_level = 1
        session.execute(TEXT, execution_profile="one")
        assert three[2].queries[-1].consistency == 1


def test_a_profile_that_was_not_added(three: FakeCluster) -> None:
    """Its policy learns of the hosts when it is first used, and hosts that only it uses are connected to."""
    heard: list[str] = []

    class Listening(WhiteListRoundRobinPolicy):
        def on_down(self, host: Any) -> None:
            heard.append(host.address)
            super().on_down(host)

    default = ExecutionProfile(WhiteListRoundRobinPolicy([three[0].host]))
    with cluster_of(three, execution_profiles={EXEC_PROFILE_DEFAULT: default}) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        assert {connection.endpoint.address for connection in pooled(session)} == {three[0].host}
        mine = ExecutionProfile(Listening([three[1].host, three[2].host]), row_factory=dict_factory)
        assert session.execute(TEXT, execution_profile=mine).one() == {"v": 1}
        eventually(lambda: len(pooled(session)) == 3)
        for _ in range(3):
            session.execute(TEXT, execution_profile=mine)
        before = asked(three, TEXT)
        assert before[0] == 0 and min(before[1:]) >= 1
        three[2].stop()
        eventually(lambda: heard == [three[2].host])
        session.execute(session.prepare(BY_KEY), (1,), execution_profile=mine)
        assert three[1].count(BY_KEY) == 1
        profile = session.get_execution_profile(EXEC_PROFILE_DEFAULT)
        profile.load_balancing_policy = WhiteListRoundRobinPolicy([three[1].host])
        session.execute(TEXT)
        assert asked(three, TEXT) == [0, before[1] + 1, before[2]]


def test_a_profile_with_a_policy_that_cannot_be_populated(three: FakeCluster) -> None:
    class Broken(RoundRobinPolicy):
        def populate(self, cluster: Any, hosts: Any) -> None:
            raise ZeroDivisionError("mine")

    with cluster_of(three) as cluster:
        session = cluster.connect()
        with pytest.raises(ZeroDivisionError, match="mine"):
            session.execute(TEXT, execution_profile=ExecutionProfile(Broken()))
        assert session.execute(TEXT).one().v == 1


def test_hosts_that_no_policy_uses_get_no_connection(three: FakeCluster) -> None:
    policy = HostFilterPolicy(RoundRobinPolicy(), lambda host: host.address != three[1].host)
    with cluster_of(three, load_balancing_policy=policy) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for _ in range(6):
            session.execute(TEXT)
        first, none, last = asked(three, TEXT)
        assert none == 0 and first + last == 6 and min(first, last) > 0 and three[1].accepted <= 1


def test_no_host_that_the_policy_gives(three: FakeCluster) -> None:
    policy = HostFilterPolicy(RoundRobinPolicy(), lambda host: False)
    with cluster_of(three, load_balancing_policy=policy) as cluster, pytest.raises(NoHostAvailable):
        cluster.connect()


def test_a_filter_holds_where_there_is_one_host_only() -> None:
    """Its shortcut must not go past the policy."""
    with FakeNode() as node:
        node.on(TEXT, Rows([("v", "int")], [(1,)]))
        nothing = HostFilterPolicy(RoundRobinPolicy(), lambda host: False)
        elsewhere = DCAwareRoundRobinPolicy("dc9")
        for policy in (nothing, TokenAwarePolicy(nothing), elsewhere, TokenAwarePolicy(elsewhere)):
            profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(RoundRobinPolicy()), "none": ExecutionProfile(policy)}
            with cluster_of(node, execution_profiles=profiles) as cluster:
                session = cluster.connect()
                assert session.execute(TEXT).one().v == 1
                with pytest.raises(NoHostAvailable):
                    session.execute(TEXT, execution_profile="none")


def test_the_local_data_centre() -> None:
    with FakeCluster({"dc1": 2, "dc2": 2}) as nodes:
        serve(nodes)
        with cluster_of(nodes, load_balancing_policy=DCAwareRoundRobinPolicy("dc2")) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            for _ in range(10):
                session.execute(TEXT)
            assert asked(nodes, TEXT) == [0, 0, 5, 5]


def test_the_local_rack() -> None:
    with FakeCluster(4) as nodes:
        serve(nodes)
        for number, node in enumerate(nodes):
            node.system.local.rack = f"r{number % 2}"
        with cluster_of(nodes, load_balancing_policy=RackAwareRoundRobinPolicy("dc1", "r1")) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            for _ in range(10):
                session.execute(TEXT)
            assert asked(nodes, TEXT) == [0, 5, 0, 5]
            nodes[1].stop()
            nodes[3].stop()
            eventually(lambda: sum(host.is_up is False for host in session.hosts) == 2)
            for _ in range(10):
                session.execute(TEXT)
            assert asked(nodes, TEXT) == [5, 5, 5, 5]


@pytest.mark.parametrize("policy", [RoundRobinPolicy, DCAwareRoundRobinPolicy, lambda: TokenAwarePolicy(RoundRobinPolicy())])
def test_no_plan_is_made_where_the_first_host_takes_the_request(three: FakeCluster, policy: Any, monkeypatch: Any) -> None:
    """And no key: whatever local host comes first will do."""
    plans: list[Any] = []
    monkeypatch.setattr(Router, "plan", lambda self, execution: plans.append(execution) or iter(self._session.hosts))
    text = "SELECT k FROM t"
    three.on(text, Rows([("k", "int")], [(1,)]), rows=[("k", "int")])
    with cluster_of(three, load_balancing_policy=policy()) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        prepared = session.prepare(text)
        plans.clear()
        for made in (text, SimpleStatement(text), prepared, prepared.bind(()), BatchStatement().add(text)):
            hosts = Counter(session.execute(made).response_future.coordinator_host for _ in range(9))
            assert set(hosts.values()) == {3} and len(hosts) == 3, made
        assert plans == []


class Keyed(SimpleStatement):
    """Its key is not set, but made, as applications do."""

    key = 0

    @property
    def routing_key(self) -> Any:
        return self.key.to_bytes(4, "big")


def test_a_statement_that_makes_its_routing_key(three: FakeCluster) -> None:
    with cluster_of(three) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for key in range(20):
            session.execute(TEXT)
            statement = Keyed(TEXT, keyspace="ks")
            statement.key = key
            asked = session.execute(statement).response_future.coordinator_host
            assert asked.address == owner(three, key).host


def test_keys_are_looked_up_beside_statements_without(three: FakeCluster) -> None:
    with cluster_of(three) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for key in range(20):
            session.execute(SimpleStatement(TEXT, keyspace="ks"))
            statement = SimpleStatement(TEXT, keyspace="ks", routing_key=key.to_bytes(4, "big"))
            asked = session.execute(statement).response_future.coordinator_host
            assert asked.address == owner(three, key).host


def test_a_policy_that_raises(three: FakeCluster) -> None:
    class Broken(RoundRobinPolicy):
        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Any:
            raise ZeroDivisionError("mine")

    with cluster_of(three, load_balancing_policy=Broken()) as cluster:
        session: Session = cluster.connect()
        with pytest.raises(ZeroDivisionError):
            session.execute(TEXT)


def test_what_is_set_on_a_policy_in_use_counts_at_once() -> None:
    """As in a failover by hand."""
    with FakeCluster({"dc1": 2, "dc2": 2}) as nodes:
        serve_keys(nodes)
        policy = DCAwareRoundRobinPolicy("dc1")
        with cluster_of(nodes, load_balancing_policy=TokenAwarePolicy(policy)) as cluster:
            session = cluster.connect(wait_for_all_pools=True)

            def asked() -> set[str]:
                try:
                    return {session.execute("INSERT").response_future.coordinator_host.datacenter for _ in range(8)}
                except NoHostAvailable:  # until there are connections
                    return set()

            assert asked() == {"dc1"}
            policy.local_dc = "dc2"
            eventually(lambda: asked() == {"dc2"})
            eventually(lambda: {pool.host.datacenter for pool in session.get_pools()} == {"dc2"})
            policy.used_hosts_per_remote_dc = 1
            eventually(lambda: sorted(pool.host.datacenter for pool in session.get_pools()) == ["dc1", "dc2", "dc2"])
            assert asked() == {"dc2"}


def test_a_plan_that_is_set_on_a_policy_itself_counts() -> None:
    with FakeCluster(3) as nodes:
        serve_keys(nodes)
        policy = RoundRobinPolicy()
        policy.make_query_plan = lambda *args: iter(sorted(policy._live_hosts)[:1])  # type: ignore[method-assign]
        with cluster_of(nodes, load_balancing_policy=policy) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            for _ in range(6):
                assert session.execute("INSERT").response_future.coordinator_host.address == nodes[0].host
