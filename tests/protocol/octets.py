"""Bytes of the notations of the protocol written by hand, independent of the code under test and of its helpers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from geventcql.errors import FrameError


def b1(number: int) -> bytes:
    """[byte]."""
    return number.to_bytes(1, "big")


def b2(number: int) -> bytes:
    """[short]."""
    return number.to_bytes(2, "big")


def b4(number: int) -> bytes:
    """[int]."""
    return number.to_bytes(4, "big", signed=True)


def b8(number: int) -> bytes:
    """[long]."""
    return number.to_bytes(8, "big", signed=True)


def text(value: str) -> bytes:
    """[string]."""
    data = value.encode("utf-8")
    return b2(len(data)) + data


def long_text(value: str) -> bytes:
    """[long string]."""
    data = value.encode("utf-8")
    return b4(len(data)) + data


def short_blob(data: bytes) -> bytes:
    """[short bytes]."""
    return b2(len(data)) + data


def blob(data: bytes | None) -> bytes:
    """[bytes]."""
    return b4(-1) if data is None else b4(len(data)) + data


def texts(*values: str) -> bytes:
    """[string list]."""
    return b2(len(values)) + b"".join(text(value) for value in values)


def multimap(values: Mapping[str, list[str]]) -> bytes:
    """[string multimap]."""
    return b2(len(values)) + b"".join(text(key) + texts(*value) for key, value in values.items())


def blob_map(values: Mapping[str, bytes | None]) -> bytes:
    """[bytes map]."""
    return b2(len(values)) + b"".join(text(key) + blob(value) for key, value in values.items())


def inet(address: bytes, port: int) -> bytes:
    """[inet]."""
    return b1(len(address)) + address + b4(port)


def truncations(body: bytes, start: int = 0) -> Iterator[bytes]:
    """`body` cut at every place from `start` on."""
    for end in range(start, len(body)):
        yield body[:end]


def check_three_ways(read: Callable[[bytes], Any], body: bytes, start: int = 0) -> Any:
    """`read` of the whole body; with bytes behind it, which must not matter; cut at every place, which must be told."""
    whole = read(body)
    assert read(body + b"\x00trailing\xff") == whole
    for cut in truncations(body, start):
        with pytest.raises(FrameError, match=r"."):
            read(cut)
    return whole
