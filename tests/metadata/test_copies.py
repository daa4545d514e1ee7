"""Metadata are copied and pickled as cassandra-driver's are, and their mappings have what dict has."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from geventcql.host import Host
from geventcql.metadata import KeyspaceMetadata, Metadata
from geventcql.policies import SimpleConvictionPolicy
from geventcql.protocol.responses import SchemaChange
from tests.integration.schemas import described
from tests.metadata.schemaserver import SchemaServer

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda what: pickle.loads(pickle.dumps(what)),
    "deepcopy": copy.deepcopy,
}


@pytest.fixture
def server() -> SchemaServer:
    server = SchemaServer()
    server.keyspace("ks")
    server.table("ks", "a", "k partition_key 0 none int", "c clustering 0 desc int", "v regular -1 none text")
    server.table("ks", "b")
    server.view("ks", "va", "a")
    server.index("ks", "a", "i", target="v")
    server.user_type("ks", "ty", x="int")
    server.add("triggers", keyspace_name="ks", table_name="a", trigger_name="T", options={"class": "a.B"})
    server.add(
        "functions", keyspace_name="ks", function_name="f", argument_types=["int"], argument_names=["a"], return_type="int",
        language="java", body="return 1;", called_on_null_input=True,
    )  # fmt: skip
    server.add("system_virtual_schema.keyspaces", keyspace_name="system_views")
    server.add("system_virtual_schema.tables", keyspace_name="system_views", table_name="clients", comment="who")
    server.rows["system_virtual_schema.columns"] = []
    return server


@pytest.fixture
def metadata(server: SchemaServer) -> Metadata:
    return Metadata(server)


@pytest.fixture(params=WAYS)
def copied(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return WAYS[request.param]


def test_a_keyspace_is_copied_with_all_that_is_in_it(
    metadata: Metadata, server: SchemaServer, copied: Callable[[Any], Any]
) -> None:
    keyspace = metadata.keyspaces["ks"]
    twin = copied(keyspace)
    server.asked()
    assert type(twin) is KeyspaceMetadata and twin.replication_strategy == keyspace.replication_strategy
    assert type(twin.tables) is type(twin.tables["a"].views) is type(twin.functions) is dict
    assert described(twin) == described(keyspace) and twin.export_as_string() == keyspace.export_as_string()
    assert server.asked() == []
    table = twin.tables["a"]
    assert table is not keyspace.tables["a"] and table.columns["k"].table is table is table.triggers["T"].table
    metadata.schema_changed(SchemaChange("DROPPED", "TABLE", "ks", "a"))
    server.drop("tables", table_name="a")
    assert "a" in twin.tables and "a" not in keyspace.tables


def test_parts_are_copied_as_dicts(metadata: Metadata, copied: Callable[[Any], Any]) -> None:
    keyspace = metadata.keyspaces["ks"]
    tables = copied(keyspace.tables)
    assert type(tables) is dict and list(tables) == ["a", "b"]
    assert type(copied(metadata.keyspaces)) is dict and list(copied(metadata.keyspaces)) == ["ks", "system_views"]
    table = copied(keyspace.tables["a"])
    assert table.export_as_string() == keyspace.tables["a"].export_as_string()
    assert table.columns["c"].table is table
    view = copied(keyspace.views["va"])
    assert view.export_as_string() == keyspace.views["va"].export_as_string()


def test_shallow_copies(metadata: Metadata, server: SchemaServer) -> None:
    keyspace = metadata.keyspaces["ks"]
    server.asked()
    twin = copy.copy(keyspace)
    assert twin.tables is keyspace.tables and server.asked() == []
    assert type(copy.copy(keyspace.tables)) is dict and copy.copy(keyspace.tables)["a"] is keyspace.tables["a"]


def test_all_of_it_is_copied(metadata: Metadata, server: SchemaServer, copied: Callable[[Any], Any]) -> None:
    hosts = [Host(f"127.0.0.{number}", SimpleConvictionPolicy, "dc1", "r1", UUID(int=number)) for number in (1, 2)]
    for host in hosts:
        metadata.add_or_return_host(host)
    metadata.cluster_name = "the cluster"
    metadata.keyspaces.refresh()
    metadata.rebuild_token_map("Murmur3Partitioner", {host: [str(host.host_id and host.host_id.int)] for host in hosts})
    metadata.on_token_map = lambda: None
    assert metadata.token_map is not None and metadata.token_map.tokens is not None
    twin = copied(metadata)
    server.asked()
    assert (twin.cluster_name, twin.partitioner) == ("the cluster", "Murmur3Partitioner")
    assert twin.all_hosts() == hosts and twin.get_host("127.0.0.2") is twin.all_hosts()[1] is not hosts[1]
    assert twin.token_map.tokens is not None and repr(twin.token_map) == repr(metadata.token_map)
    for key in (b"a", b"b", b"c", b"d"):
        assert twin.get_replicas("ks", key) == metadata.get_replicas("ks", key) != []
    assert list(twin.keyspaces) == list(metadata.keyspaces) == ["ks", "system_views"]
    assert twin.export_schema_as_string() == metadata.export_schema_as_string()
    assert twin.keyspaces["system_views"].virtual and server.asked() == []


def test_what_dicts_can(metadata: Metadata) -> None:
    keyspaces = metadata.keyspaces
    mappings: list[Any] = [keyspaces, keyspaces["ks"].tables, keyspaces["ks"].tables["a"].views, keyspaces["ks"].functions]
    for mapping in mappings:
        like: dict[str, Any] = dict(mapping)
        assert like and mapping == like and like == mapping
        assert type(mapping.copy()) is dict and mapping.copy() == like
        assert list(reversed(mapping)) == list(reversed(like))
        assert mapping | {"x": 1} == like | {"x": 1} and type(mapping | {}) is dict
        assert {"x": 1} | mapping == {"x": 1} | like and next(iter({"x": 1} | mapping)) == "x"
        assert {**mapping} == like and dict(mapping, x=1) == {**like, "x": 1}
        name = next(iter(like))
        assert mapping.get(name) is like[name] and mapping.get("nope", 5) == 5 and None not in mapping
        assert (list(mapping.keys()), list(mapping.values())) == (list(like.keys()), list(like.values()))
        assert list(mapping.items()) == list(like.items()) and bool(mapping) and len(mapping) == len(like)
        assert mapping.keys() & {name} == {name} and sorted(mapping) == sorted(like)
        with pytest.raises(TypeError):
            mapping[name] = like[name]
        with pytest.raises(AttributeError):
            mapping.pop(name)
