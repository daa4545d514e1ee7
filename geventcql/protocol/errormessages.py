"""The body of ERROR (sections 4.2.1 and 9) in protocol v3, v4 and v5, read into the classes of errors.py.

Layer: protocol; pure. The names of the fields are those that cassandra-driver gives to its retry policies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geventcql.errors import (
    AlreadyExistsException,
    CASWriteUnknown,
    ErrorMessage,
    FunctionFailureMessage,
    PreparedQueryNotFound,
    ReadFailureMessage,
    ReadTimeoutErrorMessage,
    UnavailableErrorMessage,
    WriteFailureMessage,
    WriteTimeoutErrorMessage,
    error_classes,
)
from geventcql.protocol.constants import ProtocolVersion, WriteType
from geventcql.protocol.notation import Reader


def read_error(reader: Reader, version: int) -> ErrorMessage:
    """An ERROR from its code on; a code that we do not know becomes a plain ErrorMessage without info."""
    code = reader.int_("error code")
    message = reader.text("error message")
    error_class = error_classes.get(code, ErrorMessage)
    read = _INFO.get(error_class)
    error = error_class(code, message, read(reader, version) if read else None)
    # Protocol v5 tells how contended a lightweight transaction was; Cassandra not of every one that timed out.
    if (
        isinstance(error, WriteTimeoutErrorMessage)
        and error.info["write_type"] == WriteType.CAS
        and version >= ProtocolVersion.V5
        and reader.pos < len(reader.body)
    ):
        error.contentions = reader.short("number of contentions")
    return error


def _unavailable(reader: Reader, version: int) -> dict[str, Any]:
    return {
        "consistency": reader.short("consistency level"),
        "required_replicas": reader.int_("required replicas"),
        "alive_replicas": reader.int_("alive replicas"),
    }


def _responses(reader: Reader, version: int) -> dict[str, Any]:
    return {
        "consistency": reader.short("consistency level"),
        "received_responses": reader.int_("received responses"),
        "required_responses": reader.int_("required responses"),
    }


def _failures(reader: Reader, version: int) -> dict[str, Any]:
    info = _responses(reader, version)
    if version < ProtocolVersion.V5:
        return {**info, "failures": reader.int_("number of failures"), "error_code_map": None}
    count = reader.count("number of failed replicas")
    reasons = [
        (reader.inetaddr("address of a failed replica"), reader.short("reason of a failure")) for _ in range(count)
    ]
    return {**info, "failures": count, "error_code_map": dict(reasons)}


def _write_type(reader: Reader) -> int | str:
    name = reader.string("write type")
    return WriteType.name_to_value.get(name, name)


def _data_retrieved(reader: Reader) -> bool:
    return reader.byte("data present") != 0


_INFO: dict[type[ErrorMessage], Callable[[Reader, int], Any]] = {
    UnavailableErrorMessage: _unavailable,
    WriteTimeoutErrorMessage: lambda reader, version: {
        **_responses(reader, version),
        "write_type": _write_type(reader),
    },
    ReadTimeoutErrorMessage: lambda reader, version: {
        **_responses(reader, version),
        "data_retrieved": _data_retrieved(reader),
    },
    ReadFailureMessage: lambda reader, version: {
        **_failures(reader, version),
        "data_retrieved": _data_retrieved(reader),
    },
    WriteFailureMessage: lambda reader, version: {**_failures(reader, version), "write_type": _write_type(reader)},
    FunctionFailureMessage: lambda reader, version: {
        "keyspace": reader.string("keyspace of the function"),
        "function": reader.string("name of the function"),
        "arg_types": reader.string_list("argument types"),
    },
    CASWriteUnknown: _responses,
    PreparedQueryNotFound: lambda reader, version: reader.short_bytes("the statement's id"),
    AlreadyExistsException: lambda reader, version: {
        "keyspace": reader.string("keyspace"),
        "table": reader.string("table"),
    },
}
