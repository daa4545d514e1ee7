"""Fixtures for pytest: a real Cassandra for the tests of applications, and for our own.

Layer: testing. Runs in the greenlet that runs the tests. pytest finds the plugin by itself once geventcql is installed,
and with it imports the driver (about 50 ms); else ask for it with ``-p geventcql.testing.plugin``.

``cassandra``           one server for the whole test run, started when a test first asks for it
``cassandra_keyspace``  the name of a keyspace of this test's own, dropped after the test
``cassandra_session``   a Session in that keyspace
``cassandra_cluster_factory``  starts clusters of a test's own, of any size and set-up

>>> def test_greeting(cassandra_session):
...     cassandra_session.execute("CREATE TABLE greeting (id int PRIMARY KEY, words text)")
...     cassandra_session.execute("INSERT INTO greeting (id, words) VALUES (%s, %s)", (1, "hello"))
...     assert cassandra_session.execute("SELECT words FROM greeting").one().words == "hello"

``--cassandra-host=HOST[:PORT]``, or the environment variable ``GEVENTCQL_CASSANDRA_HOST``, names a server to use that
is already there; then none is started for ``cassandra``.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from geventcql.cluster import Cluster
from geventcql.session import Session
from geventcql.testing.addresses import parse_address
from geventcql.testing.cluster import CassandraCluster

ClusterFactory = Callable[..., CassandraCluster]

_DDL_TIMEOUT = 60.0


@dataclass(frozen=True)
class ExistingServer:
    """A Cassandra that the test run did not start: where it takes clients."""

    contact_points: list[str]
    port: int


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("geventcql").addoption(
        "--cassandra-host",
        metavar="HOST[:PORT]",
        help="run tests on this Cassandra instead of starting one (default: $GEVENTCQL_CASSANDRA_HOST)",
    )


@pytest.fixture(scope="session")
def cassandra_settings() -> Mapping[str, Any]:
    """Override this fixture to give the ``cassandra`` server other settings: the fields of
    :class:`geventcql.testing.Settings`, or arguments of :class:`geventcql.testing.CassandraCluster`."""
    return {}


@pytest.fixture(scope="session")
def cassandra(
    request: pytest.FixtureRequest, cassandra_settings: Mapping[str, Any]
) -> Iterator[CassandraCluster | ExistingServer]:
    """A Cassandra that all tests share: ``cassandra.contact_points`` and ``cassandra.port`` say where.

    Unless ``--cassandra-host`` names a server, it is a :class:`geventcql.testing.CassandraCluster` of one node. Leave
    it running; a test that stops nodes starts its own with ``cassandra_cluster_factory``.
    """
    host = request.config.getoption("cassandra_host") or os.environ.get("GEVENTCQL_CASSANDRA_HOST")
    if host:
        address, port = parse_address(host)
        yield ExistingServer([address], port)
        return
    with CassandraCluster(**cassandra_settings) as cluster:
        yield cluster


@pytest.fixture
def cassandra_keyspace(cassandra: CassandraCluster | ExistingServer) -> Iterator[str]:
    """The name of an empty keyspace, replicated once, that is dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    with _connected(cassandra) as session:
        session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}", timeout=_DDL_TIMEOUT)
    yield name
    with _connected(cassandra) as session:
        session.execute(f"DROP KEYSPACE {name}", timeout=_DDL_TIMEOUT)


@pytest.fixture
def cassandra_session(cassandra: CassandraCluster | ExistingServer, cassandra_keyspace: str) -> Iterator[Session]:
    """A Session in this test's own keyspace, closed after the test."""
    with _connected(cassandra, cassandra_keyspace) as session:
        yield session


@pytest.fixture
def cassandra_cluster_factory() -> Iterator[ClusterFactory]:
    """Starts clusters that live as long as the test: ``factory(3)``, ``factory({"dc1": 2, "dc2": 1}, auth=True)``.

    Takes the arguments of :class:`geventcql.testing.CassandraCluster` and returns it, started.
    """
    with contextlib.ExitStack() as clusters:

        def factory(*arguments: Any, **settings: Any) -> CassandraCluster:
            return clusters.enter_context(CassandraCluster(*arguments, **settings))

        yield factory


@contextlib.contextmanager
def _connected(server: CassandraCluster | ExistingServer, keyspace: str | None = None) -> Iterator[Session]:
    options: dict[str, Any] = {}
    if isinstance(server, CassandraCluster):
        options = server.driver_options()
    with Cluster(server.contact_points, port=server.port, **options) as cluster:
        yield cluster.connect(keyspace)
