"""Bodies of the requests of protocol v3, v4 and v5 (section 4.1).

Layer: protocol; pure functions, for any greenlet. QUERY and EXECUTE come in parts, so that the hot path joins what is
the same for every execution of a statement with the encoded values: see RequestParts.

What a protocol version lacks raises UnsupportedOperation; what does not fit in the protocol's fields, ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from geventcql.cython.wire import batch_entries
from geventcql.errors import UnsupportedOperation
from geventcql.protocol import notation
from geventcql.protocol.constants import (
    PREPARE_KEYSPACE,
    QUERY_KEYSPACE,
    QUERY_NAMES_FOR_VALUES,
    QUERY_NOW_IN_SECONDS,
    QUERY_PAGE_SIZE,
    QUERY_PAGING_STATE,
    QUERY_SERIAL_CONSISTENCY,
    QUERY_SKIP_METADATA,
    QUERY_TIMESTAMP,
    QUERY_VALUES,
    BatchType,
    Opcode,
    ProtocolVersion,
)

NO_VALUES = b"\x00\x00"


class RequestParts(NamedTuple):
    """A QUERY or EXECUTE without its values: body = prefix + values + suffix.

    `values`: `<n:short>` and n [value]s (with names for values: [string] and [value] pairs), as the statement's
    BindEncoder gives them; b"" if the parts were made with has_values=False. `timestamp_at`: where in `suffix` the 8
    bytes of the client timestamp go (they are inserted, not there yet); -1 if the request has none.
    """

    opcode: int
    prefix: bytes
    suffix: bytes
    timestamp_at: int

    def body(self, values: bytes = b"", timestamp: int | None = None) -> bytes:
        """The whole body. `timestamp`: microseconds since 1970, given exactly if the parts have room for one."""
        if (timestamp is not None) != (self.timestamp_at >= 0):
            raise ValueError("a timestamp goes with parts made with_timestamp=True, and only with them")
        if timestamp is None:
            return self.prefix + values + self.suffix
        at = self.timestamp_at
        stamp = notation.long(timestamp, "timestamp")
        return b"".join((self.prefix, values, self.suffix[:at], stamp, self.suffix[at:]))


def startup(options: Mapping[str, str]) -> bytes:
    """STARTUP, section 4.1.1."""
    return notation.string_map(options)


def options() -> bytes:
    """OPTIONS, section 4.1.3."""
    return b""


def register(event_types: Iterable[str]) -> bytes:
    """REGISTER, section 4.1.8; `event_types`: some of constants.EVENT_TYPES."""
    return notation.string_list(event_types)


def auth_response(token: bytes | None) -> bytes:
    """AUTH_RESPONSE, section 4.1.2. None is sent as an empty token: Cassandra (AuthResponse) fails on null."""
    return notation.bytes_(token or b"")


def custom_payload(payload: Mapping[str, bytes | None], version: int = ProtocolVersion.V4) -> bytes:
    """The [bytes map] that stands before the body of a request with FLAG_CUSTOM_PAYLOAD; from v4 on."""
    if version < ProtocolVersion.V4:
        raise UnsupportedOperation(_lacks("custom payloads", version, ProtocolVersion.V4))
    return notation.bytes_map(payload)


def prepare(query: str | bytes, version: int, keyspace: str | None = None) -> bytes:
    """PREPARE, section 4.1.5; `keyspace`: where unqualified names of the query are looked up, from v5 on."""
    body = notation.long_string(query)
    if version < ProtocolVersion.V5:
        _check_v5(version, keyspace, None)
        return body
    if keyspace is None:
        return body + notation.int_(0)
    return body + notation.int_(PREPARE_KEYSPACE) + notation.string(keyspace, "keyspace")


def query_parts(
    version: int,
    query: str | bytes | None,
    consistency: int,
    *,
    has_values: bool = False,
    names_for_values: bool = False,
    skip_metadata: bool = False,
    page_size: int | None = None,
    paging_state: bytes | None = None,
    serial_consistency: int | None = None,
    with_timestamp: bool = False,
    keyspace: str | None = None,
    now_in_seconds: int | None = None,
) -> RequestParts:
    """QUERY, section 4.1.4.

    query: None if it is to be given in place of values, as a [long string]: then the parts fit any query without values.
    page_size: rows, None or 0 for no paging; paging_state: of the page before; keyspace, now_in_seconds: from v5 on.
    """
    flags = _value_flags(has_values, names_for_values, skip_metadata)
    flags, suffix, timestamp_at = _options(
        version, flags, page_size, paging_state, serial_consistency, with_timestamp, keyspace, now_in_seconds
    )
    head = notation.short(consistency, "consistency level") + _flags(flags, version)
    if query is None:
        return RequestParts(Opcode.QUERY, b"", head + suffix, timestamp_at if timestamp_at < 0 else len(head) + timestamp_at)
    return RequestParts(Opcode.QUERY, notation.long_string(query) + head, suffix, timestamp_at)


def execute_parts(
    version: int,
    query_id: bytes,
    result_metadata_id: bytes | None,
    consistency: int,
    *,
    has_values: bool = False,
    names_for_values: bool = False,
    skip_metadata: bool = False,
    page_size: int | None = None,
    paging_state: bytes | None = None,
    serial_consistency: int | None = None,
    with_timestamp: bool = False,
    keyspace: str | None = None,
    now_in_seconds: int | None = None,
) -> RequestParts:
    """EXECUTE, section 4.1.6. `result_metadata_id` (of the PREPARE answer) is sent, and needed, from v5 on.

    The other arguments are those of query_parts.
    """
    flags = _value_flags(has_values, names_for_values, skip_metadata)
    flags, suffix, timestamp_at = _options(
        version, flags, page_size, paging_state, serial_consistency, with_timestamp, keyspace, now_in_seconds
    )
    head = notation.short_bytes(query_id, "the statement's id")
    if version >= ProtocolVersion.V5:
        if result_metadata_id is None:
            raise ValueError("protocol v5 executes a statement with the id of its result metadata; there is none")
        head += notation.short_bytes(result_metadata_id, "the result metadata's id")
    head += notation.short(consistency, "consistency level")
    return RequestParts(Opcode.EXECUTE, head + _flags(flags, version), suffix, timestamp_at)


def batch_body(
    version: int,
    batch_type: BatchType | int,
    queries: Sequence[tuple[bool, bytes, bytes]],
    consistency: int,
    serial_consistency: int | None = None,
    timestamp: int | None = None,
    keyspace: str | None = None,
    now_in_seconds: int | None = None,
) -> bytes:
    """BATCH, section 4.1.7.

    `queries`: (is it prepared, its id or its text in UTF-8, `<n:short>` and n [value]s or b"" for none). `timestamp`:
    microseconds since 1970. keyspace, now_in_seconds: from v5 on.
    """
    kind = batch_type.value if isinstance(batch_type, BatchType) else batch_type
    parts = [bytes((kind,)), notation.short(len(queries), "statements in a batch"), batch_entries(list(queries))]
    flags, suffix, at = _options(
        version, 0, None, None, serial_consistency, timestamp is not None, keyspace, now_in_seconds
    )
    parts += (notation.short(consistency, "consistency level"), _flags(flags, version))
    if timestamp is None:
        parts.append(suffix)
    else:
        parts += (suffix[:at], notation.long(timestamp, "timestamp"), suffix[at:])
    return b"".join(parts)


def _value_flags(has_values: bool, names_for_values: bool, skip_metadata: bool) -> int:
    flags = QUERY_VALUES if has_values else 0
    if names_for_values:
        flags |= QUERY_NAMES_FOR_VALUES
    return flags | QUERY_SKIP_METADATA if skip_metadata else flags


def _flags(flags: int, version: int) -> bytes:
    return notation.int_(flags) if version >= ProtocolVersion.V5 else bytes((flags,))


def _options(
    version: int,
    flags: int,
    page_size: int | None,
    paging_state: bytes | None,
    serial_consistency: int | None,
    with_timestamp: bool,
    keyspace: str | None,
    now_in_seconds: int | None,
) -> tuple[int, bytes, int]:
    """(`flags` and those of what follows the values, what follows them, where in it the timestamp goes or -1)."""
    _check_v5(version, keyspace, now_in_seconds)
    before = b""
    if page_size:
        flags |= QUERY_PAGE_SIZE
        before += notation.int_(page_size, "page size")
    if paging_state:
        flags |= QUERY_PAGING_STATE
        before += notation.bytes_(paging_state)
    if serial_consistency is not None:
        flags |= QUERY_SERIAL_CONSISTENCY
        before += notation.short(serial_consistency, "serial consistency level")
    if with_timestamp:
        flags |= QUERY_TIMESTAMP
    after = b""
    if keyspace is not None:
        flags |= QUERY_KEYSPACE
        after += notation.string(keyspace, "keyspace")
    if now_in_seconds is not None:
        flags |= QUERY_NOW_IN_SECONDS
        after += notation.int_(now_in_seconds, "now_in_seconds")
    return flags, before + after, len(before) if with_timestamp else -1


def _check_v5(version: int, keyspace: str | None, now_in_seconds: int | None) -> None:
    if version >= ProtocolVersion.V5:
        return
    if keyspace is not None:
        raise UnsupportedOperation(_lacks(f"a keyspace per request ({keyspace!r})", version, ProtocolVersion.V5))
    if now_in_seconds is not None:
        raise UnsupportedOperation(_lacks("now_in_seconds", version, ProtocolVersion.V5))


def _lacks(feature: str, version: int, since: int) -> str:
    return f"protocol v{version} has no room for {feature}: that needs v{since} (Cluster.protocol_version, the server)"
