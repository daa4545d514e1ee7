"""Values that nobody should bind: of wrong types, too large, lying, raising, or changing what they are part of."""

from __future__ import annotations

import array
import datetime
import decimal
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from geventcql import util
from tests.fuzz.source import Source


class Own(Exception):
    """What the values below raise; it has no text."""

    def __str__(self) -> str:
        raise Own


class Odd:
    """An object whose every protocol does what the input says: `step` is asked each time, for a number or to raise."""

    def __init__(self, source: Source, victim: Any) -> None:
        self.source = source
        self.victim = victim

    def step(self) -> int:
        action = self.source.below(8)
        if action == 0:
            raise self.source.choice((Own, TypeError, ValueError, AttributeError, OverflowError, KeyError))
        if action == 1:
            self.victim.clear()
        if action == 2 and len(self.victim) < 50:
            self.grow()
        return self.source.integer() if action == 3 else action

    def grow(self) -> None:
        if isinstance(self.victim, dict):
            self.victim[len(self.victim) + 1000] = self
        else:
            self.victim.append(self)

    def __index__(self) -> int:
        return self.step()

    __int__ = __hash__ = __index__

    def __len__(self) -> int:
        return min(abs(self.step()), 1 << 20)

    def __float__(self) -> float:
        return float(self.step() % 10**300)

    def __iter__(self) -> Iterator[Any]:
        while self.step() > 4:
            yield self.step()

    def __getitem__(self, key: Any) -> Any:
        return self.step()

    def items(self) -> Iterator[Any]:
        while self.step() > 4:
            yield self.step(), self

    def __eq__(self, other: object) -> bool:
        return bool(self.step() & 1)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        number = self.step()
        return (number, self, b"x" * 16, "text", None)[number % 5]

    def __repr__(self) -> str:
        return str(self.step())


class OddBytes(Odd):
    def __bytes__(self) -> bytes:
        return b"x" * (self.step() & 0xFF)


class OddMapping(Odd):
    def keys(self) -> Iterator[Any]:
        yield "street"
        yield self


class OddMoment(datetime.datetime):
    """A datetime whose offset is anything."""

    offset: Any = 3

    def utcoffset(self) -> Any:
        return self.offset


class OddInt(int):
    def bit_length(self) -> int:
        return 3

    def to_bytes(self, *args: Any, **kwargs: Any) -> bytes:
        return b"x"


def _moment(source: Source) -> Any:
    moment = OddMoment(1 + source.below(9999), 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    moment.offset = source.choice((3, "x", None, datetime.timedelta.max, datetime.timedelta.min, datetime.timedelta(hours=5)))
    return moment


def _recursive(source: Source) -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def _deep(source: Source) -> Any:
    value: Any = source.integer()
    for _ in range(source.byte()):
        value = [value]
    return value


def _list(source: Source) -> Any:
    value: list[Any] = []
    value += [odd(source, value) for _ in range(source.below(4))]
    return value


def _dict(source: Source) -> Any:
    value: dict[Any, Any] = {}
    for key in range(source.below(4)):
        value[source.choice((key, "street", "zip"))] = odd(source, value)
    return value


def _array(source: Source) -> Any:
    code = source.choice("fdbq")
    numbers = array.array(code, [source.below(100) for _ in range(source.below(5))])
    return source.choice((numbers, memoryview(numbers)[::2], memoryview(numbers)[::-1], memoryview(numbers).cast("B")))


_MAKERS: tuple[Callable[[Source], Any], ...] = (
    _moment, _recursive, _deep, _list, _dict, _array, _list, _dict,
    lambda source: OddInt(source.integer()),
    lambda source: source.integer(),
    lambda source: source.choice((float("nan"), float("inf"), -0.0, 1e300, 1e-320, -9.3e18)),
    lambda source: source.choice(("\ud800", "", "x", "\0", "1::2", "999.1.1.1", "2020-02-30", "25:00:00", "1e99999")),
    lambda source: decimal.Decimal(source.choice(("NaN", "sNaN", "-Infinity", "1E+2147483648", "1E-2147483649", "0E+9"))),
    lambda source: uuid.UUID(int=source.choice((0, 1.5, decimal.Decimal(7), True))),
    lambda source: util.Date(source.below(70000)),
    lambda source: util.Duration(source.integer(), source.integer(), source.integer()),
    lambda source: util.SortedSet([source.byte(), source.byte()]),
    lambda source: (source.byte() for _ in range(source.below(6))),
    lambda source: {source.byte(), "x"},
    lambda source: bytearray(source.blob()),
    lambda source: source.choice((object(), None, int, NotImplemented, ..., True, (), range(5), 3j)),
)


def odd(source: Source, container: Any = None) -> Any:
    """One such value; some change `container`, the list or dict that it is to stand in."""
    container = [] if container is None else container
    kind = source.below(len(_MAKERS) + 8) - 8
    if kind >= 0:
        return _MAKERS[kind](source)
    return (Odd, OddBytes, OddMapping, Odd)[kind % 4](source, container)
