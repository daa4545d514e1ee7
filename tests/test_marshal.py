"""Numbers as bytes, and the partitioner's hash: cassandra-driver's results."""

from __future__ import annotations

import cassandra.marshal
import cassandra.murmur3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql import marshal
from geventcql.murmur3 import murmur3


@given(st.integers(-(2**80), 2**80))
def test_varints(number: int) -> None:
    data = marshal.varint_pack(number)
    assert data == cassandra.marshal.varint_pack(number) and marshal.varint_unpack(data) == number


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_vints(numbers: list[int]) -> None:
    data = marshal.vints_pack(numbers)
    assert data == cassandra.marshal.vints_pack(numbers) and marshal.vints_unpack(data) == tuple(numbers)


@given(st.integers(0, 2**64 - 1))
def test_unsigned_vints(number: int) -> None:
    data = marshal.uvint_pack(number)
    assert data == cassandra.marshal.uvint_pack(number) and marshal.uvint_unpack(data + b"x") == (number, len(data))


def test_what_does_not_fit() -> None:
    for number in (-1, 2**64):
        with pytest.raises(ValueError, match="does not fit"):
            marshal.uvint_pack(number)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float", "double"])
def test_fixed_sizes(kind: str) -> None:
    data = getattr(marshal, f"{kind}_pack")(100)
    assert data == getattr(cassandra.marshal, f"{kind}_pack")(100) and getattr(marshal, f"{kind}_unpack")(data) == 100


@given(st.binary())
def test_tokens(key: bytes) -> None:
    assert murmur3(key) == cassandra.murmur3.murmur3(key)
