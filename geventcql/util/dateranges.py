"""Values of DataStax Enterprise's date range type (layer: foundation)."""

from __future__ import annotations

import calendar
import datetime
from functools import total_ordering
from typing import Any

from geventcql.util.times import ms_timestamp_from_datetime, utc_datetime_from_ms_timestamp

__all__ = ["OPEN_BOUND", "DateRange", "DateRangeBound", "DateRangePrecision"]


class DateRangePrecision:
    """How exact a bound is (`cassandra.util.DateRangePrecision`)."""

    YEAR = "YEAR"
    MONTH = "MONTH"
    DAY = "DAY"
    HOUR = "HOUR"
    MINUTE = "MINUTE"
    SECOND = "SECOND"
    MILLISECOND = "MILLISECOND"
    PRECISIONS = (YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, MILLISECOND)

    @classmethod
    def round_up_to_precision(cls, ms: int, precision: str) -> int:
        """The last millisecond of the year, month ... that `ms`, milliseconds since the epoch, is in; `ms` itself outside
        the years 1 to 9999.
        """
        return cls._round(ms, precision, up=True)

    @classmethod
    def round_down_to_precision(cls, ms: int, precision: str) -> int:
        """The first millisecond of the year, month ... that `ms` is in; else as `round_up_to_precision`."""
        return cls._round(ms, precision, up=False)

    @classmethod
    def _round(cls, ms: int, precision: str, up: bool) -> int:
        try:
            moment = utc_datetime_from_ms_timestamp(ms)
        except OverflowError:
            return ms
        finer = cls.PRECISIONS.index(precision.upper())
        edges = {"month": 12, "day": 31, "hour": 23, "minute": 59, "second": 59, "microsecond": 999_000} if up else (
            {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
        )  # fmt: skip
        changes: dict[str, Any] = dict(list(edges.items())[finer:])
        if up and "day" in changes:
            changes["day"] = calendar.monthrange(moment.year, changes.get("month", moment.month))[1]
        changes.setdefault("microsecond", moment.microsecond // 1000 * 1000)
        return ms_timestamp_from_datetime(moment.replace(**changes))


_FORMATS = {
    DateRangePrecision.YEAR: "%Y",
    DateRangePrecision.MONTH: "%Y-%m",
    DateRangePrecision.DAY: "%Y-%m-%d",
    DateRangePrecision.HOUR: "%Y-%m-%dT%HZ",
    DateRangePrecision.MINUTE: "%Y-%m-%dT%H:%MZ",
    DateRangePrecision.SECOND: "%Y-%m-%dT%H:%M:%SZ",
    DateRangePrecision.MILLISECOND: "%Y-%m-%dT%H:%M:%S",
}


@total_ordering
class DateRangeBound:
    """A moment and how exact it is (`cassandra.util.DateRangeBound`).

    `value`: milliseconds since the epoch, which may be outside the years of datetime, or a datetime; `precision`: of
    :class:`DateRangePrecision`. Both None: :data:`OPEN_BOUND`.
    """

    def __init__(self, value: int | datetime.datetime | None, precision: str | None) -> None:
        if precision is not None and not isinstance(precision, str):
            raise TypeError(f"precision must be a string; got {precision!r}")
        if isinstance(value, datetime.datetime):
            value = ms_timestamp_from_datetime(value.replace(microsecond=value.microsecond // 1000 * 1000))
        elif value is not None and not isinstance(value, int):
            raise ValueError(f"{value!r} is not a valid value for DateRangeBound")
        self.milliseconds: int | None = value
        self.precision = precision.upper() if precision is not None else None
        self.validate()

    def validate(self) -> None:
        """Raise TypeError if only one of `milliseconds` and `precision` is None, ValueError for no such precision."""
        if (self.milliseconds is None) != (self.precision is None):
            raise TypeError(f"milliseconds and precision must both be None, or neither; got {self!r}")
        if self.precision is not None and self.precision not in DateRangePrecision.PRECISIONS:
            raise ValueError(f"precision must be one of {DateRangePrecision.PRECISIONS}; got {self.precision!r}")

    @classmethod
    def from_value(cls, value: Any) -> DateRangeBound:
        """A bound from a bound, a mapping with `milliseconds` and `precision`, or a pair of them."""
        if isinstance(value, cls):
            return value
        if hasattr(value, "get") and value.get("milliseconds") is not None and value.get("precision") is not None:
            return DateRangeBound(value["milliseconds"], value["precision"])
        return DateRangeBound(*value)

    def datetime(self) -> datetime.datetime:
        """The moment as a naive UTC datetime; OverflowError outside the years 1 to 9999."""
        assert self.milliseconds is not None
        return utc_datetime_from_ms_timestamp(self.milliseconds)

    def round_up(self) -> DateRangeBound:
        """This bound, moved to the last millisecond of its year, month ..."""
        if self.milliseconds is not None and self.precision is not None:
            self.milliseconds = DateRangePrecision.round_up_to_precision(self.milliseconds, self.precision)
        return self

    def round_down(self) -> DateRangeBound:
        """This bound, moved to the first millisecond of its year, month ..."""
        if self.milliseconds is not None and self.precision is not None:
            self.milliseconds = DateRangePrecision.round_down_to_precision(self.milliseconds, self.precision)
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DateRangeBound):
            return NotImplemented
        return (self.milliseconds, self.precision) == (other.milliseconds, other.precision)

    def __lt__(self, other: DateRangeBound) -> bool:
        return (str(self.milliseconds), str(self.precision)) < (str(other.milliseconds), str(other.precision))

    def __hash__(self) -> int:
        return hash((self.milliseconds, self.precision))

    def __str__(self) -> str:
        if self.milliseconds is None or self.precision is None:
            return "*"
        try:
            moment = self.datetime()
        except OverflowError:
            return f"{self.milliseconds}ms"
        written = moment.strftime(_FORMATS[self.precision])
        if self.precision == DateRangePrecision.MILLISECOND:
            written += f".{moment.microsecond // 1000:03d}Z"
        return written

    def __repr__(self) -> str:
        return f"{type(self).__name__}(milliseconds={self.milliseconds!r}, precision={self.precision!r})"


OPEN_BOUND = DateRangeBound(None, None)
"""A bound that there is not."""


@total_ordering
class DateRange:
    """From one moment to another, either of which may be open, or a single one (`cassandra.util.DateRange`).

    `lower_bound`, `upper_bound`, or else `value`: a :class:`DateRangeBound` or what its `from_value` takes. ValueError if
    there are both or neither.
    """

    def __init__(self, lower_bound: Any = None, upper_bound: Any = None, value: Any = None) -> None:
        lower = DateRangeBound.from_value(lower_bound).round_down() if lower_bound else lower_bound
        upper = DateRangeBound.from_value(upper_bound).round_up() if upper_bound else upper_bound
        self.value: DateRangeBound | None = DateRangeBound.from_value(value).round_down() if value else value
        self.lower_bound: DateRangeBound | None = OPEN_BOUND if lower is None and upper is not None else lower
        self.upper_bound: DateRangeBound | None = OPEN_BOUND if upper is None and lower is not None else upper
        self.validate()

    def validate(self) -> None:
        """Raise ValueError unless there is either a value or bounds."""
        bounds = (self.lower_bound, self.upper_bound)
        if (self.value is None) == (bounds == (None, None)):
            raise ValueError(f"a DateRange has either a value, or a lower or an upper bound; got {self!r}")

    def _key(self) -> tuple[Any, ...]:
        return self.lower_bound, self.upper_bound, self.value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DateRange):
            return NotImplemented
        return self._key() == other._key()

    def __lt__(self, other: DateRange) -> bool:
        return tuple(map(str, self._key())) < tuple(map(str, other._key()))

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        return str(self.value) if self.value is not None else f"[{self.lower_bound} TO {self.upper_bound}]"

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(lower_bound={self.lower_bound!r}, upper_bound={self.upper_bound!r}, "
            f"value={self.value!r})"
        )
