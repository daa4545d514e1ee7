"""A schema for fake nodes: the rows of `tests.metadata.schemaserver`, over the wire and in pages."""

from __future__ import annotations

import re
from typing import Any

from geventcql.errors import InvalidRequest
from tests.metadata.schemaserver import SchemaServer
from tests.support.fakenode import Error, ErrorCode, Reply, Request, paged

COLUMNS = {
    "argument_names": "list<text>", "argument_types": "list<text>", "base_table_id": "int", "bloom_filter_fp_chance": "double",
    "caching": "map<text, text>", "called_on_null_input": "boolean", "durable_writes": "boolean",
    "extensions": "map<text, blob>", "field_names": "list<text>", "field_types": "list<text>", "flags": "set<text>",
    "id": "int", "include_all_columns": "boolean", "options": "map<text, text>", "position": "int",
    "read_repair_chance": "double", "replication": "map<text, text>",
}  # fmt: skip
SCHEMA = re.compile(r"FROM system_(virtual_)?schema\.")


def serve_schema(node: Any, server: SchemaServer) -> None:
    """Have a FakeNode or FakeCluster answer for system_schema what ``server`` has."""

    def answer(request: Request, connection: Any) -> Reply:
        try:
            rows = server.answer(request.text or "")
        except InvalidRequest as error:
            return Error(ErrorCode.INVALID, str(error))
        names = sorted({name for row in rows for name in row}) or ["keyspace_name"]
        data = [[row.get(name) for name in names] for row in rows]
        reply: Reply = paged([(name, COLUMNS.get(name, "text")) for name in names], data)(request, connection)
        return reply

    node.on(SCHEMA, answer)


def schema_with(*tables: str, keyspace: str = "ks") -> SchemaServer:
    """A keyspace with tables of these names."""
    server = SchemaServer()
    server.keyspace(keyspace)
    for name in tables:
        server.table(keyspace, name)
    return server


def schema_queries(node: Any) -> list[str]:
    """The tables of the schema, beside the list of keyspaces, that a FakeNode or FakeCluster was asked for so far."""
    found = [re.search(r"FROM system_(?:virtual_)?schema\.(\w+)", request.text or "") for request in node.requests]
    return [match[1] for match in found if match and match[1] != "keyspaces"]
