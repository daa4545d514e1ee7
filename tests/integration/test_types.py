"""Every CQL type through a real Cassandra: what either driver writes, both read as the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from geventcql import util
from geventcql.query import UNSET_VALUE, BatchStatement, BatchType, SimpleStatement
from geventcql.session import Session
from tests.integration.cqlvalues import TYPES, Mapped, cases, describe, describe_rows
from tests.integration.fixtures import DDL_TIMEOUT, ks, peer, session, sessions  # noqa: F401  # fixtures
from tests.integration.peer import Peer

CASES = cases(util)
COLUMNS = pytest.mark.parametrize("column", CASES)
WITH_LITERALS = pytest.mark.parametrize("column", [name for name, case in CASES.items() if case.values])


@pytest.fixture(scope="module")
def table(sessions: dict[int, Session], ks: str, peer: Peer) -> Iterator[str]:  # noqa: F811
    """A table with a column of each type, what cassandra-driver writes in its rows of writer `theirs`."""
    ddl = sessions[5]
    for text in TYPES:
        ddl.execute(text.format(ks=ks).replace("frozen<address>", f"frozen<{ks}.address>"), timeout=DDL_TIMEOUT)
    columns = ", ".join(f"{name} {qualified(case.cql_type, ks)}" for name, case in CASES.items())
    name = f"{ks}.values"
    ddl.execute(f"CREATE TABLE {name} (writer text, n int, {columns}, PRIMARY KEY (writer, n))", timeout=DDL_TIMEOUT)
    for each in sessions.values():
        each.cluster.register_user_type(ks, "mapped", Mapped)
        each.encoder.mapping[tuple] = each.encoder.cql_encode_tuple
    peer.register(ks)
    for column in CASES:
        peer.write(f"INSERT INTO {name} (writer, n, {column}) VALUES (?, ?, ?)", column, (f"theirs {column}",))
    yield name


def qualified(cql_type: str, keyspace: str) -> str:
    for name in ("address", "person", "mapped"):
        cql_type = cql_type.replace(name, f"{keyspace}.{name}")
    return cql_type


def select(session: Session, table: str, column: str, writer: str) -> list[Any]:  # noqa: F811
    statement = session.prepare(f"SELECT {column} FROM {table} WHERE writer = ?")
    return [row[0] for row in describe_rows(session.execute(statement, [writer]))]


def described(values: list[Any]) -> list[Any]:
    return [describe(value) for value in values]


@COLUMNS
def test_bound(session: Session, table: str, column: str, peer: Peer) -> None:  # noqa: F811
    case, writer = CASES[column], f"bound v{session.cluster.protocol_version} {column}"
    insert = session.prepare(f"INSERT INTO {table} (writer, n, {column}) VALUES (?, ?, ?)")
    for number, value in enumerate(case.written()):
        session.execute(insert, (writer, number, value))
    expected = described(case.read())
    assert select(session, table, column, writer) == expected
    theirs = peer.read(f"SELECT {column} FROM {table} WHERE writer = ?", [writer])
    assert [row[0] for row in theirs] == expected


@COLUMNS
def test_written_by_cassandra_driver(session: Session, table: str, column: str) -> None:  # noqa: F811
    assert select(session, table, column, f"theirs {column}") == described(CASES[column].read())


@WITH_LITERALS
def test_literals(session: Session, table: str, column: str, peer: Peer) -> None:  # noqa: F811
    case, writer = CASES[column], f"literals v{session.cluster.protocol_version} {column}"
    for number, value in enumerate(case.written(literals=True)):
        session.execute(f"INSERT INTO {table} (writer, n, {column}) VALUES (%s, %s, %s)", (writer, number, value))
    expected = described(case.read(literals=True))
    simple = session.execute(f"SELECT {column} FROM {table} WHERE writer = %(w)s", {"w": writer})
    assert [row[0] for row in describe_rows(simple)] == expected
    theirs = peer.read(f"SELECT {column} FROM {table} WHERE writer = ?", [writer])
    assert [row[0] for row in theirs] == expected
