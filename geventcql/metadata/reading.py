"""Reads the description of a keyspace from system_schema and system_virtual_schema.

Layer: model. The functions run in a driver greenlet and wait wherever they call what they are handed (`Ask`); each asks
a fixed number of queries, however much there is. For Cassandra 3.0 and later and ScyllaDB; of a row only the columns are
looked at that are known here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from geventcql.errors import InvalidRequest
from geventcql.metadata.functions import Aggregate, Function, UserType
from geventcql.metadata.names import protect_names, protect_value
from geventcql.metadata.tables import (
    ColumnMetadata,
    IndexMetadata,
    MaterializedViewMetadata,
    TableMetadata,
    TriggerMetadata,
)

__all__ = [
    "Ask",
    "read_aggregates",
    "read_functions",
    "read_indexes",
    "read_tables",
    "read_user_types",
    "read_views",
    "read_virtual_keyspaces",
    "read_virtual_tables",
]

Row = dict[str, Any]


class Ask(Protocol):
    """Puts queries to the server."""

    def __call__(self, *queries: str) -> list[list[Row]]:
        """The rows of each query, all of them, as dicts by column name; waits. Raises InvalidRequest for a table that
        the server does not have, and whatever else became of them.
        """

    def give_way(self) -> None:
        """Let other greenlets run if they have not for a while: called in long loops."""


_OPTIONS = (
    "additional_write_policy", "allow_auto_snapshot", "bloom_filter_fp_chance", "caching", "cdc", "comment", "compaction",
    "compression", "crc_check_chance", "dclocal_read_repair_chance", "default_time_to_live", "gc_grace_seconds",
    "incremental_backups", "max_index_interval", "memtable", "memtable_flush_period_in_ms", "min_index_interval",
    "read_repair", "read_repair_chance", "speculative_retry",
)  # fmt: skip
# Columns that Cassandra 4 and 5 have kept for older drivers, and that mean nothing there.
_REPLACED_BY_READ_REPAIR = ("dclocal_read_repair_chance", "read_repair_chance")


def _options(row: Row) -> Row:
    options = {name: row[name] for name in _OPTIONS if name in row}
    if "read_repair" in options:
        for name in _REPLACED_BY_READ_REPAIR:
            options.pop(name, None)
    return options


def _by_table(rows: list[Row]) -> Mapping[str, list[Row]]:
    tables: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        tables[row["table_name"]].append(row)
    return tables


def _where(keyspace: str, names: Collection[str] | None) -> str:
    where = f" WHERE keyspace_name = {protect_value(keyspace)}"
    if names is None:
        return where
    if len(names) == 1:
        return f"{where} AND table_name = {protect_value(*names)}"
    return f"{where} AND table_name IN ({', '.join(map(protect_value, names))})"


def read_tables(ask: Ask, keyspace: str, names: Collection[str] | None = None) -> dict[str, TableMetadata]:
    """The tables of a keyspace, or those of these names, with their indexes and triggers; without their views."""
    where = _where(keyspace, names)
    kinds = ("tables", "columns", "indexes", "triggers")
    tables, *parts = ask(*(f"SELECT * FROM system_schema.{kind}{where}" for kind in kinds))
    columns, indexes, triggers = map(_by_table, parts)
    masks = _by_table(_read_masks(ask, where, tables))
    found = {}
    for row in tables:
        name = row["table_name"]
        table = found[name] = TableMetadata(keyspace, name, options=_options(row))
        table.extensions = row.get("extensions") or {}
        flags = row.get("flags") or ()
        is_dense = "dense" in flags
        table.is_compact_storage = is_dense or "super" in flags or "compound" not in flags
        is_static = table.is_compact_storage and not is_dense and "super" not in flags
        _add_columns(table, columns.get(name, []), is_static, is_dense)
        for mask in masks.get(name, []):
            table.columns[mask["column_name"]].mask = _mask(mask)
        table.indexes = {index["index_name"]: IndexMetadata.from_row(index) for index in indexes.get(name, [])}
        table.triggers = {
            trigger["trigger_name"]: TriggerMetadata(table, trigger["trigger_name"], trigger["options"])
            for trigger in triggers.get(name, [])
        }
        ask.give_way()
    return found


def _read_masks(ask: Ask, where: str, tables: list[Row]) -> list[Row]:
    """The masks of columns, which came with Cassandra 5.0, as `incremental_backups` of tables did."""
    if not tables or "incremental_backups" not in tables[0]:
        return []
    (rows,) = ask(f"SELECT * FROM system_schema.column_masks{where}")
    return rows


_QUOTED = {"ascii", "text", "varchar", "inet", "date", "time", "timestamp"}


def _mask(row: Row) -> str:
    """The call of a masking function, from a row of system_schema.column_masks, where values are text without quotes."""
    names = ("function_argument_types", "function_argument_values", "function_argument_nulls")
    arguments = (
        "null" if is_null else protect_value(value) if cql_type in _QUOTED else f"0x{value}" if cql_type == "blob" else value
        for cql_type, value, is_null in zip(*(row[name] for name in names), strict=True)
    )
    function = ".".join(protect_names((row["function_keyspace"], row["function_name"])))
    return f"{function}({', '.join(arguments)})"


def _add_columns(
    table: TableMetadata | MaterializedViewMetadata, rows: list[Row], is_static: bool = False, is_dense: bool = False
) -> None:
    """Of compact tables only what CQL shows of them: a static one's columns are stored as static ones, beside a
    clustering column and a value that do not show; the value of a dense one may be of the type `empty`.
    """
    parts: dict[str, list[ColumnMetadata]] = {"partition_key": [], "clustering": [], "others": []}
    for row in sorted(rows, key=lambda row: row["position"]):  # those without a position stay as they came, by name
        kind = row["kind"]
        if (is_static and kind in ("clustering", "regular")) or (is_dense and row["type"] == "empty"):
            continue
        column = ColumnMetadata(
            table, row["column_name"], row["type"], kind == "static" and not is_static,
            row["clustering_order"].upper() == "DESC",
        )  # fmt: skip
        parts.get(kind, parts["others"]).append(column)
    table.partition_key, table.clustering_key = parts["partition_key"], parts["clustering"]
    table.columns = {column.name: column for part in parts.values() for column in part}


def read_views(ask: Ask, keyspace: str) -> dict[str, MaterializedViewMetadata]:
    """The materialized views of a keyspace."""
    (rows,) = ask("SELECT * FROM system_schema.views" + _where(keyspace, None))
    if not rows:
        return {}
    (columns,) = ask(
        "SELECT * FROM system_schema.columns" + _where(keyspace, _few([row["view_name"] for row in rows]))
    )
    by_view = _by_table(columns)
    found = {}
    for row in rows:
        name = row["view_name"]
        view = found[name] = MaterializedViewMetadata(
            keyspace, name, row["base_table_name"], row["include_all_columns"], row["where_clause"], _options(row)
        )
        view.extensions = row.get("extensions") or {}
        _add_columns(view, by_view.get(name, []))
        ask.give_way()
    return found


MOST_NAMES = 50
"""Servers limit how many names one IN may have; where there are more, all of the keyspace are read."""


def _few(names: Collection[str]) -> Collection[str] | None:
    return names if len(names) <= MOST_NAMES else None


def read_indexes(ask: Ask, keyspace: str) -> dict[str, IndexMetadata]:
    """All indexes of a keyspace."""
    (rows,) = ask("SELECT * FROM system_schema.indexes" + _where(keyspace, None))
    return {row["index_name"]: IndexMetadata.from_row(row) for row in rows}


def read_user_types(ask: Ask, keyspace: str) -> dict[str, UserType]:
    """The user types of a keyspace."""
    (rows,) = ask("SELECT * FROM system_schema.types" + _where(keyspace, None))
    return {row["type_name"]: UserType.from_row(row) for row in rows}


def read_functions(ask: Ask, keyspace: str) -> dict[str, Function]:
    """The functions of a keyspace, by signature."""
    (rows,) = ask("SELECT * FROM system_schema.functions" + _where(keyspace, None))
    return {function.signature: function for function in map(Function.from_row, rows)}


def read_aggregates(ask: Ask, keyspace: str) -> dict[str, Aggregate]:
    """The aggregates of a keyspace, by signature."""
    (rows,) = ask("SELECT * FROM system_schema.aggregates" + _where(keyspace, None))
    return {aggregate.signature: aggregate for aggregate in map(Aggregate.from_row, rows)}


def read_virtual_keyspaces(ask: Ask) -> list[str]:
    """The names of the virtual keyspaces; none before Cassandra 4, and on ScyllaDB."""
    try:
        (rows,) = ask("SELECT keyspace_name FROM system_virtual_schema.keyspaces")
    except InvalidRequest:
        return []
    return [row["keyspace_name"] for row in rows]


def read_virtual_tables(ask: Ask, keyspace: str, names: Collection[str] | None = None) -> dict[str, TableMetadata]:
    """The tables of a virtual keyspace, or those of these names."""
    where = _where(keyspace, names)
    tables, column_rows = ask(*(f"SELECT * FROM system_virtual_schema.{kind}{where}" for kind in ("tables", "columns")))
    columns = _by_table(column_rows)
    found = {}
    for row in tables:
        name = row["table_name"]
        table = found[name] = TableMetadata(keyspace, name, options=_options(row), virtual=True)
        _add_columns(table, columns.get(name, []))
    return found
