"""Responses of protocol v3, v4 and v5 (section 4.2), decoded from bodies.

Layer: protocol; pure. This is the way of everything but rows on the hot path: handshakes, PREPARE answers, errors,
events, schema changes; the reader of a connection and driver greenlets call it. Rows of applications go through the
compiled core, which reads the same layout; `Rows` here serves the control connection and tests.

Bytes that follow a message are ignored (section 1). A truncated or contradictory one raises FrameError naming the
field, one that no version of the protocol has NotSupportedError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from geventcql.cython.codecs import ColumnSpec, RowDecoder, read_columns
from geventcql.errors import ErrorMessage, FrameError, NotSupportedError, ProtocolError
from geventcql.protocol.constants import (
    FLAG_CUSTOM_PAYLOAD,
    FLAG_TRACING,
    FLAG_WARNING,
    RESULT_KIND_PREPARED,
    RESULT_KIND_ROWS,
    RESULT_KIND_SCHEMA_CHANGE,
    RESULT_KIND_SET_KEYSPACE,
    RESULT_KIND_VOID,
    ROWS_GLOBAL_TABLE_SPEC,
    ROWS_HAS_MORE_PAGES,
    ROWS_METADATA_CHANGED,
    ROWS_NO_METADATA,
    Opcode,
    ProtocolVersion,
    SchemaTargetType,
    UserAggregateDescriptor,
    UserFunctionDescriptor,
)
from geventcql.protocol.errormessages import read_error
from geventcql.protocol.notation import Reader

UserTypes = Mapping[tuple[str, str], type]
Envelope = tuple[UUID | None, list[str] | None, dict[str, bytes | None] | None, int]


class Message:
    """What a server sends. `trace_id`, `warnings`, `custom_payload`: of the envelope, None where it has none.

    Two messages are equal if they are of one class and their fields are; what the envelope held does not count. (Not
    dataclasses: making a dozen of those takes longer than the rest of this module's import.)
    """

    opcode: ClassVar[Opcode]
    trace_id: UUID | None = None
    warnings: list[str] | None = None
    custom_payload: dict[str, bytes | None] | None = None

    def fields(self) -> dict[str, Any]:
        """What the message itself holds, by name."""
        return {name: value for name, value in vars(self).items() if name not in _ENVELOPE}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message) or type(other) is not type(self):
            return NotImplemented
        return self.fields() == other.fields()

    __hash__ = None  # type: ignore[assignment]  # they can be changed

    def __repr__(self) -> str:
        told = [f"{name}=..." if name in _UNSHOWN else f"{name}={value!r}" for name, value in self.fields().items()]
        return f"{type(self).__name__}({', '.join(told)})"


_UNSHOWN = frozenset(("token", "rows"))
"""What neither logs nor errors are to carry: secrets, and what applications keep."""
_ENVELOPE = frozenset(("trace_id", "warnings", "custom_payload"))


class Ready(Message):
    """Section 4.2.2: the connection takes requests."""

    opcode = Opcode.READY


class Authenticate(Message):
    """Section 4.2.3; `authenticator`: class name of the server's IAuthenticator."""

    opcode = Opcode.AUTHENTICATE

    def __init__(self, authenticator: str) -> None:
        self.authenticator = authenticator


class Supported(Message):
    """Section 4.2.4; `options`: name to the values that the server offers."""

    opcode = Opcode.SUPPORTED

    def __init__(self, options: dict[str, list[str]]) -> None:
        self.options = options


class AuthChallenge(Message):
    """Section 4.2.7."""

    opcode = Opcode.AUTH_CHALLENGE

    def __init__(self, token: bytes | None) -> None:
        self.token = token


class AuthSuccess(Message):
    """Section 4.2.8."""

    opcode = Opcode.AUTH_SUCCESS

    def __init__(self, token: bytes | None) -> None:
        self.token = token


class Event(Message):
    """Section 4.2.6. `event_args` as cassandra-driver hands them to its handlers; {} for a type we do not know.

    TOPOLOGY_CHANGE and STATUS_CHANGE: change_type, address (a pair of text and port); SCHEMA_CHANGE:
    SchemaChange.schema_change_event, and `schema_change` is the SchemaChange itself.
    """

    opcode = Opcode.EVENT

    def __init__(
        self, event_type: str, event_args: dict[str, Any], schema_change: SchemaChange | None = None
    ) -> None:
        self.event_type = event_type
        self.event_args = event_args
        self.schema_change = schema_change


class ResultMessage(Message):
    """Section 4.2.5: an answer to QUERY, EXECUTE, BATCH or PREPARE; `kind` is one of constants.RESULT_KIND_*."""

    opcode = Opcode.RESULT
    kind: ClassVar[int]


class Void(ResultMessage):
    """Done, nothing to tell."""

    kind = RESULT_KIND_VOID


class SetKeyspace(ResultMessage):
    """The connection's keyspace is `keyspace` now."""

    kind = RESULT_KIND_SET_KEYSPACE

    def __init__(self, keyspace: str) -> None:
        self.keyspace = keyspace


class SchemaChange(ResultMessage):
    """`change_type`, `target` (constants.SchemaChangeType, SchemaTargetType), `keyspace`, `name` of the target in it.

    `name` is None for a keyspace; `arguments`: CQL types of a function or an aggregate, else None.
    """

    kind = RESULT_KIND_SCHEMA_CHANGE

    def __init__(
        self,
        change_type: str,
        target: str,
        keyspace: str,
        name: str | None = None,
        arguments: list[str] | None = None,
    ) -> None:
        self.change_type = change_type
        self.target = target
        self.keyspace = keyspace
        self.name = name
        self.arguments = arguments

    @property
    def schema_change_event(self) -> dict[str, Any]:
        """As cassandra-driver has it: target_type, change_type, keyspace, and 'table', 'type', 'function' ..."""
        event: dict[str, Any] = {
            "target_type": self.target,
            "change_type": self.change_type,
            "keyspace": self.keyspace,
        }
        if self.name is None:
            return event
        value: Any = self.name
        if self.target == SchemaTargetType.FUNCTION:
            value = UserFunctionDescriptor(self.name, self.arguments or [])
        elif self.target == SchemaTargetType.AGGREGATE:
            value = UserAggregateDescriptor(self.name, self.arguments or [])
        event[self.target.lower()] = value
        return event


class Prepared(ResultMessage):
    """Section 4.2.5.4.

    query_id, result_metadata_id: for EXECUTE (the second from v5 on, else None); bind_columns: what to encode;
    pk_indexes: which of them make the partition key, in its order (from v4 on, else None); result_flags: ROWS_*;
    result_columns: what rows will have (() if none are known); result_raw: the bytes that those were read from.
    """

    kind = RESULT_KIND_PREPARED

    def __init__(
        self,
        query_id: bytes,
        result_metadata_id: bytes | None,
        bind_columns: tuple[ColumnSpec, ...],
        pk_indexes: tuple[int, ...] | None,
        result_flags: int,
        result_columns: tuple[ColumnSpec, ...],
        result_raw: bytes,
    ) -> None:
        self.query_id = query_id
        self.result_metadata_id = result_metadata_id
        self.bind_columns = bind_columns
        self.pk_indexes = pk_indexes
        self.result_flags = result_flags
        self.result_columns = result_columns
        self.result_raw = result_raw


class Rows(ResultMessage):
    """Section 4.2.5.2, whole. `decoder` is the one that read `rows` (plain tuples).

    paging_state: to ask for the next page with, None on the last; new_metadata_id: if the columns changed (v5).
    """

    kind = RESULT_KIND_ROWS

    def __init__(
        self,
        decoder: RowDecoder,
        rows: list[tuple[Any, ...]],
        paging_state: bytes | None,
        new_metadata_id: bytes | None,
    ) -> None:
        self.decoder = decoder
        self.rows = rows
        self.paging_state = paging_state
        self.new_metadata_id = new_metadata_id

    @property
    def columns(self) -> tuple[ColumnSpec, ...]:
        """The columns of the rows."""
        return self.decoder.columns

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.decoder.names

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as dictionaries by column name."""
        names = self.column_names
        return [dict(zip(names, row, strict=True)) for row in self.rows]


class RowsMetadata(NamedTuple):
    """The head of a Rows result, up to the row count; `columns` is None if it carries none (ROWS_NO_METADATA)."""

    flags: int
    column_count: int
    paging_state: bytes | None
    new_metadata_id: bytes | None
    columns: tuple[ColumnSpec, ...] | None
    raw: bytes


def read_envelope(flags: int, body: bytes, version: int) -> Envelope:
    """What the header flags announce before the message: (trace id, warnings, custom payload, where the message is).

    Section 4; in this order, None for each that is not there. v3 knows the trace id only.
    """
    reader = Reader(body)
    trace_id = reader.uuid("tracing id") if flags & FLAG_TRACING else None
    warnings = payload = None
    if version >= ProtocolVersion.V4:
        if flags & FLAG_WARNING:
            warnings = [reader.text("warning") for _ in range(reader.short("number of warnings"))]
        if flags & FLAG_CUSTOM_PAYLOAD:
            payload = reader.bytes_map("custom payload")
    return trace_id, warnings, payload, reader.pos


def decode(
    opcode: int,
    flags: int,
    body: bytes,
    version: int,
    user_types: UserTypes | None = None,
    decoder: RowDecoder | None = None,
) -> Message | ErrorMessage:
    """The message in a (decompressed) frame body.

    opcode, flags: of the frame's header; user_types: (keyspace, type name) to the class its values become; decoder:
    for rows that come without metadata. Raises FrameError or another ProtocolError.
    """
    read = _READERS.get(opcode)
    if read is None:
        raise NotSupportedError(f"the server sent a message with opcode 0x{opcode:02x}, which is no response")
    trace_id, warnings, payload, pos = read_envelope(flags, body, version)
    message = read(Reader(body, pos), version, user_types, decoder)
    message.trace_id = trace_id
    message.warnings = warnings
    message.custom_payload = payload
    return message


def read_rows_metadata(reader: Reader, version: int, user_types: UserTypes | None) -> RowsMetadata:
    """<metadata> of section 4.2.5.2, of rows or, in a PREPARE answer, of the rows to come. Only v5 has a new metadata id."""
    flags = reader.int_("flags of the result metadata")
    count = reader.count("number of columns")
    paging_state = reader.bytes_("paging state") if flags & ROWS_HAS_MORE_PAGES else None
    changed = flags & ROWS_METADATA_CHANGED and version >= ProtocolVersion.V5
    new_id = reader.short_bytes("result metadata id") if changed else None
    if flags & ROWS_NO_METADATA:
        return RowsMetadata(flags, count, paging_state, new_id, None, b"")
    start = reader.pos
    columns, reader.pos = read_columns(reader.body, start, flags, count, user_types)
    return RowsMetadata(flags, count, paging_state, new_id, columns, reader.body[start : reader.pos])


def _rows(reader: Reader, version: int, user_types: UserTypes | None, decoder: RowDecoder | None) -> Rows:
    metadata = read_rows_metadata(reader, version, user_types)
    if metadata.columns is not None:  # what a body says of itself holds, whatever the statement was prepared with
        decoder = RowDecoder(metadata.columns, metadata.raw)
    elif decoder is None:
        raise ProtocolError("the server sent rows without metadata, and they were not asked for so")
    elif metadata.column_count != len(decoder.columns):
        raise ProtocolError(
            f"the server sent rows of {metadata.column_count} columns, the statement has {len(decoder.columns)}"
        )
    count = reader.count("number of rows")
    if count * max(1, metadata.column_count) * 4 > len(reader.body) - reader.pos:  # each cell has a length of 4 bytes
        raise FrameError(f"bad message: {count} rows of {metadata.column_count} columns do not fit in its body")
    if count and not metadata.column_count:
        raise FrameError(f"bad message: {count} rows without columns")
    rows, reader.pos = decoder.decode_rows(reader.body, reader.pos, count, None)
    return Rows(decoder, rows, metadata.paging_state, metadata.new_metadata_id)


def _prepared(reader: Reader, version: int, user_types: UserTypes | None) -> Prepared:
    query_id = reader.short_bytes("the statement's id")
    metadata_id = reader.short_bytes("result metadata id") if version >= ProtocolVersion.V5 else None
    flags = reader.int_("flags of the bind metadata")
    count = reader.count("number of bind columns")
    pk_indexes = None
    if version >= ProtocolVersion.V4:
        pk_count = reader.count("number of partition key columns")
        if pk_count > 0xFFFF:  # more than there are parameters is right: a named one may stand for several columns
            raise FrameError(f"bad message: {pk_count} columns of a partition key")
        pk_indexes = tuple([reader.short("index of a partition key column") for _ in range(pk_count)])
    bind_columns, reader.pos = read_columns(reader.body, reader.pos, flags & ROWS_GLOBAL_TABLE_SPEC, count, user_types)
    if pk_indexes and max(pk_indexes) >= count:
        raise ProtocolError(f"a statement with {count} parameters has its partition key at {pk_indexes}")
    result = read_rows_metadata(reader, version, user_types)
    return Prepared(
        query_id, metadata_id, bind_columns, pk_indexes, result.flags, result.columns or (), result.raw
    )


def _schema_change(reader: Reader) -> SchemaChange:
    change_type = reader.string("kind of schema change")
    target = reader.string("target of the schema change")
    change = SchemaChange(change_type, target, reader.string("keyspace of the schema change"))
    if target != SchemaTargetType.KEYSPACE:
        change.name = reader.string("name of what changed")
    if target in (SchemaTargetType.FUNCTION, SchemaTargetType.AGGREGATE):
        change.arguments = reader.string_list("argument types")
    return change


def _result(
    reader: Reader, version: int, user_types: UserTypes | None, decoder: RowDecoder | None
) -> ResultMessage:
    kind = reader.int_("kind of result")
    if kind == RESULT_KIND_VOID:
        return Void()
    if kind == RESULT_KIND_ROWS:
        return _rows(reader, version, user_types, decoder)
    if kind == RESULT_KIND_SET_KEYSPACE:
        return SetKeyspace(reader.string("keyspace"))
    if kind == RESULT_KIND_PREPARED:
        return _prepared(reader, version, user_types)
    if kind == RESULT_KIND_SCHEMA_CHANGE:
        return _schema_change(reader)
    raise NotSupportedError(f"the server sent a RESULT of the unknown kind {kind}")


def _event(reader: Reader) -> Event:
    event_type = reader.string("type of event").upper()
    if event_type == "SCHEMA_CHANGE":
        change = _schema_change(reader)
        return Event(event_type, change.schema_change_event, change)
    if event_type in ("TOPOLOGY_CHANGE", "STATUS_CHANGE"):
        change_type = reader.string("kind of change")
        return Event(event_type, {"change_type": change_type, "address": reader.inet("address of the node")})
    return Event(event_type, {})


_Read = Callable[[Reader, int, UserTypes | None, RowDecoder | None], Message | ErrorMessage]
_READERS: dict[int, _Read] = {
    Opcode.ERROR: lambda reader, version, types, decoder: read_error(reader, version),
    Opcode.READY: lambda reader, version, types, decoder: Ready(),
    Opcode.AUTHENTICATE: lambda reader, version, types, decoder: Authenticate(reader.string("authenticator")),
    Opcode.SUPPORTED: lambda reader, version, types, decoder: Supported(reader.string_multimap("supported options")),
    Opcode.RESULT: _result,
    Opcode.EVENT: lambda reader, version, types, decoder: _event(reader),
    Opcode.AUTH_CHALLENGE: lambda reader, version, types, decoder: AuthChallenge(reader.bytes_("challenge")),
    Opcode.AUTH_SUCCESS: lambda reader, version, types, decoder: AuthSuccess(reader.bytes_("token")),
}
