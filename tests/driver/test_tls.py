"""TLS between a Cluster and its nodes: what is wrong ends in a named error, and is tried again as the policy says."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme

from geventcql.cluster import Cluster
from geventcql.errors import ConnectionException, NoHostAvailable
from geventcql.policies import ConstantReconnectionPolicy
from tests.driver.support import cluster_of, eventually, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode
from tests.support.logs import UNREACHABLE
from tests.support.tls import Tls

pytestmark = pytest.mark.logs(UNREACHABLE)

PAUSE = 0.1
SCHEDULE = ConstantReconnectionPolicy(PAUSE)
MOST = 2 * 6 + 2
"""Attempts within six pauses: the pool's and the control connection's."""
QUERY = "SELECT key FROM system.local"


def expired(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    end = datetime.now(timezone.utc) - timedelta(days=1)
    tls.authority.issue_cert("127.0.0.1", not_before=end - timedelta(days=1), not_after=end).configure_cert(context)
    return context


def of_a_stranger(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def of_another_name(tls: Tls) -> ssl.SSLContext:
    return tls.server_context("cassandra.example")


def demanding(tls: Tls) -> ssl.SSLContext:
    context = tls.server_context("127.0.0.1")
    tls.authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.patching
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (expired, "is not trusted: certificate has expired"),
        (of_a_stranger, "is not trusted: .*issuer certificate"),
        (of_another_name, "is not trusted: IP address mismatch"),
        (demanding, "does the server demand a client certificate"),
    ],
)
def test_a_node_that_restarts_with_what_is_wrong(wrong: Any, words: str, tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server) as node:
        with cluster_of(node, ssl_context=tls.client, reconnection_policy=SCHEDULE) as cluster:
            session = cluster.connect()
            [host] = session.hosts
            node.ssl_context = wrong(tls)
            node.drop_connections()
            eventually(lambda: host.is_up is False)
            with pytest.raises(NoHostAvailable) as raised:
                session.execute(QUERY)
            [error] = raised.value.errors.values()
            assert isinstance(error, ConnectionException)
            raised.match(words)
            before = node.accepted
            gevent.sleep(6 * PAUSE)
            assert node.accepted - before <= MOST
            node.ssl_context = tls.server
            eventually(lambda: pooled(session))
            assert session.execute(QUERY).one() == ("local",)
        accepted = node.accepted
        node.ssl_context = wrong(tls)
        with cluster_of(node, ssl_context=tls.client, reconnection_policy=SCHEDULE) as cluster:
            with pytest.raises(NoHostAvailable, match=words):
                cluster.connect()
            gevent.sleep(2 * PAUSE)
        assert node.accepted == accepted + 1, "a connect that failed is not tried again behind its caller's back"


def test_one_of_several_hosts_is_not_who_it_says(tls: Tls) -> None:
    with FakeCluster(3) as nodes:
        for node in nodes:
            node.ssl_context = tls.server_context(node.host)
        nodes[2].ssl_context = tls.server
        with cluster_of(nodes, ssl_context=tls.client, reconnection_policy=SCHEDULE) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            assert len(pooled(session)) == 2
            for _ in range(20):
                assert session.execute(QUERY).one() == ("local",)
            nodes[2].ssl_context = tls.server_context(nodes[2].host)
            eventually(lambda: len(pooled(session)) == 3)


@pytest.mark.patching
def test_options_instead_of_a_context(tls: Tls, tmp_path: Path) -> None:
    """Certificates may be renewed under the same names."""
    client = tmp_path / "client.pem"
    trustme.CA().issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(str(client))
    options = {"ca_certs": str(tls.ca_file), "certfile": str(client), "cert_reqs": ssl.CERT_REQUIRED, "check_hostname": True}
    with FakeNode(ssl_context=tls.server) as node, cluster_of(
        node, ssl_options=options, reconnection_policy=SCHEDULE
    ) as cluster:
        session = cluster.connect()
        node.ssl_context = demanding(tls)
        node.drop_connections()
        eventually(lambda: not pooled(session))
        gevent.sleep(2 * PAUSE)
        assert not pooled(session)
        tls.authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(str(client))
        eventually(lambda: pooled(session))
        assert session.execute(QUERY).one() == ("local",)


def test_a_context_set_later_is_for_connections_opened_from_then_on(tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server) as node, cluster_of(
        node, ssl_context=tls.client, reconnection_policy=SCHEDULE
    ) as cluster:
        session = cluster.connect()
        cluster.ssl_context = tls.stranger
        assert session.execute(QUERY).one() == ("local",)
        node.drop_connections()
        eventually(lambda: not pooled(session) and not session.hosts[0].is_up)
        cluster.ssl_context = tls.client
        eventually(lambda: pooled(session))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ssl_context": "/etc/ca.pem"}, TypeError, "must be an ssl.SSLContext, not str"),
        ({"ssl_options": {}}, ValueError, "would mean no TLS at all"),
        ({"ssl_options": {"ca_cert": "x"}}, ValueError, "has no ca_cert"),
        ({"ssl_options": {"ca_certs": "/gone"}}, OSError, "'/gone' cannot be used"),
        ({"cloud": {"secure_connect_bundle": "x"}}, ValueError, "cloud=.*not supported yet"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Cluster(**options)


def test_a_check_of_names_that_the_context_does_not_make(tls: Tls) -> None:
    context = tls.client_context()
    Cluster(ssl_context=context, ssl_options={"check_hostname": True, "ca_certs": "as in cassandra-driver, not looked at"})
    context.check_hostname = False
    with pytest.raises(ValueError, match="check_hostname"):
        Cluster(ssl_context=context, ssl_options={"check_hostname": True})


def new_context(cluster: Cluster, tls: Tls) -> None:
    cluster.ssl_context = tls.client


def new_options(cluster: Cluster, tls: Tls) -> None:
    cluster.ssl_context = None
    cluster.ssl_options = {"ca_certs": str(tls.ca_file), "check_hostname": True}


@pytest.mark.parametrize("renew", [new_context, new_options])
def test_what_is_set_is_tried_at_once(renew: Any, tls: Tls) -> None:
    """However long the pause is that is under way."""
    late = ConstantReconnectionPolicy(600)
    with FakeNode(ssl_context=tls.server) as node, cluster_of(
        node, ssl_context=tls.client, reconnection_policy=late
    ) as cluster:
        session = cluster.connect()
        [host] = session.hosts
        cluster.ssl_context = tls.stranger
        node.drop_connections()
        eventually(lambda: host.is_up is False)
        renew(cluster, tls)
        eventually(lambda: pooled(session) and cluster.get_control_connection_host() is host)
        assert session.execute(QUERY).one() == ("local",)


def test_what_is_no_context_is_refused_when_it_is_set(tls: Tls) -> None:
    cluster = Cluster(ssl_context=tls.client)
    with pytest.raises(TypeError, match=r"ssl_context must be an ssl\.SSLContext, not str"):
        cluster.ssl_context = "ca.crt"
    assert cluster.ssl_context is tls.client
