"""Literals: the same text as cassandra-driver's Encoder wherever that one is right."""

from __future__ import annotations

import datetime
import math
from collections import OrderedDict, namedtuple
from decimal import Decimal
from ipaddress import ip_address
from uuid import UUID

import cassandra.encoder
import cassandra.util
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql import encoder, util

OURS = encoder.Encoder()
THEIRS = cassandra.encoder.Encoder()

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.binary().map(bytearray),
    st.binary().map(memoryview),
    st.uuids(),
    st.dates(min_value=datetime.date(1000, 1, 1)),
    st.times(),
    st.datetimes(min_value=datetime.datetime(1970, 1, 1), max_value=datetime.datetime(2200, 1, 1)),
    st.datetimes(timezones=st.just(datetime.timezone(datetime.timedelta(hours=5))),
                 min_value=datetime.datetime(1971, 1, 1), max_value=datetime.datetime(2200, 1, 1)),
    st.ip_addresses(),
)  # fmt: skip
hashables = st.one_of(st.integers(), st.text(), st.binary(), st.uuids())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.frozensets(hashables),
        st.sets(hashables),
        st.dictionaries(hashables, inner),
        st.dictionaries(hashables, inner).map(OrderedDict),
    ),
    max_leaves=12,
)


@given(values)
def test_writes_what_cassandra_driver_writes(value: object) -> None:
    assert OURS.cql_encode_all_types(value) == THEIRS.cql_encode_all_types(value)


@given(st.lists(scalars))
def test_sequences_for_in(items: list[object]) -> None:
    ours = OURS.cql_encode_all_types(encoder.ValueSequence(items))
    assert ours == THEIRS.cql_encode_all_types(cassandra.encoder.ValueSequence(items))
    assert ours.startswith("(") and ours.endswith(")")
    assert ours == OURS.cql_encode_tuple(items)


@given(st.text())
def test_quotes_are_doubled(text: str) -> None:
    quoted = encoder.cql_quote(text)
    assert quoted[0] == quoted[-1] == "'"
    assert quoted[1:-1].replace("''", "'") == text
    assert quoted == cassandra.encoder.cql_quote(text)
    assert encoder.cql_quote(12) == "12"


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (math.nan, "NaN"),
        (0.1, "0.1"),
        (1e100, "1e+100"),
        (True, "True"),
        (None, "NULL"),
        ("it's", "'it''s'"),
        (b"\x00\xff", "0x00ff"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2026, 11, 23), "'2026-11-23'"),
        (datetime.date(999, 1, 2), "'0999-01-02'"),
        (datetime.datetime(1970, 1, 1, 0, 0, 1, 999), "1000"),
        (datetime.datetime(1969, 12, 31, 23, 59, 58, 999_500), "-1000"),
        (datetime.datetime.max, "253402300799999"),
        (ip_address("::1"), "'::1'"),
        (util.Date(-(2**31)), "0"),
        (util.Date(0), str(2**31)),
        (util.Timestamp(-62135596800001), "-62135596800001"),
        ([util.Timestamp(2**63 - 1)], "[9223372036854775807]"),
        (util.Duration(14, 2, 3), str(cassandra.util.Duration(14, 2, 3))),
        ({"a": [1, None]}, "{'a': [1, NULL]}"),
        ({1}, "{1}"),
        (set(), "{}"),
        ((1, "b"), "[1, 'b']"),
    ],
)
def test_examples(value: object, literal: str) -> None:
    assert OURS.cql_encode_all_types(value) == literal


def test_value_classes_of_the_driver() -> None:
    day = 12345678901234
    assert OURS.cql_encode_all_types(util.Time(day)) == THEIRS.cql_encode_all_types(cassandra.util.Time(day))
    assert OURS.cql_encode_all_types(util.SortedSet([3, 1, 2])) == "{1, 2, 3}"
    assert OURS.cql_encode_all_types(util.OrderedMap([([1], "a"), ([0], "b")])) == "{[1]: 'a', [0]: 'b'}"


def test_generators_are_lists() -> None:
    assert OURS.cql_encode_all_types(x for x in "ab") == "['a', 'b']"


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_keep_all_digits(value: Decimal) -> None:
    assert Decimal(OURS.cql_encode_all_types(value)) == value


def test_decimals_that_are_no_numbers() -> None:
    assert OURS.cql_encode_all_types(Decimal("NaN")) == "NaN"
    assert OURS.cql_encode_all_types(Decimal("-Infinity")) == "-Infinity"


def test_a_subclass_is_written_as_its_base() -> None:
    class Name(str):
        pass

    class Real(float):
        def __repr__(self) -> str:
            return "Real()"

    point = namedtuple("point", "x y")
    assert OURS.cql_encode_all_types(Name("a' OR ''='")) == "'a'' OR ''''='''"
    assert OURS.cql_encode_all_types([Real(0.5)]) == "[0.5]"
    assert OURS.cql_encode_all_types(point(1, "z")) == "[1, 'z']"


def test_the_mapping_is_the_applications_own() -> None:
    class Celsius:
        def __str__(self) -> str:
            return "21.5"

    mine = encoder.Encoder()
    assert mine.cql_encode_all_types(Celsius()) == "21.5"
    mine.mapping[Celsius] = lambda value: f"'{value} C'"
    mine.mapping[tuple] = mine.cql_encode_tuple
    assert mine.cql_encode_all_types([Celsius(), (1, 2)]) == "['21.5 C', (1, 2)]"
    assert OURS.cql_encode_all_types((1, 2)) == "[1, 2]"


SHAPES = [
    util.Point(1, 2),
    util.LineString([(1, 2), (3, 4)]),
    util.Polygon([(0, 0), (1, 1), (1, 0), (0, 0)]),
]


@pytest.mark.parametrize("value", SHAPES, ids=str)
def test_shapes_are_quoted(value: object) -> None:
    assert OURS.cql_encode_all_types(value) == f"'{value}'"
