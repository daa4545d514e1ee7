"""The notations of protocol section 3 ([int], [string], [bytes map] ...): writers, and a reader that checks lengths.

Layer: protocol; pure. For requests, errors and control messages; the cells of rows are the compiled core's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from uuid import UUID

from geventcql.errors import FrameError

MAX_SHORT = 0xFFFF

_SHORT = struct.Struct(">H")
_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")


def short(number: int, what: str = "number") -> bytes:
    """[short]; ValueError naming `what` if it is outside 0..65,535."""
    if not 0 <= number <= MAX_SHORT:
        raise ValueError(f"{what}: {number} is outside 0..{MAX_SHORT}, what the protocol has room for")
    return _SHORT.pack(number)


def int_(number: int, what: str = "number") -> bytes:
    """[int]; ValueError naming `what` if it does not fit in 32 bits, signed."""
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{what}: {number} does not fit in the 4 bytes that the protocol has for it")
    return _INT.pack(number)


def long(number: int, what: str = "number") -> bytes:
    """[long]; ValueError naming `what` if it does not fit in 64 bits, signed."""
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{what}: {number} does not fit in the 8 bytes that the protocol has for it")
    return _LONG.pack(number)


def short_bytes(data: bytes, what: str = "bytes") -> bytes:
    """[short bytes]; ValueError naming `what` if there are more than 65,535."""
    return short(len(data), f"length of {what}") + data


def string(text: str, what: str = "string") -> bytes:
    """[string]; ValueError naming `what` if it has more than 65,535 bytes in UTF-8."""
    return short_bytes(text.encode(), what)


def long_string(text: str | bytes) -> bytes:
    """[long string]; bytes are taken as UTF-8 already."""
    data = text.encode() if isinstance(text, str) else text
    return int_(len(data), "length of the query") + data


def bytes_(data: bytes | None) -> bytes:
    """[bytes]; None is null."""
    return b"\xff\xff\xff\xff" if data is None else int_(len(data), "length of bytes") + data


def string_list(texts: Iterable[str]) -> bytes:
    """[string list]."""
    texts = list(texts)
    return short(len(texts), "strings in a list") + b"".join(map(string, texts))


def string_map(items: Mapping[str, str]) -> bytes:
    """[string map]."""
    return short(len(items), "entries of a map") + b"".join(string(key) + string(text) for key, text in items.items())


def bytes_map(items: Mapping[str, bytes | None]) -> bytes:
    """[bytes map]."""
    return short(len(items), "entries of a map") + b"".join(string(key) + bytes_(data) for key, data in items.items())


class Reader:
    """Reads the notations from `body` one after another, from `pos` on.

    Each method takes `what`, the name of the field. A body that ends before the field does, a negative count or text
    that is not UTF-8 raise FrameError naming it. Bytes after the last field read are nobody's business (section 1).
    """

    __slots__ = ("body", "pos")

    def __init__(self, body: bytes, pos: int = 0) -> None:
        self.body = body
        self.pos = pos

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        end = self.pos + size
        if end > len(self.body):
            raise FrameError(
                f"truncated message: {what} at byte {self.pos} wants {size} bytes, {len(self.body) - self.pos} are left"
            )
        data = self.body[self.pos : end]
        self.pos = end
        return data

    def byte(self, what: str) -> int:
        """[byte]."""
        return self.take(1, what)[0]

    def short(self, what: str) -> int:
        """[short]."""
        return int.from_bytes(self.take(2, what), "big")

    def int_(self, what: str) -> int:
        """[int]."""
        return int.from_bytes(self.take(4, what), "big", signed=True)

    def count(self, what: str) -> int:
        """[int] that counts something."""
        number = self.int_(what)
        if number < 0:
            raise FrameError(f"bad message: {what} is {number}")
        return number

    def short_bytes(self, what: str) -> bytes:
        """[short bytes]."""
        return self.take(self.short(what), what)

    def bytes_(self, what: str) -> bytes | None:
        """[bytes]."""
        size = self.int_(what)
        return None if size < 0 else self.take(size, what)

    def string(self, what: str) -> str:
        """[string]."""
        try:
            return self.short_bytes(what).decode()
        except UnicodeDecodeError as exc:
            raise FrameError(f"bad message: {what} is not UTF-8: {exc}") from exc

    def text(self, what: str) -> str:
        """[string] that is only shown to people: what is not UTF-8 is replaced instead of losing the message."""
        return self.short_bytes(what).decode(errors="replace")

    def string_list(self, what: str) -> list[str]:
        """[string list]."""
        return [self.string(what) for _ in range(self.short(what))]

    def string_multimap(self, what: str) -> dict[str, list[str]]:
        """[string multimap]."""
        return {self.string(what): self.string_list(what) for _ in range(self.short(what))}

    def bytes_map(self, what: str) -> dict[str, bytes | None]:
        """[bytes map]."""
        return {self.string(what): self.bytes_(what) for _ in range(self.short(what))}

    def inetaddr(self, what: str) -> str:
        """[inetaddr] as text."""
        size = self.byte(what)
        if size not in (4, 16):
            raise FrameError(f"bad message: {what} has {size} bytes, an address has 4 or 16")
        return str(ip_address(self.take(size, what)))

    def inet(self, what: str) -> tuple[str, int]:
        """[inet] as (address, port)."""
        return self.inetaddr(what), self.int_(what)

    def uuid(self, what: str) -> UUID:
        """[uuid]."""
        return UUID(bytes=self.take(16, what))
