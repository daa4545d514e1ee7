"""Bytes that are no replies, replies to nothing: a named error, and what came before it still counts."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from geventcql.cython.wire import DEFAULT_MAX_FRAME, Frame, FrameSplitter, InFlight, Page, RequestTemplate
from geventcql.errors import FrameError, ProtocolError
from tests.cython.wireserver import PUSHES, VARIANTS, Push, Server, check, client, feed
from tests.support import wire
from tests.support.wire import Envelope, Opcode

BOTH_WAYS = pytest.mark.parametrize("push", PUSHES)
VOID = wire.int_(1)


def _claims(length: int, version: int = 4, stream: int = 0) -> bytes:
    """A header whose body is said to have that many bytes (unsigned)."""
    return bytes([0x80 | version, 0]) + wire.short(stream) + bytes([Opcode.RESULT]) + length.to_bytes(4, "big")


@BOTH_WAYS
@pytest.mark.parametrize("length", [DEFAULT_MAX_FRAME + 1, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("version", [4, 5])
def test_claims_of_gigabytes_take_no_memory(version: int, length: int, push: Push) -> None:
    table, splitter = client(version)
    table.acquire("t")
    data = _claims(length, version) + bytes(100)
    if version == 5:
        data = wire.encode_segment(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FrameError, match=f"claims a body of {length} bytes; the limit is {DEFAULT_MAX_FRAME}"):
        push(splitter, data, [])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 64 * 1024  # KiB
    assert issubclass(FrameError, ProtocolError)


def test_the_limit_is_the_callers() -> None:
    table, splitter = client(4, max_frame=1000)
    out: list[Any] = []
    feed(splitter, Server(4).envelope(table.acquire("t"), Opcode.SUPPORTED, bytes(1000)), out)
    assert len(out[0][1].body) == 1000
    with pytest.raises(FrameError, match="claims a body of 1001 bytes; the limit is 1000"):
        feed(splitter, _claims(1001), out)


@BOTH_WAYS
@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP server"),
        (b"HTTP", "HTTP server"),
        (b"H", "HTTP server"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "TLS"),
        (b"\x00", "native protocol port"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "SSH-2.0-O"),
        (b"\x04\x00\x00\x00\x08\x00\x00\x00\x00", "native protocol port"),  # a request
        (b"\x83\x00\x00\x00\x08\x00\x00\x00\x00", "not a CQL v4 reply"),
        (b"\x85\x00\x00\x00\x08\x00\x00\x00\x00", "not a CQL v4 reply"),
        (b"\xff" * 9, "not a CQL v4 reply"),
    ],
)
def test_what_is_no_cql_is_refused_at_its_first_bytes(data: bytes, hint: str, push: Push) -> None:
    """Without waiting for nine bytes: a server may send fewer and then wait for us."""
    table, splitter = client(4)
    table.acquire("t")
    with pytest.raises(FrameError, match=hint):
        push(splitter, data, [])
    table, splitter = client(4)
    with pytest.raises(FrameError, match="not a CQL v4 reply"):
        for n in range(len(data)):
            push(splitter, data[n : n + 1], [])


def test_other_versions_are_let_through_while_negotiating_only() -> None:
    """A server answers a version that it does not know in a frame of its own highest."""
    for seen in (0x81, 0x83, 0x84, 0x85, 0x86, 0xC2):
        table = InFlight()
        splitter = FrameSplitter(table, 4)
        out: list[Any] = []
        raw = bytes([seen, 0]) + wire.short(table.acquire("t")) + bytes([Opcode.ERROR]) + wire.int_(0)
        splitter.feed(raw, out)
        assert out[0][0] == "t" and out[0][1].version == seen & 0x7F
    for seen in (0x04, 0x80, 0xC3, 0xFF, ord("H")):
        splitter = FrameSplitter(InFlight(), 4)
        with pytest.raises(FrameError, match="not a CQL"):
            splitter.feed(bytes([seen]) + bytes(8))


@BOTH_WAYS
@pytest.mark.parametrize(("version", "compression"), VARIANTS)
@pytest.mark.parametrize("opcode", [Opcode.RESULT, Opcode.ERROR, Opcode.SUPPORTED])
def test_replies_to_nothing(version: int, compression: str | None, opcode: Opcode, push: Push) -> None:
    """On a stream never used, on one answered already, on a number that no stream can have: never somebody else's reply."""
    server = Server(version, compression)
    for stream, text in ((5, "no request is open"), (64, "nothing was ever sent"), (32767, "nothing was ever sent")):
        table, splitter = client(version, compression)
        table.acquire("waits")
        out: list[Any] = []
        with pytest.raises(FrameError, match=text):
            push(splitter, server.bytes([server.envelope(stream, opcode, VOID)]), out)
        assert out == [] and table.waiting() == ["waits"]
    table, splitter = client(version, compression)
    twice = server.envelope(table.acquire("t"), opcode, VOID)
    table.acquire("waits")
    out = []
    with pytest.raises(FrameError, match="duplicate"):
        push(splitter, server.bytes([twice, twice]), out)
    assert [target for target, _ in out] == ["t"]
    assert table.waiting() == ["waits"]
    table.check()


@pytest.mark.parametrize(("version", "compression"), VARIANTS)
def test_what_was_cut_before_an_error_is_kept(version: int, compression: str | None) -> None:
    server = Server(version, compression)
    for bad in (b"\xff" * 9, server.envelope(9, Opcode.RESULT, VOID), _claims((1 << 31) - 1, version, 3)):
        table, splitter = client(version, compression)
        frames = [server.envelope(table.acquire(n), Opcode.SUPPORTED, b"%d" % n) for n in range(3)]
        table.acquire(3)
        data = server.bytes([*frames, bad])
        with memoryview(splitter) as room:
            room[: len(data)] = data
        splitter.received(len(data))
        out: list[Any] = []
        with pytest.raises(FrameError):
            splitter.take(256, out)
        check(out, [(n, Opcode.SUPPORTED, b"%d" % n) for n in range(3)])
        assert table.waiting() == [3]


@pytest.mark.parametrize(("version", "compression"), VARIANTS)
def test_late_replies_free_their_id_and_are_dropped(version: int, compression: str | None) -> None:
    server = Server(version, compression)
    table, splitter = client(version, compression)
    first = table.acquire("gives up")
    second = table.acquire("waits")
    assert table.orphan(first, "gives up")
    out: list[Any] = []
    frames = [server.envelope(stream, Opcode.SUPPORTED, b"x") for stream in (first, second)]
    feed(splitter, server.bytes(frames), out)
    check(out, [("waits", Opcode.SUPPORTED, b"x")])
    assert (table.orphaned, table.late_replies, table.in_flight) == (0, 1, 0)
    assert table.acquire("next") in (first, second)
    table.check()


@pytest.mark.parametrize(("version", "compression"), VARIANTS)
def test_events_have_no_target(version: int, compression: str | None) -> None:
    server = Server(version, compression)
    _, splitter = client(version, compression)
    out: list[Any] = []
    feed(splitter, server.bytes([server.envelope(stream, Opcode.EVENT, b"body") for stream in (-1, -32768)]), out)
    assert [(target, frame.stream, frame.opcode, frame.body) for target, frame in out] == [
        (None, -1, Opcode.EVENT, b"body"),
        (None, -32768, Opcode.EVENT, b"body"),
    ]


def test_compressed_without_agreement() -> None:
    table, splitter = client(4)
    raw = Server(4, "lz4").envelope(table.acquire("t"), Opcode.SUPPORTED, b"x" * 100)
    with pytest.raises(FrameError, match="no compression was agreed on"):
        splitter.feed(raw)


@pytest.mark.parametrize(
    "body", [b"", b"\0\0", b"\x7f\xff\xff\xff" + bytes(20), b"\xff\xff\xff\xff", wire.int_(50) + b"\xff" * 9]
)
def test_compressed_bodies_that_lie(body: bytes) -> None:
    table, splitter = client(4, "lz4")
    raw = wire.encode_envelope(Envelope(4, wire.FLAG_COMPRESSION, table.acquire("t"), Opcode.RESULT, body, True))
    with pytest.raises(FrameError, match="LZ4"):
        splitter.feed(raw)


def test_uncompressed_replies_on_a_compressed_connection() -> None:
    """A server leaves small bodies as they are."""
    table, splitter = client(4, "lz4")
    out = splitter.feed(Server(4).envelope(table.acquire("t"), Opcode.SUPPORTED, b"small"))
    check(out, [("t", Opcode.SUPPORTED, b"small")])


@pytest.mark.parametrize("kind", [3, 4, 5, 0, 6, -1])
def test_results_that_are_neither_void_nor_rows_are_frames(kind: int) -> None:
    table, splitter = client(4)
    ((target, frame),) = splitter.feed(Server(4).envelope(table.acquire("t"), Opcode.RESULT, wire.int_(kind) + b"rest"))
    assert target == "t" and type(frame) is Frame and frame.body == wire.int_(kind) + b"rest"
    assert repr(frame) == "<Frame v4 stream=0 opcode=0x08 8 bytes>"


def test_void_is_a_page() -> None:
    table, splitter = client(4)
    ((target, page),) = splitter.feed(Server(4).envelope(table.acquire("t"), Opcode.RESULT, VOID + b"trailing"))
    assert target == "t" and type(page) is Page and page.kind == 1 and repr(page) == "<Page void>"


def test_a_request_template_makes_the_frames_that_the_codec_reads() -> None:
    decoder = wire.Decoder()
    plain = RequestTemplate(4, Opcode.EXECUTE, 2, b"prefix", b"suffix")
    stamped = RequestTemplate(5, Opcode.EXECUTE, 0, b"prefix", b"suffix", 3)
    at_the_end = RequestTemplate(5, Opcode.EXECUTE, 0, b"", b"suffix", 6)
    decoder.feed(plain.frame(32767, b"|values|"))
    decoder.feed(plain.frame(0, b"", 99))
    decoder.feed(stamped.frame(256, b"|values|", -2))
    decoder.feed(at_the_end.frame(1, b"", (1 << 63) - 1))
    assert list(iter(decoder.next, None)) == [
        Envelope(4, 2, 32767, Opcode.EXECUTE, b"prefix|values|suffix"),
        Envelope(4, 2, 0, Opcode.EXECUTE, b"prefixsuffix"),
        Envelope(5, 0, 256, Opcode.EXECUTE, b"prefix|values|suf" + b"\xff" * 7 + b"\xfe" + b"fix"),
        Envelope(5, 0, 1, Opcode.EXECUTE, b"suffix\x7f" + b"\xff" * 7),
    ]
    with pytest.raises(ValueError, match="behind the suffix"):
        RequestTemplate(4, 7, 0, b"", b"abc", 4)


def test_a_request_longer_than_a_frame_may_be() -> None:
    template = RequestTemplate(4, Opcode.QUERY, 0, b"", b"")
    with pytest.raises(FrameError, match="over the protocol's limit"):
        template.frame(0, bytes(DEFAULT_MAX_FRAME + 1))
