"""Times, dates and durations of CQL, and time UUIDs.

Layer: foundation. The decoders of `geventcql.cython.codecs` fill the slots of `Time`, `Date`, `Duration` and `Timestamp`
directly, so their `__init__` does not run for decoded values.
"""

from __future__ import annotations

import datetime
import os
import re
import uuid
from functools import total_ordering

DATETIME_EPOC = datetime.datetime(1970, 1, 1)
UTC_DATETIME_EPOC = DATETIME_EPOC
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
                raise ValueError("not a time such as 23:59:59.123456789")
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
            try:
                parsed = datetime.datetime.strptime(value.removeprefix("+"), Date.date_format)
            except ValueError:  # its text shows the value
                raise ValueError(f"not a date of the form {Date.date_format}") from None
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
