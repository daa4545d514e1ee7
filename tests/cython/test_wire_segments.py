"""v5 segments: checksums, packing, and damage that must never pass for a frame."""

from __future__ import annotations

import io
import random
import zlib

import pytest
from cassandra.segment import SegmentCodec

from geventcql.cython.wire import MAX_SEGMENT_PAYLOAD, crc24, pack_segments
from geventcql.errors import CrcMismatchException, FrameError
from geventcql.protocol.compression import lz4_compress_block
from tests.cython.wireserver import PUSHES, Bodies, Push, Server, check, client, feed
from tests.support import wire
from tests.support.wire import Opcode


def test_golden_bytes() -> None:
    """An OPTIONS frame, as cassandra-driver too puts it on the wire: header and CRC24, little-endian, the frame, CRC32."""
    options = bytes.fromhex("050000000500000000")
    golden = bytes.fromhex("090002" "a4c8c1" "050000000500000000" "1086284d")
    assert pack_segments(options, [9]) == golden
    theirs = io.BytesIO()
    SegmentCodec().encode(theirs, options)
    assert theirs.getvalue() == golden
    assert crc24(b"") == 0x875060
    assert crc24(b"123456789") == 0x4B3F02
    assert crc24(golden[:3]) == 0xC1C8A4
    assert zlib.crc32(b"\xfa\x2d\x55\xca" + options) == 0x4D288610


def _slow_crc24(data: bytes) -> int:
    """Bit by bit, from the polynomial in the specification."""
    crc = 0x875060
    for octet in data:
        crc ^= octet << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1974F0B
    return crc


def test_crc24_agrees_bit_by_bit() -> None:
    rng = random.Random(1)
    for size in range(1, 12):
        for _ in range(50):
            data = rng.randbytes(size)
            assert crc24(data) == _slow_crc24(data) == wire.crc24(data)


@pytest.mark.parametrize("compressed", [False, True])
def test_pack_segments_agrees_with_the_independent_codec(compressed: bool) -> None:
    rng = random.Random(2)
    bodies = Bodies(3, 400_000)
    lists = [[n] for n in (9, 131_070, 131_071, 131_072, 262_142, 262_143, 400_000)]
    lists += [[131_071, 9], [9, 131_071], [131_062, 9, 9], [131_072, 9, 262_142, 9, 9], [65_536, 65_536], [65_535, 65_536]]
    lists += [[rng.choice((9, 40, 900, 70_000, 131_071, 150_000)) for _ in range(12)] for _ in range(20)]
    for sizes in lists:
        frames = [bodies.make(size, rng.randrange(2))[1] for size in sizes]
        packed = pack_segments(b"".join(frames), sizes, lz4_compress_block if compressed else None)
        assert packed == b"".join(wire.encode_segments(frames, compressed)), sizes


@pytest.mark.parametrize("compressed", [False, True])
def test_the_independent_codec_reads_packed_requests(compressed: bool) -> None:
    bodies = Bodies(4, 300_000)
    frames = [
        wire.encode_envelope(wire.Envelope(5, 0, n, Opcode.QUERY, bodies.make(size, n & 1)[1]))
        for n, size in enumerate((0, 10, 131_061, 131_062, 131_063, 300_000, 5, 5))
    ]
    decoder = wire.Decoder()
    decoder.segmented, decoder.compression = True, "lz4" if compressed else None
    decoder.feed(pack_segments(b"".join(frames), [len(f) for f in frames], lz4_compress_block if compressed else None))
    assert [wire.encode_envelope(envelope) for envelope in iter(decoder.next, None)] == frames
    assert decoder.pending == 0


def test_nothing_to_pack() -> None:
    assert pack_segments(b"", []) == b""


def test_a_payload_that_does_not_shrink_travels_as_it_is() -> None:
    noise = random.Random(5).randbytes(1000)
    packed = pack_segments(noise, [1000], lz4_compress_block)
    header = int.from_bytes(packed[:5], "little")
    assert (header & MAX_SEGMENT_PAYLOAD, header >> 17 & MAX_SEGMENT_PAYLOAD, header >> 34) == (1000, 0, 1)
    assert packed[8:-4] == noise


def _refused(data: bytes, compression: str | None, push: Push) -> tuple[BaseException | None, list[object]]:
    table, splitter = client(5, compression)
    table.acquire("t")
    out: list[object] = []
    try:
        push(splitter, data, out)
    except (CrcMismatchException, FrameError) as error:
        return error, out
    return None, out


@pytest.mark.parametrize("push", PUSHES)
@pytest.mark.parametrize("compression", [None, "lz4"])
def test_every_damaged_bit_is_found(compression: str | None, push: Push) -> None:
    """Each bit of header, checksums and payload in turn: an error, or a segment that is still waited for; never a reply."""
    server = Server(5, compression)
    opcode, body = Bodies(6, 200).make(120, 0)
    data = server.bytes([server.envelope(0, opcode, body)])
    kinds = set()
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        error, out = _refused(bytes(damaged), compression, push)
        assert out == [], f"bit {bit} damaged and a reply came out"
        kinds.add(type(error))
    assert kinds == {CrcMismatchException}, "both checksums cover every bit"


@pytest.mark.parametrize("compression", [None, "lz4"])
def test_damage_behind_good_segments_keeps_the_good_replies(compression: str | None) -> None:
    server = Server(5, compression)
    table, splitter = client(5, compression)
    frames = [server.envelope(table.acquire(n), Opcode.SUPPORTED, b"body %d" % n) for n in range(3)]
    good = server.bytes(frames[:1]) + server.bytes(frames[1:2])
    for what in ("header", "header_crc", "payload", "payload_crc"):
        bad = wire.corrupt_segment(server.bytes(frames[2:]), what, compression is not None)
        table, splitter = client(5, compression)
        for n in range(3):
            table.acquire(n)
        out: list[object] = []
        with pytest.raises(CrcMismatchException, match="header" if what.startswith("header") else "payload"):
            feed(splitter, good + bad, out)
        check(out, [(0, Opcode.SUPPORTED, b"body 0"), (1, Opcode.SUPPORTED, b"body 1")])
        assert table.waiting() == [2]


def _segment(payload: bytes, stated: int) -> bytes:
    """A segment of a compressed connection with right checksums and any stated size."""
    header = (len(payload) | stated << 17 | 1 << 34).to_bytes(5, "little")
    checks = wire.crc24(header).to_bytes(3, "little"), wire.crc32(payload).to_bytes(4, "little")
    return header + checks[0] + payload + checks[1]


def test_stated_sizes_that_lie() -> None:
    server = Server(5, "lz4")
    envelope = server.envelope(0, Opcode.SUPPORTED, b"ab" * 500)
    block = wire.lz4_compress_block(envelope)
    assert _refused(_segment(block, len(envelope)), "lz4", feed)[0] is None
    for stated in (1, len(envelope) - 1, len(envelope) + 1, 2 * len(envelope), MAX_SEGMENT_PAYLOAD):
        error, out = _refused(_segment(block, stated), "lz4", feed)
        assert isinstance(error, FrameError) and "LZ4" in str(error), stated
        assert out == []
    for stated, payload in ((100, b""), (100, b"\xff" * 30), (5, block[:-3])):
        error, out = _refused(_segment(payload, stated), "lz4", feed)
        assert isinstance(error, FrameError), (stated, payload)


def test_empty_segments_are_passed_over() -> None:
    """Nothing forbids them; they must not end or confuse anything, in the middle of a frame either."""
    for compression in (None, "lz4"):
        server = Server(5, compression)
        table, splitter = client(5, compression)
        raw = server.envelope(table.acquire("t"), Opcode.SUPPORTED, b"x" * 50)
        empty = wire.encode_segment(b"", True, compression is not None)
        halves = [wire.encode_segment(part, False, compression is not None) for part in (raw[:4], raw[4:30], raw[30:])]
        out: list[object] = []
        feed(splitter, empty.join([b"", *halves, b""]), out)
        check(out, [("t", Opcode.SUPPORTED, b"x" * 50)])
