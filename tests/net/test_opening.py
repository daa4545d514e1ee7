"""Opening a connection: whatever answers, or does not, gives a named error within the timeout and leaves nothing behind."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import gevent
import pytest
from gevent import socket

from geventcql.auth import PlainTextAuthenticator
from geventcql.errors import (
    AuthenticationFailed,
    ConnectionException,
    CrcMismatchException,
    DriverException,
    ProtocolVersionUnsupported,
)
from geventcql.host import DefaultEndPoint
from geventcql.net import opening, transport
from geventcql.net.opening import ConnectionSettings, open_connection, open_in_keyspace, open_negotiated
from geventcql.net.transport import Resolver, is_numeric, open_transport, resolve
from geventcql.protocol.constants import Opcode as Op
from tests.driver.support import outcome
from tests.net.peers import connect, connected, send, settle_turns, wait_all
from tests.support.badserver import BadServer
from tests.support.fakenode import (
    AuthChallenge,
    Authenticate,
    AuthSuccess,
    Close,
    Error,
    ErrorCode,
    FakeNode,
    Message,
    Opcode,
    Raw,
    Ready,
    Void,
)
from tests.support.native import block
from tests.support.tls import Tls

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5])


@contextmanager
def _fails(match: str, kind: type[BaseException] = ConnectionException, within: float = 2.0) -> Iterator[list[Any]]:
    """The block raises an error of that kind and text, soon; the list gets it."""
    caught: list[Any] = []
    began = time.monotonic()
    with pytest.raises(kind, match=match) as info:
        yield caught
    assert time.monotonic() - began < within
    caught.append(info.value)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _open(host: str, port: int, version: int = 4, **settings: Any) -> Any:
    return open_connection(DefaultEndPoint(host, port), version, ConnectionSettings(**settings))


# --- nobody, or something else ---------------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    port = _free_port()
    with _fails(f"cannot connect to 127.0.0.1:{port}: .*refused") as caught:
        _open("127.0.0.1", port)
    assert caught[0].endpoint == DefaultEndPoint("127.0.0.1", port)


@VERSIONS
def test_an_http_server(version: int) -> None:
    with BadServer("http") as server, _fails("that is an HTTP server. Is this the native protocol port"):
        connect(server, version)


@VERSIONS
@pytest.mark.parametrize("first", ["handshake", "options"])
def test_accepts_and_never_answers(version: int, first: str) -> None:
    compression = ("lz4",) if first == "options" else ()
    with BadServer("silent") as server:
        began = time.monotonic()
        with _fails("accepted the connection but did not answer the handshake within 0.2 s") as caught:
            connect(server, version, connect_timeout=0.2, compression=compression)
        assert time.monotonic() - began >= 0.2
        assert server.left.wait(1), f"not closed for as long as {caught} is held"


def test_never_accepts() -> None:
    with BadServer("unreachable") as server, _fails(r"no connection within 0.[12]\d* s: tried .*127.0.0.1"):
        connect(server, connect_timeout=0.2)


def test_answers_slowly() -> None:
    """The time is for the handshake as a whole, not for each of its steps."""
    with FakeNode(auth={"u": "p"}, compression=("lz4",)) as node:
        node.on(Opcode.OPTIONS, lambda request, server: node._answer(request, server).after(0.15))
        node.on(Opcode.STARTUP, Authenticate().after(0.15))
        node.on(Opcode.AUTH_RESPONSE, AuthSuccess().after(0.15))
        settings = {"compression": ("lz4",), "authenticator": lambda endpoint: PlainTextAuthenticator("u", "p")}
        with _fails("did not answer the handshake within 0.35 s"):
            connect(node, connect_timeout=0.35, **settings)
        connect(node, connect_timeout=5, **settings).close()


def test_accepts_slowly() -> None:
    """One connection after the other: those behind wait, and the last is given up in time, by an error that says why."""
    with FakeNode() as node:
        node.accept_delay = 0.3
        began = time.monotonic()
        opening = [gevent.spawn(outcome, partial(connect, node, 5, connect_timeout=0.8)) for _ in range(3)]
        gevent.joinall(opening, raise_error=True)
        assert time.monotonic() - began < 1.2
        *opened, late = (greenlet.value for greenlet in opening)
        assert isinstance(late, ConnectionException) and "did not answer" in str(late), late
        for connection in opened:
            connection.close()


@VERSIONS
def test_an_answer_that_is_here_counts_however_late_it_is_looked_at(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(opcode: int, *args: Any) -> Any:
        if opcode == Op.READY:
            block(0.6)
        return decode(opcode, *args)

    decode = opening.responses.decode
    monkeypatch.setattr(opening.responses, "decode", slow)
    with FakeNode() as node:
        connect(node, version, connect_timeout=0.5).close()


@VERSIONS
@pytest.mark.parametrize("behaviour", ["closes", "closes_on_request"])
def test_closes_at_once(version: int, behaviour: Any) -> None:
    with BadServer(behaviour) as server, _fails("closed the connection|reset|broken pipe|Broken pipe"):
        connect(server, version)


@VERSIONS
@pytest.mark.parametrize("seed", range(5))
def test_garbage(version: int, seed: int) -> None:
    with BadServer("garbage", seed=seed) as server, _fails("cannot connect to|not a CQL|did not answer"):
        connect(server, version, connect_timeout=0.3)


@VERSIONS
def test_a_frame_of_two_gigabytes(version: int) -> None:
    with BadServer("huge_frame") as server, _fails("claims a body of 2147483647 bytes"):
        connect(server, version)


@VERSIONS
@pytest.mark.parametrize("at", [0, 1, 5, 9])
def test_closes_in_the_middle_of_its_answer(version: int, at: int) -> None:
    with FakeNode() as node:
        node.on(Opcode.STARTUP, Ready().with_trailing(b"12").cut(at))
        with _fails("closed the connection"):
            connect(node, version)


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        (Void(), "answered the handshake with a result"),
        (Message(Opcode.SUPPORTED, b"\0\0"), "answered with Supported"),
        (AuthSuccess(), "answered with AuthSuccess"),
        (Message(0x7E, b""), "cannot connect to"),
        (Message(Opcode.AUTHENTICATE, b"\0\x09abc"), "cannot connect to"),  # truncated
        (Message(Opcode.ERROR, b"\0\0"), "cannot connect to"),
        (Error(ErrorCode.OVERLOADED, "too much"), "too much"),
        (Error(ErrorCode.SERVER_ERROR, "oops"), "oops"),
        (Ready().on_stream(77), "nothing was ever sent"),
        (Raw(b"\x84"), "did not answer"),
        (Close(), "closed the connection"),
    ],
)
@VERSIONS
def test_wrong_answers(version: int, reply: Any, match: str) -> None:
    with FakeNode() as node:
        node.on(Opcode.STARTUP, reply)
        with _fails(match):
            connect(node, version, connect_timeout=0.3)
        node.wait_for(lambda n: not n.connections)


def test_damage_behind_the_handshake() -> None:
    with FakeNode(auth={"u": "p"}) as node:
        node.on(Opcode.AUTH_RESPONSE, AuthSuccess().corrupt("payload"))
        with _fails("checksum", CrcMismatchException):
            connect(node, 5, authenticator=lambda endpoint: PlainTextAuthenticator("u", "p"))


# --- the time it takes -----------------------------------------------------------------------------------------------


def test_names_that_do_not_resolve_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that is silent must not hold a connect longer than its timeout."""

    def hang(*args: Any) -> Any:
        gevent.sleep(60)

    monkeypatch.setattr(transport.socket, "getaddrinfo", hang)
    with _fails("within 0.2 s"):
        _open("cassandra.example", 9042, connect_timeout=0.2)


def test_names_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(transport.socket, "getaddrinfo", unknown)
    with _fails("cannot connect to cassandra.example:9042: .*Name or service not known"):
        _open("cassandra.example", 9042)


def test_names_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address that answers; one that refuses costs nothing, a black hole not all of the time."""
    with FakeNode() as node, BadServer("unreachable", "127.0.0.3") as hole:
        refused = (socket.AF_INET, ("127.0.0.1", _free_port()))
        silent = (socket.AF_INET, (hole.host, hole.port))
        good = (socket.AF_INET, (node.host, node.port))
        for addresses in ([refused, good], [refused, refused, good], [good, silent], [silent, good]):
            began = time.monotonic()
            open_transport(addresses, timeout=0.5).close()
            assert time.monotonic() - began < 0.5, addresses
        began = time.monotonic()
        with _fails("no connection within 0.3 s"):
            open_transport([silent, silent, silent], timeout=0.3)
        assert 0.29 < time.monotonic() - began < 0.6, "the time is for all of them"
        with pytest.raises(ConnectionRefusedError):
            open_transport([refused, refused], timeout=1)
        with pytest.raises(OSError, match="no address"):
            open_transport([], timeout=1)
        settle_turns()
        node.wait_for(lambda n: not n.connections)


def test_no_timeout_at_all() -> None:
    with FakeNode() as node:
        connect(node, connect_timeout=None).close()


def test_killed_at_any_moment() -> None:
    """A greenlet that opens a connection and is killed leaves no socket and no greenlet."""
    with FakeNode(auth={"u": "p"}, compression=("lz4",)) as node:
        for opcode in (Opcode.OPTIONS, Opcode.STARTUP, Opcode.AUTH_RESPONSE):
            node.on(opcode, lambda request, server: node._answer(request, server).after(0.01))
        authenticator = {"authenticator": lambda endpoint: PlainTextAuthenticator("u", "p"), "compression": ("lz4",)}
        opened = 0
        for n in range(40):
            greenlet = gevent.spawn(connect, node, 5, **authenticator)
            gevent.sleep(n * 0.001)
            greenlet.kill()
            if not isinstance(greenlet.value, gevent.GreenletExit):
                opened += 1
                greenlet.value.close()
            with pytest.raises(gevent.Timeout), gevent.Timeout(0.0005 * (n % 20) + 0.0001):
                connect(node, 5, **authenticator)
        node.wait_for(lambda n: not n.connections)


# --- resolving -------------------------------------------------------------------------------------------------------


def test_numeric_addresses_never_pass_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr(transport.socket, "getaddrinfo", fail)
    assert resolve("127.0.0.1", 9042) == [(socket.AF_INET, ("127.0.0.1", 9042))]
    assert resolve("::1", 9042) == [(socket.AF_INET6, ("::1", 9042))]
    assert Resolver().addresses("10.0.0.1") == ["10.0.0.1"]
    numeric = {"1.2.3.4": True, "::": True, "fe80::1%eth0": True, "localhost": False, "1.2.3": False, "": False}
    assert {text: is_numeric(text) for text in numeric} == numeric


@pytest.mark.patching
def test_names_pass_the_resolver() -> None:
    assert (socket.AF_INET, ("127.0.0.1", 9042)) in resolve("localhost", 9042)
    assert "127.0.0.1" in Resolver().addresses("localhost")
    with FakeNode() as node:
        _open("localhost", node.port).close()


def test_the_family_that_an_end_point_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(DefaultEndPoint):
        socket_family = socket.AF_INET

    asked: list[int] = []

    def look_up(host: str, port: int, family: int, kind: int) -> Any:
        asked.append(family)
        return [(socket.AF_INET, kind, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(transport.socket, "getaddrinfo", look_up)
    with FakeNode() as node:
        for endpoint in (Old("node.example", node.port), DefaultEndPoint("node.example", node.port)):
            open_connection(endpoint, 4, ConnectionSettings()).close()
    assert asked == [socket.AF_INET, 0]


# --- negotiation and authentication ----------------------------------------------------------------------------------


def _negotiated(node: FakeNode, version: int = 5, fixed: bool = False, **settings: Any) -> Any:
    return open_negotiated(DefaultEndPoint(node.host, node.port), version, ConnectionSettings(**settings), fixed)


@pytest.mark.parametrize(
    ("versions", "beta", "expected", "tries"),
    [
        ((3, 4, 5), (), 5, 1),
        ((3, 4), (), 4, 2),
        ((3,), (), 3, 2),
        ((3, 4), (5,), 4, 2),  # Cassandra 3.11
        ((3, 4, 5), (6,), 5, 1),
    ],
)
def test_versions_are_stepped_down(versions: Any, beta: Any, expected: int, tries: int) -> None:
    with FakeNode(versions=versions, beta_versions=beta) as node:
        connection = _negotiated(node)
        assert connection.version == expected
        assert wait_all([send(connection, "INSERT")]) == ["page"]
        assert node.accepted == tries
        connection.close()


def test_a_version_that_is_fixed() -> None:
    with FakeNode(versions=(3, 4)) as node:
        with _fails("5", ProtocolVersionUnsupported) as caught:
            _negotiated(node, fixed=True)
        assert caught[0].next_version == 4 and node.accepted == 1


def test_no_version_in_common() -> None:
    with FakeNode(versions=(6,)) as node:
        with _fails(r"supported versions are \(6/v6\)", ProtocolVersionUnsupported):
            _negotiated(node)
        assert node.accepted == 1


def test_other_versions_are_refused_behind_the_handshake() -> None:
    """They are let through only until it is known what the server speaks."""
    with FakeNode() as node:
        node.on("q", Void().in_version(3))
        connection = connect(node, 4)
        assert wait_all([send(connection, "q")]) == ["lost"]
        assert "not a CQL v4 reply" in str(connection.cause)


@pytest.mark.patching
@VERSIONS
def test_authentication(version: int) -> None:
    def of(password: str) -> Any:
        return lambda endpoint: PlainTextAuthenticator("user", password)

    with FakeNode(auth={"user": "right"}) as node:
        with connected(node, version, authenticator=of("right")) as connection:
            assert wait_all([send(connection, "INSERT")]) == ["page"]
            assert node.connections[0].user == "user"
        with _fails("refused to authenticate us with PlainTextAuthenticator.*incorrect", AuthenticationFailed):
            connect(node, version, authenticator=of("wrong"))
        with _fails("no credentials are configured", AuthenticationFailed):
            connect(node, version)
        node.wait_for(lambda n: not n.connections)


def test_an_authenticator_that_fails() -> None:
    """An application's own error comes out as it is, and nothing is left."""

    class Failing:
        server_authenticator_class = None

        def initial_response(self) -> bytes:
            return b"first"

        def evaluate_challenge(self, challenge: bytes | None) -> bytes:
            raise ZeroDivisionError(f"cannot answer {challenge!r}")

    with FakeNode(auth=lambda request, server: AuthChallenge(b"who?")) as node:
        with _fails("cannot answer b'who\\?'", ZeroDivisionError):
            connect(node, 5, authenticator=lambda endpoint: Failing())
        node.wait_for(lambda n: not n.connections)


def test_startup_says_who_we_are() -> None:
    with FakeNode() as node, connected(node, 5, startup_options={"DRIVER_NAME": "x"}, no_compact=True, cql_version="3.4.5"):
        options = node.connections[0].startup_options
        assert options == {"DRIVER_NAME": "x", "CQL_VERSION": "3.4.5", "NO_COMPACT": "true"}


def test_socket_options() -> None:
    with FakeNode() as node, connected(node, sockopts=((socket.SOL_SOCKET, socket.SO_RCVBUF, 12345),)) as connection:
        sock = connection._transport._sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 12345
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    with FakeNode() as node, _fails("cannot connect"):
        connect(node, sockopts=((socket.SOL_SOCKET, 9999, 1),))


# --- TLS -------------------------------------------------------------------------------------------------------------


@VERSIONS
def test_tls_to_a_server_without(version: int, tls: Tls) -> None:
    """It answers with something else, closes, or waits for the rest of what looks like the beginning of a long frame."""
    with BadServer("http") as server, _fails("TLS handshake with .* failed: .*; does the server speak TLS on this port"):
        connect(server, version, ssl_context=tls.client)
    with FakeNode() as node, _fails(r"no connection within 0.[12]\d* s: .*; does the server speak TLS on this port"):
        connect(node, version, ssl_context=tls.client, connect_timeout=0.2)
    with BadServer("silent") as server, _fails(r"no connection within 0.[12]\d* s"):
        connect(server, version, ssl_context=tls.client, connect_timeout=0.2)
    with BadServer("closes") as server, _fails("in the TLS handshake|reset"):
        connect(server, version, ssl_context=tls.client)


@VERSIONS
def test_no_tls_to_a_server_with(version: int, tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server) as node, _fails("does the server want TLS|closed the connection|reset"):
        connect(node, version)


def test_a_certificate_of_a_stranger(tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server) as node, _fails("is not trusted: .*issuer certificate"):
        connect(node, ssl_context=tls.stranger)


def test_a_certificate_for_another_name(tls: Tls) -> None:
    with FakeNode("127.0.0.9", ssl_context=tls.server) as node:
        with _fails("is not trusted: .*IP address mismatch"):
            connect(node, ssl_context=tls.client)
        with connected(node, ssl_context=tls.client, ssl_options={"server_hostname": "localhost"}) as connection:
            assert wait_all([send(connection, "INSERT")]) == ["page"]
        with _fails("is not trusted: .*[Hh]ostname mismatch"):
            connect(node, ssl_context=tls.client, ssl_options={"server_hostname": "other.example"})


def test_an_expired_certificate(tls: Tls) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    end = datetime.now(timezone.utc) - timedelta(days=1)
    certificate = tls.authority.issue_cert("127.0.0.1", not_before=end - timedelta(days=1), not_after=end)
    certificate.configure_cert(context)
    with FakeNode(ssl_context=context) as node, _fails("is not trusted: certificate has expired"):
        connect(node, ssl_context=tls.client)


@pytest.mark.patching
def test_tls_handshake_in_small_pieces(tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server, send_chunk=7) as node, connected(node, 5, ssl_context=tls.client) as connection:
        assert wait_all([send(connection, "INSERT")]) == ["page"]
        assert connection.call(Op.OPTIONS, b"", 5.0).options


def test_a_server_that_does_not_check_is_not_checked(tls: Tls) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with FakeNode("127.0.0.9", ssl_context=tls.server) as node, connected(node, ssl_context=context) as connection:
        assert wait_all([send(connection, "INSERT")]) == ["page"]


def test_use_is_answered_by_something_else() -> None:
    with FakeNode() as node:
        node.on(re.compile("^USE"), Void())
        with pytest.raises(DriverException, match="answered USE with Page"):
            open_in_keyspace(DefaultEndPoint(node.host, node.port), 4, ConnectionSettings(), "ks")


def test_the_next_open_works_after_each_failure(tls: Tls) -> None:
    """Nothing that failed above leaves a state behind: settings are shared between hosts."""
    settings = {"ssl_context": tls.client, "connect_timeout": 2.0}
    with FakeNode(ssl_context=tls.server) as good, BadServer("http") as plain, BadServer("closes") as bad:
        for server in (plain, bad, good, plain, good):
            if server is good:
                connect(server, 5, **settings).close()
            else:
                with pytest.raises(ConnectionException):
                    connect(server, 5, **settings)
    assert opening.ConnectionSettings().connect_timeout == 5.0
