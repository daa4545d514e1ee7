"""Numbers as big-endian bytes and back, under the names of `cassandra.marshal` (layer: model). Pure functions.

The driver itself does this compiled; these are for applications that make keys or values by hand.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

__all__ = [
    "decode_zig_zag", "double_pack", "double_unpack", "encode_zig_zag", "float_pack", "float_unpack", "int8_pack",
    "int8_unpack", "int16_pack", "int16_unpack", "int32_pack", "int32_unpack", "int64_pack", "int64_unpack", "uint8_pack",
    "uint8_unpack", "uint16_pack", "uint16_unpack", "uint32_pack", "uint32_unpack", "uint64_pack", "uint64_unpack",
    "uvint_pack", "uvint_unpack", "varint_pack", "varint_unpack", "vints_pack", "vints_unpack",
]  # fmt: skip


def _packer(code: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    packer = struct.Struct(code)

    def unpack(s: bytes) -> Any:
        return packer.unpack(s)[0]

    return packer.pack, unpack


int64_pack, int64_unpack = _packer(">q")
int32_pack, int32_unpack = _packer(">i")
int16_pack, int16_unpack = _packer(">h")
int8_pack, int8_unpack = _packer(">b")
uint64_pack, uint64_unpack = _packer(">Q")
uint32_pack, uint32_unpack = _packer(">I")
uint16_pack, uint16_unpack = _packer(">H")
uint8_pack, uint8_unpack = _packer(">B")
float_pack, float_unpack = _packer(">f")
double_pack, double_unpack = _packer(">d")


def varint_pack(big: int) -> bytes:
    """An integer of any size in as few bytes of two's complement as will do."""
    return big.to_bytes((big if big >= 0 else ~big).bit_length() // 8 + 1, "big", signed=True)


def varint_unpack(term: bytes) -> int:
    """The integer that :func:`varint_pack` made `term` of."""
    return int.from_bytes(term, "big", signed=True)


def encode_zig_zag(n: int) -> int:
    """A signed 64-bit integer as an unsigned one, small ones staying small."""
    return (n << 1) ^ (n >> 63)


def decode_zig_zag(n: int) -> int:
    """The integer that :func:`encode_zig_zag` made `n` of."""
    return (n >> 1) ^ -(n & 1)


def uvint_pack(val: int) -> bytes:
    """An unsigned vint (protocol section 3): as many leading ones as bytes follow the first.

    :raises ValueError: it is negative or has more than 64 bits
    """
    if not 0 <= val < 2**64:
        raise ValueError(f"{val} does not fit an unsigned vint")
    extra = next(n for n in range(9) if n == 8 or val < 1 << 7 * (n + 1))
    data = bytearray(val.to_bytes(extra + 1, "big"))
    data[0] |= 0xFF00 >> extra & 0xFF
    return bytes(data)


def uvint_unpack(bytes: bytes) -> tuple[int, int]:
    """The unsigned vint that `bytes` begin with, and how many of them it takes."""
    extra = 8 - (~bytes[0] & 0xFF).bit_length()
    value = bytes[0] & 0xFF >> extra
    for byte in bytes[1 : extra + 1]:
        value = value << 8 | byte
    return value, extra + 1


def vints_pack(values: Iterable[int]) -> bytes:
    """Signed vints one behind the other, as in a duration."""
    return b"".join(uvint_pack(encode_zig_zag(int(value))) for value in values)


def vints_unpack(term: bytes) -> tuple[int, ...]:
    """The signed vints in `term`."""
    values: list[int] = []
    while term:
        value, size = uvint_unpack(term)
        values.append(decode_zig_zag(value))
        term = term[size:]
    return tuple(values)
