"""Decoding of what a client sends: one Request per envelope, strict about flags and about bytes left over.

Test support; imports nothing of geventcql. Source: native_protocol specs section 4.1 and the final v5's additions
(int flags, keyspace 0x80, now_in_seconds 0x100, result_metadata_id in EXECUTE, flags in PREPARE).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .values import Type, decode
from .wire import (
    FLAG_COMPRESSION,
    FLAG_CUSTOM_PAYLOAD,
    FLAG_TRACING,
    FLAG_USE_BETA,
    UNSET,
    Envelope,
    Opcode,
    Reader,
    Value,
    WireError,
)

if TYPE_CHECKING:
    from .fakenode import ServerConnection
    from .replies import Reply

QUERY_VALUES = 0x01
QUERY_SKIP_METADATA = 0x02
QUERY_PAGE_SIZE = 0x04
QUERY_PAGING_STATE = 0x08
QUERY_SERIAL_CONSISTENCY = 0x10
QUERY_TIMESTAMP = 0x20
QUERY_NAMES = 0x40
QUERY_KEYSPACE = 0x80
QUERY_NOW_IN_SECONDS = 0x100

_BATCH_FLAGS = QUERY_SERIAL_CONSISTENCY | QUERY_TIMESTAMP | QUERY_KEYSPACE | QUERY_NOW_IN_SECONDS
_WITH_PAYLOAD = (Opcode.QUERY, Opcode.PREPARE, Opcode.EXECUTE, Opcode.BATCH)


@dataclass
class Statement:
    """A statement that the node can prepare: its text, its bind markers and its result columns as (name, type)."""

    text: str
    binds: list[tuple[str, Type]]
    columns: list[tuple[str, Type]] | None
    pk_indexes: list[int]
    keyspace: str = "ks"
    table: str = "t"


@dataclass
class BatchEntry:
    """One statement of a BATCH: a text, or the id of a prepared statement (its text then filled in when known)."""

    text: str | None
    id: bytes | None
    values: list[Value]
    statement: Statement | None = None

    @property
    def params(self) -> list[Any]:
        return _params(self.values, self.statement)


@dataclass
class Request:
    """One decoded request. Fields that its opcode or its flags do not have stay None (or empty).

    `text`: of QUERY and PREPARE, and of EXECUTE when the node knows the id. `values` are raw: bytes, None or UNSET.
    `keyspace`: the one sent with the request (v5); `effective_keyspace`: that, or the one the connection is in.
    """

    opcode: Opcode
    version: int
    flags: int
    stream: int
    body: bytes
    connection: ServerConnection | None = field(default=None, repr=False)
    text: str | None = None
    id: bytes | None = None
    result_metadata_id: bytes | None = None
    statement: Statement | None = field(default=None, repr=False)
    values: list[Value] | None = None
    names: list[str] | None = None
    consistency: int | None = None
    query_flags: int = 0
    page_size: int | None = None
    paging_state: bytes | None = None
    serial_consistency: int | None = None
    timestamp: int | None = None
    keyspace: str | None = None
    now_in_seconds: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    token: bytes | None = None
    batch_type: int | None = None
    entries: list[BatchEntry] = field(default_factory=list)
    payload: dict[str, bytes | None] | None = None
    answered: bool = False

    @property
    def tracing(self) -> bool:
        return bool(self.flags & FLAG_TRACING)

    @property
    def skip_metadata(self) -> bool:
        return bool(self.query_flags & QUERY_SKIP_METADATA)

    @property
    def effective_keyspace(self) -> str | None:
        if self.keyspace is not None or self.connection is None:
            return self.keyspace
        return self.connection.keyspace

    @property
    def params(self) -> list[Any]:
        """The values as Python values, by the statement's bind types; ValueError when those are not known."""
        return _params(self.values or [], self.statement)

    def answer(self, *replies: Reply) -> None:
        """Send replies now: for requests whose rule said NEVER, or a second time."""
        if self.connection is None:
            raise ValueError("this request came over no connection")
        for reply in replies:
            self.connection.reply(self, reply)


def _params(values: Sequence[Value], statement: Statement | None) -> list[Any]:
    if statement is None:
        raise ValueError("values of a statement that the node has not prepared have no types")
    return [
        value if value is UNSET else decode(bind_type, value)  # type: ignore[arg-type]
        for value, (_, bind_type) in zip(values, statement.binds, strict=False)
    ]


def decode_request(envelope: Envelope) -> Request:
    """Decode one request envelope of v3, v4 or v5; WireError for anything a correct client would not send."""
    if envelope.response:
        raise WireError("a response envelope sent by a client")
    if envelope.stream < 0:
        raise WireError(f"stream {envelope.stream} sent by a client")
    try:
        opcode = Opcode(envelope.opcode)
        decode_body = _DECODERS[opcode]
    except (ValueError, KeyError) as e:
        raise WireError(f"opcode 0x{envelope.opcode:02x} is no request") from e
    known = FLAG_COMPRESSION | FLAG_TRACING | FLAG_USE_BETA | (FLAG_CUSTOM_PAYLOAD if envelope.version >= 4 else 0)
    if envelope.flags & ~known:
        raise WireError(f"header flags 0x{envelope.flags:02x} in v{envelope.version}")
    request = Request(opcode, envelope.version, envelope.flags, envelope.stream, envelope.body)
    reader = Reader(envelope.body)
    if envelope.flags & FLAG_CUSTOM_PAYLOAD:
        if opcode not in _WITH_PAYLOAD:
            raise WireError(f"{opcode.name} with a custom payload")
        request.payload = reader.bytes_map()
    decode_body(request, reader)
    reader.end()
    return request


def _startup(request: Request, reader: Reader) -> None:
    request.options = reader.string_map()
    if "CQL_VERSION" not in request.options:
        raise WireError("STARTUP without CQL_VERSION")


def _nothing(request: Request, reader: Reader) -> None:
    """OPTIONS has an empty body."""


def _register(request: Request, reader: Reader) -> None:
    request.events = reader.string_list()


def _auth_response(request: Request, reader: Reader) -> None:
    request.token = reader.bytes_()


def _query(request: Request, reader: Reader) -> None:
    request.text = reader.long_string()
    _parameters(request, reader)


def _execute(request: Request, reader: Reader) -> None:
    request.id = reader.short_bytes()
    if request.version >= 5:
        request.result_metadata_id = reader.short_bytes()
    _parameters(request, reader)


def _prepare(request: Request, reader: Reader) -> None:
    request.text = reader.long_string()
    if request.version >= 5:
        request.query_flags = reader.int_()
        if request.query_flags & ~0x01:
            raise WireError(f"PREPARE flags 0x{request.query_flags:x}")
        if request.query_flags & 0x01:
            request.keyspace = reader.string()


def _flags(request: Request, reader: Reader, known: int) -> int:
    flags = reader.int_() if request.version >= 5 else reader.byte()
    if flags & ~(known if request.version >= 5 else known & 0x7F):
        raise WireError(f"{request.opcode.name} flags 0x{flags:x} in v{request.version}")
    request.query_flags = flags
    return flags


def _parameters(request: Request, reader: Reader) -> None:
    request.consistency = reader.short()
    flags = _flags(request, reader, 0x1FF)
    if flags & QUERY_VALUES:
        request.values = []
        request.names = [] if flags & QUERY_NAMES else None
        for _ in range(reader.short()):
            if request.names is not None:
                request.names.append(reader.string())
            request.values.append(reader.value(request.version))
    elif flags & QUERY_NAMES:
        raise WireError("names for values without values")
    if flags & QUERY_PAGE_SIZE:
        request.page_size = reader.int_()
    if flags & QUERY_PAGING_STATE:
        request.paging_state = reader.bytes_()
    _trailer(request, reader, flags)


def _trailer(request: Request, reader: Reader, flags: int) -> None:
    """What ends QUERY, EXECUTE and BATCH alike."""
    if flags & QUERY_SERIAL_CONSISTENCY:
        request.serial_consistency = reader.short()
        if request.serial_consistency not in (0x08, 0x09):
            raise WireError(f"serial consistency 0x{request.serial_consistency:04x}")
    if flags & QUERY_TIMESTAMP:
        request.timestamp = reader.long()
    if flags & QUERY_KEYSPACE:
        request.keyspace = reader.string()
    if flags & QUERY_NOW_IN_SECONDS:
        request.now_in_seconds = reader.int_()


def _batch(request: Request, reader: Reader) -> None:
    request.batch_type = reader.byte()
    if request.batch_type > 2:
        raise WireError(f"batch type {request.batch_type}")
    for _ in range(reader.short()):
        kind = reader.byte()
        if kind > 1:
            raise WireError(f"batch query kind {kind}")
        text = None if kind else reader.long_string()
        statement_id = reader.short_bytes() if kind else None
        values = [reader.value(request.version) for _ in range(reader.short())]
        request.entries.append(BatchEntry(text, statement_id, values))
    request.consistency = reader.short()
    _trailer(request, reader, _flags(request, reader, _BATCH_FLAGS))


_DECODERS = {
    Opcode.STARTUP: _startup,
    Opcode.OPTIONS: _nothing,
    Opcode.QUERY: _query,
    Opcode.PREPARE: _prepare,
    Opcode.EXECUTE: _execute,
    Opcode.BATCH: _batch,
    Opcode.REGISTER: _register,
    Opcode.AUTH_RESPONSE: _auth_response,
}
