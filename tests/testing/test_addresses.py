"""Addresses as people give them."""

from __future__ import annotations

import pytest

from geventcql.testing import AddressError, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.8", ("127.0.0.8", 9042)),
        ("127.0.0.8:9142", ("127.0.0.8", 9142)),
        ("db-1.example.org", ("db-1.example.org", 9042)),
        ("localhost:1", ("localhost", 1)),
        ("::1", ("::1", 9042)),
        ("[::1]", ("::1", 9042)),
        ("[2001:db8::7]:65535", ("2001:db8::7", 65535)),
        ("fe80::1%eth0", ("fe80::1%eth0", 9042)),
    ],
)
def test_an_address_with_and_without_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", ":9042", "127.0.0.8:", "127.0.0.8:abc", "127.0.0.8:0", "127.0.0.8:65536", "a:1:2", "[::1", "[a]:1", "[]", "a b"],
)
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value) and "HOST:PORT" in str(caught.value)
