"""What a server puts on the wire, from the independent codec, and the ways in which it gets into the splitter."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from geventcql.cython.wire import Frame, FrameSplitter, InFlight, Page
from geventcql.protocol.compression import compressor, lz4_decompress_block
from tests.support import wire
from tests.support.wire import Envelope, Opcode

VARIANTS = [(4, None), (4, "lz4"), (5, None), (5, "lz4")]
"""(protocol version, compression)"""

HEADER = 9
ROWS_PREFIX = wire.int_(2) + wire.int_(4) + wire.int_(1)
"""How the body of a page begins: Rows, no metadata, one column."""

Push = Callable[[FrameSplitter, bytes, list[Any]], None]


class Server:
    """Encodes replies of one protocol version and compression."""

    def __init__(self, version: int, compression: str | None = None) -> None:
        self.version = version
        self.compression = compression

    def envelope(self, stream: int, opcode: int, body: bytes, flags: int = 0) -> bytes:
        if self.version < 5 and self.compression is not None:
            body = wire.BODY_COMPRESSORS[self.compression][0](body)
            flags |= wire.FLAG_COMPRESSION
        return wire.encode_envelope(Envelope(self.version, flags, stream, opcode, body, response=True))

    def segments(self, envelopes: Iterable[bytes]) -> list[bytes]:
        """What travels, in pieces that a server might send each by itself: envelopes, on v5 segments."""
        if self.version < 5:
            return list(envelopes)
        return wire.encode_segments(envelopes, self.compression is not None)

    def bytes(self, envelopes: Iterable[bytes]) -> bytes:
        return b"".join(self.segments(envelopes))


def client(version: int, compression: str | None = None, limit: int = 32768, **options: Any) -> tuple[InFlight, FrameSplitter]:
    """The table and the splitter of a connection that has been set up."""
    table = InFlight(limit)
    splitter = FrameSplitter(table, version, **options)
    splitter.negotiating = False
    if version >= 5:
        splitter.enable_segments(None if compression is None else lz4_decompress_block)
    elif compression is not None:
        splitter.decompress = compressor(compression).decompress
    return table, splitter


def feed(splitter: FrameSplitter, data: bytes, out: list[Any]) -> None:
    """In by :meth:`FrameSplitter.feed`."""
    splitter.feed(data, out)


def receive(splitter: FrameSplitter, data: bytes, out: list[Any]) -> None:
    """In as ``recv_into`` does it: by the buffer protocol, as much as there is room for."""
    at = 0
    while at < len(data):
        room = memoryview(splitter)
        n = min(len(room), len(data) - at)
        assert n, "the splitter has no room for another byte"
        room[:n] = data[at : at + n]
        room.release()
        splitter.received(n)
        at += n
        while splitter.more:
            splitter.take(256, out)


PUSHES = [feed, receive]


def cut(data: bytes, at: Iterable[int]) -> Iterator[bytes]:
    """``data`` in pieces cut at these offsets, which are in order."""
    start = 0
    for end in at:
        yield data[start:end]
        start = end
    yield data[start:]


class Bodies:
    """Bodies of any size: random ones, ones that compress well, and every other one a page."""

    def __init__(self, seed: int, longest: int) -> None:
        self._random = random.Random(seed)
        self._noise = self._random.randbytes(longest + 4096)
        pattern = b"".join(wire.bytes_(b"value %d" % (n % 17)) for n in range(200))
        self._text = pattern * ((longest + 4096) // len(pattern) + 1)

    def make(self, size: int, kind: int) -> tuple[int, bytes]:
        """(opcode, body); ``kind``: 0 to 3 for noise or text, opaque or a page."""
        source = self._noise if kind & 1 else self._text
        start = self._random.randrange(4096)
        if (kind & 2 or size > 1024 * 1024) and size >= len(ROWS_PREFIX):  # what is no result is not long
            return Opcode.RESULT, ROWS_PREFIX + source[start : start + size - len(ROWS_PREFIX)]
        return Opcode.SUPPORTED, source[start : start + size]


def check(out: Sequence[tuple[Any, Any]], expected: Sequence[tuple[Any, int, bytes]]) -> None:
    """Each reply on its target, whole, in order, of the right class. ``expected``: (target, opcode, body)."""
    assert [target for target, _ in out] == [target for target, _, _ in expected]
    for (_, reply), (target, opcode, body) in zip(out, expected, strict=True):
        if opcode == Opcode.RESULT:
            assert type(reply) is Page, (target, reply)
        else:
            assert type(reply) is Frame and reply.opcode == opcode, (target, reply)
        # not `==` in the assert itself: pytest would spend minutes on the difference of two long bodies
        same = reply.body == body
        assert same, f"the body of {target} was changed on its way: {len(reply.body)} bytes of {len(body)}"
