"""The set and the map that CQL's decode to where Python's own will not do.

Layer: foundation. The decoders of `geventcql.cython.codecs` fill the slots of `SortedSet` directly, so its `__init__` does
not run for decoded values.
"""

from __future__ import annotations

import datetime
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from geventcql.util.times import Date, Time, Timestamp

_TOTALLY_ORDERED = frozenset(
    {int, bool, float, str, bytes, Decimal, uuid.UUID, datetime.datetime, Date, Time, Timestamp}
)


def _order_of(item: Any) -> tuple[type, bool]:
    """What items must have in common to be in one total order: datetimes are compared with a time zone or without."""
    return type(item), getattr(item, "tzinfo", None) is None


class SortedSet:
    """A set that keeps its items in order and does not need them to be hashable: what a CQL set decodes to.

    Items that have no total order (maps, sets, tuples with nulls, items of several types) are in the order that
    cassandra-driver's has: sorted as far as they can be, those that cannot be compared behind one another. Finding them
    is linear.
    """

    # _ordered: whether _items is sorted by an order that is total, so that bisection finds what is there.
    __slots__ = ("_items", "_ordered")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, iterable: Iterable[Any] = ()) -> None:
        items = list(iterable)
        self._items = []
        self._ordered = True
        if items and type(items[0]) in _TOTALLY_ORDERED and len(set(map(_order_of, items))) == 1:
            items.sort()
            self._items = [item for i, item in enumerate(items) if i == 0 or item != items[i - 1]]
        else:
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
            order = _order_of(self._items[0] if self._items else item)
            self._ordered = self._ordered and _order_of(item) == order and type(item) in _TOTALLY_ORDERED
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
            place = self._place_of(item)
        else:
            if self._ordered or (place < len(items) and items[place] == item):
                return place, place < len(items) and items[place] == item
        for i, other in enumerate(items):
            if other == item:
                return i, True
        return place, False

    def _place_of(self, item: Any) -> int:
        """Where an item belongs that cannot be compared with all others: among the first ones that it can be compared with,
        in order; behind all if there are none.
        """
        compared = False
        for i, other in enumerate(self._items):
            try:
                if other == item or other >= item:
                    return i
                compared = True
            except TypeError:
                if compared:
                    return i
        return len(self._items)


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

    `cass_type`: the CQL type of the keys: a class of `geventcql.cqltypes`, or one that is compiled.
    """

    def __init__(self, cass_type: Any, protocol_version: int = 4) -> None:
        super().__init__()
        self.cass_key_type = cass_type
        self.protocol_version = protocol_version

    def _insert_unchecked(self, key: Any, flat_key: bytes | None, value: Any) -> None:
        self._items.append((key, value))
        self._index[flat_key] = len(self._items) - 1

    def _serialize_key(self, key: Any) -> bytes | None:
        encode: Callable[[Any], bytes | None] | None = getattr(self.cass_key_type, "encode", None)
        if encode is not None:
            return encode(key)
        serialize: Callable[[Any, int], bytes | None] = self.cass_key_type.serialize
        return serialize(key, self.protocol_version)

    def _position(self, key: Any) -> int:
        try:
            return super()._position(key)
        except KeyError:
            # A decoded key is indexed by the server's bytes: sets in them are in the server's order, not in Python's.
            for i, item in enumerate(self._items):
                if item[0] == key:
                    return i
            raise
