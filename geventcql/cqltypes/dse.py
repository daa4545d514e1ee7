"""The classes of DataStax Enterprise's own types (layer: model): geometry as well-known binary, date ranges.

They have their code in Python, as those of applications have it.
"""

from __future__ import annotations

import struct
from typing import Any

from geventcql.cqltypes.base import CassandraType
from geventcql.util import OPEN_BOUND, DateRange, DateRangeBound, DateRangePrecision, LineString, Point, Polygon

__all__ = ["BoundKind", "DateRangeType", "LineStringType", "PointType", "PolygonType", "WKBGeometryType"]


class WKBGeometryType:
    """The kinds of well-known binary."""

    POINT = 1
    LINESTRING = 2
    POLYGON = 3


class _Wkb:
    """Reads well-known binary: byte order, kind, then counts and pairs of doubles."""

    def __init__(self, data: bytes, kind: int) -> None:
        self._data = data
        self._order = "<" if data[0] else ">"
        self._at = 1
        found = self.count()
        if found != kind:
            raise ValueError(f"well-known binary of kind {found}, where {kind} is wanted")

    def _take(self, code: str) -> tuple[Any, ...]:
        taken = struct.unpack_from(self._order + code, self._data, self._at)
        self._at += struct.calcsize(self._order + code)
        return taken

    def count(self) -> int:
        number: int = self._take("I")[0]
        return number

    def pair(self) -> tuple[float, float]:
        x, y = self._take("dd")
        return x, y

    def pairs(self) -> list[tuple[float, float]]:
        return [self.pair() for _ in range(self.count())]


def _head(kind: int) -> bytes:
    return struct.pack("<BI", 1, kind)


def _pairs(coords: Any) -> bytes:
    return struct.pack("<I", len(coords)) + b"".join(struct.pack("<dd", x, y) for x, y in coords)


class PointType(CassandraType):
    """'PointType': util.Point."""

    typename = "PointType"

    @staticmethod
    def serialize(val: Any, protocol_version: int) -> bytes:
        return _head(WKBGeometryType.POINT) + struct.pack("<dd", val.x, val.y)

    @staticmethod
    def deserialize(byts: bytes, protocol_version: int) -> Point:
        return Point(*_Wkb(byts, WKBGeometryType.POINT).pair())


class LineStringType(CassandraType):
    """'LineStringType': util.LineString."""

    typename = "LineStringType"

    @staticmethod
    def serialize(val: Any, protocol_version: int) -> bytes:
        return _head(WKBGeometryType.LINESTRING) + _pairs(val.coords)

    @staticmethod
    def deserialize(byts: bytes, protocol_version: int) -> LineString:
        return LineString(_Wkb(byts, WKBGeometryType.LINESTRING).pairs())


class PolygonType(CassandraType):
    """'PolygonType': util.Polygon."""

    typename = "PolygonType"

    @staticmethod
    def serialize(val: Any, protocol_version: int) -> bytes:
        rings = [ring.coords for ring in (val.exterior, *val.interiors)] if val.exterior.coords else []
        return _head(WKBGeometryType.POLYGON) + struct.pack("<I", len(rings)) + b"".join(map(_pairs, rings))

    @staticmethod
    def deserialize(byts: bytes, protocol_version: int) -> Polygon:
        wkb = _Wkb(byts, WKBGeometryType.POLYGON)
        rings = [wkb.pairs() for _ in range(wkb.count())]
        return Polygon(rings[0], rings[1:]) if rings else Polygon()


class BoundKind:
    """What a date range consists of; its place in `VALID_RANGE_BOUNDS` is its number on the wire."""

    SINGLE_DATE = "SINGLE_DATE"
    CLOSED_RANGE = "CLOSED_RANGE"
    OPEN_RANGE_HIGH = "OPEN_RANGE_HIGH"
    OPEN_RANGE_LOW = "OPEN_RANGE_LOW"
    BOTH_OPEN_RANGE = "BOTH_OPEN_RANGE"
    SINGLE_DATE_OPEN = "SINGLE_DATE_OPEN"
    VALID_RANGE_BOUNDS = (
        SINGLE_DATE, CLOSED_RANGE, OPEN_RANGE_HIGH, OPEN_RANGE_LOW, BOTH_OPEN_RANGE, SINGLE_DATE_OPEN,
    )  # fmt: skip

    @classmethod
    def to_int(cls, bound_str: str) -> int:
        """The number of a kind."""
        return cls.VALID_RANGE_BOUNDS.index(bound_str.upper())

    @classmethod
    def to_str(cls, bound_int: int) -> str:
        """The kind of a number."""
        return cls.VALID_RANGE_BOUNDS[bound_int]


class DateRangeType(CassandraType):
    """'DateRangeType': util.DateRange. A byte for the kind, then eight for each moment and one for its precision."""

    typename = "daterange"

    @classmethod
    def serialize(cls, v: Any, protocol_version: int) -> bytes:
        if v.value is not None:
            kind = BoundKind.SINGLE_DATE_OPEN if v.value == OPEN_BOUND else BoundKind.SINGLE_DATE
        elif v.lower_bound == OPEN_BOUND:
            kind = BoundKind.BOTH_OPEN_RANGE if v.upper_bound == OPEN_BOUND else BoundKind.OPEN_RANGE_LOW
        else:
            kind = BoundKind.OPEN_RANGE_HIGH if v.upper_bound == OPEN_BOUND else BoundKind.CLOSED_RANGE
        data = struct.pack(">b", BoundKind.to_int(kind))
        for bound in (v.value, v.lower_bound, v.upper_bound):
            if bound is not None and bound != OPEN_BOUND:
                data += struct.pack(">qb", bound.milliseconds, DateRangePrecision.PRECISIONS.index(bound.precision))
        return data

    @classmethod
    def deserialize(cls, byts: bytes, protocol_version: int) -> DateRange:
        kind = BoundKind.to_str(byts[0])
        bounds = [
            DateRangeBound(ms, DateRangePrecision.PRECISIONS[precision])
            for ms, precision in struct.iter_unpack(">qb", byts[1:])
        ]
        if kind in (BoundKind.SINGLE_DATE, BoundKind.SINGLE_DATE_OPEN):
            return DateRange(value=bounds[0] if kind == BoundKind.SINGLE_DATE else OPEN_BOUND)
        lower = bounds[0] if kind in (BoundKind.CLOSED_RANGE, BoundKind.OPEN_RANGE_HIGH) else OPEN_BOUND
        upper = bounds[-1] if kind in (BoundKind.CLOSED_RANGE, BoundKind.OPEN_RANGE_LOW) else OPEN_BOUND
        return DateRange(lower_bound=lower, upper_bound=upper)
