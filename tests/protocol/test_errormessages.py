"""ERROR bodies of every code in v3, v4 and v5: all fields, every cut, and what cassandra-driver makes of the same."""

from __future__ import annotations

import io
from typing import Any

import cassandra.protocol
import pytest

from geventcql import errors
from geventcql.protocol.errormessages import read_error
from geventcql.protocol.notation import Reader
from tests.protocol import octets as o
from tests.protocol.octets import check_three_ways

VERSIONS = (3, 4, 5)
MESSAGE = "sørry"
CL = o.b2(6)


def failures(version: int) -> tuple[bytes, dict[str, Any]]:
    """The part of READ_FAILURE and WRITE_FAILURE that v5 changed: a count became a map of reasons."""
    if version < 5:
        return o.b4(2), {"failures": 2, "error_code_map": None}
    reasons = o.b4(2) + o.b1(4) + b"\x0a\x00\x00\x01" + o.b2(1) + o.b1(16) + bytes(15) + b"\x01" + o.b2(0x2A)
    return reasons, {"failures": 2, "error_code_map": {"10.0.0.1": 1, "::1": 0x2A}}


def counts(received: int, required: int) -> dict[str, Any]:
    """The fields that most errors share."""
    return {"consistency": 6, "received_responses": received, "required_responses": required}


def cases(version: int) -> list[tuple[int, bytes, Any, str]]:
    """(code, what follows the message, info, class that an application gets) of every error of the spec."""
    failed, failed_info = failures(version)
    return [
        (0x0000, b"", None, "ServerError"),
        (0x000A, b"", None, "ProtocolException"),
        (0x0100, b"", None, "BadCredentials"),
        (
            0x1000,
            CL + o.b4(3) + o.b4(1),
            {"consistency": 6, "required_replicas": 3, "alive_replicas": 1},
            "Unavailable",
        ),
        (0x1001, b"", None, "OverloadedErrorMessage"),
        (0x1002, b"", None, "IsBootstrappingErrorMessage"),
        (0x1003, b"", None, "TruncateError"),
        (0x1100, CL + o.b4(1) + o.b4(2) + o.text("BATCH_LOG"), {**counts(1, 2), "write_type": 4}, "WriteTimeout"),
        (0x1100, CL + o.b4(1) + o.b4(2) + o.text("COUNTER"), {**counts(1, 2), "write_type": 3}, "WriteTimeout"),
        (0x1200, CL + o.b4(1) + o.b4(2) + o.b1(1), {**counts(1, 2), "data_retrieved": True}, "ReadTimeout"),
        (0x1200, CL + o.b4(2) + o.b4(2) + o.b1(0), {**counts(2, 2), "data_retrieved": False}, "ReadTimeout"),
        (
            0x1300,
            CL + o.b4(1) + o.b4(3) + failed + o.b1(1),
            {**counts(1, 3), **failed_info, "data_retrieved": True},
            "ReadFailure",
        ),
        (
            0x1400,
            o.text("ks") + o.text("f") + o.texts("int", "text"),
            {"keyspace": "ks", "function": "f", "arg_types": ["int", "text"]},
            "FunctionFailure",
        ),
        (
            0x1500,
            CL + o.b4(1) + o.b4(3) + failed + o.text("UNLOGGED_BATCH"),
            {**counts(1, 3), **failed_info, "write_type": 2},
            "WriteFailure",
        ),
        (0x1600, b"", None, "CDCWriteException"),
        (0x2000, b"", None, "SyntaxException"),
        (0x2100, b"", None, "Unauthorized"),
        (0x2200, b"", None, "InvalidRequest"),
        (0x2300, b"", None, "ConfigurationException"),
        (0x2400, o.text("ks") + o.text("t"), {"keyspace": "ks", "table": "t"}, "AlreadyExists"),
        (0x2400, o.text("ks") + o.text(""), {"keyspace": "ks", "table": ""}, "AlreadyExists"),
        (0x2500, o.short_blob(b"\x00id"), b"\x00id", "PreparedQueryNotFound"),
        (0x8000, b"", None, "ClientWriteError"),
        (0x7777, b"", None, "ErrorMessage"),
    ]


CASES = [
    pytest.param(version, *case, id=f"v{version}-{case[0]:04x}-{index}")
    for version in VERSIONS
    for index, case in enumerate(cases(version))
]


def body_of(code: int, rest: bytes) -> bytes:
    """A whole ERROR body."""
    return o.b4(code) + o.text(MESSAGE) + rest


def summary(error: errors.ErrorMessage) -> tuple[Any, ...]:
    """What makes two errors the same."""
    return (type(error), error.code, error.message, error.info, getattr(error, "contentions", None))


@pytest.mark.parametrize(("version", "code", "rest", "info", "name"), CASES)
def test_every_error_whole_with_trailing_bytes_and_cut(
    version: int, code: int, rest: bytes, info: Any, name: str
) -> None:
    body = body_of(code, rest)
    check_three_ways(lambda data: summary(read_error(Reader(data), version)), body)
    error = read_error(Reader(body), version)
    assert (error.code, error.message, error.info) == (code, MESSAGE, info)
    assert type(error) is errors.error_classes.get(code, errors.ErrorMessage)
    assert MESSAGE in str(error)


@pytest.mark.parametrize(("version", "code", "rest", "info", "name"), CASES)
def test_an_application_gets_what_cassandra_driver_gives(
    version: int, code: int, rest: bytes, info: Any, name: str
) -> None:
    body = body_of(code, rest)
    theirs = cassandra.protocol.ErrorMessage.recv_body(io.BytesIO(body), version)
    ours = read_error(Reader(body), version)
    assert ours.info == theirs.info
    assert str(ours) == str(theirs)
    their_exception, our_exception = theirs.to_exception(), ours.to_exception()
    assert type(their_exception).__name__ == name
    assert type(our_exception).__name__.replace("ConfigurationErrorMessage", "ConfigurationException") == name
    if getattr(ours, "contentions", None) is None:  # of which cassandra-driver knows nothing
        assert str(our_exception) == str(their_exception)
        assert {**vars(our_exception), "contentions": None} == {**vars(their_exception), "contentions": None}


@pytest.mark.parametrize(("version", "contentions"), [(3, None), (4, None), (5, 9)])
def test_contentions_of_lightweight_transactions_come_with_v5(version: int, contentions: int | None) -> None:
    rest = CL + o.b4(1) + o.b4(2) + o.text("CAS") + o.b2(9)
    error = read_error(Reader(body_of(0x1100, rest)), version)
    assert isinstance(error, errors.WriteTimeoutErrorMessage)
    assert error.contentions == contentions
    exception = error.to_exception()
    assert isinstance(exception, errors.WriteTimeout)
    assert (exception.write_type, exception.contentions) == (5, contentions)


@pytest.mark.parametrize("version", VERSIONS)
def test_contentions_may_be_left_out(version: int) -> None:
    """Cassandra does not tell them of every timeout of that write type; half a number is an error all the same."""
    body = body_of(0x1100, CL + o.b4(1) + o.b4(2) + o.text("CAS"))
    error = read_error(Reader(body), version)
    assert isinstance(error, errors.WriteTimeoutErrorMessage)
    assert (error.info, error.contentions) == ({**counts(1, 2), "write_type": 5}, None)
    for cut in o.truncations(body):
        with pytest.raises(errors.FrameError):
            read_error(Reader(cut), version)
    if version >= 5:
        with pytest.raises(errors.FrameError, match="number of contentions"):
            read_error(Reader(body + b"\0"), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_outcome_of_a_lightweight_transaction(version: int) -> None:
    body = body_of(0x1700, CL + o.b4(1) + o.b4(2))
    error = read_error(Reader(body), version)
    check_three_ways(lambda data: summary(read_error(Reader(data), version)), body)
    assert isinstance(error, errors.CASWriteUnknown)
    assert error.info == counts(1, 2)
    assert error.to_exception() is error


@pytest.mark.parametrize("code", [0x1100, 0x1500])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_write_type_of_the_future_is_kept_by_name(code: int, version: int) -> None:
    failed = b"" if code == 0x1100 else failures(version)[0]
    error = read_error(Reader(body_of(code, CL + o.b4(1) + o.b4(2) + failed + o.text("PAXOS3"))), version)
    assert error.info["write_type"] == "PAXOS3"
    exception = error.to_exception()
    assert isinstance(exception, (errors.WriteTimeout, errors.WriteFailure))
    assert exception.write_type == "PAXOS3"


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (o.b4(-1), "number of failed replicas is -1"),
        (o.b4(2**31 - 1), "address of a failed replica"),
        (o.b4(1) + o.b1(7) + bytes(20), "address of a failed replica has 7 bytes"),
    ],
)
def test_maps_of_reasons_that_lie(failed: bytes, words: str) -> None:
    with pytest.raises(errors.FrameError, match=words):
        read_error(Reader(body_of(0x1300, CL + o.b4(1) + o.b4(2) + failed)), 5)


def test_a_message_that_is_not_utf8_is_shown_all_the_same() -> None:
    error = read_error(Reader(o.b4(0x2200) + o.short_blob(b"bad \xff byte")), 4)
    assert isinstance(error, errors.InvalidRequestException)
    assert error.message == "bad \ufffd byte"


def test_beta_answers_are_known() -> None:
    text = "Beta version of the protocol used (5/v5-beta), but USE_BETA flag is unset"
    error = read_error(Reader(o.b4(0x0A) + o.text(text)), 5)
    assert isinstance(error, errors.ProtocolException)
    assert error.is_beta_protocol_error
    assert not errors.ProtocolException(0x0A, "other").is_beta_protocol_error
