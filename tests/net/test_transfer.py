"""Bytes through sockets: every size cut anywhere, plain, TLS and compressed, both ways."""

from __future__ import annotations

import random
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from geventcql.cython.wire import RequestTemplate
from geventcql.net.connection import Connection
from geventcql.net.tls import TlsTransport
from geventcql.net.transport import open_transport
from geventcql.protocol.constants import Opcode as Op
from tests.net.peers import Recorder, connected, send, settle_turns, template, wait_all
from tests.support import wire
from tests.support.fakenode import FakeNode, Message, Opcode, Request, Rows, Void
from tests.support.tls import Tls
from tests.support.waits import eventually

VERSIONS = pytest.mark.parametrize("version", [4, 5])
WAYS = [(version, compression) for version in (3, 4, 5) for compression in (None, "lz4", "snappy")][:-1]


def _sizes(count: int) -> list[int]:
    """Sizes up to a million bytes, with those around reads, TLS records and segments among them."""
    edges = [*range(1, 20), *(n + d for n in (4096, 8192, 16384, 65536, 131062, 131071, 262144) for d in (-1, 0, 1))]
    rng = random.Random(count)
    return [*edges, *(int(10 ** rng.uniform(0, 5.6)) for _ in range(count - len(edges)))]


def _body(size: int) -> bytes:
    """Half noise, half text, so that compressors have something to do and something not to."""
    rng = random.Random(size)
    return rng.randbytes(size // 2) + (b"%d " % size * size)[: size - size // 2]


def _echo(request: Request, server: Any) -> Any:
    """A body as large as the query's text says, sent in pieces cut at three places that its size seeds."""
    size = int(request.text or "")
    rng = random.Random(size)
    message = Message(Opcode.SUPPORTED, _body(size))
    return message.drip(*sorted(rng.randrange(1, size + 9) for _ in range(3)), pause=1e-5)


@VERSIONS
@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("secure", [False, True])
def test_five_hundred_sizes(version: int, compression: str | None, secure: bool, tls: Tls) -> None:
    """Each reply is cut in four on its way, and arrives as it was, at who asked for it."""
    offered = ("lz4",) if compression else ()
    with FakeNode(ssl_context=tls.server if secure else None, compression=offered, record=False) as node:
        node.on(Opcode.QUERY, _echo)
        context = tls.client if secure else None
        with connected(node, version, ssl_context=context, compression=offered) as connection:
            assert connection.compression == compression
            sizes = _sizes(500)
            assert len(sizes) == 500
            for first in range(0, 500, 50):
                asked = [send(connection, str(size), timeout=None, name=size) for size in sizes[first : first + 50]]
                assert set(wait_all(asked, 30)) == {"frame"}
                assert all(recorder.argument.body == _body(recorder.name) for recorder in asked)


@VERSIONS
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_small_pieces_on_the_wire(version: int, secure: bool, chunk: int, tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server if secure else None, send_chunk=chunk, record=False) as node:
        node.on(Opcode.QUERY, lambda request, server: Message(Opcode.SUPPORTED, _body(int(request.text))))
        with connected(node, version, ssl_context=tls.client if secure else None) as connection:
            sizes = [*range(1, 12), 100, 255, 256, 700]
            asked = [send(connection, str(size), timeout=None, name=size) for size in sizes]
            assert set(wait_all(asked, 30)) == {"frame"}
            assert all(recorder.argument.body == _body(recorder.name) for recorder in asked)


# --- compression -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "compression"), WAYS)
@pytest.mark.parametrize("secure", [False, True])
def test_both_ways(version: int, compression: str | None, secure: bool, tls: Tls) -> None:
    """Requests and pages, small and large, that compress and that do not; the node's own codec reads and writes them."""
    offered = (compression,) if compression else ()
    rng = random.Random(version)
    texts = [f"{n} " + "".join(rng.choices("abcdef '%", k=int(10 ** rng.uniform(0, 5.5)))) for n in range(40)]
    texts += [f"{n} " + "x" * n for n in (0, 50, 127, 128, 129, 131_000, 131_071, 400_000)]
    with FakeNode(ssl_context=tls.server if secure else None, compression=("lz4", "snappy")) as node:
        node.on(Opcode.QUERY, lambda request, server: Rows([("t", "text")], [(request.text,), (None,)]))
        context = tls.client if secure else None
        with connected(node, version, ssl_context=context, compression=offered) as connection:
            assert connection.compression == compression == node.connections[0].compression
            asked = [send(connection, text, timeout=None) for text in texts]
            assert set(wait_all(asked, 30)) == {"page"}
            assert [recorder.argument.all() for recorder in asked] == [[(text,), (None,)] for text in texts]
            assert [request.text for request in node.requests if request.opcode == Opcode.QUERY] == texts


@pytest.mark.parametrize(
    ("version", "offered", "server", "chosen"),
    [
        (4, ("lz4", "snappy"), ("snappy", "lz4"), "lz4"),
        (4, ("snappy", "lz4"), ("snappy", "lz4"), "snappy"),
        (4, ("lz4",), ("snappy",), None),
        (4, ("lz4",), (), None),
        (5, ("snappy", "lz4"), ("snappy", "lz4"), "lz4"),
        (5, ("snappy",), ("snappy", "lz4"), None),
        (4, (), ("lz4",), None),
    ],
)
def test_which_algorithm(version: int, offered: Any, server: Any, chosen: str | None) -> None:
    with FakeNode(compression=server) as node:
        node.on(Opcode.QUERY, Rows([("t", "text")], [("x" * 1000,)]))
        with connected(node, version, compression=offered) as connection:
            assert connection.compression == chosen == node.connections[0].compression
            recorder = send(connection, "y" * 1000)
            assert wait_all([recorder]) == ["page"] and recorder.argument.all() == [("x" * 1000,)]
            assert node.requests[-1].text == "y" * 1000


def test_requests_that_compression_would_lengthen_go_as_they_are() -> None:
    """Below v5 a flag says which are compressed; a short query stays readable on the wire."""
    with FakeNode(compression=("lz4",)) as node:
        node.on(Opcode.QUERY, Void())
        with connected(node, 4, compression=("lz4",)) as connection:
            noise = "".join(map(chr, random.Random(1).choices(range(32, 0x800), k=5000)))
            sizes = []
            for text in ("short", "x" * 100_000, noise):
                before = node.connections[0].bytes_received
                assert wait_all([send(connection, text)]) == ["page"]
                sizes.append((node.connections[0].bytes_received - before, len(template(text, 4).frame(0, b""))))
            assert sizes[0][0] == sizes[0][1] and sizes[1][0] < 1000 and sizes[2][0] == sizes[2][1]


# --- TLS -------------------------------------------------------------------------------------------------------------


@VERSIONS
def test_big_pages_both_ways_at_once_over_tls(version: int, tls: Tls) -> None:
    """Uploads and downloads of megabytes meet on one connection, with small buffers; neither waits for the other."""
    with FakeNode(ssl_context=tls.server, receive_buffer=65536, record=False) as node:
        node.on(Opcode.QUERY, lambda request, server: Message(Opcode.SUPPORTED, (request.text or "").encode()))
        buffers = ((socket.SOL_SOCKET, socket.SO_SNDBUF, 65536), (socket.SOL_SOCKET, socket.SO_RCVBUF, 65536))
        with connected(node, version, ssl_context=tls.client, sockopts=buffers) as connection:
            rng = random.Random(version)
            for _ in range(3):
                texts = [f"{n} " + chr(97 + n) * rng.randrange(1_000_000) for n in range(6)]
                asked = [send(connection, text, timeout=None) for text in texts]
                assert set(wait_all(asked, 30)) == {"frame"}
                bodies = [recorder.argument.body for recorder in asked]
                assert all(body == text.encode() for body, text in zip(bodies, texts, strict=True))
            assert connection.unsent_bytes == 0


def test_a_close_notify_ends_the_connection(tls: Tls) -> None:
    """The peer's half of the stream is over: no reply can come any more."""
    with FakeNode(ssl_context=tls.server) as node:
        node.on(Opcode.QUERY, None)
        with connected(node, ssl_context=tls.client) as connection:
            recorder = send(connection)
            node.wait_for(lambda n: n.count(Opcode.QUERY))
            server = node.connections[0].stream
            try:
                server._tls.unwrap()
            except Exception as error:  # it wants the client's close_notify as well
                assert "read" in str(error).lower()
            server._flush()
            assert wait_all([recorder], 1) == ["lost"]
            assert "closed the connection" in str(connection.cause)


def test_what_tls_has_taken_from_the_socket_has_come(tls: Tls) -> None:
    """Though the reader has not come to it, and the socket is empty."""
    with FakeNode(ssl_context=tls.server) as node, connected(node, ssl_context=tls.client) as connection:
        assert not connection.drain_socket()
        connection._transport._incoming.write(b"part of a record")  # type: ignore[attr-defined]
        assert connection.drain_socket()


class HeldUp:
    """Stands for a TLS stream whose peer renegotiates: nothing can be written before it has answered."""

    def write(self, data: bytes) -> None:
        raise ssl.SSLWantReadError

    def read(self, size: int, buffer: memoryview) -> int:
        return size


def test_the_end_of_what_held_output_up_is_told(tls: Tls) -> None:
    sock, other = socket.socketpair()
    with sock, other:
        transport = TlsTransport(sock, tls.client, "localhost")
        told: list[bool] = []
        transport.on_output = lambda: told.append(True)
        transport._tls = HeldUp()
        assert transport.recv_into(bytearray(3)) == 3 and not told
        assert transport.wrap(b"request") is None
        assert transport.recv_into(bytearray(3)) == 3 and told


def test_what_came_before_the_end_of_a_tls_stream_counts(tls: Tls) -> None:
    """A reply and the end in the same bytes: first the reply."""
    with FakeNode(ssl_context=tls.server) as node:
        node.on("last", lambda request, server: (server.reply(request, Void()), server.finish(), None)[-1])
        node.on("never", None)
        with connected(node, 5, ssl_context=tls.client) as connection:
            never, last = send(connection, "never"), send(connection, "last")
            assert wait_all([never, last]) == ["lost", "page"]


def test_a_damaged_tls_record(tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server) as node:
        node.on(Opcode.QUERY, None)
        with connected(node, ssl_context=tls.client) as connection:
            recorder = send(connection)
            node.wait_for(lambda n: n.count(Opcode.QUERY))
            node.connections[0].stream.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert wait_all([recorder], 1) == ["lost"]
            assert "SSLError" in str(connection.cause)


# --- KeyUpdate -------------------------------------------------------------------------------------------------------


class OpensslServer:
    """``openssl s_server``: what it is told on its input it sends; a line K makes it ask for new keys both ways (TLS 1.3), a
    line R for another handshake (TLS 1.2).
    """

    def __init__(self, directory: Path, tls: Tls, version: str) -> None:
        self.host = "127.0.0.1"
        certificate = directory / "server.pem"
        issued = tls.authority.issue_cert(self.host)
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        with socket.socket() as sock:
            sock.bind((self.host, 0))
            self.port = sock.getsockname()[1]
        self._log = open(directory / "received", "wb")  # noqa: SIM115
        program = ["openssl", "s_server", "-accept", f"{self.host}:{self.port}", "-cert", str(certificate), version]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=self._log, stderr=subprocess.STDOUT)

    @property
    def received(self) -> bytes:
        """What it has printed: words of its own and what came over TLS."""
        with open(self._log.name, "rb") as log:
            return log.read()

    def tell(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def __enter__(self) -> OpensslServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self._log.close()


@contextmanager
def openssl_server(tmp_path: Path, tls: Tls, version: str) -> Iterator[OpensslServer]:
    with OpensslServer(tmp_path, tls, version) as server:
        yield server


def _connect_to(server: OpensslServer, tls: Tls) -> Connection:
    """Without a handshake of CQL's, which s_server knows nothing of."""
    deadline = time.monotonic() + 10
    while True:
        try:
            stream = open_transport(
                [(socket.AF_INET, (server.host, server.port))],
                timeout=5,
                ssl_context=tls.client,
                server_hostname=server.host,
            )
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            gevent.sleep(0.05)
        else:
            connection = Connection("openssl", stream, 4)
            connection.settle()
            return connection


@pytest.mark.parametrize(("version", "command"), [("-tls1_3", b"K\n"), ("-tls1_2", b"R\n")])
def test_new_keys_during_an_upload(tmp_path: Path, version: str, command: bytes, tls: Tls) -> None:
    """New keys are asked for while 64 MB go up: reading and writing share one TLS state, not one watcher (pitfall A3)."""
    with openssl_server(tmp_path, tls, version) as server:
        connection = _connect_to(server, tls)
        try:
            upload = RequestTemplate(4, Op.QUERY, 0, b"z" * 1_000_000, b"")
            targets: list[Recorder] = []
            updates = 0
            while len(targets) < 64:
                target = Recorder(len(targets))
                if connection.send(target, upload, b"") >= 0:
                    targets.append(target)
                if len(targets) % 8 == 0 and updates < len(targets) // 8:
                    server.tell(command)
                    updates += 1
                gevent.sleep(0.0002)  # so that some are sent while keys are agreed upon
            assert updates == 8
            eventually(lambda: connection.unsent_bytes == 0, 30)
            # replies come through the new keys, one for each request, and nothing was lost on the way up
            eventually(lambda: server.received.count(b"z") >= 64_000_000, 30)
            assert b"SSL_do_handshake -> 1" in server.received, "no keys were updated"
            for target in targets:
                reply = wire.encode_envelope(wire.Envelope(4, 0, int(str(target.name)), Opcode.RESULT, wire.int_(1), True))
                server.tell(reply)
                gevent.sleep(0.002)
            assert set(wait_all(targets, 10)) == {"page"}
            assert not connection.closed
        finally:
            connection.close()
            settle_turns()


def test_a_handshake_while_nothing_is_sent(tmp_path: Path, tls: Tls) -> None:
    """The server's wish is answered though no request takes the answer along, and requests wait for the end of it."""
    with openssl_server(tmp_path, tls, "-tls1_2") as server:
        connection = _connect_to(server, tls)
        try:
            for _ in range(3):
                handshakes = server.received.count(b"-> 1")
                server.tell(b"R\n")
                eventually(lambda: server.received.count(b"-> 1") > handshakes)  # noqa: B023
                before = server.received.count(b"z")
                targets = [send(connection, "z" * 1000) for _ in range(10)]
                eventually(lambda: server.received.count(b"z") >= before + 10_000)  # noqa: B023
            assert not connection.closed and not any(target.told for target in targets)
        finally:
            connection.close()
            settle_turns()
