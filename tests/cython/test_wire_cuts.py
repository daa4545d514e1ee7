"""The splitter takes bytes cut anywhere: every size, every position, on both ways in."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from geventcql.cython.wire import InFlight
from tests.cython.wireserver import HEADER, PUSHES, VARIANTS, Bodies, Push, Server, check, client, cut, feed, receive
from tests.support.wire import Opcode

EVERY_VARIANT = pytest.mark.parametrize(("version", "compression"), VARIANTS)
BOTH_WAYS = pytest.mark.parametrize("push", PUSHES)

# 131,062 is the longest body that fits one segment together with its header.
CUT_SIZES = (
    *(1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 100, 255, 256, 257, 1000),
    *(4095, 4096, 4097, 8191, 8192, 8193, 12287, 12288, 12289, 16383, 16384, 16385, 20480, 32768, 65535, 65536),
    *(131061, 131062, 131063, 131070, 131071, 131072, 24576, 40960, 400000),
)
PIECES = 128
"""Cuts of one frame in the tests of every position: enough that long frames do not take minutes."""


def _acquired(table: InFlight, envelopes: list[tuple[int, int, bytes]], opcode: int, body: bytes) -> int:
    target = len(envelopes)
    stream = table.acquire(("target", target))
    envelopes.append((("target", target), opcode, body))
    return stream


@EVERY_VARIANT
@BOTH_WAYS
def test_every_size_cut_three_times(version: int, compression: str | None, push: Push) -> None:
    """Three seeded cuts in each frame, so that every piece but the first also holds what follows a frame."""
    server = Server(version, compression)
    table, splitter = client(version, compression)
    bodies = Bodies(1, 20_000)
    rng = random.Random(f"{version} {compression}")
    sizes = list(range(1, 20_001))
    rng.shuffle(sizes)  # short ones between long ones
    for first in range(0, len(sizes), 50):
        expected, frames, cuts, end = [], [], [], 0
        for size in sizes[first : first + 50]:
            opcode, body = bodies.make(size, size & 3)
            stream = _acquired(table, expected, opcode, body)
            raw = server.bytes([server.envelope(stream, opcode, body)])
            cuts += sorted(end + rng.randrange(len(raw) + 1) for _ in range(3))
            end += len(raw)
            frames.append(raw)
        out = []
        for piece in cut(b"".join(frames), cuts):
            push(splitter, piece, out)
        check(out, expected)
    table.check()
    assert table.in_flight == 0


@EVERY_VARIANT
@BOTH_WAYS
@pytest.mark.parametrize("several", [False, True], ids=["each", "packed"])
def test_byte_by_byte(version: int, compression: str | None, push: Push, several: bool) -> None:
    """``packed``: several frames share segments, as far as they fit."""
    server = Server(version, compression)
    table, splitter = client(version, compression)
    bodies = Bodies(2, 600)
    expected, frames = [], []
    for size in [*range(300), 511, 512, 600]:
        opcode, body = bodies.make(size, size & 3)
        frames.append(server.envelope(_acquired(table, expected, opcode, body), opcode, body))
    data = server.bytes(frames) if several else b"".join(server.bytes([frame]) for frame in frames)
    out = []
    for at in range(len(data)):
        push(splitter, data[at : at + 1], out)
    check(out, expected)
    assert table.in_flight == 0


@EVERY_VARIANT
@BOTH_WAYS
def test_whole_and_with_trailing_bytes(version: int, compression: str | None, push: Push) -> None:
    """A frame at once; then one with the beginning of the next behind it, of every length."""
    server = Server(version, compression)
    bodies = Bodies(3, 5000)
    for size in (0, 1, 50, 5000):
        opcode, body = bodies.make(size, 2)
        for trailing in range(30):
            table, splitter = client(version, compression)
            expected: list[tuple[int, int, bytes]] = []
            streams = [_acquired(table, expected, opcode, body) for _ in range(2)]
            frames = [server.bytes([server.envelope(stream, opcode, body)]) for stream in streams]
            out = []
            push(splitter, frames[0] + frames[1][:trailing], out)
            check(out, expected if trailing >= len(frames[1]) else expected[:1])
            push(splitter, frames[1][trailing:], out)
            check(out, expected)


def _moving_cuts(length: int, pieces: int) -> Iterator[list[int]]:
    """For copies of ``length`` bytes: offsets to cut each at, such that all copies together have every offset once."""
    step = max(1, -(-length // pieces))
    for first in range(1, step + 1):
        yield list(range(first, length, step))


def _every_position(version: int, compression: str | None, push: Push, size: int, pieces: int) -> None:
    server = Server(version, compression)
    table, splitter = client(version, compression)
    bodies = Bodies(size, size)
    opcode, body = bodies.make(size, 3 if size % 3 else 2)
    stream = table.acquire("first")
    data = server.bytes([server.envelope(stream, opcode, body)])
    seen = 0
    for cuts in _moving_cuts(len(data), pieces):
        out = []
        for piece in cut(data, cuts):
            push(splitter, piece, out)
        check(out, [("first", opcode, body)])
        assert table.acquire("first") == stream, "the id freed last is taken first"
        seen += len(cuts)
    assert seen == len(data) - 1
    table.pop(stream)
    table.check()


@EVERY_VARIANT
@BOTH_WAYS
def test_every_cut_position(version: int, compression: str | None, push: Push) -> None:
    assert len(CUT_SIZES) == 40
    for size in CUT_SIZES:
        if push is receive or size < 20_000:  # feed is nobody's way for much data
            _every_position(version, compression, push, size, PIECES if size < 200_000 else 2048)


@EVERY_VARIANT
def test_every_cut_position_in_two_pieces(version: int, compression: str | None) -> None:
    """One cut a frame: the rest comes at once. Short frames here, the long ones below."""
    for size in (size for size in CUT_SIZES if size <= 4097):
        for push in PUSHES:
            _every_position(version, compression, push, size, 2)


@pytest.mark.slow
@pytest.mark.timeout(600)
@EVERY_VARIANT
@pytest.mark.parametrize("size", [16383, 16384, 16385, 65536, 131071])
def test_every_cut_position_of_long_frames_in_two_pieces(version: int, compression: str | None, size: int) -> None:
    _every_position(version, compression, receive, size, 2)


@EVERY_VARIANT
@BOTH_WAYS
def test_cuts_near_the_seams(version: int, compression: str | None, push: Push) -> None:
    """Frames around the size of a segment, in two pieces cut within 40 bytes of each seam."""
    server = Server(version, compression)
    for size in (131061, 131062, 131063, 131070, 131071, 131072, 262144, 400_000):
        table, splitter = client(version, compression)
        opcode, body = Bodies(size, size).make(size, 3)
        stream = table.acquire("first")
        pieces = server.segments([server.envelope(stream, opcode, body)])
        data = b"".join(pieces)
        seams, end = [0], 0
        for piece in pieces:
            end += len(piece)
            seams.append(end)
        for at in sorted({at for seam in seams for at in range(seam - 40, seam + 41) if 0 < at < len(data)}):
            out = []
            for part in (data[:at], data[at:]):
                push(splitter, part, out)
            check(out, [("first", opcode, body)])
            table.acquire("first")


@BOTH_WAYS
def test_frames_across_self_contained_and_other_segments(push: Push) -> None:
    """Small frames, a frame of several segments, small frames again, in one stream cut at random, as Cassandra packs them."""
    rng = random.Random(7)
    for compression in (None, "lz4"):
        server = Server(5, compression)
        table, splitter = client(5, compression)
        bodies = Bodies(4, 400_000)
        expected, frames = [], []
        for size in [10, 0, 300, 131_000, 70, 400_000, 1, 131_062, 131_063, 5, 5, 262_144, 9]:
            opcode, body = bodies.make(size, rng.randrange(4))
            frames.append(server.envelope(_acquired(table, expected, opcode, body), opcode, body))
        data = server.bytes(frames)
        for _ in range(5):
            out = []
            for piece in cut(data, sorted(rng.randrange(len(data)) for _ in range(100))):
                push(splitter, piece, out)
            check(out, expected)
            for target, _, _ in reversed(expected):
                table.acquire(target)


def test_a_long_body_is_received_straight_into_its_place() -> None:
    """What the splitter offers for the rest of a body is exactly that rest: nothing behind it can get in."""
    server = Server(4)
    table, splitter = client(4)
    body = Bodies(5, 1_000_000).make(1_000_000, 1)[1]
    data = server.envelope(table.acquire("t"), Opcode.SUPPORTED, body)
    out = []
    feed(splitter, data[: HEADER + 1000], out)
    with memoryview(splitter) as room:
        assert len(room) == 999_000
    receive(splitter, data[HEADER + 1000 :], out)
    check(out, [("t", Opcode.SUPPORTED, body)])
    with memoryview(splitter) as room:
        assert len(room) >= 128 * 1024


def test_both_ways_in_by_turns() -> None:
    """A buffer that was asked for and not used, then bytes by feed, then by the buffer again, in the middle of a body."""
    rng = random.Random(11)
    for version, compression in VARIANTS:
        server = Server(version, compression)
        table, splitter = client(version, compression)
        bodies = Bodies(6, 300_000)
        for _ in range(20):
            expected, frames = [], []
            for _ in range(4):
                opcode, body = bodies.make(rng.choice((5, 2000, 140_000, 300_000)), rng.randrange(4))
                frames.append(server.envelope(_acquired(table, expected, opcode, body), opcode, body))
            data = server.bytes(frames)
            out = []
            for piece in cut(data, sorted(rng.randrange(len(data)) for _ in range(8))):
                memoryview(splitter).release()  # as after EAGAIN
                rng.choice(PUSHES)(splitter, piece, out)
            check(out, expected)


def test_no_buffer_while_something_is_left() -> None:
    """Receiving over what has not been cut yet would lose it."""
    server = Server(4)
    table, splitter = client(4)
    data = b"".join(server.envelope(table.acquire(n), Opcode.SUPPORTED, b"") for n in range(3))
    with memoryview(splitter) as room:
        room[: len(data)] = data
    splitter.received(len(data))
    out = splitter.take(2)
    assert [target for target, _ in out] == [0, 1] and splitter.more
    with pytest.raises(BufferError, match="not been taken"):
        memoryview(splitter)
    assert [target for target, _ in splitter.take(2)] == [2]
    assert not splitter.more


def test_take_keeps_to_its_limit() -> None:
    server = Server(5)
    table, splitter = client(5)
    data = server.bytes([server.envelope(table.acquire(n), Opcode.SUPPORTED, b"x") for n in range(1000)])
    with memoryview(splitter) as room:
        room[: len(data)] = data
    splitter.received(len(data))
    sizes = []
    while splitter.more:
        sizes.append(len(splitter.take(64)))
    assert sum(sizes) == 1000 and max(sizes) == 64
