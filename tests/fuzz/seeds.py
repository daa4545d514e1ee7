"""Inputs that the targets begin with, from the independent codecs: whole replies of every kind, types and values."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from tests.cython.wireserver import Server
from tests.fuzz.source import SIMPLE, Source
from tests.support import refcodec, replies, wire
from tests.support import values as v
from tests.support.replies import ErrorCode, Rows
from tests.support.requests import Statement

NESTED = (
    ("list", "int"), ("set", "text"), ("map", "text", ("list", "bigint")), ("tuple", "int", "text"), ("vector", "float", 3),
    ("vector", "text", 2), ("udt", "ks", "address", (("street", "text"), ("zip", ("list", "int")))),
    ("map", ("list", "int"), ("set", ("tuple", "uuid", "decimal"))), ("list", ("vector", ("vector", "smallint", 2), 2)),
)
COLUMNS = [("k", v.parse("int")), ("v", v.parse("text")), ("l", v.parse("map<text, frozen<list<int>>>"))]
DATA = [(1, "one", {"a": [1, 2]}), (2, None, {}), (3, "drei", None)]
EXECUTED = SimpleNamespace(
    stream=0, version=5, opcode=wire.Opcode.QUERY, skip_metadata=False, statement=None, effective_keyspace="ks",
    result_metadata_id=b"",
)


def seeds(target: str) -> list[bytes]:
    """Those of a target."""
    return {
        "cells": _cells, "rows": _rows, "names": _names, "frames": _frames, "segments": _segments, "replies": _replies,
        "pages": _pages,
    }.get(target, lambda: [bytes(range(40)), bytes(range(256)) * 2])()


def _some(cql_type: Any, start: int) -> bytes:
    """A cell of the type, with a value that is the same each time."""
    value = Source(bytes((start + 7 * i) % 251 for i in range(400))).value(cql_type)
    return refcodec.encode(cql_type, value) or b""


def _cells() -> list[bytes]:
    simple = [bytes([index]) + _some(name, start) for index, name in enumerate(SIMPLE) for start in (3, 50)]
    # From the number of simple types on: list, set, list, set, map, vector, tuple, udt; here of int, text and the like.
    nested = [
        bytes([len(SIMPLE) + kind, *range(inner, inner + 8)]) + refcodec.cell(_some("int", 3)) * 3
        for kind in range(8)
        for inner in (0, 5, 12)
    ]
    return simple + nested


def _rows() -> list[bytes]:
    types = [*SIMPLE, *NESTED]
    specs = [(f"c{i}", cql_type) for i, cql_type in enumerate(types)]
    row = b"".join(refcodec.cell(_some(cql_type, 3)) for cql_type in types)
    wide = bytes([1, 0, len(types), 0, 2]) + refcodec.columns(specs) + row * 2
    narrow = [
        bytes([flag, 0, 1, 0, 3]) + refcodec.columns([("c", cql_type)], global_spec=bool(flag), version=4)
        + refcodec.cell(_some(cql_type, 9)) * 3
        for cql_type in types
        for flag in (0, 1)
    ]
    return [wide, *narrow]


def _names() -> list[bytes]:
    classes = [b"\0" + refcodec.class_name(cql_type).encode() for cql_type in (*SIMPLE, *NESTED)]
    wrapped = [
        b"\0" + text.encode()
        for text in ("ReversedType(UTF8Type)", "CompositeType(Int32Type,UTF8Type)", "FrozenType(ListType(Int32Type))",
                     "org.x.Custom(a,(b))", "PartitionerDefinedOrder", "a=>b:Int32Type")
    ]
    cql = [b"\1" + refcodec.cql_name(cql_type).encode() for cql_type in (*SIMPLE, *NESTED)]
    return [*classes, *wrapped, *cql, b"\1frozen<map<text, vector<float, 3>>>", b"\1'a.Class'", b'\1"Quoted"']


def _messages(version: int) -> list[wire.Envelope]:
    """A reply of each kind."""
    request: Any = SimpleNamespace(**{**vars(EXECUTED), "version": version})
    rows = Rows(COLUMNS, DATA)
    statement = Statement("SELECT", COLUMNS[:2], COLUMNS, [0])
    all_of_them: list[replies.Reply] = [
        rows, Rows(COLUMNS, DATA, paging_state=b"state", global_spec=False), Rows(COLUMNS, DATA, no_metadata=True),
        Rows(COLUMNS, [], metadata_changed_id=b"new id"), rows.with_warnings("careful").with_trace(uuid.UUID(int=5)),
        rows.with_payload({"key": b"value", "none": None}), replies.Void(), replies.SetKeyspace("ks"),
        replies.SchemaChange("CREATED", "FUNCTION", "ks", "f", ["int"]), replies.Prepared(statement),
        replies.Ready(), replies.Authenticate(), replies.AuthChallenge(b"x"), replies.AuthSuccess(None),
        replies.Supported({"COMPRESSION": ["lz4"]}), replies.status_change("UP", "::1", 9042),
        replies.topology_change("NEW_NODE", "127.0.0.1", 9042), replies.schema_event("DROPPED", "TABLE", "ks", "t"),
        *(replies.Error(code) for code in ErrorCode),
        replies.Error(ErrorCode.READ_FAILURE, failures={"127.0.0.1": 1, "::1": 0}),
        replies.Error(ErrorCode.WRITE_TIMEOUT, write_type="CAS"),
    ]
    return [reply.envelope(request, version) for reply in all_of_them]


def _frames() -> list[bytes]:
    """The number of the variant, how to cut, the frames; several in one input and one in each."""
    found = []
    for number, (version, compression) in enumerate(((3, None), (4, None), (4, "lz4"), (4, "snappy"), (5, None), (5, "lz4"))):
        server = Server(version, compression)
        raw = [
            server.envelope(stream if message.stream >= 0 else -1, message.opcode, message.body, message.flags)
            for stream, message in enumerate(_messages(version))
        ]
        head = bytes([number]) + bytes((3, 0, 5, 0, 90, 1, 0, 1, 0, 1, 0, 1))
        found += [head + server.bytes(some) for some in (raw[:3], raw[3:20], raw[20:])]
        found += [head + server.bytes([one]) for one in raw[:8]]
    return found


def _segments() -> list[bytes]:
    found = []
    for compression in (0, 1):
        raw = b"".join(
            wire.encode_envelope(wire.Envelope(5, 0, stream, message.opcode, message.body, True))
            for stream, message in enumerate(_messages(5)[:5])
        )
        for kind in (0, 1, 128, 129, 131, 0x79):
            parts = [raw[i : i + 200] for i in range(0, len(raw), 200)]
            pieces = b"".join(bytes([kind, len(part), 0]) + part for part in parts)
            found.append(bytes([compression]) + bytes(12) + pieces)
    return found


def _replies() -> list[bytes]:
    return [
        bytes([version - 3, message.opcode, message.flags]) + message.body
        for version in (3, 4, 5)
        for message in _messages(version)
    ]


def _pages() -> list[bytes]:
    bodies = [message.body for message in _messages(5)[:7]]
    steps = (bytes((4, 4, 1, 1, 0, 2, 3)), bytes((8, 0, 1, 2, 3, 200, 2, 5, 4)), bytes((2, 2, 2)), bytes((3, 3, 200, 2, 0)))
    return [
        bytes([2, 0, kind]) + step.ljust(16, b"\0") + bytes((1, 2, 3, 4, 5, 0, 1, 2)) + body
        for kind in range(5)
        for step in steps
        for body in bodies[:4]
    ]
