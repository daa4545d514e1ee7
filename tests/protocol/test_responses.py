"""Responses: whole, cut at every place, with bytes behind; envelopes; results; what cassandra-driver reads in them."""

from __future__ import annotations

import io
import itertools
from typing import Any
from uuid import UUID

import cassandra.protocol
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.cython.codecs import RowDecoder, read_columns
from geventcql.errors import (
    DecodeError,
    FrameError,
    InvalidRequestException,
    NotSupportedError,
    ProtocolError,
)
from geventcql.protocol import responses
from geventcql.protocol.constants import (
    FLAG_COMPRESSED,
    FLAG_CUSTOM_PAYLOAD,
    FLAG_TRACING,
    FLAG_USE_BETA,
    FLAG_WARNING,
    Opcode,
    UserAggregateDescriptor,
    UserFunctionDescriptor,
)
from geventcql.protocol.responses import decode, read_envelope
from tests.protocol import octets as o
from tests.protocol.octets import check_three_ways, truncations

VERSIONS = (3, 4, 5)
TRACE = UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")
INT, TEXT, BLOB = o.b2(0x09), o.b2(0x0D), o.b2(0x03)

SIMPLE = [
    (Opcode.READY, b"", responses.Ready()),
    (Opcode.AUTHENTICATE, o.text("org.Auth"), responses.Authenticate("org.Auth")),
    (
        Opcode.SUPPORTED,
        o.multimap({"COMPRESSION": ["lz4", "snappy"], "CQL_VERSION": ["3.4.7"], "X": []}),
        responses.Supported({"COMPRESSION": ["lz4", "snappy"], "CQL_VERSION": ["3.4.7"], "X": []}),
    ),
    (Opcode.AUTH_CHALLENGE, o.blob(b"why"), responses.AuthChallenge(b"why")),
    (Opcode.AUTH_CHALLENGE, o.blob(None), responses.AuthChallenge(None)),
    (Opcode.AUTH_SUCCESS, o.blob(b""), responses.AuthSuccess(b"")),
    (Opcode.AUTH_SUCCESS, o.blob(None), responses.AuthSuccess(None)),
    (Opcode.RESULT, o.b4(1), responses.Void()),
    (Opcode.RESULT, o.b4(3) + o.text("ks"), responses.SetKeyspace("ks")),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("opcode", "body", "message"), SIMPLE)
def test_simple_messages(opcode: Opcode, body: bytes, message: Any, version: int) -> None:
    assert check_three_ways(lambda data: decode(opcode, 0, data, version), body) == message
    assert message.opcode == opcode


def test_messages_compare_by_class_and_fields_and_show_them() -> None:
    challenge = responses.AuthChallenge(b"x")
    assert challenge != responses.AuthSuccess(b"x")
    assert challenge != responses.AuthChallenge(b"y")
    assert challenge != b"x"
    challenge.warnings = ["of the envelope"]
    assert challenge == responses.AuthChallenge(b"x")
    assert repr(challenge) == "AuthChallenge(token=...)"
    assert repr(responses.Ready()) == "Ready()"
    with pytest.raises(TypeError, match="unhashable"):
        hash(challenge)


@pytest.mark.parametrize("version", VERSIONS)
def test_errors_come_as_exceptions_with_their_envelope(version: int) -> None:
    body = TRACE.bytes + o.b4(0x2200) + o.text("no such table")
    error = decode(Opcode.ERROR, FLAG_TRACING, body, version)
    assert isinstance(error, InvalidRequestException)
    assert (error.message, error.trace_id, error.warnings, error.custom_payload) == ("no such table", TRACE, None, None)


@pytest.mark.parametrize("opcode", [0x01, 0x04, 0x05, 0x07, 0x09, 0x0A, 0x0B, 0x0D, 0x0F, 0x11, 0xFF])
def test_opcodes_that_are_no_responses(opcode: int) -> None:
    with pytest.raises(NotSupportedError, match=f"0x{opcode:02x}"):
        decode(opcode, 0, b"", 4)


@pytest.mark.parametrize("kind", [0, 6, -1])
def test_kinds_of_result_that_are_unknown(kind: int) -> None:
    with pytest.raises(NotSupportedError, match=f"kind {kind}"):
        decode(Opcode.RESULT, 0, o.b4(kind), 4)


WARNINGS = ["tombstones", "naïve"]
PAYLOAD = {"a": b"x", "b": None}


def fits(tracing: bool, warning: bool, payload: bool, version: int) -> bool:
    """Whether the version has such an envelope: v3 has neither warnings nor payloads."""
    return version > 3 or not (warning or payload)


@pytest.mark.parametrize("extra", [0, FLAG_COMPRESSED | FLAG_USE_BETA | 0xE0])
@pytest.mark.parametrize(
    ("tracing", "warning", "payload", "version"),
    [case for case in itertools.product((False, True), (False, True), (False, True), VERSIONS) if fits(*case)],
)
def test_every_combination_of_the_envelope(
    tracing: bool, warning: bool, payload: bool, extra: int, version: int
) -> None:
    flags = extra | tracing * FLAG_TRACING | warning * FLAG_WARNING | payload * FLAG_CUSTOM_PAYLOAD
    prefix = tracing * TRACE.bytes + warning * o.texts(*WARNINGS) + payload * o.blob_map(PAYLOAD)
    expected = (
        TRACE if tracing else None,
        WARNINGS if warning else None,
        PAYLOAD if payload else None,
        len(prefix),
    )
    assert check_three_ways(lambda data: read_envelope(flags, data, version), prefix) == expected
    body = prefix + o.b4(3) + o.text("ks")
    message = check_three_ways(lambda data: decode(Opcode.RESULT, flags, data, version), body)
    assert message == responses.SetKeyspace("ks")
    assert (message.trace_id, message.warnings, message.custom_payload, len(prefix)) == expected


def test_v3_ignores_the_flags_that_came_with_v4() -> None:
    assert read_envelope(FLAG_WARNING | FLAG_CUSTOM_PAYLOAD, b"", 3) == (None, None, None, 0)


def test_warnings_that_are_not_utf8_are_shown_all_the_same() -> None:
    assert read_envelope(FLAG_WARNING, o.b2(1) + o.short_blob(b"\xff!"), 4)[1] == ["\ufffd!"]


# -- schema changes and events ----------------------------------------------------------------

FUNCTION = UserFunctionDescriptor("f", ["int", "text"])
AGGREGATE = UserAggregateDescriptor("a", [])
CHANGES = [
    (o.texts("CREATED", "KEYSPACE", "ks")[2:], {"target_type": "KEYSPACE"}, (None, None)),
    (o.texts("UPDATED", "TABLE", "ks", "t")[2:], {"target_type": "TABLE", "table": "t"}, ("t", None)),
    (o.texts("DROPPED", "TYPE", "ks", "u")[2:], {"target_type": "TYPE", "type": "u"}, ("u", None)),
    (
        o.texts("CREATED", "FUNCTION", "ks", "f")[2:] + o.texts("int", "text"),
        {"target_type": "FUNCTION", "function": FUNCTION},
        ("f", ["int", "text"]),
    ),
    (
        o.texts("CREATED", "AGGREGATE", "ks", "a")[2:] + o.texts(),
        {"target_type": "AGGREGATE", "aggregate": AGGREGATE},
        ("a", []),
    ),
]


def comparable(event: dict[str, Any]) -> dict[str, str]:
    """An event of either driver with its descriptors as text."""
    return {key: repr(value) for key, value in event.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("body", "event", "rest"), CHANGES)
def test_schema_changes(body: bytes, event: dict[str, Any], rest: tuple[Any, ...], version: int) -> None:
    change_type = body[2:9].decode()
    message = check_three_ways(lambda data: decode(Opcode.RESULT, 0, data, version), o.b4(5) + body)
    assert message == responses.SchemaChange(change_type, event["target_type"], "ks", *rest)
    wanted = {"change_type": change_type, "keyspace": "ks", **event}
    assert message.schema_change_event == wanted
    theirs = cassandra.protocol.EventMessage.recv_schema_change(io.BytesIO(body), version)
    assert comparable(message.schema_change_event) == comparable(theirs)
    pushed = check_three_ways(lambda data: decode(Opcode.EVENT, 0, data, version), o.text("SCHEMA_CHANGE") + body)
    assert pushed == responses.Event("SCHEMA_CHANGE", wanted, message)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("event_type", "change"),
    [
        ("TOPOLOGY_CHANGE", "NEW_NODE"),
        ("TOPOLOGY_CHANGE", "REMOVED_NODE"),
        ("STATUS_CHANGE", "UP"),
        ("STATUS_CHANGE", "DOWN"),
    ],
)
@pytest.mark.parametrize(
    ("address", "shown"), [(b"\x7f\x00\x00\x02", "127.0.0.2"), (b"\xfe\x80" + bytes(13) + b"\x05", "fe80::5")]
)
def test_node_events(event_type: str, change: str, address: bytes, shown: str, version: int) -> None:
    body = o.text(event_type) + o.text(change) + o.inet(address, 9042)
    message = check_three_ways(lambda data: decode(Opcode.EVENT, 0, data, version), body)
    assert message == responses.Event(event_type, {"change_type": change, "address": (shown, 9042)})
    theirs = cassandra.protocol.EventMessage.recv_body(io.BytesIO(body), version)
    assert (message.event_type, message.event_args) == (theirs.event_type, theirs.event_args)


def test_events_of_the_future_are_kept_without_arguments() -> None:
    assert decode(Opcode.EVENT, 0, o.text("weather_change") + b"\x01\x02", 4) == responses.Event("WEATHER_CHANGE", {})


# -- prepared ----------------------------------------------------------------

BIND_SPECS = o.text("ks") + o.text("t") + o.text("k") + INT + o.text("v") + TEXT
RESULT_SPECS = o.text("ks") + o.text("t") + o.text("v") + TEXT


def prepared_body(
    version: int,
    *,
    bind: bytes = BIND_SPECS,
    bind_flags: int = 1,
    bind_count: int = 2,
    pk: tuple[int, ...] = (0,),
    result: bytes = o.b4(1) + o.b4(1) + RESULT_SPECS,
) -> bytes:
    """A RESULT of kind Prepared."""
    body = o.b4(4) + o.short_blob(b"id")
    if version >= 5:
        body += o.short_blob(b"meta")
    body += o.b4(bind_flags) + o.b4(bind_count)
    if version >= 4:
        body += o.b4(len(pk)) + b"".join(o.b2(index) for index in pk)
    return body + bind + result


def columns(specs: bytes, flags: int, count: int) -> Any:
    """What the core makes of column specs."""
    return read_columns(specs, 0, flags, count)[0]


def names(specs: Any) -> list[tuple[str, str, str, str]]:
    """Columns as plain data."""
    return [(spec.keyspace_name, spec.table_name, spec.name, spec.type.name) for spec in specs]


def facts(prepared: Any) -> tuple[Any, ...]:
    """A Prepared as plain data."""
    return (
        prepared.query_id,
        prepared.result_metadata_id,
        names(prepared.bind_columns),
        prepared.pk_indexes,
        prepared.result_flags,
        names(prepared.result_columns),
        prepared.result_raw,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_prepared(version: int) -> None:
    got = check_three_ways(lambda data: facts(decode(Opcode.RESULT, 0, data, version)), prepared_body(version))
    assert got == (
        b"id",
        b"meta" if version >= 5 else None,
        [("ks", "t", "k", "int"), ("ks", "t", "v", "text")],
        (0,) if version >= 4 else None,
        1,
        [("ks", "t", "v", "text")],
        RESULT_SPECS,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_prepared_agrees_with_cassandra_driver(version: int) -> None:
    body = prepared_body(version, pk=(1, 0))
    theirs = cassandra.protocol.ResultMessage.recv_body(io.BytesIO(body), version, {}, None, None)
    ours: Any = decode(Opcode.RESULT, 0, body, version)
    assert (ours.query_id, ours.result_metadata_id) == (theirs.query_id, theirs.result_metadata_id)
    assert [spec[:3] for spec in names(ours.bind_columns)] == [tuple(column[:3]) for column in theirs.bind_metadata]
    assert [spec[:3] for spec in names(ours.result_columns)] == [tuple(column[:3]) for column in theirs.column_metadata]
    assert (ours.pk_indexes and list(ours.pk_indexes)) == theirs.pk_indexes


@pytest.mark.parametrize("version", VERSIONS)
def test_prepared_without_parameters_and_without_rows(version: int) -> None:
    body = prepared_body(version, bind=b"", bind_flags=0, bind_count=0, pk=(), result=o.b4(4) + o.b4(0))
    got = check_three_ways(lambda data: facts(decode(Opcode.RESULT, 0, data, version)), body)
    assert got[2:] == ([], () if version >= 4 else None, 4, [], b"")


@pytest.mark.parametrize("version", VERSIONS)
def test_prepared_with_a_table_for_each_column(version: int) -> None:
    bind = o.text("ka") + o.text("ta") + o.text("a") + INT + o.text("kb") + o.text("tb") + o.text("b") + BLOB
    body = prepared_body(version, bind=bind, bind_flags=0)
    got = check_three_ways(lambda data: facts(decode(Opcode.RESULT, 0, data, version)), body)
    assert got[2] == [("ka", "ta", "a", "int"), ("kb", "tb", "b", "blob")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bind_count": -1}, "number of bind columns is -1"),
        ({"pk": (0, 2)}, r"2 parameters.*\(0, 2\)"),
        ({"result": o.b4(0) + o.b4(-5)}, "number of columns is -5"),
    ],
)
def test_prepared_that_contradicts_itself(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        decode(Opcode.RESULT, 0, prepared_body(4, **arguments), 4)


@pytest.mark.parametrize("count", [2**31 - 1, 70_000])
@pytest.mark.parametrize("version", VERSIONS)
def test_counts_of_columns_that_lie(version: int, count: int) -> None:
    with pytest.raises(FrameError):
        decode(Opcode.RESULT, 0, prepared_body(version, bind_count=count), version)
    with pytest.raises(FrameError):
        decode(Opcode.RESULT, 0, prepared_body(version, result=o.b4(1) + o.b4(count) + RESULT_SPECS), version)


def test_a_count_of_partition_key_columns_that_lies() -> None:
    body = o.b4(4) + o.short_blob(b"id") + o.b4(1) + o.b4(2) + o.b4(2**31 - 1) + o.b2(0)
    with pytest.raises(FrameError, match="2147483647 columns of a partition key"):
        decode(Opcode.RESULT, 0, body, 4)


def test_one_parameter_may_be_several_columns_of_the_partition_key() -> None:
    """``k1 = :k AND k2 = :k`` where parameters of one name are one."""
    assert decode(Opcode.RESULT, 0, prepared_body(4, pk=(0, 0, 1)), 4).pk_indexes == (0, 0, 1)


# -- rows ----------------------------------------------------------------

ROW_SPECS = o.text("ks") + o.text("t") + o.text("k") + INT + o.text("v") + TEXT
CELLS = o.blob(o.b4(1)) + o.blob(b"one") + o.blob(o.b4(2)) + o.blob(None)


def rows_body(
    flags: int = 1, count: int = 2, *, head: bytes = b"", specs: bytes = ROW_SPECS, rows: int = 2, cells: bytes = CELLS
) -> bytes:
    """A RESULT of kind Rows."""
    return o.b4(2) + o.b4(flags) + o.b4(count) + head + specs + o.b4(rows) + cells


def row_facts(message: Any) -> tuple[Any, ...]:
    """Rows as plain data."""
    return (message.rows, names(message.columns), message.paging_state, message.new_metadata_id, message.decoder.raw)


COLUMNS = [("ks", "t", "k", "int"), ("ks", "t", "v", "text")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("flags", "head", "state", "new_id"),
    [
        (0x1, b"", None, None),
        (0x3, o.blob(b"state"), b"state", None),
        (0x9, o.short_blob(b"newid"), None, b"newid"),
        (0xB, o.blob(b"state") + o.short_blob(b"newid"), b"state", b"newid"),
    ],
)
def test_rows(flags: int, head: bytes, state: bytes | None, new_id: bytes | None, version: int) -> None:
    if new_id and version < 5:  # they have no such flag: what a server sets there means nothing, no id follows
        head, new_id = head.removesuffix(o.short_blob(new_id)), None
    body = rows_body(flags, head=head)
    message: Any = decode(Opcode.RESULT, 0, body, version)
    assert row_facts(message) == ([(1, "one"), (2, None)], COLUMNS, state, new_id, ROW_SPECS)
    assert row_facts(decode(Opcode.RESULT, 0, body + b"trailing", version)) == row_facts(message)
    assert message.column_names == ("k", "v")
    assert message.dicts() == [{"k": 1, "v": "one"}, {"k": 2, "v": None}]


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_agree_with_cassandra_driver(version: int) -> None:
    body = rows_body(3, head=o.blob(b"state"))
    theirs = cassandra.protocol.ResultMessage.recv_body(io.BytesIO(body), version, {}, None, None)
    ours: Any = decode(Opcode.RESULT, 0, body, version)
    assert ours.rows == theirs.parsed_rows
    assert ours.paging_state == theirs.paging_state
    assert list(ours.column_names) == theirs.column_names


def test_no_rows() -> None:
    message: Any = decode(Opcode.RESULT, 0, rows_body(rows=0, cells=b""), 4)
    assert (message.rows, message.dicts()) == ([], [])


def test_rows_without_metadata_are_read_with_the_statements() -> None:
    decoder = RowDecoder(columns(ROW_SPECS, 1, 2), ROW_SPECS)
    body = rows_body(4, specs=b"")
    message: Any = decode(Opcode.RESULT, 0, body, 4, None, decoder)
    assert message.decoder is decoder
    assert message.rows == [(1, "one"), (2, None)]
    with pytest.raises(ProtocolError, match="without metadata"):
        decode(Opcode.RESULT, 0, body, 4)
    with pytest.raises(ProtocolError, match="3 columns, the statement has 2"):
        decode(Opcode.RESULT, 0, rows_body(4, 3, specs=b""), 4, None, decoder)


def test_metadata_in_the_body_holds_whatever_the_statement_had() -> None:
    stale = RowDecoder(columns(RESULT_SPECS, 1, 1), RESULT_SPECS)
    message: Any = decode(Opcode.RESULT, 0, rows_body(), 5, None, stale)
    assert message.decoder is not stale
    assert message.rows == [(1, "one"), (2, None)]


@pytest.mark.parametrize(
    "arguments",
    [{"rows": -1}, {"rows": 2**31 - 1}, {"rows": 3, "cells": CELLS}, {"count": 0, "specs": o.text("k") + o.text("t")}],
)
def test_counts_of_rows_that_lie(arguments: dict[str, Any]) -> None:
    if arguments.get("count") == 0:
        arguments = {**arguments, "rows": 2**31 - 1}
    with pytest.raises((FrameError, DecodeError)):
        decode(Opcode.RESULT, 0, rows_body(**arguments), 4)


def test_rows_without_columns_are_refused() -> None:
    """As a Page does; nothing in the body says how many there are."""
    specs = o.text("ks") + o.text("t")
    with pytest.raises(FrameError, match="2 rows without columns"):
        decode(Opcode.RESULT, 0, rows_body(count=0, specs=specs, rows=2, cells=bytes(40)), 4)
    message: Any = decode(Opcode.RESULT, 0, rows_body(count=0, specs=specs, rows=0, cells=b""), 4)
    assert message.rows == []


def test_rows_cut_anywhere_are_refused() -> None:
    body = rows_body(0xB, head=o.blob(b"state") + o.short_blob(b"newid"))
    for cut in truncations(body):
        with pytest.raises((FrameError, DecodeError)):
            decode(Opcode.RESULT, 0, cut, 5)


@given(st.sampled_from(sorted(Opcode)), st.integers(0, 255), st.binary(max_size=80), st.sampled_from(VERSIONS))
def test_no_bytes_make_decode_fail_otherwise(opcode: int, flags: int, body: bytes, version: int) -> None:
    try:
        decode(opcode, flags, body, version)
    except (ProtocolError, DecodeError):
        return


@given(st.integers(0, len(prepared_body(5)) - 1), st.integers(0, 255), st.sampled_from(VERSIONS))
def test_no_changed_byte_makes_decode_fail_otherwise(place: int, byte: int, version: int) -> None:
    for whole in (prepared_body(version), rows_body(3, head=o.blob(b"state"))):
        body = bytearray(whole)
        if place < len(body):
            body[place] = byte
        try:
            decode(Opcode.RESULT, 0, bytes(body), version)
        except (ProtocolError, DecodeError):
            continue
