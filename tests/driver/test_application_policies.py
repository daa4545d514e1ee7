"""Policies that applications wrote for cassandra-driver run unchanged: one module, imported from either driver."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.errors import WriteTimeout
from geventcql.query import SimpleStatement
from tests.driver.support import BY_KEY, INSERT, cluster_of, eventually, pooled, serve_keys
from tests.policies.test_load_balancing import make_cluster, make_host
from tests.support import applicationpolicies as theirs
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import NEVER, Error, ErrorCode, Rows
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

TEXT = "SELECT v FROM t"
WRITE = "INSERT INTO t (k, v) VALUES (1, 1)"


def for_geventcql() -> ModuleType:
    """The module with its imports changed, and nothing else."""
    source = Path(theirs.__file__).read_text()
    assert source.count("from cassandra") == 2
    module = ModuleType("applicationpolicies")
    exec(compile(source.replace("from cassandra", "from geventcql"), theirs.__file__, "exec"), module.__dict__)
    return module


ours: Any = for_geventcql()


@pytest.fixture
def nodes() -> Iterator[FakeCluster]:
    with FakeCluster(3) as started:
        started.on(TEXT, Rows([("v", "int")], [(1,)]))
        serve_keys(started)
        for number, node in enumerate(started):
            node.system.local.rack = f"r{number % 2}"
        yield started


def connect(nodes: FakeCluster, **options: Any) -> Cluster:
    return cluster_of(nodes, **options)


def asked(nodes: FakeCluster, text: str = TEXT) -> list[int]:
    return [node.count(text) for node in nodes]


# -- the same answers on either driver ------------------------------------------------------------------------------------


HOSTS = [make_host(number, "dc1" if number < 5 else "dc2", f"r{number % 2}") for number in range(1, 7)]


def by_rack(plan: list[Any]) -> Any:
    """Within a rack they come in the order of a set."""
    return [host.rack for host in plan], set(plan)


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (lambda module: module.FromScratch(), list),
        (lambda module: module.PreferRack("dc1", "r1"), by_rack),
        (lambda module: module.without("127.0.0.2"), set),
        (lambda module: module.WritesToLeader(module.PreferRack("dc1", "r0")), by_rack),
    ],
    ids=["from scratch", "rack", "filter", "token aware"],
)
def test_plans_and_distances(make: Any, seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "shuffle", lambda items: items.reverse())
    cluster = make_cluster(HOSTS)
    write = SimpleStatement(WRITE, routing_key=b"k", keyspace="ks")
    read = SimpleStatement(TEXT, routing_key=b"k", keyspace="ks")
    changes = [("on_down", HOSTS[0]), ("on_remove", HOSTS[2]), ("on_up", HOSTS[0]), ("on_add", HOSTS[2])]
    results = []
    for module in (ours, theirs):
        policy = make(module)
        policy.populate(cluster, HOSTS)
        for each in (policy, getattr(policy, "_child_policy", policy)):
            each._position = 0  # they begin anywhere
        told: list[Any] = [policy.distance(host) for host in HOSTS]
        for change, host in [*changes, ("on_up", HOSTS[1])]:
            told += [seen(list(policy.make_query_plan("ks", query))) for query in (None, read, write)]
            getattr(policy, change)(host)
        results.append(told)
    assert results[0] == results[1]


def test_decisions_schedules_plans_and_addresses() -> None:
    for retries, write_type in itertools.product(range(5), range(6)):
        given = []
        for module in (ours, theirs):
            policy = module.Persistent()
            given.append([
                policy.on_read_timeout("q", 6, 2, 1, False, retries),
                policy.on_write_timeout("q", 6, write_type, 2, 1, retry_num=retries),
                policy.on_unavailable(query="q", consistency=6, required_replicas=2, alive_replicas=1, retry_num=retries),
                policy.on_request_error("q", 6, OSError(), retries),
                module.IgnoreWrites().on_write_timeout("q", 6, write_type, 2, 1, retries),
                module.IgnoreWrites().on_read_timeout("q", 6, 2, 1, False, retries),
            ])  # fmt: skip
        assert given[0] == given[1]
    for module in (ours, theirs):
        assert list(itertools.islice(module.Quick(0.5).new_schedule(), 6)) == [0.5] * 5 + [1.0]
        assert all(0 <= delay <= 5 for delay in itertools.islice(module.Jittered(1, 10).new_schedule(), 20))
        plan = module.OnceForReads(0.2).new_plan("ks", SimpleStatement(TEXT))
        assert [plan.next_execution(None) for _ in range(2)] == [0.2, -1]
        assert module.PortForward({"10.0.0.1": "127.0.0.1"}).translate("10.0.0.1") == "127.0.0.1"


# -- in use -------------------------------------------------------------------------------------------------------------


def test_a_load_balancing_policy_from_scratch(nodes: FakeCluster) -> None:
    policy = ours.FromScratch()
    with connect(nodes, load_balancing_policy=policy) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        first = policy.hosts[-1]
        for _ in range(3):
            assert session.execute(TEXT).response_future.coordinator_host is first
        node = next(node for node in nodes if node.host == first.address)
        node.stop()
        eventually(lambda: first not in policy.hosts)
        assert session.execute(TEXT).response_future.coordinator_host is policy.hosts[-1]
        assert policy.cluster is cluster


def test_one_that_prefers_a_rack(nodes: FakeCluster) -> None:
    with connect(nodes, load_balancing_policy=ours.PreferRack("dc1", "r0")) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for _ in range(8):
            session.execute(TEXT)
        assert asked(nodes) == [4, 0, 4]


def test_one_that_takes_hosts_out(nodes: FakeCluster) -> None:
    policy = ours.Draining()
    with connect(nodes, load_balancing_policy=policy) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        policy.drain(next(host for host in session.hosts if host.address == nodes[1].host))
        for _ in range(8):
            session.execute(TEXT)
        assert asked(nodes) == [4, 0, 4]


def test_one_that_is_token_aware_in_its_own_way(nodes: FakeCluster) -> None:
    for node in nodes:
        node.system.keyspaces["ks"] = {"class": "SimpleStrategy", "replication_factor": "2"}
    with connect(nodes, load_balancing_policy=ours.WritesToLeader(ours.DCAwareRoundRobinPolicy("dc1"))) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        read, write = session.prepare(BY_KEY), session.prepare(INSERT)
        ring = cluster.metadata.get_replicas("ks", b"\0\0\0\5")
        for _ in range(5):
            assert session.execute(write, (5,)).response_future.coordinator_host is ring[0]
        seen = Counter(session.execute(read, (5,)).response_future.coordinator_host for _ in range(60))
        assert set(seen) == set(ring) and len(ring) == 2


def test_a_filter(nodes: FakeCluster) -> None:
    with connect(nodes, load_balancing_policy=ours.without(nodes[2].host)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for _ in range(6):
            session.execute(TEXT)
        assert asked(nodes)[2] == 0 and len(pooled(session)) == 2


def test_retry_policies(nodes: FakeCluster) -> None:
    policy = ours.Persistent()
    with connect(nodes, default_retry_policy=policy, load_balancing_policy=ours.RoundRobinPolicy()) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        rules = nodes.on(TEXT, Error(ErrorCode.READ_TIMEOUT), times=2)
        future = session.execute_async(TEXT)
        assert future.result().one().v == 1 and policy.asked == ["read", "read"]
        levels = [request.consistency for node in nodes for request in node.queries]
        assert sorted(levels) == [1, 1, 10]
        for rule in rules:
            rule.remove()
        for error, name in ((ErrorCode.UNAVAILABLE, "unavailable"), (ErrorCode.OVERLOADED, "OverloadedErrorMessage")):
            policy.asked.clear()
            nodes[1].on(TEXT, Error(error), times=1)
            assert [session.execute(TEXT).one().v for _ in range(3)] == [1] * 3
            assert policy.asked == [name]
        nodes.on(WRITE, Error(ErrorCode.WRITE_TIMEOUT, write_type="SIMPLE"))
        with pytest.raises(WriteTimeout):
            session.execute(WRITE)
        ignoring = SimpleStatement(WRITE, retry_policy=ours.IgnoreWrites())
        assert list(session.execute(ignoring)) == []


def test_a_reconnection_policy(nodes: FakeCluster) -> None:
    policy = ours.Quick(0.02)
    with connect(nodes, reconnection_policy=policy, load_balancing_policy=ours.RoundRobinPolicy()) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        nodes[1].stop()
        eventually(lambda: len(pooled(session)) == 2 and policy.schedules)
        nodes[1].start()
        eventually(lambda: len(pooled(session)) == 3)


def test_a_speculative_execution_policy(nodes: FakeCluster) -> None:
    profile = ExecutionProfile(ours.FromScratch(), speculative_execution_policy=ours.OnceForReads(0.03))
    with connect(nodes, execution_profiles={EXEC_PROFILE_DEFAULT: profile}) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        first = profile.load_balancing_policy.hosts[-1]  # type: ignore[attr-defined]
        slow = next(node for node in nodes if node.host == first.address)
        slow.on(TEXT, NEVER)
        future = session.execute_async(SimpleStatement(TEXT, is_idempotent=True))
        assert future.result().one().v == 1 and len(future.attempted_hosts) == 2
        slow.on(WRITE, Rows([("v", "int")], [(7,)]).after(0.1))
        future = session.execute_async(SimpleStatement(WRITE, is_idempotent=True))
        assert future.result().one().v == 7 and len(future.attempted_hosts) == 1


def test_an_address_translator(nodes: FakeCluster) -> None:
    private = {f"10.1.1.{number}": node.host for number, node in enumerate(nodes)}
    for address, node in zip(private, nodes, strict=True):
        node.system.local.rpc_address = address
    with Cluster([nodes[0].host], port=nodes.port, address_translator=ours.PortForward(private)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        assert {connection.endpoint.address for connection in pooled(session)} == set(nodes.addresses)
