"""Fixtures that the test modules of this folder import: sessions per protocol version, a keyspace, cassandra-driver.

They last for a module: a keyspace per test, as the plugin has it, costs a fifth of a second each time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from geventcql.cluster import Cluster
from geventcql.session import Session
from geventcql.testing import CassandraCluster
from tests.integration.peer import Peer

DDL_TIMEOUT = 60.0
VERSIONS = (3, 4, 5)


def connect(server: Any, version: int = 5, **options: Any) -> Cluster:
    """A Cluster, not connected yet, for the server that the fixture `cassandra` gives."""
    if isinstance(server, CassandraCluster):
        options = {**server.driver_options(), **options}
    return Cluster(server.contact_points, port=server.port, protocol_version=version, **options)


@pytest.fixture(scope="module")
def sessions(cassandra: Any) -> Iterator[dict[int, Session]]:
    """A Session for each protocol version, in no keyspace."""
    clusters = {version: connect(cassandra, version) for version in VERSIONS}
    try:
        yield {version: cluster.connect() for version, cluster in clusters.items()}
    finally:
        for cluster in clusters.values():
            cluster.shutdown()


@pytest.fixture(scope="module")
def ks(sessions: dict[int, Session]) -> Iterator[str]:
    """The name of a keyspace of this module's own."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    sessions[5].execute(f"CREATE KEYSPACE {name} WITH replication = {replication}", timeout=DDL_TIMEOUT)
    yield name
    sessions[5].execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def session(request: pytest.FixtureRequest, sessions: dict[int, Session]) -> Session:
    """The Session of each protocol version in turn."""
    return sessions[request.param]


@pytest.fixture(scope="module")
def peer(cassandra: Any) -> Iterator[Peer]:
    """cassandra-driver on protocol v4, in a process of its own."""
    with Peer(cassandra.contact_points[0], cassandra.port) as peer:
        yield peer


@pytest.fixture
def own(session: Session, ks: str) -> Iterator[Session]:
    """A Session of the test's own in the module's keyspace, on each protocol version in turn."""
    with session.cluster.connect(ks) as own:
        yield own
