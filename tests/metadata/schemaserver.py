"""A schema in rows of system_schema, for tests of the model: answers queries, and counts them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any

from geventcql.errors import InvalidRequest

Row = dict[str, Any]

QUERY = re.compile(r"SELECT (?P<columns>.+?) FROM (?P<table>\w+\.\w+)(?: WHERE (?P<where>.+))?")
CONDITION = re.compile(r"(?P<column>\w+) (?:= (?P<value>'(?:[^']|'')*')|IN \((?P<values>[^)]*)\))")
LITERAL = re.compile(r"'((?:[^']|'')*)'")
OPTIONS: Row = {
    "bloom_filter_fp_chance": 0.01,
    "caching": {"keys": "ALL"},
    "comment": "",
    "extensions": {},
    "flags": {"compound"},
    "read_repair": "BLOCKING",
    "read_repair_chance": 0.0,
}


class SchemaServer:
    """The SchemaSource of a Metadata: its own server, without greenlets.

    `rows`: by table of system_schema; `queries`: what was asked; `meanwhile`: called once, while the next query runs.
    """

    def __init__(self) -> None:
        self.enabled = True
        self.rows: dict[str, list[Row]] = {f"system_schema.{kind}": [] for kind in KINDS}
        self.queries: list[str] = []
        self.meanwhile: Callable[[], object] | None = None
        self.turns = 0
        self._made: set[tuple[str, str]] = set()

    def load(self, key: Hashable, read: Callable[[Any], Any]) -> Any:
        hash(key)
        return read(self)

    def __call__(self, *queries: str) -> list[list[Row]]:
        return [self.answer(query) for query in queries]

    def give_way(self) -> None:
        self.turns += 1

    def answer(self, query: str) -> list[Row]:
        self.queries.append(query)
        match = QUERY.fullmatch(query)
        assert match is not None, query
        if match["table"] not in self.rows:
            raise InvalidRequest(f"no table {match['table']}")
        found = list(self.rows[match["table"]])
        for condition in CONDITION.finditer(match["where"] or ""):
            values = [text.replace("''", "'") for text in LITERAL.findall(condition["value"] or condition["values"])]
            found = [row for row in found if row[condition["column"]] in values]
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return found

    def asked(self) -> list[str]:
        """The tables that were asked for since the last call."""
        tables = [re.sub(r".* FROM (?:system_schema\.)?([\w.]+).*", r"\1", query) for query in self.queries]
        self.queries.clear()
        return tables

    # -- what there is

    def add(self, kind: str, /, **row: Any) -> None:
        self.rows.setdefault(f"system_schema.{kind}" if "." not in kind else kind, []).append(row)

    def keyspace(self, name: str, factor: int = 1) -> None:
        self.drop("keyspaces", keyspace_name=name)
        replication = {"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": str(factor)}
        self.add("keyspaces", keyspace_name=name, durable_writes=True, replication=replication)

    def table(self, keyspace: str, name: str, *columns: str, **options: Any) -> None:
        """Columns as 'name kind position order type', in the order in which a server gives them: by name."""
        if (keyspace, name) in self._made:
            self.drop("tables", keyspace_name=keyspace, table_name=name)
        self.add("tables", keyspace_name=keyspace, table_name=name, id=1, **{**OPTIONS, **options})
        self.columns(keyspace, name, *columns or ("k partition_key 0 none int", "v regular -1 none text"))

    def columns(self, keyspace: str, name: str, *columns: str) -> None:
        if (keyspace, name) in self._made:
            self.drop("columns", keyspace_name=keyspace, table_name=name)
        self._made.add((keyspace, name))
        for column, kind, position, order, cql_type in (text.split(" ", 4) for text in columns):
            self.add(
                "columns", keyspace_name=keyspace, table_name=name, column_name=column, kind=kind, position=int(position),
                type=cql_type, clustering_order=order,
            )  # fmt: skip

    def view(self, keyspace: str, name: str, base: str, *columns: str, everything: bool = False) -> None:
        self.add(
            "views", keyspace_name=keyspace, view_name=name, base_table_name=base, include_all_columns=everything,
            where_clause="k IS NOT NULL", id=2, base_table_id=1, **OPTIONS,
        )  # fmt: skip
        self.columns(keyspace, name, *columns or ("k partition_key 0 none int",))

    def index(self, keyspace: str, table: str, name: str, kind: str = "COMPOSITES", **options: str) -> None:
        self.add("indexes", keyspace_name=keyspace, table_name=table, index_name=name, kind=kind, options=options)

    def user_type(self, keyspace: str, name: str, **fields: str) -> None:
        self.add("types", keyspace_name=keyspace, type_name=name, field_names=list(fields), field_types=[*fields.values()])

    def drop(self, kind: str, /, **where: str) -> None:
        rows = self.rows[f"system_schema.{kind}"]
        rows[:] = [row for row in rows if not where.items() <= row.items()]


KINDS = ("keyspaces", "tables", "columns", "indexes", "triggers", "views", "types", "functions", "aggregates", "column_masks")
