"""The same micro-benchmarks of cassandra-driver, for the operations it has too. Prints JSON: operation -> ns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cassandra import cqltypes
from cassandra.metadata import Murmur3Token
from cassandra.protocol import ColumnMetadata, ProtocolHandler
from cassandra.query import PreparedStatement, named_tuple_factory

from benchmarks import frames, schema
from benchmarks.drivers import timing
from benchmarks.drivers.timing import best_ns

PAGE = schema.PAGE_ROWS
TYPES = {
    frames.BIGINT: cqltypes.LongType,
    frames.BLOB: cqltypes.BytesType,
    frames.BOOLEAN: cqltypes.BooleanType,
    frames.DOUBLE: cqltypes.DoubleType,
    frames.INT: cqltypes.Int32Type,
    frames.TIMESTAMP: cqltypes.DateType,
    frames.UUID: cqltypes.UUIDType,
    frames.TEXT: cqltypes.UTF8Type,
    frames.LIST_INT: cqltypes.ListType.apply_parameters([cqltypes.Int32Type]),
    frames.LIST_TEXT: cqltypes.ListType.apply_parameters([cqltypes.UTF8Type]),
    frames.MAP_TEXT_INT: cqltypes.MapType.apply_parameters([cqltypes.UTF8Type, cqltypes.Int32Type]),
    frames.SET_TEXT: cqltypes.SetType.apply_parameters([cqltypes.UTF8Type]),
    frames.TUPLE_INT_TEXT: cqltypes.TupleType.apply_parameters([cqltypes.Int32Type, cqltypes.UTF8Type]),
}


def metadata(table: str, described: frames.Columns) -> list[Any]:
    """Column metadata as a PREPARE's answer gives it."""
    return [ColumnMetadata("bench", table, name, TYPES[kind]) for name, kind in described]


def encoding() -> dict[str, float]:
    """Values to bytes: binding, which is where this driver encodes."""
    statement = PreparedStatement(metadata("sink", frames.SINK), b"id", [0], schema.INSERT, "bench", 4, [], None)
    key = bytes(range(16))
    return {
        timing.ENCODE: best_ns(lambda: statement.bind(schema.INSERT_VALUES)),
        timing.MURMUR3: best_ns(lambda: Murmur3Token.hash_fn(key)),
    }


def page(described: frames.Columns, table: str, rows: list[bytes]) -> Callable[[], Any]:
    """A decoder of one page."""
    body, known = frames.rows_body(described, rows), metadata(table, described)
    return lambda: ProtocolHandler.decode_message(4, {}, 0, 0, frames.RESULT, body, None, known)


def decoding() -> dict[str, float]:
    """Pages of rows to Python rows."""
    wide = page(frames.WIDE, "wide", list(map(frames.wide_row, range(PAGE))))
    nested = page(frames.COLLECTIONS, "coll", list(map(frames.collection_row, range(PAGE))))

    def named() -> Any:
        message = wide()
        return named_tuple_factory(message.column_names, message.parsed_rows)

    if len(wide().parsed_rows) != PAGE or len(nested().parsed_rows) != PAGE:
        raise ValueError("rows are missing")
    return {
        timing.TUPLES: best_ns(wide, PAGE),
        timing.NAMED: best_ns(named, PAGE),
        timing.NESTED: best_ns(nested, PAGE),
    }


if __name__ == "__main__":
    print(json.dumps({**encoding(), **decoding()}))
