"""Every CQL type through a real Cassandra: what either driver writes, both read as the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from geventcql import util
from geventcql.errors import EncodeError, UserTypeDoesNotExist
from geventcql.query import UNSET_VALUE, BatchStatement, BatchType, SimpleStatement
from geventcql.session import Session
from tests.integration.cqlvalues import TYPES, Mapped, address, cases, describe, describe_rows
from tests.integration.peer import Peer
from tests.integration.support import DDL_TIMEOUT, connect

pytest_plugins = "tests.integration.fixtures"

CASES = cases(util)
COLUMNS = pytest.mark.parametrize("column", CASES)
WITH_LITERALS = pytest.mark.parametrize("column", [name for name, case in CASES.items() if case.values])


@pytest.fixture(scope="module")
def table(sessions: dict[int, Session], ks: str, peer: Peer) -> Iterator[str]:
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


def select(session: Session, table: str, column: str, writer: str) -> list[Any]:
    statement = session.prepare(f"SELECT {column} FROM {table} WHERE writer = ?")
    return [row[0] for row in describe_rows(session.execute(statement, [writer]))]


def described(values: list[Any]) -> list[Any]:
    return [describe(value) for value in values]


@COLUMNS
def test_bound(session: Session, table: str, column: str, peer: Peer) -> None:
    case, writer = CASES[column], f"bound v{session.cluster.protocol_version} {column}"
    insert = session.prepare(f"INSERT INTO {table} (writer, n, {column}) VALUES (?, ?, ?)")
    for number, value in enumerate(case.written()):
        session.execute(insert, (writer, number, value))
    expected = described(case.read())
    assert select(session, table, column, writer) == expected
    theirs = peer.read(f"SELECT {column} FROM {table} WHERE writer = ?", [writer])
    assert [row[0] for row in theirs] == expected


@COLUMNS
def test_written_by_cassandra_driver(session: Session, table: str, column: str) -> None:
    assert select(session, table, column, f"theirs {column}") == described(CASES[column].read())


@WITH_LITERALS
def test_literals(session: Session, table: str, column: str, peer: Peer) -> None:
    case, writer = CASES[column], f"literals v{session.cluster.protocol_version} {column}"
    for number, value in enumerate(case.written(literals=True)):
        session.execute(f"INSERT INTO {table} (writer, n, {column}) VALUES (%s, %s, %s)", (writer, number, value))
    expected = described(case.read(literals=True))
    simple = session.execute(f"SELECT {column} FROM {table} WHERE writer = %(w)s", {"w": writer})
    assert [row[0] for row in describe_rows(simple)] == expected
    theirs = peer.read(f"SELECT {column} FROM {table} WHERE writer = ?", [writer])
    assert [row[0] for row in theirs] == expected


@COLUMNS
def test_batches_and_names(session: Session, table: str, column: str) -> None:
    case, writer = CASES[column], f"batch v{session.cluster.protocol_version} {column}"
    insert = session.prepare(f"INSERT INTO {table} (writer, n, {column}) VALUES (:writer, :number, :cell)")
    batch = BatchStatement(BatchType.UNLOGGED)
    for number, value in enumerate(case.written()):
        batch.add(insert, {"number": number, "cell": value, "writer": writer})
    session.execute(batch)
    assert select(session, table, column, writer) == described(case.read())


def test_fewer_fields_than_the_user_type_has(session: Session, table: str, peer: Peer) -> None:
    """cassandra-driver writes only values of all fields; what is written with fewer it reads."""
    writer = f"fewer v{session.cluster.protocol_version}"
    insert = session.prepare(f"INSERT INTO {table} (writer, n, udt_, tuple_) VALUES (?, 0, ?, ?)")
    session.execute(insert, (writer, ("x",), (1,)))
    expected = [[describe(address("x", None, None)), describe((1, None, None))]]
    query = f"SELECT udt_, tuple_ FROM {table} WHERE writer = ?"
    assert describe_rows(session.execute(session.prepare(query), [writer])) == expected
    assert peer.read(query, [writer]) == expected


def test_a_user_type_that_grew(session: Session, ks: str, peer: Peer) -> None:
    name = f"{ks}.grown{session.cluster.protocol_version}"
    session.execute(f"CREATE TYPE {name} (a int)", timeout=DDL_TIMEOUT)
    session.execute(f"CREATE TABLE {name}_table (id int PRIMARY KEY, v frozen<{name}>, w {name})", timeout=DDL_TIMEOUT)
    session.execute(f"INSERT INTO {name}_table (id, v, w) VALUES (1, {{a: 5}}, {{a: 6}})")
    session.execute(f"ALTER TYPE {name} ADD b text", timeout=DDL_TIMEOUT)
    query = f"SELECT v, w FROM {name}_table WHERE id = 1"
    row = session.execute(session.prepare(query)).one()
    assert (row.v.a, row.v.b, row.w.a, row.w.b) == (5, None, 6, None)
    assert describe_rows([row]) == describe_rows(session.execute(query)) == peer.read(query)


def test_counters(session: Session, ks: str, peer: Peer) -> None:
    name = f"{ks}.counters{session.cluster.protocol_version}"
    session.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, hits counter)", timeout=DDL_TIMEOUT)
    add = session.prepare(f"UPDATE {name} SET hits = hits + ? WHERE id = ?")
    session.execute(add, (5, 1))
    session.execute(add, (-7, 1))
    session.execute(add, (2**63 - 1, 2))
    batch = BatchStatement(BatchType.COUNTER)
    batch.add(add, (-(2**63), 3))
    batch.add(SimpleStatement(f"UPDATE {name} SET hits = hits - %s WHERE id = %s"), (10, 1))
    session.execute(batch)
    query = f"SELECT id, hits FROM {name}"
    expected = [(1, -12), (2, 2**63 - 1), (3, -(2**63))]
    assert sorted(session.execute(session.prepare(query))) == expected
    assert sorted(session.execute(query)) == expected
    assert sorted(tuple(cell[1] for cell in row) for row in peer.read(query)) == expected


def test_unset_leaves_what_is_there(session: Session, table: str) -> None:
    version = session.cluster.protocol_version
    insert = session.prepare(f"INSERT INTO {table} (writer, n, text_, list_) VALUES (?, 0, ?, ?)")
    key = f"unset v{version}"
    session.execute(insert, (key, "kept", [1]))
    if version == 3:
        with pytest.raises(ValueError):
            session.execute(insert, (key, UNSET_VALUE, [2]))
        return
    session.execute(insert, (key, UNSET_VALUE, [2]))
    session.execute(insert, (key,))  # what is missing is unset
    query = f"SELECT text_, list_ FROM {table} WHERE writer = %s"
    assert session.execute(query, [key]).one() == ("kept", [2])
    session.execute(insert, (key, None, UNSET_VALUE))
    assert session.execute(query, [key]).one() == (None, [2])


# Types of which Cassandra takes values of no bytes at all.
EMPTY = {"ascii": "''", "blob": "0x", "text": "''"} | {
    name: f"blob_as_{name}(0x)"
    for name in ("bigint", "boolean", "decimal", "double", "float", "inet", "int", "timestamp", "timeuuid", "uuid", "varint")
}


def test_values_without_bytes(session: Session, table: str, peer: Peer) -> None:
    version = session.cluster.protocol_version
    names = ", ".join(f"{name}_" for name in EMPTY)
    values = ", ".join(EMPTY.values())
    session.execute(f"INSERT INTO {table} (writer, n, {names}) VALUES ('empty v{version}', 0, {values})")
    query = f"SELECT {names} FROM {table} WHERE writer = 'empty v{version}'"
    row = session.execute(session.prepare(query)).one()
    given = {"ascii": "", "text": "", "blob": b""}
    assert row == tuple(given.get(name) for name in EMPTY)
    assert describe_rows([row]) == peer.read(query)


def test_values_without_bytes_in_collections(session: Session, table: str, peer: Peer) -> None:
    version = session.cluster.protocol_version
    session.execute(
        f"INSERT INTO {table} (writer, n, list_, tuple_) "
        f"VALUES ('empty inside v{version}', 0, [1, blob_as_int(0x)], (blob_as_int(0x), '', blob_as_boolean(0x)))"
    )
    query = f"SELECT list_, tuple_ FROM {table} WHERE writer = 'empty inside v{version}'"
    row = session.execute(session.prepare(query)).one()
    assert row == ([1, None], (None, "", None))
    assert describe_rows([row]) == peer.read(query)


@pytest.mark.parametrize("milliseconds", [-(2**63), -62135596800001, -62167219200000, 253402300800000, 2**63 - 1])
def test_timestamps_that_no_datetime_holds(session: Session, table: str, milliseconds: int) -> None:
    """geventcql gives a util.Timestamp; cassandra-driver fails to read them, and closes the connection besides."""
    writer = f"far v{session.cluster.protocol_version} {milliseconds}"
    insert = session.prepare(f"INSERT INTO {table} (writer, n, timestamp_) VALUES (?, ?, ?)")
    session.execute(insert, (writer, 0, milliseconds))
    session.execute(insert, (writer, 1, util.Timestamp(milliseconds)))
    session.execute(insert.query_string.replace("?", "%s"), (writer, 2, util.Timestamp(milliseconds)))
    query = f"SELECT timestamp_, to_unix_timestamp(timestamp_) FROM {table} WHERE writer = %s"
    rows = list(session.execute(query, [writer]))
    assert rows == [(util.Timestamp(milliseconds), milliseconds)] * 3
    assert type(rows[0][0]) is util.Timestamp


@pytest.mark.parametrize("size", [1_000_000, 3_000_000])
def test_large_values(session: Session, table: str, peer: Peer, size: int) -> None:
    writer = f"large v{session.cluster.protocol_version} {size}"
    text = "\u00e9\U0001f600" * (size // 6)
    blob = bytes(range(256)) * (size // 256)
    insert = session.prepare(f"INSERT INTO {table} (writer, n, text_, blob_) VALUES (?, ?, ?, ?)")
    session.execute(insert, (writer, 0, text, b""))
    session.execute(insert, (writer, 1, "", blob))
    query = f"SELECT text_, blob_ FROM {table} WHERE writer = ?"
    rows = list(session.execute(session.prepare(query), [writer]))
    assert rows == [(text, b""), ("", blob)]
    assert peer.read(query, [writer]) == describe_rows(rows)


def test_lone_surrogates_are_refused(session: Session, table: str) -> None:
    """They have no UTF-8: neither half is ever sent."""
    insert = session.prepare(f"INSERT INTO {table} (writer, n, text_) VALUES (?, 0, ?)")
    for text in ("\ud800", "a\udfff"):
        with pytest.raises(EncodeError, match="text_"):
            session.execute(insert, ("surrogate", text))
        with pytest.raises(UnicodeEncodeError):
            session.execute(f"INSERT INTO {table} (writer, n, text_) VALUES ('surrogate', 0, %s)", [text])


def test_mapped_type_in_a_new_session(session: Session, table: str, cassandra: Any, ks: str) -> None:
    with connect(cassandra, session.cluster.protocol_version) as cluster:
        cluster.register_user_type(ks, "mapped", Mapped)
        late = cluster.connect(ks)
        late.execute("INSERT INTO values (writer, n, udt_mapped) VALUES ('late', 0, %s)", [Mapped("it's", 3)])
        value = late.execute("SELECT udt_mapped FROM values WHERE writer = 'late'").one().udt_mapped
    assert (type(value), value.label, value.amount) == (Mapped, "it's", 3)


def test_mapping_a_type_that_is_not_there(sessions: dict[int, Session], cassandra: Any, ks: str) -> None:
    with pytest.raises(UserTypeDoesNotExist, match="nothing"):
        sessions[5].cluster.register_user_type(ks, "nothing", Mapped)
    sessions[5].cluster.connect().shutdown()  # it has not been remembered
    with connect(cassandra) as cluster:
        cluster.register_user_type(ks, "nothing", Mapped)
        with pytest.raises(UserTypeDoesNotExist, match="nothing"):
            cluster.connect()
