"""What a fuzz target makes of its input: decisions, types and values, each from the next bytes. Any bytes will do."""

from __future__ import annotations

from typing import Any

from tests.support import refcodec
from tests.support.refcodec import CqlType

SIMPLE = sorted(refcodec.SIMPLE)
WIDTHS = {"tinyint": 1, "smallint": 2, "int": 4, "float": 4, "date": 4, "boolean": 1, "uuid": 16, "timeuuid": 16}
FIELD_NAMES = ("street", "zip", "class", "_hidden", "no blanks", "été", "ﬁ", "fi")


class Source:
    """The input, read from the front; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """The next byte."""
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def below(self, n: int) -> int:
        """A number from 0 to `n` - 1."""
        return (self.byte() if n <= 256 else self.byte() << 8 | self.byte()) % n

    def choice(self, among: Any) -> Any:
        """One of a sequence."""
        return among[self.below(len(among))]

    def take(self, n: int) -> bytes:
        """The next `n` bytes, fewer at the end."""
        self.at += n
        return self.data[self.at - n : self.at]

    def blob(self) -> bytes:
        """Up to 255 bytes, behind their number."""
        return self.take(self.byte())

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(max(0, len(self.data) - self.at))

    def integer(self) -> int:
        """A number of up to nine bytes, behind how many they are; beyond that one of thousands of digits."""
        size = self.below(11)
        if size > 9:
            return (-1) ** self.byte() << 8 * self.byte() * 9
        return int.from_bytes(self.take(size), "big", signed=True)

    def cql_type(self, levels: int = 3) -> CqlType:
        """A type in the oracle's notation, nested as deep as `levels` at most."""
        kind = self.below(len(SIMPLE) + 8 if levels > 1 else len(SIMPLE)) - len(SIMPLE)
        if kind < 0:
            return SIMPLE[kind]
        if kind < 4:
            return ("list", "set", "list", "set")[kind], self.cql_type(levels - 1)
        if kind == 4:
            return "map", self.cql_type(levels - 1), self.cql_type(levels - 1)
        if kind == 5:
            return "vector", self.cql_type(levels - 1), 1 + self.below(4)
        elements = [self.cql_type(levels - 1) for _ in range(1 + self.below(3))]
        if kind == 6:
            return "tuple", *elements
        start = self.below(len(FIELD_NAMES))
        names = [FIELD_NAMES[(start + i) % len(FIELD_NAMES)] for i in range(len(elements))]
        return "udt", "ks", "address", tuple(zip(names, elements, strict=True))

    def value(self, cql_type: CqlType) -> Any:
        """A plain value (as the oracle has them) of a type; None, too, where CQL can store it."""
        if not isinstance(cql_type, str):
            return self._nested(cql_type)
        if cql_type in ("text", "ascii"):
            text = self.blob().decode("utf-8", "replace")
            return text if cql_type == "text" else text.encode("ascii", "replace").decode()
        if cql_type == "blob":
            return self.blob()
        if cql_type == "varint":
            return self.integer()
        if cql_type == "time":
            return int.from_bytes(self.take(6), "big") % (86_400 * 10**9)
        if cql_type == "duration":
            return tuple(int.from_bytes(self.take(size), "big", signed=True) for size in (4, 4, 8))
        if cql_type == "decimal":
            data = self.take(4).rjust(4, b"\0") + self.blob().rjust(1, b"\0")
        elif cql_type == "inet":
            size = self.choice((4, 16))
            data = self.take(size).rjust(size, b"\1")
        else:
            size = WIDTHS.get(cql_type, 8)
            data = self.take(size).rjust(size, b"\0")
        return refcodec.decode(cql_type, data)

    def _nested(self, cql_type: CqlType) -> Any:
        kind, *rest = cql_type
        if kind in ("list", "set"):
            return [self.value(rest[0]) for _ in range(self.below(5))]
        if kind == "map":
            return [(self.value(rest[0]), self.value(rest[1])) for _ in range(self.below(4))]
        if kind == "vector":
            return [self.value(rest[0]) for _ in range(rest[1])]
        elements = rest if kind == "tuple" else [element for _, element in rest[2]]
        return tuple(self.value(element) if self.below(8) else None for element in elements)
