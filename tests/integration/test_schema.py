"""Schema metadata of a real Cassandra: what cassandra-driver says of it, and CQL that makes the same schema again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from geventcql.cluster import Cluster
from geventcql.metadata import KeyspaceMetadata
from geventcql.net.connection import Connection
from geventcql.session import Session
from geventcql.testing import CassandraCluster
from tests.driver.support import eventually
from tests.integration.peer import ROOT
from tests.integration.schemas import ALL_KINDS, KEYSPACE, YAML, described, differences, statements
from tests.integration.support import DDL_TIMEOUT, connect
from tests.support.children import run

pytestmark = pytest.mark.timeout(300)


def execute(session: Session, cql: str) -> None:
    for statement in statements(cql):
        session.execute(statement, timeout=DDL_TIMEOUT)


@pytest.fixture(scope="module")
def server() -> Iterator[CassandraCluster]:
    with CassandraCluster(yaml=YAML) as server:
        with connect(server) as cluster:
            execute(cluster.connect(), ALL_KINDS)
        yield server


@pytest.fixture(params=(3, 4, 5), ids=lambda version: f"v{version}")
def cluster(request: pytest.FixtureRequest, server: CassandraCluster) -> Iterator[Cluster]:
    with connect(server, request.param) as cluster:
        cluster.connect()
        yield cluster


def theirs(server: CassandraCluster, keyspace: str) -> Any:
    """What cassandra-driver's metadata say."""
    command = [sys.executable, "-m", "tests.integration.schemas", server.contact_points[0], str(server.port), keyspace]
    return json.loads(run(command, cwd=ROOT)[0])


@pytest.mark.parametrize("keyspace", [KEYSPACE, "system", "system_schema", "system_views"])
def test_it_is_what_cassandra_driver_says(server: CassandraCluster, cluster: Cluster, keyspace: str) -> None:
    ours = json.loads(json.dumps(described(cluster.metadata.keyspaces[keyspace])))
    assert list(differences(ours, theirs(server, keyspace))) == []


def test_an_export_makes_the_same_schema_again(server: CassandraCluster, cluster: Cluster) -> None:
    keyspace = cluster.metadata.keyspaces[KEYSPACE]
    kinds = (keyspace.tables, keyspace.views, keyspace.indexes, keyspace.user_types, keyspace.functions, keyspace.aggregates)
    assert [len(kind) for kind in kinds] == [10, 2, 9, 3, 6, 3]
    text, before = keyspace.export_as_string(), described(keyspace)
    session = cluster.connect()
    session.execute(f'DROP KEYSPACE "{KEYSPACE}"', timeout=DDL_TIMEOUT)
    assert KEYSPACE not in cluster.metadata.keyspaces
    execute(session, text)
    again = cluster.metadata.keyspaces[KEYSPACE]
    assert again.export_as_string() == text and list(differences(described(again), before)) == []


def test_our_own_changes_are_seen(cluster: Cluster) -> None:
    session = cluster.connect()
    name = f"changes_v{cluster.protocol_version}"
    ddl = statements(f"""
        CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}};
        CREATE TABLE {name}.t (k int PRIMARY KEY, v int); CREATE TYPE {name}.ty (a int);
        CREATE FUNCTION {name}.f (a int, b int) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS 'return a;';
        CREATE AGGREGATE {name}.agg (int) SFUNC f STYPE int;
        CREATE INDEX i ON {name}.t (v);
        CREATE MATERIALIZED VIEW {name}.mv AS SELECT * FROM {name}.t WHERE k IS NOT NULL AND v IS NOT NULL PRIMARY KEY (v, k);
        ALTER TABLE {name}.t ADD w frozen<ty>; ALTER TYPE {name}.ty ADD b text;
        ALTER KEYSPACE {name} WITH durable_writes = false;
        DROP INDEX {name}.i; DROP AGGREGATE {name}.agg; DROP FUNCTION {name}.f; DROP MATERIALIZED VIEW {name}.mv
    """)
    for statement in ddl:
        session.execute(statement, timeout=DDL_TIMEOUT)
        with connect_like(cluster) as fresh:
            fresh.connect()
            known, new = cluster.metadata.keyspaces[name], fresh.metadata.keyspaces[name]
            assert list(differences(described(known), described(new))) == [], statement
    assert list(known.tables["t"].columns) == ["k", "v", "w"] and len(known.tables) == 1 and not known.durable_writes
    session.execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)
    assert name not in cluster.metadata.keyspaces and len(known.tables) == 0


def test_changes_of_others_are_seen(cluster: Cluster) -> None:
    name = f"others_v{cluster.protocol_version}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': %d}"
    with connect_like(cluster) as other:
        session = other.connect()
        session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication % 1}", timeout=DDL_TIMEOUT)
        eventually(lambda: name in cluster.metadata.keyspaces)
        keyspace = cluster.metadata.keyspaces[name]
        assert len(keyspace.tables) == len(keyspace.user_types) == 0
        session.execute(f"CREATE TABLE {name}.t (k int PRIMARY KEY)", timeout=DDL_TIMEOUT)
        eventually(lambda: "t" in keyspace.tables and list(keyspace.tables["t"].columns) == ["k"])
        session.execute(f"ALTER TABLE {name}.t ADD v int", timeout=DDL_TIMEOUT)
        eventually(lambda: list(keyspace.tables["t"].columns) == ["k", "v"])
        session.execute(f"CREATE TYPE {name}.ty (a int)", timeout=DDL_TIMEOUT)
        eventually(lambda: list(keyspace.user_types) == ["ty"])
        session.execute(f"ALTER KEYSPACE {name} WITH replication = {replication % 3}", timeout=DDL_TIMEOUT)
        eventually(lambda: str(cluster.metadata.keyspaces[name].replication_strategy.replication_factor_info) == "3")
        session.execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)
        eventually(lambda: name not in cluster.metadata.keyspaces)


def connect_like(cluster: Cluster) -> Cluster:
    return Cluster(cluster.contact_points, port=cluster.port, protocol_version=cluster.protocol_version)


def test_the_partition_key_of_prepared_statements(server: CassandraCluster) -> None:
    texts = [
        f'SELECT * FROM "{KEYSPACE}"."Orders" WHERE region = ? AND "Customer" = ? AND day = ?',
        f'INSERT INTO "{KEYSPACE}".compact_static (a, k) VALUES (?, ?)',
        f'SELECT * FROM "{KEYSPACE}"."ByAmount" WHERE place = ? AND amount = ?',
        f'SELECT * FROM "{KEYSPACE}".counters WHERE c = ? ALLOW FILTERING',
    ]
    found = {}
    for version in (3, 4, 5):
        with connect(server, version) as cluster:
            session = cluster.connect()
            found[version] = [session.prepare(text).routing_key_indexes for text in texts]
    assert found[3] == found[4] == found[5] == [(1, 0), (1,), (1, 0), None]


@pytest.mark.slow
def test_connecting_asks_the_same_whatever_tables_there_are(
    server: CassandraCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    original = Connection.call

    def call(self: Connection, opcode: int, *arguments: Any, **options: Any) -> Any:
        calls.append(opcode)
        return original(self, opcode, *arguments, **options)

    monkeypatch.setattr(Connection, "call", call)

    def connecting() -> list[int]:
        calls.clear()
        with connect(server) as cluster:
            assert cluster.connect("many").execute("SELECT * FROM t1").one() is None
            asked = list(calls)
            assert len(cluster.metadata.keyspaces["many"].tables) >= 2
            assert len(calls) > len(asked)
            return asked

    with connect(server) as cluster:
        session = cluster.connect()
        execute(session, "CREATE KEYSPACE many WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        for number in range(2):
            execute(session, f"CREATE TABLE many.t{number} (k int PRIMARY KEY, v text)")
        few = connecting()
        for number in range(2, 200):
            execute(session, f"CREATE TABLE many.t{number} (k int PRIMARY KEY, v text)")
        assert connecting() == few
        assert len(cluster.metadata.keyspaces["many"].tables) == 200
        execute(session, "DROP KEYSPACE many")


def one_line(keyspace: KeyspaceMetadata) -> list[str]:
    """as_cql_query of everything."""
    queries = [keyspace.as_cql_query()]
    for text in keyspace.user_type_strings():
        queries += statements(text)
    queries += [function.as_cql_query() for function in keyspace.functions.values()]
    queries += [aggregate.as_cql_query() for aggregate in keyspace.aggregates.values()]
    for table in keyspace.tables.values():
        queries.append(table.as_cql_query())
        queries += [index.as_cql_query() for index in table.indexes.values()]
        queries += [view.as_cql_query() for view in table.views.values()]
    return queries


def test_each_query_by_itself(server: CassandraCluster) -> None:
    with connect(server) as cluster:
        session = cluster.connect()
        keyspace = cluster.metadata.keyspaces[KEYSPACE]
        text, queries = keyspace.export_as_string(), one_line(keyspace)
        session.execute(f'DROP KEYSPACE "{KEYSPACE}"', timeout=DDL_TIMEOUT)
        for query in queries:
            session.execute(query, timeout=DDL_TIMEOUT)
        assert cluster.metadata.keyspaces[KEYSPACE].export_as_string() == text
