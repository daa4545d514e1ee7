"""Load balancing: the plans, compared with cassandra-driver's where those are right; applications' own subclasses."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import cassandra.policies
import cassandra.pool
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql import policies
from geventcql.host import DefaultEndPoint, Host
from geventcql.metadata import KeyspaceMetadata, Metadata, Murmur3Token
from geventcql.policies import HostDistance, LoadBalancingPolicy
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.query import BatchStatement, HostTargetingStatement, SimpleStatement


def make_host(number: int, dc: str | None = "dc1", rack: str = "r1", up: bool | None = True) -> Host:
    host = Host(f"127.0.0.{number}", policies.SimpleConvictionPolicy, dc, rack)
    host.is_up = up
    return host


def make_cluster(hosts: list[Host], contact_points: list[Host] | None = None, factor: str = "2") -> Any:
    """A Cluster as far as policies look at it: one token for each host, a keyspace `ks`."""
    metadata = Metadata()
    for host in hosts:
        metadata.add_or_return_host(host)
    factors = dict.fromkeys({host.datacenter or "" for host in hosts}, factor)
    metadata.set_keyspaces([KeyspaceMetadata("ks", True, "NetworkTopologyStrategy", factors)])
    step = 2**64 // max(len(hosts), 1)
    metadata.rebuild_token_map("Murmur3Partitioner", {h: [str(-(2**63) + i * step)] for i, h in enumerate(hosts)})
    points = hosts[:1] if contact_points is None else contact_points
    return SimpleNamespace(metadata=metadata, endpoints_resolved=[host.endpoint for host in points])


def populated(policy: Any, hosts: list[Host], **options: Any) -> Any:
    policy.populate(make_cluster(hosts, **options), hosts)
    return policy


def addresses(plan: Any) -> list[str]:
    return [host.address for host in plan]


# -- round robin


@given(st.integers(0, 8))
def test_round_robin_takes_turns(size: int) -> None:
    hosts = [make_host(number) for number in range(1, size + 1)]
    policy = populated(policies.RoundRobinPolicy(), hosts)
    plans = [list(policy.make_query_plan()) for _ in range(size * 3)]
    assert all(sorted(addresses(plan)) == sorted(addresses(hosts)) for plan in plans)
    assert set(Counter(plan[0] for plan in plans).values()) <= {3}
    assert list(populated(policies.RoundRobinPolicy(), []).make_query_plan()) == []


def test_round_robin_starts_anywhere() -> None:
    hosts = [make_host(number) for number in range(1, 9)]
    firsts = {next(iter(populated(policies.RoundRobinPolicy(), hosts).make_query_plan())) for _ in range(200)}
    assert len(firsts) > 4


changes_of_state = st.sampled_from(["on_up", "on_down", "on_add", "on_remove"])


@given(
    st.lists(st.tuples(changes_of_state, st.integers(0, 5)), max_size=20),
    st.sets(st.integers(0, 5)),
    st.integers(0, 2),
)
def test_state_changes_as_with_cassandra_driver(changes: list[tuple[str, int]], start: set[int], used: int) -> None:
    hosts = [make_host(number, "dc1" if number % 2 else "dc2") for number in range(6)]
    first = [hosts[number] for number in sorted(start, key=lambda number: (number % 2, number))]
    cluster = make_cluster(hosts)
    for ours, theirs in (
        (policies.RoundRobinPolicy(), cassandra.policies.RoundRobinPolicy()),
        (policies.DCAwareRoundRobinPolicy("dc1", used), cassandra.policies.DCAwareRoundRobinPolicy("dc1", used)),
    ):
        ours.populate(cluster, first)
        theirs.populate(cluster, first)
        for change, number in changes:
            getattr(ours, change)(hosts[number])
            getattr(theirs, change)(hosts[number])
        mine, other = list(ours.make_query_plan()), list(theirs.make_query_plan())
        local = sum(host.datacenter == "dc1" for host in other)
        assert len(mine) == len(other)
        if used == 0 or isinstance(ours, policies.RoundRobinPolicy):
            assert set(mine) == set(other)
            assert all(ours.distance(host) == theirs.distance(host) for host in mine)
        else:  # which of the remote hosts are used depends on the order of a set in cassandra-driver
            assert set(mine[:local]) == set(other[:local])


# -- data centres


def test_dc_aware_plans_and_distances() -> None:
    near = [make_host(number, "near") for number in (1, 2, 3)]
    far = [make_host(number, "far") for number in (4, 5)]
    other = [make_host(6, "other")]
    everyone = [far[0], near[0], other[0], near[1], far[1], near[2]]  # in no order: cassandra-driver loses some
    policy = populated(policies.DCAwareRoundRobinPolicy("near"), everyone)
    assert [policy.distance(host) for host in everyone] == [-1, 0, -1, 0, -1, 0]
    assert set(policy.make_query_plan()) == set(near)
    policy = populated(policies.DCAwareRoundRobinPolicy("near", used_hosts_per_remote_dc=1), everyone)
    plans = [list(policy.make_query_plan()) for _ in range(6)]
    assert all(set(plan[:3]) == set(near) and set(plan[3:]) == {far[0], other[0]} for plan in plans)
    assert Counter(plan[0] for plan in plans) == dict.fromkeys(near, 2)
    assert [policy.distance(host) for host in everyone] == [1, 0, 1, 0, -1, 0]
    assert HostDistance.REMOTE == cassandra.policies.HostDistance.REMOTE == 1


def test_the_local_dc_is_that_of_the_contact_point() -> None:
    hosts = [make_host(1, "far"), make_host(2, "near"), make_host(3, "near")]
    policy = populated(policies.DCAwareRoundRobinPolicy(), hosts, contact_points=hosts[1:])
    assert policy.local_dc == "near" and set(policy.make_query_plan()) == set(hosts[1:])


def test_the_local_dc_gets_known_when_the_contact_point_does() -> None:
    point, other = make_host(1, None), make_host(2, "near")
    policy = populated(policies.DCAwareRoundRobinPolicy(), [point])
    assert policy.local_dc == "" and list(policy.make_query_plan()) == [point]
    assert policy.distance(point) == HostDistance.LOCAL
    policy.on_add(other)
    assert policy.local_dc == "" and policy.distance(other) == HostDistance.IGNORED
    point.set_location_info("near", "r1")
    policy.on_up(point)
    assert policy.local_dc == "near"
    assert set(policy.make_query_plan()) == {point, other}
    policy.on_down(point)
    assert list(policy.make_query_plan()) == [other]


def test_a_host_that_changes_dc_is_not_kept_in_the_old_one() -> None:
    hosts = [make_host(1, "near"), make_host(2, "near")]
    policy = populated(policies.DCAwareRoundRobinPolicy("near"), hosts)
    hosts[1].set_location_info("far", "r1")
    policy.on_up(hosts[1])
    assert list(policy.make_query_plan()) == [hosts[0]]


# -- racks


def test_rack_aware_plans() -> None:
    mine = [make_host(number, "near", "r1") for number in (1, 2)]
    others = [make_host(number, "near", "r2") for number in (3, 4, 5)]
    far = [make_host(number, "far", "r1") for number in (6, 7)]
    policy = populated(policies.RackAwareRoundRobinPolicy("near", "r1", 1), [*far, *others, *mine])
    plans = [list(policy.make_query_plan()) for _ in range(12)]
    assert all(set(plan[:2]) == set(mine) and set(plan[2:5]) == set(others) and plan[5:] == far[:1] for plan in plans)
    assert Counter(plan[0] for plan in plans) == dict.fromkeys(mine, 6)
    assert Counter(plan[2] for plan in plans) == dict.fromkeys(others, 4)
    everyone = [*mine, *others, *far]
    assert [policy.distance(host) for host in everyone] == [0, 0, 0, 0, 0, 1, -1]
    assert [policy.in_local_rack(host) for host in everyone] == [True, True] + [False] * 5
    policy.on_down(mine[0])
    policy.on_down(mine[1])
    assert set(list(policy.make_query_plan())[:3]) == set(others)
    others[0].set_location_info("near", "r1")
    assert next(iter(policy.make_query_plan())) is others[0]


def test_a_rack_without_a_name() -> None:
    for arguments in (("", "r1"), ("near", "")):
        with pytest.raises(ValueError, match="needs the names"):
            policies.RackAwareRoundRobinPolicy(*arguments)


def test_policies_that_know_no_racks_prefer_none() -> None:
    host = make_host(1)
    assert not policies.RoundRobinPolicy().in_local_rack(host)
    rack = populated(policies.RackAwareRoundRobinPolicy("dc1", "r1"), [host])
    assert policies.HostFilterPolicy(rack, lambda host: True).in_local_rack(host)


# -- token awareness

HOSTS = [make_host(number, "near" if number < 5 else "far", f"r{number % 2}") for number in range(1, 8)]


@pytest.mark.parametrize("key", [b"", b"a", b"key", b"\xff" * 40])
def test_replicas_come_first_and_no_host_twice(key: bytes) -> None:
    policy = populated(policies.TokenAwarePolicy(policies.DCAwareRoundRobinPolicy("near", 2)), HOSTS)
    statement = SimpleStatement("q", routing_key=key, keyspace="ks")
    local = [h for h in make_cluster(HOSTS).metadata.get_replicas("ks", key) if h.datacenter == "near"]
    assert len(local) == 2
    for _ in range(5):
        plan = list(policy.make_query_plan("other", statement))
        assert plan[:2] == local
        assert len(plan) == len(set(plan)) == 6
        assert {host.datacenter for host in plan[:4]} == {"near"}
    unknown = SimpleStatement("q", routing_key=key)
    assert addresses(policy.make_query_plan("ks", unknown))[:2] == addresses(local)
    assert len({next(iter(policy.make_query_plan("unknown", unknown))) for _ in range(4)}) == 4


@given(st.binary(), st.lists(st.sampled_from([True, False, None]), min_size=7, max_size=7))
def test_plans_are_those_of_cassandra_driver(key: bytes, states: list[bool | None]) -> None:
    hosts = [make_host(n, "near" if n < 5 else "far", f"r{n % 2}", up) for n, up in enumerate(states, 1)]
    cluster = make_cluster(hosts)
    statement = SimpleStatement("q", routing_key=key, keyspace="ks")
    plans = []
    for module in (policies, cassandra.policies):
        policy: Any = module.TokenAwarePolicy(module.DCAwareRoundRobinPolicy("near"))  # type: ignore[attr-defined]
        policy.populate(cluster, hosts)
        plans.append(list(policy.make_query_plan("ks", statement)))
    ours, theirs = plans
    replicas = [host for host in cluster.metadata.get_replicas("ks", key) if host.datacenter == "near"]
    first = [host for host in replicas if host.is_up]
    assert ours[: len(first)] == theirs[: len(first)] == first
    # cassandra-driver leaves out replicas that are not known to be up; here the child policy has the last word.
    assert set(ours) == set(theirs) | set(replicas) == set(hosts[:4])


def test_replicas_that_are_down_are_not_preferred() -> None:
    hosts = [make_host(number) for number in range(1, 6)]
    policy = populated(policies.TokenAwarePolicy(policies.RoundRobinPolicy()), hosts)
    statement = SimpleStatement("q", routing_key=b"k", keyspace="ks")
    first = next(iter(policy.make_query_plan(None, statement)))
    first.set_down()
    policy.on_down(first)
    assert first not in list(policy.make_query_plan(None, statement))
    first.set_up()
    policy.on_up(first)
    assert next(iter(policy.make_query_plan(None, statement))) is first


def test_shuffling_spreads_replicas_and_leaves_the_metadata_alone() -> None:
    hosts = [make_host(number) for number in range(1, 6)]
    policy = populated(policies.TokenAwarePolicy(policies.RoundRobinPolicy(), shuffle_replicas=True), hosts, factor="3")
    metadata = policy._cluster_metadata
    statement = SimpleStatement("q", routing_key=b"k", keyspace="ks")
    replicas = metadata.get_replicas("ks", b"k")
    firsts = Counter(next(iter(policy.make_query_plan(None, statement))) for _ in range(300))
    assert set(firsts) == set(replicas) and min(firsts.values()) > 50
    assert metadata.get_replicas("ks", b"k") == replicas


def in_ring(number: int, racks: str = "abcd") -> tuple[Any, list[Host], SimpleStatement]:
    """A cluster of `number` replicas of everything, in the order of the ring for the statement's key."""
    hosts = [make_host(n, "near", racks[n - 1]) for n in range(1, number + 1)]
    cluster = make_cluster(hosts, factor=str(number))
    statement = SimpleStatement("SELECT q", routing_key=b"k", keyspace="ks")
    return cluster, cluster.metadata.get_replicas("ks", b"k"), statement


def test_replicas_of_the_local_rack_come_first() -> None:
    cluster, ring, statement = in_ring(4)
    mine = ring[2]
    policy = policies.TokenAwarePolicy(policies.RackAwareRoundRobinPolicy("near", mine.rack or ""))
    policy.populate(cluster, ring)
    assert list(policy.make_query_plan(None, statement)) == [mine, ring[0], ring[1], ring[3]]
    policy.shuffle_replicas = True
    plans = [tuple(policy.make_query_plan(None, statement)) for _ in range(100)]
    assert {plan[0] for plan in plans} == {mine} and {plan[1] for plan in plans} == set(ring) - {mine}


@pytest.mark.parametrize("how", ["conditional", "serial", "a batch"])
def test_paxos_finds_the_replicas_in_ring_order(how: str) -> None:
    cluster, ring, statement = in_ring(4)
    child = policies.RackAwareRoundRobinPolicy("near", ring[2].rack or "")
    policy = policies.TokenAwarePolicy(child, shuffle_replicas=True)
    cluster.load_of = lambda host: 100 if host is ring[0] else 0
    policy.populate(cluster, ring)
    query: Any = statement
    if how == "conditional":
        query = SimpleStatement("UPDATE t SET v = 1 WHERE k = 1 IF v = 0", routing_key=b"k", keyspace="ks")
    elif how == "serial":
        query.consistency_level = ConsistencyLevel.LOCAL_SERIAL
    elif how == "a batch":
        query = BatchStatement().add(SimpleStatement("DELETE FROM t WHERE k = 1 IF EXISTS", routing_key=b"k", keyspace="ks"))
    for _ in range(20):
        assert list(policy.make_query_plan(None, query))[:4] == ring


def test_busy_replicas_are_avoided() -> None:
    cluster, ring, statement = in_ring(3)
    loads = dict.fromkeys(ring, 0)
    cluster.load_of = loads.__getitem__
    policy = policies.TokenAwarePolicy(policies.RoundRobinPolicy())
    policy.populate(cluster, ring)
    for load, other, expected in ((9, 0, {0}), (10, 0, {1, 2}), (30, 15, {0}), (31, 15, {1, 2})):
        loads.update({ring[0]: load, ring[1]: other, ring[2]: other})
        plans = [list(policy.make_query_plan(None, statement)) for _ in range(60)]
        assert {ring.index(plan[0]) for plan in plans} == expected
        assert all(set(plan) == set(ring) and len(plan) == 3 for plan in plans)
    policy.avoid_busy_replicas = False
    assert next(iter(policy.make_query_plan(None, statement))) is ring[0]
    plain = policies.TokenAwarePolicy(policies.RoundRobinPolicy())
    plain.populate(SimpleNamespace(metadata=cluster.metadata), ring)  # a Cluster that an application's test has made up
    assert next(iter(plain.make_query_plan(None, statement))) is ring[0]


def test_requests_without_statement_get_the_childs_plan() -> None:
    policy = populated(policies.TokenAwarePolicy(policies.RoundRobinPolicy()), HOSTS)
    assert set(policy.make_query_plan()) == set(HOSTS)
    assert set(policy.make_query_plan("ks", SimpleStatement("q", keyspace="ks"))) == set(HOSTS)
    policy.check_supported()
    policy._cluster_metadata.can_support_partitioner = lambda: False
    with pytest.raises(RuntimeError, match="Murmur3Partitioner"):
        policy.check_supported()


# -- wrappers and filters


def test_a_targeted_statement_goes_to_its_host_first() -> None:
    policy = populated(policies.DefaultLoadBalancingPolicy(policies.RoundRobinPolicy()), HOSTS)
    for number, target in ((3, "127.0.0.3"), (5, HOSTS[4]), (6, DefaultEndPoint("127.0.0.6"))):
        plan = list(policy.make_query_plan("ks", HostTargetingStatement(SimpleStatement("q"), target)))
        assert plan[0] == f"127.0.0.{number}" and len(plan) == len(set(plan)) == 7
    for statement in (None, SimpleStatement("q"), HostTargetingStatement(SimpleStatement("q"), "127.0.0.99")):
        assert set(policy.make_query_plan("ks", statement)) == set(HOSTS)
    down = [make_host(1, up=False), make_host(2)]
    policy = populated(policies.DefaultLoadBalancingPolicy(policies.RoundRobinPolicy()), down)
    policy.on_down(down[0])
    assert list(policy.make_query_plan(None, HostTargetingStatement(SimpleStatement("q"), down[0]))) == [down[1]]
    with pytest.warns(DeprecationWarning):
        assert isinstance(policies.DSELoadBalancingPolicy(policies.RoundRobinPolicy()), policies.WrapperPolicy)


def test_host_filter() -> None:
    policy = policies.HostFilterPolicy(policies.RoundRobinPolicy(), lambda host: host.address != "127.0.0.2")
    populated(policy, HOSTS)
    assert policy.distance(HOSTS[1]) == HostDistance.IGNORED and policy.distance(HOSTS[0]) == HostDistance.LOCAL
    assert set(policy.make_query_plan()) == set(HOSTS) - {HOSTS[1]}
    assert not policy.predicate(HOSTS[1])
    policy.check_supported()


def test_the_white_list() -> None:
    looked_up: list[str] = []

    class Resolver:
        def addresses(self, name: str) -> list[str]:
            looked_up.append(name)
            return ["127.0.0.4", "127.0.0.5"]

    policy = policies.WhiteListRoundRobinPolicy(["127.0.0.2", "db.example"])
    assert policy.distance(HOSTS[1]) == HostDistance.LOCAL and looked_up == []
    cluster = make_cluster(HOSTS)
    cluster.resolver = Resolver()
    policy.populate(cluster, HOSTS)
    assert looked_up == ["db.example"]
    allowed = {"127.0.0.2", "127.0.0.4", "127.0.0.5"}
    assert set(addresses(policy.make_query_plan())) == allowed
    assert {host.address for host in HOSTS if policy.distance(host) == HostDistance.LOCAL} == allowed
    policy.on_down(HOSTS[1])
    policy.on_add(HOSTS[0])
    policy.on_up(HOSTS[2])
    assert set(addresses(policy.make_query_plan())) == allowed - {"127.0.0.2"}
    policy.on_up(HOSTS[1])
    policy.on_remove(HOSTS[3])
    assert set(addresses(policy.make_query_plan())) == allowed - {"127.0.0.4"}


def test_wrappers_pass_everything_on() -> None:
    heard: list[tuple[str, Any]] = []

    class Child(LoadBalancingPolicy):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("__"):
                return super().__getattribute__(name)
            return lambda *arguments: heard.append((name, arguments))

    wrapper = policies.WrapperPolicy(Child())
    for name in ("on_up", "on_down", "on_add", "on_remove", "distance"):
        getattr(wrapper, name)(HOSTS[0])
    wrapper.populate("cluster", HOSTS)
    wrapper.make_query_plan("ks", "query")
    wrapper.check_supported()
    assert heard == [(name, (HOSTS[0],)) for name in ("on_up", "on_down", "on_add", "on_remove", "distance")] + [
        ("populate", ("cluster", HOSTS)), ("make_query_plan", ("ks", "query")), ("check_supported", ()),
    ]  # fmt: skip


def test_the_default() -> None:
    policy = policies.default_lbp_factory()
    assert isinstance(policy, policies.TokenAwarePolicy) and not policy.shuffle_replicas
    assert isinstance(policy._child_policy, policies.DCAwareRoundRobinPolicy)


def test_the_interface_asks_to_be_implemented() -> None:
    policy = LoadBalancingPolicy()
    for call in (policy.make_query_plan, lambda: policy.distance(HOSTS[0]), lambda: policy.populate(None, HOSTS)):
        with pytest.raises(NotImplementedError):
            call()
    for name in ("on_up", "on_down", "on_add", "on_remove"):
        with pytest.raises(NotImplementedError):
            getattr(policy, name)(HOSTS[0])


def test_subclasses_written_for_cassandra_driver_run_unchanged() -> None:
    class SameRack(policies.RoundRobinPolicy):
        """Locks and sets as cassandra-driver's own code does; shuffles the replicas it is given in place."""

        def __init__(self, rack: str) -> None:
            policies.RoundRobinPolicy.__init__(self)
            self.rack = rack

        def populate(self, cluster: Any, hosts: Any) -> None:
            self.metadata = cluster.metadata
            self._live_hosts = frozenset(host for host in hosts if host.rack == self.rack)

        def on_up(self, host: Host) -> None:
            if host.rack == self.rack:
                with self._hosts_lock:
                    self._live_hosts = self._live_hosts.union((host,))

        def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Any:
            replicas = self.metadata.get_replicas(working_keyspace, query.routing_key)
            replicas.sort(key=lambda host: host.address)
            replicas.clear()
            return super().make_query_plan(working_keyspace, query)

    policy = populated(policies.TokenAwarePolicy(SameRack("r1")), HOSTS)
    policy.on_up(make_host(9, rack="r1"))
    statement = SimpleStatement("q", routing_key=b"k", keyspace="ks")
    assert {h.address for h in policy.make_query_plan("ks", statement) if h.rack == "r1"} == {
        "127.0.0.1", "127.0.0.3", "127.0.0.5", "127.0.0.7", "127.0.0.9",
    }  # fmt: skip
    assert policy._cluster_metadata.token_map.get_replicas("ks", Murmur3Token.from_key(b"k")) != ()
