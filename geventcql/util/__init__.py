"""Python values for CQL types that Python has none for, and helpers for times and time UUIDs.

Layer: foundation; imports nothing of ours. Any greenlet may use these: nothing here waits. The names and the behaviour are
those of `cassandra.util`.
"""

from weakref import WeakSet

from geventcql.util.collections import OrderedMap, OrderedMapSerializedKey, SortedSet, sortedset
from geventcql.util.dateranges import OPEN_BOUND, DateRange, DateRangeBound, DateRangePrecision
from geventcql.util.geometry import Distance, LineString, Point, Polygon
from geventcql.util.times import (
    DATETIME_EPOC,
    HIGHEST_TIME_UUID,
    LOWEST_TIME_UUID,
    UTC_DATETIME_EPOC,
    Date,
    Duration,
    Time,
    Timestamp,
    datetime_from_timestamp,
    datetime_from_uuid1,
    max_uuid_from_time,
    min_uuid_from_time,
    ms_timestamp_from_datetime,
    unix_time_from_uuid1,
    utc_datetime_from_ms_timestamp,
    uuid_from_time,
)
from geventcql.util.versions import Version

__all__ = [
    "DATETIME_EPOC",
    "HIGHEST_TIME_UUID",
    "LOWEST_TIME_UUID",
    "OPEN_BOUND",
    "UTC_DATETIME_EPOC",
    "Date",
    "DateRange",
    "DateRangeBound",
    "DateRangePrecision",
    "Distance",
    "Duration",
    "LineString",
    "OrderedMap",
    "OrderedMapSerializedKey",
    "Point",
    "Polygon",
    "SortedSet",
    "Time",
    "Timestamp",
    "Version",
    "WeakSet",
    "datetime_from_timestamp",
    "datetime_from_uuid1",
    "max_uuid_from_time",
    "min_uuid_from_time",
    "ms_timestamp_from_datetime",
    "sortedset",
    "unix_time_from_uuid1",
    "utc_datetime_from_ms_timestamp",
    "uuid_from_time",
]
