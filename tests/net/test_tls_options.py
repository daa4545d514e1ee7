"""cassandra-driver's ``ssl_options``, of the Cluster and of an end point: who is trusted, and what makes no sense."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from geventcql.endpoints import SniEndPoint, SniEndPointFactory, UnixSocketEndPoint
from geventcql.errors import ConnectionException
from geventcql.host import DefaultEndPoint
from geventcql.net.opening import ConnectionSettings, open_connection
from geventcql.net.tls import make_context
from tests.net.peers import connect, connected, send, wait_all
from tests.support.children import run
from tests.support.fakenode import FakeNode
from tests.support.logs import NAME_UNCHECKED
from tests.support.tls import Tls

pytestmark = pytest.mark.logs(NAME_UNCHECKED)


@pytest.fixture
def ca_certs(tls: Tls) -> str:
    return str(tls.ca_file)


@pytest.fixture
def certfile(tls: Tls, tmp_path: Path) -> str:
    """A client's key and certificate, in one file."""
    path = tmp_path / "client.pem"
    tls.authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


def works(node: FakeNode, **settings: Any) -> bool:
    with connected(node, **settings) as connection:
        return wait_all([send(connection, "INSERT")]) == ["page"]


def demanding(tls: Tls, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A server's context that wants to see a certificate of the client's."""
    context = tls.server_context("127.0.0.1")
    tls.authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    return context


def test_the_authority_is_checked_and_the_name_is_not(tls: Tls, ca_certs: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with FakeNode("127.0.0.9", ssl_context=tls.server) as node:  # which is not the name in its certificate
        assert works(node, ssl_options={"ca_certs": ca_certs})
        assert works(node, ssl_options={"ca_certs": ca_certs, "ssl_version": ssl.PROTOCOL_TLS, "cert_reqs": None})
        for options in ({}, {"ssl_version": ssl.PROTOCOL_TLS, "cert_reqs": ssl.CERT_REQUIRED}):
            with pytest.raises(ConnectionException, match=r"is not trusted: .*issuer certificate"):
                connect(node, ssl_options={"ca_certs": str(other), **options})
        assert works(node, ssl_options={"cert_reqs": ssl.CERT_NONE})


def test_that_the_name_is_not_checked_is_warned_of(ca_certs: str, caplog: pytest.LogCaptureFixture) -> None:
    """Once, unless the application says that it knows."""
    for options in ({"check_hostname": True}, {"check_hostname": False}):
        make_context({"ca_certs": ca_certs, **options})
    make_context({"ca_certs": ca_certs, "cert_reqs": ssl.CERT_NONE})
    assert not caplog.records
    for _ in range(2):
        make_context({"ca_certs": ca_certs, "ciphers": "ECDHE+CHACHA20"})  # which no other test has
    [record] = caplog.records
    assert "check_hostname=True" in record.getMessage() and repr(ca_certs) in record.getMessage()


def test_the_name_is_checked_on_request(tls: Tls, ca_certs: str) -> None:
    checked = {"ca_certs": ca_certs, "check_hostname": True}
    with FakeNode("127.0.0.9", ssl_context=tls.server) as node:
        with pytest.raises(ConnectionException, match=r"is not trusted: IP address mismatch.*server_hostname"):
            connect(node, ssl_options=checked)
        assert works(node, ssl_options={**checked, "server_hostname": "localhost"})


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_of_the_clients(tls: Tls, ca_certs: str, certfile: str, version: ssl.TLSVersion) -> None:
    with FakeNode(ssl_context=demanding(tls, version)) as node:
        assert works(node, ssl_options={"ca_certs": ca_certs, "certfile": certfile})
        assert works(node, ssl_options={"ca_certs": ca_certs, "certfile": certfile, "keyfile": certfile})
        with pytest.raises(ConnectionException, match="does the server demand a client certificate"):
            connect(node, ssl_options={"ca_certs": ca_certs})


@pytest.mark.patching
def test_one_version_of_tls(tls: Tls, ca_certs: str) -> None:
    only = {"ca_certs": ca_certs, "ssl_version": ssl.PROTOCOL_TLSv1_2, "ciphers": "ECDHE+AESGCM"}
    assert make_context({"ca_certs": ca_certs}).minimum_version == ssl.TLSVersion.TLSv1_2
    assert make_context(only).maximum_version == make_context(only).minimum_version == ssl.TLSVersion.TLSv1_2
    with FakeNode(ssl_context=tls.server) as node:
        assert works(node, ssl_options=only)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, "ca_certs"),
        ({"server_hostname": "x"}, ValueError, "cert_reqs=ssl.CERT_NONE"),
        ({"ca_cert": "x"}, ValueError, "has no ca_cert; there are ca_certs"),
        ({"ca_certs": "/no/such/file"}, OSError, "ca_certs '/no/such/file' cannot be used"),
        ({"cert_reqs": ssl.CERT_NONE, "certfile": "/no/such/file"}, OSError, "certfile '/no/such/file' cannot be used"),
        ({"cert_reqs": ssl.CERT_NONE, "server_side": True}, ValueError, "server_side"),
        ({"cert_reqs": ssl.CERT_NONE, "ssl_version": ssl.PROTOCOL_TLS_SERVER}, ValueError, "ssl_version"),
        ({"cert_reqs": ssl.CERT_NONE, "ssl_version": ssl.PROTOCOL_TLSv1}, ValueError, "older than TLS 1.2"),
        ({"cert_reqs": ssl.CERT_NONE, "ssl_version": ssl.PROTOCOL_TLSv1_1}, ValueError, "older than TLS 1.2"),
        ({"cert_reqs": ssl.CERT_NONE, "check_hostname": True}, ValueError, "check_hostname"),
    ],
)
def test_what_makes_no_sense(options: Mapping[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make_context(options)


def test_files_are_read_again_only_when_they_have_changed(tls: Tls, tmp_path: Path) -> None:
    """Reading a large one holds up the hub."""
    path = tmp_path / "ca.pem"
    tls.authority.cert_pem.write_to_path(str(path))
    first = make_context({"ca_certs": str(path)})
    assert make_context({"ca_certs": str(path), "server_hostname": "x"}) is first
    assert make_context({"ca_certs": str(path), "check_hostname": True}) is not first
    trustme.CA().cert_pem.write_to_path(str(path))
    second = make_context({"ca_certs": str(path)})
    assert second is not first and second.get_ca_certs() != first.get_ca_certs()


def test_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "junk.pem"
    path.write_text("junk")
    for options in ({"ca_certs": str(path)}, {"cert_reqs": ssl.CERT_NONE, "certfile": str(path)}):
        with pytest.raises(OSError, match=r"junk\.pem' cannot be used"):
            make_context(options)


def test_a_file_that_has_gone_is_an_attempt_that_failed(tls: Tls, ca_certs: str) -> None:
    with FakeNode(ssl_context=tls.server) as node:
        with pytest.raises(ConnectionException, match=r"cannot connect to .*'/gone' cannot be used"):
            connect(node, ssl_options={"ca_certs": "/gone"})
        assert node.accepted == 0


class Own(DefaultEndPoint):
    """An end point with TLS options of its own."""

    own: Mapping[str, Any] = {}

    @property
    def ssl_options(self) -> Mapping[str, Any]:
        return self.own


def own_works(node: FakeNode, own: Mapping[str, Any], **settings: Any) -> bool:
    endpoint = Own(node.host, node.port)
    endpoint.own = own
    connection = open_connection(endpoint, 4, ConnectionSettings(**settings))
    try:
        return wait_all([send(connection, "INSERT")]) == ["page"]
    finally:
        connection.close()


def test_options_of_an_end_point(tls: Tls, ca_certs: str) -> None:
    """They go before the Cluster's, whose context they are used with; alone, they mean TLS, too."""
    with FakeNode("127.0.0.9", ssl_context=tls.server) as node:
        assert own_works(node, {"server_hostname": "localhost"}, ssl_context=tls.client)
        assert own_works(node, {"server_hostname": "localhost"}, ssl_context=tls.client, ssl_options={"server_hostname": "no"})
        assert own_works(node, {"server_hostname": "localhost"}, ssl_options={"ca_certs": ca_certs, "check_hostname": True})
        assert own_works(node, {"ca_certs": ca_certs})
        with pytest.raises(ConnectionException, match="is not trusted"):
            own_works(node, {}, ssl_context=tls.client)


class Named(DefaultEndPoint):
    """Known by a name, and resolved by itself."""

    @property
    def address(self) -> str:
        return "localhost"


def test_the_name_of_an_end_point_that_resolves_itself_is_checked(tls: Tls) -> None:
    with FakeNode("127.0.0.9", ssl_context=tls.server) as node:
        open_connection(Named(node.host, node.port), 4, ConnectionSettings(ssl_context=tls.client)).close()


def test_what_comes_later_says_so() -> None:
    for make in (lambda: SniEndPoint("proxy", "name"), lambda: SniEndPointFactory("proxy", 9042)):
        with pytest.raises(NotImplementedError, match=r"SNI .* not supported yet"):
            make()
    with pytest.raises(NotImplementedError, match="unix sockets are not supported yet"):
        UnixSocketEndPoint("/tmp/cql")

    class Unix(DefaultEndPoint):
        @property
        def socket_family(self) -> int:
            return 1

    with pytest.raises(ConnectionException, match="unix sockets are not supported yet"):
        open_connection(Unix("/tmp/cql"), 4, ConnectionSettings())


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    certificate, key = tmp_path / "client.crt", tmp_path / "client.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:secret", "-subj", "/CN=client"]
    run([*command, "-keyout", str(key), "-out", str(certificate)])
    with pytest.raises(ValueError, match="encrypted"):
        make_context({"certfile": str(certificate), "keyfile": str(key), "cert_reqs": ssl.CERT_NONE})
