"""What is read when: nothing before it is looked at, only what was asked for, and once until it changes."""

from __future__ import annotations

import pytest

from geventcql.host import Host
from geventcql.metadata import KeyspaceMetadata, Metadata
from geventcql.metadata.reading import MOST_NAMES
from geventcql.policies import SimpleConvictionPolicy
from geventcql.protocol.responses import SchemaChange
from tests.metadata.schemaserver import SchemaServer

TABLE_KINDS = ["tables", "columns", "indexes", "triggers"]
SIMPLE = {"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "1"}


@pytest.fixture
def server() -> SchemaServer:
    server = SchemaServer()
    server.keyspace("ks")
    for name in ("a", "b", "c"):
        server.table("ks", name)
    return server


@pytest.fixture
def metadata(server: SchemaServer) -> Metadata:
    metadata = Metadata(server)
    metadata.keyspaces.refresh()
    assert server.asked() == ["keyspaces"]
    return metadata


@pytest.fixture
def ks(metadata: Metadata) -> KeyspaceMetadata:
    return metadata.keyspaces["ks"]


def change(target: str, name: str | None = None, kind: str = "UPDATED", keyspace: str = "ks") -> SchemaChange:
    return SchemaChange(kind, target, keyspace, name, [] if target in ("FUNCTION", "AGGREGATE") else None)


def test_nothing_is_read_before_it_is_looked_at(ks: KeyspaceMetadata, server: SchemaServer) -> None:
    assert "not read" in repr(ks.tables) and "not read" in repr(ks.views)
    assert server.asked() == []


def test_one_table_is_read_by_itself(ks: KeyspaceMetadata, server: SchemaServer) -> None:
    table = ks.tables["b"]
    assert server.queries[0] == "SELECT * FROM system_schema.tables WHERE keyspace_name = 'ks' AND table_name = 'b'"
    assert server.asked() == TABLE_KINDS
    assert ks.tables["b"] is table and "b" in ks.tables and ks.tables.get("b") is table
    assert server.asked() == []


def test_all_tables_are_read_at_once(ks: KeyspaceMetadata, server: SchemaServer) -> None:
    server.turns = 0
    assert list(ks.tables) == ["a", "b", "c"] and server.asked() == TABLE_KINDS
    assert len(ks.tables) == 3 and [name for name, _ in ks.tables.items()] == ["a", "b", "c"]
    assert [table.name for table in ks.tables.values()] == ["a", "b", "c"]
    assert "nope" not in ks.tables and ks.tables["a"].name == "a"
    assert server.asked() == [] and server.turns == 3


def test_a_table_that_is_not_there(ks: KeyspaceMetadata, server: SchemaServer) -> None:
    with pytest.raises(KeyError):
        ks.tables["d"]
    with pytest.raises(KeyError):
        ks.tables[5]  # type: ignore[index]
    assert server.asked() == TABLE_KINDS
    server.table("ks", "d")  # that it was not there is not remembered: nobody may tell us of it
    assert ks.tables["d"].name == "d"


def test_names_are_quoted(metadata: Metadata, server: SchemaServer) -> None:
    server.keyspace("it's")
    server.table("it's", "o'clock")
    metadata.keyspaces.refresh()
    assert metadata.keyspaces["it's"].tables["o'clock"].name == "o'clock"
    assert "keyspace_name = 'it''s' AND table_name = 'o''clock'" in server.queries[-1]


@pytest.mark.parametrize("what", ["views", "indexes", "user_types", "functions", "aggregates"])
def test_other_kinds_are_read_as_a_whole(ks: KeyspaceMetadata, server: SchemaServer, what: str) -> None:
    part = getattr(ks, what)
    assert len(part) == 0 and "x" not in part
    assert server.asked() == [{"user_types": "types"}.get(what, what)]


def test_a_changed_table_is_read_again_and_no_other(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    before = dict(ks.tables)
    server.asked()
    server.table("ks", "b", "k partition_key 0 none int", "w regular -1 none int")
    server.table("ks", "e")
    server.drop("tables", table_name="c")
    for name in "bec":
        metadata.schema_changed(change("TABLE", name))
    assert server.asked() == []
    assert ks.tables["a"] is before["a"] and server.asked() == []
    assert list(ks.tables["b"].columns) == ["k", "w"] and server.asked() == TABLE_KINDS
    assert list(ks.tables) == ["a", "b", "e"]
    assert "table_name IN ('c', 'e')" in server.queries[0] and server.asked() == TABLE_KINDS
    assert ks.tables["a"] is before["a"] and "c" not in ks.tables and server.asked() == []


def test_a_table_changes_before_any_was_read(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    for number in range(1000):  # and nothing is remembered of it
        metadata.schema_changed(change("TABLE", f"t{number}"))
    assert ks.tables._stale == frozenset()  # type: ignore[attr-defined]
    assert len(ks.tables) == 3 and server.asked() == TABLE_KINDS


def test_many_changes_are_read_as_a_whole(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    assert len(ks.tables) == 3
    for number in range(10 * MOST_NAMES):
        server.table("ks", f"t{number}")
        metadata.schema_changed(change("TABLE", f"t{number}", "CREATED"))
    server.asked()
    assert len(ks.tables) == 3 + 10 * MOST_NAMES and server.queries[0].endswith("keyspace_name = 'ks'")
    assert server.asked() == TABLE_KINDS


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("TYPE", ["types"]),
        ("FUNCTION", ["functions"]),
        ("AGGREGATE", ["aggregates"]),
        ("TABLE", ["tables", "columns", "indexes", "triggers", "views", "indexes"]),
        ("NOVELTY", ["tables", "columns", "indexes", "triggers", "views", "indexes", "types", "functions", "aggregates"]),
    ],
)
def test_what_a_change_has_read_again(
    metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer, target: str, parts: list[str]
) -> None:
    mappings = (ks.tables, ks.views, ks.indexes, ks.user_types, ks.functions, ks.aggregates)
    for mapping in mappings:
        assert len(mapping) >= 0
    server.asked()
    metadata.schema_changed(change(target, "a"))
    for mapping in mappings:
        assert len(mapping) >= 0
    assert server.asked() == parts


def test_what_is_read_while_it_changes_is_read_again(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    server.meanwhile = lambda: metadata.schema_changed(change("TABLE", "a"))
    assert ks.tables["a"].name == "a"
    assert server.asked() == TABLE_KINDS
    assert ks.tables["a"].name == "a" and server.asked() == TABLE_KINDS

    server.meanwhile = lambda: metadata.schema_changed(change("TYPE", "t"))
    assert len(ks.user_types) == 0 and server.asked() == ["types"]
    assert len(ks.user_types) == 0 and server.asked() == ["types"]

    server.meanwhile = lambda: metadata.schema_changed(change("TABLE", "a"))
    assert len(ks.tables) == 3 and server.asked() == TABLE_KINDS
    assert len(ks.tables) == 3 and server.asked() == TABLE_KINDS
    assert len(ks.tables) == 3 and server.asked() == []


def test_iteration_goes_on_over_what_it_began_with(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    seen = []
    for name, table in ks.tables.items():
        server.drop("tables", table_name="c")
        metadata.schema_changed(change("TABLE", "c", "DROPPED"))
        seen.append(name)
        assert table.name == name
    assert seen == ["a", "b", "c"] and list(ks.tables) == ["a", "b"]


def test_views_of_a_table_are_those_of_the_keyspace(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    server.view("ks", "va", "a")
    server.view("ks", "vb", "b")
    table = ks.tables["a"]
    assert server.asked() == TABLE_KINDS
    assert list(table.views) == ["va"] and server.asked() == ["views", "columns"]
    assert table.views["va"] is ks.views["va"] and len(table.views) == 1 and list(ks.views) == ["va", "vb"]
    assert server.asked() == []
    server.view("ks", "vc", "a")
    metadata.schema_changed(change("TABLE", "vc", "CREATED"))
    assert list(table.views) == ["va", "vc"]


# -- keyspaces


def test_a_dropped_keyspace_is_gone_at_once(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    assert len(ks.tables) == 3
    for kind in ("keyspaces", "tables"):
        server.drop(kind, keyspace_name="ks")
    server.asked()
    metadata.schema_changed(change("KEYSPACE", kind="DROPPED"))
    assert "ks" not in metadata.keyspaces.known and server.asked() == []
    assert "ks" not in metadata.keyspaces
    assert len(ks.tables) == 0
    server.keyspace("ks")
    server.table("ks", "new")
    metadata.schema_changed(change("KEYSPACE", kind="CREATED"))
    assert list(metadata.keyspaces["ks"].tables) == ["new"]


def test_a_keyspace_that_is_not_there_any_more_is_empty(
    metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer
) -> None:
    assert len(ks.tables) == 3
    for kind in ("keyspaces", "tables"):
        server.drop(kind, keyspace_name="ks")
    metadata.keyspaces.refresh()  # before anybody tells that it was dropped
    metadata.schema_changed(change("KEYSPACE", kind="DROPPED"))
    assert len(ks.tables) == 0


def test_a_changed_keyspace_is_read_when_looked_at(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    table = ks.tables["a"]
    server.asked()
    server.keyspace("ks", 3)
    server.keyspace("new")
    metadata.schema_changed(change("KEYSPACE"))
    metadata.schema_changed(change("TABLE", "t", "CREATED", keyspace="new"))
    assert server.asked() == []
    strategy = metadata.keyspaces["ks"].replication_strategy
    assert strategy is not None and strategy.options() == {"replication_factor": "3"}
    assert "new" in metadata.keyspaces and server.asked() == ["keyspaces"]
    assert metadata.keyspaces["ks"].tables["a"] is table is ks.tables["a"] and server.asked() == []


def test_functions_change_with_the_keyspace(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    assert len(ks.functions) == len(ks.aggregates) == len(ks.views) == 0
    server.asked()
    metadata.schema_changed(change("KEYSPACE"))  # all that protocol v3 says of a function
    assert len(ks.functions) == len(ks.aggregates) == len(ks.views) == 0
    assert server.asked() == ["functions", "aggregates"]


def test_a_keyspace_changes_while_keyspaces_are_read(metadata: Metadata, server: SchemaServer) -> None:
    server.meanwhile = lambda: metadata.schema_changed(change("KEYSPACE", keyspace="new", kind="CREATED"))
    metadata.keyspaces.refresh()
    server.keyspace("new")
    assert "new" in metadata.keyspaces


def test_all_is_forgotten(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    assert len(ks.tables) == 3 and len(ks.views) == 0
    server.asked()
    metadata.forget_schema()
    assert server.asked() == []
    assert ks.tables["a"].name == "a" and server.asked() == TABLE_KINDS
    assert len(ks.tables) == 3 and len(ks.views) == 0
    assert server.asked() == [*TABLE_KINDS, "views"]


def test_keyspaces_are_forgotten_while_they_are_read(metadata: Metadata, server: SchemaServer) -> None:
    server.meanwhile = lambda: metadata.forget_schema(names_too=True)
    metadata.keyspaces.refresh()
    server.keyspace("new")
    assert "ks" in metadata.keyspaces.known and "new" in metadata.keyspaces
    server.asked()
    assert len(metadata.keyspaces) == 2 and "keyspaces" not in server.asked()


def test_keyspaces_that_nobody_has_read(server: SchemaServer) -> None:
    metadata = Metadata(server)
    assert "ks" in metadata.keyspaces and server.asked() == ["keyspaces"]


def test_reading_thousands_of_keyspaces(server: SchemaServer) -> None:
    """Others get turns meanwhile, what has not changed stays the same object, and nothing is made that nobody looks at."""
    for number in range(2000):
        server.add("keyspaces", keyspace_name=f"ks{number}", durable_writes=True, replication=SIMPLE)
    metadata = Metadata(server)
    host = Host("127.0.0.1", SimpleConvictionPolicy, "dc1", "r1")
    metadata.rebuild_token_map("Murmur3Partitioner", {host: ["1"]})
    metadata.keyspaces.refresh()
    assert server.turns == 2001
    before, token_map = metadata.keyspaces.known, metadata.token_map
    server.keyspace("ks", 3)
    metadata.keyspaces.refresh()
    after = metadata.keyspaces.known
    assert [name for name in after if after[name] is not before[name]] == ["ks"] and len(after) == len(before) == 2001
    assert metadata.token_map is not token_map
    token_map = metadata.token_map
    metadata.keyspaces.refresh()
    assert metadata.token_map is token_map is not None and not token_map._by_strategy
    assert token_map.get_replicas("ks1", 5) == token_map.get_replicas("ks2", 6) == [host] and len(token_map._by_strategy) == 1
    assert all(not vars(keyspace._contents).get("_made") for keyspace in after.values())
    assert after["ks"].tables["a"] is before["ks"].tables["a"]


def test_a_keyspace_is_dropped_while_all_are_read(metadata: Metadata, server: SchemaServer) -> None:
    """The rows may be older than what was told meanwhile: it is read once more."""
    server.keyspace("other")
    metadata.schema_changed(change("KEYSPACE", kind="CREATED", keyspace="other"))
    assert "other" in metadata.keyspaces
    metadata.schema_changed(change("KEYSPACE", kind="UPDATED"))
    server.meanwhile = lambda: metadata.schema_changed(change("KEYSPACE", kind="DROPPED", keyspace="other"))
    assert metadata.keyspaces["ks"].name == "ks"
    server.drop("keyspaces", keyspace_name="other")
    assert "other" not in metadata.keyspaces


def test_virtual_keyspaces(metadata: Metadata, server: SchemaServer) -> None:
    server.add("system_virtual_schema.keyspaces", keyspace_name="system_views")
    server.add("system_virtual_schema.tables", keyspace_name="system_views", table_name="clients", comment="who")
    server.rows["system_virtual_schema.columns"] = []
    server.add(
        "system_virtual_schema.columns", keyspace_name="system_views", table_name="clients", column_name="address",
        kind="partition_key", position=0, type="inet", clustering_order="none",
    )  # fmt: skip
    keyspace = metadata.keyspaces["system_views"]
    assert keyspace.virtual and keyspace.durable_writes is None and keyspace.replication_strategy is None
    assert sorted(metadata.keyspaces) == ["ks", "system_views"] and metadata.keyspaces["system_views"] is keyspace
    assert server.asked() == ["system_virtual_schema.keyspaces"]
    table = keyspace.tables["clients"]
    assert table.virtual and table.options == {"comment": "who"} and list(table.columns) == ["address"]
    assert len(keyspace.views) == len(keyspace.indexes) == len(keyspace.functions) == len(table.views) == 0
    assert server.asked() == ["system_virtual_schema.tables", "system_virtual_schema.columns"]


def test_servers_without_virtual_keyspaces(metadata: Metadata, server: SchemaServer) -> None:
    assert "nope" not in metadata.keyspaces and server.asked() == ["system_virtual_schema.keyspaces"]
    assert "nope" not in metadata.keyspaces and list(metadata.keyspaces) == ["ks"] and server.asked() == []


# -- switched off


def test_switched_off_nothing_is_read(metadata: Metadata, ks: KeyspaceMetadata, server: SchemaServer) -> None:
    assert ks.tables["a"].name == "a"
    server.asked()
    server.enabled = False
    metadata.schema_changed(change("TABLE", "a"))
    metadata.schema_changed(change("KEYSPACE"))
    assert list(ks.tables) == ["a"] and "b" not in ks.tables and len(ks.views) == 0
    assert list(metadata.keyspaces) == ["ks"] and "system_views" not in metadata.keyspaces
    assert server.asked() == []
    server.enabled = True
    assert list(ks.tables) == ["a", "b", "c"] and server.asked() == TABLE_KINDS


def test_metadata_of_no_cluster() -> None:
    metadata = Metadata()
    assert len(metadata.keyspaces) == 0 and "ks" not in metadata.keyspaces
    metadata.set_keyspaces([KeyspaceMetadata("ks", True, "LocalStrategy", {})])
    assert len(metadata.keyspaces["ks"].tables) == 0 and metadata.export_schema_as_string().startswith("CREATE KEYSPACE ks")
    with pytest.raises(RuntimeError, match="belongs to no Cluster"):
        metadata.keyspaces.refresh()
