"""Row factories: the rows, and the names of their fields, as with cassandra-driver's."""

from __future__ import annotations

import logging
from collections import OrderedDict

import cassandra.query
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql import query, rows

odd_names = st.lists(
    st.one_of(
        st.text(alphabet="aB1_ .()-\n", max_size=8),
        st.sampled_from(["class", "def", "count(*)", "system.now()", "a", "a", "_x", "1", "", "field_0_", "é"]),
    ),
    max_size=8,
)


@pytest.mark.logs("WARNING Not all columns")
@given(odd_names)
def test_field_names_are_those_of_cassandra_driver(names: list[str]) -> None:
    values = tuple(range(len(names)))
    theirs = cassandra.query.named_tuple_factory(names, [values])[0]
    (ours,) = rows.named_tuple_factory(names, [values])
    assert ours._fields == theirs._fields  # type: ignore[attr-defined]
    assert ours == theirs == values
    assert type(ours).__name__ == "Row"


def test_the_class_is_cached_by_names() -> None:
    first = rows.named_tuple_class(("a", "b"))
    assert rows.named_tuple_class(("a", "b")) is first
    assert rows.named_tuple_class(("b", "a")) is not first
    assert type(rows.named_tuple_factory(["a", "b"], [(1, 2)])[0]) is first


@pytest.mark.logs("WARNING Not all columns")
def test_odd_names_warn_once(caplog: pytest.LogCaptureFixture) -> None:
    names = ("class", "ok", "ok", "only in this test")
    with caplog.at_level(logging.WARNING, "geventcql"):
        assert rows.named_tuple_class(names)._fields == ("field_0_", "ok", "ok_", "only_in_this_test")  # type: ignore[attr-defined]
        rows.named_tuple_class(names)
        rows.named_tuple_class(("a", "count"))
    assert len(caplog.records) == 1
    assert "row_factory" in caplog.text


def test_wide_rows() -> None:
    names = [f"c{index}" for index in range(1000)]
    (row,) = rows.named_tuple_factory(names, [tuple(range(1000))])
    assert row.c999 == 999  # type: ignore[attr-defined]


def test_factories() -> None:
    names, table = ["b", "a b"], [(1, 2), (3, 4)]
    assert rows.tuple_factory(names, table) is table
    assert rows.dict_factory(names, table) == [{"b": 1, "a b": 2}, {"b": 3, "a b": 4}]
    ordered = rows.ordered_dict_factory(names, table)
    assert ordered[0] == OrderedDict([("b", 1), ("a b", 2)]) != OrderedDict([("a b", 2), ("b", 1)])
    for factory in (rows.tuple_factory, rows.named_tuple_factory, rows.dict_factory, rows.pseudo_namedtuple_factory):
        assert list(factory(names, [])) == []


def test_pseudo_named_tuples() -> None:
    (row,) = rows.pseudo_namedtuple_factory(["b", "a b"], [(1, 2)])
    assert row.b == row[0] == 1
    assert getattr(row, "a b") == 2
    assert list(row) == [1, 2] and len(row) == 2 and row[-1] == 2
    assert repr(row) == "PseudoNamedTupleRow({'b': 1, 'a b': 2})"
    with pytest.raises(AttributeError, match="no column 'c'"):
        row.c  # noqa: B018


def test_query_exports_them() -> None:
    assert query.named_tuple_factory is rows.named_tuple_factory
    assert query.dict_factory is rows.dict_factory
