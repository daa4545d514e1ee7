"""Golden bytes of every type, the values outside Python's own range, user types, what is refused and how."""

from __future__ import annotations

import array
import copy
import ctypes
import datetime
import decimal
import pickle
import struct
import sys
import uuid
from collections import namedtuple
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra.cqltypes import lookup_casstype

from geventcql import util
from geventcql.cython import codecs
from geventcql.cython.codecs import UNSET, parse_cql_type, parse_type_class
from geventcql.errors import DecodeError, EncodeError

UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
TIME_UUID = uuid.UUID("e4eaaaf2-d142-11e1-b3e4-080027620cdd")

# type, value, its bytes in hexadecimal (the protocol's section 6, or worked out by hand from it)
GOLDEN: list[tuple[str, Any, str]] = [
    ("ascii", "hi", "6869"),
    ("ascii", "", ""),
    ("bigint", -2, "fffffffffffffffe"),
    ("blob", b"\x00\xff", "00ff"),
    ("blob", b"", ""),
    ("boolean", True, "01"),
    ("boolean", False, "00"),
    ("counter", 2**40, "0000010000000000"),
    ("date", util.Date(0), "80000000"),
    ("date", util.Date(-(2**31)), "00000000"),
    ("date", util.Date(2**31 - 1), "ffffffff"),
    ("decimal", Decimal("-1.50"), "00000002ff6a"),
    ("decimal", Decimal("1E+3"), "fffffffd01"),
    ("decimal", Decimal(0), "0000000000"),
    ("double", -0.0, "8000000000000000"),
    ("double", 1.5, "3ff8000000000000"),
    ("double", float("inf"), "7ff0000000000000"),
    ("duration", util.Duration(0, 0, 0), "000000"),
    ("duration", util.Duration(1, -2, 3), "020306"),
    ("duration", util.Duration(64, 8192, 2**62), "8080" + "c04000" + "ff8000000000000000"),
    ("duration", util.Duration(2**31 - 1, -(2**31), -(2**63)), "f0fffffffe" + "f0ffffffff" + "ff" * 9),
    ("float", 0.5, "3f000000"),
    ("inet", "127.0.0.1", "7f000001"),
    ("inet", "::1", "00" * 15 + "01"),
    ("int", -(2**31), "80000000"),
    ("smallint", -1, "ffff"),
    ("text", "grüß 🚀", "6772c3bcc39f20f09f9a80"),
    ("text", "", ""),
    ("time", util.Time("23:59:59.999999999"), "00004e94914effff"),
    ("timestamp", datetime.datetime(1970, 1, 1), "0000000000000000"),
    ("timestamp", datetime.datetime(1969, 12, 31, 23, 59, 59, 999000), "ffffffffffffffff"),
    ("timestamp", datetime.datetime(2024, 2, 29, 1, 2, 3, 4000), "0000018df261f6fc"),
    ("timestamp", util.Timestamp(-(2**63)), "8000000000000000"),
    ("timeuuid", TIME_UUID, TIME_UUID.hex),
    ("tinyint", 127, "7f"),
    ("tinyint", -1, "ff"),
    ("uuid", UUID, UUID.hex),
    ("varint", 0, "00"),
    ("varint", 1, "01"),
    ("varint", 127, "7f"),
    ("varint", 128, "0080"),
    ("varint", 129, "0081"),
    ("varint", -1, "ff"),
    ("varint", -128, "80"),
    ("varint", -129, "ff7f"),
    ("varint", 2**63, "008000000000000000"),
    ("varint", -(2**63), "8000000000000000"),
    ("varint", -(2**63) - 1, "ff7fffffffffffffff"),
    ("list<int>", [1, 2], "00000002" + "0000000400000001" + "0000000400000002"),
    ("list<text>", [], "00000000"),
    ("set<text>", util.SortedSet(["a", "b"]), "00000002" + "0000000161" + "0000000162"),
    ("map<text, int>", {"a": 1}, "00000001" + "0000000161" + "0000000400000001"),
    ("frozen<tuple<int, text>>", (1, "a"), "0000000400000001" + "0000000161"),
    ("frozen<tuple<int, text>>", (None, "a"), "ffffffff" + "0000000161"),
    ("frozen<list<boolean>>", [True], "00000001" + "0000000101"),
    ("vector<float, 2>", [0.5, 1.0], "3f0000003f800000"),
    ("vector<text, 2>", ["a", "b" * 200], "0161" + "80c8" + "62" * 200),
    ("vector<smallint, 2>", [1, 2], "020001020002"),
    ("vector<vector<int, 1>, 2>", [[1], [2]], "0000000100000002"),
]


@pytest.mark.parametrize(("cql_type", "value", "golden"), GOLDEN, ids=repr)
def test_golden_bytes(cql_type: str, value: Any, golden: str) -> None:
    compiled = parse_cql_type(cql_type)
    data = bytes.fromhex(golden)
    assert compiled.encode(value) == data
    decoded = compiled.decode(data)
    assert decoded == value and type(decoded) is type(value) and repr(decoded) == repr(value)
    for other in (bytearray(data), memoryview(data)):
        assert compiled.decode(other) == value


@pytest.mark.parametrize(("cql_type", "value", "golden"), GOLDEN, ids=repr)
def test_a_cell_of_one_byte_more_or_less(cql_type: str, value: Any, golden: str) -> None:
    compiled = parse_cql_type(cql_type)
    for data in (bytes.fromhex(golden)[:-1], bytes.fromhex(golden) + b"\0"):
        try:
            compiled.decode(data)
        except DecodeError as exc:
            assert exc.cql_type == compiled.name and exc.reason and compiled.name in str(exc)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("ListType(BytesType)", "00000001" "00000003" "6162", "an element of 3 bytes, 2 are left"),
        ("SetType(BytesType)", "00000001" "00000003" "6162", "an element of 3 bytes, 2 are left"),
        ("MapType(BytesType,BytesType)", "00000001" "0000000161" "00000002" "62", "an element of 2 bytes, 1 are left"),
        ("TupleType(BytesType)", "00000003" "6162", "an element of 3 bytes, 2 are left"),
        ("VectorType(UTF8Type,2)", "0161" "0262", "ends within element 1"),
        ("CompositeType(BytesType)", "0002" "6162", "an element of 2 bytes, 2 are left"),
    ],
)
def test_an_element_that_lacks_its_last_byte(name: str, data: str, reason: str) -> None:
    """What lies behind a cell is another one."""
    with pytest.raises(DecodeError, match=reason):
        parse_type_class(name).decode(memoryview(bytes.fromhex(data) + b"another")[:-7])


def test_golden_covers_every_type() -> None:
    covered = {type(parse_cql_type(cql_type)) for cql_type, _, _ in GOLDEN}
    leaves = {cls for cls in vars(codecs).values() if isinstance(cls, type) and issubclass(cls, codecs.CqlType)}
    assert leaves - covered == {
        codecs.ApplicationType,
        codecs.CqlType,
        codecs.CustomType,
        codecs.UserType,
        codecs.ReversedType,
        codecs.CompositeType,
    }


# -- numbers and times at their ends -----------------------------------------------------------------------------------


def test_timestamps_outside_datetime_are_values_of_their_own() -> None:
    compiled = parse_cql_type("timestamp")
    for milliseconds, expected in [
        (-62135596800000, datetime.datetime(1, 1, 1)),
        (253402300799999, datetime.datetime(9999, 12, 31, 23, 59, 59, 999000)),
        (-62135596800001, util.Timestamp(-62135596800001)),
        (253402300800000, util.Timestamp(253402300800000)),
        (2**63 - 1, util.Timestamp(2**63 - 1)),
    ]:
        data = struct.pack(">q", milliseconds)
        assert compiled.decode(data) == expected
        assert compiled.encode(expected) == data


def test_every_day_is_the_day_that_python_counts() -> None:
    compiled = parse_cql_type("timestamp")
    days = [*range(1, 3_652_060, 997), *range(730_000, 731_500), 3_652_059]
    for ordinal in days:
        day = datetime.datetime.fromordinal(ordinal)
        milliseconds = (ordinal - 719163) * 86_400_000
        assert compiled.encode(day) == struct.pack(">q", milliseconds)
        assert compiled.decode(struct.pack(">q", milliseconds)) == day
        assert compiled.decode(struct.pack(">q", milliseconds - 1 if ordinal > 1 else milliseconds)) <= day


class Shifted(datetime.tzinfo):
    """A zone whose offset has microseconds, and one that has none."""

    def __init__(self, offset: datetime.timedelta | None) -> None:
        self.offset = offset

    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta | None:
        return self.offset


def test_aware_datetimes_at_the_ends_of_time() -> None:
    compiled = parse_cql_type("timestamp")
    east, west = (datetime.timezone(datetime.timedelta(hours=hours)) for hours in (23, -23))
    first, last = datetime.datetime(1, 1, 1, tzinfo=east), datetime.datetime(9999, 12, 31, 23, tzinfo=west)
    assert compiled.decode(compiled.encode(first)) == util.Timestamp(-62135596800000 - 23 * 3_600_000)
    assert compiled.decode(compiled.encode(last)) == util.Timestamp(253402300799999 + 1 - 3_600_000 + 23 * 3_600_000)
    odd = Shifted(datetime.timedelta(seconds=-1, microseconds=5000))
    assert compiled.encode(datetime.datetime(1970, 1, 1, tzinfo=odd)) == struct.pack(">q", 995)
    assert compiled.encode(datetime.datetime(1970, 1, 1, tzinfo=Shifted(None))) == struct.pack(">q", 0)


class NoTime(datetime.datetime):
    """What pandas.NaT is: a datetime by class, whose fields say 0001-01-01 and whose methods raise."""

    def timetuple(self) -> Any:
        raise ValueError("there is no such time")


class NoDay(datetime.date):
    timetuple = NoTime.timetuple


@pytest.mark.parametrize("value", [NoTime(1, 1, 1), NoDay(1, 1, 1)], ids=["datetime", "date"])
@pytest.mark.parametrize("cql_type", ["timestamp", "date", "time", "frozen<tuple<timestamp>>", "list<date>"])
def test_subclasses_of_datetime_that_stand_for_no_time(cql_type: str, value: Any) -> None:
    wrapped = [value] if "<" in cql_type else value
    with pytest.raises(EncodeError, match="there is no such time" if cql_type != "time" else "Time arguments"):
        parse_cql_type(cql_type).encode(wrapped)


def test_subclasses_of_datetime_are_what_they_inherit() -> None:
    when, day = type("When", (datetime.datetime,), {}), type("Day", (datetime.date,), {})
    for cql_type in ("timestamp", "date"):
        compiled = parse_cql_type(cql_type)
        assert compiled.encode(when(2024, 2, 29, 1)) == compiled.encode(datetime.datetime(2024, 2, 29, 1))
        assert compiled.encode(day(2024, 2, 29)) == compiled.encode(datetime.date(2024, 2, 29))


def test_times_and_dates_that_python_has_not() -> None:
    late = parse_cql_type("time").decode(struct.pack(">q", 2**62))
    assert late.nanosecond_time == 2**62 and str(late)
    early = parse_cql_type("date").decode(b"\0\0\0\0")
    assert str(early) == "-2147483648"
    with pytest.raises(ValueError, match="exceeds"):
        early.date()


def test_decimals_keep_all_their_digits_whatever_the_context() -> None:
    compiled = parse_cql_type("decimal")
    huge = Decimal((1, (9,) * 6000, -5000))
    with decimal.localcontext() as context:
        context.prec = 3
        assert compiled.decode(compiled.encode(huge)).as_tuple() == huge.as_tuple()
    for scale in (-(2**31), 2**31 - 1):
        data = struct.pack(">ib", scale, 7)
        assert compiled.decode(data).as_tuple() == (0, (7,), -scale)
        assert compiled.encode(compiled.decode(data)) == data


def test_varints_of_thousands_of_digits() -> None:
    compiled = parse_cql_type("varint")
    for value in (10**6000, -(10**6000)):
        assert compiled.decode(compiled.encode(value)) == value
    assert compiled.decode(b"\0\0\0\1") == 1 and compiled.decode(b"\xff" * 20) == -1  # not the shortest form


def test_nan_is_a_value() -> None:
    for text in ("float", "double"):
        compiled = parse_cql_type(text)
        value = compiled.decode(compiled.encode(float("nan")))
        assert value != value


def test_uuids_are_like_those_of_the_constructor() -> None:
    value = parse_cql_type("uuid").decode(UUID.bytes)
    assert value == UUID and hash(value) == hash(UUID) and value.is_safe is UUID.is_safe and str(value) == str(UUID)
    assert pickle.loads(pickle.dumps(value)) == UUID

    class Derived(uuid.UUID):
        pass

    assert parse_cql_type("uuid").encode(Derived(int=5)) == uuid.UUID(int=5).bytes
    empty = uuid.UUID.__new__(uuid.UUID)
    with pytest.raises(EncodeError, match="UUID"):
        parse_cql_type("uuid").encode(empty)


# -- collections, user types -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["list<text>", "set<text>", "list<int>", "map<text, text>", "map<text, int>"])
def test_none_inside_a_collection_is_an_empty_value(text: str) -> None:
    """As in cassandra-driver: collections cannot hold nulls, at which servers raise NullPointerException."""
    empty: Any = {None: None} if text.startswith("map") else [None]
    ours, theirs = parse_cql_type(text), lookup_casstype(parse_cql_type(text).cass_name)
    assert ours.encode(empty) == theirs.to_binary(empty, 4)
    assert ours.decode(ours.encode(empty)) == theirs.from_binary(theirs.to_binary(empty, 4), 4)


def test_nulls_inside_a_collection_are_read() -> None:
    data = bytes.fromhex("00000002" + "0000000161" + "ffffffff")
    assert parse_cql_type("list<text>").decode(data) == ["a", None]
    assert parse_cql_type("set<text>").decode(data) == ["a", None]
    nulls = bytes.fromhex("00000001ffffffffffffffff")
    assert parse_cql_type("map<text, int>").decode(nulls) == {None: None}


@pytest.mark.parametrize(
    ("cql_type", "value"),
    [
        ("list<int>", [UNSET]),
        ("map<text, int>", {"a": UNSET}),
        ("frozen<tuple<int>>", (UNSET,)),
        ("vector<int, 1>", [UNSET]),
        ("int", UNSET),
    ],
    ids=repr,
)
def test_unset_inside_a_value_is_refused(cql_type: str, value: Any) -> None:
    with pytest.raises(EncodeError):
        parse_cql_type(cql_type).encode(value)


def test_any_iterable_is_a_list() -> None:
    compiled = parse_cql_type("list<int>")
    expected = compiled.encode([1, 2, 3])
    for value in ((1, 2, 3), range(1, 4), iter([1, 2, 3]), (i for i in (1, 2, 3)), {1: 0, 2: 0, 3: 0}.keys()):
        assert compiled.encode(value) == expected


def test_sets_come_sorted_and_once() -> None:
    encoded = parse_cql_type("list<double>").encode([2.0, -0.0, 1.0, 0.0, 1.0])
    decoded = parse_cql_type("set<double>").decode(encoded)
    assert list(decoded) == [0.0, 1.0, 2.0] and 2.0 in decoded and 3.0 not in decoded


def test_sets_of_what_cannot_be_compared() -> None:
    compiled = parse_cql_type("set<frozen<map<text, int>>>")
    decoded = compiled.decode(compiled.encode([{"b": 1}, {"a": 2}]))
    assert {"a": 2} in decoded and {"b": 1} in decoded and {"c": 3} not in decoded
    sets = parse_cql_type("set<frozen<set<int>>>")
    decoded = sets.decode(sets.encode([[1, 2], [3], [2], [1]]))
    assert all(util.SortedSet(items) in decoded for items in ([1], [2], [3], [1, 2]))
    assert decoded == util.SortedSet([util.SortedSet(items) for items in ([3], [2], [1, 2], [1])])


def test_maps_whose_keys_have_no_hash() -> None:
    compiled = parse_cql_type("map<frozen<set<int>>, text>")
    data = bytes.fromhex("00000001" + "00000014" + "00000002" + "0000000400000002" + "0000000400000001" + "0000000161")
    decoded = compiled.decode(data)
    assert decoded[[1, 2]] == decoded[util.SortedSet([2, 1])] == "a"
    assert compiled.decode(compiled.encode(decoded)) == decoded
    with pytest.raises(KeyError):
        decoded[[5]]
    decoded[util.SortedSet([1, 2])] = "b"
    assert decoded == compiled.decode(compiled.encode({(1, 2): "b"})) and decoded.popitem() == ([1, 2], "b")


@pytest.mark.parametrize(
    ("name", "size", "first"), [("uuid", 16, 0), ("varint", 12, 0), ("frozen<tuple<timeuuid>>", 16, 1 << 76)]
)
def test_maps_whose_keys_were_made_to_have_one_hash(name: str, size: int, first: int) -> None:
    """A dict of them would take hours. Python hashes numbers modulo 2**61 - 1."""
    count = 50_000
    head = struct.pack(">ii", size + 4, size) if "tuple" in name else struct.pack(">i", size)
    compiled = parse_cql_type(f"map<{name}, tinyint>")

    def decode(keys: range) -> Any:
        items = (head + key.to_bytes(size, "big") + b"\0\0\0\1\1" for key in keys)
        return compiled.decode(struct.pack(">i", len(keys)) + b"".join(items))

    def alike(count: int) -> range:
        return range(first, first + count * (2**61 - 1), 2**61 - 1)

    decoded = decode(alike(count))
    assert type(decoded) is util.OrderedMapSerializedKey and len(decoded) == count
    assert decoded[next(iter(decoded.keys()))] == 1
    few = decode(alike(200))
    assert type(few) is dict and len(few) == 200
    honest = decode(range(first, first + 1000))
    assert type(honest) is dict and len(honest) == 1000


def test_a_dict_that_grows_while_it_is_encoded() -> None:
    class Growing:
        def __index__(self) -> int:
            values[len(values)] = 1
            return 1

    values: dict[int, Any] = {0: Growing()}
    with pytest.raises(EncodeError):
        parse_cql_type("map<int, int>").encode(values)


def test_a_list_that_shrinks_while_it_is_encoded() -> None:
    class Clearing:
        def __index__(self) -> int:
            values.clear()
            return 1

    values: list[Any] = [Clearing(), 2, 3]
    assert parse_cql_type("list<int>").encode(values) == bytes.fromhex("000000010000000400000001")


@pytest.mark.parametrize("cql_type", ["vector<float, 3>", "vector<double, 3>"])
def test_vectors_from_arrays(cql_type: str) -> None:
    compiled = parse_cql_type(cql_type)
    numbers = [1.5, -2.0, 0.25]
    expected = compiled.encode(numbers)
    other_byte_order = ctypes.c_double.__ctype_be__ if sys.byteorder == "little" else ctypes.c_double.__ctype_le__
    for value in (
        array.array("f", numbers),
        array.array("d", numbers),
        (other_byte_order * 3)(*numbers),
        memoryview(array.array("d", numbers)),
        memoryview(array.array("d", [1.5, 9, -2.0, 9, 0.25]))[::2],
    ):
        assert compiled.encode(value) == expected
    assert compiled.encode(array.array("i", [1, 2, 3])) == compiled.encode([1, 2, 3]) == compiled.encode(b"\1\2\3")
    flat = memoryview(array.array("d", numbers)).cast("B")
    for wrong in (array.array("d", [1.0]), flat.cast("d", [1, 3]), flat.cast("d", [3, 1]), b"ab"):
        with pytest.raises(EncodeError):
            compiled.encode(wrong)


def test_vectors_from_arrays_of_numbers_that_are_too_large() -> None:
    with pytest.raises(EncodeError, match="32 bits"):
        parse_cql_type("vector<float, 2>").encode(array.array("d", [1.0, 1e300]))


def user_type(user_class: type | None = None, **fields: str) -> codecs.UserType:
    subtypes = tuple(parse_cql_type(text) for text in fields.values())
    return codecs.UserType(subtypes, "ks", "address", tuple(fields), user_class)


ADDRESS = user_type(street="text", number="int")
WHOLE = bytes.fromhex("0000000161" + "0000000400000005")
STREET_ONLY = bytes.fromhex("0000000161" + "ffffffff")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (("a", 5), WHOLE),
        (["a", 5], WHOLE),
        (namedtuple("other", ["x", "y"])("a", 5), WHOLE),
        ({"number": 5, "street": "a"}, WHOLE),
        (SimpleNamespace(street="a", number=5, more=1), WHOLE),
        (("a",), STREET_ONLY),
        ({"street": "a"}, STREET_ONLY),
        (SimpleNamespace(street="a"), STREET_ONLY),
        (("a", None), STREET_ONLY),
    ],
    ids=repr,
)
def test_user_types_from(value: Any, expected: bytes) -> None:
    assert ADDRESS.encode(value) == expected


@pytest.mark.parametrize(
    "value", ["ab", 5, ("a", 5, 6), {"street": "a", "nummer": 5}, SimpleNamespace(x=1), ("a", "b")], ids=repr
)
def test_user_types_not_from(value: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        ADDRESS.encode(value)
    assert caught.value.cql_type == "frozen<address>"


def test_user_types_become_named_tuples() -> None:
    value = ADDRESS.decode(WHOLE)
    assert value == ("a", 5) and type(value).__name__ == "address" and value.street == "a" and value.number == 5
    assert ADDRESS.decode(bytes.fromhex("0000000161")) == ("a", None)  # written before the type got its second field
    assert ADDRESS.decode(WHOLE + b"\0\0\0\1x") == ("a", 5)  # written after it got a third
    first, again = (user_type(street="text", number="int") for _ in range(2))
    assert type(again.decode(WHOLE)) is type(first.decode(WHOLE))  # made once


def test_user_types_whose_names_python_has_not() -> None:
    odd = user_type(**{"class": "int", "_x": "int", "a b": "int", "ok": "int"})
    assert odd.decode(odd.encode((1, 2, 3, 4)))._fields == ("field_0_", "field_1_", "field_2_", "ok")
    unnameable = codecs.UserType((parse_cql_type("int"),), "ks", "no name", ("a",))
    assert unnameable.row_class is None and type(unnameable.decode(unnameable.encode((1,)))) is tuple
    twice = codecs.UserType((parse_cql_type("int"),) * 2, "ks", "twice", ("a", "a"))
    assert twice.decode(twice.encode((1, 2))) == (1, 2)


def test_user_types_become_registered_classes() -> None:
    class Address:
        def __init__(self, street: str, number: int) -> None:
            self.street, self.number = street, number

    mapped = user_type(Address, street="text", number="int")
    value = mapped.decode(WHOLE)
    assert type(value) is Address and (value.street, value.number) == ("a", 5)
    assert mapped.encode(value) == WHOLE
    keyed = codecs.MapType(mapped, parse_cql_type("int"))
    assert type(keyed.decode(struct.pack(">ii", 1, len(WHOLE)) + WHOLE + b"\xff" * 4)) is util.OrderedMapSerializedKey


def test_a_registered_class_that_raises() -> None:
    class Picky:
        def __init__(self, street: str) -> None:
            raise LookupError("no such street")

    with pytest.raises(DecodeError, match="no such street") as caught:
        user_type(Picky, street="text").decode(WHOLE[:5])
    assert isinstance(caught.value.__cause__, LookupError)


def test_composites() -> None:
    compiled = parse_type_class("CompositeType(UTF8Type,Int32Type)")
    data = bytes.fromhex("000161" + "00" + "0004" + "00000005" + "00")
    assert compiled.encode(("a", 5)) == data and compiled.decode(data) == ("a", 5)
    assert compiled.decode(data[:4]) == ("a",)
    for length in (1, 3, 5, 6, 10):
        with pytest.raises(DecodeError):
            compiled.decode(data[:length])


def test_custom_classes_pass_bytes_through() -> None:
    compiled = parse_type_class("com.example.Blob(Int32Type)")
    assert compiled.name == "'com.example.Blob(Int32Type)'"
    assert compiled.decode(b"x") == b"x" and compiled.encode(b"x") == b"x" and compiled.decode(b"") is None


def test_reversed_and_frozen_are_their_element() -> None:
    for text in ("ReversedType(Int32Type)", "FrozenType(Int32Type)"):
        compiled = parse_type_class(text)
        assert compiled.encode(5) == b"\0\0\0\5" and compiled.decode(b"\0\0\0\5") == 5 and compiled.code == 9


# -- errors ------------------------------------------------------------------------------------------------------------


def test_errors_name_the_element_that_is_wrong() -> None:
    compiled = parse_cql_type("list<int>")
    with pytest.raises(EncodeError, match=r"list<int>.*between -2147483648 and 2147483647"):
        compiled.encode([1, 2**40])
    with pytest.raises(DecodeError, match=r"list<int>.*int: 3 bytes"):
        compiled.decode(bytes.fromhex("00000001" + "00000003" + "000000"))


def test_errors_show_a_short_value() -> None:
    with pytest.raises(EncodeError) as caught:
        parse_cql_type("int").encode("x" * 100_000)
    assert len(str(caught.value)) < 300


def test_wrong_text_is_refused() -> None:
    with pytest.raises(DecodeError, match="utf-8"):
        parse_cql_type("text").decode(b"\xff")
    with pytest.raises(DecodeError, match="ascii"):
        parse_cql_type("ascii").decode(b"\x80")


def test_an_exception_that_is_none_passes() -> None:
    class Stop(BaseException):
        pass

    class Raising:
        def __index__(self) -> int:
            raise Stop

    with pytest.raises(Stop):
        parse_cql_type("int").encode(Raising())


def test_a_value_that_no_frame_holds_is_refused() -> None:
    with pytest.raises(EncodeError, match="longer than 256 MiB"):
        parse_cql_type("list<text>").encode(["x" * 2**24] * 16)
    with pytest.raises(ValueError, match="256 MiB"):
        parse_cql_type("vector<int, 67108865>")


# -- the types themselves ----------------------------------------------------------------------------------------------


def test_types_are_values() -> None:
    one, other = parse_cql_type("map<text, frozen<list<int>>>"), parse_cql_type("map<text, frozen<list<int>>>")
    assert one == other and hash(one) == hash(other) and one != parse_cql_type("map<text, int>")
    assert one != "map<text, frozen<list<int>>>"
    assert repr(one) == "<MapType map<text, frozen<list<int>>>>"
    for cql_type in (one, ADDRESS, parse_cql_type("int"), parse_cql_type("vector<int, 3>")):
        assert pickle.loads(pickle.dumps(cql_type)) == cql_type
        assert copy.deepcopy(cql_type) == cql_type
        with pytest.raises(AttributeError):
            cql_type.name = "x"  # type: ignore[misc]


def test_subtypes() -> None:
    compiled = parse_cql_type("map<text, frozen<list<int>>>")
    assert [subtype.name for subtype in compiled.subtypes] == ["text", "frozen<list<int>>"]
    assert parse_cql_type("int").subtypes == ()
    assert parse_cql_type("vector<float, 3>").dimension == 3  # type: ignore[attr-defined]


def test_unset() -> None:
    assert not UNSET and repr(UNSET) == "<UNSET>"
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET and copy.deepcopy(UNSET) is UNSET


def test_the_bare_base_is_of_no_use() -> None:
    with pytest.raises(EncodeError):
        codecs.CqlType().encode(5)
    with pytest.raises(DecodeError):
        codecs.CqlType().decode(b"5")
