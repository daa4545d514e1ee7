"""Tables, rows and statements of the benchmarks: the same for every driver. Standard library only."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from typing import Any

KEYSPACE = "bench"
ROWS = 50_000  # rows in the one partition of each table that is read
PAGE_ROWS = 5_000  # fetch size of the scans

KEYSPACE_DDL = (
    "CREATE KEYSPACE IF NOT EXISTS bench WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {}}}"
)
DDL = (
    "CREATE TABLE IF NOT EXISTS bench.wide (pk int, ck int, a text, b bigint, c double, d boolean, e timestamp,"
    " f uuid, g blob, h int, PRIMARY KEY (pk, ck))",
    "CREATE TABLE IF NOT EXISTS bench.sink (id text PRIMARY KEY, name text, age int, score double, ok boolean,"
    " ts timestamp, uid uuid, tags list<text>)",
    "CREATE TABLE IF NOT EXISTS bench.coll (pk int, ck int, l list<int>, m map<text, int>, st set<text>,"
    " t tuple<int, text>, PRIMARY KEY (pk, ck))",
)

SELECT = "SELECT * FROM bench.wide WHERE pk=? AND ck=?"
SELECT_VALUES = (1, 1)
INSERT = "INSERT INTO bench.sink (id,name,age,score,ok,ts,uid,tags) VALUES (?,?,?,?,?,?,?,?)"
INSERT_VALUES = (
    "id",
    "Ada Lovelace",
    36,
    99.5,
    True,
    datetime.datetime(2026, 1, 2, 3, 4, 5),
    uuid.UUID(int=7),
    ["a", "b", "c"],
)
SCAN = "SELECT * FROM bench.wide WHERE pk=?"
COLLECTIONS = "SELECT * FROM bench.coll WHERE pk=?"
SCAN_VALUES = (1,)

LOAD_WIDE = "INSERT INTO bench.wide (pk,ck,a,b,c,d,e,f,g,h) VALUES (1,?,?,?,?,?,?,?,?,?)"
LOAD_COLLECTIONS = "INSERT INTO bench.coll (pk,ck,l,m,st,t) VALUES (1,?,?,?,?,?)"
LAST_ROWS = tuple(f"SELECT ck FROM bench.{table} WHERE pk=1 AND ck={ROWS - 1}" for table in ("wide", "coll"))


def wide_row(i: int) -> tuple[Any, ...]:
    """Values of LOAD_WIDE for row `i`: together with the constant pk, ten columns of eight types."""
    moment = datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=i)
    return (i, f"name-{i}", i * 10**9, i / 3, i % 2 == 0, moment, uuid.UUID(int=i), b"x" * 16, i)


def wide_rows() -> Iterator[tuple[Any, ...]]:
    """Values of LOAD_WIDE for every row."""
    return (wide_row(i) for i in range(ROWS))


def collection_rows() -> Iterator[tuple[Any, ...]]:
    """Values of LOAD_COLLECTIONS for every row: a list, a map, a set and a tuple."""
    return ((i, [i, i + 1, i + 2], {"a": i, "b": 2}, {"x", "y"}, (i, "z")) for i in range(ROWS))
