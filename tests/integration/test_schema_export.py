"""What `export_as_string` gives on one server, executed on another one, makes the same schema there, to the last option."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from geventcql.cluster import Cluster
from geventcql.session import Session
from geventcql.testing import CassandraCluster
from geventcql.testing.jars import cassandra_jars, find_java
from geventcql.testing.processes import run
from tests.integration.schemas import ALL_KINDS, KEYSPACE, MORE_KINDS, TRIGGER, YAML, described, differences, statements
from tests.integration.support import DDL_TIMEOUT, connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAMES = (KEYSPACE, "select", "plain_ks")
NEW_EACH_TIME = {"id", "base_table_id"}
# All of system_schema but dropped_columns, which no statement makes.
KINDS = ("keyspaces", "tables", "columns", "indexes", "triggers", "views", "types", "functions", "aggregates", "column_masks")


@pytest.fixture(scope="module")
def triggers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a trigger's class, compiled with what Cassandra compiles functions with."""
    directory = tmp_path_factory.mktemp("triggers")
    (directory / "Nothing.java").write_text(TRIGGER)
    named = {os.path.basename(jar).rpartition("-")[0]: jar for jar in cassandra_jars()}
    command = [find_java(), "-jar", named["ecj"], "--release", "11", "-proc:none", "-cp", named["cassandra-all"]]
    code, output = run([*command, "-d", str(directory), str(directory / "Nothing.java")], timeout=120)
    assert code == 0, output
    with ZipFile(directory / "triggers.jar", "w") as jar:
        jar.write(directory / "Nothing.class", "Nothing.class")
    return directory


@pytest.fixture(scope="module")
def servers(triggers: Path) -> Iterator[tuple[CassandraCluster, CassandraCluster]]:
    """The one that has it all, and an empty one."""
    settings: Any = {
        "yaml": {**YAML, "dynamic_data_masking_enabled": True, "drop_compact_storage_enabled": True},
        "jvm_options": ("-XX:TieredStopAtLevel=1", f"-Dcassandra.triggers_dir={triggers}"),
    }
    with CassandraCluster(**settings) as source, CassandraCluster(**settings) as target:
        with connect(source) as cluster:
            execute(cluster.connect(), ALL_KINDS + ";" + MORE_KINDS)
        yield source, target


@pytest.fixture(params=(3, 4, 5), ids=lambda version: f"v{version}")
def clusters(request: pytest.FixtureRequest, servers: tuple[CassandraCluster, ...]) -> Iterator[tuple[Cluster, ...]]:
    with connect(servers[0], request.param) as source, connect(servers[1], request.param) as target:
        source.connect()
        yield source, target


def execute(session: Session, cql: str) -> None:
    for statement in statements(cql):
        session.execute(statement, timeout=DDL_TIMEOUT)


def rows(session: Session, keyspace: str) -> dict[str, Any]:
    """All that the server itself keeps of a keyspace, by table of system_schema."""
    found = {}
    for kind in KINDS:
        answer = session.execute(f"SELECT * FROM system_schema.{kind} WHERE keyspace_name = %s", (keyspace,))
        found[kind] = {
            str(number): {name: repr(value) for name, value in row._asdict().items() if name not in NEW_EACH_TIME}
            for number, row in enumerate(answer)
        }
    return found


@pytest.mark.parametrize("keyspace", NAMES)
def test_on_another_server_it_makes_the_same(clusters: tuple[Cluster, Cluster], keyspace: str) -> None:
    source, target = clusters
    text, what = source.metadata.keyspaces[keyspace].export_as_string(), described(source.metadata.keyspaces[keyspace])
    session = target.connect()
    assert keyspace not in target.metadata.keyspaces
    execute(session, text)
    try:
        made = target.metadata.keyspaces[keyspace]
        assert made.export_as_string() == text
        assert list(differences(described(made), what)) == []
        assert list(differences(rows(session, keyspace), rows(source.connect(), keyspace))) == []
    finally:
        session.execute(f'DROP KEYSPACE "{keyspace}"', timeout=DDL_TIMEOUT)


def test_virtual_keyspaces_are_in_comments(servers: tuple[CassandraCluster, ...]) -> None:
    with connect(servers[0]) as cluster:
        cluster.connect()
        virtual = [keyspace for keyspace in cluster.metadata.keyspaces.values() if keyspace.virtual]
        texts = {keyspace.name: keyspace.export_as_string() for keyspace in virtual}
    assert {"system_views", "system_virtual_schema"} <= texts.keys()
    assert "TABLE system_views.clients" in texts["system_views"]
    left = {name: re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL).strip() for name, text in texts.items()}
    assert left == dict.fromkeys(texts, "")
