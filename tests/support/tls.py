"""Certificates for TLS tests: a throw-away authority, server contexts and client contexts.

Test support; imports nothing of geventcql. The contexts are plain ssl.SSLContexts, fit for memory BIOs.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme


class Tls:
    """A certificate authority of its own.

    Attributes: `server` and `client`, contexts that fit each other for 127.0.0.1, 127.0.0.2, 127.0.0.3 and localhost;
    `stranger`, a client context that trusts another authority; `ca_file`, the authority's certificate as a PEM file.
    """

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        self.server = self.server_context("127.0.0.1", "127.0.0.2", "127.0.0.3", "localhost")
        self.client = self.client_context()
        self.stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trustme.CA().configure_trust(self.stranger)

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server context with a certificate for these addresses and host names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client context that trusts this authority and checks host names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context


_made: list[Tls] = []


def make(directory: Path) -> None:
    """Make now what the fixture is to give."""
    _made.append(Tls(directory))


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Certificates for TLS tests, made once."""
    if not _made:
        make(tmp_path_factory.mktemp("tls"))
    return _made[0]
