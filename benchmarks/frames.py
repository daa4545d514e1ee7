"""Server replies made by hand, byte for byte as Cassandra sends them, for the micro-benchmarks. Standard library only.

Not made by any driver's own encoders, so that all decoders meet the same bytes (protocol v4, section 4.2.5.2).
"""

from __future__ import annotations

import struct
from zlib import crc32

BIGINT, BLOB, BOOLEAN, DOUBLE, INT, TIMESTAMP, UUID, TEXT = (
    bytes((0, code)) for code in (0x02, 0x03, 0x04, 0x07, 0x09, 0x0B, 0x0C, 0x0D)
)
LIST_INT = b"\x00\x20" + INT
LIST_TEXT = b"\x00\x20" + TEXT
MAP_TEXT_INT = b"\x00\x21" + TEXT + INT
SET_TEXT = b"\x00\x22" + TEXT
TUPLE_INT_TEXT = b"\x00\x31\x00\x02" + INT + TEXT

Columns = tuple[tuple[str, bytes], ...]
WIDE: Columns = (
    ("pk", INT), ("ck", INT), ("a", TEXT), ("b", BIGINT), ("c", DOUBLE), ("d", BOOLEAN), ("e", TIMESTAMP),
    ("f", UUID), ("g", BLOB), ("h", INT),
)  # fmt: skip
COLLECTIONS: Columns = (
    ("pk", INT), ("ck", INT), ("l", LIST_INT), ("m", MAP_TEXT_INT), ("st", SET_TEXT), ("t", TUPLE_INT_TEXT),
)  # fmt: skip
SINK: Columns = (
    ("id", TEXT), ("name", TEXT), ("age", INT), ("score", DOUBLE), ("ok", BOOLEAN), ("ts", TIMESTAMP),
    ("uid", UUID), ("tags", LIST_TEXT),
)  # fmt: skip
GLOBAL_TABLE, NO_METADATA = 0x0001, 0x0004
ROWS, RESULT = 2, 8


def string(text: str) -> bytes:
    """A CQL [string]."""
    return struct.pack(">H", len(text)) + text.encode()


def value(data: bytes) -> bytes:
    """A CQL [value]."""
    return struct.pack(">i", len(data)) + data


def column_specs(table: str, columns: Columns) -> bytes:
    """The column part of result metadata, the table named once (GLOBAL_TABLE)."""
    return string("bench") + string(table) + b"".join(string(name) + kind for name, kind in columns)


def _int(number: int) -> bytes:
    return struct.pack(">i", number)


def _many(items: list[bytes], count: int | None = None) -> bytes:
    return _int(len(items) if count is None else count) + b"".join(map(value, items))


def wide_row(i: int) -> bytes:
    """Row `i` of bench.wide, ten values."""
    cells = (
        _int(1), _int(i), f"name-{i}".encode(), struct.pack(">q", i * 10**9), struct.pack(">d", i / 3),
        bytes((i % 2 == 0,)), struct.pack(">q", 1_767_225_600_000 + i * 1000), i.to_bytes(16, "big"), b"x" * 16,
        _int(i),
    )  # fmt: skip
    return b"".join(map(value, cells))


def collection_row(i: int) -> bytes:
    """Row `i` of bench.coll, six values."""
    number_list = _many([_int(i), _int(i + 1), _int(i + 2)])
    pairs = _many([b"a", _int(i), b"b", _int(2)], count=2)
    tuple_of_two = value(_int(i)) + value(b"z")
    return b"".join(map(value, (_int(1), _int(i), number_list, pairs, _many([b"x", b"y"]), tuple_of_two)))


def rows_body(columns: Columns, rows: list[bytes]) -> bytes:
    """The body of a RESULT of kind Rows without metadata, as a prepared statement's is answered."""
    return struct.pack(">IIII", ROWS, NO_METADATA, len(columns), len(rows)) + b"".join(rows)


def reply(version: int, stream: int, body: bytes) -> bytes:
    """A RESULT with its frame header."""
    return struct.pack(">BBHBI", 0x80 | version, 0, stream, RESULT, len(body)) + body


def segment(payload: bytes, self_contained: bool = True) -> bytes:
    """An uncompressed v5 segment (protocol v5, section 2.2)."""
    facts = (len(payload) | self_contained << 17).to_bytes(3, "little")
    crc = crc32(payload, crc32(b"\xfa\x2d\x55\xca"))
    return facts + crc24(facts).to_bytes(3, "little") + payload + crc.to_bytes(4, "little")


def crc24(data: bytes) -> int:
    """The checksum of a segment header (protocol v5, section 2.2)."""
    crc = 0x875060
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1974F0B if crc & 0x800000 else 0)
    return crc & 0xFFFFFF
