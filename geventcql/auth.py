"""Authentication: the exchange of SASL tokens that a server may ask for when a connection is opened.

Layer: model. An authenticator serves one connection; its methods run in the greenlet that opens it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from geventcql.errors import AuthenticationFailed

__all__ = [
    "AuthProvider",
    "Authenticator",
    "BaseDSEAuthenticator",
    "DSEGSSAPIAuthProvider",
    "DSEPlainTextAuthProvider",
    "GSSAPIAuthenticator",
    "PlainTextAuthProvider",
    "PlainTextAuthenticator",
    "SaslAuthProvider",
    "SaslAuthenticator",
    "TransitionalModePlainTextAuthProvider",
    "TransitionalModePlainTextAuthenticator",
]

_PLAIN_START = b"PLAIN-START"
_DSE_AUTHENTICATOR = "com.datastax.bdp.cassandra.auth.DseAuthenticator"
_NO_GSSAPI = (
    "GSSAPI (Kerberos) is not supported yet: its library talks to the key server in C, and every other greenlet would have to "
    "wait. Use another mechanism, or an AuthProvider of your own that gets its tokens in gevent's thread pool"
)


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

    Both are read again for every connection, so that new ones may be set at any time.
    """

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self.password = password

    def new_authenticator(self, host: str) -> PlainTextAuthenticator:
        """An authenticator with the present user name and password."""
        return PlainTextAuthenticator(self.username, self.password)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} username={self.username!r}>"  # never the password


DSEPlainTextAuthProvider = PlainTextAuthProvider


class TransitionalModePlainTextAuthProvider(AuthProvider):
    """Logs in as nobody, where authentication is being introduced: DataStax Enterprise's transitional mode
    (`cassandra.auth.TransitionalModePlainTextAuthProvider`).
    """

    def new_authenticator(self, host: str) -> TransitionalModePlainTextAuthenticator:
        """An authenticator without user name and password."""
        return TransitionalModePlainTextAuthenticator()


class BaseDSEAuthenticator(Authenticator):
    """For mechanisms that DataStax Enterprise's DseAuthenticator asks for by name first, and other servers do not
    (`cassandra.auth.BaseDSEAuthenticator`): a base for applications' own.
    """

    def get_mechanism(self) -> bytes:
        """The name of the mechanism."""
        raise NotImplementedError

    def get_initial_challenge(self) -> bytes:
        """The challenge that DseAuthenticator answers the name with."""
        raise NotImplementedError

    def initial_response(self) -> bytes | None:
        """The mechanism's name for a DseAuthenticator, the answer to the initial challenge for others."""
        if self.server_authenticator_class == _DSE_AUTHENTICATOR:
            return self.get_mechanism()
        return self.evaluate_challenge(self.get_initial_challenge())


class PlainTextAuthenticator(BaseDSEAuthenticator):
    """SASL PLAIN (RFC 4616) with an empty authorization identity."""

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self.password = password

    def get_mechanism(self) -> bytes:
        """PLAIN."""
        return b"PLAIN"

    def get_initial_challenge(self) -> bytes:
        """PLAIN-START."""
        return _PLAIN_START

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | None:
        """User name and password in answer to PLAIN-START.

        Raises AuthenticationFailed for any other challenge, and for what is no text: an environment variable that is not
        set gives None, say.
        """
        if challenge != _PLAIN_START:
            raise AuthenticationFailed(f"{self.server_authenticator_class} sent a challenge that is not of SASL PLAIN")
        for name, value in (("user name", self.username), ("password", self.password)):
            if not isinstance(value, str):
                raise AuthenticationFailed(f"the {name} must be a str, not {type(value).__name__}: nothing was sent")
            if any("\ud800" <= character <= "\udfff" for character in value):  # the codec's own error would show it
                raise AuthenticationFailed(f"the {name} has characters that UTF-8 does not: nothing was sent")
        return f"\0{self.username}\0{self.password}".encode()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} username={self.username!r}>"


class TransitionalModePlainTextAuthenticator(PlainTextAuthenticator):
    """SASL PLAIN without user name and password."""

    def __init__(self) -> None:
        super().__init__("", "")


class SaslAuthProvider(AuthProvider):
    """Other SASL mechanisms, such as CRAM-MD5 or EXTERNAL, through the package pure-sasl (`cassandra.auth.SaslAuthProvider`).

    Keyword arguments are those of puresasl's SASLClient but `host`: `service`, `mechanism` and what that needs, such as
    `username` and `password`. They are read again for every connection from the attribute `sasl_kwargs`. Raises
    ImportError if pure-sasl is not installed, ValueError for `host`, NotImplementedError for GSSAPI, the default.
    """

    def __init__(self, **sasl_kwargs: Any) -> None:
        if "host" in sasl_kwargs:
            raise ValueError("'host' is given for each connection and cannot be an argument here")
        if sasl_kwargs.get("mechanism", "GSSAPI") == "GSSAPI":
            raise NotImplementedError(_NO_GSSAPI)
        _sasl_client()
        self.sasl_kwargs = sasl_kwargs

    def new_authenticator(self, host: str) -> SaslAuthenticator:
        """An authenticator for the node at `host`."""
        return SaslAuthenticator(host, **self.sasl_kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} mechanism={self.sasl_kwargs.get('mechanism')!r}>"  # never the password


class SaslAuthenticator(Authenticator):
    """Passes the tokens on to a SASLClient of pure-sasl, the attribute `sasl` (`cassandra.auth.SaslAuthenticator`)."""

    def __init__(self, host: str, service: str, mechanism: str = "GSSAPI", **sasl_kwargs: Any) -> None:
        if mechanism == "GSSAPI":
            raise NotImplementedError(_NO_GSSAPI)
        self.sasl = _sasl_client()(host, service, mechanism, **sasl_kwargs)

    def initial_response(self) -> bytes | None:
        """The mechanism's first token."""
        token: bytes | None = self.sasl.process()
        return token

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | None:
        """The mechanism's answer."""
        token: bytes | None = self.sasl.process(challenge)
        return token


class DSEGSSAPIAuthProvider(AuthProvider):
    """Kerberos, which is not there yet (`cassandra.auth.DSEGSSAPIAuthProvider`): raises NotImplementedError."""

    def __init__(
        self, service: str = "dse", qops: Iterable[str] = ("auth",), resolve_host_name: bool = True, **properties: Any
    ) -> None:
        raise NotImplementedError(_NO_GSSAPI)


class GSSAPIAuthenticator(BaseDSEAuthenticator):
    """Kerberos, which is not there yet (`cassandra.auth.GSSAPIAuthenticator`): raises NotImplementedError."""

    def __init__(self, host: str, service: str, qops: Iterable[str], properties: Mapping[str, Any] | None) -> None:
        raise NotImplementedError(_NO_GSSAPI)


def _sasl_client() -> Any:
    try:
        return importlib.import_module("puresasl.client").SASLClient
    except ImportError as error:
        raise ImportError("SASL authentication needs the package pure-sasl: pip install 'geventcql[sasl]'") from error
