"""What cassandra-driver writes and reads we write and read: same bytes, equal values, components of the same types."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import logging
import math
import uuid
import warnings
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geventcql import util
from geventcql.cython.codecs import parse_cql_type
from geventcql.errors import EncodeError
from tests.cython import codecvalues as cv
from tests.support import refcodec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import cassandra.util
    from cassandra import cqltypes
    from cassandra.cqltypes import lookup_casstype

EXAMPLES = settings(max_examples=50)
VERSION = 5
# It warns of every field name that is no identifier.
logging.getLogger("cassandra.cqltypes").setLevel(logging.ERROR)


def theirs(cql_type: Any) -> Any:
    """Their class for a type (not by its class name: they take hexadecimal names of digits alone for numbers)."""
    if isinstance(cql_type, str):
        return lookup_casstype(refcodec.class_name(cql_type))
    kind, *rest = cql_type
    if kind == "udt":
        names, elements = zip(*rest[2], strict=True)
        return cqltypes.UserType.make_udt_class(rest[0], rest[1], names, tuple(theirs(element) for element in elements))
    if kind == "vector":
        return cqltypes.VectorType.apply_parameters([theirs(rest[0]), rest[1]], None)
    return getattr(cqltypes, f"{kind.capitalize()}Type").apply_parameters(tuple(theirs(element) for element in rest))


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[Any, Any]:
    cql_type = draw(cv.types())
    value = draw(cv.values(cql_type))
    assume("timestamp" not in repr(cql_type) or in_range(cql_type, value))
    return cql_type, value


def in_range(cql_type: Any, value: Any) -> bool:
    """Whether all timestamps in `value` are datetimes: theirs end where Python's do."""
    if value is None:
        return True
    if isinstance(cql_type, str):
        return cql_type != "timestamp" or -62135596800000 <= value <= 253402300799999
    kind, *rest = cql_type
    if kind in ("list", "set", "vector"):
        return all(in_range(rest[0], item) for item in value)
    if kind == "map":
        return all(in_range(rest[0], key) and in_range(rest[1], item) for key, item in value)
    elements = rest if kind == "tuple" else [element for _, element in rest[2]]
    return all(in_range(element, item) for element, item in zip(elements, value, strict=True))


def to_theirs(value: Any) -> Any:
    """A value of ours with cassandra-driver's classes instead."""
    if isinstance(value, util.Date):
        return cassandra.util.Date(value.days_from_epoch)
    if isinstance(value, util.Time):
        return cassandra.util.Time(value.nanosecond_time)
    if isinstance(value, util.Duration):
        return cassandra.util.Duration(value.months, value.days, value.nanoseconds)
    if isinstance(value, list):
        return [to_theirs(item) for item in value]
    if isinstance(value, tuple):
        return tuple(to_theirs(item) for item in value)
    if isinstance(value, (dict, cv.Pairs)):
        return cassandra.util.OrderedMap([(to_theirs(key), to_theirs(item)) for key, item in value.items()])
    return value


@EXAMPLES
@given(typed_values())
def test_same_bytes(typed: tuple[Any, Any]) -> None:
    cql_type, value = typed
    bound = cv.bindable(cql_type, value)
    assert cv.compiled(cql_type).encode(bound) == theirs(cql_type).serialize(to_theirs(bound), VERSION)


@EXAMPLES
@given(typed_values())
def test_takes_their_values(typed: tuple[Any, Any]) -> None:
    cql_type, value = typed
    bound = cv.bindable(cql_type, value)
    assert cv.compiled(cql_type).encode(to_theirs(bound)) == cv.compiled(cql_type).encode(bound)


@EXAMPLES
@given(typed_values())
def test_same_values(typed: tuple[Any, Any]) -> None:
    cql_type, value = typed
    data = refcodec.encode(cql_type, value)
    assert_same(cql_type, cv.compiled(cql_type).decode(data), theirs(cql_type).from_binary(data, VERSION))


def assert_same(cql_type: Any, ours: Any, expected: Any) -> None:
    """Equal, and of classes with one name, all the way down."""
    kind = cql_type if isinstance(cql_type, str) else cql_type[0]
    if kind == "map":
        if ours is None:
            assert expected is None
            return
        assert type(ours) in (dict, util.OrderedMapSerializedKey)
        assert len(ours) == len(expected)
        # Not items(): their lookup fails for keys that hold sets in another order than Python's.
        for (our_key, our_item), (key, item) in zip(ours.items(), expected._items, strict=True):
            assert_same(cql_type[1], our_key, key)
            assert_same(cql_type[2], our_item, item)
        return
    assert type(ours).__name__ == type(expected).__name__
    if ours is None:
        return
    if kind in ("list", "vector", "set"):
        # Sets whose items cannot be ordered keep other orders.
        assert len(ours) == len(expected)
        if kind != "set" or isinstance(cql_type[1], str):
            for our_item, item in zip(ours, expected, strict=True):
                assert_same(cql_type[1], our_item, item)
    elif kind in ("tuple", "udt"):
        elements = cql_type[1:] if kind == "tuple" else [element for _, element in cql_type[3]]
        assert getattr(ours, "_fields", ()) == getattr(expected, "_fields", ())
        for element, our_item, item in zip(elements, ours, expected, strict=True):
            assert_same(element, our_item, item)
    elif kind in ("date", "time", "duration"):
        assert repr(ours) == repr(expected) and str(ours) == str(expected)
    elif kind == "timestamp":
        # They count in a float of seconds, which far from the epoch does not hold milliseconds exactly.
        assert abs(ours - expected) < datetime.timedelta(microseconds=500)
    elif kind == "decimal":
        assert ours.as_tuple() == expected.as_tuple()
    else:
        assert ours == expected and repr(ours) == repr(expected)


BOUND: list[tuple[str, Any]] = [
    ("ascii", "abc"),
    ("bigint", True),
    ("blob", b"abc"),
    ("blob", bytearray(b"abc")),
    ("blob", memoryview(b"abc")),
    ("blob", [1, 2, 255]),
    ("boolean", 0),
    ("boolean", 1),
    ("date", datetime.date(1, 1, 1)),
    ("date", datetime.datetime(2020, 2, 29, 23, 59, tzinfo=datetime.timezone.utc)),
    ("date", "9999-12-31"),
    ("date", "2020-2-9"),
    ("date", "+2020-02-09"),
    ("date", 2**31 + 3),
    ("date", 0),
    ("decimal", 5),
    ("decimal", -0.1),
    ("decimal", "1.50"),
    ("decimal", decimal.Decimal("-0.00")),
    ("decimal", decimal.Decimal("1e400")),
    ("double", 3),
    ("double", decimal.Decimal("1.5")),
    ("double", math.inf),
    ("float", -math.inf),
    ("float", 3),
    ("inet", "127.1"),
    ("inet", "::ffff:1.2.3.4"),
    ("inet", ipaddress.ip_address("1.2.3.4")),
    ("inet", ipaddress.ip_address("fe80::1")),
    ("int", True),
    ("time", "01:02:03"),
    ("time", "1:2:3.5"),
    ("time", datetime.time(1, 2, 3, 4)),
    ("time", 5),
    ("time", cassandra.util.Time(7)),
    ("timestamp", datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("timestamp", datetime.datetime(1900, 1, 1, 0, 0, 0, 1)),
    ("timestamp", datetime.datetime(2020, 2, 29, 12, 0, 0, 123456)),
    ("timestamp", datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-5, minutes=-30)))),
    ("timestamp", datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)),
    ("timestamp", datetime.date(2000, 2, 29)),
    ("timestamp", 12345),
    ("timestamp", -12345),
    ("timestamp", 1.9),
    ("timestamp", -1.9),
    ("uuid", uuid.UUID(int=0)),
    ("varint", True),
    ("list<int>", (1, 2)),
    ("list<int>", {1: "a", 2: "b"}),
    ("list<int>", b"\1\2"),
    ("set<int>", frozenset([5])),
    ("set<text>", cassandra.util.SortedSet(["b", "a"])),
    ("map<text, int>", cassandra.util.OrderedMap([("a", 1), ("b", 2)])),
    ("frozen<tuple<int, text>>", [1]),
    ("frozen<tuple<int, text>>", []),
    ("vector<float, 2>", (1, 2.5)),
]


@pytest.mark.parametrize(("cql_type", "value"), BOUND, ids=repr)
def test_accepts_what_they_accept(cql_type: str, value: Any) -> None:
    compiled = parse_cql_type(cql_type)
    assert compiled.encode(value) == lookup_casstype(compiled.cass_name).serialize(value, VERSION)


REFUSED: list[tuple[str, Any]] = [
    ("ascii", "é"),
    ("ascii", 5),
    ("bigint", 2**63),
    ("bigint", "5"),
    ("bigint", 1.0),
    ("boolean", "yes"),
    ("boolean", 200),
    ("date", "yesterday"),
    ("date", -1),
    ("date", 2**32),
    ("date", 1.5),
    ("decimal", "abc"),
    ("decimal", None.__class__),
    ("decimal", decimal.Decimal("NaN")),
    ("decimal", decimal.Decimal("Infinity")),
    ("decimal", decimal.Decimal("1e-2147483648")),
    ("double", "1.5"),
    ("duration", datetime.timedelta(1)),
    ("float", 1e39),
    ("float", "x"),
    ("inet", "300.1.2.3"),
    ("inet", "::g"),
    ("inet", 5),
    ("inet", b"1.2.3.4"),
    ("int", 2**31),
    ("int", -(2**31) - 1),
    ("int", 1.0),
    ("int", "1"),
    ("smallint", 2**15),
    ("tinyint", -129),
    ("time", "25:00:00"),
    ("time", "noon"),
    ("time", 86_400_000_000_000),
    ("time", datetime.datetime(2020, 1, 1)),
    ("timestamp", "2020-01-01"),
    ("timestamp", True),
    ("timestamp", 2**63),
    ("timestamp", math.nan),
    ("timestamp", math.inf),
    ("text", b"bytes"),
    ("text", 5),
    ("text", "\ud800"),
    ("uuid", "00000000-0000-0000-0000-000000000000"),
    ("timeuuid", 5),
    ("varint", "5"),
    ("list<int>", "12"),
    ("list<int>", 5),
    ("list<int>", ["a"]),
    ("set<text>", "ab"),
    ("map<text, int>", [("a", 1)]),
    ("map<text, int>", {"a": "b"}),
    ("frozen<tuple<int, text>>", (1, "a", 2)),
    ("frozen<tuple<int, text>>", 5),
    ("vector<float, 2>", [1.0]),
    ("vector<float, 2>", [1.0, None]),
]


@pytest.mark.parametrize(("cql_type", "value"), REFUSED, ids=repr)
def test_refuses_what_they_refuse(cql_type: str, value: Any) -> None:
    compiled = parse_cql_type(cql_type)
    with pytest.raises(Exception):  # noqa: B017 - theirs raise all sorts
        lookup_casstype(compiled.cass_name).serialize(value, VERSION)
    with pytest.raises(EncodeError) as caught:
        compiled.encode(value)
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)
    assert compiled.name in str(caught.value) and caught.value.value is value


EMPTY = [*sorted(cv.PLAIN), "list<int>", "set<int>", "map<int, int>", "frozen<tuple<int>>"]


@pytest.mark.parametrize("cql_type", EMPTY)
def test_null_and_empty(cql_type: str) -> None:
    compiled = parse_cql_type(cql_type)
    expected = lookup_casstype(compiled.cass_name).from_binary(b"", VERSION)
    assert compiled.decode(b"") == expected
    assert compiled.decode(None) is None
    assert compiled.encode(None) is None
