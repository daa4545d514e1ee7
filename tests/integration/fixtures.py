"""Fixtures of this folder's tests, a pytest plugin: sessions per protocol version, a keyspace, cassandra-driver.

They last for a module or longer: a keyspace per test, as the plugin has it, costs a fifth of a second each time. A module
gets them by ``pytest_plugins = "tests.integration.fixtures"``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from geventcql.session import Session
from tests.integration.peer import Peer
from tests.integration.support import DDL_TIMEOUT, VERSIONS, connect


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
    for each in sessions.values():
        each.cluster.connect(name).shutdown()  # below v5 a keyspace's connections are opened by its first Session, and stay
    yield name
    sessions[5].execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def session(request: pytest.FixtureRequest, sessions: dict[int, Session]) -> Session:
    """The Session of each protocol version in turn."""
    return sessions[request.param]


@pytest.fixture(scope="session")
def peer(cassandra: Any) -> Iterator[Peer]:
    """cassandra-driver on protocol v4, in a process of its own."""
    with Peer(cassandra.contact_points[0], cassandra.port) as peer:
        yield peer


@pytest.fixture
def own(session: Session, ks: str) -> Iterator[Session]:
    """A Session of the test's own in the module's keyspace, on each protocol version in turn."""
    with session.cluster.connect(ks) as own:
        yield own
