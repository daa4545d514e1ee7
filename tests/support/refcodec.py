"""A small CQL codec in plain Python, written from the protocol specification alone: the oracle of the compiled one.

Imports nothing of the driver. Slow, strict and simple on purpose: it answers for itself what bytes a value has.

A type is a str ("int", "text", ...) or a tuple: ("list", t), ("set", t), ("map", k, v), ("tuple", t, ...),
("vector", t, dimension), ("udt", keyspace, name, ((field, t), ...)).

Values are plain: int, float, bool, str, bytes, uuid.UUID, decimal.Decimal, ipaddress text; a timestamp is the int of
milliseconds, a date the int of days since 1970-01-01, a time the int of nanoseconds, a duration (months, days,
nanoseconds); list, set and vector a list, map a list of (key, value) pairs, tuple and udt a tuple. None is null.
"""

from __future__ import annotations

import ipaddress
import struct
import uuid
from decimal import Decimal
from typing import Any

CqlType = Any  # a str or a tuple, see above

PACKAGE = "org.apache.cassandra.db.marshal."

# name -> (option id, class name, length of a vector's element or None)
SIMPLE: dict[str, tuple[int, str, int | None]] = {
    "ascii": (0x01, "AsciiType", None),
    "bigint": (0x02, "LongType", 8),
    "blob": (0x03, "BytesType", None),
    "boolean": (0x04, "BooleanType", 1),
    "counter": (0x05, "CounterColumnType", 8),
    "decimal": (0x06, "DecimalType", None),
    "double": (0x07, "DoubleType", 8),
    "float": (0x08, "FloatType", 4),
    "int": (0x09, "Int32Type", 4),
    "timestamp": (0x0B, "TimestampType", 8),
    "uuid": (0x0C, "UUIDType", 16),
    "text": (0x0D, "UTF8Type", None),
    "varint": (0x0E, "IntegerType", None),
    "timeuuid": (0x0F, "TimeUUIDType", 16),
    "inet": (0x10, "InetAddressType", None),
    "date": (0x11, "SimpleDateType", None),
    "time": (0x12, "TimeType", None),
    "smallint": (0x13, "ShortType", None),
    "tinyint": (0x14, "ByteType", None),
    "duration": (0x15, "DurationType", None),
}

_STRUCTS = {
    "tinyint": ">b",
    "smallint": ">h",
    "int": ">i",
    "bigint": ">q",
    "counter": ">q",
    "timestamp": ">q",
    "time": ">q",
    "float": ">f",
    "double": ">d",
    "boolean": ">?",
}


class Malformed(Exception):
    """The bytes are not a value of the type."""


# -- types ----------------------------------------------------------------------------------------------------------


def string(text: str) -> bytes:
    """A [string] of section 3."""
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def option(cql_type: CqlType, version: int = 5) -> bytes:
    """The [option] of section 4.2.5.2 for a type; before protocol v5 a duration is a custom class."""
    if isinstance(cql_type, str):
        code, class_text, _ = SIMPLE[cql_type]
        if cql_type == "duration" and version < 5:
            return b"\x00\x00" + string(PACKAGE + class_text)
        return struct.pack(">H", code)
    kind, *rest = cql_type
    if kind in ("list", "set", "map"):
        code = {"list": 0x20, "map": 0x21, "set": 0x22}[kind]
        return struct.pack(">H", code) + b"".join(option(element, version) for element in rest)
    if kind == "tuple":
        return struct.pack(">HH", 0x31, len(rest)) + b"".join(option(element, version) for element in rest)
    if kind == "udt":
        keyspace, name, fields = rest
        head = struct.pack(">H", 0x30) + string(keyspace) + string(name) + struct.pack(">H", len(fields))
        return head + b"".join(string(field) + option(element, version) for field, element in fields)
    return b"\x00\x00" + string(class_name(cql_type))


def class_name(cql_type: CqlType) -> str:
    """The class name that Cassandra writes for a type."""
    if isinstance(cql_type, str):
        return PACKAGE + SIMPLE[cql_type][1]
    kind, *rest = cql_type
    if kind == "vector":
        return f"{PACKAGE}VectorType({class_name(rest[0])}, {rest[1]})"
    if kind == "udt":
        keyspace, name, fields = rest
        parts = [keyspace, name.encode().hex()]
        parts += [f"{field.encode().hex()}:{class_name(element)}" for field, element in fields]
        return f"{PACKAGE}UserType({','.join(parts)})"
    return f"{PACKAGE}{kind.capitalize()}Type({','.join(class_name(element) for element in rest)})"


def cql_name(cql_type: CqlType) -> str:
    """A type as CQL text."""
    if isinstance(cql_type, str):
        return cql_type
    kind, *rest = cql_type
    if kind == "vector":
        return f"vector<{cql_name(rest[0])}, {rest[1]}>"
    if kind == "udt":
        return f"frozen<{rest[1]}>"
    elements = ", ".join(cql_name(element) for element in rest)
    return f"frozen<tuple<{elements}>>" if kind == "tuple" else f"{kind}<{elements}>"


def columns(
    specs: list[tuple[str, CqlType]], keyspace: str = "ks", table: str = "t", global_spec: bool = True, version: int = 5
) -> bytes:
    """Column specifications of section 4.2.5.2 for (name, type) pairs, with the global table spec or one each."""
    head = string(keyspace) + string(table)
    parts = [string(name) + option(cql_type, version) for name, cql_type in specs]
    return head + b"".join(parts) if global_spec else b"".join(head + part for part in parts)


# -- values ---------------------------------------------------------------------------------------------------------


def cell(data: bytes | None) -> bytes:
    """[bytes] of section 3: a length and that many bytes, length -1 for None."""
    return b"\xff\xff\xff\xff" if data is None else struct.pack(">i", len(data)) + data


def row(types: list[CqlType], values: list[Any]) -> bytes:
    """The cells of a row."""
    return b"".join(cell(encode(cql_type, value)) for cql_type, value in zip(types, values, strict=True))


def fixed_length(cql_type: CqlType) -> int | None:
    """Bytes of a vector's element, None if it stands behind its length."""
    if isinstance(cql_type, str):
        return SIMPLE[cql_type][2]
    if cql_type[0] == "vector":
        length = fixed_length(cql_type[1])
        return None if length is None else length * int(cql_type[2])
    return None


def encode(cql_type: CqlType, value: Any) -> bytes | None:
    """The bytes of a plain value (section 6), None for None."""
    if value is None:
        return None
    return _encode_simple(cql_type, value) if isinstance(cql_type, str) else _encode_nested(cql_type, value)


def _encode_simple(cql_type: str, value: Any) -> bytes:
    if cql_type in _STRUCTS:
        return struct.pack(_STRUCTS[cql_type], value)
    if cql_type == "text":
        return bytes(value.encode())
    if cql_type == "ascii":
        return bytes(value.encode("ascii"))
    if cql_type == "blob":
        return bytes(value)
    if cql_type in ("uuid", "timeuuid"):
        return bytes(value.bytes)
    if cql_type == "inet":
        return ipaddress.ip_address(value).packed
    if cql_type == "date":
        return struct.pack(">I", value + 2**31)
    if cql_type == "varint":
        return varint(value)
    if cql_type == "decimal":
        sign, digits, exponent = value.as_tuple()
        unscaled = 0
        for digit in digits:
            unscaled = unscaled * 10 + digit
        return struct.pack(">i", -exponent) + varint(-unscaled if sign else unscaled)
    assert cql_type == "duration", cql_type
    return b"".join(unsigned_vint(2 * part if part >= 0 else -2 * part - 1) for part in value)


def _encode_nested(cql_type: CqlType, value: Any) -> bytes:
    kind, *rest = cql_type
    if kind in ("list", "set"):
        return struct.pack(">i", len(value)) + b"".join(cell(encode(rest[0], item)) for item in value)
    if kind == "map":
        pairs = (cell(encode(rest[0], key)) + cell(encode(rest[1], item)) for key, item in value)
        return struct.pack(">i", len(value)) + b"".join(pairs)
    if kind == "tuple":
        return b"".join(cell(encode(element, item)) for element, item in zip(rest, value, strict=True))
    if kind == "udt":
        return b"".join(cell(encode(element, item)) for (_, element), item in zip(rest[2], value, strict=True))
    assert kind == "vector" and len(value) == rest[1], cql_type
    parts = []
    for item in value:
        data = encode(rest[0], item)
        assert data is not None
        parts.append(data if fixed_length(rest[0]) is not None else unsigned_vint(len(data)) + data)
    return b"".join(parts)


def varint(number: int) -> bytes:
    """The shortest two's complement of a number."""
    length = 1
    while not -(1 << (8 * length - 1)) <= number < 1 << (8 * length - 1):
        length += 1
    return number.to_bytes(length, "big", signed=True)


def unsigned_vint(number: int) -> bytes:
    """An [unsigned vint] of section 3: the first byte begins with as many one bits as bytes follow it."""
    for following in range(8):
        if number < 1 << (7 * (following + 1)):
            head = (0xFF00 >> following) & 0xFF
            return (number | head << 8 * following).to_bytes(following + 1, "big")
    return b"\xff" + number.to_bytes(8, "big")


class Reader:
    """Bytes that are taken from the front; Malformed if there are not enough."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        if length > len(self.data):
            raise Malformed(f"{length} bytes wanted, {len(self.data)} left")
        head, self.data = self.data[:length], self.data[length:]
        return head

    def int32(self) -> int:
        """The next [int]."""
        return int.from_bytes(self.take(4), "big", signed=True)

    def cell(self) -> bytes | None:
        """The next [bytes]."""
        length = self.int32()
        return None if length < 0 else self.take(length)

    def unsigned_vint(self) -> int:
        """The next [unsigned vint]."""
        first = self.take(1)[0]
        following = 0
        while following < 8 and first & 0x80 >> following:
            following += 1
        return int.from_bytes(bytes([first & 0xFF >> following]) + self.take(following), "big")

    def end(self) -> None:
        """Malformed if bytes are left."""
        if self.data:
            raise Malformed(f"{len(self.data)} bytes left")


def decode(cql_type: CqlType, data: bytes | None) -> Any:
    """The plain value of bytes, None for None and for no bytes (but b"" and "" where those are values)."""
    if data is None:
        return None
    if not data and cql_type not in ("text", "ascii", "blob"):
        return None
    reader = Reader(data)
    value = _decode_simple(cql_type, reader) if isinstance(cql_type, str) else _decode_nested(cql_type, reader)
    reader.end()
    return value


def _decode_simple(cql_type: str, reader: Reader) -> Any:
    if cql_type in _STRUCTS:
        return struct.unpack(_STRUCTS[cql_type], reader.take(struct.calcsize(_STRUCTS[cql_type])))[0]
    if cql_type in ("text", "ascii"):
        try:
            return reader.take(len(reader.data)).decode("ascii" if cql_type == "ascii" else "utf-8")
        except UnicodeDecodeError as exc:
            raise Malformed(str(exc)) from exc
    if cql_type == "blob":
        return reader.take(len(reader.data))
    if cql_type in ("uuid", "timeuuid"):
        return uuid.UUID(bytes=reader.take(16))
    if cql_type == "inet":
        if len(reader.data) not in (4, 16):
            raise Malformed(f"{len(reader.data)} bytes of an address")
        return str(ipaddress.ip_address(reader.take(len(reader.data))))
    if cql_type == "date":
        return int.from_bytes(reader.take(4), "big") - 2**31
    if cql_type == "varint":
        return int.from_bytes(reader.take(len(reader.data)), "big", signed=True)
    if cql_type == "decimal":
        scale = reader.int32()
        digits = reader.take(max(1, len(reader.data)))
        unscaled = int.from_bytes(digits, "big", signed=True)
        return Decimal((unscaled < 0, tuple(int(digit) for digit in str(abs(unscaled))), -scale))
    assert cql_type == "duration", cql_type
    parts = [reader.unsigned_vint() for _ in range(3)]
    return tuple(-(part + 1) // 2 if part % 2 else part // 2 for part in parts)


def _decode_nested(cql_type: CqlType, reader: Reader) -> Any:
    kind, *rest = cql_type
    if kind in ("list", "set", "map"):
        count = reader.int32()
        if count < 0 or 4 * count > len(reader.data):
            raise Malformed(f"{count} elements")
        if kind == "map":
            return [(decode(rest[0], reader.cell()), decode(rest[1], reader.cell())) for _ in range(count)]
        return [decode(rest[0], reader.cell()) for _ in range(count)]
    if kind in ("tuple", "udt"):
        elements = rest if kind == "tuple" else [element for _, element in rest[2]]
        values = tuple(decode(element, reader.cell()) if reader.data else None for element in elements)
        reader.data = b""  # fields that were added later
        return values
    length = fixed_length(rest[0])
    if length is None:
        return [decode(rest[0], reader.take(reader.unsigned_vint())) for _ in range(rest[1])]
    return [decode(rest[0], reader.take(length)) for _ in range(rest[1])]
