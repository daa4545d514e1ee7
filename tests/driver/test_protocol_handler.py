"""An application's own decoding of result bodies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cassandra.cluster import ResultSet

from geventcql.cluster import Cluster
from geventcql.errors import UnsupportedOperation
from geventcql.protocol import (
    LazyProtocolHandler,
    NumpyProtocolHandler,
    ProtocolHandler,
    cython_protocol_handler,
)
from geventcql.query import tuple_factory
from tests.support.fakenode import FakeNode, Rows

COLUMNS = [("k", "int"), ("v", "text")]


class RawBytes(ProtocolHandler):
    def rows(self, page: Any, decoder: Any, row_factory: Any) -> Any:
        return [page.body[page.rows_offset :]]


class Upper(ProtocolHandler):
    def rows(self, page: Any, decoder: Any, row_factory: Any) -> Any:
        return [row._replace(v=row.v.upper()) for row in super().rows(page, decoder, row_factory)]


@pytest.mark.parametrize("version", [4, 5])
def test_replaces_the_decoding(version: int) -> None:
    with FakeNode() as node, Cluster([("127.0.0.1", node.port)], protocol_version=version) as cluster:
        node.on("SELECT k, v FROM t", rows=COLUMNS, data=[(1, "a"), (2, "b")])
        node.prepare("SELECT k, v FROM t WHERE k=?", binds=[("k", "int")], columns=COLUMNS)
        node.on("SELECT k, v FROM t WHERE k=?", Rows(COLUMNS, [(7, "seven")]))
        session = cluster.connect()
        prepared = session.prepare("SELECT k, v FROM t WHERE k=?")
        assert session.execute(prepared, (7,)).one() == (7, "seven")

        session.client_protocol_handler = Upper()
        assert list(session.execute("SELECT k, v FROM t")) == [(1, "A"), (2, "B")]
        assert session.execute(prepared, (7,)).one().v == "SEVEN"
        assert session.execute(prepared, (7,)).column_names == ["k", "v"]

        session.client_protocol_handler = RawBytes()
        cell = b"\x00\x00\x00\x04"
        assert session.execute(prepared, (7,)).current_rows == [cell + b"\x00\x00\x00\x07" + b"\x00\x00\x00\x05seven"]

        session.client_protocol_handler = None
        assert session.execute(prepared, (7,)).one() == (7, "seven")


def test_an_error_of_the_handler_reaches_whoever_looks_at_the_rows() -> None:
    class Broken(ProtocolHandler):
        def rows(self, page: Any, decoder: Any, row_factory: Any) -> Any:
            raise LookupError("no")

    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        node.on("SELECT k, v FROM t", rows=COLUMNS, data=[(1, "a")])
        session = cluster.connect()
        session.client_protocol_handler = Broken()
        result = session.execute("SELECT k, v FROM t")
        for _ in range(2):
            with pytest.raises(LookupError, match="no"):
                result.all()
        assert session.execute("SELECT k, v FROM t").column_names == ["k", "v"]


def test_a_handler_that_returns_nothing() -> None:
    class Forgetful(ProtocolHandler):
        def rows(self, page: Any, decoder: Any, row_factory: Any) -> Any:
            super().rows(page, decoder, row_factory)

    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        node.on("SELECT k, v FROM t", rows=COLUMNS, data=[(1, "a")])
        session = cluster.connect()
        session.client_protocol_handler = Forgetful()
        result = session.execute("SELECT k, v FROM t")
        for look in (result.all, result.one, lambda: result.current_rows, lambda: bool(result), result.all):
            with pytest.raises(TypeError, match=r"Forgetful\.rows.* returned None instead of rows"):
                look()


RESULTS = {
    "a mapping": (lambda: {"k": [1, 2]}, [{"k": [1, 2]}]),
    "an empty mapping": (dict, []),
    "a number": (lambda: 3, [3]),
    "a generator": (lambda: (i for i in (1, 2, 3)), [1, 2, 3]),
    "a tuple": (lambda: (1, 2, 3), [1, 2, 3]),
    "a list": (lambda: [1, 2, 3], [1, 2, 3]),
}


@pytest.mark.parametrize("by", ["handler", "factory"])
@pytest.mark.parametrize("result", list(RESULTS))
def test_what_a_page_becomes(by: str, result: str) -> None:
    """As cassandra-driver's ResultSet has it: a mapping, or what is no series, is one row."""
    make, rows = RESULTS[result]

    class Handler(ProtocolHandler):
        def rows(self, page: Any, decoder: Any, row_factory: Any) -> Any:
            return make()

    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        node.on("SELECT k, v FROM t", rows=COLUMNS, data=[(1, "a"), (2, "b")])
        session = cluster.connect()
        if by == "handler":
            session.client_protocol_handler = Handler()
        else:
            session.row_factory = lambda names, rows: make()
        looks = session.execute("SELECT k, v FROM t")
        assert bool(looks) is bool(rows)
        assert looks.one() == (rows[0] if rows else None)
        assert list(looks) == rows and list(looks.current_rows) == list(looks._current_rows) == rows and looks.all() == rows
        theirs = ResultSet(SimpleNamespace(_col_names=[], _col_types=[]), make())
        assert list(theirs.current_rows) == rows




def test_classes_are_taken_as_in_cassandra_driver() -> None:
    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        node.on("SELECT k, v FROM t", rows=COLUMNS, data=[(1, "a"), (2, "b")])
        session = cluster.connect()
        session.client_protocol_handler = Upper
        assert list(session.execute("SELECT k, v FROM t")) == [(1, "A"), (2, "B")]
        session.row_factory = tuple_factory
        session.client_protocol_handler = LazyProtocolHandler
        assert list(session.execute("SELECT k, v FROM t")) == [(1, "a"), (2, "b")]
        session.row_factory = lambda names, rows: [dict(zip(names, row, strict=True)) for row in rows]
        assert session.execute("SELECT k, v FROM t").all()[1] == {"k": 2, "v": "b"}
        session.client_protocol_handler = ProtocolHandler
        assert session.execute("SELECT k, v FROM t").one() == {"k": 1, "v": "a"}


def test_lazy_rows_of_a_large_page() -> None:
    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        node.on("SELECT k, v FROM t", rows=COLUMNS, data=[(k, "a") for k in range(2500)])
        session = cluster.connect()
        session.client_protocol_handler = LazyProtocolHandler
        assert [row.k for row in session.execute("SELECT k, v FROM t")] == list(range(2500))


def test_handlers_that_would_not_be_asked_are_refused() -> None:
    class Debug(ProtocolHandler):
        @classmethod
        def decode_message(cls, *args: Any) -> Any:
            raise AssertionError("not asked")

    class Types(ProtocolHandler):
        message_types_by_opcode: dict[int, Any] = {}

    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        session = cluster.connect()
        for handler, word in ((Debug, "decode_message"), (Types, "message_types_by_opcode"), (NumpyProtocolHandler, "yet")):
            with pytest.raises(UnsupportedOperation, match=word):
                session.client_protocol_handler = handler
        with pytest.raises(UnsupportedOperation, match="subclass"):
            cython_protocol_handler(object())
