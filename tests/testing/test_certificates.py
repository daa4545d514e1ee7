"""Throw-away certificates hold up to Python's own checks."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from geventcql.testing import Certificates, MissingTool, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(str(tmp_path_factory.mktemp("tls")), ["127.0.0.1", "127.0.0.2", "node.example"])


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> dict[str, object]:
    """A handshake of the two in memory; what the server knows of the client's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for turn in range(10):
        try:
            ends[turn % 2].do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends[1].getpeercert() or {}


def _server(certificates: Certificates, verify: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.node_file)
    context.load_verify_locations(certificates.ca_file)
    context.verify_mode = verify
    return context


def _client(certificates: Certificates, with_certificate: bool = False) -> ssl.SSLContext:
    context = certificates.ssl_context(with_certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    return context


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.2", "node.example"])
def test_the_node_certificate_holds_for_its_names(certificates: Certificates, name: str) -> None:
    assert _handshake(_server(certificates), _client(certificates), name) == {}


def test_and_for_no_other(certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.3"):
        _handshake(_server(certificates), _client(certificates), "127.0.0.3")


def test_a_demanded_client_certificate_is_trusted(certificates: Certificates) -> None:
    seen = _handshake(_server(certificates, ssl.CERT_REQUIRED), _client(certificates, True), "127.0.0.1")
    assert (("commonName", "client"),) in seen["subject"]  # type: ignore[operator]


def test_and_missed(certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        _handshake(_server(certificates, ssl.CERT_REQUIRED), _client(certificates), "127.0.0.1")


def test_without_openssl_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="apt-get install openssl"):
        make_certificates(str(tmp_path), ["127.0.0.1"])
