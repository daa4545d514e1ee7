"""Names: quoted exactly where cassandra-driver quotes them."""

from __future__ import annotations

import cassandra.metadata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql import metadata

names = st.one_of(st.text(), st.from_regex(r"[a-zA-Z_\"][a-z0-9_]*", fullmatch=True),
                  st.sampled_from(sorted(metadata.cql_keywords)))  # fmt: skip


@given(names)
def test_names_are_protected_as_by_cassandra_driver(name: str) -> None:
    if name.endswith("\n"):  # its regular expression overlooks a newline at the end
        assert not metadata.is_valid_name(name)
    else:
        assert metadata.is_valid_name(name) == cassandra.metadata.is_valid_name(name)
        assert metadata.protect_name(name) == cassandra.metadata.protect_name(name)
        assert metadata.maybe_escape_name(name) == cassandra.metadata.maybe_escape_name(name)
    assert metadata.escape_name(name) == cassandra.metadata.escape_name(name)


def test_keywords_are_those_of_cassandra_driver() -> None:
    for name in ("cql_keywords", "cql_keywords_reserved", "cql_keywords_unreserved"):
        assert getattr(metadata, name) == getattr(cassandra.metadata, name), name


@pytest.mark.parametrize("value", [None, 1, 1.5, True, False, "", "it's", "NULL"])
def test_values(value: str | float | None) -> None:
    assert metadata.protect_value(value) == cassandra.metadata.protect_value(value)


def test_examples() -> None:
    assert metadata.protect_names(["plain", "Upper", "select", 'a"b', "ttl", "1st"]) == [
        "plain", '"Upper"', '"select"', '"a""b"', "ttl", '"1st"',
    ]  # fmt: skip
    assert not metadata.is_valid_name(None)
