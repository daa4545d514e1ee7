"""CQL types and values of the fake node: parsing of type names, their wire form, and a small encoder and decoder.

Test support; imports nothing of geventcql. It covers what canned rows need; the reference codec is the oracle of the
driver's own serialisers. Source: native_protocol specs sections 4.2.5.2 (type options) and 6 (formats).
"""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import re
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .wire import Reader, bytes_, int_, short, string

_EPOCH = datetime.datetime(1970, 1, 1)

SIMPLE_CODES: Mapping[str, int] = {
    "ascii": 0x01,
    "bigint": 0x02,
    "blob": 0x03,
    "boolean": 0x04,
    "counter": 0x05,
    "decimal": 0x06,
    "double": 0x07,
    "float": 0x08,
    "int": 0x09,
    "timestamp": 0x0B,
    "uuid": 0x0C,
    "text": 0x0D,
    "varchar": 0x0D,
    "varint": 0x0E,
    "timeuuid": 0x0F,
    "inet": 0x10,
    "date": 0x11,
    "time": 0x12,
    "smallint": 0x13,
    "tinyint": 0x14,
    "duration": 0x15,
}


@dataclass(frozen=True)
class Type:
    """A CQL type. `name`: a simple type, 'list', 'set', 'map', 'tuple', 'vector', 'udt' or 'custom'.

    `fields`: the field names of a UDT; `keyspace` and `udt_name` its own; `class_name` that of a custom type;
    `dimensions` of a vector.
    """

    name: str
    args: tuple[Type, ...] = ()
    fields: tuple[str, ...] = ()
    keyspace: str = ""
    udt_name: str = ""
    class_name: str = ""
    dimensions: int = 0


TypeLike = str | Type


def udt(keyspace: str, name: str, **fields: TypeLike) -> Type:
    """A user-defined type: `udt("ks", "address", street="text", numbers="list<int>")`."""
    return Type("udt", tuple(map(parse, fields.values())), tuple(fields), keyspace, name)


def custom(class_name: str) -> Type:
    """A type that the wire knows by its Java class name only; its values are raw bytes."""
    return Type("custom", class_name=class_name)


def parse(text: TypeLike) -> Type:
    """'map<text, frozen<list<int>>>' and the like; frozen<> is dropped, as the wire does not know it."""
    if isinstance(text, Type):
        return text
    tokens = re.findall(r"\w+|[<>,]", text)
    found = _parse(tokens)
    if tokens:
        raise ValueError(f"{text!r}: {tokens} left over")
    return found


def _parse(tokens: list[str]) -> Type:
    name = tokens.pop(0).lower()
    args: list[Type] = []
    dimensions = 0
    if tokens and tokens[0] == "<":
        while tokens.pop(0) in "<,":
            if name == "vector" and args:
                dimensions = int(tokens.pop(0))
            else:
                args.append(_parse(tokens))
    if name == "frozen":
        return args[0]
    if name not in SIMPLE_CODES and name not in ("list", "set", "map", "tuple", "vector"):
        raise ValueError(f"unknown CQL type {name!r}")
    return Type("text" if name == "varchar" else name, tuple(args), dimensions=dimensions)


_MARSHAL = "org.apache.cassandra.db.marshal."
_CLASSES = {
    "int": "Int32Type",
    "text": "UTF8Type",
    "blob": "BytesType",
    "double": "DoubleType",
    "float": "FloatType",
    "bigint": "LongType",
    "smallint": "ShortType",
    "tinyint": "ByteType",
    "boolean": "BooleanType",
    "uuid": "UUIDType",
    "timeuuid": "TimeUUIDType",
    "timestamp": "TimestampType",
}


def class_name(t: Type) -> str:
    """The Java class name of a type: vectors travel as custom types, named so."""
    if t.name == "custom":
        return t.class_name
    if t.name == "vector":
        return f"{_MARSHAL}VectorType({class_name(t.args[0])} , {t.dimensions})"
    if t.name in ("list", "set", "map"):
        return f"{_MARSHAL}{t.name.capitalize()}Type({','.join(map(class_name, t.args))})"
    if t.name == "udt":
        fields = [f"{name.encode().hex()}:{class_name(arg)}" for name, arg in zip(t.fields, t.args, strict=True)]
        return f"{_MARSHAL}UserType({','.join([t.keyspace, t.udt_name.encode().hex(), *fields])})"
    return _MARSHAL + _CLASSES[t.name]


def option(t: Type) -> bytes:
    """The [option] that describes a type in column metadata (section 4.2.5.2)."""
    if t.name in SIMPLE_CODES:
        return short(SIMPLE_CODES[t.name])
    if t.name in ("custom", "vector"):
        return short(0x00) + string(class_name(t))
    if t.name == "udt":
        parts = [short(0x30), string(t.keyspace), string(t.udt_name), short(len(t.args))]
        parts += [string(name) + option(arg) for name, arg in zip(t.fields, t.args, strict=True)]
        return b"".join(parts)
    if t.name == "tuple":
        return short(0x31) + short(len(t.args)) + b"".join(map(option, t.args))
    return short({"list": 0x20, "map": 0x21, "set": 0x22}[t.name]) + b"".join(map(option, t.args))


# --- values ----------------------------------------------------------------------------------------------------------


def _milliseconds(value: Any) -> int:
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return int((value - _EPOCH) // datetime.timedelta(milliseconds=1))
    return int(value)


def _days(value: Any) -> int:
    if isinstance(value, datetime.date):
        value = (value - _EPOCH.date()).days
    return int(value) + (1 << 31)


def _varint(value: int) -> bytes:
    return value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True)


def _decimal(value: Any) -> bytes:
    sign, digits, exponent = decimal.Decimal(value).as_tuple()
    unscaled = int("".join(map(str, digits))) * (-1 if sign else 1)
    return int_(-int(exponent)) + _varint(unscaled)


def _packer(code: str) -> Callable[[Any], bytes]:
    return struct.Struct(">" + code).pack


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "ascii": lambda v: v.encode("ascii"),
    "text": lambda v: v.encode(),
    "bigint": _packer("q"),
    "counter": _packer("q"),
    "time": _packer("q"),
    "int": _packer("i"),
    "smallint": _packer("h"),
    "tinyint": _packer("b"),
    "double": _packer("d"),
    "float": _packer("f"),
    "boolean": lambda v: b"\x01" if v else b"\x00",
    "uuid": lambda v: v.bytes,
    "timeuuid": lambda v: v.bytes,
    "inet": lambda v: ipaddress.ip_address(v).packed,
    "timestamp": lambda v: struct.pack(">q", _milliseconds(v)),
    "date": lambda v: struct.pack(">I", _days(v)),
    "varint": _varint,
    "decimal": _decimal,
}


def encode(cql_type: TypeLike, value: Any) -> bytes | None:
    """The value's bytes without their length. None is null; bytes pass as they are, whatever the type."""
    t = parse(cql_type)
    if value is None or isinstance(value, bytes):
        return value
    if t.name in ("list", "set"):
        return _sequence(t.args[0], value)
    if t.name == "map":
        pairs = [bytes_(encode(t.args[0], k)) + bytes_(encode(t.args[1], v)) for k, v in value.items()]
        return int_(len(pairs)) + b"".join(pairs)
    if t.name in ("tuple", "udt"):
        return b"".join(bytes_(encode(arg, item)) for arg, item in zip(t.args, value, strict=False))
    if t.name == "vector" and t.args[0].name in ("float", "int", "double", "bigint"):
        return b"".join(encode(t.args[0], item) or b"" for item in value)
    try:
        return _ENCODERS[t.name](value)
    except KeyError:
        raise ValueError(f"no encoder for {t.name}: give the value as bytes") from None


def _sequence(element: Type, items: Iterable[Any]) -> bytes:
    cells = [bytes_(encode(element, item)) for item in items]
    return int_(len(cells)) + b"".join(cells)


def _unpacker(code: str) -> Callable[[bytes], Any]:
    unpack = struct.Struct(">" + code).unpack
    return lambda raw: unpack(raw)[0]


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "ascii": lambda raw: raw.decode("ascii"),
    "text": lambda raw: raw.decode(),
    "blob": lambda raw: raw,
    "custom": lambda raw: raw,
    "bigint": _unpacker("q"),
    "counter": _unpacker("q"),
    "time": _unpacker("q"),
    "int": _unpacker("i"),
    "smallint": _unpacker("h"),
    "tinyint": _unpacker("b"),
    "double": _unpacker("d"),
    "float": _unpacker("f"),
    "boolean": lambda raw: raw != b"\x00",
    "uuid": lambda raw: uuid.UUID(bytes=raw),
    "timeuuid": lambda raw: uuid.UUID(bytes=raw),
    "inet": lambda raw: str(ipaddress.ip_address(raw)),
    "timestamp": lambda raw: _EPOCH + datetime.timedelta(milliseconds=_unpacker("q")(raw)),
    "date": lambda raw: _EPOCH.date() + datetime.timedelta(days=_unpacker("I")(raw) - (1 << 31)),
    "varint": lambda raw: int.from_bytes(raw, "big", signed=True),
    "decimal": lambda raw: decimal.Decimal(
        f"{int.from_bytes(raw[4:], 'big', signed=True)}E{-int.from_bytes(raw[:4], 'big', signed=True)}"
    ),
}


def decode(cql_type: TypeLike, raw: bytes | None) -> Any:
    """A value of a request as a plain Python value (list, set, dict, tuple for the composed types)."""
    t = parse(cql_type)
    if raw is None:
        return None
    if t.name in ("list", "set", "map"):
        reader = Reader(raw)
        count = reader.int_()
        if t.name == "map":
            return {decode(t.args[0], reader.bytes_()): decode(t.args[1], reader.bytes_()) for _ in range(count)}
        items = [decode(t.args[0], reader.bytes_()) for _ in range(count)]
        return set(items) if t.name == "set" else items
    if t.name in ("tuple", "udt"):
        reader = Reader(raw)
        return tuple(decode(arg, reader.bytes_()) if reader.pos < len(raw) else None for arg in t.args)
    if t.name == "vector" and t.args[0].name in ("float", "int", "double", "bigint"):
        size = len(raw) // t.dimensions
        return [decode(t.args[0], raw[i : i + size]) for i in range(0, len(raw), size)]
    try:
        return _DECODERS[t.name](raw)
    except KeyError:
        raise ValueError(f"no decoder for {t.name}") from None
