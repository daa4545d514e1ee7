"""The fake node's codec: envelopes and segments against cassandra-driver's, and however the bytes are cut."""

from __future__ import annotations

import io
import random

import pytest
from cassandra.connection import segment_codec_lz4, segment_codec_no_compression
from cassandra.segment import CRC32_INITIAL, compute_crc24, compute_crc32
from hypothesis import given
from hypothesis import strategies as st

from tests.support import wire
from tests.support.wire import Decoder, Envelope, Opcode, WireError


def _feed(decoder: Decoder, data: bytes, cuts: list[int]) -> list[Envelope]:
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        decoder.feed(data[start:end])
        while (envelope := decoder.next()) is not None:
            found.append(envelope)
    return found


def _decoder(segmented: bool, compressed: bool) -> Decoder:
    decoder = Decoder()
    decoder.segmented = segmented
    decoder.compression = "lz4" if compressed else None
    return decoder


@given(st.binary(min_size=5, max_size=5))
def test_crc24_is_cassandra_drivers(header: bytes) -> None:
    assert wire.crc24(header) == compute_crc24(int.from_bytes(header, "little"), 5)
    assert wire.crc24(header[:3]) == compute_crc24(int.from_bytes(header[:3], "little"), 3)


def test_crc32_is_cassandra_drivers() -> None:
    assert wire.crc32(b"some payload") == compute_crc32(b"some payload", CRC32_INITIAL)


def test_golden_segment() -> None:
    """An OPTIONS request on stream 1, alone in a segment."""
    golden = bytes.fromhex("090002a4c8c1050000010500000000b5557486")
    assert b"".join(wire.encode_segments([wire.encode_envelope(Envelope(5, 0, 1, Opcode.OPTIONS, b""))])) == golden


@pytest.mark.parametrize("size", [0, 1, 1000, wire.MAX_SEGMENT_PAYLOAD - 9, wire.MAX_SEGMENT_PAYLOAD, 400_000])
@pytest.mark.parametrize("compressed", [False, True])
def test_segments_of_cassandra_driver_are_read(size: int, compressed: bool) -> None:
    codec = segment_codec_lz4 if compressed else segment_codec_no_compression
    sent = Envelope(5, 0, 7, Opcode.QUERY, random.Random(size).randbytes(size // 2) + bytes(size - size // 2))
    buffer = io.BytesIO()
    codec.encode(buffer, wire.encode_envelope(sent))
    decoder = _decoder(True, compressed)
    assert _feed(decoder, buffer.getvalue(), []) == [sent]
    assert decoder.pending == 0


@pytest.mark.parametrize(("segmented", "compressed"), [(False, False), (True, False), (True, True)])
def test_envelopes_cut_anywhere(segmented: bool, compressed: bool) -> None:
    sent = [Envelope(4, 0, stream, Opcode.RESULT, bytes([stream]) * stream * 9, True) for stream in range(12)]
    raw = [wire.encode_envelope(envelope) for envelope in sent]
    data = b"".join(wire.encode_segments(raw, compressed, max_payload=50) if segmented else raw)
    assert _feed(_decoder(segmented, compressed), data, []) == sent
    assert _feed(_decoder(segmented, compressed), data, list(range(1, len(data)))) == sent
    for cut in range(1, len(data)):
        assert _feed(_decoder(segmented, compressed), data, [cut]) == sent


def test_small_envelopes_share_a_segment_and_large_ones_are_split() -> None:
    assert len(wire.encode_segments([b"x" * 10] * 20)) == 1
    assert len(wire.encode_segments([b"x" * 10, b"y" * 131_072, b"z" * 10])) == 4


@pytest.mark.parametrize("compression", ["lz4", "snappy"])
@pytest.mark.parametrize("size", [1, 100, 70_000])
def test_compressed_bodies(compression: str, size: int) -> None:
    compress, decompress = wire.BODY_COMPRESSORS[compression]
    body = bytes(range(256)) * (size // 256 + 1)
    assert decompress(compress(body)) == body
    decoder = Decoder()
    decoder.compression = compression
    raw = wire.encode_envelope(Envelope(4, wire.FLAG_COMPRESSION, 1, Opcode.RESULT, compress(body), True))
    assert [envelope.body for envelope in _feed(decoder, raw, [5])] == [body]


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x10"])
def test_a_snappy_block_that_says_it_has_gigabytes(size: bytes) -> None:
    with pytest.raises(WireError, match="Snappy block of"):
        wire.BODY_COMPRESSORS["snappy"][1](size + b"\x00x")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("what", ["header", "header_crc", "payload", "payload_crc"])
def test_every_corruption_is_seen(what: str, compressed: bool) -> None:
    raw = wire.encode_segment(wire.encode_envelope(Envelope(5, 0, 1, Opcode.QUERY, bytes(500))), True, compressed)
    broken = wire.corrupt_segment(raw, what, compressed)
    assert len(broken) == len(raw) and sum(a != b for a, b in zip(raw, broken, strict=True)) == 1
    decoder = _decoder(True, compressed)
    decoder.feed(broken)
    with pytest.raises(WireError, match="header" if what.startswith("header") else "payload"):
        decoder.next()


def test_a_self_contained_segment_must_end_with_an_envelope() -> None:
    decoder = _decoder(True, False)
    decoder.feed(wire.encode_segment(wire.encode_envelope(Envelope(5, 0, 1, Opcode.QUERY, b"body"))[:-1]))
    with pytest.raises(WireError, match="self-contained"):
        decoder.next()


def test_a_body_that_is_too_large_is_refused() -> None:
    decoder = Decoder()
    decoder.feed(wire.HEADER.pack(4, 0, 0, Opcode.QUERY, 0x7FFFFFFF))
    with pytest.raises(WireError, match="2147483647"):
        decoder.next()
