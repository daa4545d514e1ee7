"""Pages: what stands before the rows, where the metadata comes from, and bodies that end too soon or lie."""

from __future__ import annotations

import gc
import sys
import uuid
from collections import namedtuple
from typing import Any

import pytest

from geventcql.cython.wire import Frame, Page, RowReader, decoder_from, metadata_end
from geventcql.errors import DecodeError
from tests.cython.wireserver import Server, client
from tests.support import values as v
from tests.support import wire
from tests.support.replies import column_specs
from tests.support.wire import Opcode

COLUMNS = [("k", v.parse("int")), ("v", v.parse("text")), ("l", v.parse("list<int>"))]
ROWS = [(1, "one", [1]), (2, "zwei", []), (3, None, None)]
DECODED = [(1, "one", [1]), (2, "zwei", []), (3, None, None)]
SPECS = column_specs(COLUMNS, "ks", "t")
TRACE = uuid.UUID("11111111-2222-3333-4444-555555555555")

GLOBAL, MORE, NO_METADATA, CHANGED = 1, 2, 4, 8


def cells(rows: Any, columns: Any = COLUMNS) -> bytes:
    pairs = [(t, value) for row in rows for (_, t), value in zip(columns, row, strict=True)]
    return wire.int_(len(rows)) + b"".join(wire.bytes_(v.encode(t, value)) for t, value in pairs)


def body(flags: int, *, count: int = 3, state: bytes | None = None, new_id: bytes | None = None, rows: Any = ROWS) -> bytes:
    head = wire.int_(2) + wire.int_(flags) + wire.int_(count)
    head += wire.bytes_(state) if flags & MORE else b""
    head += wire.short_bytes(new_id or b"") if flags & CHANGED else b""
    return head + (b"" if flags & NO_METADATA else SPECS) + cells(rows)


def page_of(data: bytes, reader: RowReader | None = None, version: int = 5, flags: int = 0) -> Page | Frame:
    table, splitter = client(version)
    server = Server(version)
    raw = server.bytes([server.envelope(table.acquire("t", reader), Opcode.RESULT, data, flags)])
    ((_, reply),) = splitter.feed(raw)
    return reply


def reader_for(columns: Any = COLUMNS, kind: str = "tuples", factory: Any = None) -> RowReader:
    return RowReader(factory, kind, decoder_from, decoder_from(column_specs(columns, "ks", "t"), 0, GLOBAL, len(columns))[0])


# --- what stands before the rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", [None, TRACE])
@pytest.mark.parametrize("warnings", [None, [], ["a warning", "noch eine: ä€😀"]])
@pytest.mark.parametrize("payload", [None, {}, {"k": b"v", "null": None, "empty": b""}])
@pytest.mark.parametrize("void", [False, True])
def test_what_the_header_announces(trace: Any, warnings: Any, payload: Any, void: bool) -> None:
    flags, prefix = 0, b""
    if trace is not None:
        flags, prefix = 2, trace.bytes
    if warnings is not None:
        flags, prefix = flags | 8, prefix + wire.string_list(warnings)
    if payload is not None:
        flags, prefix = flags | 4, prefix + wire.bytes_map(payload)
    page = page_of(prefix + (wire.int_(1) if void else body(GLOBAL | MORE, state=b"next")), flags=flags)
    assert type(page) is Page
    assert (page.tracing_id, page.warnings, page.custom_payload) == (trace, warnings, payload)
    if void:
        assert (page.kind, page.all(), page.first(), page.finished) == (1, [], None, True)
    else:
        assert (page.kind, page.all(), page.paging_state) == (2, DECODED, b"next")


def test_paging_state_and_new_metadata_id() -> None:
    assert page_of(body(GLOBAL)).paging_state is None
    assert page_of(body(GLOBAL | MORE, state=b"")).paging_state == b""
    assert page_of(body(GLOBAL | MORE, state=None)).paging_state is None
    page = page_of(body(GLOBAL | MORE | CHANGED, state=b"s" * 300, new_id=b"new id"))
    assert (page.paging_state, page.new_metadata_id, page.all()) == (b"s" * 300, b"new id", DECODED)


def test_metadata_changed_is_v5s() -> None:
    """v4 has no such flag; what a server sets there means nothing and no id follows."""
    data = wire.int_(2) + wire.int_(GLOBAL | CHANGED) + wire.int_(3) + SPECS + cells(ROWS)
    page = page_of(data, version=4)
    assert page.new_metadata_id is None and page.all() == DECODED


# --- where the decoder comes from ------------------------------------------------------------------------------------


def test_the_bodys_own_metadata_goes_first() -> None:
    """A statement altered meanwhile, LWT answers: what was pinned with the request no longer fits."""
    other = reader_for([("x", v.parse("bigint"))])
    page = page_of(body(GLOBAL), other)
    assert page.all() == DECODED
    assert [column.name for column in page.decoder().columns] == ["k", "v", "l"]


def test_same_length_other_types() -> None:
    """The pinned decoder is taken only if every byte of the metadata is the same, the table flag included."""
    same_size = reader_for([("k", v.parse("float")), *COLUMNS[1:]])
    page = page_of(body(GLOBAL), same_size)
    assert page.all() == DECODED
    page = page_of(body(GLOBAL), reader_for())
    assert page.all() == DECODED and page.decoder() is page.reader.decoder


def test_metadata_with_a_table_for_each_column() -> None:
    specs = column_specs(COLUMNS, "ks", "t", global_spec=False)
    data = wire.int_(2) + wire.int_(0) + wire.int_(3) + specs + cells(ROWS)
    for reader in (None, reader_for()):
        assert page_of(data, reader).all() == DECODED
    assert metadata_end(specs, 0, 0, 3) == len(specs)
    assert metadata_end(SPECS, 0, GLOBAL, 3) == len(SPECS)


def test_the_bytes_of_metadata_with_one_table_for_all_may_begin_one_with_a_table_for_each_column() -> None:
    """The second column's name is the second table's keyspace, its type the length of that table's name."""
    pinned = reader_for([("k", v.parse("int")), ("other", v.parse("int"))])
    strings = [wire.string(text) for text in ("ks", "t", "k", "other", "nine_byte", "v")]
    int_type = wire.short(9)
    specs = b"".join([*strings[:3], int_type, *strings[3:], int_type])
    row = wire.bytes_(wire.int_(1)) + wire.bytes_(wire.int_(2))
    page = page_of(wire.int_(2) + wire.int_(0) + wire.int_(2) + specs + wire.int_(1) + row, pinned)
    assert page.all() == [(1, 2)] and [column.name for column in page.decoder().columns] == ["k", "v"]


def test_without_metadata() -> None:
    assert page_of(body(NO_METADATA), reader_for()).all() == DECODED
    for reader in (None, RowReader(None, "tuples", decoder_from)):
        page = page_of(body(NO_METADATA), reader)
        with pytest.raises(DecodeError, match="left out the column metadata, and none is known"):
            page.all()


@pytest.mark.parametrize("count", [0, 1, 2, 4, 1000, (1 << 31) - 1])
def test_wrong_number_of_columns(count: int) -> None:
    page = page_of(body(NO_METADATA, count=count), reader_for())
    with pytest.raises(DecodeError, match=f"{count} columns arrived, 3 were announced"):
        page.all()
    page = page_of(body(GLOBAL, count=count), reader_for())
    with pytest.raises(DecodeError):
        page.all()


def test_a_negative_number_of_columns_is_a_frame_for_whoever_reads_it() -> None:
    assert type(page_of(body(GLOBAL, count=-1))) is Frame


@pytest.mark.parametrize("rows", [-1, 4, 1 << 20, (1 << 31) - 1])
@pytest.mark.parametrize("columns", [0, 3])
def test_wrong_number_of_rows(rows: int, columns: int) -> None:
    """Refused before a list of that length is thought of."""
    head = wire.int_(2) + wire.int_(NO_METADATA) + wire.int_(columns) + wire.int_(rows)
    reader = reader_for(COLUMNS[:columns])
    page = page_of(head + (cells(ROWS)[4:] if columns else b""), reader)
    refused = "ends within the length of a cell" if (rows, columns) == (4, 3) else f"the answer claims {rows} rows"
    for _ in range(2):
        with pytest.raises(DecodeError, match=refused):
            page.all()


def test_a_reply_takes_its_reader_with_it() -> None:
    reader = reader_for()
    before = sys.getrefcount(reader)
    table, splitter = client(5)
    data = Server(5).bytes([Server(5).envelope(table.acquire("t", reader), Opcode.RESULT, body(GLOBAL), 0)])
    replies = splitter.feed(data)
    assert replies[0][1].all() == DECODED
    del replies
    assert sys.getrefcount(reader) == before


# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows_in_slices() -> None:
    page = page_of(body(NO_METADATA, rows=ROWS * 100), reader_for())
    assert not page.finished and page.decoded is None
    assert page.first() == DECODED[0]
    seen = [len(page.more_rows(7))]
    while not page.finished:
        seen.append(len(page.more_rows(7)))
    assert seen == [*range(8, 300, 7), 300]
    assert page.all() == DECODED * 100 and page.first() == DECODED[0] and page.more_rows(5) is page.all()


def test_a_short_page_that_is_the_last_one() -> None:
    assert page_of(body(GLOBAL)).whole(3) == DECODED
    assert page_of(wire.int_(1)).whole(3) == []
    begun = page_of(body(GLOBAL))
    assert begun.more_rows(1) == DECODED[:1] and begun.whole(3) == DECODED
    longer = page_of(body(GLOBAL))
    assert longer.whole(2) is None and longer.decoded is None and longer.all() == DECODED
    assert page_of(body(GLOBAL | MORE, state=b"next")).whole(3) is None
    assert page_of(body(GLOBAL), reader_for(kind="page", factory=lambda names, rows: rows)).whole(3) is None
    damaged = page_of(body(GLOBAL)[:-1])
    for _ in range(2):
        assert damaged.whole(3) is None
        with pytest.raises(DecodeError):
            damaged.all()


def test_kinds_of_readers() -> None:
    Row = namedtuple("Row", "k v l")
    page = page_of(body(NO_METADATA), reader_for(kind="class", factory=lambda names: Row))
    assert page.all() == DECODED and all(type(row) is Row for row in page.all())
    calls: list[Any] = []

    def factory(names: Any, rows: Any) -> Any:
        calls.append((tuple(names), len(rows)))
        return [dict(zip(names, row, strict=True)) for row in rows]

    page = page_of(body(NO_METADATA), reader_for(kind="slices", factory=factory))
    assert page.by_slices and page.first() == {"k": 1, "v": "one", "l": [1]} and len(page.all()) == 3
    assert calls == [(("k", "v", "l"), 1), (("k", "v", "l"), 2)]
    page = page_of(body(NO_METADATA), reader_for(kind="page", factory=lambda names, rows: tuple(rows)))
    assert not page.by_slices and page.first() == DECODED[0] and page.all() == tuple(DECODED)
    with pytest.raises(KeyError):
        RowReader(None, "other", decoder_from)


@pytest.mark.parametrize("kind", ["page", "slices", "handler"])
@pytest.mark.parametrize("rows", [ROWS, []], ids=["rows", "none"])
def test_a_factory_without_a_return(kind: str, rows: Any) -> None:
    def forgetful(names: Any, rows: Any) -> None:
        pass

    page = page_of(body(NO_METADATA, rows=rows), reader_for(kind=kind, factory=forgetful))
    for look in (page.all, page.first, lambda: page.more_rows(1), page.all):
        with pytest.raises(TypeError, match=r"forgetful.* returned None instead of rows"):
            look()
    assert not page.finished and page.row_count == len(rows)


def test_no_rows_at_all() -> None:
    page = page_of(body(GLOBAL, rows=[]))
    assert (page.first(), page.all(), page.finished, page.has_rows) == (None, [], True, True)


def test_a_body_that_does_not_decode_says_the_same_every_time() -> None:
    data = wire.int_(2) + wire.int_(NO_METADATA) + wire.int_(3) + wire.int_(2)
    data += cells(ROWS[:1])[4:] + wire.bytes_(b"\0\0") + wire.bytes_(b"x") + wire.bytes_(None)
    page = page_of(data, reader_for())
    assert page.first() == DECODED[0]
    raised = []
    for look in (page.all, page.all, lambda: page.more_rows(1), page.all):
        with pytest.raises(DecodeError) as caught:
            look()
        raised.append(str(caught.value))
    assert len(set(raised)) == 1 and "k" in raised[0] and "int" in raised[0]
    assert page.first() == DECODED[0], "what was decoded stays"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    """It is off while a slice is decoded, and on again behind it, errors included, if it was on."""
    damaged = wire.int_(2) + wire.int_(NO_METADATA) + wire.int_(3) + wire.int_(2)
    damaged += cells(ROWS[:1])[4:] + wire.bytes_(b"\0\0") + wire.bytes_(b"x") + wire.bytes_(None)
    if not enabled:
        gc.disable()
    try:
        assert page_of(body(GLOBAL), reader_for()).all() == DECODED
        assert gc.isenabled() is enabled
        with pytest.raises(DecodeError):
            page_of(damaged, reader_for()).all()
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def test_trailing_bytes_are_ignored() -> None:
    assert page_of(body(GLOBAL) + b"trailing bytes").all() == DECODED


def _look(data: bytes, reader: RowReader | None, flags: int) -> Any:
    """The rows; None if the reply is no page (the reader of the frame then meets the error)."""
    reply = page_of(data, reader, flags=flags)
    return reply.all() if type(reply) is Page else None


@pytest.mark.parametrize("with_reader", [False, True])
@pytest.mark.parametrize("rows_flags", [GLOBAL | MORE | CHANGED, NO_METADATA | MORE])
def test_truncated_at_every_byte(rows_flags: int, with_reader: bool) -> None:
    """An error of ours, never rows out of what is behind the body, never a crash."""
    if rows_flags & NO_METADATA and not with_reader:
        return
    prefix = TRACE.bytes + wire.string_list(["warning"]) + wire.bytes_map({"k": b"v"})
    data = prefix + body(rows_flags, state=b"state", new_id=b"id")
    reader = reader_for() if with_reader else None
    assert _look(data, reader, 2 | 8 | 4) == DECODED
    for end in range(len(data)):
        try:
            rows = _look(data[:end], reader, 2 | 8 | 4)
        except DecodeError:
            continue
        assert rows is None and end < len(prefix) + 12 + 9 + 4, f"{end} bytes of {len(data)} gave {rows}"


def test_every_byte_changed() -> None:
    """Any byte may lie: rows (a value may just be another one), or DecodeError, or no page; nothing else and no crash."""
    data = body(GLOBAL | MORE | CHANGED, state=b"state", new_id=b"id")
    for at in range(len(data)):
        for value in (0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 0x10):
            changed = data[:at] + bytes([value]) + data[at + 1 :]
            for reader in (None, reader_for()):
                try:
                    _look(changed, reader, 0)
                except DecodeError:
                    continue


def test_what_the_header_announces_truncated_at_every_byte() -> None:
    """Whoever reads the frame meets the error."""
    prefix = TRACE.bytes + wire.string_list(["warning", "another"]) + wire.bytes_map({"k": b"v", "n": None})
    for end in range(len(prefix) + 4):
        assert type(page_of((prefix + wire.int_(1))[:end], flags=2 | 8 | 4)) is Frame
    assert type(page_of(prefix + wire.int_(1), flags=2 | 8 | 4)) is Page


def test_v3_has_no_warnings_and_payloads() -> None:
    page = page_of(TRACE.bytes + body(GLOBAL), version=3, flags=2 | 8 | 4)
    assert type(page) is Page and page.all() == DECODED
    assert (page.tracing_id, page.warnings, page.custom_payload) == (TRACE, None, None)


def test_lengths_that_run_over_the_end() -> None:
    for lying in (b"\xff\xff", b"\x7f\xff"):
        assert type(page_of(lying + b"\0\1a" + wire.int_(1), flags=8)) is Frame
        assert type(page_of(b"\0\1" + lying + b"a" + wire.int_(1), flags=4)) is Frame
    assert type(page_of(b"\0\1\0\1k\x7f\xff\xff\xffabc" + wire.int_(1), flags=4)) is Frame
    page = page_of(wire.int_(2) + wire.int_(MORE) + wire.int_(1) + b"\x7f\xff\xff\xffabc")
    assert type(page) is Frame


def test_the_host_is_in_the_error() -> None:
    page = page_of(body(NO_METADATA))
    page.host = "the host"
    with pytest.raises(DecodeError) as caught:
        page.decoder()
    assert caught.value.host == "the host"
