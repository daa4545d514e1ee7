"""The value classes and helpers of geventcql.util, beside those of cassandra.util."""

from __future__ import annotations

import copy
import datetime
import pickle
import uuid
import warnings
from collections import namedtuple
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geventcql import util
from geventcql.util import Date, Duration, OrderedMap, OrderedMapSerializedKey, SortedSet, Time, Timestamp, Version

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import cassandra.util as theirs

UTC = datetime.timezone.utc


# -- times and UUIDs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 1, -1, 1.5, -62135596800, 253402300799, 1234567890.123456])
def test_datetimes_from_timestamps(seconds: float) -> None:
    assert util.datetime_from_timestamp(seconds) == theirs.datetime_from_timestamp(seconds)
    milliseconds = seconds * 1000
    value = util.utc_datetime_from_ms_timestamp(milliseconds)
    assert value == theirs.utc_datetime_from_ms_timestamp(milliseconds)
    assert util.ms_timestamp_from_datetime(value) == theirs.ms_timestamp_from_datetime(value)


def test_datetimes_outside_python() -> None:
    with pytest.raises(OverflowError):
        util.datetime_from_timestamp(2**40)


@pytest.mark.parametrize(
    "when",
    [
        0,
        1234567890.5,
        datetime.datetime(2020, 2, 29, 1, 2, 3, 4),
        datetime.datetime(2020, 2, 29, 1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=3))),
    ],
)
def test_time_uuids(when: Any) -> None:
    assert util.uuid_from_time(when, 5, 7) == theirs.uuid_from_time(when, 5, 7)
    assert util.min_uuid_from_time(when) == theirs.min_uuid_from_time(when)
    assert util.max_uuid_from_time(when) == theirs.max_uuid_from_time(when)
    value = util.uuid_from_time(when)
    assert value.version == 1 and value != util.uuid_from_time(when)
    assert util.unix_time_from_uuid1(value) == theirs.unix_time_from_uuid1(value)
    assert util.datetime_from_uuid1(value) == theirs.datetime_from_uuid1(value)


def test_time_uuids_of_a_clock_sequence_that_is_too_large() -> None:
    with pytest.raises(ValueError, match="14-bit"):
        util.uuid_from_time(0, 0, 0x4000)


def test_the_ends_of_time_uuids() -> None:
    assert util.LOWEST_TIME_UUID == theirs.LOWEST_TIME_UUID and util.HIGHEST_TIME_UUID == theirs.HIGHEST_TIME_UUID


# -- Time, Date, Duration, Timestamp -----------------------------------------------------------------------------------

TIMES = ["00:00:00", "23:59:59.999999999", "1:2:3", "01:02:03.5", 0, 86_399_999_999_999, datetime.time(1, 2, 3, 4)]


@pytest.mark.parametrize("value", TIMES)
def test_time(value: Any) -> None:
    ours, expected = Time(value), theirs.Time(value)
    for name in ("nanosecond_time", "hour", "minute", "second", "nanosecond"):
        assert getattr(ours, name) == getattr(expected, name)
    assert (str(ours), repr(ours), hash(ours), ours.time()) == (str(expected), repr(expected), hash(expected), expected.time())
    assert ours == Time(ours.nanosecond_time) == ours.nanosecond_time and copy.copy(ours) == ours
    assert pickle.loads(pickle.dumps(ours)) == ours


@pytest.mark.parametrize("value", ["24:00:00", "1:60:0", "1:1:60", "1:1", "noon", "", "1:1:1.0000000001", Time.DAY])
def test_times_that_are_none(value: Any) -> None:
    with pytest.raises(ValueError):
        Time(value)


@pytest.mark.parametrize("value", [1.5, None, datetime.datetime(2020, 1, 1)])
def test_times_of_other_types(value: Any) -> None:
    with pytest.raises(TypeError):
        Time(value)


def test_time_compares() -> None:
    assert Time(1) < Time(2) <= Time(2) and Time(3) > Time(2) and Time(1) != Time(2)
    assert Time("01:02:03.000004") == datetime.time(1, 2, 3, 4) and Time(1) != datetime.time(0)
    assert Time(-5) != datetime.time(0) and Time(0) != "00:00:00"
    with pytest.raises(TypeError):
        assert Time(1) < 2


DATES = [0, -719162, 2932896, "2020-02-29", "1-1-1", "+2020-02-29", datetime.date(1, 1, 1), datetime.datetime.max]


@pytest.mark.parametrize("value", [value for value in DATES if value != "1-1-1"])
def test_date(value: Any) -> None:
    ours, expected = Date(value), theirs.Date(value)
    assert ours.days_from_epoch == expected.days_from_epoch and ours.seconds == expected.seconds
    assert (str(ours), repr(ours), hash(ours), ours.date()) == (str(expected), repr(expected), hash(expected), expected.date())
    assert ours == ours.days_from_epoch == Date(ours.date()) and pickle.loads(pickle.dumps(ours)) == ours


@pytest.mark.parametrize("days", [-719163, 2932897, -(2**31), 2**31 - 1])
def test_dates_outside_python(days: int) -> None:
    assert str(Date(days)) == str(theirs.Date(days)) == str(days)
    assert Date(days) != datetime.date(2020, 1, 1)
    with pytest.raises(ValueError, match="exceeds ranges"):
        Date(days).date()


def test_dates_that_are_none() -> None:
    for text in ("2020-13-01", "2020-02-30", "today", ""):
        with pytest.raises(ValueError):
            Date(text)
    for value in (1.5, None, datetime.time(1)):
        with pytest.raises(TypeError):
            Date(value)  # type: ignore[arg-type]


def test_date_compares() -> None:
    assert Date(1) < Date(2) <= Date(2) and Date(3) > Date(2) and Date(0) == datetime.date(1970, 1, 1)
    assert Date(0) != datetime.datetime(1970, 1, 1) and Date(0) != "1970-01-01"
    with pytest.raises(TypeError):
        assert Date(1) < 2


@pytest.mark.parametrize("parts", [(0, 0, 0), (1, 2, 3), (-1, 0, -5), (0, 0, -1)])
def test_duration(parts: tuple[int, int, int]) -> None:
    ours, expected = Duration(*parts), theirs.Duration(*parts)
    assert (str(ours), repr(ours)) == (str(expected), repr(expected))
    assert ours == Duration(*parts) and hash(ours) == hash(Duration(*parts)) and ours != Duration(7) and ours != parts
    assert pickle.loads(pickle.dumps(ours)) == ours and Duration() == Duration(0, 0, 0)


def test_timestamp() -> None:
    early, late = Timestamp(-(2**60)), Timestamp(2**60)
    assert early < datetime.datetime.min < datetime.datetime.max < late and late > early
    assert early == Timestamp(-(2**60)) and hash(early) == hash(Timestamp(-(2**60))) and early != -(2**60)
    assert repr(late) == f"Timestamp({2**60})" and pickle.loads(pickle.dumps(late)) == late
    with pytest.raises(TypeError):
        assert early < 5


# -- SortedSet ---------------------------------------------------------------------------------------------------------

small = st.lists(st.integers(0, 8), max_size=8)


@settings(max_examples=200)
@given(small, small)
def test_a_sorted_set_is_a_set(left: list[int], right: list[int]) -> None:
    ours, model = SortedSet(left), set(left)
    assert list(ours) == sorted(model) and len(ours) == len(model) and list(reversed(ours)) == sorted(model)[::-1]
    for other, other_model in ((SortedSet(right), set(right)), (set(right), set(right))):
        assert ours | other == model | other_model and ours & other == model & other_model
        assert ours - other == model - other_model and ours ^ other == model ^ other_model
        assert (ours <= other, ours < other) == (model <= other_model, model < other_model)
        assert (ours >= other, ours > other) == (model >= other_model, model > other_model)
        assert (ours == other) == (model == other_model) and (ours != other) == (model != other_model)
        assert ours.isdisjoint(other) == model.isdisjoint(other_model)
        assert ours.union(other, [9]) == model | other_model | {9}
    assert set(right) - ours == set(right) - model
    assert all((item in ours) == (item in model) for item in range(9))
    assert list(ours) == list(theirs.SortedSet(left)) and ours == theirs.SortedSet(left)


def test_a_sorted_set_changes_in_place() -> None:
    ours = SortedSet([3, 1])
    ours.add(2)
    ours.add(2)
    assert list(ours) == [1, 2, 3] and ours[0] == 1 and ours[1:] == [2, 3]
    ours.remove(2)
    with pytest.raises(KeyError):
        ours.remove(2)
    ours |= {5, 4}
    ours -= {1}
    ours &= {3, 4, 5}
    ours ^= {4, 6}
    assert list(ours) == [3, 5, 6] and ours.pop() == 6
    del ours[0]
    kept = ours.copy()
    ours.clear()
    assert list(kept) == [5] and not ours
    with pytest.raises(KeyError):
        ours.pop()


def test_sorted_sets_are_values_but_no_keys() -> None:
    assert repr(SortedSet([2, 1])) == "SortedSet([1, 2])"
    assert pickle.loads(pickle.dumps(SortedSet([2, 1]))) == SortedSet([1, 2]) == copy.deepcopy(SortedSet([1, 2]))
    assert SortedSet() != 5 and SortedSet([1]) != "1" and util.sortedset is SortedSet
    with pytest.raises(TypeError):
        hash(SortedSet())


UNORDERED: list[list[Any]] = [
    [{"a": 1}, {"b": 2}, {"a": 1}],
    [None, 3, 1, 2, None],
    [SortedSet([1]), SortedSet([2]), SortedSet([1, 2]), SortedSet([1])],
    [(None,), (0,), (-1,), (1,), (0,)],
    [1, "a", 2, "b", 1],
]


@pytest.mark.parametrize("items", UNORDERED, ids=repr)
def test_sorted_sets_of_what_has_no_order(items: list[Any]) -> None:
    ours = SortedSet(items)
    distinct: list[Any] = []
    for item in items:
        if item not in distinct:
            distinct.append(item)
    assert len(ours) == len(distinct) and all(item in ours for item in items)
    assert ours == SortedSet(reversed(items)) and "z" not in ours
    for item in distinct:
        ours.remove(item)
    assert not ours


NOON = datetime.datetime(2024, 5, 6, 12)
ODD = st.sampled_from([
    None, 0, 1, 2, 1.5, True, "", "a", "b", b"a", (), (1,), (None,), (1, "a"), (1, None), [], [1], {}, {"a": 1}, {"b": 2},
    Decimal(1), NOON, NOON.replace(tzinfo=UTC), Time(5), Date(5), Duration(1, 2, 3), uuid.UUID(int=1),
])  # fmt: skip
PARTLY_ORDERED = st.frozensets(st.integers(0, 2))


@settings(max_examples=500)
@given(st.lists(ODD, max_size=8) | st.lists(PARTLY_ORDERED, max_size=8))
def test_the_order_of_what_has_none_is_cassandra_driver_s(items: list[Any]) -> None:
    ours, other = SortedSet(items), theirs.SortedSet(items)
    distinct: list[Any] = []
    for item in items:
        if item not in distinct:
            distinct.append(item)
    assert len(ours) == len(distinct) and all(item in ours for item in distinct)
    if len(other) == len(distinct):  # else it has not found an item that is there, and holds it twice
        assert repr(ours) == repr(other)


def test_times_with_and_without_a_zone() -> None:
    ours = SortedSet([NOON])
    ours.add(NOON.replace(tzinfo=UTC))
    ours.add(NOON - datetime.timedelta(1))
    assert len(ours) == 3 and NOON in ours and NOON.replace(tzinfo=UTC) in ours
    assert NOON - datetime.timedelta(1) in ours and NOON - datetime.timedelta(2) not in ours


# -- maps --------------------------------------------------------------------------------------------------------------


def test_ordered_map() -> None:
    keys: list[Any] = [{"one": 1}, [2], "three"]
    ours = OrderedMap([(key, i) for i, key in enumerate(keys)])
    assert list(ours) == keys and list(ours.values()) == [0, 1, 2] and ours[[2]] == 1 and [2] in ours and [3] not in ours
    ours["three"] = 5
    assert list(ours.items())[2] == ("three", 5)
    del ours[[2]]
    assert len(ours) == 2 and ours["three"] == 5
    assert ours.popitem() == ("three", 5) and ours.popitem() == ({"one": 1}, 0)
    for use in (ours.popitem, lambda: ours["x"], lambda: ours.__delitem__("x")):
        with pytest.raises(KeyError):
            use()
    with pytest.raises(TypeError):
        OrderedMap([], [])


def test_ordered_maps_compare() -> None:
    ours = OrderedMap({"a": 1}, b=2)
    assert ours == {"b": 2, "a": 1} == ours and ours == OrderedMap([("a", 1), ("b", 2)]) and ours == theirs.OrderedMap(
        [("a", 1), ("b", 2)]
    )
    assert ours != {"a": 1} and ours != {"a": 1, "c": 2} and ours != {"a": 1, "b": 3} and ours != 5
    assert OrderedMap([([1], 2)]) != {1: 2}
    assert repr(ours) == "OrderedMap([('a', 1), ('b', 2)])" and str(ours) == "{'a': 1, 'b': 2}"
    with pytest.raises(TypeError):
        hash(ours)


def test_ordered_map_by_serialized_key() -> None:
    class Keys:
        def encode(self, key: Any) -> bytes:
            return b"%d" % sum(key)

    ours = OrderedMapSerializedKey(Keys(), 4)
    ours._insert_unchecked([1, 2], b"3", "x")
    ours._insert_unchecked({5}, b"of the server", "y")
    assert ours[(3,)] == "x" and ours[{5}] == "y"
    with pytest.raises(KeyError):
        ours[[7]]
    ours[{5}] = "z"
    assert list(ours.items()) == [([1, 2], "x"), ({5}, "z")]
    ours[[9]] = "new"
    assert ours.popitem() == ([9], "new") and ours.popitem() == ({5}, "z") and {5} not in ours
    ours[{5}] = "again"
    del ours[[1, 2]]
    assert list(ours.items()) == [({5}, "again")] and ours.popitem() == ({5}, "again") and not ours


# -- Version -----------------------------------------------------------------------------------------------------------

VERSIONS = ["3.0", "3.11.4", "4.0-alpha1", "4.0.0-beta2", "4.0.0", "4.1.0.5", "4.1.0.5-SNAPSHOT", "5.0.6", "5.0.6+build.7"]


@pytest.mark.parametrize("text", VERSIONS)
def test_version(text: str) -> None:
    ours, expected = Version(text), theirs.Version(text)
    for name in ("major", "minor", "patch", "build", "prerelease"):
        assert getattr(ours, name) == getattr(expected, name)
    assert str(ours) == text and repr(ours) == repr(expected) and ours == Version(text) != "x"
    for other in VERSIONS:
        assert (ours > Version(other)) == (expected > theirs.Version(other))
        assert (ours == Version(other)) == (expected == theirs.Version(other))
    assert len({ours, Version(text)}) == 1
    with pytest.raises(TypeError):
        assert ours < "5.0"


@pytest.mark.parametrize("text", ["", "4", "4.x", "four", "4.0.0.0.0", "-4.0"])
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        Version(text)


def test_public_names_are_those_of_cassandra_driver() -> None:
    for name in vars(util):
        if name[0].isupper() and isinstance(getattr(util, name), type) and getattr(util, name).__module__ == util.__name__:
            assert hasattr(theirs, name) or name == "Timestamp"


def test_decoded_rows_compare_with_theirs() -> None:
    row = namedtuple("row", ["s", "d", "t"])
    assert row(SortedSet([1]), Date(5), uuid.UUID(int=1)) == row(theirs.SortedSet([1]), 5, uuid.UUID(int=1))
