"""Random types and values: the compiled codec and the oracle agree on every byte and value; nothing ever crashes."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geventcql.cython.codecs import ColumnSpec, RowDecoder, parse_cql_type, parse_type_class, read_columns, skip_columns
from geventcql.errors import DecodeError, FrameError
from tests.cython import codecvalues as cv
from tests.support import refcodec

EXAMPLES = settings(max_examples=70)

typed_values = cv.types().flatmap(lambda cql_type: st.tuples(st.just(cql_type), cv.values(cql_type)))


def has(cql_type: Any, kind: str) -> bool:
    return kind in repr(cql_type)


@EXAMPLES
@given(typed_values)
def test_encodes_the_oracles_bytes(typed: tuple[Any, Any]) -> None:
    cql_type, value = typed
    assert cv.compiled(cql_type).encode(cv.bindable(cql_type, value)) == refcodec.encode(cql_type, value)


@EXAMPLES
@given(typed_values)
def test_decodes_what_was_encoded(typed: tuple[Any, Any]) -> None:
    cql_type, value = typed
    data = refcodec.encode(cql_type, value)
    ours = cv.comparable(cql_type, cv.plain(cql_type, cv.compiled(cql_type).decode(data)))
    assert repr(ours) == repr(cv.comparable(cql_type, refcodec.decode(cql_type, data)))


@EXAMPLES
@given(typed_values)
def test_decoded_values_can_be_bound_again(typed: tuple[Any, Any]) -> None:
    cql_type, value = typed
    compiled = cv.compiled(cql_type)
    data = refcodec.encode(cql_type, value)
    if not has(cql_type, "set"):  # the items of a set come back in Python's order
        assert data is not None
        again = compiled.decode(data)
        assert compiled.encode(again) == data or again is None


@EXAMPLES
@given(cv.types(), st.data())
def test_every_prefix_is_a_value_or_an_error(cql_type: Any, data: st.DataObject) -> None:
    compiled = cv.compiled(cql_type)
    whole = refcodec.encode(cql_type, data.draw(cv.values(cql_type)))
    assert whole is not None
    for length in range(len(whole)):
        agree_on(cql_type, compiled, whole[:length])


@EXAMPLES
@given(cv.types(), st.data())
def test_changed_bytes_are_a_value_or_an_error(cql_type: Any, data: st.DataObject) -> None:
    compiled = cv.compiled(cql_type)
    cell = bytearray(refcodec.encode(cql_type, data.draw(cv.values(cql_type))) or b"\0")
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(cell) - 1))
        cell[position] = data.draw(st.sampled_from([0, 1, 4, 0x7F, 0x80, 0xFE, 0xFF]))
    agree_on(cql_type, compiled, bytes(cell))


@EXAMPLES
@given(cv.types(), st.binary(max_size=60))
def test_random_bytes_are_a_value_or_an_error(cql_type: Any, cell: bytes) -> None:
    agree_on(cql_type, cv.compiled(cql_type), cell)


def agree_on(cql_type: Any, compiled: Any, cell: bytes) -> None:
    """Both codecs give the same value, or both refuse."""
    try:
        expected = refcodec.decode(cql_type, cell)
    except refcodec.Malformed:
        with pytest.raises(DecodeError):
            compiled.decode(cell)
        return
    value = compiled.decode(cell)
    if not has(cql_type, "set") and not has(cql_type, "map"):  # duplicates collapse in those
        assert repr(cv.plain(cql_type, value)) == repr(expected)


columns = st.lists(st.tuples(st.text(max_size=8), cv.types(4)), max_size=5)


@EXAMPLES
@given(columns, st.booleans(), st.sampled_from([4, 5]), st.binary(max_size=9))
def test_reads_column_metadata(
    specs: list[tuple[str, Any]], global_spec: bool, version: int, before: bytes
) -> None:
    raw = refcodec.columns(specs, "ks", "tbl", global_spec, version)
    body = before + raw + b"rest"
    read, end = read_columns(body, len(before), int(global_spec), len(specs))
    assert end == len(before) + len(raw) == skip_columns(body, len(before), int(global_spec), len(specs))
    assert [(c.keyspace_name, c.table_name, c.name) for c in read] == [("ks", "tbl", name) for name, _ in specs]
    for column, (_, cql_type) in zip(read, specs, strict=True):
        assert column.type.name == refcodec.cql_name(cql_type)
        assert column.type.cass_name == refcodec.class_name(cql_type)
        assert parse_type_class(column.type.cass_name) == column.type
        if "udt" not in repr(cql_type):
            assert parse_cql_type(column.type.name) == column.type


@EXAMPLES
@given(columns, st.booleans())
def test_cut_metadata_is_refused(specs: list[tuple[str, Any]], global_spec: bool) -> None:
    raw = refcodec.columns(specs, "ks", "tbl", global_spec)
    for length in range(len(raw)):
        for parse in (read_columns, skip_columns):
            with pytest.raises(FrameError):
                parse(raw[:length], 0, int(global_spec), len(specs))


@EXAMPLES
@given(st.binary(max_size=80), st.integers(0, 3), st.integers(-2, 100))
def test_random_metadata_is_read_or_refused_alike(body: bytes, flags: int, count: int) -> None:
    try:
        _, end = read_columns(body, 0, flags, count)
    except FrameError:
        return
    assert skip_columns(body, 0, flags, count) == end


@EXAMPLES
@given(st.lists(cv.types(3), min_size=1, max_size=4), st.data())
def test_rows(types: list[Any], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(*(st.none() | cv.values(cql_type) for cql_type in types)), max_size=4))
    decoder = RowDecoder(tuple(ColumnSpec("ks", "t", f"c{i}", cv.compiled(t)) for i, t in enumerate(types)))
    body = b"".join(refcodec.row(types, row) for row in rows)
    decoded, end = decoder.decode_rows(b"<" + body + b">", 1, len(rows))
    assert end == 1 + len(body)
    assert all(type(row) is tuple for row in decoded)
    assert [comparable_row(types, row, cv.plain) for row in decoded] == [
        comparable_row(types, row, lambda t, value: refcodec.decode(t, refcodec.encode(t, value))) for row in rows
    ]
    for length in range(len(body)):
        with pytest.raises(DecodeError):
            decoder.decode_rows(body[:length], 0, len(rows))


def comparable_row(types: list[Any], row: tuple[Any, ...], convert: Any) -> str:
    return repr([cv.comparable(t, convert(t, value)) for t, value in zip(types, row, strict=True)])


@EXAMPLES
@given(st.lists(cv.types(3), min_size=1, max_size=4), st.binary(max_size=120), st.integers(-1, 2**31 - 1))
def test_random_rows_are_rows_or_an_error(types: list[Any], body: bytes, count: int) -> None:
    decoder = RowDecoder(tuple(ColumnSpec("ks", "t", f"c{i}", cv.compiled(t)) for i, t in enumerate(types)))
    try:
        rows, end = decoder.decode_rows(body, 0, count)
    except DecodeError:
        return
    assert len(rows) == count and end <= len(body)


def test_a_list_that_claims_more_than_its_bytes_is_refused_at_once() -> None:
    """Before anything is allocated: 2**31 - 1 pointers would be 16 GiB."""
    for claimed in (2**31 - 1, 5, -1):
        cell = struct.pack(">i", claimed) + b"\0" * 16
        for text in ("list<int>", "set<int>", "map<int, int>"):
            with pytest.raises(DecodeError, match="elements in 16 bytes"):
                parse_cql_type(text).decode(cell)
