"""Fuzz targets of the wire: frames, segments, replies, pages, the sending half of a connection. See values.py."""

from __future__ import annotations

import bisect
import struct
from typing import Any

from geventcql.cython.wire import (
    FrameSplitter,
    Histogram,
    InFlight,
    Page,
    RequestTemplate,
    RowReader,
    Sender,
    TokenRing,
    batch_entries,
    decoder_from,
    pack_segments,
)
from geventcql.errors import (
    CrcMismatchException,
    DecodeError,
    DriverException,
    FrameError,
    NotSupportedError,
    ProtocolError,
)
from geventcql.protocol import responses
from geventcql.protocol.compression import lz4_compress_block
from tests.cython.wireserver import PUSHES, Server, client, cut
from tests.fuzz.oddities import Own
from tests.fuzz.source import Source
from tests.fuzz.values import expected
from tests.support import wire
from tests.support.wire import Opcode

MOST = 1 << 20
STREAMS = 40
REFUSALS = (FrameError, ProtocolError, NotSupportedError, DecodeError)
VARIANTS = ((3, None), (4, None), (4, "lz4"), (4, "snappy"), (5, None), (5, "lz4"))


def _oracle(data: bytes, version: int, compression: str | None) -> tuple[list[wire.Envelope], str | None]:
    """The replies in `data` that a client takes, and what it must not take behind them; "" for what it may."""
    decoder = wire.Decoder(MOST)
    decoder.segmented, decoder.compression = version == 5, compression
    decoder.feed(data)
    taken: list[wire.Envelope] = []
    open_streams = set(range(STREAMS))
    try:
        while envelope := decoder.next():
            if (envelope.version, envelope.response) != (version, True):
                return taken, "version"
            if envelope.stream >= 0:
                if envelope.stream not in open_streams:
                    return taken, "stream"
                open_streams.remove(envelope.stream)
            taken.append(envelope)
    except wire.WireError as error:
        return taken, "" if "self-contained" in str(error) else str(error)
    except Exception as error:  # a library's, for bytes that were not compressed
        return taken, str(error)
    return taken, None


def _cut_at_will(source: Source, data: bytes, splitter: FrameSplitter) -> tuple[list[Any], Exception | None]:
    """What the splitter makes of `data`, in pieces that the source says."""
    positions = sorted(source.below(1 + len(data)) for _ in range(source.below(6)))
    out: list[Any] = []
    try:
        for piece in cut(data, positions):
            source.choice(PUSHES)(splitter, piece, out)
    except (FrameError, CrcMismatchException) as error:
        expected(error)
        return out, error
    return out, None


def _split(source: Source, data: bytes, version: int, compression: str | None) -> None:
    """The splitter cuts what the oracle cuts, and refuses what that refuses."""
    theirs, wrong = _oracle(data, version, compression)
    table, splitter = client(version, compression, max_frame=MOST)
    for stream in range(STREAMS):
        table.acquire(("target", stream))
    ours, error = _cut_at_will(source, data, splitter)
    table.check()
    for (target, reply), envelope in zip(ours, theirs, strict=False):
        assert target == (("target", envelope.stream) if envelope.stream >= 0 else None), (envelope, target)
        if isinstance(reply, Page):
            assert envelope.opcode == Opcode.RESULT and reply.body in (b"", envelope.body)
        else:
            assert (reply.opcode, reply.body) == (envelope.opcode, envelope.body), envelope
            assert (reply.stream, reply.flags) == (envelope.stream, envelope.flags), envelope
    assert len(ours) == len(theirs) or (wrong == "" and len(ours) > len(theirs)), (ours, theirs, error)
    if wrong is None:
        assert error is None or refused_early(error), (data, error)
    elif wrong:
        assert error is not None, (data, wrong, ours)


def refused_early(error: Exception) -> bool:
    """Whether a header was refused of which the oracle still waits for the rest of the frame."""
    return any(text in str(error) for text in ("is not a CQL", "claims a body"))


def frames(data: bytes) -> None:
    """What a connection receives, as it is."""
    source = Source(data)
    version, compression = source.choice(VARIANTS)
    head = Source(source.take(12))
    _split(head, source.rest(), version, compression)


def segments(data: bytes) -> None:
    """v5 segments with right checksums around anything, some with forged headers."""
    source = Source(data)
    compression = source.choice((None, "lz4"))
    head = Source(source.take(12))
    stream = b""
    while source.at < len(data):
        kind = source.byte()
        payload = source.take(source.byte() | (source.byte() & 3) << 8)
        if kind < 128 or compression is None:
            raw = wire.encode_segment(payload, bool(kind & 1), compression is not None)
        else:  # any stated size, over a block that is one, or over bytes that are none
            block = lz4_compress_block(payload) if kind & 1 else payload
            stated = (len(payload), source.byte(), source.byte() << 9, 0x1FFFF)[kind >> 1 & 3]
            header = (len(block) | stated << 17 | 1 << 34).to_bytes(5, "little")
            raw = header + wire.crc24(header).to_bytes(3, "little") + block + wire.crc32(block).to_bytes(4, "little")
        if kind & 0x78 == 0x78:
            raw = wire.corrupt_segment(raw, ("header", "header_crc", "payload_crc")[kind % 3], compression is not None)
        stream += raw
    _split(head, stream, 5, compression)


def replies(data: bytes) -> None:
    """The body of any reply: read whole, and as a page."""
    source = Source(data)
    version = 3 + source.below(3)
    opcode, flags = source.below(18), source.byte()
    body = source.rest()
    try:
        message = responses.decode(opcode, flags, body, version)
    except REFUSALS as error:
        expected(error)
        message = None
    else:
        repr(message)
    if opcode != Opcode.RESULT:
        return
    page = _page(version, flags & ~1, body, None)
    if type(page) is not Page or not page.has_rows:
        return
    try:
        rows = page.all()
    except DecodeError as error:
        expected(error)
        assert message is None, (body, message)
        return
    if isinstance(message, responses.Rows):
        assert repr(rows) == repr(message.rows), body
        assert (page.paging_state, page.new_metadata_id) == (message.paging_state, message.new_metadata_id)
        assert (page.tracing_id, page.warnings) == (message.trace_id, message.warnings)


def _page(version: int, flags: int, body: bytes, reader: RowReader | None) -> Any:
    """What the splitter makes of a RESULT body."""
    table, splitter = client(version)
    server = Server(version)
    raw = server.bytes([server.envelope(table.acquire("t", reader), Opcode.RESULT, body, flags)])
    ((_, reply),) = splitter.feed(raw)
    return reply


class Factory:
    """A row factory, or what stands for one, that raises where the input says so."""

    def __init__(self, source: Source, kind: str) -> None:
        self.source = source
        self.kind = kind

    def __call__(self, *args: Any) -> Any:
        action = self.source.below(6)
        if action == 0:
            raise Own
        if self.kind == "class":
            names = args[0]
            return (tuple, type("Row", (tuple,), {}), type("Row", (tuple,), {"__slots__": ()}),
                    type("Row", (tuple,), {"_fields": names}), type("Row", (tuple,), {"_fields": (*names, "x")}), list)[action]
        if self.kind == "handler":
            return ([1, 2], iter([1, 2]), None, {"a": 1}, 5, args[0].body)[action]
        rows = args[1]
        return (rows, list(map(list, rows)), iter(rows), None, {}, rows)[action] if self.kind == "page" else list(rows)


def pages(data: bytes) -> None:
    """A page of rows, looked at in any order with any row factory."""
    source = Source(data)
    version, flags = 3 + source.below(3), source.choice((0, 0, 2, 4, 8, 14))
    kind = source.choice(("tuples", "class", "slices", "page", "handler"))
    steps = Source(source.take(16))
    factory = Factory(Source(source.take(8)), kind)
    page = _page(version, flags, source.rest(), RowReader(factory, kind, decoder_from))
    if type(page) is not Page:
        return
    failed: DecodeError | None = None
    for _ in range(steps.below(9)):
        step = steps.below(7)
        try:
            if step == 0:
                page.first()
            elif step == 1:
                page.more_rows(steps.byte())
            elif step == 2:
                page.all()
            elif step == 3:
                page.whole(steps.byte())
            elif step == 4 and page.has_rows:
                assert page.row_count >= 0 and page.decoder() is page.decoder()
            else:
                repr(page), page.finished, page.by_slices
        except DecodeError as error:
            expected(error)
            assert failed in (None, error), "a page's error is always the same"
            failed = error
        except (Own, TypeError, ValueError) as error:  # the factory's, or of what it returned
            assert kind != "tuples" and not isinstance(error, DriverException), error
        if kind in ("tuples", "slices") and page.has_rows and page.decoded is not None:
            assert len(page.decoded) <= page.row_count
            assert page.finished == (len(page.decoded) == page.row_count)


class _Connection(Sender):
    """A sender whose flush keeps what was sent."""

    def __init__(self, table: InFlight, source: Source) -> None:
        super().__init__(table, lambda callback: None, 1 << 16)
        self.source = source
        self.flushed = b""

    def _flush(self) -> None:
        raise NotImplementedError

    def _arm(self, deadline: float) -> None:
        self.armed = deadline


class _Refusing:
    """Compresses nothing."""

    def __call__(self, frame: bytes) -> bytes:
        raise Own


def connection(data: bytes) -> None:
    """Requests, replies, timeouts and the end of a connection, in any order."""
    source = Source(data)
    version = 3 + source.below(2)
    table, splitter = client(version, limit=source.choice((1, 2, 70, 200)))
    sender = _Connection(table, source)
    server = Server(version)
    open_: dict[int, tuple[Any, float]] = {}
    for number in range(source.below(60)):
        step = source.below(12)
        if step < 5:
            _send(sender, source, version, number, open_)
        elif step < 7:
            stream = source.below(300)
            out: list[Any] = []
            try:
                splitter.feed(server.envelope(stream, Opcode.SUPPORTED, b"x"), out)
            except FrameError:
                assert stream not in open_
                splitter = FrameSplitter(table, version)
            else:
                target, _ = open_.pop(stream)
                assert [item for item, _ in out] == ([] if target is None else [target])
        elif step < 9:
            stream = source.below(100)
            target = open_[stream][0] if stream in open_ else object()
            assert table.orphan(stream, target) == (stream in open_ and target is not None)
            if stream in open_:
                open_[stream] = None, float("inf")
        elif step == 9:
            _expire(table, source, open_)
        elif step == 10:
            sender.draining, sender.suspect = bool(source.byte() & 1), bool(source.byte() & 1)
            sender.compress_frame = source.choice((None, None, _Refusing(), lz4_compress_block))
            sender.unsent_bytes = 0
        elif source.below(4) == 0:
            assert table.drain() == [target for _, (target, _) in sorted(open_.items()) if target is not None]
            open_.clear()
        table.check()
        assert sum(target is not None for target, _ in open_.values()) == table.in_flight
        assert len(open_) == table.in_flight + table.orphaned


def _send(sender: _Connection, source: Source, version: int, number: int, open_: dict[int, tuple[Any, float]]) -> None:
    """One request: it is pending as the oracle reads it, or nothing was changed."""
    suffix = source.take(source.below(30))
    at = source.below(len(suffix) + 2) - 1
    template = RequestTemplate(version, Opcode.QUERY, source.byte() & 0xFE, source.take(source.below(20)), suffix, at)
    values, timestamp, deadline = source.take(source.below(20)), source.byte() << 40, float(source.choice((5, 9, "inf")))
    pending, usable, target = len(sender.pending), sender.usable, ("request", number)
    try:
        stream = sender.send(target, template, values, timestamp, None, deadline)
    except Own:
        assert len(sender.pending) == pending
        return
    assert (stream >= 0) == usable
    if stream < 0:
        return
    assert stream not in open_, "an id was given out twice"
    open_[stream] = target, deadline
    if sender.compress_frame is None:
        decoder = wire.Decoder()
        decoder.feed(sender.pending[-1])
        stamp = struct.pack(">q", timestamp) if at >= 0 else b""
        body = template.prefix + values + suffix[: max(at, 0)] + stamp + suffix[max(at, 0) :]
        assert decoder.next() == wire.Envelope(version, template.flags, stream, Opcode.QUERY, body)


def _expire(table: InFlight, source: Source, open_: dict[int, tuple[Any, float]]) -> None:
    now, most = float(source.below(12)), 1 + source.below(8)
    due = [stream for stream, (_, deadline) in sorted(open_.items()) if deadline <= now][:most]
    assert table.expire(now, most) == [open_[stream][0] for stream in due]
    for stream in due:
        open_[stream] = None, float("inf")


def requests(data: bytes) -> None:
    """Segments and batches that the driver sends; rings and histograms."""
    source = Source(data)
    parts = [source.take(source.below(40)) * source.choice((1, 1, 1, 90, 9000)) for _ in range(source.below(9))]
    compressed = bool(source.below(2))
    packed = pack_segments(b"".join(parts), [len(part) for part in parts], lz4_compress_block if compressed else None)
    assert packed == b"".join(wire.encode_segments([part for part in parts if part], compressed))
    queries = [(bool(source.below(2)), source.blob(), source.blob()) for _ in range(source.below(5))]
    assert batch_entries(queries) == b"".join(
        (b"\1" + wire.short_bytes(name) if prepared else b"\0" + wire.bytes_(name)) + (values or b"\0\0")
        for prepared, name, values in queries
    )
    tokens = sorted({source.integer() % (1 << 64) - (1 << 63) for _ in range(1 + source.below(9))})
    ring = TokenRing(tokens)
    for token in (source.integer() % (1 << 64) - (1 << 63), *tokens):
        assert ring.position(token) == bisect.bisect_left(tokens, token) % len(tokens)
    histogram = Histogram(source.choice((0.0, 1.0, -1.0, 60.0)))
    recorded = source.below(20)
    for _ in range(recorded):
        histogram.record(*struct.unpack(">dd", source.take(16).ljust(16, b"\0")))
    assert histogram.count == recorded
    histogram.recent_statistics((0.0, 0.5, 1.0))
    assert histogram.cumulative([0.001, 1.0, float("inf")])[-1] == recorded
