"""The fake node's messages as cassandra-driver decodes them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from cassandra import ConsistencyLevel, WriteType, protocol
from cassandra.protocol import ProtocolHandler

from tests.support import wire
from tests.support.fakenode import (
    AuthChallenge,
    Authenticate,
    AuthSuccess,
    Error,
    ErrorCode,
    Prepared,
    Ready,
    Reply,
    Request,
    Rows,
    SchemaChange,
    SetKeyspace,
    Statement,
    Supported,
    Void,
    schema_event,
    status_change,
    topology_change,
)
from tests.support.handlers import in_turn, paged
from tests.support.replies import metadata_id
from tests.support.values import parse
from tests.support.wire import Opcode

VERSIONS = (3, 4, 5)


def _request(version: int, opcode: Opcode = Opcode.QUERY, **fields: Any) -> Request:
    request = Request(opcode, version, 0, 9, b"")
    request.__dict__.update(fields)
    return request


def _decode(reply: Reply, request: Request, known_columns: Any = None) -> Any:
    envelope = reply.envelope(request, request.version)
    assert envelope.response
    return ProtocolHandler.decode_message(
        envelope.version, {}, envelope.stream, envelope.flags, envelope.opcode, envelope.body, None, known_columns
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_rows(version: int) -> None:
    rows = Rows([("k", "int"), ("v", "list<text>")], [(1, ["a"]), (2, None)], paging_state=b"next")
    for reply in (rows, rows.but(global_spec=False)):
        message = _decode(reply, _request(version))
        assert message.column_names == ["k", "v"]
        assert message.parsed_rows == [(1, ["a"]), (2, None)]
        assert message.paging_state == b"next"
        assert message.column_metadata[0][:2] == ("ks", "t")


@pytest.mark.parametrize("version", VERSIONS)
def test_prefix_of_warnings_trace_and_payload(version: int) -> None:
    trace = uuid.uuid4()
    reply = Void().with_trace(trace)
    if version >= 4:
        reply = reply.with_warnings("one", "two").with_payload({"k": b"v"})
    message = _decode(reply.with_trailing(b"junk"), _request(version))
    assert message.trace_id == trace and message.stream_id == 9
    if version >= 4:
        assert message.warnings == ["one", "two"] and message.custom_payload == {"k": b"v"}


def test_metadata_is_skipped_or_changed_as_cassandra_does() -> None:
    columns = [("v", parse("int"))]
    rows = Rows([("v", "int")], [(1,)])
    skip = {"query_flags": 0x02}

    def flags(request: Request, reply: Rows = rows) -> int:
        return wire.Reader(reply.message(request)[1][4:8]).int_()

    assert flags(_request(4)) == 0x1
    assert flags(_request(4, **skip)) == 0x4
    assert flags(_request(4, Opcode.EXECUTE, **skip)) == 0x4
    assert flags(_request(5, Opcode.EXECUTE, result_metadata_id=metadata_id(columns), **skip)) == 0x4
    assert flags(_request(5, Opcode.EXECUTE, result_metadata_id=metadata_id(columns))) == 0x1
    changed = _request(5, Opcode.EXECUTE, result_metadata_id=b"old", **skip)
    assert flags(changed) == 0x9
    assert flags(changed, rows.but(lwt=True)) == 0x1
    assert flags(changed, rows.but(no_metadata=True, metadata_changed_id=None)) & 0x4
    assert _decode(rows, changed).result_metadata_id == metadata_id(columns)
    forced = _decode(rows.but(metadata_changed_id=b"forced"), _request(5, Opcode.EXECUTE, result_metadata_id=b"x"))
    assert forced.result_metadata_id == b"forced" and forced.parsed_rows == [(1,)]


@pytest.mark.parametrize("version", VERSIONS)
def test_prepared(version: int) -> None:
    statement = Statement("q", [("a", parse("int")), ("b", parse("text"))], [("v", parse("uuid"))], [1, 0])
    message = _decode(Prepared(statement), _request(version, Opcode.PREPARE, text="q"))
    assert [column.name for column in message.bind_metadata] == ["a", "b"]
    assert message.pk_indexes == (None if version == 3 else [1, 0])
    assert [column[2] for column in message.column_metadata] == ["v"]
    assert len(message.query_id) == 16
    if version == 5:
        assert message.result_metadata_id == metadata_id(statement.columns or ())
    nothing = _decode(Prepared(Statement("q", [], None, [])), _request(version, Opcode.PREPARE))
    assert nothing.bind_metadata == [] and not nothing.column_metadata


@pytest.mark.parametrize("version", VERSIONS)
def test_other_results_and_handshake(version: int) -> None:
    request = _request(version)
    assert _decode(Void(), request).kind == protocol.RESULT_KIND_VOID
    assert _decode(SetKeyspace("ks"), request).new_keyspace == "ks"
    change = _decode(SchemaChange("CREATED", "TABLE", "ks", "t"), request).schema_change_event
    assert (change["change_type"], change["keyspace"], change["table"]) == ("CREATED", "ks", "t")
    if version >= 4:
        change = _decode(SchemaChange("DROPPED", "FUNCTION", "ks", "f", ["int"]), request).schema_change_event
        assert change["function"].argument_types == ["int"]
    assert isinstance(_decode(Ready(), request), protocol.ReadyMessage)
    assert _decode(Authenticate("some.Class"), request).authenticator == "some.Class"
    assert _decode(AuthChallenge(b"c"), request).challenge == b"c"
    assert _decode(AuthSuccess(b"s"), request).token == "s"  # cassandra-driver makes it a string
    supported = _decode(Supported({"CQL_VERSION": ["3.4.5"], "COMPRESSION": ["lz4"]}), request)
    assert supported.options["COMPRESSION"] == ["lz4"]


@pytest.mark.parametrize("version", VERSIONS)
def test_events(version: int) -> None:
    request = _request(version, Opcode.REGISTER)
    event = _decode(status_change("UP", "127.0.0.2", 9042), request)
    assert event.stream_id == -1 and event.event_type == "STATUS_CHANGE"
    assert event.event_args == {"change_type": "UP", "address": ("127.0.0.2", 9042)}
    event = _decode(topology_change("NEW_NODE", "::1", 1), request)
    assert event.event_args == {"change_type": "NEW_NODE", "address": ("::1", 1)}
    assert _decode(schema_event("DROPPED", "KEYSPACE", "ks"), request).event_args["keyspace"] == "ks"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.name)
def test_errors_of_every_code(code: ErrorCode, version: int) -> None:
    message = _decode(Error(code, "why"), _request(version))
    assert type(message) is protocol.error_classes.get(code, protocol.ErrorMessage)
    assert message.code == code and message.message == "why"


def test_fields_of_errors() -> None:
    def info(version: int, code: ErrorCode, **fields: Any) -> Any:
        return _decode(Error(code, "why", **fields), _request(version)).info

    unavailable = info(4, ErrorCode.UNAVAILABLE, consistency=ConsistencyLevel.ALL, required=3, alive=2)
    assert unavailable == {"consistency": ConsistencyLevel.ALL, "required_replicas": 3, "alive_replicas": 2}
    timeout = info(4, ErrorCode.WRITE_TIMEOUT, received=1, block_for=2, write_type="BATCH_LOG")
    assert (timeout["received_responses"], timeout["write_type"]) == (1, WriteType.BATCH_LOG)
    assert info(4, ErrorCode.READ_TIMEOUT, data_present=True)["data_retrieved"] is True
    failures = {"127.0.0.2": 1, "127.0.0.3": 2}
    assert info(4, ErrorCode.READ_FAILURE, failures=failures)["failures"] == 2
    assert info(5, ErrorCode.WRITE_FAILURE, failures=failures)["error_code_map"] == failures
    assert info(4, ErrorCode.FUNCTION_FAILURE, function="g", arg_types=["int"])["arg_types"] == ["int"]
    assert info(4, ErrorCode.ALREADY_EXISTS, keyspace="k2", table="")["keyspace"] == "k2"
    assert info(4, ErrorCode.UNPREPARED, id=b"xyz") == b"xyz"
    cas = Error(ErrorCode.WRITE_TIMEOUT, "", write_type="CAS", contentions=7)
    assert cas.message(_request(5))[1].endswith(wire.short(7))
    assert not cas.message(_request(4))[1].endswith(wire.short(7))
    with pytest.raises(TypeError, match="nonsense"):
        Error(ErrorCode.INVALID, "", nonsense=1)


def test_modifiers_make_copies() -> None:
    rows = Rows([("v", "int")])
    late = rows.after(1.5)
    assert (rows.delay, late.delay) == (0.0, 1.5) and isinstance(late, Rows)
    with pytest.raises(AttributeError, match="speed"):
        rows.but(speed=1)


def test_handlers() -> None:
    connection: Any = None
    handler = in_turn(Void(), SetKeyspace("a"))
    kinds = [type(handler(_request(4), connection)) for _ in range(3)]
    assert kinds == [Void, SetKeyspace, SetKeyspace]
    pages = paged([("v", "int")], [(n,) for n in range(5)])
    request = _request(4, page_size=2)
    seen: list[Any] = []
    for _ in range(3):
        message = _decode(pages(request, connection), request)  # type: ignore[arg-type]
        seen += message.parsed_rows
        request.paging_state = message.paging_state
    assert seen == [(n,) for n in range(5)] and request.paging_state is None
