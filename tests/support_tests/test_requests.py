"""Decoding of requests: what cassandra-driver encodes is read back, and what no client should send is refused."""

from __future__ import annotations

import io
from typing import Any

import pytest
from cassandra import protocol
from cassandra.query import BatchType

from tests.support import wire
from tests.support.requests import Request, decode_request
from tests.support.wire import UNSET, Envelope, Opcode, WireError

VERSIONS = (3, 4, 5)


def _decode(message: Any, version: int, flags: int = 0) -> Request:
    body = io.BytesIO()
    message.send_body(body, version)
    return decode_request(Envelope(version, flags, 3, message.opcode, body.getvalue()))


@pytest.mark.parametrize("version", VERSIONS)
def test_query_with_everything(version: int) -> None:
    message = protocol.QueryMessage(
        "SELECT é", 4, serial_consistency_level=9, fetch_size=77, paging_state=b"state", timestamp=123456789,
        keyspace="ks5" if version == 5 else None,
    )  # fmt: skip
    message.query_params = [b"one", None]
    request = _decode(message, version)
    assert (request.text, request.consistency, request.serial_consistency) == ("SELECT é", 4, 9)
    assert (request.page_size, request.paging_state, request.timestamp) == (77, b"state", 123456789)
    assert request.values == [b"one", None] and request.names is None
    assert request.keyspace == ("ks5" if version == 5 else None)
    assert not request.skip_metadata and request.stream == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_execute(version: int) -> None:
    message = protocol.ExecuteMessage(
        b"the id", [b"1"], 1, timestamp=5, skip_meta=True, result_metadata_id=b"rmid" if version == 5 else None
    )
    request = _decode(message, version)
    assert (request.id, request.values, request.timestamp) == (b"the id", [b"1"], 5)
    assert request.result_metadata_id == (b"rmid" if version == 5 else None)


@pytest.mark.parametrize("version", VERSIONS)
def test_batch(version: int) -> None:
    message = protocol.BatchMessage(
        BatchType.UNLOGGED, [(False, "INSERT", [b"x"]), (True, b"id", [None])], 6, serial_consistency_level=8,
        timestamp=9, keyspace="k" if version == 5 else None,
    )  # fmt: skip
    request = _decode(message, version)
    assert request.batch_type == 1 and request.consistency == 6 and request.serial_consistency == 8
    assert [(e.text, e.id, e.values) for e in request.entries] == [("INSERT", None, [b"x"]), (None, b"id", [None])]
    assert request.timestamp == 9


@pytest.mark.parametrize("version", VERSIONS)
def test_other_requests(version: int) -> None:
    assert _decode(protocol.PrepareMessage("SELECT ?", "k" if version == 5 else None), version).text == "SELECT ?"
    assert _decode(protocol.RegisterMessage(["STATUS_CHANGE"]), version).events == ["STATUS_CHANGE"]
    assert _decode(protocol.AuthResponseMessage(b"token"), version).token == b"token"
    assert _decode(protocol.OptionsMessage(), version).opcode == Opcode.OPTIONS
    assert _decode(protocol.StartupMessage("3.4.5", {"COMPRESSION": "lz4"}), version).options == {
        "CQL_VERSION": "3.4.5",
        "COMPRESSION": "lz4",
    }


def _query(version: int, flags: int, tail: bytes = b"") -> bytes:
    return wire.long_string("q") + wire.short(1) + (wire.int_(flags) if version >= 5 else wire.byte(flags)) + tail


def test_v5_only_fields_and_custom_payload() -> None:
    tail = wire.string("ks") + wire.int_(1234)
    payload = wire.bytes_map({"k": b"v", "n": None})
    body = payload + _query(5, 0x180, tail)
    request = decode_request(Envelope(5, wire.FLAG_CUSTOM_PAYLOAD | wire.FLAG_TRACING, 0, Opcode.QUERY, body))
    assert (request.keyspace, request.now_in_seconds) == ("ks", 1234)
    assert request.payload == {"k": b"v", "n": None} and request.tracing


@pytest.mark.parametrize("version", VERSIONS)
def test_skip_metadata(version: int) -> None:
    """cassandra-driver never sends this flag."""
    assert decode_request(Envelope(version, 0, 0, Opcode.QUERY, _query(version, 0x02))).skip_metadata
    assert not decode_request(Envelope(version, 0, 0, Opcode.QUERY, _query(version, 0x00))).skip_metadata


def test_names_and_unset() -> None:
    tail = wire.short(2) + wire.string("a") + wire.int_(-2) + wire.string("b") + wire.int_(-1)
    request = decode_request(Envelope(4, 0, 0, Opcode.QUERY, _query(4, 0x41, tail)))
    assert request.names == ["a", "b"] and request.values == [UNSET, None]


@pytest.mark.parametrize(
    ("version", "flags", "opcode", "body"),
    [
        (4, 0, Opcode.QUERY, _query(4, 0x00, b"left over")),
        (4, 0, Opcode.QUERY, _query(4, 0x80, wire.string("ks"))),
        (5, 0, Opcode.QUERY, _query(5, 0x200)),
        (4, 0, Opcode.QUERY, _query(4, 0x40)),
        (4, 0, Opcode.QUERY, _query(4, 0x10, wire.short(1))),
        (4, 0, Opcode.QUERY, _query(4, 0x01, wire.short(1) + wire.int_(-3))),
        (4, 0, Opcode.QUERY, _query(4, 0x01, wire.short(2) + wire.int_(-1))),
        (4, 0, Opcode.QUERY, b"\xff\xff\xff\xff"),
        (4, wire.FLAG_WARNING, Opcode.OPTIONS, b""),
        (3, wire.FLAG_CUSTOM_PAYLOAD, Opcode.QUERY, wire.bytes_map({}) + _query(3, 0)),
        (4, wire.FLAG_CUSTOM_PAYLOAD, Opcode.OPTIONS, wire.bytes_map({})),
        (4, 0, Opcode.RESULT, b""),
        (4, 0, 0x42, b""),
        (4, 0, Opcode.STARTUP, wire.string_map({})),
        (5, 0, Opcode.PREPARE, wire.long_string("q")),
        (4, 0, Opcode.BATCH, wire.byte(3) + wire.short(0) + wire.short(1) + wire.byte(0)),
        (4, 0, Opcode.BATCH, wire.byte(0) + wire.short(1) + wire.byte(2)),
        (4, 0, Opcode.REGISTER, wire.short(1) + wire.short(2) + b"\xff\xfe"),
    ],
)
def test_wrong_requests_are_refused(version: int, flags: int, opcode: int, body: bytes) -> None:
    with pytest.raises(WireError):
        decode_request(Envelope(version, flags, 0, opcode, body))


def test_a_negative_stream_and_a_response_are_refused() -> None:
    with pytest.raises(WireError, match="stream"):
        decode_request(Envelope(4, 0, -1, Opcode.OPTIONS, b""))
    with pytest.raises(WireError, match="response"):
        decode_request(Envelope(4, 0, 0, Opcode.OPTIONS, b"", response=True))
