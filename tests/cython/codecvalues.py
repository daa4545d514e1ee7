"""Hypothesis strategies for CQL types and values, and the way between the oracle's plain values and the driver's."""

from __future__ import annotations

import datetime
import ipaddress
import struct
import uuid
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from geventcql import util
from geventcql.cython import codecs
from tests.support import refcodec

EPOCH = datetime.datetime(1970, 1, 1)


def integers(bits: int) -> st.SearchStrategy[int]:
    """Numbers of a two's complement type, its ends among them."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return st.integers(low, high) | st.sampled_from([low, -1, 0, 1, high])


def decimals() -> st.SearchStrategy[Decimal]:
    numbers = st.tuples(st.integers(-(10**40), 10**40), st.integers(-400, 400))
    return numbers.map(
        lambda parts: Decimal((parts[0] < 0, tuple(int(digit) for digit in str(abs(parts[0]))), parts[1]))
    )


PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "ascii": st.text(st.characters(max_codepoint=127), max_size=20),
    "bigint": integers(64),
    "blob": st.binary(max_size=40),
    "boolean": st.booleans(),
    "counter": integers(64),
    "decimal": decimals(),
    "double": st.floats(allow_nan=False),
    "float": st.floats(width=32, allow_nan=False),
    "int": integers(32),
    "timestamp": integers(64) | st.integers(-62135596800000, 253402300799999),
    "uuid": st.uuids(),
    "text": st.text(max_size=20),
    "varint": integers(64) | st.integers(-(1 << 200), 1 << 200),
    "timeuuid": st.uuids(version=1),
    "inet": st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str),
    "date": integers(32),
    "time": st.integers(0, 86_399_999_999_999),
    "smallint": integers(16),
    "tinyint": integers(8),
    "duration": st.tuples(integers(32), integers(32), integers(64)),
}
FIELD_NAMES = ["street", "zip", "class", "_hidden", "no blanks", "Zahl", "été"]


def types(max_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Types in the oracle's notation."""
    return st.recursive(
        st.sampled_from(sorted(PLAIN)),
        lambda element: (
            st.tuples(st.sampled_from(["list", "set"]), element)
            | st.tuples(st.just("map"), element, element)
            | st.lists(element, min_size=1, max_size=4).map(lambda elements: ("tuple", *elements))
            | st.tuples(st.just("vector"), element, st.integers(1, 5))
            | st.lists(st.tuples(st.sampled_from(FIELD_NAMES), element), min_size=1, max_size=4).map(
                lambda fields: ("udt", "ks", "address", tuple(dict(fields).items()))
            )
        ),
        max_leaves=max_leaves,
    )


def values(cql_type: Any) -> st.SearchStrategy[Any]:
    """Plain values of a type; null elements where CQL can store them (tuples and user types)."""
    if isinstance(cql_type, str):
        return PLAIN[cql_type]
    kind, *rest = cql_type
    if kind == "list":
        return st.lists(values(rest[0]), max_size=4)
    if kind == "set":
        return st.lists(values(rest[0]), max_size=4, unique_by=lambda value: identity(rest[0], value))
    if kind == "map":
        pairs = st.tuples(values(rest[0]), values(rest[1]))
        return st.lists(pairs, max_size=4, unique_by=lambda pair: identity(rest[0], pair[0]))
    if kind == "vector":
        return st.lists(values(rest[0]), min_size=rest[1], max_size=rest[1])
    elements = rest if kind == "tuple" else [element for _, element in rest[2]]
    return st.tuples(*(st.none() | values(element) for element in elements))


def identity(cql_type: Any, value: Any) -> Any:
    """What makes a value differ from others for Python: 0.0 and -0.0, 1.0 and 1.00 are one."""
    if cql_type in ("float", "double", "decimal"):
        return value
    if isinstance(cql_type, str):
        return refcodec.encode(cql_type, value)
    return repr(comparable(cql_type, value))


def comparable(cql_type: Any, value: Any) -> Any:
    """A plain value with the order of sets and maps taken out, and equal numbers made the same."""
    if value is None:
        return None
    if isinstance(cql_type, str):
        if cql_type == "decimal":
            return value.normalize() + 0 if abs(value.as_tuple().exponent) < 10 else value + 0
        return value + 0.0 if cql_type in ("float", "double") else value
    kind, *rest = cql_type
    if kind in ("list", "vector"):
        return [comparable(rest[0], item) for item in value]
    if kind == "set":
        return sorted((comparable(rest[0], item) for item in value), key=repr)
    if kind == "map":
        return sorted(((comparable(rest[0], key), comparable(rest[1], item)) for key, item in value), key=repr)
    elements = rest if kind == "tuple" else [element for _, element in rest[2]]
    return tuple(comparable(element, item) for element, item in zip(elements, value, strict=True))


def bindable(cql_type: Any, value: Any) -> Any:
    """What an application binds for a plain value."""
    if value is None:
        return None
    if isinstance(cql_type, str):
        if cql_type == "timestamp":
            inside = -62135596800000 <= value <= 253402300799999
            return EPOCH + datetime.timedelta(milliseconds=value) if inside else util.Timestamp(value)
        if cql_type == "duration":
            return util.Duration(*value)
        return {"date": util.Date, "time": util.Time}.get(cql_type, lambda same: same)(value)
    kind, *rest = cql_type
    if kind in ("list", "set", "vector"):
        return [bindable(rest[0], item) for item in value]
    if kind == "map":
        pairs = [(bindable(rest[0], key), bindable(rest[1], item)) for key, item in value]
        try:
            return dict(pairs)
        except TypeError:
            return Pairs(pairs)
    elements = rest if kind == "tuple" else [element for _, element in rest[2]]
    return tuple(bindable(element, item) for element, item in zip(elements, value, strict=True))


class Pairs:
    """The least that is bound as a map: keys need not be hashable."""

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        self.pairs = pairs

    def items(self) -> list[tuple[Any, Any]]:
        return self.pairs


def plain(cql_type: Any, value: Any) -> Any:
    """The plain value of what the driver decoded, checking the Python type it has."""
    if value is None:
        return None
    if isinstance(cql_type, str):
        return plain_simple(cql_type, value)
    kind, *rest = cql_type
    if kind in ("list", "vector"):
        assert type(value) is list
        return [plain(rest[0], item) for item in value]
    if kind == "set":
        assert type(value) is util.SortedSet
        assert all(item in value for item in value)
        return [plain(rest[0], item) for item in value]
    if kind == "map":
        assert type(value) in (dict, util.OrderedMapSerializedKey)
        assert all(value[key] is item for key, item in value.items())
        return [(plain(rest[0], key), plain(rest[1], item)) for key, item in value.items()]
    assert isinstance(value, tuple)
    elements = rest if kind == "tuple" else [element for _, element in rest[2]]
    return tuple(plain(element, item) for element, item in zip(elements, value, strict=True))


def plain_simple(cql_type: str, value: Any) -> Any:
    if cql_type == "timestamp":
        if type(value) is util.Timestamp:
            return value.milliseconds
        assert type(value) is datetime.datetime and value.tzinfo is None
        return (value - EPOCH) // datetime.timedelta(milliseconds=1)
    if cql_type == "date":
        assert type(value) is util.Date
        return value.days_from_epoch
    if cql_type == "time":
        assert type(value) is util.Time
        return value.nanosecond_time
    if cql_type == "duration":
        assert type(value) is util.Duration
        return value.months, value.days, value.nanoseconds
    if cql_type == "inet":
        # Two spellings of one address are equal.
        return str(ipaddress.ip_address(value))
    expected = {"text": str, "ascii": str, "blob": bytes, "uuid": uuid.UUID, "timeuuid": uuid.UUID, "decimal": Decimal}
    expected |= {"boolean": bool, "float": float, "double": float}
    assert type(value) is expected.get(cql_type, int)
    return value


def compiled(cql_type: Any) -> codecs.CqlType:
    """The driver's type for one in the oracle's notation, by way of column metadata."""
    (spec,), _ = codecs.read_columns(refcodec.columns([("c", cql_type)]), 0, 1, 1)
    return spec.type


def bits(value: float) -> bytes:
    return struct.pack(">d", value)
