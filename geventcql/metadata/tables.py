"""Tables, materialized views, and what belongs to them: columns, indexes, triggers, extensions.

Layer: model. Plain objects, made in the driver's greenlets by `geventcql.metadata.reading` and not changed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from geventcql.metadata.cqltext import braced, commented, map_literal, separator
from geventcql.metadata.names import protect_name, protect_names, protect_value

__all__ = [
    "ColumnMetadata",
    "IndexMetadata",
    "MaterializedViewMetadata",
    "RegisteredTableExtension",
    "TableExtensionInterface",
    "TableMetadata",
    "TableMetadataV3",
    "TriggerMetadata",
]


class ColumnMetadata:
    """A column (`cassandra.metadata.ColumnMetadata`).

    `table`: the TableMetadata or MaterializedViewMetadata; `name`; `cql_type`: CQL text; `is_static`; `is_reversed`:
    a clustering column in descending order; `mask`: the call of the function that hides its values from those without
    the permission UNMASK, as CQL, or None.
    """

    mask: str | None = None

    def __init__(
        self, table_metadata: Any, column_name: str, cql_type: str, is_static: bool = False, is_reversed: bool = False
    ) -> None:
        self.table = table_metadata
        self.name = column_name
        self.cql_type = cql_type
        self.is_static = is_static
        self.is_reversed = is_reversed

    def __str__(self) -> str:
        return f"{self.name} {self.cql_type}"

    def __repr__(self) -> str:
        return f"<ColumnMetadata: {self}>"


class IndexMetadata:
    """A secondary index (`cassandra.metadata.IndexMetadata`).

    `keyspace_name`, `table_name`, `name`; `kind`: 'COMPOSITES', 'KEYS' or 'CUSTOM'; `index_options`: a dict, with
    `target` (what is indexed, as CQL) and, if the kind is CUSTOM, `class_name`; SAI's is 'sai' or its Java class.
    """

    def __init__(
        self, keyspace_name: str, table_name: str, index_name: str, kind: str, index_options: Mapping[str, str] | None
    ) -> None:
        self.keyspace_name = keyspace_name
        self.table_name = table_name
        self.name = index_name
        self.kind = kind
        self.index_options: Mapping[str, str] = dict(index_options or {})

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> IndexMetadata:
        """From a row of system_schema.indexes."""
        return cls(row["keyspace_name"], row["table_name"], row["index_name"], row["kind"], row["options"])

    def as_cql_query(self) -> str:
        """The CREATE INDEX statement."""
        options = dict(self.index_options)
        target = options.pop("target")
        custom = "CUSTOM " if self.kind == "CUSTOM" else ""
        text = (
            f"CREATE {custom}INDEX {protect_name(self.name)} "
            f"ON {protect_name(self.keyspace_name)}.{protect_name(self.table_name)} ({target})"
        )
        if custom:
            text += f" USING {protect_value(options.pop('class_name'))}"
            if options:
                text += f" WITH OPTIONS = {map_literal(options)}"
        return text

    def export_as_string(self) -> str:
        """The CREATE INDEX statement with its semicolon."""
        return self.as_cql_query() + ";"

    def __repr__(self) -> str:
        return f"<IndexMetadata: {self.name} on {self.keyspace_name}.{self.table_name}>"


class TriggerMetadata:
    """A trigger (`cassandra.metadata.TriggerMetadata`): `table`: its TableMetadata; `name`; `options`: a dict with the
    Java `class`.
    """

    def __init__(self, table_metadata: Any, trigger_name: str, options: Mapping[str, str] | None = None) -> None:
        self.table = table_metadata
        self.name = trigger_name
        self.options = options

    def as_cql_query(self) -> str:
        """The CREATE TRIGGER statement."""
        table = f"{protect_name(self.table.keyspace_name)}.{protect_name(self.table.name)}"
        class_name = (self.options or {})["class"]
        return f"CREATE TRIGGER {protect_name(self.name)} ON {table} USING {protect_value(class_name)}"

    def export_as_string(self) -> str:
        """The CREATE TRIGGER statement with its semicolon."""
        return self.as_cql_query() + ";"

    def __repr__(self) -> str:
        return f"<TriggerMetadata: {self.name}>"


class TableExtensionInterface:
    """What a table extension adds to the export of a table (`cassandra.metadata.TableExtensionInterface`)."""

    @classmethod
    def after_table_cql(cls, table_meta: Any, ext_key: str, ext_blob: bytes) -> str | None:
        """The CQL to follow the table's own, with its semicolons; None for none.

        `table_meta`: the table or view; `ext_key`, `ext_blob`: its entry in the `extensions` of system_schema.
        """
        return None


_extensions: dict[str, type[RegisteredTableExtension]] = {}


class RegisteredTableExtension(TableExtensionInterface):
    """Base of an application's table extensions. A subclass is known by its `name`, the key in a table's `extensions`."""

    name: str | None = None

    def __init_subclass__(cls) -> None:
        if cls.name is not None:
            _extensions[cls.name] = cls


def _extension_cql(table: TableMetadata | MaterializedViewMetadata) -> Iterator[str]:
    for key, blob in (table.extensions or {}).items():
        if key in _extensions:
            text = _extensions[key].after_table_cql(table, key, blob)
            if text:
                yield "\n\n" + text


class _Columns:
    """What tables and views share: columns, keys and options."""

    keyspace_name: str
    name: str
    partition_key: list[ColumnMetadata]
    clustering_key: list[ColumnMetadata]
    columns: dict[str, ColumnMetadata]
    options: Mapping[str, Any]
    extensions: Mapping[str, bytes] | None = None
    is_compact_storage = False

    @property
    def primary_key(self) -> list[ColumnMetadata]:
        """The columns of the partition key, then the clustering columns."""
        return self.partition_key + self.clustering_key

    def _key_cql(self) -> str:
        """What stands behind PRIMARY KEY."""
        partition = ", ".join(protect_names(column.name for column in self.partition_key))
        if len(self.partition_key) > 1:
            partition = f"({partition})"
        return f"({', '.join([partition, *protect_names(column.name for column in self.clustering_key)])})"

    def _property_cql(self, formatted: bool) -> str:
        """What stands behind WITH."""
        properties = ["COMPACT STORAGE"] if self.is_compact_storage else []
        if self.clustering_key:
            order = (f"{protect_name(c.name)} {'DESC' if c.is_reversed else 'ASC'}" for c in self.clustering_key)
            properties.append(f"CLUSTERING ORDER BY ({', '.join(order)})")
        for name, value in sorted(self.options.items()):
            if value is not None:  # null says that the server's own default counts
                properties.append(f"{name} = {map_literal(value) if isinstance(value, Mapping) else protect_value(value)}")
        return f"{separator(formatted)}AND ".join(properties)


class TableMetadata(_Columns):
    """A table (`cassandra.metadata.TableMetadata`, whose TableMetadataV3 is the same here).

    Attributes:
        keyspace_name, name.
        columns: ColumnMetadata by name: the partition key, the clustering columns, then the others by name.
        partition_key, clustering_key, primary_key: lists of those.
        indexes, triggers: IndexMetadata and TriggerMetadata by name.
        views: MaterializedViewMetadata of this table by name; read when looked at.
        options: the table options by name, as system_schema.tables has them; None where the server's default counts.
        extensions: bytes by name.
        is_compact_storage: whether it is of the kind that Thrift had.
        virtual: whether it is a virtual table, which shows what the server knows of itself.
    """

    comparator = None

    def __init__(
        self,
        keyspace_name: str,
        name: str,
        partition_key: list[ColumnMetadata] | None = None,
        clustering_key: list[ColumnMetadata] | None = None,
        columns: dict[str, ColumnMetadata] | None = None,
        triggers: dict[str, TriggerMetadata] | None = None,
        options: Mapping[str, Any] | None = None,
        virtual: bool = False,
    ) -> None:
        self.keyspace_name = keyspace_name
        self.name = name
        self.partition_key = [] if partition_key is None else partition_key
        self.clustering_key = [] if clustering_key is None else clustering_key
        self.columns = {} if columns is None else columns
        self.indexes: dict[str, IndexMetadata] = {}
        self.options = {} if options is None else options
        self.triggers = {} if triggers is None else triggers
        self.views: Mapping[str, MaterializedViewMetadata] = {}
        self.virtual = virtual

    @property
    def is_cql_compatible(self) -> bool:
        """True: whatever system_schema describes is exported."""
        return True

    def as_cql_query(self, formatted: bool = False) -> str:
        """The CREATE TABLE statement, on several lines if `formatted`; without indexes, triggers and views.

        That of a virtual table begins with VIRTUAL TABLE, and is for reading only.
        """
        parts = [
            f"{protect_name(c.name)} {c.cql_type}" + " static" * c.is_static + (f" MASKED WITH {c.mask}" if c.mask else "")
            for c in self.columns.values()
        ]
        if len(self.primary_key) == 1:
            parts[0] += " PRIMARY KEY"
        else:
            parts.append(f"PRIMARY KEY {self._key_cql()}")
        return (
            f"{'VIRTUAL' if self.virtual else 'CREATE'} TABLE {protect_name(self.keyspace_name)}.{protect_name(self.name)} "
            f"{braced(parts, formatted)} WITH {self._property_cql(formatted)}"
        )

    def export_as_string(self) -> str:
        """The statements that make the table with its indexes, triggers and views; a virtual table's in a comment."""
        text = self.as_cql_query(formatted=True) + ";"
        text += "".join("\n" + index.export_as_string() for index in self.indexes.values())
        text += "".join("\n" + trigger.export_as_string() for trigger in self.triggers.values())
        text += "".join("\n\n" + view.export_as_string() for view in self.views.values())
        text += "".join(_extension_cql(self))
        if not self.virtual:
            return text
        return (
            f"/*\nWarning: Table {commented(f'{self.keyspace_name}.{self.name}')} is a virtual table and cannot be recreated "
            f"with CQL.\nStructure, for reference:\n{commented(text)}\n*/"
        )

    def __repr__(self) -> str:
        return f"<TableMetadata: {self.keyspace_name}.{self.name}>"


TableMetadataV3 = TableMetadata


class MaterializedViewMetadata(_Columns):
    """A materialized view (`cassandra.metadata.MaterializedViewMetadata`).

    Attributes: keyspace_name, name, base_table_name; columns, partition_key, clustering_key, options, extensions as in
    TableMetadata; include_all_columns: whether it was made of SELECT *; where_clause: CQL text.
    """

    def __init__(
        self,
        keyspace_name: str,
        view_name: str,
        base_table_name: str,
        include_all_columns: bool,
        where_clause: str,
        options: Mapping[str, Any] | None,
    ) -> None:
        self.keyspace_name = keyspace_name
        self.name = view_name
        self.base_table_name = base_table_name
        self.partition_key = []
        self.clustering_key = []
        self.columns = {}
        self.include_all_columns = include_all_columns
        self.where_clause = where_clause
        self.options = options or {}

    def as_cql_query(self, formatted: bool = False) -> str:
        """The CREATE MATERIALIZED VIEW statement, on several lines if `formatted`."""
        keyspace = protect_name(self.keyspace_name)
        columns: Sequence[str] = ["*"] if self.include_all_columns else protect_names(self.columns)
        return separator(formatted).join(
            [
                f"CREATE MATERIALIZED VIEW {keyspace}.{protect_name(self.name)} AS",
                f"SELECT {', '.join(columns)}",
                f"FROM {keyspace}.{protect_name(self.base_table_name)}",
                f"WHERE {self.where_clause}",
                f"PRIMARY KEY {self._key_cql()}",
                f"WITH {self._property_cql(formatted)}",
            ]
        )

    def export_as_string(self) -> str:
        """The CREATE MATERIALIZED VIEW statement on several lines, with its semicolon."""
        return self.as_cql_query(formatted=True) + ";" + "".join(_extension_cql(self))

    def __repr__(self) -> str:
        return f"<MaterializedViewMetadata: {self.keyspace_name}.{self.name} of {self.base_table_name}>"
