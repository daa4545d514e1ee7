"""What the fake node can answer: messages, and the ways in which an answer can go wrong on its way.

Test support; imports nothing of geventcql. A Reply is immutable: the modifiers (`after`, `cut`, `drip`, ...) give
changed copies, so one Rows can serve many requests (its rows are encoded once).
Source: native_protocol specs sections 4.2 and 9.
"""

from __future__ import annotations

import copy
import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from . import wire
from .requests import Request, Statement
from .values import Type, TypeLike, encode, option, parse
from .wire import Opcode

if TYPE_CHECKING:
    from gevent.event import Event

    from .fakenode import ServerConnection

R = TypeVar("R", bound="Reply")

Column = tuple[str, TypeLike]
Handler = Callable[[Request, "ServerConnection"], "Reply | Sequence[Reply] | None"]

NEVER = None
"""In place of a reply: the request is never answered (until the test calls `request.answer`)."""

_GLOBAL_SPEC, _MORE_PAGES, _NO_METADATA, _METADATA_CHANGED = 0x01, 0x02, 0x04, 0x08


class ErrorCode(IntEnum):
    """Codes of ERROR (section 9)."""

    SERVER_ERROR = 0x0000
    PROTOCOL_ERROR = 0x000A
    BAD_CREDENTIALS = 0x0100
    UNAVAILABLE = 0x1000
    OVERLOADED = 0x1001
    IS_BOOTSTRAPPING = 0x1002
    TRUNCATE_ERROR = 0x1003
    WRITE_TIMEOUT = 0x1100
    READ_TIMEOUT = 0x1200
    READ_FAILURE = 0x1300
    FUNCTION_FAILURE = 0x1400
    WRITE_FAILURE = 0x1500
    CDC_WRITE_FAILURE = 0x1600
    CAS_WRITE_UNKNOWN = 0x1700
    SYNTAX_ERROR = 0x2000
    UNAUTHORIZED = 0x2100
    INVALID = 0x2200
    CONFIG_ERROR = 0x2300
    ALREADY_EXISTS = 0x2400
    UNPREPARED = 0x2500


class Reply:
    """Base of all replies: a message and how it is sent.

    Attributes set by the modifiers: `delay` seconds, `gate` (an Event to wait for), `stream` (None: the request's),
    `version` (None: the connection's), `warnings`, `trace`, `payload`, `copies`, `trailing` bytes added to the body,
    `claimed` length in the header (None: the body's), `overwritten` (offsets and the bytes that the body has there), and
    for the transport `cut_at` (with `rst`), `corrupted`, `drips` (with `pause`).
    """

    delay: float = 0.0
    gate: Event | None = None
    stream: int | None = None
    version: int | None = None
    warnings: tuple[str, ...] = ()
    trace: uuid.UUID | None = None
    payload: Mapping[str, bytes | None] | None = None
    copies: int = 1
    trailing: bytes = b""
    claimed: int | None = None
    overwritten: tuple[tuple[int, bytes], ...] = ()
    cut_at: int | None = None
    rst: bool = False
    corrupted: str | None = None
    drips: tuple[int, ...] | None = None
    pause: float = 0.0

    def message(self, request: Request) -> tuple[int, bytes]:
        """(opcode, body without the prefix that header flags announce)."""
        raise NotImplementedError

    def but(self: R, **changes: Any) -> R:
        """A copy with these attributes changed."""
        other = copy.copy(self)
        for name in changes:
            if not hasattr(self, name):
                raise AttributeError(f"{type(self).__name__} has no {name}")
        other.__dict__.update(changes)
        return other

    def after(self: R, seconds: float) -> R:
        """Sent that much later; replies to other requests overtake it."""
        return self.but(delay=seconds)

    def when(self: R, gate: Event) -> R:
        """Sent once the gevent Event is set; replies to other requests overtake it."""
        return self.but(gate=gate)

    def on_stream(self: R, stream: int) -> R:
        """With another stream id than the request's."""
        return self.but(stream=stream)

    def in_version(self: R, version: int) -> R:
        """With another protocol version in the header."""
        return self.but(version=version)

    def times(self: R, copies: int) -> R:
        """Sent that many times over."""
        return self.but(copies=copies)

    def with_warnings(self: R, *warnings: str) -> R:
        return self.but(warnings=warnings)

    def with_trace(self: R, trace: uuid.UUID) -> R:
        return self.but(trace=trace)

    def with_payload(self: R, payload: Mapping[str, bytes | None]) -> R:
        return self.but(payload=payload)

    def with_trailing(self: R, raw: bytes) -> R:
        """Bytes at the end of the body that clients must ignore."""
        return self.but(trailing=raw)

    def claiming(self: R, length: int) -> R:
        """With a header that tells another length of the body; a negative one is told in two's complement."""
        return self.but(claimed=length)

    def overwrite(self: R, at: int, raw: bytes) -> R:
        """With other bytes in the body from the offset `at` on (from its end if negative), such as a false length."""
        return self.but(overwritten=(*self.overwritten, (at, raw)))

    def cut(self: R, at: int, rst: bool = False) -> R:
        """Send the first `at` bytes of what goes on the wire, then close: with FIN, or with RST.

        TLS peers see the TCP connection end without a close_notify.
        """
        return self.but(cut_at=at, rst=rst)

    def corrupt(self: R, what: str = "payload_crc") -> R:
        """v5: flip a bit in the segment's 'header', 'header_crc', 'payload' or 'payload_crc'."""
        return self.but(corrupted=what)

    def drip(self: R, *cuts: int, pause: float = 0.0) -> R:
        """Send in pieces cut at these offsets (none: byte by byte), a turn of the hub or `pause` seconds apart."""
        return self.but(drips=cuts, pause=pause)

    def envelope(self, request: Request, connection_version: int) -> wire.Envelope:
        """The uncompressed envelope that answers `request`."""
        opcode, body = self.message(request)
        version = connection_version if self.version is None else self.version
        flags, prefix = 0, b""
        if self.trace is not None:
            flags, prefix = wire.FLAG_TRACING, self.trace.bytes
        if self.warnings:
            flags, prefix = flags | wire.FLAG_WARNING, prefix + wire.string_list(self.warnings)
        if self.payload is not None:
            flags, prefix = flags | wire.FLAG_CUSTOM_PAYLOAD, prefix + wire.bytes_map(self.payload)
        for at, raw in self.overwritten:
            at %= len(body)
            body = body[:at] + raw + body[at + len(raw) :]
        stream = request.stream if self.stream is None else self.stream
        body = prefix + body + self.trailing
        return wire.Envelope(version, flags, stream, opcode, body, response=True, claimed=self.claimed)

    def __repr__(self) -> str:
        inside = ", ".join(f"{k}={v!r:.80}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({inside})"


class Raw(Reply):
    """Bytes put on the wire as they are: no envelope, no segment (but inside TLS)."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class Message(Reply):
    """Any opcode with any body."""

    def __init__(self, opcode: int, body: bytes = b"") -> None:
        self.opcode = opcode
        self.body = body

    def message(self, request: Request) -> tuple[int, bytes]:
        return self.opcode, self.body


class Close(Reply):
    """Close the connection instead of answering: with FIN, or with RST."""

    def __init__(self, rst: bool = False) -> None:
        self.rst = rst


class Ready(Message):
    def __init__(self) -> None:
        super().__init__(Opcode.READY)


class Authenticate(Message):
    def __init__(self, authenticator: str = "org.apache.cassandra.auth.PasswordAuthenticator") -> None:
        super().__init__(Opcode.AUTHENTICATE, wire.string(authenticator))


class AuthChallenge(Message):
    def __init__(self, token: bytes | None) -> None:
        super().__init__(Opcode.AUTH_CHALLENGE, wire.bytes_(token))


class AuthSuccess(Message):
    def __init__(self, token: bytes | None = None) -> None:
        super().__init__(Opcode.AUTH_SUCCESS, wire.bytes_(token))


class Supported(Message):
    def __init__(self, options: Mapping[str, Sequence[str]]) -> None:
        super().__init__(Opcode.SUPPORTED, wire.string_multimap(options))


class Void(Message):
    def __init__(self) -> None:
        super().__init__(Opcode.RESULT, wire.int_(0x0001))


class SetKeyspace(Message):
    """The answer to USE; the connection is in that keyspace from then on."""

    def __init__(self, keyspace: str) -> None:
        super().__init__(Opcode.RESULT, wire.int_(0x0003) + wire.string(keyspace))
        self.keyspace = keyspace


def _schema_change(change: str, target: str, keyspace: str, name: str | None, arguments: Sequence[str]) -> bytes:
    body = wire.string(change) + wire.string(target) + wire.string(keyspace)
    if target != "KEYSPACE":
        body += wire.string(name or "")
    if target in ("FUNCTION", "AGGREGATE"):
        body += wire.string_list(arguments)
    return body


class SchemaChange(Message):
    """RESULT of kind Schema_change: change CREATED, UPDATED or DROPPED; target KEYSPACE, TABLE, TYPE, FUNCTION, ..."""

    def __init__(
        self, change: str, target: str, keyspace: str, name: str | None = None, arguments: Sequence[str] = ()
    ) -> None:
        super().__init__(
            Opcode.RESULT, wire.int_(0x0005) + _schema_change(change, target, keyspace, name, arguments)
        )


def metadata_id(columns: Iterable[tuple[str, Type]]) -> bytes:
    """The result metadata id (v5) of such columns."""
    digest = hashlib.md5(usedforsecurity=False)
    for name, column_type in columns:
        digest.update(wire.string(name) + option(column_type))
    return digest.digest()


def column_specs(columns: Sequence[tuple[str, Type]], keyspace: str, table: str, global_spec: bool = True) -> bytes:
    """[<global_table_spec>]<col_spec_1>... of Rows and Prepared metadata."""
    table_spec = wire.string(keyspace) + wire.string(table)
    each = b"" if global_spec else table_spec
    specs = [each + wire.string(name) + option(column_type) for name, column_type in columns]
    return (table_spec if global_spec else b"") + b"".join(specs)


class Rows(Reply):
    """RESULT of kind Rows.

    `columns`: (name, type) pairs; None takes those of the executed statement. `data`: sequences of Python values or of
    raw bytes. `paging_state`: set when more pages follow. `no_metadata`: None does what Cassandra does: skipped when
    the client asked for that, on v5 only if its metadata id is still right, else METADATA_CHANGED with the new id.
    `metadata_changed_id` forces that. `lwt`: metadata always sent and never announced as changed.
    """

    def __init__(
        self,
        columns: Sequence[Column] | None = None,
        data: Iterable[Sequence[Any]] = (),
        *,
        paging_state: bytes | None = None,
        metadata_changed_id: bytes | None = None,
        no_metadata: bool | None = None,
        lwt: bool = False,
        keyspace: str = "ks",
        table: str = "t",
        global_spec: bool = True,
    ) -> None:
        self.columns = None if columns is None else [(name, parse(t)) for name, t in columns]
        self.data = list(data)
        self.paging_state = paging_state
        self.metadata_changed_id = metadata_changed_id
        self.no_metadata = no_metadata
        self.lwt = lwt
        self.keyspace = keyspace
        self.table = table
        self.global_spec = global_spec
        self._content: tuple[list[tuple[str, Type]], bytes] | None = None

    def message(self, request: Request) -> tuple[int, bytes]:
        columns = self.columns
        if columns is None:
            columns = (request.statement.columns if request.statement else None) or []
        changed, skipped = self._metadata_choice(request, columns)
        flags = (
            (_GLOBAL_SPEC if self.global_spec and not skipped else 0)
            | (_MORE_PAGES if self.paging_state is not None else 0)
            | (_NO_METADATA if skipped else 0)
            | (_METADATA_CHANGED if changed is not None else 0)
        )
        parts = [wire.int_(0x0002), wire.int_(flags), wire.int_(len(columns))]
        if self.paging_state is not None:
            parts.append(wire.bytes_(self.paging_state))
        if changed is not None:
            parts.append(wire.short_bytes(changed))
        if not skipped:
            parts.append(column_specs(columns, self.keyspace, self.table, self.global_spec))
        parts += [wire.int_(len(self.data)), self._rows_content(columns)]
        return Opcode.RESULT, b"".join(parts)

    def _metadata_choice(self, request: Request, columns: Sequence[tuple[str, Type]]) -> tuple[bytes | None, bool]:
        changed = self.metadata_changed_id
        skipped = request.skip_metadata and changed is None and not self.lwt
        if request.opcode == Opcode.EXECUTE and request.version >= 5 and not self.lwt and changed is None:
            actual = metadata_id(columns)
            if actual != request.result_metadata_id:
                changed, skipped = actual, False
        return changed, skipped if self.no_metadata is None else self.no_metadata

    def _rows_content(self, columns: list[tuple[str, Type]]) -> bytes:
        if self._content is None or self._content[0] is not columns:
            cells = []
            for row in self.data:
                if len(row) != len(columns):
                    raise ValueError(f"a row of {len(row)} values for {len(columns)} columns: {row!r}")
                cells += [wire.bytes_(encode(t, value)) for value, (_, t) in zip(row, columns, strict=True)]
            self._content = columns, b"".join(cells)
        return self._content[1]


class Prepared(Reply):
    """RESULT of kind Prepared, for a statement; `id` and `result_metadata_id` default to what the node would give."""

    def __init__(
        self, statement: Statement, id: bytes | None = None, result_metadata_id: bytes | None = None
    ) -> None:
        self.statement = statement
        self.id = id
        self.result_metadata_id = result_metadata_id

    def message(self, request: Request) -> tuple[int, bytes]:
        s = self.statement
        parts = [wire.int_(0x0004), wire.short_bytes(self.id or statement_id(s.text, request.effective_keyspace))]
        if request.version >= 5:
            parts.append(wire.short_bytes(self.result_metadata_id or metadata_id(s.columns or ())))
        parts += [wire.int_(_GLOBAL_SPEC if s.binds else 0), wire.int_(len(s.binds))]
        if request.version >= 4:
            parts.append(wire.int_(len(s.pk_indexes)))
            parts += map(wire.short, s.pk_indexes)
        if s.binds:
            parts.append(column_specs(s.binds, s.keyspace, s.table))
        if s.columns:
            parts += [wire.int_(_GLOBAL_SPEC), wire.int_(len(s.columns)), column_specs(s.columns, s.keyspace, s.table)]
        else:
            parts += [wire.int_(_NO_METADATA), wire.int_(0)]
        return Opcode.RESULT, b"".join(parts)


def statement_id(text: str, keyspace: str | None) -> bytes:
    """The id that every fake node gives to a text prepared in a keyspace."""
    return hashlib.md5(((keyspace or "") + text).encode(), usedforsecurity=False).digest()


_ERROR_DEFAULTS: Mapping[str, Any] = {
    "consistency": 1,
    "required": 1,
    "alive": 0,
    "received": 0,
    "block_for": 1,
    "write_type": "SIMPLE",
    "data_present": False,
    "contentions": 0,
    "failures": {},
    "keyspace": "ks",
    "function": "f",
    "arg_types": (),
    "table": "t",
    "id": b"",
}


class Error(Reply):
    """ERROR with a code and the fields of that code, all with defaults.

    UNAVAILABLE: consistency, required, alive. Timeouts: consistency, received, block_for, and write_type (with
    contentions for CAS on v5) or data_present. Failures: also failures, a dict of address to reason code (v3 and v4 get
    its length). FUNCTION_FAILURE: keyspace, function, arg_types. ALREADY_EXISTS: keyspace, table. UNPREPARED: id.
    """

    def __init__(self, code: int, message: str = "made up by the fake node", **fields: Any) -> None:
        unknown = fields.keys() - _ERROR_DEFAULTS.keys()
        if unknown:
            raise TypeError(f"unknown error fields {sorted(unknown)}")
        self.code = code
        self.text = message
        self.fields = fields

    def message(self, request: Request) -> tuple[int, bytes]:
        get = {**_ERROR_DEFAULTS, **self.fields}.__getitem__
        body = wire.int_(self.code) + wire.string(self.text)
        if self.code == ErrorCode.UNAVAILABLE:
            body += wire.short(get("consistency")) + wire.int_(get("required")) + wire.int_(get("alive"))
        elif self.code in _COUNTED:
            body += wire.short(get("consistency")) + wire.int_(get("received")) + wire.int_(get("block_for"))
            if self.code in (ErrorCode.READ_FAILURE, ErrorCode.WRITE_FAILURE):
                body += wire.int_(len(get("failures")))
                if request.version >= 5:
                    reasons = get("failures").items()
                    body += b"".join(wire.inet_address(address) + wire.short(why) for address, why in reasons)
            if self.code in (ErrorCode.READ_TIMEOUT, ErrorCode.READ_FAILURE):
                body += wire.byte(bool(get("data_present")))
            elif self.code != ErrorCode.CAS_WRITE_UNKNOWN:
                body += wire.string(get("write_type"))
                if self.code == ErrorCode.WRITE_TIMEOUT and get("write_type") == "CAS" and request.version >= 5:
                    body += wire.short(get("contentions"))
        elif self.code == ErrorCode.FUNCTION_FAILURE:
            body += wire.string(get("keyspace")) + wire.string(get("function")) + wire.string_list(get("arg_types"))
        elif self.code == ErrorCode.ALREADY_EXISTS:
            body += wire.string(get("keyspace")) + wire.string(get("table"))
        elif self.code == ErrorCode.UNPREPARED:
            body += wire.short_bytes(get("id"))
        return Opcode.ERROR, body


_COUNTED = (
    ErrorCode.WRITE_TIMEOUT,
    ErrorCode.READ_TIMEOUT,
    ErrorCode.READ_FAILURE,
    ErrorCode.WRITE_FAILURE,
    ErrorCode.CAS_WRITE_UNKNOWN,
)


# --- events, section 4.2.6 -------------------------------------------------------------------------------------------


class PushedEvent(Message):
    """EVENT on stream -1; `kind` is what a client registers for."""

    def __init__(self, kind: str, body: bytes) -> None:
        super().__init__(Opcode.EVENT, wire.string(kind) + body)
        self.kind = kind
        self.stream = -1


def status_change(change: str, address: str, port: int) -> PushedEvent:
    """change: UP or DOWN."""
    return PushedEvent("STATUS_CHANGE", wire.string(change) + wire.inet(address, port))


def topology_change(change: str, address: str, port: int) -> PushedEvent:
    """change: NEW_NODE, REMOVED_NODE or MOVED_NODE."""
    return PushedEvent("TOPOLOGY_CHANGE", wire.string(change) + wire.inet(address, port))


def schema_event(
    change: str, target: str, keyspace: str, name: str | None = None, arguments: Sequence[str] = ()
) -> PushedEvent:
    """The SCHEMA_CHANGE event, with the fields of SchemaChange."""
    return PushedEvent("SCHEMA_CHANGE", _schema_change(change, target, keyspace, name, arguments))
