"""Values of every CQL type, and how a value is described so that two processes can compare what they read.

Test support; imports no driver. The process under test builds the values with geventcql.util, the one that runs
cassandra-driver with cassandra.util: `util` is one or the other.
"""

from __future__ import annotations

import datetime
import string
import struct
from collections import namedtuple
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

TYPES = (
    "CREATE TYPE {ks}.address (street text, zip int, tags frozen<set<text>>)",
    "CREATE TYPE {ks}.person (name text, age int, home frozen<address>)",
    "CREATE TYPE {ks}.mapped (label text, amount int)",
)


class Mapped:
    """Registered for the user type `mapped`."""

    def __init__(self, label: str | None = None, amount: int | None = None) -> None:
        self.label = label
        self.amount = amount


address = namedtuple("address", ("street", "zip", "tags"))  # what both drivers make of the user types
person = namedtuple("person", ("name", "age", "home"))


@dataclass(frozen=True)
class ReadsAs:
    """A value that comes back as another one."""

    written: Any
    read: Any


@dataclass(frozen=True)
class Case:
    """Values of one CQL type. `bound_only`: further ones that have no literal, or whose literal means something else."""

    cql_type: str
    values: list[Any]
    bound_only: list[Any] = field(default_factory=list)

    def written(self, literals: bool = False) -> list[Any]:
        return [value.written if isinstance(value, ReadsAs) else value for value in self._all(literals)]

    def read(self, literals: bool = False) -> list[Any]:
        return [value.read if isinstance(value, ReadsAs) else value for value in self._all(literals)]

    def _all(self, literals: bool) -> list[Any]:
        return [None, *self.values, *([] if literals else self.bound_only)]


def cases(util: Any) -> dict[str, Case]:
    """All cases by column name."""
    return {**_scalars(util), **_collections(util), **_structures(util)}


def _scalars(util: Any) -> dict[str, Case]:
    days_of_year_1 = -719162
    return {
        "ascii_": Case("ascii", ["a", "", "it's", "".join(map(chr, range(128)))]),
        "bigint_": Case("bigint", _integers(64)),
        "blob_": Case("blob", [b"", b"\x00", b"\x80\xff", bytes(range(256))]),
        "boolean_": Case("boolean", [True, False]),
        "date_": Case(
            "date",
            [
                util.Date(days)
                for days in (-(2**31), days_of_year_1 - 1, days_of_year_1, -1, 0, 1, 2932896, 2932897, 2**31 - 1)
            ],
        ),
        "decimal_": Case(
            "decimal",
            [
                Decimal(text)
                for text in ("0", "1.10", "-1.1", "0.000", "12345678901234567", "1E+10", "-1E-400", "9" * 60 + "." + "1" * 40)
            ],
            [Decimal("-1E+99999"), Decimal((0, (1,), -(2**31) + 1)), Decimal((1, (1, 2), 2**31 - 1))],
        ),
        "double_": Case(
            "double",
            [0.0, -0.0, 3.141592653589793, 1.7976931348623157e308, 5e-324, float("inf"), float("-inf"), float("nan")],
        ),
        "duration_": Case(
            "duration",
            [util.Duration(0, 0, 0), util.Duration(1, 2, 3), util.Duration(-1, -2, -3), util.Duration(0, 31, 10**15)],
            [util.Duration(2**31 - 1, 2**31 - 1, 2**63 - 1), util.Duration(-(2**31), -(2**31), -(2**63))],
        ),
        "float_": Case(
            "float",
            [0.0, -0.0, 1.5, 2.0**127, -(2.0**-149), float("inf"), float("-inf"), float("nan")],
        ),
        "inet_": Case(
            "inet",
            ["127.0.0.1", "0.0.0.0", "255.255.255.255", "::1", "2001:db8::ff00:42:8329", "ffff:" * 7 + "ffff"],
            ["::ffff:192.0.2.1"],  # the server reads the literal as an IPv4 address
        ),
        "int_": Case("int", _integers(32)),
        "smallint_": Case("smallint", _integers(16)),
        "text_": Case(
            "text",
            [
                *("", "a", "it's ''quoted''", "100%", "h\u00e9", "\u65e5\u672c", "e\u0301", "a\x00b", "\n\r\t"),
                *("\ud7ff\ue000", "\uffff", "\U00010000", "\U0010ffff", "\U0001f600" * 100),
            ],
        ),
        "time_": Case("time", [util.Time(value) for value in (0, 1, 1_000_000_001, 86_399_999_999_999)]),
        "timestamp_": Case(
            "timestamp",
            [
                datetime.datetime(1970, 1, 1),
                datetime.datetime(1969, 12, 31, 23, 59, 59, 999000),
                datetime.datetime(2026, 2, 28, 1, 2, 3, 4000),
                datetime.datetime(1, 1, 1),
                datetime.datetime(9999, 12, 31, 23, 59, 59),
            ],
        ),
        "timeuuid_": Case(
            "timeuuid",
            [util.LOWEST_TIME_UUID, util.HIGHEST_TIME_UUID, UUID("c9d6b1a0-0bd1-11f0-8000-0123456789ab")],
        ),
        "tinyint_": Case("tinyint", _integers(8)),
        "uuid_": Case("uuid", [UUID(int=0), UUID(int=2**128 - 1), UUID("6b1b3620-4b2f-4f5c-8e6d-2d2a4a4c1d10")]),
        "varchar_": Case("varchar", ["", "x"]),
        "varint_": Case(
            "varint",
            [0, 1, -1, 127, 128, -128, -129, 255, 256, 2**63, -(2**63) - 1, 10**300, -(1 << 2000)],
        ),
    }


def _integers(bits: int) -> list[int]:
    return [0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), 2 ** (bits - 2)]


def _collections(util: Any) -> dict[str, Case]:
    empty = util.sortedset([])
    ordered = util.OrderedMap
    return {
        "list_": Case("list<int>", [[1, 2, 2, 1], [-(2**31)], ReadsAs([], None), list(range(1000))]),
        "list_frozen": Case("frozen<list<text>>", [[], ["", "a", "\U0001f600"]]),
        "set_": Case("set<text>", [util.sortedset(["b", "a", ""]), ReadsAs(set(), None)]),
        "set_frozen": Case("frozen<set<int>>", [ReadsAs(set(), empty), ReadsAs({3, -1, 2}, util.sortedset([-1, 2, 3]))]),
        "set_uuid": Case("set<uuid>", [util.sortedset([UUID(int=1), UUID(int=2**127)])]),
        "map_": Case("map<text, int>", [{"b": 1, "a": -1, "": 0}, ReadsAs({}, None)]),
        "map_frozen": Case("frozen<map<int, text>>", [{}, {1: "", 2: "x"}]),
        "list_of_sets": Case(
            "list<frozen<set<int>>>", [[util.sortedset([1, 2]), empty], [empty]]
        ),
        "set_of_lists": Case("set<frozen<list<int>>>", [util.sortedset([[1, 2], [], [3]])]),
        "set_of_sets": Case("set<frozen<set<int>>>", [util.sortedset([util.sortedset([1, 2]), util.sortedset([3])])]),
        "map_by_list": Case("map<frozen<list<int>>, text>", [ordered([([1, 2], "a"), ([], "b"), ([3], "c")])]),
        "map_by_set": Case("map<frozen<set<text>>, int>", [ordered([(util.sortedset(["x", "y"]), 1), (empty, 2)])]),
        "map_by_map": Case("map<frozen<map<int, text>>, int>", [ordered([({1: "x"}, 1), ({}, 2)])]),
        "map_of_maps": Case("map<text, frozen<map<int, frozen<list<text>>>>>", [{"a": {1: ["x", ""], 2: []}, "b": {}}]),
        "map_timeuuid": Case(
            "map<timeuuid, timestamp>", [{util.LOWEST_TIME_UUID: datetime.datetime(2026, 11, 23, 1, 2, 3)}]
        ),
        "map_date_time": Case("map<date, time>", [{util.Date(0): util.Time(1), util.Date(-(2**31)): util.Time(0)}]),
        "list_of_durations": Case("list<duration>", [[util.Duration(1, 2, 3), util.Duration(0, 0, -1)]]),
        "list_of_inets": Case("list<inet>", [["127.0.0.1", "::1"]]),
        "map_decimal_double": Case("map<decimal, double>", [{Decimal("1.50"): -0.0, Decimal(-3): float("nan")}]),
        "list_of_blobs": Case("list<blob>", [[b"", b"\x00\xff", bytes(200)]]),
        "map_boolean_varint": Case("map<boolean, varint>", [{True: 10**40, False: -1}]),
        "list_of_smalls": Case("list<tinyint>", [[-128, 127, 0]]),
        "set_of_smallints": Case("set<smallint>", [util.sortedset([-32768, 0, 32767])]),
        "list_of_floats": Case("list<float>", [[1.5, -0.0, float("inf")]]),
    }


def _structures(util: Any) -> dict[str, Case]:
    """Tuples, user types, vectors and what is nested of them. Only mapped user types have literals."""
    tags = util.sortedset(["x", "y"])
    empty = util.sortedset([])
    home = address("Main Street", 12345, tags)
    bare = address(None, None, None)
    letters = list(string.ascii_letters)
    return {
        "tuple_": Case(
            "frozen<tuple<int, text, boolean>>",
            [(1, "a", True), (None, "", None), (None, None, None)],
            [ReadsAs((7,), (7, None, None))],
        ),
        "tuple_nested": Case(
            "frozen<tuple<int, frozen<tuple<text, frozen<list<int>>>>>>", [(1, ("a", [1, 2])), (2, (None, []))]
        ),
        "udt_": Case("frozen<address>", [], [home, address("", 0, empty), bare, ReadsAs(tuple(home), home)]),
        "udt_free": Case("address", [], [home, address("only street", None, None), address(None, 5, None)]),
        "udt_nested": Case("frozen<person>", [], [person("Ada", 36, home), person("Bob", None, bare), person(None, 1, None)]),
        "udt_mapped": Case("frozen<mapped>", [Mapped("a", 1), Mapped(None, None), Mapped("", -1)]),
        "list_of_udts": Case("list<frozen<address>>", [], [[home, bare], [home]]),
        "list_of_mapped": Case("list<frozen<mapped>>", [[Mapped("x", 1), Mapped(None, 2)]]),
        "map_by_udt": Case("map<frozen<address>, int>", [], [util.OrderedMap([(home, 1), (address("Z", None, empty), 2)])]),
        "map_by_tuple": Case(
            "map<frozen<tuple<int, text>>, frozen<set<int>>>", [{(1, "a"): util.sortedset([1]), (2, ""): empty}]
        ),
        "deep": Case(
            "map<text, frozen<list<frozen<tuple<int, text>>>>>",
            [{"a": [(1, "x"), (None, None)], "b": [], "\u00e9": [(2**31 - 1, "\U0001f600")]}],
        ),
        "deeper": Case(
            "frozen<list<frozen<map<int, frozen<set<frozen<tuple<text, frozen<list<bigint>>>>>>>>>>",
            [[], [{}, {1: util.sortedset([("a", [1, 2**63 - 1]), ("b", [])])}]],
        ),
        "vector_float": Case("vector<float, 3>", [[1.0, -0.0, 2.5]], [[float("nan"), float("inf"), -1.0]]),
        "vector_long": Case("vector<float, 1536>", [[i / 8 for i in range(1536)]]),
        "vector_int": Case("vector<int, 2>", [[1, -(2**31)]]),
        "vector_bigint": Case("vector<bigint, 1>", [[2**63 - 1]]),
        "vector_double": Case("vector<double, 2>", [[0.1, -5e-324]]),
        "vector_boolean": Case("vector<boolean, 2>", [[True, False]]),
        "vector_uuid": Case("vector<uuid, 2>", [[UUID(int=1), UUID(int=2)]]),
        "vector_text": Case("vector<text, 3>", [["", "a" * 300, "\u65e5"]]),
        "vector_varint": Case("vector<varint, 2>", [[0, 10**40]]),
        "vector_small": Case("vector<smallint, 2>", [[-1, 32767]]),
        "vector_of_lists": Case("vector<frozen<list<int>>, 2>", [[[1, 2], []]]),
        "vector_of_vectors": Case("vector<vector<float, 2>, 2>", [[[1.0, 2.0], [3.0, -4.0]]]),
        "vector_of_text_vectors": Case("vector<vector<text, 2>, 2>", [[["a", ""], ["b", "c" * 200]]]),
        "vector_wide": Case("vector<text, 52>", [letters]),
        "list_of_vectors": Case("list<frozen<vector<float, 2>>>", [[[1.0, 2.0], [0.5, 0.25]]]),
    }


def describe(value: Any) -> Any:
    """What a value is, by its classes' names and its parts, all the way down, as plain comparable objects.

    Maps are deliberately described alike whatever class they have: cassandra-driver always gives an
    OrderedMapSerializedKey, geventcql a dict unless the keys cannot be hashed. Items of sets and maps are sorted: what has
    no total order (sets of sets) comes in either driver's own order.
    """
    name = type(value).__name__
    if isinstance(value, float):
        return name, struct.pack(">d", value)
    if value is None or isinstance(value, (bool, int, str, bytes)):
        return name, value
    if isinstance(value, UUID):
        return name, value.bytes
    if isinstance(value, Decimal):
        return name, tuple(value.as_tuple())
    if isinstance(value, datetime.datetime):
        return name, value.isoformat(), value.tzinfo
    if isinstance(value, Mapping):
        # Not items(): cassandra-driver's cannot look up keys that hold sets.
        pairs = list(getattr(value, "_items", value.items()))
        return "map", sorted(((describe(key), describe(item)) for key, item in pairs), key=repr)
    if isinstance(value, tuple):
        return name, getattr(value, "_fields", None), [describe(item) for item in value]
    if name == "SortedSet":
        return name, sorted((describe(item) for item in value), key=repr)
    if isinstance(value, list):
        return name, [describe(item) for item in value]
    if isinstance(value, Mapped):
        return name, describe(value.label), describe(value.amount)
    return name, _parts(value)


def _parts(value: Any) -> Any:
    if type(value).__name__ == "Date":
        return value.days_from_epoch
    if type(value).__name__ == "Time":
        return value.nanosecond_time
    if type(value).__name__ == "Duration":
        return value.months, value.days, value.nanoseconds
    raise TypeError(f"no description of {value!r}")


def describe_rows(rows: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """Each cell of each row described."""
    return [[describe(cell) for cell in row] for row in rows]
