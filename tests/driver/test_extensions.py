"""Subclasses that applications have of cassandra-driver's classes run with nothing but their imports changed.

They stand in tests/applications/extensions.py; policies are tested with the policies.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from geventcql import cqltypes
from geventcql.cli.rewriting import migrated
from geventcql.cluster import Cluster
from geventcql.cython import codecs
from geventcql.errors import NoHostAvailable
from tests.driver.support import eventually
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import AuthChallenge, AuthSuccess, FakeNode
from tests.support.logs import REFUSED, UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

SOURCE = Path(__file__).parents[1] / "applications" / "extensions.py"
COLUMNS = [("k", "int"), ("v", "text")]
QUERY = "SELECT k, v FROM t"


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    source, problems = migrated(SOURCE.read_bytes())
    assert problems == [] and b"cassandra" not in source.replace(b"cassandra-driver", b"")
    module = ModuleType("extensions")
    exec(compile(source, str(SOURCE), "exec"), module.__dict__)
    return module


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        node.on(QUERY, rows=COLUMNS, data=[(1, "a"), (2, "b")])
        yield node


def test_an_auth_provider(theirs: ModuleType) -> None:
    def authenticate(request: Any, connection: Any) -> Any:
        return AuthChallenge(b"!") if request.token == b"hello" else AuthSuccess(b"welcome " + request.token)

    with FakeNode(auth=authenticate) as node:
        provider = theirs.TokenAuthProvider(b"secret")
        with Cluster([node.host], port=node.port, auth_provider=provider) as cluster:
            cluster.connect()
        assert set(provider.hosts) == {node.host}
        kinds = [kind for kind, _ in provider.log[:3]]
        assert kinds == ["class", "challenge", "success"]
        assert dict(provider.log[:3])["challenge"] == b"!" and dict(provider.log[:3])["success"] == b"welcome secret!"
        assert "Authenticator" in dict(provider.log)["class"]


@pytest.mark.logs(REFUSED)
def test_credentials_that_change(theirs: ModuleType) -> None:
    with FakeNode(auth={"me": "new"}) as node:
        provider = theirs.RotatingAuthProvider("me", iter(["old"] + ["new"] * 10))
        with Cluster([node.host], port=node.port, auth_provider=provider) as cluster:
            with pytest.raises(NoHostAvailable):
                cluster.connect()
            cluster.connect()


def test_a_host_state_listener(theirs: ModuleType) -> None:
    with FakeCluster(2) as nodes:
        listener = theirs.Listener()
        with Cluster([nodes[0].host], port=nodes.port, auth_provider=None) as cluster:
            cluster.register_listener(listener)
            assert listener in cluster.listeners
            cluster.connect(wait_for_all_pools=True)
            nodes[1].stop()
            eventually(lambda: listener.told["down", nodes[1].host] == 1)
            cluster.unregister_listener(listener)


def test_an_end_point_factory(theirs: ModuleType) -> None:
    with FakeCluster(2) as nodes:
        factory = theirs.ForwardingFactory()
        with Cluster([nodes[0].host], port=nodes.port, endpoint_factory=factory) as cluster:
            cluster.connect(wait_for_all_pools=True)
            contact, peer = sorted(cluster.metadata.all_hosts(), key=lambda host: host.address)
            assert str(contact.endpoint) == f"{nodes[0].host}:{nodes.port}"  # as it was given
            assert str(peer.endpoint) == f"forwarded {nodes[1].host}:{nodes.port}" and peer.address == nodes[1].host
            assert factory.cluster is cluster and "data_center" in factory.rows[-1]


def test_an_address_translator(theirs: ModuleType) -> None:
    with FakeCluster(2) as nodes:
        translator = theirs.Translator({})
        with Cluster([nodes[0].host], port=nodes.port, address_translator=translator) as cluster:
            cluster.connect(wait_for_all_pools=True)
        assert nodes[1].host in translator.asked


def test_an_encoder(theirs: ModuleType, node: FakeNode) -> None:
    with Cluster([node.host], port=node.port) as cluster:
        session = cluster.connect()
        session.encoder = theirs.IsoEncoder()
        node.on("INSERT INTO t (a, b, c) VALUES ('2024-01-02T03:04:05Z', (1, 'x''y'), 'text')", rows=COLUMNS, data=[])
        values = (datetime.datetime(2024, 1, 2, 3, 4, 5), theirs.Point(1, "x'y"), "text")
        session.execute("INSERT INTO t (a, b, c) VALUES (%s, %s, %s)", values)


def test_type_classes(theirs: ModuleType) -> None:
    column = codecs.parse_type_class("org.apache.cassandra.db.marshal.ListType(org.apache.cassandra.db.marshal.JsonishType)")
    assert column.decode(column.encode([{"a": [1]}, (2,)])) == [{"a": [1]}, (2,)]
    assert cqltypes.lookup_casstype("JsonishType") is theirs.JsonishType
    moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    assert theirs.AwareDateType.from_binary(theirs.AwareDateType.to_binary(moment, 4), 4) == moment
    assert theirs.ReversedBytesType.serialize(b"abc", 4) == b"cba"
    assert theirs.ReversedBytesType.deserialize(b"cba", 4) == b"abc"


def test_row_factories(theirs: ModuleType, node: FakeNode) -> None:
    with Cluster([node.host], port=node.port) as cluster:
        session = cluster.connect()
        session.row_factory = theirs.row_factory
        assert [row.v for row in session.execute(QUERY)] == ["a", "b"]
        session.row_factory = theirs.first_column_factory
        assert list(session.execute(QUERY)) == [1, 2] and session.execute(QUERY).one() == 1
        session.row_factory = theirs.counted_factory
        assert [(n, row.v) for n, row in session.execute(QUERY)] == [(0, "a"), (1, "b")]
        session.row_factory = theirs.Table
        assert session.execute(QUERY).one().columns == {"k": [1, 2], "v": ["a", "b"]}
        session.row_factory = theirs.row_factory
        session.client_protocol_handler = theirs.CountingHandler
        assert [row.v for row in session.execute(QUERY)] == ["a", "b"]
