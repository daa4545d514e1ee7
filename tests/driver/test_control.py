"""Connecting: every candidate is tried whatever became of the one before, and the error tells of each."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent
import pytest

import geventcql
from geventcql.auth import PlainTextAuthProvider
from geventcql.cluster import Cluster
from geventcql.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NoHostAvailable,
    ProtocolVersionUnsupported,
    UnresolvableContactPoints,
)
from geventcql.policies import ConstantReconnectionPolicy
from tests.driver.support import cluster_of, eventually, have_keyspaces, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode, Rows
from tests.support.logs import REFUSED, UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

SOON = ConstantReconnectionPolicy(0.02)
ADA = PlainTextAuthProvider("ada", "secret")


def test_a_contact_point_that_does_not_speak_the_version() -> None:
    with FakeCluster(2) as nodes:
        nodes[0].versions = (3, 4)
        with cluster_of(nodes, protocol_version=5) as cluster:
            cluster.connect()
            assert cluster.get_control_connection_host().address == nodes[1].host


@pytest.mark.logs(REFUSED)
def test_a_contact_point_that_refuses_the_credentials() -> None:
    with FakeCluster(2, auth={"ada": "secret"}) as nodes:
        nodes[0].auth = {"ada": "changed"}
        with cluster_of(nodes, auth_provider=ADA) as cluster:
            cluster.connect()
            assert cluster.get_control_connection_host().address == nodes[1].host


@pytest.mark.logs(REFUSED)
@pytest.mark.parametrize("how", ["version", "credentials"])
def test_the_control_connection_is_opened_anew_past_a_node_that_will_not_have_us(how: str) -> None:
    with FakeCluster(3, auth={"ada": "secret"}) as nodes:
        by_address = {node.host: node for node in nodes.nodes}
        with cluster_of(nodes, auth_provider=ADA) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            lost = cluster.get_control_connection_host()
            changed = next(host for host in session.hosts if host is not lost)
            if how == "version":
                by_address[changed.address].versions = (3, 4)
            else:
                by_address[changed.address].auth = {}
            by_address[lost.address].stop()
            eventually(lambda: cluster.get_control_connection_host() not in (lost, None))
            assert cluster.get_control_connection_host() is not changed
            for node in nodes.nodes:
                have_keyspaces(node, "shop")
            session.set_keyspace("shop")


def refused(connect: Callable[[], object]) -> NoHostAvailable:
    with pytest.raises(NoHostAvailable) as raised:
        connect()
    assert all(str(endpoint) in str(raised.value) for endpoint in raised.value.errors)
    assert all(str(reason) in str(raised.value) for reason in raised.value.errors.values())
    return raised.value


@pytest.mark.logs(REFUSED)
def test_every_reason_is_told() -> None:
    with FakeCluster(3, auth={"ada": "secret"}) as nodes:
        nodes[0].versions = (3, 4)
        nodes[1].stop()
        nodes[2].auth = {}
        error = refused(cluster_of(nodes, protocol_version=5, auth_provider=ADA).connect)
        assert {endpoint: type(reason).__name__ for endpoint, reason in error.errors.items()} == {
            f"{nodes[0].host}:{nodes.port}": "ProtocolVersionUnsupported",
            f"{nodes[1].host}:{nodes.port}": "ConnectionException",
            f"{nodes[2].host}:{nodes.port}": "AuthenticationFailed",
        }


@pytest.mark.logs(REFUSED)
@pytest.mark.parametrize("provider", [None, PlainTextAuthProvider("ada", "wrong")])
def test_wrong_credentials(provider: PlainTextAuthProvider | None, caplog: pytest.LogCaptureFixture) -> None:
    with FakeNode(auth={"ada": "secret"}) as node:
        error = refused(lambda: geventcql.connect(node.host, port=node.port, auth_provider=provider))
        assert [(key, type(e)) for key, e in error.errors.items()] == [(f"{node.host}:{node.port}", AuthenticationFailed)]
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        eventually(lambda: not node.connections)


def test_a_version_that_is_not_spoken() -> None:
    with FakeNode(versions=(3, 4)) as node:
        error = refused(cluster_of(node, protocol_version=5).connect)
        assert [type(reason) for reason in error.errors.values()] == [ProtocolVersionUnsupported]


@pytest.mark.parametrize("version", [4, 5])
def test_a_keyspace_that_is_not_there(version: int) -> None:
    with FakeNode(versions=(version,)) as node, cluster_of(node) as cluster:
        for connect in (
            lambda: cluster.connect("nope"),
            lambda: geventcql.connect(node.host, "nope", port=node.port),
        ):
            error = refused(connect)
            assert [(key, type(e)) for key, e in error.errors.items()] == [(f"{node.host}:{node.port}", InvalidRequest)]
            assert "nope" in str(error)
        session = cluster.connect()
        for enter in (lambda: session.set_keyspace("nope"), lambda: session.execute("USE nope")):
            with pytest.raises(InvalidRequest):
                enter()


def test_names_that_nobody_knows() -> None:
    with pytest.raises(UnresolvableContactPoints, match=r"gone\.invalid"):
        Cluster(["gone.invalid"]).connect()
    gevent.get_hub().threadpool.kill()


@pytest.mark.logs(REFUSED)
def test_a_pool_whose_credentials_are_refused_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with FakeNode(auth={"ada": "secret"}) as node:
        node.on("SELECT v FROM t", Rows([("v", "int")], [(1,)]))
        with cluster_of(node, auth_provider=ADA, reconnection_policy=SOON) as cluster:
            session = cluster.connect()
            node.auth = {"ada": "changed"}
            node.drop_connections()
            eventually(lambda: caplog.text.count("refused to authenticate us") > 2)
            with pytest.raises(NoHostAvailable, match="refused to authenticate us"):
                session.execute("SELECT v FROM t")
            node.auth = {"ada": "secret"}
            eventually(lambda: pooled(session))
            assert session.execute("SELECT v FROM t").one().v == 1
