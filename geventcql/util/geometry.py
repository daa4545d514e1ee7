"""Shapes of DataStax Enterprise's geometry types (layer: foundation). Plain values; they read and write well-known text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

__all__ = ["Distance", "LineString", "Point", "Polygon"]

Coordinates = tuple[float, float]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SHAPE = re.compile(r"\s*([A-Za-z]+)\s*(?:(EMPTY)|(\(.*\)))\s*", re.IGNORECASE | re.DOTALL)
_PAIR = re.compile(rf"\s*({_NUMBER})\s+({_NUMBER})\s*")
_RING = re.compile(r"\s*\(([^()]*)\)\s*")
_DISTANCE = re.compile(rf"\s*distance\s*\(\s*\(\s*({_NUMBER})\s+({_NUMBER})\s*\)\s*({_NUMBER})\s*\)\s*", re.IGNORECASE)


def _written(coords: Iterable[Coordinates]) -> str:
    return ", ".join(f"{x!r} {y!r}" for x, y in coords)


def _inside(text: str, kind: str) -> str | None:
    """What is in the parentheses of a shape, None if it is EMPTY; ValueError if it is none of this kind."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise ValueError(f"Invalid WKT geometry: {text!r}")
    if found[1].upper() != kind.upper():
        raise ValueError(f"Invalid WKT geometry type. Expected {kind!r}, got {found[1]!r}: {text!r}")
    return None if found[2] else found[3][1:-1]


def _pairs(text: str, whole: str) -> tuple[Coordinates, ...]:
    found = [_PAIR.fullmatch(pair) for pair in text.split(",")]
    if None in found:
        raise ValueError(f"Invalid WKT geometry: {whole!r}")
    return tuple((float(pair[1]), float(pair[2])) for pair in found if pair is not None)


class Point:
    """A point (`cassandra.util.Point`)."""

    def __init__(self, x: float = math.nan, y: float = math.nan) -> None:
        self.x = x
        self.y = y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x and self.y == other.y

    def __hash__(self) -> int:
        return hash((self.x, self.y))

    def __str__(self) -> str:
        return f"POINT ({self.x!r} {self.y!r})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.x!r}, {self.y!r})"

    @staticmethod
    def from_wkt(s: str) -> Point:
        """The point that a well-known text says; ValueError if it says none."""
        inside = _inside(s, "Point")
        if inside is None:
            return Point()
        pairs = _pairs(inside, s)
        if len(pairs) != 1:
            raise ValueError(f"Invalid WKT geometry: {s!r}")
        return Point(*pairs[0])


class LineString:
    """A line through points: `coords`, a tuple of (x, y) (`cassandra.util.LineString`)."""

    def __init__(self, coords: Iterable[Coordinates] = ()) -> None:
        self.coords = tuple(coords)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LineString) and self.coords == other.coords

    def __hash__(self) -> int:
        return hash(self.coords)

    def __str__(self) -> str:
        return f"LINESTRING ({_written(self.coords)})" if self.coords else "LINESTRING EMPTY"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.coords!r})"

    @staticmethod
    def from_wkt(s: str) -> LineString:
        """The line that a well-known text says; ValueError if it says none."""
        inside = _inside(s, "LineString")
        return LineString() if inside is None else LineString(_pairs(inside, s))


class _LinearRing:
    """A ring of a polygon, as it was given: neither checked nor closed."""

    def __init__(self, coords: Iterable[Any] = ()) -> None:
        self.coords = tuple(tuple(pair) for pair in coords)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _LinearRing) and self.coords == other.coords

    def __hash__(self) -> int:
        return hash(self.coords)

    def __str__(self) -> str:
        return f"LINEARRING ({_written(self.coords)})" if self.coords else "LINEARRING EMPTY"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.coords!r})"


class Polygon:
    """A polygon: its `exterior` ring and the `interiors`, rings of holes in it (`cassandra.util.Polygon`)."""

    def __init__(
        self, exterior: Iterable[Coordinates] = (), interiors: Iterable[Iterable[Coordinates]] | None = None
    ) -> None:
        self.exterior = _LinearRing(exterior)
        self.interiors = tuple(_LinearRing(ring) for ring in interiors or ())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polygon) and self.exterior == other.exterior and self.interiors == other.interiors

    def __hash__(self) -> int:
        return hash((self.exterior, self.interiors))

    def __str__(self) -> str:
        if not self.exterior.coords:
            return "POLYGON EMPTY"
        rings: list[Any] = [self.exterior.coords, *(ring.coords for ring in self.interiors)]
        return f"POLYGON ({', '.join(f'({_written(ring)})' for ring in rings)})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.exterior.coords!r}, {[ring.coords for ring in self.interiors]!r})"

    @staticmethod
    def from_wkt(s: str) -> Polygon:
        """The polygon that a well-known text says; ValueError if it says none."""
        inside = _inside(s, "Polygon")
        if inside is None:
            return Polygon()
        if not re.fullmatch(rf"{_RING.pattern}(?:,{_RING.pattern})*", inside):
            raise ValueError(f"Invalid WKT geometry: {s!r}")
        rings = [_pairs(ring, s) for ring in _RING.findall(inside)]
        return Polygon(rings[0], rings[1:])


class Distance:
    """A circle, of a search in an index: all within `radius` of a point (`cassandra.util.Distance`)."""

    def __init__(self, x: float = math.nan, y: float = math.nan, radius: float = math.nan) -> None:
        self.x = x
        self.y = y
        self.radius = radius

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Distance) and (self.x, self.y, self.radius) == (other.x, other.y, other.radius)

    def __hash__(self) -> int:
        return hash((self.x, self.y, self.radius))

    def __str__(self) -> str:
        return f"DISTANCE (({self.x!r} {self.y!r}) {self.radius!r})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.x!r}, {self.y!r}, {self.radius!r})"

    @staticmethod
    def from_wkt(s: str) -> Distance:
        """The distance that a text says, `DISTANCE ((x y) radius)`; ValueError if it says none."""
        found = _DISTANCE.fullmatch(s)
        if found is None:
            raise ValueError(f"Invalid WKT geometry: {s!r}")
        return Distance(float(found[1]), float(found[2]), float(found[3]))
