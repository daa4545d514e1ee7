"""Tokens as Cassandra computes them: golden ones, and equality with cassandra-driver's two implementations."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geventcql.cython.codecs import murmur3_token

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from cassandra.metadata import Murmur3Token
    from cassandra.murmur3 import _murmur3


@pytest.mark.parametrize(
    ("key", "token"),
    [
        (b"", 0),
        (b"123", -7468325962851647638),
        (b"\x00\xff\x10\xfa\x99" * 10, 5837342703291459765),
        (b"\xfe" * 8, -8927430733708461935),
        (b"\x10" * 8, 1446172840243228796),
        (b"9223372036854775807", 7162290910810015547),
    ],
)
def test_golden_tokens(key: bytes, token: int) -> None:
    assert murmur3_token(key) == token
    assert murmur3_token(bytearray(key)) == murmur3_token(memoryview(key)) == token


@settings(max_examples=400)
@given(st.binary(max_size=64) | st.lists(st.integers(0x80, 0xFF), max_size=64).map(bytes))
def test_equals_cassandra_drivers(key: bytes) -> None:
    token = murmur3_token(key)
    assert token == Murmur3Token.hash_fn(key)
    assert token == _murmur3(key)  # its pure Python twin


def test_every_length_of_a_tail() -> None:
    for fill in (b"\x7f", b"\x80", b"\xff", b"\x00"):
        for length in range(65):
            assert murmur3_token(fill * length) == Murmur3Token.hash_fn(fill * length)


def test_only_bytes_have_tokens() -> None:
    for key in ("text", 5, None):
        with pytest.raises(TypeError):
            murmur3_token(key)  # type: ignore[arg-type]
