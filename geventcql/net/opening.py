"""Opening connections (layer: net): resolve, connect, shake hands, negotiate the protocol version.

Runs in a driver greenlet (a pool's supervisor, the control connection), which may wait; an application's authenticator is
called there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent

from geventcql.cython.wire import Frame, Page
from geventcql.errors import (
    AuthenticationFailed,
    ConnectionException,
    DriverException,
    OperationTimedOut,
    ProtocolError,
    ProtocolVersionUnsupported,
)
from geventcql.metadata.names import protect_name
from geventcql.net.connection import Call, Connection
from geventcql.net.transport import open_transport, resolve
from geventcql.protocol import requests, responses
from geventcql.protocol.constants import ConsistencyLevel, Opcode, ProtocolVersion
from geventcql.protocol.handshake import Authenticator, Handshake

if TYPE_CHECKING:
    import ssl

__all__ = ["ConnectionSettings", "open_connection", "open_in_keyspace", "open_negotiated"]


class ConnectionSettings(NamedTuple):
    """What every connection of a Cluster is made with."""

    connect_timeout: float | None = 5.0
    """Seconds from the first packet to the end of the handshake; None for no limit."""
    compression: tuple[str, ...] = ()
    """Algorithms to offer, best first."""
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    """For SNI and the check of the certificate; the address if None."""
    sockopts: tuple[tuple[Any, ...], ...] = ()
    cql_version: str | None = None
    no_compact: bool = False
    startup_options: Mapping[str, str] = MappingProxyType({})
    authenticator: Callable[[Any], Authenticator] | None = None
    """``authenticator(endpoint)`` makes one connection's authenticator."""
    max_in_flight: int = 2048


class _HandshakeCall(Call):
    """Waits for the answer to one message of the handshake, and switches the framing the moment v5's READY arrives."""

    __slots__ = ()

    def on_frame(self, frame: Frame, connection: Connection) -> None:
        if frame.opcode in (Opcode.READY, Opcode.AUTHENTICATE) and connection.version >= ProtocolVersion.V5:
            connection.switch_framing()
        self.set(frame)


def open_connection(endpoint: Any, version: int, settings: ConnectionSettings) -> Connection:
    """Connect to ``endpoint`` and shake hands in protocol ``version``, waiting in the calling greenlet.

    :raises ConnectionException: nobody answers there, not in time, or not in CQL; the text says which
    :raises ProtocolVersionUnsupported: the server does not speak ``version``; ``next_version`` says what to try
    :raises AuthenticationFailed: the server refused the credentials, or wants some and there are none
    """
    timeout = settings.connect_timeout
    deadline = None if timeout is None else monotonic() + timeout
    try:
        host, port = endpoint.resolve()
        with gevent.Timeout(timeout, ConnectionException(f"the name {host} was not resolved within {timeout} s", endpoint)):
            addresses = resolve(host, port)
        transport = open_transport(
            addresses,
            timeout=None if deadline is None else deadline - monotonic(),
            ssl_context=settings.ssl_context,
            server_hostname=settings.server_hostname or host,
            sockopts=settings.sockopts,
        )
    except OSError as error:
        raise _failed(endpoint, error) from error
    connection = Connection(endpoint, transport, version, max_in_flight=settings.max_in_flight)
    try:
        _shake_hands(connection, settings, deadline)
    except (ConnectionException, AuthenticationFailed):
        connection.close()
        raise
    except OperationTimedOut as error:
        connection.close()
        raise ConnectionException(
            f"{endpoint} accepted the connection but did not answer the handshake within {timeout} s",
            endpoint,
        ) from error
    except ProtocolError as error:
        connection.close()
        raise _failed(endpoint, error) from error
    except BaseException:
        connection.close()
        raise
    connection.settle()
    return connection


def open_in_keyspace(endpoint: Any, version: int, settings: ConnectionSettings, keyspace: str | None) -> Connection:
    """As :func:`open_connection`; all requests on the connection are in ``keyspace`` if there is one.

    :raises ErrorMessage: the server does not let us in there
    """
    connection = open_connection(endpoint, version, settings)
    if keyspace is not None:
        try:
            parts = requests.query_parts(version, f"USE {protect_name(keyspace)}", ConsistencyLevel.ONE)
            message = connection.call(parts.opcode, parts.body(), settings.connect_timeout)
            if not isinstance(message, responses.SetKeyspace):
                raise DriverException(f"{endpoint} answered USE with {type(message).__name__}")
            connection.keyspace = keyspace
        except BaseException:
            connection.close()
            raise
    return connection


def open_negotiated(endpoint: Any, version: int, settings: ConnectionSettings, fixed: bool) -> Connection:
    """As :func:`open_connection`, stepping down to the versions that the server speaks unless ``fixed``."""
    while True:
        try:
            return open_connection(endpoint, version, settings)
        except ProtocolVersionUnsupported as error:
            lower = error.next_version
            if fixed or not lower:
                raise
            version = lower


def _shake_hands(connection: Connection, settings: ConnectionSettings, deadline: float | None) -> None:
    endpoint = connection.endpoint
    make = settings.authenticator
    handshake = Handshake(
        connection.version,
        compression=settings.compression,
        startup_options=settings.startup_options,
        authenticator=None if make is None else lambda server_class: make(endpoint),
        no_compact=settings.no_compact,
        cql_version=settings.cql_version,
        endpoint=endpoint,
    )
    request: tuple[int, bytes] | None = handshake.start()
    while request is not None:
        opcode, body = request
        if opcode == Opcode.STARTUP and handshake.compression is not None:
            connection.expect_compression(handshake.compression)
        call = _HandshakeCall()
        connection.start_call(call, opcode, body, None if deadline is None else max(0.001, deadline - monotonic()))
        try:
            reply: Frame | Page = call.get()
        except ConnectionException as error:
            raise (connection.cause or error) from None
        if isinstance(reply, Page):
            raise ProtocolError(f"{endpoint} answered the handshake with a result of a query; is that its port for CQL?")
        message = responses.decode(reply.opcode, reply.flags, reply.body, reply.version)
        request = handshake.receive(message, reply.version)


def _failed(endpoint: Any, error: BaseException) -> ConnectionException:
    kind = {base.__name__ for base in type(error).__mro__}  # the ssl module may never have been imported
    if "SSLCertVerificationError" in kind:
        why = getattr(error, "verify_message", error)
        text = f"{endpoint} is not trusted: {why}; check the ssl_context's CA and host name settings"
    elif "SSLError" in kind:
        text = f"the TLS handshake with {endpoint} failed: {error}; does the server speak TLS on this port?"
    else:
        text = f"cannot connect to {endpoint}: {error}"
    return ConnectionException(text, endpoint)
