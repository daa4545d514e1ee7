"""What cassandra-driver, in a process of its own, and geventcql do in the same place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from geventcql.auth import PlainTextAuthProvider
from geventcql.cluster import Cluster
from geventcql.errors import NoHostAvailable
from tests.support.driverprocess import Child
from tests.support.fakenode import Error, ErrorCode, FakeNode
from tests.support.logs import REFUSED, UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

# Of the errors' keys, the values where there are some: for a keyspace that is missing cassandra-driver lists addresses.
CONNECT = """
try:
    cluster.connect({keyspace!r})
except Exception as error:
    errors = error.errors
    reasons = {{key: type(reason).__name__ for key, reason in errors.items()}} if isinstance(errors, dict) else errors
    result = type(error).__name__, reasons
"""


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    started = Child()
    yield started
    started.stop()


def refused(node: FakeNode, keyspace: str | None = None, **options: Any) -> tuple[str, dict[str, str]]:
    with pytest.raises(NoHostAvailable) as raised:
        Cluster([node.host], port=node.port, **options).connect(keyspace)
    return type(raised.value).__name__, {key: type(reason).__name__ for key, reason in raised.value.errors.items()}


def test_nobody_listens(child: Child) -> None:
    with FakeNode() as node:
        node.refuse()
        theirs = child.run(node.port, CONNECT.format(keyspace=None), 4, connect=False)
        ours = refused(node)
    assert ours[0] == theirs[0] and list(ours[1]) == list(theirs[1])


@pytest.mark.logs(REFUSED)
def test_wrong_credentials(child: Child) -> None:
    with FakeNode(auth={"ada": "secret"}) as node:
        theirs = child.run(node.port, CONNECT.format(keyspace=None), 4, connect=False, user=("ada", "wrong"))
        ours = refused(node, auth_provider=PlainTextAuthProvider("ada", "wrong"))
    assert ours == theirs


def test_a_version_that_is_not_spoken(child: Child) -> None:
    with FakeNode(versions=(3, 4)) as node:
        theirs = child.run(node.port, CONNECT.format(keyspace=None), 5, connect=False)
        ours = refused(node, protocol_version=5)
    assert ours[0] == theirs[0] and list(ours[1]) == list(theirs[1])


def test_a_keyspace_that_is_missing(child: Child) -> None:
    with FakeNode() as node:
        node.on(re.compile("^USE"), Error(ErrorCode.INVALID, "Keyspace 'nope' does not exist"))
        theirs = child.run(node.port, CONNECT.format(keyspace="nope"), 4, connect=False)
        ours = refused(node, "nope", protocol_version=4)
    assert ours[0] == theirs[0] and list(ours[1]) == [f"{address}:{node.port}" for address in theirs[1]]


SIMPLE = [
    "application_name", "application_version", "allow_beta_protocol_version", "auth_provider", "cloud",
    "column_encryption_policy", "connect_timeout", "contact_points", "control_connection_timeout", "cql_version",
    "idle_heartbeat_interval", "idle_heartbeat_timeout", "max_schema_agreement_wait", "metrics_enabled",
    "monitor_reporting_enabled", "monitor_reporting_interval", "no_compact", "port", "prepare_on_all_hosts",
    "reprepare_on_up", "schema_event_refresh_window", "schema_metadata_enabled", "sockopts", "ssl_context", "ssl_options",
    "status_event_refresh_window", "token_metadata_enabled", "topology_event_refresh_window",
]  # fmt: skip
OBJECTS = [
    "address_translator", "default_retry_policy", "load_balancing_policy", "reconnection_policy", "timestamp_generator",
]  # fmt: skip


def test_attributes_and_their_defaults(child: Child) -> None:
    code = f"""
from cassandra.cluster import Cluster
cluster = Cluster()
result = {{name: getattr(cluster, name) for name in {SIMPLE}}}, [type(getattr(cluster, name)).__name__ for name in {OBJECTS}]
cluster.shutdown()
"""
    simple, objects = child.run(1, code, connect=False)
    cluster = Cluster()
    assert {name: getattr(cluster, name) for name in SIMPLE} == simple
    assert [type(getattr(cluster, name)).__name__ for name in OBJECTS] == objects
