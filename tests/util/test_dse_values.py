"""Shapes and date ranges: well-known text, rounding and order as cassandra-driver's."""

from __future__ import annotations

import datetime
from typing import Any

import cassandra.util
import pytest

from geventcql import util

WKT = [
    ("Point", "POINT (1.5 -2)", util.Point(1.5, -2)),
    ("LineString", "linestring(0 0, 1 2.5e1)", util.LineString([(0, 0), (1, 25)])),
    ("LineString", "LINESTRING EMPTY", util.LineString()),
    ("Polygon", "POLYGON ((0 0, 1 0), (.1 .1, .2 .2))", util.Polygon([(0, 0), (1, 0)], [[(0.1, 0.1), (0.2, 0.2)]])),
    ("Polygon", "POLYGON EMPTY", util.Polygon()),
    ("Distance", "DISTANCE((1 2) 3.5)", util.Distance(1, 2, 3.5)),
]


@pytest.mark.parametrize(("name", "text", "value"), WKT)
def test_well_known_text(name: str, text: str, value: Any) -> None:
    kind = getattr(util, name)
    assert kind.from_wkt(text) == value and hash(kind.from_wkt(text)) == hash(value)
    assert kind.from_wkt(str(value)) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Point", "POINT 1 2"), ("Point", "LINESTRING (1 2)"), ("Point", "POINT (1 2, 3 4)"), ("Point", "POINT (a b)"),
        ("Polygon", "POLYGON (0 0, 1 1)"), ("Distance", "POINT (1 2)"),
    ],
)  # fmt: skip
def test_wrong_text(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="Invalid WKT"):
        getattr(util, name).from_wkt(text)


@pytest.mark.parametrize("precision", cassandra.util.DateRangePrecision.PRECISIONS)
@pytest.mark.parametrize("ms", [0, 1234567890123, -987654321001, 951955200000])
def test_rounding(precision: str, ms: int) -> None:
    for name in ("round_up_to_precision", "round_down_to_precision"):
        mine = getattr(util.DateRangePrecision, name)(ms, precision)
        assert mine == getattr(cassandra.util.DateRangePrecision, name)(ms, precision)


def test_bounds() -> None:
    moment = datetime.datetime(2020, 2, 3, 4, 5, 6, 7000)
    bound = util.DateRangeBound(moment, "day")
    assert (bound.datetime(), bound.precision, str(bound)) == (moment, "DAY", "2020-02-03")
    assert str(util.DateRangeBound(10**16, "DAY")) == f"{10**16}ms" and str(util.OPEN_BOUND) == "*"
    assert str(util.DateRangeBound(moment, "MILLISECOND")) == "2020-02-03T04:05:06.007Z"
    assert util.DateRangeBound.from_value({"milliseconds": 1, "precision": "YEAR"}) == util.DateRangeBound(1, "YEAR")
    for value, precision, error in ((1, None, TypeError), (1, 2, TypeError), ("x", "DAY", ValueError), (1, "EON", ValueError)):
        with pytest.raises(error):
            util.DateRangeBound(value, precision)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="either a value"):
        util.DateRange()
    with pytest.raises(ValueError, match="either a value"):
        util.DateRange(lower_bound=(0, "DAY"), value=(0, "DAY"))
