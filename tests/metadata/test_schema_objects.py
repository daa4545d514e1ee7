"""Tables, views, types, functions and the rest, from rows of system_schema, and their CQL: as cassandra-driver has them."""

from __future__ import annotations

from typing import Any

import cassandra.metadata
import pytest

from geventcql.metadata import (
    Aggregate,
    Function,
    IndexMetadata,
    KeyspaceMetadata,
    Metadata,
    RegisteredTableExtension,
    TableMetadata,
    TableMetadataV3,
    TriggerMetadata,
    UserType,
)
from geventcql.metadata.cqltext import type_names, unfrozen
from tests.metadata.schemaserver import SchemaServer

TYPES = [
    "int",
    "frozen<ty>",
    "map<text, frozen<list<int>>>",
    "frozen<tuple<int, frozen<set<text>>, vector<float, 3>>>",
    'list<frozen<"My ""Type"" <x>">>',
    "frozen<map<frozen<list<int>>, frozen<ty>>>",
    "'org.apache.cassandra.db.marshal.DynamicCompositeType(s=>org.apache.cassandra.db.marshal.UTF8Type)'",
]


def test_only_the_outermost_frozen_is_taken_off() -> None:
    assert [unfrozen(cql_type) for cql_type in TYPES] == [
        "int",
        "ty",
        "map<text, frozen<list<int>>>",
        "tuple<int, frozen<set<text>>, vector<float, 3>>",
        *TYPES[4:5],
        "map<frozen<list<int>>, frozen<ty>>",
        *TYPES[6:],
    ]


def test_names_of_types() -> None:
    assert type_names(TYPES[3]) == ["frozen", "tuple", "int", "frozen", "set", "text", "vector", "float", "3"]
    assert type_names(TYPES[4]) == ["list", "frozen", 'My "Type" <x>']
    assert type_names(TYPES[6]) == []


# -- tables


def test_masks_of_columns() -> None:
    server = SchemaServer()
    server.keyspace("ks")
    columns = ("k partition_key 0 none int", "c clustering 0 asc int", "s static -1 none text")
    server.table("ks", "t", *columns, incremental_backups=None)
    server.table("ks", "plain", incremental_backups=None)
    server.add("column_masks", **mask("k", "system", "mask_default"))
    arguments = [("text", "it's", False)]
    arguments += [("blob", "ab", False), ("int", "", True), ("inet", "::1", False), ("int", "7", False)]
    server.add("column_masks", **mask("s", "ks", "My mask", *arguments))
    metadata = Metadata(server)
    tables = metadata.keyspaces["ks"].tables
    masks = [tables["t"].columns[name].mask for name in "kcs"]
    assert masks[:2] == ["system.mask_default()", None]
    assert masks[2] == """ks."My mask"('it''s', 0xab, null, '::1', 7)"""
    text = tables["t"].as_cql_query()
    assert "(k int MASKED WITH system.mask_default(), c int, s text static MASKED WITH ks." in text
    assert "MASKED" not in tables["plain"].as_cql_query()
    server.drop("column_masks", column_name="s")
    server.table("ks", "one", "k partition_key 0 none int", incremental_backups=None)
    server.add("column_masks", **mask("k", "system", "mask_null", table="one"))
    assert "(k int MASKED WITH system.mask_null() PRIMARY KEY)" in tables["one"].as_cql_query()


def mask(column: str, keyspace: str, function: str, *arguments: tuple[str, str, bool], table: str = "t") -> dict[str, Any]:
    """A row of system_schema.column_masks."""
    names = ("types", "values", "nulls")
    return {
        **{f"function_argument_{name}": [argument[i] for argument in arguments] for i, name in enumerate(names)},
        "keyspace_name": "ks", "table_name": table, "column_name": column,
        "function_keyspace": keyspace, "function_name": function,
    }  # fmt: skip


COMPACT = ["k partition_key 0 none int", "c clustering 0 asc int"]
STATIC = ["k partition_key 0 none int", "a static -1 none int", "column1 clustering 0 asc text", "value regular -1 none blob"]
COLUMNS = [
    "B partition_key 1 none text",
    "a partition_key 0 none int",
    "c clustering 1 desc frozen<list<int>>",
    "d clustering 0 asc int",
    "m regular -1 none map<text, int>",
    "s static -1 none int",
]
TABLES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "plain": (COLUMNS, {}),
    "one column": (COLUMNS[1:2], {}),
    "options": (
        COLUMNS,
        {"comment": "it's", "cdc": None, "compaction": {"class": "LCS", "fanout": "10"}, "compression": {"enabled": "false"},
         "default_time_to_live": 5, "read_repair": "NONE", "additional_write_policy": "99p"},
    ),
    "dense": ([*COMPACT, "v regular -1 none int"], {"flags": {"dense"}}),
    "dense without a value": ([*COMPACT, "value regular -1 none empty"], {"flags": {"dense"}}),
    "static compact": (STATIC, {"flags": set()}),
    "super": ([*COMPACT, " regular -1 none map<text,int>"], {"flags": {"super", "dense"}}),
}  # fmt: skip


def compared(server: SchemaServer, parser: type, ours: TableMetadata) -> tuple[Any, Any]:
    """The attributes of a table, ours and cassandra-driver's, made from the same rows."""
    rows = server.rows["system_schema.tables"][0]
    theirs = parser(None, None)._build_table_metadata(
        dict(rows), server.rows["system_schema.columns"], server.rows["system_schema.triggers"],
        server.rows["system_schema.indexes"],
    )  # fmt: skip
    assert theirs._exc_info is None
    return described(ours), described(theirs)


def described(table: Any) -> dict[str, Any]:
    names = ("name", "keyspace_name", "is_compact_storage", "virtual", "comparator", "is_cql_compatible", "extensions")
    return {
        **{name: getattr(table, name) for name in names},
        **{
            name: [(c.name, c.cql_type, c.is_static, c.is_reversed, str(c)) for c in columns]
            for name, columns in (
                ("partition_key", table.partition_key), ("clustering_key", table.clustering_key),
                ("primary_key", table.primary_key), ("columns", table.columns.values()),
            )
        },
        "options": dict(table.options),
        "indexes": {name: vars(index) for name, index in table.indexes.items()},
        "triggers": {name: (each.name, each.options, each.as_cql_query()) for name, each in table.triggers.items()},
        "cql": (table.as_cql_query(), table.as_cql_query(formatted=True), table.export_as_string()),
    }  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_cassandra_driver(name: str) -> None:
    server = SchemaServer()
    server.keyspace("ks")
    columns, options = TABLES[name]
    server.table("ks", "My table", *columns, **options)
    server.index("ks", "My table", "i", target="c")
    server.index("ks", "My table", "sai", "CUSTOM", target="values(m)", class_name="sai")
    server.index("ks", "My table", "opt", "CUSTOM", target="d", class_name="a.B", x="1", y="it's")
    server.add("triggers", keyspace_name="ks", table_name="My table", trigger_name="T", options={"class": "a.B"})
    table = Metadata(server).keyspaces["ks"].tables["My table"]
    ours, theirs = compared(server, cassandra.metadata.SchemaParserV4, table)
    assert ours == theirs
    assert all(column.table is table for column in table.columns.values())
    assert all(column is table.columns[column.name] for column in table.primary_key)
    assert table.triggers["T"].table is table and isinstance(table, TableMetadataV3)


def test_a_table_of_cassandra_3() -> None:
    server = SchemaServer()
    server.keyspace("ks")
    server.table("ks", "t", *COLUMNS, dclocal_read_repair_chance=0.1, read_repair_chance=0.2, speculative_retry="99PERCENTILE")
    for row in server.rows["system_schema.tables"]:
        del row["read_repair"]
    ours, theirs = compared(server, cassandra.metadata.SchemaParserV3, Metadata(server).keyspaces["ks"].tables["t"])
    assert ours == theirs and ours["options"]["read_repair_chance"] == 0.2


def test_columns_of_scylladb_do_not_disturb() -> None:
    server = SchemaServer()
    server.keyspace("ks")
    server.table("ks", "t", *COLUMNS, in_memory=True, tablets={"x": "y"}, flags={"compound"}, scylla_thing=b"0")
    del server.rows["system_schema.tables"][0]["read_repair"]
    options = Metadata(server).keyspaces["ks"].tables["t"].options
    assert {"in_memory", "tablets", "scylla_thing", "id", "flags"}.isdisjoint(options)


def test_a_newer_server_s_options_are_told() -> None:
    server = SchemaServer()
    server.keyspace("ks")
    server.table("ks", "t", memtable="skiplist", incremental_backups=False, allow_auto_snapshot=True)
    cql = Metadata(server).keyspaces["ks"].tables["t"].as_cql_query()
    assert "memtable = 'skiplist'" in cql and "incremental_backups = false" in cql and "allow_auto_snapshot = true" in cql
    assert "read_repair_chance" not in cql


def test_quotes_in_the_values_of_maps() -> None:
    table = TableMetadata("ks", "t", options={"compaction": {"class": "a'b", "it's": "x"}})
    assert table._property_cql(formatted=False) == "compaction = {'class': 'a''b', 'it''s': 'x'}"
    index = IndexMetadata("ks", "t", "i", "CUSTOM", {"target": "v", "class_name": "a'b"})
    assert index.export_as_string() == "CREATE CUSTOM INDEX i ON ks.t (v) USING 'a''b';"


@pytest.mark.parametrize("everything", [False, True])
def test_views_are_those_of_cassandra_driver(everything: bool) -> None:
    server = SchemaServer()
    server.keyspace("ks")
    server.table("ks", "t", *COLUMNS)
    server.view("ks", "My view", "t", *COLUMNS, everything=everything)
    view = Metadata(server).keyspaces["ks"].tables["t"].views["My view"]
    rows = [row for row in server.rows["system_schema.columns"] if row["table_name"] == "My view"]
    theirs = cassandra.metadata.SchemaParserV4(None, None)._build_view_metadata(server.rows["system_schema.views"][0], rows)
    names = ("keyspace_name", "name", "base_table_name", "include_all_columns", "where_clause", "options", "extensions")
    assert {name: getattr(view, name) for name in names} == {name: getattr(theirs, name) for name in names}
    assert list(view.columns) == list(theirs.columns)
    assert view.as_cql_query() == theirs.as_cql_query() and view.export_as_string() == theirs.export_as_string()
    assert Metadata(server).keyspaces["ks"].tables["t"].export_as_string().endswith("\n\n" + view.export_as_string())


def test_a_table_extension_adds_to_the_export() -> None:
    class Mine(RegisteredTableExtension):
        name = "mine"

        @classmethod
        def after_table_cql(cls, table_meta: Any, ext_key: str, ext_blob: bytes) -> str:
            return f"GRANT {ext_blob.decode()} ON {table_meta.name}; -- {ext_key}"

    server = SchemaServer()
    server.keyspace("ks")
    server.table("ks", "t", extensions={"mine": b"x", "other": b"y"})
    server.view("ks", "v", "t")
    server.rows["system_schema.views"][0]["extensions"] = {"mine": b"z"}
    table = Metadata(server).keyspaces["ks"].tables["t"]
    assert table.export_as_string().endswith("GRANT x ON t; -- mine")
    assert table.views["v"].export_as_string().endswith(";\n\nGRANT z ON v; -- mine")
    assert table.extensions == {"mine": b"x", "other": b"y"}


# -- types, functions, aggregates

FUNCTION = ("ks", "My f", ["int", "frozen<ty>"], ["a", "B"], "frozen<list<int>>", "java", "return null;")


@pytest.mark.parametrize("called", [True, False])
@pytest.mark.parametrize("extras", [(False, False, []), (True, True, []), (False, False, ["B"])])
def test_functions_are_those_of_cassandra_driver(called: bool, extras: tuple[Any, ...]) -> None:
    ours, theirs = Function(*FUNCTION, called, *extras), cassandra.metadata.Function(*FUNCTION, called, *extras)
    assert vars(ours) == vars(theirs) and ours.signature == theirs.signature == "My f(int,frozen<ty>)"
    # A return type must not be frozen, and a name may need quotes.
    expected = theirs.as_cql_query().replace("frozen<list<int>>", "list<int>").replace("ON B ", 'ON "B" ')
    assert ours.as_cql_query() == expected
    assert ours.export_as_string().replace("\n   ", "") == expected + ";"


@pytest.mark.parametrize("body", ["return '$$';", "costs 5$", "it's"])
def test_the_body_of_a_function_is_quoted(body: str) -> None:
    function = Function("ks", "f", [], [], "int", "java", body, True, False, False, ())
    quoted = f"$${body}$$" if "$" not in body else "'" + body.replace("'", "''") + "'"
    assert function.as_cql_query().endswith(f"LANGUAGE java AS {quoted}")


@pytest.mark.parametrize(
    "rest", [("fin", "0", "int", False), (None, None, "frozen<ty>", True), (None, "{a: 1}", "int", False)]
)
def test_aggregates_are_those_of_cassandra_driver(rest: tuple[Any, ...]) -> None:
    arguments = ("ks", "My agg", ["frozen<list<int>>"], "State", "frozen<map<int, int>>", *rest)
    ours, theirs = Aggregate(*arguments), cassandra.metadata.Aggregate(*arguments)
    assert vars(ours) == vars(theirs) and ours.signature == theirs.signature
    assert ours.as_cql_query() == theirs.as_cql_query() and ours.export_as_string() == theirs.export_as_string()


def test_user_types_are_those_of_cassandra_driver() -> None:
    arguments = ("ks", "My type", ["a", "B"], ["int", "frozen<other>"])
    ours, theirs = UserType(*arguments), cassandra.metadata.UserType(*arguments)
    assert vars(ours) == vars(theirs)
    assert ours.as_cql_query() == theirs.as_cql_query() and ours.export_as_string() == theirs.export_as_string()


def test_a_trigger() -> None:
    trigger = TriggerMetadata(TableMetadata("ks", "T"), "My trigger", {"class": "a.B"})
    assert trigger.export_as_string() == "CREATE TRIGGER \"My trigger\" ON ks.\"T\" USING 'a.B';"


# -- keyspaces


def test_user_types_come_in_the_order_in_which_they_can_be_made() -> None:
    server = SchemaServer()
    server.keyspace("ks")
    server.user_type("ks", "a", x="frozen<list<frozen<Z>>>", y='frozen<"Z">', z="frozen<list<frozen<b>>>")
    server.user_type("ks", "Z", x="frozen<m>")
    server.user_type("ks", "b", x="int")
    server.user_type("ks", "m", x="vector<float, 3>")
    strings = Metadata(server).keyspaces["ks"].user_type_strings()
    assert [text.split(" ")[2] for text in strings] == ["ks.m", 'ks."Z"', "ks.b", "ks.a"]


def test_a_keyspace_is_exported_whole() -> None:
    server = SchemaServer()
    server.keyspace("ks")
    server.table("ks", "t")
    server.user_type("ks", "ty", x="int")
    server.add(
        "functions", keyspace_name="ks", function_name="f", argument_types=["int", "int"], argument_names=["a", "b"],
        return_type="int", language="java", body="return a;", called_on_null_input=True,
    )  # fmt: skip
    server.add(
        "aggregates", keyspace_name="ks", aggregate_name="agg", argument_types=["int"], state_func="f", state_type="int",
        final_func=None, initcond="0", return_type="int",
    )  # fmt: skip
    keyspace = Metadata(server).keyspaces["ks"]
    text = keyspace.export_as_string()
    assert [line.partition("(")[0] for line in text.splitlines() if line.startswith("CREATE")] == [
        keyspace.as_cql_query() + ";", "CREATE TYPE ks.ty ", "CREATE FUNCTION ks.f", "CREATE AGGREGATE ks.agg",
        "CREATE TABLE ks.t ",
    ]  # fmt: skip
    assert keyspace.functions["f(int,int)"].name == "f" and keyspace.aggregates["agg(int)"].name == "agg"
    assert Metadata(server).export_schema_as_string() == text


def test_a_virtual_keyspace_is_exported_in_comments() -> None:
    server = SchemaServer()
    server.add("system_virtual_schema.keyspaces", keyspace_name="system_views")
    server.add("system_virtual_schema.tables", keyspace_name="system_views", table_name="t", comment="c")
    server.columns("system_views", "t", "k partition_key 0 none int")
    server.rows["system_virtual_schema.columns"] = server.rows["system_schema.columns"]
    keyspace = Metadata(server).keyspaces["system_views"]
    assert keyspace.as_cql_query() == "// VIRTUAL KEYSPACE system_views"
    theirs = cassandra.metadata.KeyspaceMetadata("system_views", None, None, {})
    theirs.virtual = True
    theirs.tables["t"] = cassandra.metadata.SchemaParserV4(None, None)._build_table_metadata(
        dict(server.rows["system_virtual_schema.tables"][0]), server.rows["system_schema.columns"], virtual=True
    )
    assert keyspace.export_as_string() == theirs.export_as_string()


def test_the_keyspace_s_constructor() -> None:
    keyspace = KeyspaceMetadata("Ks", False, "NetworkTopologyStrategy", {"dc1": "3/1"})
    assert keyspace.as_cql_query() == (
        "CREATE KEYSPACE \"Ks\" WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': '3/1'} "
        " AND durable_writes = false"
    )
    assert len(keyspace.tables) == len(keyspace.user_types) == 0 and keyspace.virtual is False
