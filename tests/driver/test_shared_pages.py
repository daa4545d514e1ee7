"""One page that several greenlets read, with application code between them that lets the others run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from geventcql.protocol import ProtocolHandler
from geventcql.session import Session
from tests.driver.support import cluster_of
from tests.support.fakenode import FakeNode, Rows, custom
from tests.support.values import udt

COUNT = 2500
ROWS = [(i,) for i in range(COUNT)]
VALUES = [i for (i,) in ROWS]


@pytest.fixture
def table(node: FakeNode) -> FakeNode:
    node.on("SELECT v FROM t", rows=[("v", "int")], data=ROWS)
    node.on("SELECT none FROM t", rows=[("v", "int")])
    return node


class Once:
    """Sleeps when it is first called with rows, so that who comes later overtakes."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, names: Any, rows: Any) -> list[int]:
        self.calls += 1
        gevent.sleep(0.02 if self.calls == 1 else 0)
        return [row[0] for row in rows]


def read(*looks: Callable[[], Any]) -> list[Any]:
    greenlets = [gevent.spawn(look) for look in looks]
    return [greenlet.get() for greenlet in greenlets]


def test_a_factory_that_switches(session: Session, table: FakeNode) -> None:
    session.row_factory = Once()
    rows = session.execute("SELECT v FROM t")
    assert read(*[lambda: list(rows.current_rows)] * 3) == [VALUES] * 3
    assert read(*[lambda: list(rows)] * 2) == [VALUES] * 2


def test_a_factory_that_switches_and_makes_no_list(session: Session, table: FakeNode) -> None:
    made = Once()
    session.row_factory = lambda names, rows: tuple(made(names, rows))
    rows = session.execute("SELECT v FROM t")
    assert read(*[lambda: rows.current_rows] * 3) == [tuple(VALUES)] * 3


@pytest.mark.parametrize("at", [1, 1500, COUNT])
def test_values_that_switch(node: FakeNode, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """In any slice of the page, which others read meanwhile to its end."""

    class Number:
        made = 0

        def __init__(self, n: int) -> None:
            self.n = n
            Number.made += 1
            gevent.sleep(0.02 if Number.made == at else 0)

    node.on("SELECT n FROM t", Rows([("n", udt("ks", "number", n="int"))], [(row,) for row in ROWS]))
    with cluster_of(node) as cluster:
        session = cluster.connect()
        monkeypatch.setattr(cluster._control, "user_type_fields", lambda *names: ["n"])
        cluster.register_user_type("ks", "number", Number)
        rows = session.execute("SELECT n FROM t")
        assert read(*[lambda: [row.n.n for row in rows]] * 3) == [VALUES] * 3


def test_an_empty_page(session: Session, table: FakeNode) -> None:
    session.row_factory = Once()
    rows = session.execute("SELECT none FROM t")
    assert read(*[lambda: list(rows)] * 3) == [[]] * 3


def test_a_handler_that_switches(session: Session, table: FakeNode) -> None:
    made = Once()

    class Handler(ProtocolHandler):
        def rows(self, page: Any, decoder: Any, row_factory: Any) -> Any:
            return made(None, super().rows(page, decoder, row_factory))

    session.client_protocol_handler = Handler()
    rows = session.execute("SELECT v FROM t")
    assert read(*[lambda: list(rows.current_rows)] * 3) == [VALUES] * 3


def test_slices_and_the_first_row(session: Session, table: FakeNode) -> None:
    rows = session.execute("SELECT v FROM t")
    looks = (lambda: [row.v for row in rows], rows.one, lambda: [row.v for row in rows.current_rows], rows.all)
    listed, first, current, all_rows = read(*looks)
    assert listed == current == [row.v for row in all_rows] == VALUES
    assert first.v == 0


def test_new_metadata_that_makes_no_sense_ends_the_request(session: Session, node: FakeNode) -> None:
    text = "SELECT v FROM t WHERE k = ?"
    vector = "org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType,-1)"
    node.on(text, Rows([("v", custom(vector))], [(b"",)]), binds=[("k", "int")])
    prepared = session.prepare(text)
    with gevent.Timeout(5):
        rows = session.execute(prepared, (1,), timeout=None)
    for _ in range(2):
        with pytest.raises(Exception, match="vector"):
            rows.one()
