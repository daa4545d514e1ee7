"""Replicas for random rings: those of cassandra-driver, and of Cassandra's own rules written down plainly."""

from __future__ import annotations

import logging
from typing import Any

import cassandra.metadata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.host import Host
from geventcql.metadata import (
    EverywhereStrategy,
    LocalStrategy,
    NetworkTopologyStrategy,
    ReplicationFactor,
    ReplicationStrategy,
    SimpleStrategy,
)
from geventcql.metadata.replication import Ring, UnknownStrategy
from geventcql.policies import SimpleConvictionPolicy

locations = st.tuples(st.sampled_from(["dc1", "dc2"]), st.sampled_from(["r1", "r2", "r3"]))


@st.composite
def rings(draw: st.DrawFn, most_tokens: int = 4) -> dict[int, Host]:
    """Owners by token: up to nine hosts in two data centres and three racks, with 1 to `most_tokens` tokens each."""
    hosts = [Host(f"127.0.0.{i}", SimpleConvictionPolicy, *place) for i, place in
             enumerate(draw(st.lists(locations, min_size=1, max_size=9)), 1)]  # fmt: skip
    owners = [host for host in hosts for _ in range(draw(st.integers(1, most_tokens)))]
    return dict(enumerate(draw(st.permutations(owners))))


def of_cassandra_driver(strategy: Any, owners: dict[int, Host]) -> list[list[Host]]:
    tokens = {cassandra.metadata.Murmur3Token(value): host for value, host in owners.items()}
    found = strategy.make_token_replica_map(tokens, sorted(tokens))
    return [list(found[token]) for token in sorted(tokens)]


def by_cassandras_rules(owners: dict[int, Host], position: int, dc: str, factor: int) -> set[Host]:
    """As its class DatacenterEndpoints has them: a new rack always, a known one while repeats are left."""
    everyone = {host for host in owners.values() if host.datacenter == dc}
    racks = {host.rack for host in everyone}
    repeats = factor - len(racks)
    found: list[Host] = []
    for step in range(len(owners)):
        host = owners[(position + step) % len(owners)]
        if host.datacenter != dc or host in found or len(found) == min(factor, len(everyone)):
            continue
        if host.rack in {other.rack for other in found}:
            if repeats <= 0:
                continue
            repeats -= 1
        found.append(host)
    return set(found)


@given(rings(), st.integers(1, 5))
def test_simple_strategy(owners: dict[int, Host], factor: int) -> None:
    strategy = SimpleStrategy({"replication_factor": str(factor)})
    ring = Ring(owners)
    ours = [list(strategy.replicas(ring, position)) for position in range(len(owners))]
    theirs = cassandra.metadata.SimpleStrategy({"replication_factor": str(factor)})
    assert ours == of_cassandra_driver(theirs, owners)


@given(rings(), st.integers(0, 5), st.integers(0, 5))
def test_network_topology_strategy(owners: dict[int, Host], first: int, second: int) -> None:
    factors = {"dc1": str(first), "dc2": str(second), "elsewhere": "3"}
    strategy = NetworkTopologyStrategy(factors)
    ring = Ring(owners)
    theirs = of_cassandra_driver(cassandra.metadata.NetworkTopologyStrategy(factors), owners)
    for position in range(len(owners)):
        ours = list(strategy.replicas(ring, position))
        assert len(ours) == len(set(ours))
        for dc, factor in (("dc1", first), ("dc2", second)):
            here = {host for host in ours if host.datacenter == dc}
            assert here == by_cassandras_rules(owners, position, dc, factor)
        if len(theirs[position]) == len(set(theirs[position])):
            assert ours == theirs[position]
        # else: with virtual nodes cassandra-driver lists a host that it passed over twice, in place of another


def full_by_cassandras_rules(owners: dict[int, Host], position: int, dc: str, every: int, transient: int) -> list[Host]:
    """Of all replicas, in the order in which DatacenterEndpoints finds them, those before the last `transient`."""
    everyone = {host for host in owners.values() if host.datacenter == dc}
    wanted = min(every, len(everyone))
    transient = max(transient - (every - wanted), 0)
    repeats = every - len({host.rack for host in everyone})
    found: list[Host] = []
    for step in range(len(owners)):
        host = owners[(position + step) % len(owners)]
        if host.datacenter != dc or host in found or len(found) == wanted:
            continue
        if host.rack in {other.rack for other in found}:
            if repeats <= 0:
                continue
            repeats -= 1
        found.append(host)
    return found[: wanted - transient]


@given(rings(), st.integers(1, 5), st.integers(1, 4))
def test_transient_replicas_are_left_out(owners: dict[int, Host], every: int, transient: int) -> None:
    transient = min(transient, every - 1)
    strategy = NetworkTopologyStrategy({"dc1": f"{every}/{transient}", "dc2": "1"})
    ring = Ring(owners)
    for position in range(len(owners)):
        here = [host for host in strategy.replicas(ring, position) if host.datacenter == "dc1"]
        if transient:
            assert here == full_by_cassandras_rules(owners, position, "dc1", every, transient)
        else:
            assert set(here) == by_cassandras_rules(owners, position, "dc1", every)


def test_a_full_replica_on_a_rack_that_has_one() -> None:
    hosts = [Host(f"127.0.0.{i}", SimpleConvictionPolicy, "dc1", rack) for i, rack in enumerate("aab", 1)]
    ring = Ring(dict(enumerate(hosts)))
    assert NetworkTopologyStrategy({"dc1": "3/1"}).replicas(ring, 0) == (hosts[0], hosts[1])  # with "2" hosts 0 and 2


@given(rings(most_tokens=1), st.integers(1, 4))
def test_token_replica_maps(owners: dict[int, Host], factor: int) -> None:
    tokens = {cassandra.metadata.Murmur3Token(value): host for value, host in owners.items()}
    for name, options in (("SimpleStrategy", {"replication_factor": str(factor)}),
                          ("NetworkTopologyStrategy", {"dc1": str(factor)}), ("LocalStrategy", {})):  # fmt: skip
        ours = ReplicationStrategy.create(name, options)
        theirs = cassandra.metadata.ReplicationStrategy.create(name, options)
        assert ours is not None
        expected = {token: list(hosts) for token, hosts in
                    theirs.make_token_replica_map(tokens, sorted(tokens)).items() if hosts}  # fmt: skip
        assert ours.make_token_replica_map(tokens, sorted(tokens)) == expected


def test_racks_come_before_repeats() -> None:
    hosts = [Host(f"127.0.0.{i}", SimpleConvictionPolicy, "dc1", rack) for i, rack in enumerate("aaab", 1)]
    ring = Ring(dict(enumerate(hosts)))
    strategy = NetworkTopologyStrategy({"dc1": "3"})
    assert [host.address[-1] for host in strategy.replicas(ring, 0)] == ["1", "4", "2"]
    assert [host.address[-1] for host in strategy.replicas(ring, 3)] == ["4", "1", "2"]


def test_hosts_without_rack_are_replicas_all_the_same() -> None:
    hosts = [Host(f"127.0.0.{i}", SimpleConvictionPolicy, "dc1") for i in range(1, 4)]
    ring = Ring(dict(enumerate(hosts)))
    assert NetworkTopologyStrategy({"dc1": "2"}).replicas(ring, 1) == (hosts[1], hosts[2])


def test_everywhere_and_local() -> None:
    hosts = [Host(f"127.0.0.{i}", SimpleConvictionPolicy) for i in range(1, 4)]
    ring = Ring({0: hosts[0], 1: hosts[1], 2: hosts[0], 3: hosts[2]})
    assert EverywhereStrategy({}).replicas(ring, 2) == (hosts[0], hosts[2], hosts[1])
    assert LocalStrategy({}).replicas(ring, 2) == ()


# -- options


@pytest.mark.parametrize("text", ["0", "1", "3", "3/1", "5/2"])
def test_replication_factors(text: str) -> None:
    ours, theirs = ReplicationFactor.create(text), cassandra.metadata.ReplicationFactor.create(text)
    assert (ours.all_replicas, ours.full_replicas, ours.transient_replicas, str(ours)) == (
        theirs.all_replicas, theirs.full_replicas, theirs.transient_replicas, str(theirs),
    )  # fmt: skip
    assert ours == ReplicationFactor.create(text) and hash(ours) == hash(ReplicationFactor.create(text))
    assert ours != ReplicationFactor(9) and ours != text


@pytest.mark.parametrize("text", ["", "x", "3/", "3/1/1", "1.5"])
def test_what_is_no_replication_factor(text: str) -> None:
    with pytest.raises(ValueError, match="replication factor"):
        ReplicationFactor.create(text)


REPLICATIONS = [
    {"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "3"},
    {"class": "SimpleStrategy", "replication_factor": "3/1"},
    {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc2": "3", "dc1": "2"},
    {"class": "org.apache.cassandra.locator.LocalStrategy"},
]


@pytest.mark.parametrize("replication", REPLICATIONS)
def test_strategies_from_the_schema(replication: dict[str, str]) -> None:
    strategy = ReplicationStrategy.from_replication(replication)
    options = {key: value for key, value in replication.items() if key != "class"}
    theirs = cassandra.metadata.ReplicationStrategy.create(replication["class"], options)
    assert strategy is not None
    assert (strategy.name, strategy.export_for_schema()) == (theirs.name, theirs.export_for_schema())
    same = ReplicationStrategy.from_replication(replication)
    assert strategy == same and hash(strategy) == hash(same)
    assert [strategy == ReplicationStrategy.from_replication(other) for other in REPLICATIONS].count(True) == 1


def test_transient_replicas_do_not_count() -> None:
    strategy = ReplicationStrategy.create("SimpleStrategy", {"replication_factor": "3/1"})
    assert isinstance(strategy, SimpleStrategy) and strategy.replication_factor == 2
    topology = NetworkTopologyStrategy({"dc1": "3/2", "dc2": "2"})
    assert topology.dc_replication_factors == {"dc1": 1, "dc2": 2}
    assert topology.dc_replication_factors_info["dc1"].all_replicas == 3


def test_unknown_strategies() -> None:
    strategy = ReplicationStrategy.create("com.example.Odd", {"a": "1"})
    assert isinstance(strategy, UnknownStrategy) and strategy.name == "com.example.Odd"
    assert strategy.export_for_schema() == "{'class': 'com.example.Odd', 'a': '1'}"
    assert strategy.replicas(Ring({0: Host("127.0.0.1", SimpleConvictionPolicy)}), 0) == ()
    assert strategy.options_map == {"class": "com.example.Odd", "a": "1"} and strategy.options() == {"a": "1"}
    assert strategy == UnknownStrategy("com.example.Odd", {"a": "1"}) != UnknownStrategy("com.example.Odd", {})
    assert ReplicationStrategy.create(None, {}) is None


@pytest.mark.logs("WARNING The replication options")
@pytest.mark.parametrize("options", [{}, {"replication_factor": "many"}])
def test_options_that_do_not_fit_are_logged(options: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "geventcql"):
        assert ReplicationStrategy.create("SimpleStrategy", options) is None
    assert "SimpleStrategy" in caplog.text
