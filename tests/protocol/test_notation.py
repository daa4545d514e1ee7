"""The notations of section 3: golden bytes, limits, and a reader that never reads past its body."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.errors import FrameError
from geventcql.protocol import notation
from geventcql.protocol.notation import Reader
from tests.protocol import octets as o
from tests.protocol.octets import check_three_ways


@pytest.mark.parametrize(
    ("written", "golden"),
    [
        (notation.short(0), b"\x00\x00"),
        (notation.short(65535), b"\xff\xff"),
        (notation.int_(-1), b"\xff\xff\xff\xff"),
        (notation.int_(2**31 - 1), b"\x7f\xff\xff\xff"),
        (notation.long(-(2**63)), b"\x80" + bytes(7)),
        (notation.string("né"), b"\x00\x03n\xc3\xa9"),
        (notation.string(""), b"\x00\x00"),
        (notation.long_string("né"), b"\x00\x00\x00\x03n\xc3\xa9"),
        (notation.long_string(b"\xff"), b"\x00\x00\x00\x01\xff"),
        (notation.bytes_(None), b"\xff\xff\xff\xff"),
        (notation.bytes_(b""), b"\x00\x00\x00\x00"),
        (notation.bytes_(b"ab"), b"\x00\x00\x00\x02ab"),
        (notation.short_bytes(b"ab"), b"\x00\x02ab"),
        (notation.string_list(iter(["a", ""])), b"\x00\x02\x00\x01a\x00\x00"),
        (notation.string_map({"k": "v"}), b"\x00\x01\x00\x01k\x00\x01v"),
        (notation.bytes_map({"k": None, "l": b"v"}), b"\x00\x02\x00\x01k\xff\xff\xff\xff\x00\x01l\x00\x00\x00\x01v"),
    ],
)
def test_golden_bytes(written: bytes, golden: bytes) -> None:
    assert written == golden


@pytest.mark.parametrize(
    "write",
    [
        lambda: notation.short(65536, "the thing"),
        lambda: notation.short(-1, "the thing"),
        lambda: notation.int_(2**31, "the thing"),
        lambda: notation.int_(-(2**31) - 1, "the thing"),
        lambda: notation.long(2**63, "the thing"),
        lambda: notation.short_bytes(bytes(65536), "the thing"),
        lambda: notation.string("x" * 65536, "the thing"),
    ],
)
def test_what_does_not_fit_is_named(write: Any) -> None:
    with pytest.raises(ValueError, match="the thing"):
        write()


@pytest.mark.parametrize(
    ("body", "method", "value"),
    [
        (b"\xff", "byte", 255),
        (b"\xff\xfe", "short", 65534),
        (o.b4(-2), "int_", -2),
        (o.b4(7), "count", 7),
        (o.text("né"), "string", "né"),
        (o.text("né"), "text", "né"),
        (o.short_blob(b"ab"), "short_bytes", b"ab"),
        (o.blob(b"ab"), "bytes_", b"ab"),
        (o.blob(b""), "bytes_", b""),
        (o.blob(None), "bytes_", None),
        (o.b4(-2), "bytes_", None),
        (o.texts("a", "", "b"), "string_list", ["a", "", "b"]),
        (o.multimap({"a": ["b", "c"], "d": []}), "string_multimap", {"a": ["b", "c"], "d": []}),
        (o.blob_map({"a": None, "b": b"c"}), "bytes_map", {"a": None, "b": b"c"}),
        (o.inet(b"\x7f\x00\x00\x01", 9042), "inet", ("127.0.0.1", 9042)),
        (o.inet(bytes(15) + b"\x01", 9042), "inet", ("::1", 9042)),
        (o.b1(4) + b"\x0a\x00\x00\x02", "inetaddr", "10.0.0.2"),
        (bytes(range(16)), "uuid", UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")),
    ],
)
def test_reading_whole_with_trailing_bytes_and_cut(body: bytes, method: str, value: Any) -> None:
    assert check_three_ways(lambda data: getattr(Reader(data), method)("the field"), body) == value


@pytest.mark.parametrize(
    ("body", "method", "words"),
    [
        (o.b4(-1), "count", "the field is -1"),
        (b"\x00\x02\xc3\x28", "string", "the field is not UTF-8"),
        (o.b1(5) + bytes(5) + o.b4(1), "inet", "the field has 5 bytes"),
        (b"", "byte", "the field at byte 0 wants 1 bytes, 0 are left"),
        (b"\x00\x05ab", "string", "the field at byte 2 wants 5 bytes, 2 are left"),
        (b"\x7f\xff\xff\xff", "bytes_", "the field at byte 4 wants 2147483647 bytes, 0 are left"),
    ],
)
def test_contradictions_name_the_field(body: bytes, method: str, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        getattr(Reader(body), method)("the field")


def test_text_for_people_survives_bytes_that_are_not_utf8() -> None:
    assert Reader(b"\x00\x03a\xffb").text("message") == "a\ufffdb"


def test_a_failed_read_leaves_the_position() -> None:
    reader = Reader(b"ab", 1)
    with pytest.raises(FrameError):
        reader.take(2, "x")
    assert reader.pos == 1


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=20) | st.none(), max_size=5))
def test_bytes_maps_come_back(values: dict[str, bytes | None]) -> None:
    data = notation.bytes_map(values)
    assert data == o.blob_map(values)
    assert Reader(data).bytes_map("map") == values


@given(st.binary(max_size=64))
def test_no_bytes_make_the_reader_fail_otherwise(body: bytes) -> None:
    for method in ("string_list", "string_multimap", "bytes_map", "inet", "bytes_", "short_bytes", "uuid"):
        reader = Reader(body)
        try:
            getattr(reader, method)("field")
        except FrameError:
            continue
        assert reader.pos <= len(body)
