"""Values that lie, change while they are encoded, or come from a server that means harm: found by fuzzing (tests/fuzz)."""

from __future__ import annotations

import datetime
import decimal
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from geventcql.cython.codecs import ColumnSpec, parse_cql_type, parse_type_class, read_columns
from geventcql.errors import EncodeError
from tests.support import refcodec

HOUR = datetime.timezone(datetime.timedelta(hours=1))
ADDRESS = ("udt", "ks", "address", (("street", "text"), ("zip", "int")))


def address() -> Any:
    return parse_type_class(refcodec.class_name(ADDRESS))


class Growing:
    """A sequence that is longer each time it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        self.asked += 1
        return 2 if self.asked == 1 else 1000

    def __getitem__(self, index: int) -> str | int:
        return ("street", 5)[index]


def test_a_user_types_value_whose_length_changes() -> None:
    """More fields than the type has were read from behind its end."""
    value = Growing()
    assert address().encode(value) == refcodec.encode(ADDRESS, ("street", 5))
    assert value.asked == 1


@pytest.mark.parametrize("number", [1.5, 2.0**100, decimal.Decimal(7)])
def test_a_uuid_of_something_else_than_an_int(number: Any) -> None:
    """uuid.UUID lets them in; their memory was read as an int's."""
    with pytest.raises(EncodeError, match="must be a UUID"):
        parse_cql_type("uuid").encode(uuid.UUID(int=number))


@pytest.mark.parametrize("offset", [3, "x", datetime.timedelta.max, datetime.timedelta.min, datetime.timedelta(days=1)])
def test_a_datetime_whose_offset_is_none(offset: Any) -> None:
    """What a subclass returns was taken for a timedelta unseen, and for a small one."""

    class Odd(datetime.datetime):
        def utcoffset(self) -> Any:
            return offset

    with pytest.raises(EncodeError, match="utcoffset"):
        parse_cql_type("timestamp").encode(Odd(2020, 1, 1, tzinfo=HOUR))


@pytest.mark.parametrize("offset", [None, datetime.timedelta(hours=-23, microseconds=1)])
def test_a_datetime_that_has_its_own_offset(offset: Any) -> None:
    class Own(datetime.datetime):
        def utcoffset(self) -> Any:
            return offset

    since = datetime.datetime(2020, 1, 1) - datetime.datetime(1970, 1, 1) - (offset or datetime.timedelta())
    milliseconds = since // datetime.timedelta(milliseconds=1)
    assert parse_cql_type("timestamp").encode(Own(2020, 1, 1, tzinfo=HOUR)) == refcodec.encode("timestamp", milliseconds)


class Index:
    """Converts to an int, and is none."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


@pytest.mark.parametrize("number", [5, 1 << 40])
def test_a_blob_of_something_that_converts_to_an_int(number: int) -> None:
    """bytes(value) is that many zeros: the wrong value, or all memory there is."""
    with pytest.raises(EncodeError):
        parse_cql_type("blob").encode(Index(number))


def test_a_blob_of_something_that_has_bytes() -> None:
    class Both(Index):
        def __bytes__(self) -> bytes:
            return b"own"

    assert parse_cql_type("blob").encode(Both(5)) == b"own"


def test_a_vector_that_changes_while_it_is_encoded() -> None:
    """Its elements' own code may do so; what was sent had another dimension."""
    value: list[Any] = []

    class Element(Index):
        def __index__(self) -> int:
            del value[1:]
            return 1

    value += [Element(0), 2, 3]
    with pytest.raises(EncodeError, match="1 elements for a vector of 3"):
        parse_cql_type("vector<int, 3>").encode(value)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("says nothing")


class Refusing:
    def __iter__(self) -> Iterator[Any]:
        raise Mute

    def __repr__(self) -> str:
        raise Mute


Namesake = type("list", (Refusing,), {"__len__": lambda self: 5})


@pytest.mark.parametrize("value", [10**5000, [10**5000], Refusing(), Namesake()], ids=["int", "in list", "mute", "namesake"])
@pytest.mark.parametrize("name", ["bigint", "list<bigint>", "vector<int, 2>"])
def test_the_error_for_a_value_that_cannot_be_shown(name: str, value: Any) -> None:
    """It still is the error that names the parameter and its type."""
    with pytest.raises(EncodeError, match=f"as {name}"):
        parse_cql_type(name).encode(value)


# 'ﬁ' is a ligature: Python's parser makes the letters f and i of it, as it makes an underscore of the wide one.
@pytest.mark.parametrize(
    "names", [("ﬁ", "fi"), ("µ", "μ"), ("\N{FULLWIDTH LOW LINE}cls", "b"), ("a", "\N{FULLWIDTH LOW LINE}_debug__")]
)
def test_field_names_that_python_takes_for_one(names: tuple[str, ...]) -> None:
    """They raised SyntaxError; now values are plain tuples, as wherever two names are alike, or named ones."""
    described = ("udt", "ks", "t", tuple((name, "int") for name in names))
    (column,), _ = read_columns(refcodec.columns([("c", described)]), 0, 1, 1)
    assert type(column) is ColumnSpec
    assert column.type.decode(refcodec.encode(described, (1, 2))) == (1, 2)


def test_decimals_of_many_digits() -> None:
    """Their number is made in less than the square of their length, and is right."""
    for length in (1023, 1024, 1025, 3000):
        for lead in (b"\x00", b"\x7f", b"\x80", b"\xff"):
            digits = lead + bytes(range(256)) * (length // 256 + 1)
            number = int.from_bytes(digits[:length], "big", signed=True)
            assert parse_cql_type("decimal").decode(b"\0\0\0\0" + digits[:length]) == decimal.Decimal(number)
    started = time.process_time()
    parse_cql_type("decimal").decode(b"\0\0\0\x05" + b"\x7f" * 300_000)
    assert time.process_time() - started < 8, "was 16 s"
