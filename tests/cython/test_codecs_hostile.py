"""A few bytes of a server's that ask for much memory or time: each ends in a named error, before either is taken."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from geventcql.cython import codecs
from geventcql.cython.codecs import RowDecoder, parse_cql_type, parse_type_class, read_columns, skip_columns
from geventcql.cython.wire import decoder_from
from geventcql.errors import DecodeError, FrameError
from tests.cython.wireserver import Server, client
from tests.support import refcodec, wire

MIB = 1024 * 1024
SIMPLE = b"\0\x09"


def refused(do: Callable[[], Any], error: type[Exception], words: str, most: int = MIB) -> None:
    """It raises, and Python's objects take no more than `most` bytes until then."""
    tracemalloc.start()
    try:
        with pytest.raises(error, match=words):
            do()
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def columns_of(option: bytes, count: int = 1, name: bytes = b"\0\x01c") -> bytes:
    """The specifications of `count` columns of a table that is named once."""
    return b"\0\0\0\0" + (name + option) * count


TUPLE_OF_LISTS = b"\0\x31" + struct.pack(">H", 65_535) + b"\0\x20\0\x09" * 65_535
LONG_NAME = struct.pack(">H", 60_000) + b"n" * 60_000
NESTED_UDT = (b"\0\x30" + b"\0\x01k" + LONG_NAME + b"\0\x01" + b"\0\x01f") * 60 + SIMPLE
WIDE_CLASS = refcodec.string("TupleType(" + ",".join("a" * 32_000) + ")")
BOMBS = {
    "columns": (columns_of(SIMPLE, 1_000_000, b"\0\0"), 1_000_000),
    "tuples of lists": (columns_of(TUPLE_OF_LISTS, 4), 4),
    "user types, each in the next": (columns_of(NESTED_UDT, 4), 4),
    "class names": (columns_of(b"\0\0" + WIDE_CLASS, 100), 100),
    "names of columns": (columns_of(SIMPLE, 400, LONG_NAME), 400),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_metadata_that_describes_too_much(bomb: str) -> None:
    body, count = BOMBS[bomb]
    refused(lambda: read_columns(body, 0, 1, count), FrameError, "describes more than is taken", 128 * MIB)


def test_as_many_columns_as_anybody_has() -> None:
    """65,536 of a map each, which no server has shown yet."""
    body = columns_of(b"\0\x21\0\x0d\0\x09", 65_536)
    columns, end = read_columns(body, 0, 1, 65_536)
    assert len(columns) == 65_536 and end == skip_columns(body, 0, 1, 65_536) == len(body)
    body, count = BOMBS["columns"]
    refused(lambda: skip_columns(body, 0, 1, count), FrameError, "describes more")


@pytest.mark.parametrize("count", [2**31 - 1, 65_536, 3])
def test_a_count_of_columns_that_lies(count: int) -> None:
    body = columns_of(SIMPLE, 2)
    for read in (read_columns, skip_columns, decoder_from):
        refused(lambda read=read: read(body, 0, 1, count), FrameError, "columns in|ends early")  # type: ignore[misc]


@pytest.mark.parametrize("parse", [parse_cql_type, parse_type_class])
def test_the_text_of_a_type_that_is_long(parse: Callable[[str], Any]) -> None:
    text = "a" * MIB
    refused(lambda: parse(text), ValueError, "1048576 characters: 262144 is the most")
    assert parse("a" * 65_535).name.endswith("aaa'")


@pytest.mark.parametrize(
    "text", ["list<" * 40_000, "'" * 200_000, "<" * 200_000, "a<" + "b," * 100_000, '"' * 200_001, " " * 200_000]
)
@pytest.mark.parametrize("parse", [parse_cql_type, parse_type_class])
def test_the_text_of_a_type_that_is_no_type_takes_no_time(parse: Callable[[str], Any], text: str) -> None:
    began = time.process_time()
    try:
        parse(text)
    except ValueError as error:
        assert len(str(error)) < 1000
    assert time.process_time() - began < 2


# -- values that leave out what they need not say ------------------------------------------------------------------------

WIDE = parse_cql_type("list<frozen<tuple<" + ",".join(["int"] * 20_000) + ">>>")
ONE_OF_20_000 = wire.bytes_(wire.bytes_(None))
"""A tuple whose first element is null and whose others are not there: 8 bytes, which would be 160 KB."""


def test_tuples_that_leave_out_their_elements() -> None:
    value = wire.int_(100_000) + ONE_OF_20_000 * 100_000
    refused(lambda: WIDE.decode(value), DecodeError, "elements are left out", 64 * MIB)


def test_what_types_that_have_grown_leave_out_is_no_matter() -> None:
    grown = parse_cql_type("list<frozen<tuple<" + ",".join(["int"] * 200) + ">>>")
    value = wire.int_(5_000) + wire.bytes_(wire.bytes_(wire.int_(7))) * 5_000
    assert grown.decode(value) == [(7,) + (None,) * 199] * 5_000


def test_rows_that_leave_out_elements() -> None:
    decoder = RowDecoder((codecs.ColumnSpec("ks", "t", "c", WIDE.subtypes[0]),))
    body = ONE_OF_20_000 * 100_000
    refused(lambda: decoder.decode_rows(body, 0, 100_000), DecodeError, "'c'.*elements are left out", 64 * MIB)
    decoder.decode_rows(body, 0, 40)
    assert decoder.absent == 40 * 19_999


def test_pages_that_are_read_by_slices() -> None:
    """Each slice alone leaves out no more than is taken."""
    option = b"\0\x31" + struct.pack(">H", 20_000) + SIMPLE * 20_000
    body = wire.int_(2) + wire.int_(1) + wire.int_(1) + columns_of(option) + wire.int_(100_000) + ONE_OF_20_000 * 100_000
    table, splitter = client(5)
    ((_, page),) = splitter.feed(Server(5).bytes([Server(5).envelope(table.acquire("t"), wire.Opcode.RESULT, body, 0)]))

    def look() -> None:
        while not page.finished:
            page.more_rows(20)

    refused(look, DecodeError, "leave out more elements than is taken", 64 * MIB)


@pytest.mark.parametrize("claims", [2**31 - 1, 2**24])
def test_rows_that_are_not_there(claims: int) -> None:
    for width in (0, 1):
        decoder = RowDecoder((codecs.ColumnSpec("ks", "t", "c", parse_cql_type("int")),) * width)
        refused(lambda decoder=decoder: decoder.decode_rows(bytes(64), 0, claims), DecodeError, "rows of")  # type: ignore[misc]


@pytest.mark.parametrize(
    "text", ["list<int>", "set<int>", "map<int, int>", "vector<text, 268435456>", "vector<float, 67108864>"]
)
def test_elements_that_are_not_there(text: str) -> None:
    cql_type = parse_cql_type(text)
    refused(lambda: cql_type.decode(wire.int_(2**31 - 1) + bytes(60)), DecodeError, "bytes")


@pytest.mark.parametrize(
    "text", ["vector<int, 2147483647>", "vector<vector<float, 65536>, 65536>", "vector<int, 0>", "vector<int, x>"]
)
def test_dimensions_that_lie(text: str) -> None:
    with pytest.raises(ValueError):
        parse_cql_type(text)


# -- values that take long ----------------------------------------------------------------------------------------------


def test_long_decimals() -> None:
    """Turning binary digits into decimal ones takes longer than anything else that is made of as many bytes."""
    cql_type = parse_cql_type("decimal")
    value = wire.int_(0) + b"\x7f" * (MIB + 1)
    refused(lambda: cql_type.decode(value), DecodeError, "a decimal of 1048577 bytes: 1048576 are the most")


@pytest.mark.parametrize("scale", [2**31 - 1, -(2**31)])
def test_exponents_take_nothing(scale: int) -> None:
    decimal = parse_cql_type("set<decimal>")
    cells = [wire.int_(scale) + b"\x01", wire.int_(0) + b"\x01", wire.int_(-scale - 1) + b"\x02"]
    value = wire.int_(3) + b"".join(map(wire.bytes_, cells))
    began = time.process_time()
    assert len(decimal.decode(value)) == 3 and len({hash(item) for item in decimal.decode(value)}) == 3
    assert time.process_time() - began < 1


# -- names of fields ----------------------------------------------------------------------------------------------------


def user_type_of(names: list[str]) -> Any:
    fields = "".join(f",{name.encode().hex()}:Int32Type" for name in names)
    return parse_type_class(f"UserType(ks,{b'u'.hex()}{fields})")


def test_fields_whose_names_are_one_to_python() -> None:
    """It reads ligatures as the letters that they are made of."""
    cql_type = user_type_of(["\ufb01", "fi"])
    assert cql_type.decode(wire.bytes_(wire.int_(1)) + wire.bytes_(wire.int_(2))) == (1, 2) and cql_type.row_class is None


def test_more_fields_than_a_class_is_made_of() -> None:
    names = [f"f{index}" for index in range(4097)]
    assert user_type_of(names).row_class is None
    assert user_type_of(names[:-1]).row_class._fields[-1] == "f4095"  # type: ignore[union-attr]
