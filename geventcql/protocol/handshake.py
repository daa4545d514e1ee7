"""The opening of a connection (sections 4.1.1 to 4.1.3, 4.2.2 to 4.2.4) as a state machine without I/O.

Layer: protocol. The greenlet that opens a connection drives it: it sends what `start` and `receive` return, and gives
`receive` each answer; the authenticator, which may be an application's, is called in that greenlet.

    OPTIONS -> SUPPORTED       only if something depends on what the server offers
    STARTUP -> READY           done
            -> AUTHENTICATE    AUTH_RESPONSE -> AUTH_CHALLENGE, AUTH_RESPONSE ... -> AUTH_SUCCESS: done
            -> ERROR           raises

Protocol v5 travels in plain frames until READY or AUTHENTICATE has arrived, and in segments from then on, both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from geventcql._version import __version__
from geventcql.errors import (
    AuthenticationFailed,
    BadCredentials,
    ConnectionException,
    ErrorMessage,
    ProtocolError,
    ProtocolException,
    ProtocolVersionUnsupported,
)
from geventcql.protocol import requests
from geventcql.protocol.compression import supported_compressors
from geventcql.protocol.constants import CQL_VERSION, Opcode, ProtocolVersion
from geventcql.protocol.responses import AuthChallenge, Authenticate, AuthSuccess, Message, Ready, Supported

DRIVER_NAME = "geventcql"

# "Invalid or unsupported protocol version (66); supported versions are (3/v3, 4/v4, 5/v5-beta)": Cassandra 3.11, 4, 5.
_SUPPORTED_VERSION = re.compile(r"\b(\d+)/v\d+(-beta)?")

Request = tuple[int, bytes]


class Authenticator(Protocol):
    """One connection's side of SASL, as cassandra-driver's `auth.Authenticator`; text counts as UTF-8."""

    server_authenticator_class: str | None

    def initial_response(self) -> bytes | str | None:
        """The first token."""

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | str | None:
        """The token that answers a challenge."""

    def on_authentication_success(self, token: bytes | None) -> None:
        """The server is content; `token` is its last word."""


def startup_identity(
    application_name: str | None = None,
    application_version: str | None = None,
    client_id: str | None = None,
    throw_on_overload: bool = False,
) -> dict[str, str]:
    """Options of STARTUP that say who connects, as `system_views.clients` shows them.

    throw_on_overload: ask the server for OVERLOADED errors instead of its reading slower (Cassandra 4.0 and later).
    """
    options = {"DRIVER_NAME": DRIVER_NAME, "DRIVER_VERSION": __version__}
    named = {"APPLICATION_NAME": application_name, "APPLICATION_VERSION": application_version, "CLIENT_ID": client_id}
    options.update((name, text) for name, text in named.items() if text is not None)
    if throw_on_overload:
        options["THROW_ON_OVERLOAD"] = "1"
    return options


def negotiate(version: int, error: ErrorMessage, header_version: int | None = None) -> int | None:
    """The lower version to try after a server answered `version` with `error`; None if that is not what it is about.

    `header_version`: that of the answer's frame header. The highest version that the error's text offers and that we
    speak, else the header's (servers answer in their own highest), else the next lower one (Cassandra 3.11 answers v5
    with "beta", in a frame of any version). 0: the server speaks none of ours below `version`.
    """
    if not isinstance(error, ProtocolException):
        return None
    lower = header_version is not None and header_version < version
    if not (lower or error.is_beta_protocol_error or "unsupported protocol version" in error.message.lower()):
        return None
    listed = _SUPPORTED_VERSION.findall(error.message)
    if listed and not error.is_beta_protocol_error:
        offered = [int(number) for number, beta in listed if not beta]
        return max((v for v in ProtocolVersion.SUPPORTED_VERSIONS if v < version and v in offered), default=0)
    if lower:
        return header_version if header_version in ProtocolVersion.SUPPORTED_VERSIONS else 0
    return ProtocolVersion.get_lower_supported(version)


class Handshake:
    """One connection's handshake in protocol `version`.

    compression: algorithms that the client can, best first; the first that the server offers is used, if any.
    startup_options: those of STARTUP beside the ones that this adds (startup_identity). authenticator: called with the
    class name of the server's authenticator if the server wants to know who connects. ask_options: send OPTIONS even
    if nothing here needs it (`supported` is None otherwise). endpoint: for errors.

    `compression` is None or the algorithm chosen, from STARTUP on: the server may compress from its answer on, the
    client must not before READY or AUTHENTICATE arrived (`started`). `segmented`: from now on v5's segments, both ways.
    """

    def __init__(
        self,
        version: int,
        *,
        compression: Sequence[str] = (),
        startup_options: Mapping[str, str] | None = None,
        authenticator: Callable[[str], Authenticator] | None = None,
        no_compact: bool = False,
        cql_version: str | None = None,
        ask_options: bool = False,
        endpoint: Any = None,
    ) -> None:
        self.version = version
        self.endpoint = endpoint
        self.state = "new"
        self.supported: dict[str, list[str]] | None = None
        self.compression: str | None = None
        self.started = False
        self.segmented = False
        self.server_authenticator: str | None = None
        # v5 has LZ4 only; whoever asks a v5 server for another algorithm gets a connection that fails.
        self._offered = [name for name in compression if name in supported_compressors(version)]
        self._ask_options = ask_options or bool(self._offered)
        self._make_authenticator = authenticator
        self._authenticator: Authenticator | None = None
        self._options = {**(startup_options or {}), "CQL_VERSION": cql_version or CQL_VERSION}
        if no_compact:
            self._options["NO_COMPACT"] = "true"

    def __repr__(self) -> str:
        return f"<Handshake v{self.version} with {self.endpoint}: {self.state}>"

    @property
    def done(self) -> bool:
        """Whether the connection takes requests."""
        return self.state == "done"

    def start(self) -> Request:
        """(opcode, body) of the first request."""
        if self.state != "new":
            raise ProtocolError(f"a handshake starts once; this one is in state {self.state!r}")
        if self._ask_options:
            self.state = "options"
            return Opcode.OPTIONS, requests.options()
        return self._startup()

    def receive(self, message: Message | ErrorMessage, header_version: int | None = None) -> Request | None:
        """Take the answer to the last request; (opcode, body) of the next one, or None: the handshake is done.

        `header_version`: version in the header of the answer's frame. Raises ProtocolVersionUnsupported (`next_version`
        says what to try, on a new connection), AuthenticationFailed (bad credentials), ConnectionException (any other
        ERROR, which is its cause: that a node is overloaded, say, tells nothing of the credentials), and ProtocolError for
        an answer that this state does not have.
        """
        if isinstance(message, ErrorMessage):
            raise self._failure(message, header_version)
        if header_version not in (None, self.version):
            raise ProtocolError(f"{self._where()} answered in protocol v{header_version} what was asked in v{self.version}")
        if self.state == "options" and isinstance(message, Supported):
            self.supported = message.options
            offers = message.options.get("COMPRESSION", ())
            self.compression = next((name for name in self._offered if name in offers), None)
            return self._startup()
        if self.state == "startup" and isinstance(message, Ready):
            self._server_started()
            self.state = "done"
            return None
        if self.state == "startup" and isinstance(message, Authenticate):
            self._server_started()
            return self._authenticate(message.authenticator)
        if self.state == "auth" and self._authenticator is not None:
            if isinstance(message, AuthChallenge):
                return self._auth_response(self._authenticator.evaluate_challenge(message.token))
            if isinstance(message, AuthSuccess):
                self._authenticator.on_authentication_success(message.token)
                self.state = "done"
                return None
        raise ProtocolError(
            f"{self._where()} answered with {type(message).__name__} in state {self.state!r} of the handshake; "
            "is it a Cassandra, and is that its port for CQL?"
        )

    def _startup(self) -> Request:
        self.state = "startup"
        if self.compression:
            self._options["COMPRESSION"] = self.compression
        return Opcode.STARTUP, requests.startup(self._options)

    def _server_started(self) -> None:
        self.started = True
        self.segmented = ProtocolVersion.has_checksumming_support(self.version)

    def _authenticate(self, server_class: str) -> Request:
        self.server_authenticator = server_class
        if self._make_authenticator is None:
            self.state = "failed"
            raise self._with_host(
                AuthenticationFailed(
                    f"{self._where()} wants authentication ({server_class}) and no credentials are configured: "
                    "give Cluster an auth_provider, such as PlainTextAuthProvider(username, password)"
                )
            )
        authenticator = self._authenticator = self._make_authenticator(server_class)
        authenticator.server_authenticator_class = server_class
        self.state = "auth"
        return self._auth_response(authenticator.initial_response())

    def _auth_response(self, token: bytes | str | None) -> Request:
        return Opcode.AUTH_RESPONSE, requests.auth_response(token.encode() if isinstance(token, str) else token)

    def _failure(self, error: ErrorMessage, header_version: int | None) -> Exception:
        """What an ERROR means here."""
        state, self.state = self.state, "failed"
        where = self._where()
        if isinstance(error, BadCredentials):
            by = f" with {type(self._authenticator).__name__}" if self._authenticator is not None else ""
            failed = AuthenticationFailed(
                f"{where} ({self.server_authenticator or 'unknown authenticator'}) refused to authenticate us{by}: "
                f"{error.summary_msg()}; check the user name and password of the auth_provider"
            )
            failed.__cause__ = error
            return self._with_host(failed)
        lower = None if state == "auth" else negotiate(self.version, error, header_version)  # else the version is settled
        failure: ConnectionException
        if lower is None:
            failure = ConnectionException(
                f"Failed to initialize new connection to {where} in state {state!r} of the handshake: "
                f"{error.summary_msg()}",
                self.endpoint,
            )
        else:
            failure = ProtocolVersionUnsupported(self.endpoint, self.version, error.message)
            failure.next_version = lower
        failure.__cause__ = error
        return failure

    def _with_host(self, failure: AuthenticationFailed) -> AuthenticationFailed:
        failure.host = self.endpoint
        return failure

    def _where(self) -> str:
        return str(self.endpoint) if self.endpoint is not None else "the server"
