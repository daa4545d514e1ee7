"""The fake node's own codec of the CQL binary protocol: primitives, envelopes (v3-v5) and v5 segments.

Test support; imports nothing of geventcql, so that the driver and its tests cannot be wrong together.
Pure functions over bytes and two incremental decoders; whoever calls runs them.
Sources: native_protocol_v3/v4/v5.spec sections 2, 3 and 5, and the final v5's section 2 on framing.
"""

from __future__ import annotations

import ipaddress
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import lz4.block

MAX_SEGMENT_PAYLOAD = (1 << 17) - 1
MAX_BODY = 256 << 20

FLAG_COMPRESSION = 0x01
FLAG_TRACING = 0x02
FLAG_CUSTOM_PAYLOAD = 0x04
FLAG_WARNING = 0x08
FLAG_USE_BETA = 0x10


class Opcode(IntEnum):
    """Message opcodes (section 2.4)."""

    ERROR = 0x00
    STARTUP = 0x01
    READY = 0x02
    AUTHENTICATE = 0x03
    OPTIONS = 0x05
    SUPPORTED = 0x06
    QUERY = 0x07
    RESULT = 0x08
    PREPARE = 0x09
    EXECUTE = 0x0A
    REGISTER = 0x0B
    EVENT = 0x0C
    BATCH = 0x0D
    AUTH_CHALLENGE = 0x0E
    AUTH_RESPONSE = 0x0F
    AUTH_SUCCESS = 0x10


class WireError(Exception):
    """The bytes do not follow the protocol."""


class _Unset:
    def __repr__(self) -> str:
        return "<unset>"

    def __bool__(self) -> bool:
        return False


UNSET = _Unset()
"""A bound value of length -2 (v4 and later)."""

Value = bytes | None | _Unset


# --- primitives, section 3 -------------------------------------------------------------------------------------------


class Reader:
    """A cursor over one message body; every read past its end raises WireError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    def raw(self, n: int) -> bytes:
        end = self.pos + n
        if n < 0 or end > len(self.data):
            raise WireError(f"{n} bytes wanted at {self.pos} of {len(self.data)}")
        piece = self.data[self.pos : end]
        self.pos = end
        return piece

    def byte(self) -> int:
        return self.raw(1)[0]

    def short(self) -> int:
        return int.from_bytes(self.raw(2), "big")

    def int_(self) -> int:
        return int.from_bytes(self.raw(4), "big", signed=True)

    def long(self) -> int:
        return int.from_bytes(self.raw(8), "big", signed=True)

    def string(self) -> str:
        return self._utf8(self.raw(self.short()))

    def long_string(self) -> str:
        return self._utf8(self.raw(self.int_()))

    def short_bytes(self) -> bytes:
        return self.raw(self.short())

    def bytes_(self) -> bytes | None:
        n = self.int_()
        return None if n < 0 else self.raw(n)

    def value(self, version: int) -> Value:
        n = self.int_()
        if n >= 0:
            return self.raw(n)
        if n == -1 or version < 4:
            return None
        if n == -2:
            return UNSET
        raise WireError(f"value of length {n}")

    def uuid_(self) -> uuid.UUID:
        return uuid.UUID(bytes=self.raw(16))

    def string_list(self) -> list[str]:
        return [self.string() for _ in range(self.short())]

    def string_map(self) -> dict[str, str]:
        return {self.string(): self.string() for _ in range(self.short())}

    def string_multimap(self) -> dict[str, list[str]]:
        return {self.string(): self.string_list() for _ in range(self.short())}

    def bytes_map(self) -> dict[str, bytes | None]:
        return {self.string(): self.bytes_() for _ in range(self.short())}

    def inet(self) -> tuple[str, int]:
        return str(ipaddress.ip_address(self.raw(self.byte()))), self.int_()

    def end(self) -> None:
        """Raise WireError if anything is left: a client's request has no trailing bytes."""
        if self.pos != len(self.data):
            raise WireError(f"{len(self.data) - self.pos} bytes left at {self.pos} of {len(self.data)}")

    @staticmethod
    def _utf8(raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as e:
            raise WireError(f"string is not UTF-8: {e}") from e


def byte(n: int) -> bytes:
    return struct.pack(">B", n)


def short(n: int) -> bytes:
    return struct.pack(">H", n)


def int_(n: int) -> bytes:
    return struct.pack(">i", n)


def long(n: int) -> bytes:
    return struct.pack(">q", n)


def string(text: str) -> bytes:
    raw = text.encode()
    return short(len(raw)) + raw


def long_string(text: str) -> bytes:
    raw = text.encode()
    return int_(len(raw)) + raw


def short_bytes(raw: bytes) -> bytes:
    return short(len(raw)) + raw


def bytes_(raw: bytes | None) -> bytes:
    return int_(-1) if raw is None else int_(len(raw)) + raw


def string_list(items: Sequence[str]) -> bytes:
    return short(len(items)) + b"".join(map(string, items))


def string_map(items: Mapping[str, str]) -> bytes:
    return short(len(items)) + b"".join(string(k) + string(v) for k, v in items.items())


def string_multimap(items: Mapping[str, Sequence[str]]) -> bytes:
    return short(len(items)) + b"".join(string(k) + string_list(v) for k, v in items.items())


def bytes_map(items: Mapping[str, bytes | None]) -> bytes:
    return short(len(items)) + b"".join(string(k) + bytes_(v) for k, v in items.items())


def inet_address(address: str) -> bytes:
    """[inetaddr]: an address without a port."""
    raw = ipaddress.ip_address(address).packed
    return byte(len(raw)) + raw


def inet(address: str, port: int) -> bytes:
    return inet_address(address) + int_(port)


# --- envelopes, section 2 --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Envelope:
    """One message as it stands on the wire: `version` without the direction bit, `body` decompressed.

    `claimed`: the length that the header tells when it is not the body's.
    """

    version: int
    flags: int
    stream: int
    opcode: int
    body: bytes
    response: bool = False
    claimed: int | None = None


HEADER = struct.Struct(">BBhBI")


def encode_envelope(envelope: Envelope) -> bytes:
    """Header and body; a body flagged as compressed must have been compressed before."""
    direction = 0x80 if envelope.response else 0
    length = len(envelope.body) if envelope.claimed is None else envelope.claimed & 0xFFFFFFFF
    head = HEADER.pack(envelope.version | direction, envelope.flags, envelope.stream, envelope.opcode, length)
    return head + envelope.body


# --- compression, section 5 ------------------------------------------------------------------------------------------


def _snappy_compress(raw: bytes) -> bytes:
    import snappy

    return bytes(snappy.compress(raw))


def _snappy_decompress(raw: bytes) -> bytes:
    import snappy

    size = 0
    for index, byte in enumerate(raw[:5]):
        size |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            break
    if size > 64 * len(raw):  # its library takes the memory before it looks, and ends the process where there is none
        raise WireError(f"Snappy block of {len(raw)} bytes is announced as {size}")
    return bytes(snappy.decompress(raw))


def _lz4_decompress_body(raw: bytes) -> bytes:
    if len(raw) < 4:
        raise WireError("LZ4 body without its length")
    return lz4_decompress_block(raw[4:], int.from_bytes(raw[:4], "big"))


def _lz4_compress_body(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + lz4_compress_block(raw)


def lz4_compress_block(raw: bytes) -> bytes:
    """A bare LZ4 block, as v5 segments carry it."""
    return bytes(lz4.block.compress(raw, store_size=False))


def lz4_decompress_block(raw: bytes, size: int) -> bytes:
    """`size`: the exact length of the result; anything else raises WireError."""
    try:
        plain = bytes(lz4.block.decompress(raw, uncompressed_size=size))
    except lz4.block.LZ4BlockError as e:
        raise WireError(f"LZ4: {e}") from e
    if len(plain) != size:
        raise WireError(f"LZ4 block of {len(plain)} bytes was announced as {size}")
    return plain


BODY_COMPRESSORS: Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "lz4": (_lz4_compress_body, _lz4_decompress_body),
    "snappy": (_snappy_compress, _snappy_decompress),
}
"""(compress, decompress) of whole bodies, v3 and v4."""


# --- segments (v5) ---------------------------------------------------------------------------------------------------


def _crc24_table() -> list[int]:
    table = []
    for top in range(256):
        crc = top << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1974F0B
        table.append(crc)
    return table


_CRC24_TABLE = _crc24_table()
_CRC32_SEED = zlib.crc32(b"\xfa\x2d\x55\xca")


def crc24(header: bytes) -> int:
    """CRC of a segment header (polynomial 0x1974F0B, initial 0x875060)."""
    crc = 0x875060
    for octet in header:
        crc = ((crc << 8) & 0xFFFFFF) ^ _CRC24_TABLE[(crc >> 16) ^ octet]
    return crc


def crc32(payload: bytes) -> int:
    """CRC of a segment's payload as it stands on the wire (after compression)."""
    return zlib.crc32(payload, _CRC32_SEED)


def encode_segment(payload: bytes, self_contained: bool = True, compressed: bool = False) -> bytes:
    """One segment. `compressed`: LZ4 was agreed on; a payload that it does not shrink is then stored as it is."""
    if len(payload) > MAX_SEGMENT_PAYLOAD:
        raise ValueError(f"segment payload of {len(payload)} bytes")
    if not compressed:
        header = (len(payload) | self_contained << 17).to_bytes(3, "little")
    else:
        plain_length = len(payload)
        packed = lz4_compress_block(payload)
        if len(packed) < plain_length:
            payload = packed
        else:
            plain_length = 0
        header = (len(payload) | plain_length << 17 | self_contained << 34).to_bytes(5, "little")
    return b"".join((header, crc24(header).to_bytes(3, "little"), payload, crc32(payload).to_bytes(4, "little")))


def encode_segments(
    envelopes: Iterable[bytes], compressed: bool = False, max_payload: int = MAX_SEGMENT_PAYLOAD
) -> list[bytes]:
    """Encoded envelopes packed as Cassandra does: small ones together, a large one alone over several segments."""
    out: list[bytes] = []
    pending: list[bytes] = []
    size = 0
    for raw in envelopes:
        if pending and size + len(raw) > max_payload:
            out.append(encode_segment(b"".join(pending), True, compressed))
            pending, size = [], 0
        if len(raw) <= max_payload:
            pending.append(raw)
            size += len(raw)
        else:
            pieces = (raw[i : i + max_payload] for i in range(0, len(raw), max_payload))
            out.extend(encode_segment(piece, False, compressed) for piece in pieces)
    if pending:
        out.append(encode_segment(b"".join(pending), True, compressed))
    return out


def corrupt_segment(raw: bytes, what: str, compressed: bool = False) -> bytes:
    """Flip one bit of the first segment of `raw`: in its 'header', 'header_crc', 'payload' or 'payload_crc'."""
    size = 5 if compressed else 3
    length = int.from_bytes(raw[:size], "little") & MAX_SEGMENT_PAYLOAD
    at = {"header": 0, "header_crc": size, "payload": size + 3, "payload_crc": size + 3 + length}[what]
    return raw[:at] + bytes([raw[at] ^ 0x01]) + raw[at + 1 :]


class Decoder:
    """Cuts a byte stream into envelopes, however the bytes arrive.

    `segmented` and `compression` may be set between two calls of `next`: what is buffered is then read that way.
    """

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self.segmented = False
        self.compression: str | None = None
        self._max_body = max_body
        self._wire = bytearray()  # as received
        self._inner = bytearray()  # payloads of segments, not yet cut into envelopes
        self._contained = True  # the last segment was self-contained

    def feed(self, data: bytes) -> None:
        self._wire += data

    @property
    def pending(self) -> int:
        """Bytes that have not become an envelope yet."""
        return len(self._wire) + len(self._inner)

    def next(self) -> Envelope | None:
        """The next whole envelope, or None; WireError when the bytes are wrong."""
        if not self.segmented:
            return self._envelope(self._wire)
        while (envelope := self._envelope(self._inner)) is None:
            if self._contained and self._inner:
                raise WireError(f"a self-contained segment ends inside an envelope ({len(self._inner)} bytes left)")
            if not self._segment():
                return None
        return envelope

    def _envelope(self, buffer: bytearray) -> Envelope | None:
        if len(buffer) < HEADER.size:
            return None
        version, flags, stream, opcode, length = HEADER.unpack_from(buffer)
        if length > self._max_body:
            raise WireError(f"body of {length} bytes")
        end = HEADER.size + length
        if len(buffer) < end:
            return None
        body = bytes(buffer[HEADER.size : end])
        del buffer[:end]
        if flags & FLAG_COMPRESSION and not self.segmented:
            if self.compression is None:
                raise WireError("compressed body without agreed compression")
            body = BODY_COMPRESSORS[self.compression][1](body)
        return Envelope(version & 0x7F, flags, stream, opcode, body, bool(version & 0x80))

    def _segment(self) -> bool:
        wire = self._wire
        size = 5 if self.compression else 3
        if len(wire) < size + 3:
            return False
        raw_header = bytes(wire[:size])
        if crc24(raw_header) != int.from_bytes(wire[size : size + 3], "little"):
            raise WireError("CRC mismatch on a segment's header")
        header = int.from_bytes(raw_header, "little")
        length = header & MAX_SEGMENT_PAYLOAD
        end = size + 3 + length + 4
        if len(wire) < end:
            return False
        payload = bytes(wire[size + 3 : end - 4])
        if crc32(payload) != int.from_bytes(wire[end - 4 : end], "little"):
            raise WireError("CRC mismatch on a segment's payload")
        del wire[:end]
        if self.compression:
            plain_length = header >> 17 & MAX_SEGMENT_PAYLOAD
            if plain_length:
                payload = lz4_decompress_block(payload, plain_length)
            self._contained = bool(header >> 34 & 1)
        else:
            self._contained = bool(header >> 17 & 1)
        self._inner += payload
        return True
