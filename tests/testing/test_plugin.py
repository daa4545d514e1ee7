"""The fixtures, in the tests of an application: a pytest run of its own, outside of this project."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import geventcql
from geventcql.testing import CassandraCluster
from geventcql.testing.processes import run

pytestmark = pytest.mark.integration

ROOT = Path(geventcql.__file__).parents[1]

APPLICATION_TESTS = """
def test_greeting(cassandra_session):
    cassandra_session.execute("CREATE TABLE greeting (id int PRIMARY KEY, words text)")
    cassandra_session.execute("INSERT INTO greeting (id, words) VALUES (%s, %s)", (1, "hello"))
    assert cassandra_session.execute("SELECT words FROM greeting").one().words == "hello"

def test_each_test_has_its_own_keyspace(cassandra_session, cassandra_keyspace):
    assert cassandra_session.keyspace == cassandra_keyspace
    cassandra_session.execute("CREATE TABLE greeting (id int PRIMARY KEY)")

def test_the_server_that_was_named(cassandra):
    print("server", cassandra.contact_points[0], cassandra.port)
"""

OWN_SERVER_TESTS = """
import pytest

@pytest.fixture(scope="session")
def cassandra_settings():
    return {"cluster_name": "of the application", "auth": True}

def test_settings(cassandra, cassandra_session):
    row = cassandra_session.execute("SELECT cluster_name FROM system.local").one()
    assert row.cluster_name == "of the application"

def test_factory(cassandra_cluster_factory):
    cluster = cassandra_cluster_factory(port=9242)
    print("started", cluster[0].pid, cluster[0].directory)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[CassandraCluster]:
    with CassandraCluster() as cluster:
        yield cluster


def _pytest(directory: Path, text: str, *arguments: str) -> tuple[int, str]:
    (directory / "test_application.py").write_text(text)
    # With -p the plugin is there whether or not geventcql is installed; installed, it must not be there twice.
    options = ["-s", "-p", "geventcql.testing.plugin", f"--rootdir={directory}", *arguments]
    path = f"PYTHONPATH={ROOT}"
    return run(["env", path, sys.executable, "-m", "pytest", *options, str(directory)], timeout=110)


def test_tests_of_an_application_on_a_server_that_is_there(server: CassandraCluster, tmp_path: Path) -> None:
    host = f"{server.contact_points[0]}:{server.port}"
    status, text = _pytest(tmp_path, APPLICATION_TESTS, f"--cassandra-host={host}")
    assert status == 0, text
    assert "3 passed" in text
    assert f"server {host.replace(':', ' ')}" in text
    with geventcql.connect(server.contact_points, port=server.port) as session:
        keyspaces = [row.keyspace_name for row in session.execute("SELECT keyspace_name FROM system_schema.keyspaces")]
    assert not [name for name in keyspaces if name.startswith("test_")]


def test_the_environment_names_the_server_too(
    server: CassandraCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEVENTCQL_CASSANDRA_HOST", f"{server.contact_points[0]}:{server.port}")
    status, text = _pytest(tmp_path, APPLICATION_TESTS, "-k", "named")
    assert status == 0, text
    assert f"server {server.contact_points[0]} {server.port}" in text


@pytest.mark.slow
def test_servers_of_its_own_are_stopped(tmp_path: Path) -> None:
    status, text = _pytest(tmp_path, OWN_SERVER_TESTS)
    assert status == 0, text
    assert "2 passed" in text
    pid, directory = next(line.split()[-2:] for line in text.splitlines() if "started " in line)
    assert not os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(directory)
