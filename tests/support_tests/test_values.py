"""The fake node's encoder of canned rows against cassandra-driver's types."""

from __future__ import annotations

import datetime
import decimal
import io
import uuid
from typing import Any

import pytest
from cassandra import cqltypes
from cassandra.protocol import ResultMessage

from tests.support import values

CASES: list[tuple[str, Any]] = [
    ("ascii", "abc"),
    ("bigint", -(2**63)),
    ("blob", b"\x00\xff"),
    ("boolean", True),
    ("boolean", False),
    ("counter", 5),
    ("decimal", decimal.Decimal("-123.456")),
    ("decimal", decimal.Decimal("1E+40")),
    ("double", 1.5e300),
    ("float", 0.5),
    ("int", -7),
    ("timestamp", datetime.datetime(2024, 2, 29, 12, 0, 0, 123000)),
    ("timestamp", datetime.datetime(1901, 1, 1)),
    ("uuid", uuid.UUID(int=5)),
    ("text", "é😀"),
    ("varchar", ""),
    ("varint", 0),
    ("varint", 127),
    ("varint", 128),
    ("varint", -128),
    ("varint", -129),
    ("varint", 10**50),
    ("timeuuid", uuid.UUID("d2177dd0-eaa2-11de-a572-001b779c76e3")),
    ("inet", "127.0.0.1"),
    ("inet", "::1"),
    ("smallint", -2),
    ("tinyint", -128),
    ("list<int>", [1, 2, 3]),
    ("list<frozen<list<text>>>", [["a"], []]),
    ("map<text, frozen<list<bigint>>>", {"a": [1], "b": []}),
    ("tuple<int, text>", (1, "x")),
    ("tuple<int, text>", (None, "x")),
    ("vector<float, 3>", [0.5, 1.5, -2.0]),
]


@pytest.mark.parametrize(("cql_type", "value"), CASES, ids=str)
def test_encoded_values_are_what_cassandra_driver_reads(cql_type: str, value: Any) -> None:
    raw = values.encode(cql_type, value)
    option = values.option(values.parse(cql_type))
    column_type = ResultMessage.read_type(io.BytesIO(option), {})
    assert column_type.from_binary(raw, 5) == value
    assert values.decode(cql_type, raw) == value
    if not cql_type.startswith("vector"):
        assert column_type.to_binary(value, 5) == raw


def test_sets_dates_and_udts() -> None:
    int_set = cqltypes.SetType.apply_parameters([cqltypes.Int32Type])
    assert int_set.from_binary(values.encode("set<int>", {1, 2}), 5) == {1, 2}
    assert cqltypes.SimpleDateType.from_binary(values.encode("date", datetime.date(2024, 2, 29)), 5).date() == (
        datetime.date(2024, 2, 29)
    )
    address = values.udt("ks", "address", street="text", numbers="list<int>")
    assert values.decode(address, values.encode(address, ("Main", [1, 2]))) == ("Main", [1, 2])
    assert values.decode(address, values.encode(address, ("Main",))) == ("Main", None)


def test_null_and_raw_bytes_pass() -> None:
    assert values.encode("int", None) is None
    assert values.encode("int", b"\x01") == b"\x01"
    assert values.decode("int", None) is None


@pytest.mark.parametrize("text", ["integer", "list<", "int>", "map<int text>"])
def test_wrong_type_names_are_refused(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        values.parse(text)
