"""Names that need quotes, on a real node: they work as names, and what is in them is not executed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from geventcql import InvalidRequest
from geventcql.metadata import protect_name
from geventcql.session import Session
from tests.integration.support import DDL_TIMEOUT, VERSIONS, connect

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KEYSPACES = ["Mixed_Case", "select"]
"""Cassandra allows no other characters in the names of keyspaces and tables. Columns and types may have any."""
TYPE = 'we"ird; DROP TABLE x'


def execute(session: Session, *texts: str) -> None:
    for text in texts:
        session.execute(text, timeout=DDL_TIMEOUT)


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def session(request: pytest.FixtureRequest, cassandra: Any) -> Iterator[Session]:
    """In no keyspace, of a Cluster of its own: below v5 each keyspace has connections that stay."""
    with connect(cassandra, request.param) as cluster:
        session = cluster.connect()
        for name in KEYSPACES:
            keyspace = protect_name(name)
            execute(
                session,
                f"CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
                f"CREATE TYPE {keyspace}.{protect_name(TYPE)} ({protect_name(TYPE)} int)",
                f'CREATE TABLE {keyspace}."Table" ("Key" int PRIMARY KEY, {protect_name(TYPE)} frozen<{protect_name(TYPE)}>)',
            )
        yield session
        execute(session, *(f"DROP KEYSPACE {protect_name(name)}" for name in KEYSPACES))


@pytest.mark.parametrize("name", KEYSPACES)
def test_names_that_need_quotes(session: Session, name: str) -> None:
    cluster = session.cluster
    with cluster.connect(name) as inside:
        insert = inside.prepare(f'INSERT INTO "Table" ("Key", {protect_name(TYPE)}) VALUES (?, ?)')
        inside.execute(insert, (1, (7,)))
        assert inside.execute(f'SELECT {protect_name(TYPE)} FROM "Table"').one()[0][0] == 7
        inside.set_keyspace("system")
        inside.set_keyspace(name)
        assert inside.execute('SELECT "Key" FROM "Table"').one() == (1,)
    table = cluster.metadata.keyspaces[name].tables["Table"]
    assert list(table.columns) == ["Key", TYPE]
    exported = cluster.metadata.keyspaces[name].export_as_string()
    statements = [statement.rstrip(";") for statement in exported.split(";\n\n")]
    execute(session, f"DROP KEYSPACE {protect_name(name)}", *statements)
    assert cluster.metadata.keyspaces[name].export_as_string() == exported


def test_names_that_would_be_statements(session: Session) -> None:
    for name in ('x"; DROP KEYSPACE "Mixed_Case', "select; DROP KEYSPACE system", "'; --", "mixed_case", ""):
        with session.cluster.connect("select") as inside:
            with pytest.raises(InvalidRequest):
                inside.set_keyspace(name)
            assert inside.execute('SELECT "Key" FROM "Table"').all() is not None
    assert "Mixed_Case" in session.cluster.metadata.keyspaces
