"""Authentication: the exchange of SASL tokens that a server may ask for when a connection is opened.

Layer: model. An authenticator serves one connection; its methods run in the greenlet that opens it.
"""

from __future__ import annotations

import importlib
from typing import Any

from geventcql.errors import AuthenticationFailed

__all__ = [
    "AuthProvider",
    "Authenticator",
    "PlainTextAuthProvider",
    "PlainTextAuthenticator",
    "SaslAuthProvider",
    "SaslAuthenticator",
]

_PLAIN_START = b"PLAIN-START"


class AuthProvider:
    """Gives each connection an Authenticator (`cassandra.auth.AuthProvider`): a base for applications' own."""

    def new_authenticator(self, host: str) -> Authenticator:
        """A fresh authenticator for a connection to the node at `host`, its address."""
        raise NotImplementedError


class Authenticator:
    """One connection's side of the exchange (`cassandra.auth.Authenticator`): a base for applications' own.

    `server_authenticator_class` is the class name in the server's AUTHENTICATE, set before `initial_response`.
    """

    server_authenticator_class: str | None = None

    def initial_response(self) -> bytes | None:
        """The first token to send; None for an empty one."""
        return None

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | None:
        """The answer to a token of the server's AUTH_CHALLENGE."""
        raise NotImplementedError

    def on_authentication_success(self, token: bytes | None) -> None:
        """Called with the token of the server's AUTH_SUCCESS."""


class PlainTextAuthProvider(AuthProvider):
    """User name and password, for Cassandra's PasswordAuthenticator (`cassandra.auth.PlainTextAuthProvider`).

    The password is read again for every connection, so that a new one may be set at any time.
    """

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self.password = password

    def new_authenticator(self, host: str) -> PlainTextAuthenticator:
        """An authenticator with the present user name and password."""
        return PlainTextAuthenticator(self.username, self.password)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} username={self.username!r}>"  # never the password


class PlainTextAuthenticator(Authenticator):
    """SASL PLAIN (RFC 4616) with an empty authorization identity."""

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self.password = password

    def initial_response(self) -> bytes | None:
        """User name and password, without waiting to be asked."""
        return self.evaluate_challenge(_PLAIN_START)

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | None:
        """User name and password in answer to PLAIN-START; AuthenticationFailed for any other challenge."""
        if challenge != _PLAIN_START:
            raise AuthenticationFailed(f"{self.server_authenticator_class} sent a challenge that is not of SASL PLAIN")
        return f"\0{self.username}\0{self.password}".encode()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} username={self.username!r}>"


class SaslAuthProvider(AuthProvider):
    """Other SASL mechanisms, such as GSSAPI, through the package pure-sasl (`cassandra.auth.SaslAuthProvider`).

    Keyword arguments are those of puresasl's SASLClient but `host`: at least `service` and `mechanism`. Raises
    ImportError if pure-sasl is not installed, ValueError for `host`.
    """

    def __init__(self, **sasl_kwargs: Any) -> None:
        _sasl_client()
        if "host" in sasl_kwargs:
            raise ValueError("'host' is given for each connection and cannot be an argument here")
        self.sasl_kwargs = sasl_kwargs

    def new_authenticator(self, host: str) -> SaslAuthenticator:
        """An authenticator for the node at `host`."""
        return SaslAuthenticator(host, **self.sasl_kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} mechanism={self.sasl_kwargs.get('mechanism', 'GSSAPI')!r}>"


class SaslAuthenticator(Authenticator):
    """Passes the tokens on to a SASLClient of pure-sasl (`cassandra.auth.SaslAuthenticator`)."""

    def __init__(self, host: str, service: str, mechanism: str = "GSSAPI", **sasl_kwargs: Any) -> None:
        self.sasl = _sasl_client()(host, service, mechanism, **sasl_kwargs)

    def initial_response(self) -> bytes | None:
        """The mechanism's first token."""
        token: bytes | None = self.sasl.process()
        return token

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | None:
        """The mechanism's answer."""
        token: bytes | None = self.sasl.process(challenge)
        return token


def _sasl_client() -> Any:
    try:
        return importlib.import_module("puresasl.client").SASLClient
    except ImportError as error:
        raise ImportError("SASL authentication needs the package pure-sasl: pip install pure-sasl") from error
