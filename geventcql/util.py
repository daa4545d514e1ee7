"""Python values for CQL types that Python has none for, and helpers for times and time UUIDs.

Layer: foundation; imports nothing of ours. Any greenlet may use these: nothing here waits.

The names and the behaviour are those of `cassandra.util`. The decoders of `geventcql.cython.codecs` fill the slots of
`SortedSet`, `Time`, `Date`, `Duration` and `Timestamp` directly, so their `__init__` does not run for decoded values.
"""

from __future__ import annotations

import datetime
import os
import re
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import total_ordering
from typing import Any

DATETIME_EPOC = datetime.datetime(1970, 1, 1)
_EPOCH_ORDINAL = DATETIME_EPOC.toordinal()
# RFC 9562 counts 100 ns intervals since 1582-10-15; this many of them had passed at the Unix epoch.
_UUID_EPOCH_INTERVALS = 0x01B21DD213814000

LOWEST_TIME_UUID = uuid.UUID("00000000-0000-1000-8080-808080808080")
"""The lowest time UUID in Cassandra's order."""

HIGHEST_TIME_UUID = uuid.UUID("ffffffff-ffff-1fff-bf7f-7f7f7f7f7f7f")
"""The highest time UUID in Cassandra's order."""


def datetime_from_timestamp(timestamp: float) -> datetime.datetime:
    """The naive UTC datetime `timestamp` seconds after the epoch; OverflowError outside the years 1 to 9999."""
    return DATETIME_EPOC + datetime.timedelta(seconds=timestamp)


def utc_datetime_from_ms_timestamp(timestamp: float) -> datetime.datetime:
    """The naive UTC datetime `timestamp` milliseconds after the epoch; OverflowError outside the years 1 to 9999."""
    return DATETIME_EPOC + datetime.timedelta(milliseconds=timestamp)


def ms_timestamp_from_datetime(dt: datetime.datetime) -> int:
    """Milliseconds from the epoch to `dt`, a naive UTC datetime, rounded to the nearest."""
    return round((dt - DATETIME_EPOC).total_seconds() * 1000)


def unix_time_from_uuid1(uuid_arg: uuid.UUID) -> float:
    """Seconds since the epoch that the version 1 UUID `uuid_arg` holds, to 100 ns as far as a float can."""
    return (uuid_arg.time - _UUID_EPOCH_INTERVALS) / 1e7


def datetime_from_uuid1(uuid_arg: uuid.UUID) -> datetime.datetime:
    """The naive UTC datetime that the version 1 UUID `uuid_arg` holds."""
    return datetime_from_timestamp(unix_time_from_uuid1(uuid_arg))


def min_uuid_from_time(timestamp: datetime.datetime | float) -> uuid.UUID:
    """The lowest time UUID of that time in Cassandra's order, which compares bytes as signed (hence 0x80)."""
    return uuid_from_time(timestamp, 0x808080808080, 0x80)


def max_uuid_from_time(timestamp: datetime.datetime | float) -> uuid.UUID:
    """The highest time UUID of that time in Cassandra's order, which compares bytes as signed (hence 0x7f)."""
    return uuid_from_time(timestamp, 0x7F7F7F7F7F7F, 0x3F7F)


def uuid_from_time(
    time_arg: datetime.datetime | float, node: int | None = None, clock_seq: int | None = None
) -> uuid.UUID:
    """A version 1 UUID for a time.

    `time_arg`: a datetime (naive ones are UTC) or seconds since the epoch; `node`: 48 bits, `clock_seq`: 14 bits, both
    random if None. ValueError if `clock_seq` or `node` is larger.
    """
    if isinstance(time_arg, datetime.datetime):
        naive = time_arg.replace(tzinfo=None) - (time_arg.utcoffset() or datetime.timedelta())
        microseconds = (naive - DATETIME_EPOC) // datetime.timedelta(microseconds=1)
    else:
        microseconds = int(time_arg * 1e6)
    intervals = microseconds * 10 + _UUID_EPOCH_INTERVALS
    if clock_seq is None:
        clock_seq = int.from_bytes(os.urandom(2), "big") & 0x3FFF
    elif clock_seq > 0x3FFF:
        raise ValueError("clock_seq is out of range (need a 14-bit value)")
    if node is None:
        node = int.from_bytes(os.urandom(6), "big")
    fields = (
        intervals & 0xFFFFFFFF,
        intervals >> 32 & 0xFFFF,
        intervals >> 48 & 0x0FFF,
        0x80 | clock_seq >> 8 & 0x3F,
        clock_seq & 0xFF,
        node,
    )
    return uuid.UUID(fields=fields, version=1)


class SortedSet:
    """A set that keeps its items in order and does not need them to be hashable: what a CQL set decodes to.

    Items that have no total order (maps, sets, tuples with nulls) are sorted as far as they can be; finding those is
    linear.
    """

    # _ordered: whether _items is sorted by an order that is total, so that bisection finds what is there.
    __slots__ = ("_items", "_ordered")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, iterable: Iterable[Any] = ()) -> None:
        items = list(iterable)
        kinds = set(map(type, items))
        self._ordered = True
        if len(kinds) == 1 and kinds <= _TOTALLY_ORDERED:
            items.sort()
            self._items = [item for i, item in enumerate(items) if i == 0 or item != items[i - 1]]
        else:
            with suppress(TypeError):
                items.sort()
            self._items = []
            self.update(items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: Any) -> Any:
        return self._items[i]

    def __delitem__(self, i: Any) -> None:
        del self._items[i]

    def __iter__(self) -> Iterator[Any]:
        yield from self._items

    def __reversed__(self) -> Iterator[Any]:
        yield from reversed(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._items,)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SortedSet) and self._items == other._items:
            return True
        try:
            return len(other) == len(self._items) and all(item in self for item in other)  # type: ignore[call-overload, arg-type, attr-defined, unused-ignore]
        except TypeError:
            return NotImplemented

    def __le__(self, other: Any) -> bool:
        return self.issubset(other)

    def __lt__(self, other: Any) -> bool:
        return len(other) > len(self._items) and self.issubset(other)

    def __ge__(self, other: Any) -> bool:
        return self.issuperset(other)

    def __gt__(self, other: Any) -> bool:
        return len(self._items) > len(other) and self.issuperset(other)

    def __and__(self, other: Any) -> SortedSet:
        return self.intersection(other)

    __rand__ = __and__

    def __iand__(self, other: Any) -> SortedSet:
        return self._become(self.intersection(other))

    def __or__(self, other: Any) -> SortedSet:
        return self.union(other)

    __ror__ = __or__

    def __ior__(self, other: Any) -> SortedSet:
        return self._become(self.union(other))

    def __sub__(self, other: Any) -> SortedSet:
        return self.difference(other)

    def __rsub__(self, other: Any) -> SortedSet:
        return SortedSet(other).difference(self)

    def __isub__(self, other: Any) -> SortedSet:
        return self._become(self.difference(other))

    def __xor__(self, other: Any) -> SortedSet:
        return self.symmetric_difference(other)

    __rxor__ = __xor__

    def __ixor__(self, other: Any) -> SortedSet:
        return self._become(self.symmetric_difference(other))

    def __contains__(self, item: Any) -> bool:
        return self._find(item)[1]

    def add(self, item: Any) -> None:
        """Add `item` unless an equal one is there."""
        i, found = self._find(item)
        if not found:
            kind = type(self._items[0] if self._items else item)
            self._ordered = self._ordered and type(item) is kind and kind in _TOTALLY_ORDERED
            self._items.insert(i, item)

    def update(self, iterable: Iterable[Any]) -> None:
        """Add each item of `iterable`."""
        for item in iterable:
            self.add(item)

    def clear(self) -> None:
        """Remove all items."""
        self._items.clear()
        self._ordered = True

    def copy(self) -> SortedSet:
        """A new set with the same items."""
        return self._with(list(self._items))

    def pop(self) -> Any:
        """Remove and return the last item; KeyError if there is none."""
        if not self._items:
            raise KeyError("pop from empty set")
        return self._items.pop()

    def remove(self, item: Any) -> None:
        """Remove `item`; KeyError if it is not there."""
        i, found = self._find(item)
        if not found:
            raise KeyError(repr(item))
        del self._items[i]

    def isdisjoint(self, other: Any) -> bool:
        """Whether no item is in `other`, a container."""
        return not any(item in other for item in self._items)

    def issubset(self, other: Any) -> bool:
        """Whether every item is in `other`, a container."""
        return all(item in other for item in self._items)

    def issuperset(self, other: Iterable[Any]) -> bool:
        """Whether every item of `other` is here."""
        return all(item in self for item in other)

    def union(self, *others: Iterable[Any]) -> SortedSet:
        """A new set with the items of all."""
        result = self.copy()
        for other in others:
            result.update(other)
        return result

    def intersection(self, *others: Any) -> SortedSet:
        """A new set with the items that are in each of `others`, which are containers."""
        return self._with([item for item in self._items if all(item in other for other in others)])

    def difference(self, *others: Any) -> SortedSet:
        """A new set with the items that are in none of `others`, which are containers."""
        return self._with([item for item in self._items if not any(item in other for other in others)])

    def symmetric_difference(self, other: Any) -> SortedSet:
        """A new set with the items that are in one of the two only."""
        return self.difference(other).union(item for item in other if item not in self)

    def _become(self, other: SortedSet) -> SortedSet:
        self._items, self._ordered = other._items, other._ordered
        return self

    def _with(self, items: list[Any]) -> SortedSet:
        result = SortedSet()
        result._items = items
        result._ordered = self._ordered
        return result

    def _find(self, item: Any) -> tuple[int, bool]:
        """Where `item` is, or belongs, and whether it is there."""
        items = self._items
        try:
            place = bisect_left(items, item)
        except TypeError:
            place = len(items)  # `item` cannot be compared with the others
        else:
            if self._ordered or (place < len(items) and items[place] == item):
                return place, place < len(items) and items[place] == item
        for i, other in enumerate(items):
            if other == item:
                return i, True
        return place, False


sortedset = SortedSet  # the name it has in applications written for old versions of cassandra-driver


class OrderedMap(Mapping[Any, Any]):
    """A mapping whose keys need not be hashable: what a CQL map with such keys decodes to. Keeps insertion order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) > 1:
            raise TypeError(f"expected at most 1 arguments, got {len(args)}")
        self._items: list[tuple[Any, Any]] = []
        self._index: dict[bytes | None, int] = {}
        for source in args:
            pairs = ((key, source[key]) for key in source.keys()) if hasattr(source, "keys") else source  # noqa: SIM118
            for key, value in pairs:
                self._insert(key, value)
        for key, value in kwargs.items():
            self._insert(key, value)

    def _insert(self, key: Any, value: Any) -> None:
        try:
            self._items[self._position(key)] = (key, value)
        except KeyError:
            self._index[self._serialize_key(key)] = len(self._items)
            self._items.append((key, value))

    __setitem__ = _insert

    def __getitem__(self, key: Any) -> Any:
        return self._items[self._position(key)][1]

    def __delitem__(self, key: Any) -> None:
        del self._items[self._position(key)]
        self._index = {self._serialize_key(key): i for i, (key, _) in enumerate(self._items)}

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            yield item[0]

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, OrderedMap):
            return self._items == other._items
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return len(other) == len(self._items) and all(value == other[key] for key, value in self._items)
        except KeyError:
            return False
        except TypeError:
            return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(f'({k!r}, {v!r})' for k, v in self._items)}])"

    def __str__(self) -> str:
        return f"{{{', '.join(f'{k!r}: {v!r}' for k, v in self._items)}}}"

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the last (key, value); KeyError if there is none."""
        if not self._items:
            raise KeyError("popitem from empty map")
        item = self._items.pop()
        self._index = {flat_key: i for flat_key, i in self._index.items() if i < len(self._items)}
        return item

    def _position(self, key: Any) -> int:
        try:
            return self._index[self._serialize_key(key)]
        except KeyError:
            raise KeyError(str(key)) from None

    def _serialize_key(self, key: Any) -> bytes | None:
        import pickle  # only maps that applications make by hand come here: not worth its time at every import

        return pickle.dumps(key)


class OrderedMapSerializedKey(OrderedMap):
    """An OrderedMap that finds its keys by their CQL encoding.

    `cass_type`: the CQL type of the keys, an object whose `encode(value)` gives their bytes.
    """

    def __init__(self, cass_type: Any, protocol_version: int = 4) -> None:
        super().__init__()
        self.cass_key_type = cass_type
        self.protocol_version = protocol_version

    def _insert_unchecked(self, key: Any, flat_key: bytes | None, value: Any) -> None:
        self._items.append((key, value))
        self._index[flat_key] = len(self._items) - 1

    def _serialize_key(self, key: Any) -> bytes | None:
        encode: Callable[[Any], bytes | None] = self.cass_key_type.encode
        return encode(key)

    def _position(self, key: Any) -> int:
        try:
            return super()._position(key)
        except KeyError:
            # A decoded key is indexed by the server's bytes: sets in them are in the server's order, not in Python's.
            for i, item in enumerate(self._items):
                if item[0] == key:
                    return i
            raise


@total_ordering
class Time:
    """A time of day to the nanosecond: what a CQL time decodes to.

    `value`: nanoseconds since midnight, a datetime.time, or a text "HH:MM:SS[.fffffffff]"; ValueError if there is no
    such time of day, TypeError for values of another type. Equal to the int and the datetime.time of the same moment.
    """

    __slots__ = ("nanosecond_time",)

    MICRO = 1000
    MILLI = 1000 * MICRO
    SECOND = 1000 * MILLI
    MINUTE = 60 * SECOND
    HOUR = 60 * MINUTE
    DAY = 24 * HOUR

    _TEXT = r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,9}))?"

    def __init__(self, value: int | datetime.time | str) -> None:
        if isinstance(value, int):
            if value >= Time.DAY:
                raise ValueError(f"value must be less than number of nanoseconds in a day ({Time.DAY})")
            self.nanosecond_time: int = value
        elif isinstance(value, datetime.time):
            self._set(value.hour, value.minute, value.second, value.microsecond * Time.MICRO)
        elif isinstance(value, str):
            match = re.fullmatch(Time._TEXT, value.strip(), re.ASCII)
            if match is None or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3]) > 59:
                raise ValueError(f"can't interpret {value!r} as a time")
            self._set(int(match[1]), int(match[2]), int(match[3]), int((match[4] or "").ljust(9, "0")))
        else:
            raise TypeError("Time arguments must be a whole number, datetime.time, or string")

    def _set(self, hour: int, minute: int, second: int, nanosecond: int) -> None:
        self.nanosecond_time = hour * Time.HOUR + minute * Time.MINUTE + second * Time.SECOND + nanosecond

    @property
    def hour(self) -> int:
        """The hour, 0 to 23."""
        return self.nanosecond_time // Time.HOUR

    @property
    def minute(self) -> int:
        """The minute, 0 to 59."""
        return self.nanosecond_time // Time.MINUTE % 60

    @property
    def second(self) -> int:
        """The second, 0 to 59."""
        return self.nanosecond_time // Time.SECOND % 60

    @property
    def nanosecond(self) -> int:
        """The fraction of the second in nanoseconds."""
        return self.nanosecond_time % Time.SECOND

    def time(self) -> datetime.time:
        """As a datetime.time, cut to microseconds; ValueError if it is none (a server may hold any 64 bits)."""
        return datetime.time(self.hour, self.minute, self.second, self.nanosecond // Time.MICRO)

    def __hash__(self) -> int:
        return self.nanosecond_time

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Time):
            return self.nanosecond_time == other.nanosecond_time
        if isinstance(other, int):
            return self.nanosecond_time == other
        if not isinstance(other, datetime.time):
            return NotImplemented
        return 0 <= self.nanosecond_time < Time.DAY and self.nanosecond_time % Time.MICRO == 0 and self.time() == other

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        return self.nanosecond_time < other.nanosecond_time

    def __repr__(self) -> str:
        return f"Time({self.nanosecond_time})"

    def __str__(self) -> str:
        return f"{self.hour:02d}:{self.minute:02d}:{self.second:02d}.{self.nanosecond:09d}"


@total_ordering
class Date:
    """A day: what a CQL date decodes to; covers far more years than datetime.date.

    `value`: days since 1970-01-01 (may be negative), a datetime.date or datetime, or a text "yyyy-mm-dd"; ValueError if
    the text is no date, TypeError for values of another type. Equal to the int and the datetime.date of the same day.
    """

    __slots__ = ("days_from_epoch",)

    MINUTE = 60
    HOUR = 60 * MINUTE
    DAY = 24 * HOUR
    date_format = "%Y-%m-%d"

    def __init__(self, value: int | datetime.date | str) -> None:
        if isinstance(value, int):
            self.days_from_epoch: int = value
        elif isinstance(value, datetime.date):
            self.days_from_epoch = value.toordinal() - _EPOCH_ORDINAL
        elif isinstance(value, str):
            parsed = datetime.datetime.strptime(value.removeprefix("+"), Date.date_format)
            self.days_from_epoch = parsed.toordinal() - _EPOCH_ORDINAL
        else:
            raise TypeError("Date arguments must be a whole number, datetime.date, or string")

    @property
    def seconds(self) -> int:
        """Seconds from the epoch to the start of the day."""
        return self.days_from_epoch * Date.DAY

    def date(self) -> datetime.date:
        """As a datetime.date; ValueError outside the years 1 to 9999."""
        try:
            return datetime.date.fromordinal(self.days_from_epoch + _EPOCH_ORDINAL)
        except (ValueError, OverflowError):
            raise ValueError(f"{self!r} exceeds ranges for built-in datetime.date") from None

    def __hash__(self) -> int:
        return self.days_from_epoch

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Date):
            return self.days_from_epoch == other.days_from_epoch
        if isinstance(other, int):
            return self.days_from_epoch == other
        if isinstance(other, datetime.date) and not isinstance(other, datetime.datetime):
            return self.days_from_epoch == other.toordinal() - _EPOCH_ORDINAL
        return NotImplemented

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Date):
            return NotImplemented
        return self.days_from_epoch < other.days_from_epoch

    def __repr__(self) -> str:
        return f"Date({self.days_from_epoch})"

    def __str__(self) -> str:
        try:
            return self.date().isoformat()
        except ValueError:
            return str(self.days_from_epoch)


class Duration:
    """A CQL duration: months, days and nanoseconds, none of which can be expressed in another. All of one sign."""

    __slots__ = ("days", "months", "nanoseconds")

    def __init__(self, months: int = 0, days: int = 0, nanoseconds: int = 0) -> None:
        self.months = months
        self.days = days
        self.nanoseconds = nanoseconds

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Duration):
            return NotImplemented
        return (self.months, self.days, self.nanoseconds) == (other.months, other.days, other.nanoseconds)

    def __hash__(self) -> int:
        return hash((self.months, self.days, self.nanoseconds))

    def __repr__(self) -> str:
        return f"Duration({self.months}, {self.days}, {self.nanoseconds})"

    def __str__(self) -> str:
        sign = "-" if min(self.months, self.days, self.nanoseconds) < 0 else ""
        return f"{sign}{abs(self.months)}mo{abs(self.days)}d{abs(self.nanoseconds)}ns"


@total_ordering
class Timestamp:
    """A CQL timestamp outside the years 1 to 9999, where Python has no datetime: `milliseconds` since the epoch.

    cassandra-driver raises OverflowError for these. May be bound again.
    """

    __slots__ = ("milliseconds",)

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Timestamp):
            return NotImplemented
        return self.milliseconds == other.milliseconds

    def __lt__(self, other: object) -> bool:
        if isinstance(other, datetime.datetime):
            # Of another century than every datetime, so the sign decides.
            return self.milliseconds < 0
        if not isinstance(other, Timestamp):
            return NotImplemented
        return self.milliseconds < other.milliseconds

    def __hash__(self) -> int:
        return hash(self.milliseconds)

    def __repr__(self) -> str:
        return f"Timestamp({self.milliseconds})"


_TOTALLY_ORDERED = frozenset(
    {int, bool, float, str, bytes, Decimal, uuid.UUID, datetime.datetime, Date, Time, Timestamp}
)


@total_ordering
class Version:
    """A release version of Cassandra: major.minor[.patch[.build]][-prerelease][+build metadata].

    ValueError if the text is none. Ordered by the numbers, then a prerelease before its release; build metadata is
    ignored.
    """

    _TEXT = r"(\d+)\.(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[~\-](\w[.\w]*(?:-\w[.\w]*)*))?(?:\+[.\w]+)?"

    def __init__(self, version: str) -> None:
        match = re.fullmatch(Version._TEXT, version, re.ASCII)
        if match is None:
            raise ValueError(f"Version string {version} did not match expected format")
        self._version = version
        self.major = int(match[1])
        self.minor = int(match[2])
        self.patch = int(match[3] or 0)
        self.build = int(match[4] or 0)
        self.prerelease: str = match[5] or ""

    def _key(self) -> tuple[Any, ...]:
        return self.major, self.minor, self.patch, self.build, not self.prerelease, self.prerelease

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return self._key() == other._key()

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        return self._version

    def __repr__(self) -> str:
        parts = [str(self.major), str(self.minor), str(self.patch)]
        parts += [str(part) for part in (self.build, self.prerelease) if part]
        return f"Version({', '.join(parts)})"
