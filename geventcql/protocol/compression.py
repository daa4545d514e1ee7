"""LZ4 and Snappy as the native protocol uses them (section 5).

Layer: protocol; pure. Sizes that a server states are never believed further than what was received can hold and what
a frame may hold: lying ones raise FrameError before memory is taken for them.

Frames of v3 and v4 have a compressed body; with LZ4 its size comes first, 4 bytes, big-endian. Segments of v5 hold a
bare LZ4 block, whose size stands in the segment's header; v5 has no other algorithm.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import lz4.block

from geventcql.errors import DependencyException, FrameError
from geventcql.protocol.constants import MAX_BODY_SIZE, ProtocolVersion

# The most that a byte of compressed data can stand for. LZ4: a length byte adds 255. Snappy: 3 bytes copy 64.
_LZ4_RATIO = 255
_SNAPPY_RATIO = 22


class Compressor(NamedTuple):
    """One algorithm for the bodies of v3 and v4 frames: bytes in, bytes out. `decompress` raises FrameError; its second
    argument is the most bytes that may come out.
    """

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]


def compressors() -> tuple[str, ...]:
    """Names of the algorithms that can be used here, best first, as in STARTUP: 'lz4' always, 'snappy' if installed."""
    return ("lz4", "snappy") if importlib.util.find_spec("snappy") else ("lz4",)


def supported_compressors(version: int) -> tuple[str, ...]:
    """Those of compressors() that protocol `version` has."""
    return compressors() if version < ProtocolVersion.V5 else ("lz4",)


def compressor(name: str) -> Compressor:
    """The algorithm `name` for v3 and v4 frames; DependencyException if its library is missing."""
    if name == "lz4":
        return Compressor(name, lz4_compress, lz4_decompress)
    if name != "snappy":
        raise ValueError(f"compression {name!r} is none of the protocol's: 'lz4' or 'snappy'")
    try:
        import snappy
    except ImportError as exc:
        message = "compression='snappy' needs python-snappy: pip install geventcql[snappy]"
        raise DependencyException(message, [exc]) from exc
    compress: Callable[[bytes], bytes] = snappy.compress
    return Compressor(name, compress, _snappy_decompress)


def lz4_compress(body: bytes) -> bytes:
    """The body of a v3 or v4 frame as LZ4: its size, then the block."""
    return len(body).to_bytes(4, "big") + lz4_compress_block(body)


def lz4_decompress(data: bytes, most: int = MAX_BODY_SIZE) -> bytes:
    """What lz4_compress was given; FrameError if `data` does not hold what it says, or more than `most` bytes."""
    if len(data) < 4:
        raise FrameError(f"a frame compressed with LZ4 has {len(data)} bytes, its size alone has 4")
    return lz4_decompress_block(data[4:], int.from_bytes(data[:4], "big"), most)


def lz4_compress_block(payload: bytes) -> bytes:
    """`payload` as a bare LZ4 block (v5 segments)."""
    block: bytes = lz4.block.compress(payload, store_size=False)
    return block


def lz4_decompress_block(block: bytes, size: int, most: int = MAX_BODY_SIZE) -> bytes:
    """The `size` bytes that are in a bare LZ4 block; FrameError if they are not, or are more than `most`."""
    _check_size("LZ4", size, len(block), _LZ4_RATIO, most)
    try:
        data: bytes = lz4.block.decompress(block, uncompressed_size=size)
    except lz4.block.LZ4BlockError as exc:
        raise FrameError(f"a frame compressed with LZ4 is corrupt: {exc}") from exc
    if len(data) != size:
        raise FrameError(f"a frame compressed with LZ4 has {len(data)} bytes, it says {size}")
    return data


def _snappy_decompress(data: bytes, most: int = MAX_BODY_SIZE) -> bytes:
    import snappy

    size = _snappy_size(data)
    _check_size("Snappy", size, len(data), _SNAPPY_RATIO, most)
    if size == 0:  # the libraries do not agree on how to refuse or take an empty one
        return b""
    try:
        body: bytes = snappy.uncompress(data)
    except Exception as exc:  # the exception's class depends on the library that python-snappy stands on
        raise FrameError(f"a frame compressed with Snappy is corrupt: {exc}") from exc
    return body


def _snappy_size(data: bytes) -> int:
    """The size that a Snappy block begins with: 7 bits a byte, low ones first, in at most 5 bytes."""
    size = 0
    for index, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return size
    raise FrameError("a frame compressed with Snappy does not begin with its size")


def _check_size(algorithm: str, size: int, compressed: int, ratio: int, most: int) -> None:
    if size < 0 or size > most:
        raise FrameError(f"a frame compressed with {algorithm} says it has {size} bytes; {most} is the most")
    if size > compressed * ratio:
        raise FrameError(
            f"a frame compressed with {algorithm} says it has {size} bytes; its {compressed} cannot hold them"
        )
