"""DataStax Enterprise's types: the bytes are cassandra-driver's."""

from __future__ import annotations

from typing import Any

import cassandra.cqltypes
import cassandra.util
import pytest

from geventcql import cqltypes, util

SHAPES: list[tuple[str, str, tuple[Any, ...]]] = [
    ("PointType", "Point", (1.5, -2.0)),
    ("LineStringType", "LineString", ([(0.0, 1.0), (2.0, 3.0)],)),
    ("LineStringType", "LineString", ()),
    ("PolygonType", "Polygon", ([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], [[(0.1, 0.1), (0.2, 0.2)]])),
    ("PolygonType", "Polygon", ()),
]


@pytest.mark.parametrize(("kind", "value", "arguments"), SHAPES)
def test_shapes(kind: str, value: str, arguments: tuple[Any, ...]) -> None:
    mine, other = getattr(util, value)(*arguments), getattr(cassandra.util, value)(*arguments)
    data = getattr(cqltypes, kind).serialize(mine, 4)
    assert data == getattr(cassandra.cqltypes, kind).serialize(other, 4)
    assert getattr(cqltypes, kind).deserialize(data, 4) == mine
    assert (str(mine), repr(mine)) == (str(other), repr(other))


def test_shapes_of_the_other_byte_order() -> None:
    assert cqltypes.PointType.deserialize(bytes.fromhex("00000000013ff80000000000004000000000000000"), 4) == util.Point(1.5, 2)
    with pytest.raises(ValueError, match="kind 1"):
        cqltypes.PolygonType.deserialize(cqltypes.PointType.serialize(util.Point(1, 2), 4), 4)


RANGES: list[dict[str, Any]] = [
    {"lower_bound": (0, "YEAR")},
    {"upper_bound": (10**12, "MONTH")},
    {"lower_bound": (0, "DAY"), "upper_bound": (10**12, "MINUTE")},
    {"value": (-5, "MILLISECOND")},
]


@pytest.mark.parametrize("bounds", RANGES)
def test_date_ranges(bounds: dict[str, Any]) -> None:
    mine, other = util.DateRange(**bounds), cassandra.util.DateRange(**bounds)
    data = cqltypes.DateRangeType.serialize(mine, 4)
    assert data == cassandra.cqltypes.DateRangeType.serialize(other, 4)
    assert cqltypes.DateRangeType.deserialize(data, 4) == mine and str(mine) == str(other)


def test_open_date_ranges() -> None:
    for made in (
        util.DateRange(value=util.OPEN_BOUND),
        util.DateRange(lower_bound=util.OPEN_BOUND, upper_bound=util.OPEN_BOUND),
    ):
        assert cqltypes.DateRangeType.deserialize(cqltypes.DateRangeType.serialize(made, 4), 4) == made
