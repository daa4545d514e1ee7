"""Requests: golden bytes in v3, v4 and v5, and the bodies that cassandra-driver's encoders make."""

from __future__ import annotations

import io
import itertools
from typing import Any

import cassandra.protocol
import cassandra.query
import pytest

from geventcql.errors import UnsupportedOperation
from geventcql.protocol import requests
from geventcql.protocol.constants import BatchType, ConsistencyLevel, Opcode
from geventcql.protocol.requests import RequestParts, batch_body, execute_parts, query_parts
from tests.protocol import octets as o

VERSIONS = (3, 4, 5)
VALUES = o.b2(2) + o.blob(b"ab") + o.blob(None)
TIMESTAMP = 1_700_000_000_123_456


def flags(number: int, version: int) -> bytes:
    """Query flags as the version has them."""
    return o.b4(number) if version >= 5 else o.b1(number)


def theirs(message: Any, version: int) -> bytes:
    """The body that cassandra-driver sends."""
    buffer = io.BytesIO()
    message.send_body(buffer, version)
    return buffer.getvalue()


@pytest.mark.parametrize("version", VERSIONS)
def test_startup_is_theirs(version: int) -> None:
    golden = o.b2(2) + o.text("COMPRESSION") + o.text("lz4") + o.text("CQL_VERSION") + o.text("3.0.0")
    ours = requests.startup({"COMPRESSION": "lz4", "CQL_VERSION": "3.0.0"})
    assert ours == golden == theirs(cassandra.protocol.StartupMessage("3.0.0", {"COMPRESSION": "lz4"}), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_small_ones_are_theirs(version: int) -> None:
    events = ["TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE"]
    assert requests.options() == b"" == theirs(cassandra.protocol.OptionsMessage(), version)
    assert requests.register(events) == o.texts(*events) == theirs(cassandra.protocol.RegisterMessage(events), version)
    token = b"\x00user\x00password"
    assert requests.auth_response(token) == o.blob(token)
    assert requests.auth_response(token) == theirs(cassandra.protocol.AuthResponseMessage(token), version)


def test_no_token_is_an_empty_one() -> None:
    assert requests.auth_response(None) == requests.auth_response(b"") == o.b4(0)


def test_custom_payloads() -> None:
    payload = {"a": b"x", "b": None}
    assert requests.custom_payload(payload) == requests.custom_payload(payload, 5) == o.blob_map(payload)
    with pytest.raises(UnsupportedOperation, match=r"v3 .*custom payloads.*v4"):
        requests.custom_payload(payload, 3)


@pytest.mark.parametrize(
    ("version", "golden"),
    [(3, o.long_text("né")), (4, o.long_text("né")), (5, o.long_text("né") + o.b4(0))],
)
def test_prepare(version: int, golden: bytes) -> None:
    assert requests.prepare("né", version) == requests.prepare("né".encode(), version) == golden
    assert golden == theirs(cassandra.protocol.PrepareMessage("né"), version)


def test_prepare_in_a_keyspace() -> None:
    ours = requests.prepare("q", 5, "ks")
    assert ours == o.long_text("q") + o.b4(1) + o.text("ks")
    assert ours == theirs(cassandra.protocol.PrepareMessage("q", keyspace="ks"), 5)
    for version in (3, 4):
        with pytest.raises(UnsupportedOperation, match=rf"v{version} .*keyspace.*'ks'.*v5"):
            requests.prepare("q", version, "ks")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_plainest_query(version: int) -> None:
    parts = query_parts(version, "né", ConsistencyLevel.LOCAL_ONE)
    assert parts == (Opcode.QUERY, o.long_text("né") + o.b2(10) + flags(0, version), b"", -1)
    assert query_parts(version, "né".encode(), ConsistencyLevel.LOCAL_ONE) == parts


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("options", [{}, {"page_size": 7}, {"page_size": 7, "with_timestamp": True}, {"with_timestamp": True}])
def test_a_query_in_place_of_values(version: int, options: dict[str, Any]) -> None:
    timestamp = TIMESTAMP if "with_timestamp" in options else None
    whole = query_parts(version, "né", ConsistencyLevel.LOCAL_ONE, **options).body(b"", timestamp)
    any_query = query_parts(version, None, ConsistencyLevel.LOCAL_ONE, **options)
    assert any_query.body(o.long_text("né"), timestamp) == whole


@pytest.mark.parametrize("version", VERSIONS)
def test_a_query_with_everything(version: int) -> None:
    only_v5: dict[str, Any] = {"keyspace": "ks", "now_in_seconds": 77} if version >= 5 else {}
    parts = query_parts(
        version,
        "q",
        ConsistencyLevel.QUORUM,
        has_values=True,
        names_for_values=True,
        skip_metadata=True,
        page_size=5000,
        paging_state=b"state",
        serial_consistency=ConsistencyLevel.LOCAL_SERIAL,
        with_timestamp=True,
        **only_v5,
    )
    before = o.b4(5000) + o.blob(b"state") + o.b2(9)
    after = o.text("ks") + o.b4(77) if version >= 5 else b""
    assert parts.prefix == o.long_text("q") + o.b2(4) + flags(0x1FF if version >= 5 else 0x7F, version)
    assert parts.suffix == before + after
    assert parts.timestamp_at == len(before)
    assert parts.body(VALUES, TIMESTAMP) == parts.prefix + VALUES + before + o.b8(TIMESTAMP) + after


@pytest.mark.parametrize(
    ("version", "head"),
    [(3, o.short_blob(b"id")), (4, o.short_blob(b"id")), (5, o.short_blob(b"id") + o.short_blob(b"meta"))],
)
def test_execute(version: int, head: bytes) -> None:
    parts = execute_parts(version, b"id", b"meta", 1, has_values=True, page_size=10, with_timestamp=True)
    assert parts.body(VALUES, 1) == parts.prefix + VALUES + o.b4(10) + o.b8(1)
    assert parts == (Opcode.EXECUTE, head + o.b2(1) + flags(0x25, version), o.b4(10), 4)


def test_execute_on_v5_needs_the_metadata_id() -> None:
    with pytest.raises(ValueError, match="result metadata"):
        execute_parts(5, b"id", None, 1)
    assert execute_parts(4, b"id", None, 1).prefix == o.short_blob(b"id") + o.b2(1) + b"\x00"


OPTIONS = list(
    itertools.product(
        (None, 100),
        (None, b"state"),
        (None, ConsistencyLevel.SERIAL),
        (None, 0, TIMESTAMP),
    )
)


@pytest.mark.parametrize("version", VERSIONS)
def test_queries_are_theirs_in_every_combination(version: int) -> None:
    keyspaces = (None, "ks") if version >= 5 else (None,)
    for (page_size, state, serial, timestamp), keyspace in itertools.product(OPTIONS, keyspaces):
        parts = query_parts(
            version,
            "SELECT 1",
            6,
            page_size=page_size,
            paging_state=state,
            serial_consistency=serial,
            with_timestamp=timestamp is not None,
            keyspace=keyspace,
        )
        message = cassandra.protocol.QueryMessage("SELECT 1", 6, serial, page_size, state, timestamp, keyspace=keyspace)
        assert parts.body(timestamp=timestamp) == theirs(message, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_executions_are_theirs_in_every_combination(version: int) -> None:
    values = [b"ab", None, b"", cassandra.protocol._UNSET_VALUE]
    encoded = o.b2(4) + o.blob(b"ab") + o.blob(None) + o.blob(b"") + o.b4(-2)
    for page_size, state, serial, timestamp in OPTIONS:
        parts = execute_parts(
            version,
            b"id",
            b"meta",
            6,
            has_values=True,
            page_size=page_size,
            paging_state=state,
            serial_consistency=serial,
            with_timestamp=timestamp is not None,
        )
        message = cassandra.protocol.ExecuteMessage(
            b"id", values, 6, serial, page_size, state, timestamp, result_metadata_id=b"meta"
        )
        assert parts.body(encoded, timestamp) == theirs(message, version)


def test_paging_off_is_none_or_zero() -> None:
    assert query_parts(4, "q", 1, page_size=0, paging_state=b"") == query_parts(4, "q", 1)


BATCH = [(True, b"id", VALUES), (False, b"INSERT", b""), (False, "é".encode(), o.b2(0))]
BATCH_BYTES = (
    o.b2(3)
    + (o.b1(1) + o.short_blob(b"id") + VALUES)
    + (o.b1(0) + o.long_text("INSERT") + o.b2(0))
    + (o.b1(0) + o.long_text("é") + o.b2(0))
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("batch_type", list(BatchType))
def test_the_plainest_batch(version: int, batch_type: BatchType) -> None:
    golden = o.b1(batch_type.value) + BATCH_BYTES + o.b2(1) + flags(0, version)
    assert batch_body(version, batch_type, BATCH, 1) == batch_body(version, batch_type.value, BATCH, 1) == golden


def test_a_batch_with_everything() -> None:
    body = batch_body(5, BatchType.UNLOGGED, BATCH, 1, 8, TIMESTAMP, "ks", 77)
    tail = o.b2(1) + o.b4(0x1B0) + o.b2(8) + o.b8(TIMESTAMP) + o.text("ks") + o.b4(77)
    assert body == o.b1(1) + BATCH_BYTES + tail


@pytest.mark.parametrize("version", VERSIONS)
def test_batches_are_theirs_in_every_combination(version: int) -> None:
    queries = [(True, b"id", [b"ab", None]), (False, "INSERT", []), (False, "é", [])]
    keyspaces = (None, "ks") if version >= 5 else (None,)
    for serial, timestamp, keyspace in itertools.product((None, 8), (None, 0, TIMESTAMP), keyspaces):
        message = cassandra.protocol.BatchMessage(
            cassandra.query.BatchType.COUNTER, queries, 4, serial, timestamp, keyspace
        )
        assert batch_body(version, BatchType.COUNTER, BATCH, 4, serial, timestamp, keyspace) == theirs(message, version)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("name", "value"), [("keyspace", "ks"), ("now_in_seconds", 1)])
def test_what_came_with_v5_is_named_before(version: int, name: str, value: Any) -> None:
    for make in (
        lambda: query_parts(version, "q", 1, **{name: value}),
        lambda: execute_parts(version, b"id", None, 1, **{name: value}),
        lambda: batch_body(version, 0, BATCH, 1, **{name: value}),
    ):
        with pytest.raises(UnsupportedOperation, match=rf"v{version} .*{name.split('_')[0]}.*v5"):
            make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: batch_body(4, 0, [(True, b"id", b"")] * 65536, 1), "statements in a batch: 65536"),
        (lambda: batch_body(4, 0, [], 1, None, 2**63), "timestamp"),
        (lambda: batch_body(4, 0, [(True, bytes(65536), b"")], 1), "statement's id"),
        (lambda: query_parts(4, "q", 1, page_size=2**31), "page size"),
        (lambda: query_parts(4, "q", -1), "consistency level"),
        (lambda: query_parts(4, "q", 1, serial_consistency=70000), "serial consistency level"),
        (lambda: query_parts(5, "q", 1, keyspace="k" * 65536), "keyspace"),
        (lambda: query_parts(5, "q", 1, now_in_seconds=2**31), "now_in_seconds"),
        (lambda: query_parts(4, "q", 1, with_timestamp=True).body(b"", 2**63), "timestamp"),
        (lambda: query_parts(4, "q", 1, with_timestamp=True).body(b""), "timestamp"),
        (lambda: query_parts(4, "q", 1).body(b"", 1), "timestamp"),
    ],
)
def test_what_does_not_fit_is_named(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_parts_are_a_tuple_of_the_agreed_order() -> None:
    assert RequestParts._fields == ("opcode", "prefix", "suffix", "timestamp_at")
