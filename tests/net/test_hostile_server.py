"""Servers that mean harm, on one connection: what they send ends in a named error and a closed connection, and takes no more
memory than it has bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import gevent
import lz4.block
import pytest
import snappy

from geventcql.errors import ConnectionException, FrameError
from geventcql.protocol.constants import MAX_BODY_SIZE
from tests.net.peers import connect, connected, send, wait_all
from tests.support import wire
from tests.support.badserver import BadServer
from tests.support.fakenode import (
    AuthChallenge,
    Error,
    ErrorCode,
    FakeNode,
    Message,
    Opcode,
    Raw,
    Reply,
    Request,
    ServerConnection,
)
from tests.support.wire import FLAG_COMPRESSION, HEADER

MIB = 1024 * 1024
ALL = pytest.mark.parametrize("version", [3, 4, 5])
RESULT_VOID = wire.int_(1)


def header(version: int, stream: int, opcode: int, length: int, flags: int = 0) -> bytes:
    return HEADER.pack(version | 0x80, flags, stream, opcode, length)


def claims(opcode: int, length: int) -> Callable[[Request, ServerConnection], Reply]:
    """An answer of which nothing but the header comes."""

    def answer(request: Request, connection: ServerConnection) -> Reply:
        head = header(request.version, request.stream, opcode, length)
        return Raw(wire.encode_segment(head, self_contained=False) if request.version >= 5 else head)

    return answer


def ends(node: FakeNode, version: int, words: str, **settings: Any) -> None:
    """A query ends with a connection that is lost because of `words`."""
    with connected(node, version, **settings) as connection:
        recorder = send(connection, "SELECT v FROM t")
        assert wait_all([recorder]) == ["lost"]
        assert isinstance(connection.cause, FrameError) and words in str(connection.cause), connection.cause
        assert connection.closed


@ALL
@pytest.mark.parametrize("opcode", [Opcode.EVENT, Opcode.SUPPORTED, Opcode.AUTH_CHALLENGE])
def test_what_is_no_result_is_not_long(version: int, opcode: Opcode) -> None:
    with FakeNode() as node:
        node.on("SELECT v FROM t", claims(opcode, MIB + 1))
        ends(node, version, "claims a body of 1048577 bytes; the limit is 1048576")


@ALL
def test_an_error_may_quote_a_long_statement(version: int) -> None:
    with FakeNode() as node:
        quoting = wire.int_(ErrorCode.INVALID) + wire.string("quoted") + bytes(2 * MIB)
        node.on("SELECT v FROM t", Message(Opcode.ERROR, quoting))
        with connected(node, version) as connection:
            recorder = send(connection, "SELECT v FROM t")
            assert wait_all([recorder]) == ["frame"] and not connection.closed


@ALL
@pytest.mark.parametrize("length", [MAX_BODY_SIZE + 1, 2**31 - 1, 2**32 - 1])
def test_frames_beyond_the_protocols_limit(version: int, length: int) -> None:
    with FakeNode() as node:
        node.on("SELECT v FROM t", claims(Opcode.RESULT, length))
        ends(node, version, f"claims a body of {length} bytes; the limit is {MAX_BODY_SIZE}")


@ALL
def test_frames_beyond_ones_own_limit(version: int) -> None:
    with FakeNode() as node:
        node.on("SELECT v FROM t", claims(Opcode.RESULT, 2 * MIB + 1))
        ends(node, version, f"claims a body of {2 * MIB + 1} bytes; the limit is {2 * MIB}", max_frame=2 * MIB)


@ALL
@pytest.mark.parametrize("opcode", [Opcode.SUPPORTED, Opcode.READY, Opcode.RESULT, Opcode.AUTHENTICATE])
def test_nothing_is_long_before_the_handshake_is_over(version: int, opcode: Opcode) -> None:
    """Then anybody may be at the other end."""
    with FakeNode() as node:
        node.on(Opcode.STARTUP, lambda request, _: Raw(header(request.version, request.stream, opcode, MIB + 1)))
        with pytest.raises(ConnectionException, match="claims a body of 1048577 bytes"):
            connect(node, version)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("name", ["lz4", "snappy"])
@pytest.mark.parametrize("opcode", [Opcode.RESULT, Opcode.EVENT])
def test_bodies_that_grow(version: int, name: str, opcode: Opcode) -> None:
    """Bytes that are all alike shrink to a hundredth and less."""
    most = 2 * MIB if opcode == Opcode.RESULT else MIB
    packed = snappy.compress(bytes(most + 1))
    if name == "lz4":
        packed = struct.pack(">I", most + 1) + lz4.block.compress(bytes(most + 1), store_size=False)
    with FakeNode(compression=[name]) as node:
        node.on("SELECT v FROM t", lambda request, _: Raw(
            header(version, request.stream, opcode, len(packed), FLAG_COMPRESSION) + packed
        ))  # fmt: skip
        ends(node, version, f"says it has {most + 1} bytes; {most} is the most", compression=(name,), max_frame=2 * MIB)


@pytest.mark.parametrize("size", [2**31 - 1, 2**32 - 1, MAX_BODY_SIZE])
@pytest.mark.parametrize("version", [3, 4])
def test_sizes_that_are_forged(version: int, size: int) -> None:
    packed = struct.pack(">I", size) + lz4.block.compress(RESULT_VOID, store_size=False)
    with FakeNode(compression=["lz4"]) as node:
        node.on("SELECT v FROM t", lambda request, _: Raw(
            header(version, request.stream, Opcode.RESULT, len(packed), FLAG_COMPRESSION) + packed
        ))  # fmt: skip
        ends(node, version, f"says it has {size} bytes", compression=("lz4",))


@pytest.mark.parametrize("version", [3, 4])
def test_compression_that_nobody_agreed_on(version: int) -> None:
    with FakeNode() as node:
        node.on("SELECT v FROM t", lambda request, _: Raw(
            header(version, request.stream, Opcode.RESULT, 4, FLAG_COMPRESSION) + RESULT_VOID
        ))  # fmt: skip
        ends(node, version, "no compression was agreed on")


@ALL
def test_challenges_without_end(version: int) -> None:
    """Each is answered at once; the time for the handshake ends all the same."""

    class Patient:
        server_authenticator_class: str | None = None

        def initial_response(self) -> bytes:
            return b"?"

        def evaluate_challenge(self, challenge: bytes | None) -> bytes:
            return b"!"

    late = r"the handshake was not over within 0\.2 s|did not answer"
    with (
        FakeNode(auth=lambda request, connection: AuthChallenge(b"again")) as node,
        gevent.Timeout(5, AssertionError("the handshake goes on for ever")),
        pytest.raises(ConnectionException, match=late),
    ):
        connect(node, version, connect_timeout=0.2, authenticator=lambda endpoint: Patient())


@ALL
def test_an_error_that_nobody_knows(version: int) -> None:
    """It concerns one request, and the connection goes on."""
    with FakeNode() as node:
        node.on("SELECT v FROM t", Message(Opcode.ERROR, struct.pack(">i", 0x7777) + wire.string("x" * 65_535)))
        with connected(node, version) as connection:
            for _ in range(2):
                recorder = send(connection, "SELECT v FROM t")
                assert wait_all([recorder]) == ["frame"]
            assert not connection.closed


@ALL
def test_a_message_that_is_pushed_is_not_shown(version: int) -> None:
    """It may hold a secret, and goes into the error that ends all requests."""
    secret = wire.bytes_(b"hunter2")
    with FakeNode() as node:
        node.on("SELECT v FROM t", Message(Opcode.AUTH_SUCCESS, secret).on_stream(-1))
        with connected(node, version) as connection:
            assert wait_all([send(connection, "SELECT v FROM t")]) == ["lost"]
            assert "pushed AuthSuccess(token=...)" in str(connection.cause) and "hunter2" not in repr(connection)


@ALL
def test_an_error_for_nobody_ends_the_connection(version: int) -> None:
    with FakeNode() as node:
        node.on("SELECT v FROM t", Error(ErrorCode.PROTOCOL_ERROR, "no").on_stream(-1))
        with connected(node, version) as connection:
            assert wait_all([send(connection, "SELECT v FROM t")]) == ["lost"] and connection.closed


def test_a_server_that_sends_anything_at_all() -> None:
    for seed in range(30):
        with BadServer("garbage", seed=seed) as server, pytest.raises(ConnectionException):
            connect(server, 5, connect_timeout=1.0)
