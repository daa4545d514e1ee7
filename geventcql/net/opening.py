"""Opening connections (layer: net): resolve, connect, shake hands, negotiate the protocol version.

Runs in a driver greenlet (a pool's supervisor, the control connection), which may wait; an application's authenticator is
called there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from socket import AF_UNIX
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent

from geventcql.cython.wire import Frame, Page
from geventcql.endpoints import NO_UNIX_SOCKETS
from geventcql.errors import (
    AuthenticationFailed,
    ConnectionException,
    DriverException,
    OperationTimedOut,
    ProtocolError,
    ProtocolVersionUnsupported,
)
from geventcql.metadata.names import protect_name
from geventcql.net.connection import Connection
from geventcql.net.targets import Call
from geventcql.net.transport import Traffic, open_transport, resolve
from geventcql.protocol import requests, responses
from geventcql.protocol.constants import MAX_BODY_SIZE, ConsistencyLevel, Opcode, ProtocolVersion
from geventcql.protocol.handshake import Authenticator, Handshake

if TYPE_CHECKING:
    import ssl

__all__ = ["ConnectionSettings", "check_beside_context", "open_connection", "open_in_keyspace", "open_negotiated"]

WHY_REFUSED = (
    "does the server demand a client certificate, or another one (ssl_context.load_cert_chain, or certfile of ssl_options)?"
)


class ConnectionSettings(NamedTuple):
    """What every connection of a Cluster is made with."""

    connect_timeout: float | None = 5.0
    """Seconds from the first packet to the end of the handshake; None for no limit."""
    compression: tuple[str, ...] = ()
    """Algorithms to offer, best first."""
    ssl_context: ssl.SSLContext | None = None
    """For TLS; None has one made from ``ssl_options``, if there are any."""
    ssl_options: Mapping[str, Any] = MappingProxyType({})
    """As :func:`geventcql.net.tls.make_context` takes them; an end point's own go before them."""
    sockopts: tuple[tuple[Any, ...], ...] = ()
    cql_version: str | None = None
    no_compact: bool = False
    startup_options: Mapping[str, str] = MappingProxyType({})
    authenticator: Callable[[Any], Authenticator] | None = None
    """``authenticator(endpoint)`` makes one connection's authenticator."""
    max_in_flight: int = 2048
    max_frame: int = MAX_BODY_SIZE
    """Bytes of the longest answer that is taken, also when decompressed."""
    traffic: Callable[[Any], Traffic] | None = None
    """``traffic(endpoint)`` gives what the bytes of a connection are counted in."""


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
    if endpoint.socket_family == AF_UNIX:
        raise ConnectionException(f"cannot connect to {endpoint}: {NO_UNIX_SOCKETS}", endpoint)
    context, server_hostname = _tls(endpoint, settings)
    try:
        with gevent.Timeout(timeout, ConnectionException(f"{endpoint} was not resolved within {timeout} s", endpoint)):
            host, port = endpoint.resolve()
            addresses = resolve(host, port, endpoint.socket_family)
        transport = open_transport(
            addresses,
            timeout=None if deadline is None else deadline - monotonic(),
            ssl_context=context,
            server_hostname=server_hostname,
            sockopts=settings.sockopts,
        )
    except OSError as error:
        raise _failed(endpoint, error) from error
    traffic = None if settings.traffic is None else settings.traffic(endpoint)
    connection = Connection(
        endpoint, transport, version, max_in_flight=settings.max_in_flight, max_frame=settings.max_frame, traffic=traffic
    )
    try:
        _shake_hands(connection, settings, deadline, is_tls=context is not None)
    except (ConnectionException, AuthenticationFailed) as error:
        connection.close()
        if error.host is None:  # the authenticator's own
            error.host = endpoint
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


def check_beside_context(context: ssl.SSLContext, options: Mapping[str, Any]) -> None:
    """Refuse options that ask for more than the context does: they would be ignored, and nobody would know.

    :raises ValueError: there is such an option
    """
    if options.get("check_hostname") and not context.check_hostname:
        raise ValueError("ssl_options ask for check_hostname and the ssl_context does not check: set it there")
    if options.get("cert_reqs", 0) > context.verify_mode:
        raise ValueError("ssl_options ask for cert_reqs and the ssl_context does not verify: set its verify_mode")


def _tls(endpoint: Any, settings: ConnectionSettings) -> tuple[ssl.SSLContext | None, str | None]:
    """The context for TLS, None for none, and the name that the certificate is to have.

    :raises ConnectionException: the files that the options name cannot be read
    """
    options = {**settings.ssl_options, **(endpoint.ssl_options or {})}
    context = settings.ssl_context
    if context is None and not options:
        return None, None
    if context is not None and endpoint.ssl_options:
        try:
            check_beside_context(context, endpoint.ssl_options)
        except ValueError as error:
            raise ConnectionException(f"cannot connect to {endpoint}: {error}", endpoint) from error
    if context is None:
        from geventcql.net.tls import make_context  # here: importing ssl takes a quarter of the package's import time

        try:
            context = make_context(options)
        except (OSError, ValueError) as error:
            raise ConnectionException(f"cannot connect to {endpoint}: {error}", endpoint) from error
    return context, options.get("server_hostname") or endpoint.address


def _shake_hands(connection: Connection, settings: ConnectionSettings, deadline: float | None, is_tls: bool) -> None:
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
    answered = False
    while request is not None:
        opcode, body = request
        if opcode == Opcode.STARTUP and handshake.compression is not None:
            connection.expect_compression(handshake.compression)
        call = _HandshakeCall()
        connection.start_call(call, opcode, body, None if deadline is None else max(0.001, deadline - monotonic()))
        try:
            reply: Frame | Page = call.get()
        except ConnectionException as error:
            cause = connection.cause or error
            if is_tls and not answered:  # with TLS 1.3 a server looks at the client's certificate when the client is through
                raise ConnectionException(f"{cause}; {WHY_REFUSED}", endpoint) from cause
            raise cause from None
        answered = True
        if isinstance(reply, Page):
            raise ProtocolError(f"{endpoint} answered the handshake with a result of a query; is that its port for CQL?")
        message = responses.decode(reply.opcode, reply.flags, reply.body, reply.version)
        slow = ConnectionException(
            f"cannot connect to {endpoint}: the authenticator of auth_provider gave no token in {settings.connect_timeout} s",
            endpoint,
        )
        with gevent.Timeout(None if deadline is None else max(0.001, deadline - monotonic()), slow):
            request = handshake.receive(message, reply.version)
        if request is not None and deadline is not None and monotonic() > deadline:
            raise ConnectionException(
                f"{endpoint} has answered, but the handshake was not over within {settings.connect_timeout} s", endpoint
            )


def _failed(endpoint: Any, error: BaseException) -> ConnectionException:
    kind = {base.__name__ for base in type(error).__mro__}  # the ssl module may never have been imported
    if "SSLCertVerificationError" in kind:
        why = getattr(error, "verify_message", error)
        text = (
            f"{endpoint} is not trusted: {why}; check the authorities in the ssl_context, or in ca_certs of ssl_options, "
            "and the names in the certificate (server_hostname of ssl_options)"
        )
    elif "SSLError" in kind and "ALERT" in str(getattr(error, "reason", "")):
        text = f"the TLS handshake with {endpoint} was refused there: {error}; {WHY_REFUSED}"
    elif "SSLError" in kind:
        text = f"the TLS handshake with {endpoint} failed: {error}; does the server speak TLS on this port?"
    else:
        text = f"cannot connect to {endpoint}: {error}"
    return ConnectionException(text, endpoint)
