"""LZ4 and Snappy: round trips, what cassandra-driver makes of ours and we of its, and sizes that lie."""

from __future__ import annotations

import importlib.util
import sys
import tracemalloc

import cassandra.connection
import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.errors import DependencyException, FrameError
from geventcql.protocol.compression import (
    compressor,
    compressors,
    lz4_compress,
    lz4_compress_block,
    lz4_decompress,
    lz4_decompress_block,
    supported_compressors,
)

BODIES = [b"", b"a", b"abc" * 1000, bytes(range(256)) * 10, bytes(300_000)]
BODY_IDS = [f"{len(body)} bytes" for body in BODIES]


@pytest.mark.parametrize("body", BODIES, ids=BODY_IDS)
@pytest.mark.parametrize("name", ["lz4", "snappy"])
def test_round_trip_and_cassandra_drivers_codec(name: str, body: bytes) -> None:
    ours = compressor(name)
    compress, decompress = cassandra.connection.locally_supported_compressions[name]
    assert ours.name == name
    assert ours.decompress(ours.compress(body)) == body
    assert ours.decompress(compress(body)) == body
    if body:  # cassandra-driver never compresses nor gets an empty one
        assert decompress(ours.compress(body)) == body


@pytest.mark.parametrize("body", BODIES, ids=BODY_IDS)
def test_blocks_of_v5_have_no_size(body: bytes) -> None:
    block = lz4_compress_block(body)
    assert block == lz4.block.compress(body, store_size=False)
    assert lz4_decompress_block(block, len(body)) == body
    assert lz4_compress(body) == len(body).to_bytes(4, "big") + block


@given(st.binary(max_size=5000))
def test_any_body_comes_back(body: bytes) -> None:
    for name in ("lz4", "snappy"):
        algorithm = compressor(name)
        assert algorithm.decompress(algorithm.compress(body)) == body


@given(st.binary(max_size=200))
def test_any_bytes_decompress_or_are_refused(data: bytes) -> None:
    for name in ("lz4", "snappy"):
        try:
            body = compressor(name).decompress(data)
        except FrameError:
            continue
        assert len(body) <= 255 * len(data)


@pytest.mark.parametrize("difference", [-1, 1, 100])
def test_sizes_that_lie_a_little(difference: int) -> None:
    body = bytes(range(200))
    block = lz4_compress_block(body)
    with pytest.raises(FrameError, match="LZ4"):
        lz4_decompress_block(block, len(body) + difference)
    with pytest.raises(FrameError, match="LZ4"):
        lz4_decompress((len(body) + difference).to_bytes(4, "big") + block)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("lz4", b"\x0f\xff\xff\xff" + b"\x00"),  # 256 MiB less one in one byte
        ("lz4", b"\x7f\xff\xff\xff" + bytes(1000)),
        ("lz4", b"\xff\xff\xff\xff" + bytes(1000)),
        ("lz4", b"\x00\x00\x00"),
        ("lz4", b""),
        ("snappy", b"\xff\xff\xff\x7f" + b"\x00"),  # 256 MiB less one
        ("snappy", b"\xff\xff\xff\xff\x0f" + bytes(1000)),  # 4 GiB
        ("snappy", b"\xff\xff\xff\xff\xff\x01"),
        ("snappy", b"\x80"),
        ("snappy", b""),
    ],
)
def test_bombs_and_stumps_are_refused_before_memory_is_taken(name: str, data: bytes) -> None:
    decompress = compressor(name).decompress
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            decompress(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_more_than_a_frame_holds_is_refused_even_if_it_could_be_true() -> None:
    for name in ("lz4", "snappy"):
        algorithm = compressor(name)
        assert algorithm.decompress(algorithm.compress(bytes(1000)), 1000) == bytes(1000)
        with pytest.raises(FrameError, match="1000 is the most"):
            algorithm.decompress(algorithm.compress(bytes(1001)), 1000)
    with pytest.raises(FrameError, match="-1 bytes"):
        lz4_decompress_block(b"\x00", -1)


@pytest.mark.parametrize("name", ["lz4", "snappy"])
def test_corrupt_data_is_refused(name: str) -> None:
    algorithm = compressor(name)
    data = bytearray(algorithm.compress(bytes(range(256)) * 4))
    with pytest.raises(FrameError):
        algorithm.decompress(bytes(data[: len(data) // 2]))


def test_what_can_be_used_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compressors() == ("lz4", "snappy")
    assert supported_compressors(4) == ("lz4", "snappy")
    assert supported_compressors(5) == ("lz4",)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert compressors() == supported_compressors(3) == ("lz4",)


def test_missing_and_unknown_algorithms_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'zstd'"):
        compressor("zstd")
    monkeypatch.setitem(sys.modules, "snappy", None)
    with pytest.raises(DependencyException, match="python-snappy"):
        compressor("snappy")
