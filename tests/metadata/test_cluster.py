"""The registry views of hosts and keyspaces, and what follows from replacing them."""

from __future__ import annotations

from uuid import UUID

import cassandra.metadata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.host import DefaultEndPoint, Host
from geventcql.metadata import KeyspaceMetadata, Metadata
from geventcql.policies import SimpleConvictionPolicy
from geventcql.protocol.responses import SchemaChange


def make_host(number: int) -> Host:
    return Host(f"127.0.0.{number}", SimpleConvictionPolicy, "dc1", "r1", UUID(int=number))


def keyspace(name: str, factor: int) -> KeyspaceMetadata:
    return KeyspaceMetadata(name, True, "SimpleStrategy", {"replication_factor": str(factor)})


def test_hosts_come_and_go() -> None:
    metadata, one, two = Metadata(), make_host(1), make_host(2)
    assert metadata.add_or_return_host(one) == (one, True)
    known, new = metadata.add_or_return_host(make_host(1))
    assert known is one and not new
    metadata.add_or_return_host(two)
    seen = metadata.all_hosts()
    assert seen == [one, two]
    assert metadata.remove_host(one) is True and metadata.remove_host(one) is False
    assert metadata.all_hosts() == [two] and seen == [one, two]


def test_hosts_are_found() -> None:
    metadata, one, two = Metadata(), make_host(1), make_host(2)
    two.broadcast_rpc_address, two.broadcast_rpc_port = "127.9.9.9", 9043
    for host in (one, two):
        metadata.add_or_return_host(host)
    assert metadata.get_host(DefaultEndPoint("127.0.0.2")) is two and metadata.get_host(make_host(2)) is two
    assert metadata.get_host("127.9.9.9") is metadata.get_host("127.9.9.9", 9043) is two
    assert metadata.get_host("127.9.9.9", 9042) is None and metadata.get_host("127.0.0.2") is None
    assert metadata.get_host("127.0.0.1") is metadata.get_host("127.0.0.1", 9042) is one
    assert metadata.get_host(DefaultEndPoint("127.0.0.3")) is None
    assert metadata.get_host_by_host_id(UUID(int=2)) is two and metadata.get_host_by_host_id(UUID(int=3)) is None


@given(st.binary(), st.sampled_from(["Murmur3Partitioner", "RandomPartitioner"]), st.integers(1, 4))
def test_replicas_are_those_of_cassandra_driver(key: bytes, partitioner: str, factor: int) -> None:
    hosts = [make_host(number) for number in range(1, 6)]
    tokens = {host: [str(index * 10**18), str(index * 10**37)] for index, host in enumerate(hosts)}
    ours, theirs = Metadata(), cassandra.metadata.Metadata()
    ours.set_keyspaces([keyspace("ks", factor)])
    theirs.keyspaces["ks"] = cassandra.metadata.KeyspaceMetadata(
        "ks", True, "SimpleStrategy", {"replication_factor": str(factor)}
    )
    for metadata in (ours, theirs):
        metadata.rebuild_token_map(f"org.apache.cassandra.dht.{partitioner}", tokens)
    replicas = ours.get_replicas("ks", key)
    assert replicas == theirs.get_replicas("ks", key) and len(replicas) == factor
    replicas.clear()
    assert len(ours.get_replicas("ks", key)) == factor


def test_keyspaces_and_tokens_in_either_order() -> None:
    hosts = [make_host(number) for number in (1, 2, 3)]
    tokens = {host: [str(index)] for index, host in enumerate(hosts)}
    metadata = Metadata()
    assert metadata.get_replicas("ks", b"k") == []
    metadata.rebuild_token_map("Murmur3Partitioner", tokens)
    assert metadata.get_replicas("ks", b"k") == []
    before = metadata.token_map
    metadata.set_keyspaces([keyspace("ks", 2), keyspace("other", 1)])
    assert metadata.token_map is not before
    assert len(metadata.get_replicas("ks", b"k")) == 2 and len(metadata.get_replicas("other", b"k")) == 1
    metadata.rebuild_token_map("Murmur3Partitioner", {hosts[1]: ["5"]})
    assert metadata.get_replicas("ks", b"k") == [hosts[1]]
    metadata.set_keyspaces([])
    assert metadata.get_replicas("ks", b"k") == [] and dict(metadata.keyspaces) == {}


def test_snapshots_are_read_only() -> None:
    metadata = Metadata()
    metadata.set_keyspaces([keyspace("ks", 1)])
    with pytest.raises(TypeError):
        metadata.keyspaces["ks"] = keyspace("ks", 2)  # type: ignore[index]


def test_an_unknown_partitioner_leaves_no_token_map() -> None:
    metadata = Metadata()
    metadata.rebuild_token_map("Murmur3Partitioner", {make_host(1): ["1"]})
    assert metadata.token_map is not None
    metadata.rebuild_token_map("com.example.OddPartitioner", {make_host(1): ["1"]})
    assert metadata.token_map is None and metadata.get_replicas("ks", b"k") == []
    assert metadata.partitioner == "com.example.OddPartitioner" and metadata.can_support_partitioner()


def test_keyspaces_from_rows() -> None:
    row = {"keyspace_name": "My", "durable_writes": False, "replication": {
        "class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc2": "1", "dc1": "3"}}  # fmt: skip
    ours = KeyspaceMetadata.from_row(row)
    theirs = cassandra.metadata.KeyspaceMetadata("My", False, "NetworkTopologyStrategy", {"dc1": "3", "dc2": "1"})
    assert ours.name == "My" and ours.durable_writes is False
    assert ours.as_cql_query() + ";" == theirs.as_cql_query().rstrip(";") + ";"
    assert "My" in repr(ours)


def rows(*names: str) -> list[dict[str, object]]:
    replication = {"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "1"}
    return [{"keyspace_name": name, "durable_writes": True, "replication": replication} for name in names]


def test_a_reading_that_a_later_one_has_overtaken_is_dropped() -> None:
    keyspaces = Metadata().keyspaces

    def overtaken(query: str) -> list[dict[str, object]]:
        keyspaces.read(lambda query: rows("one", "other"), lambda: None)
        return rows("one")

    keyspaces.read(overtaken, lambda: None)
    assert set(keyspaces.known) == {"one", "other"} and not keyspaces._stale


@pytest.mark.parametrize(
    ("change", "shown", "known", "stale"),
    [
        ("DROPPED", ("one", "other"), {"one"}, {"other"}),  # it is gone, whatever the reading shows
        ("CREATED", ("one",), {"one"}, {"other"}),  # the next look finds it
        ("CREATED", ("one", "other"), {"one"}, {"other"}),
        ("UPDATED", ("one", "other"), {"one", "other"}, {"other"}),
    ],
)
def test_what_is_told_of_a_keyspace_while_all_are_read(
    change: str, shown: tuple[str, ...], known: set[str], stale: set[str]
) -> None:
    metadata = Metadata()
    metadata.keyspaces.read(lambda query: rows("one") if change == "CREATED" else rows("one", "other"), lambda: None)

    def changes(query: str) -> list[dict[str, object]]:
        metadata.schema_changed(SchemaChange(change, "KEYSPACE", "other"))
        return rows(*shown)

    metadata.keyspaces.read(changes, lambda: None)
    assert set(metadata.keyspaces.known) == known and metadata.keyspaces._stale == stale


def test_what_is_told_while_keyspaces_are_read_for_the_first_time() -> None:
    metadata = Metadata()

    def changes(query: str) -> list[dict[str, object]]:
        metadata.schema_changed(SchemaChange("UPDATED", "KEYSPACE", "one"))
        return rows("one")

    metadata.keyspaces.read(changes, lambda: None)
    assert set(metadata.keyspaces.known) == {"one"} == metadata.keyspaces._stale


def test_a_token_map_that_a_later_one_has_overtaken_is_dropped() -> None:
    metadata, one, two = Metadata(), make_host(1), make_host(2)
    metadata.set_keyspaces([keyspace("ks", 1)])
    meanwhile = [lambda: metadata.rebuild_token_map("Murmur3Partitioner", {two: ["5"]})]
    metadata.rebuild_token_map("Murmur3Partitioner", {one: ["5"]}, lambda: meanwhile and meanwhile.pop()())
    assert metadata.get_replicas("ks", b"k") == [two] and not meanwhile


def test_a_later_token_map_that_is_given_up_drops_no_other() -> None:
    metadata, one, two = Metadata(), make_host(1), make_host(2)
    metadata.set_keyspaces([keyspace("ks", 1)])

    def killed() -> None:
        raise KeyboardInterrupt

    def meanwhile() -> None:
        with pytest.raises(KeyboardInterrupt):
            metadata.rebuild_token_map("Murmur3Partitioner", {two: ["5"]}, killed)

    metadata.rebuild_token_map("Murmur3Partitioner", {one: ["5"]}, meanwhile)
    assert metadata.get_replicas("ks", b"k") == [one]


def test_others_get_turns_while_a_large_ring_is_made() -> None:
    turns: list[int] = []
    metadata = Metadata()
    metadata.rebuild_token_map("Murmur3Partitioner", {make_host(1): map(str, range(5000))}, lambda: turns.append(1))
    assert len(turns) == 6 and metadata.token_map is not None and len(metadata.token_map.ring) == 5000
