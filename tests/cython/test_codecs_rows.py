"""RowDecoder and BindEncoder: rows, row classes, parameters by position and by name, the partition key."""

from __future__ import annotations

import gc
import struct
import sys
import weakref
from collections import OrderedDict, namedtuple
from types import MappingProxyType
from typing import Any

import pytest

from geventcql.cython.codecs import UNSET, BindEncoder, ColumnSpec, RowDecoder, UserType, murmur3_token, parse_cql_type
from geventcql.errors import DecodeError, EncodeError
from tests.support import refcodec


def columns(**types: str) -> tuple[ColumnSpec, ...]:
    return tuple(ColumnSpec("ks", "t", name, parse_cql_type(text)) for name, text in types.items())


PAIR = columns(k="int", v="text")


def body_of(*rows: tuple[int | None, str | None]) -> bytes:
    return b"".join(refcodec.row(["int", "text"], list(row)) for row in rows)


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_as_tuples() -> None:
    decoder = RowDecoder(PAIR, b"raw")
    body = body_of((1, "a"), (None, None), (3, ""))
    assert decoder.decode_rows(body, 0, 3, None) == ([(1, "a"), (None, None), (3, "")], len(body))
    assert (decoder.names, decoder.raw, decoder.columns) == (("k", "v"), b"raw", PAIR)
    assert [cql_type.name for cql_type in decoder.types] == ["int", "text"]
    assert repr(decoder) == "<RowDecoder k int, v text>"
    assert RowDecoder(PAIR).raw == b""


def test_rows_slice_by_slice() -> None:
    decoder = RowDecoder(PAIR)
    body = body_of(*((i, str(i)) for i in range(10)))
    rows, pos = [], 0
    for count in (3, 0, 4, 3):
        part, pos = decoder.decode_rows(body, pos, count)
        rows += part
    assert rows == [(i, str(i)) for i in range(10)] and pos == len(body)


def test_rows_of_a_class() -> None:
    class Row(namedtuple("Row", ["k", "v"])):
        def __new__(cls, *args: Any) -> Any:
            raise AssertionError("rows are made without the constructor")

    rows, _ = RowDecoder(PAIR).decode_rows(body_of((1, "a"), (2, None)), 0, 2, Row)
    assert all(type(row) is Row for row in rows)
    assert [(row.k, row.v) for row in rows] == [(1, "a"), (2, None)]
    assert rows[0] == (1, "a") and hash(rows[0]) == hash((1, "a")) and rows[0]._asdict() == {"k": 1, "v": "a"}
    rows[0].more = 5
    assert rows[0].more == 5


@pytest.mark.parametrize("row_class", [list, dict, 5, "tuple", ()])
def test_other_classes_are_refused(row_class: Any) -> None:
    with pytest.raises(TypeError, match="subclass of tuple"):
        RowDecoder(PAIR).decode_rows(body_of((1, "a")), 0, 1, row_class)


def test_a_class_with_other_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        RowDecoder(PAIR).decode_rows(body_of((1, "a")), 0, 1, namedtuple("Row", ["k", "v", "w"]))


def test_cut_rows_are_refused() -> None:
    body = body_of((1, "a"), (2, "b"))
    for length in range(len(body)):
        with pytest.raises(DecodeError):
            RowDecoder(PAIR).decode_rows(body[:length], 0, 2)
    assert RowDecoder(PAIR).decode_rows(body + b"trailing", 0, 2)[1] == len(body)


@pytest.mark.parametrize(("pos", "count"), [(-1, 1), (100, 1), (2**62, 1), (0, -1), (0, 2**31), (0, 2**62)])
def test_counts_and_positions_that_do_not_fit_are_refused(pos: int, count: int) -> None:
    with pytest.raises(DecodeError, match="rows of 2 columns"):
        RowDecoder(PAIR).decode_rows(body_of((1, "a")), pos, count)


def test_rows_without_columns() -> None:
    decoder = RowDecoder(())
    assert decoder.decode_rows(b"xy", 0, 2) == ([(), ()], 0)
    with pytest.raises(DecodeError):
        decoder.decode_rows(b"xy", 0, 2**31)


def test_errors_name_the_column() -> None:
    body = refcodec.cell(b"\0\0\0\1") + refcodec.cell(b"\xff")
    with pytest.raises(DecodeError, match="utf-8") as caught:
        RowDecoder(PAIR).decode_rows(body, 0, 1)
    assert (caught.value.column, caught.value.cql_type) == ("v", "text")
    with pytest.raises(DecodeError, match="int: 3 bytes") as caught:
        RowDecoder(PAIR).decode_rows(refcodec.cell(b"abc") + refcodec.cell(b"abc"), 0, 1)
    assert (caught.value.column, caught.value.cql_type) == ("k", "int")
    with pytest.raises(DecodeError, match="2147483647 bytes, 4 are left") as caught:
        RowDecoder(PAIR).decode_rows(struct.pack(">ii", -1, 2**31 - 1) + b"abcd", 0, 1)
    assert caught.value.column == "v"


@pytest.mark.parametrize("bad", [("ks", "t", "c", None), ("ks", "t", "c", "int")])
def test_columns_without_a_type_are_refused(bad: Any) -> None:
    for make in (RowDecoder, lambda specs: BindEncoder(specs, (), 4)):
        with pytest.raises(TypeError):
            make((ColumnSpec(*bad),))


def test_nothing_leaks() -> None:
    """References to shared values stay as they were, errors included; decoders die without the collector."""

    class Probe:
        def __init__(self, a: Any) -> None:
            pass

    body = body_of((1, "ab"), (None, "cd"))
    wrong = body[:-2] + b"\xff\xff"
    encoder = BindEncoder(PAIR, (0,), 4)
    row_class = namedtuple("Row", ["k", "v"])
    values = (123456789, "text")

    def work() -> None:
        decoder = RowDecoder(PAIR)
        decoder.decode_rows(body, 0, 2)
        decoder.decode_rows(body, 0, 2, row_class)
        for attempt in (lambda: decoder.decode_rows(wrong, 0, 2, row_class), lambda: encoder.encode((1, 5))):
            with pytest.raises((DecodeError, EncodeError)):
                attempt()
        encoder.token(encoder.encode(values))
        encoder.routing_key(encoder.encode({"k": 5}))

    work()
    gc.collect()
    watched = (None, row_class, values[0], values[1], body, PAIR, PAIR[0].type)
    before = [sys.getrefcount(value) for value in watched]
    gc.disable()
    try:
        for _ in range(50):
            work()
        after = [sys.getrefcount(value) for value in watched]
    finally:
        gc.enable()
    assert all(abs(b - a) < 25 for a, b in zip(before, after, strict=True)), (before, after)
    user_type = UserType((parse_cql_type("int"),), "ks", "probe", ("a",), Probe)
    decoder = RowDecoder((ColumnSpec("ks", "t", "c", user_type),))
    decoder.decode_rows(refcodec.cell(refcodec.cell(b"\0\0\0\1")), 0, 1)
    probe = weakref.ref(Probe)
    del user_type, decoder
    assert sys.getrefcount(Probe) < 10 and probe() is Probe


# -- parameters --------------------------------------------------------------------------------------------------------

THREE = columns(a="int", b="text", c="int")
ABC = struct.pack(">H", 3) + struct.pack(">ii", 4, 1) + b"\0\0\0\1x" + struct.pack(">ii", 4, 3)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize(
    "values",
    [
        (1, "x", 3),
        [1, "x", 3],
        {"a": 1, "b": "x", "c": 3},
        {"c": 3, "b": "x", "a": 1, "more": object()},
        OrderedDict(c=3, b="x", a=1),
        MappingProxyType({"a": 1, "b": "x", "c": 3}),
        namedtuple("Values", ["c", "b", "a"])(1, "x", 3),
        {1: 0, "x": 0, 3: 0}.keys(),
    ],
    ids=repr,
)
def test_values_by_position_and_by_name(values: Any, version: int) -> None:
    encoder = BindEncoder(THREE, (), version)
    assert encoder.encode(values) == ABC
    assert (encoder.n, encoder.columns, encoder.routing_indexes, encoder.protocol_version) == (3, THREE, (), version)
    assert repr(encoder) == "<BindEncoder a int, b text, c int>"


def payload(*cells: str) -> bytes:
    return struct.pack(">H", len(cells)) + bytes.fromhex("".join(cells))


NULL, NOT_SET, ONE = "ffffffff", "fffffffe", "0000000400000001"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, None, UNSET), payload(ONE, NULL, NOT_SET)),
        ((1,), payload(ONE, NOT_SET, NOT_SET)),
        ((), payload(NOT_SET, NOT_SET, NOT_SET)),
        (None, payload(NOT_SET, NOT_SET, NOT_SET)),
        ({"a": 1}, payload(ONE, NOT_SET, NOT_SET)),
        ({"a": 1, "b": None, "c": UNSET}, payload(ONE, NULL, NOT_SET)),
    ],
    ids=repr,
)
def test_missing_values(values: Any, expected: bytes) -> None:
    for version in (4, 5):
        assert BindEncoder(THREE, (), version).encode(values) == expected


def test_version_3_has_no_unset() -> None:
    encoder = BindEncoder(THREE, (), 3)
    assert encoder.encode((1, None, None)) == payload(ONE, NULL, NULL)
    with pytest.raises(ValueError, match="no value for 'b', 'c'"):
        encoder.encode((1,))
    with pytest.raises(KeyError, match="`b` not found"):
        encoder.encode({"a": 1})
    with pytest.raises(ValueError, match="UNSET_VALUE while using"):
        encoder.encode((1, UNSET, 3))


def test_too_many_values() -> None:
    with pytest.raises(ValueError, match="got 4, expected 3"):
        BindEncoder(THREE, (), 4).encode((1, "x", 3, 4))


@pytest.mark.parametrize("values", ["abc", b"abc", 5, object()])
def test_values_that_are_no_sequence(values: Any) -> None:
    with pytest.raises(TypeError):
        BindEncoder(THREE, (), 4).encode(values)


@pytest.mark.parametrize(
    ("values", "part"), [((None, "x", 3), "a"), ((1, "x", UNSET), "c"), ((1, "x"), "c"), ({"c": 3}, "a")], ids=repr
)
def test_the_partition_key_must_have_values(values: Any, part: str) -> None:
    with pytest.raises(ValueError, match=f"routing key '{part}'"):
        BindEncoder(THREE, (0, 2), 4).encode(values)


def test_wrong_values_name_their_parameter() -> None:
    with pytest.raises(EncodeError, match="'b' as text: a value of type int") as caught:
        BindEncoder(THREE, (), 4).encode((1, 5, 3))
    assert (caught.value.parameter, caught.value.cql_type, caught.value.value) == ("b", "text", 5)


def test_large_values() -> None:
    encoder = BindEncoder(columns(a="text", b="blob", c="text"), (), 4)
    for size in (100, 500, 506, 507, 508, 512, 513, 5000, 1_000_000):
        values = ("x" * size, b"y" * size, "z" * size)
        assert encoder.encode(values) == payload(*(struct.pack(">i", size).hex() + c * size for c in ("78", "79", "7a")))


def test_no_parameters() -> None:
    assert BindEncoder((), (), 4).encode(()) == b"\0\0" == BindEncoder((), (), 3).encode(None)


@pytest.mark.parametrize("indexes", [(3,), (-1,), (0, 5)])
def test_routing_indexes_outside_the_parameters(indexes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="part of the partition key"):
        BindEncoder(THREE, indexes, 4)


def test_routing_key_and_token() -> None:
    key_of_one, key_of_x = b"\0\0\0\1", b"x"
    for indexes, expected in [
        ((0,), key_of_one),
        ((1,), key_of_x),
        ((0, 1), b"\0\4" + key_of_one + b"\0" + b"\0\1x\0"),
        ((1, 0), b"\0\1x\0" + b"\0\4" + key_of_one + b"\0"),
    ]:
        encoder = BindEncoder(THREE, indexes, 4)
        assert encoder.routing_key(ABC) == expected
        assert encoder.token(ABC) == murmur3_token(expected)
    nothing = BindEncoder(THREE, (), 4)
    assert nothing.routing_key(ABC) is None and nothing.token(ABC) is None
    for encoder in (BindEncoder(THREE, (1,), 4), BindEncoder(THREE, (0, 1), 4)):
        assert encoder.routing_key(payload(ONE, NULL, ONE)) is None and encoder.token(payload(ONE, NOT_SET, ONE)) is None


def test_long_keys() -> None:
    encoder = BindEncoder(columns(a="blob", b="blob"), (0, 1), 4)
    parts = (b"p" * 0xFFFF, b"q" * 300)
    expected = b"".join(struct.pack(">H", len(part)) + part + b"\0" for part in parts)
    assert encoder.routing_key(encoder.encode(parts)) == expected
    assert encoder.token(encoder.encode(parts)) == murmur3_token(expected)
    with pytest.raises(ValueError, match="65,535"):
        encoder.token(encoder.encode((b"p" * 0x10000, b"q")))


def test_payloads_of_others_are_refused() -> None:
    encoder = BindEncoder(THREE, (2,), 4)
    for length in range(len(ABC)):
        for method in (encoder.routing_key, encoder.token):
            with pytest.raises(ValueError, match="not of this statement"):
                method(ABC[:length])
