"""ResultSet: rows of one page and of many, what each way of looking at them asks the server for, errors at their place."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import gevent
import pytest

import geventcql
from geventcql.cqltypes import Int32Type, VarcharType
from geventcql.errors import (
    DecodeError,
    FrameError,
    InvalidRequest,
    NoHostAvailable,
    OperationTimedOut,
    ServerError,
)
from geventcql.query import (
    SimpleStatement,
    dict_factory,
    named_tuple_factory,
    ordered_dict_factory,
    pseudo_namedtuple_factory,
    tuple_factory,
)
from geventcql.resultset import ResultSet
from geventcql.session import Session
from tests.driver.support import eventually, pooled, settled
from tests.support.fakenode import Error, ErrorCode, FakeNode, Request, Rows, paged
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

COLUMNS = [("k", "int"), ("v", "text")]
DATA = [(i, f"v{i}") for i in range(10)]


@pytest.fixture
def table(node: FakeNode) -> FakeNode:
    node.on("SELECT all", Rows(COLUMNS, DATA))
    node.on("SELECT none", Rows(COLUMNS))
    node.on("SELECT pages", paged(COLUMNS, DATA, 4))
    return node


def asked(node: FakeNode, text: str) -> list[bytes | None]:
    """The paging states of the requests with a text."""
    return [request.paging_state for request in node.requests if request.text == text]


# -- one page ----------------------------------------------------------------------------------------------------------


def test_one_page(session: Session, table: FakeNode) -> None:
    rows = session.execute("SELECT all")
    assert rows.one() == (0, "v0") and rows.one().k == 0
    assert rows.column_names == ["k", "v"] and rows.column_types == [Int32Type, VarcharType]
    assert rows.current_rows == DATA and rows.all() == DATA and list(rows) == DATA
    assert rows[0] == (0, "v0") and rows[3].v == "v3" and rows[-1].k == 9 and rows[2:4] == DATA[2:4]
    assert rows and rows == DATA and rows != DATA[1:] and rows == session.execute("SELECT all")
    assert not rows.has_more_pages and rows.paging_state is None
    with pytest.raises(IndexError):
        rows[10]
    assert asked(table, "SELECT all") == [None, None]


def test_no_rows(session: Session, table: FakeNode) -> None:
    rows = session.execute("SELECT none")
    assert rows.one() is None and rows.all() == [] and list(rows) == [] and not rows and rows == []
    assert rows.column_names == ["k", "v"]
    with pytest.raises(StopIteration):
        next(rows)
    for index in (0, -1, 5):
        with pytest.raises(IndexError):
            rows[index]


def test_a_void_result(session: Session) -> None:
    rows = session.execute("INSERT INTO t (k) VALUES (1)")
    assert rows.one() is None and rows.all() == [] and not rows and rows.column_names == [] and rows.current_rows == []
    with pytest.raises(RuntimeError):
        rows.was_applied  # noqa: B018


def test_next(session: Session, table: FakeNode) -> None:
    rows = session.execute("SELECT pages")
    taken = [next(rows), rows.next()]
    assert taken == DATA[:2]
    while True:
        try:
            taken.append(next(rows))
        except StopIteration:
            break
    assert taken == DATA


def test_next_goes_on_where_iteration_stopped(session: Session, table: FakeNode) -> None:
    rows = session.execute("SELECT pages")
    for row in rows:
        if row.k == 5:
            break
    assert next(rows).k == 6


def test_was_applied(session: Session, node: FakeNode) -> None:
    node.on("yes", Rows([("[applied]", "boolean")], [(True,)]))
    node.on("no", Rows([("k", "int"), ("[applied]", "boolean")], [(1, False)]))
    for factory in (named_tuple_factory, tuple_factory, dict_factory, ordered_dict_factory):
        session.row_factory = factory
        assert session.execute("yes").was_applied is True
        assert session.execute("no").was_applied is False
    node.on("neither", Rows([("k", "int")], [(1,)]))
    with pytest.raises(RuntimeError):
        session.execute("neither").was_applied  # noqa: B018


# -- row factories -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", [tuple_factory, named_tuple_factory, pseudo_namedtuple_factory])
def test_tuple_like_rows(session: Session, table: FakeNode, factory: Any) -> None:
    session.row_factory = factory
    rows = session.execute("SELECT pages")
    assert [tuple(row) for row in rows] == DATA
    if factory is not tuple_factory:
        assert session.execute("SELECT all").one().v == "v0"


@pytest.mark.parametrize(("factory", "kind"), [(dict_factory, dict), (ordered_dict_factory, OrderedDict)])
def test_dict_like_rows(session: Session, table: FakeNode, factory: Any, kind: type) -> None:
    session.row_factory = factory
    rows = session.execute("SELECT pages")
    assert type(rows.one()) is kind and rows[0]["v"] == "v0"
    assert [(row["k"], row["v"]) for row in session.execute("SELECT pages")] == DATA


class Table:
    """What a factory may return: neither a list nor a tuple, and of no truth value, like a data frame."""

    def __init__(self, names: Any, rows: list[Any]) -> None:
        self.names, self.rows = list(names), rows

    def __bool__(self) -> bool:
        raise ValueError("the truth value of a table is ambiguous")

    def __iter__(self) -> Any:
        return iter(self.rows)


@pytest.mark.parametrize(
    ("factory", "first"),
    [
        (lambda names, rows: [dict(zip(names, row, strict=True)) for row in rows], {"k": 0, "v": "v0"}),
        (lambda names, rows: tuple(rows), (0, "v0")),
        (lambda names, rows: (row for row in rows), (0, "v0")),
        (Table, (0, "v0")),
    ],
    ids=["list", "tuple", "generator", "table"],
)
def test_an_own_factory_gets_whole_pages(session: Session, table: FakeNode, factory: Any, first: Any) -> None:
    calls: list[tuple[Any, int]] = []

    def counting(names: Any, rows: Any) -> Any:
        calls.append((list(names), len(rows)))
        return factory(names, rows)

    session.row_factory = counting
    assert session.execute("SELECT all").one() == first
    rows = session.execute("SELECT pages")
    assert len(list(rows)) == 10
    assert calls == [(["k", "v"], 10), (["k", "v"], 4), (["k", "v"], 4), (["k", "v"], 2)]
    made = factory(["k", "v"], DATA)  # what can be read only once becomes a list
    assert type(session.execute("SELECT all").current_rows) is (list if hasattr(made, "__next__") else type(made))


def test_an_own_factory_without_rows(session: Session, table: FakeNode) -> None:
    session.row_factory = Table
    rows = session.execute("SELECT none")
    assert rows.one() is None and list(rows) == [] and rows.current_rows.names == ["k", "v"]


def test_a_factory_that_raises_does_so_every_time(session: Session, table: FakeNode) -> None:
    def bad(names: Any, rows: Any) -> Any:
        if rows:
            raise ZeroDivisionError("mine")
        return rows

    session.row_factory = bad
    rows = session.execute("SELECT all")
    ways: list[Callable[[], Any]] = [rows.one, rows.all, rows.one, lambda: rows[1], lambda: list(rows)]
    for way in ways:
        with pytest.raises(ZeroDivisionError):
            way()
    assert pooled(session)


def test_the_same_answer_looked_at_twice(session: Session, table: FakeNode) -> None:
    future = session.execute_async("SELECT all")
    first, second = future.result(), future.result()
    assert first is not second and first.one() == second.one() and first.all() == second.all() == DATA


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.patching
def test_each_way_of_reading_all_pages(session: Session, table: FakeNode) -> None:
    ways: list[Callable[[Any], Any]] = [
        list,
        lambda rows: rows.all(),
        lambda rows: rows[:],
        lambda rows: [rows[i] for i in range(10)],
        lambda rows: list(itertools.islice(rows, 10)),
    ]
    for way in ways:
        assert way(session.execute("SELECT pages")) == DATA
    assert session.execute("SELECT pages") == DATA


def test_the_next_page_is_asked_for_when_iteration_of_one_begins(session: Session, table: FakeNode) -> None:
    rows = session.execute("SELECT pages")
    assert rows.one() and rows.current_rows and rows.has_more_pages and rows.column_names and rows[0] and bool(rows)
    gevent.sleep(0.02)
    assert asked(table, "SELECT pages") == [None]
    iterator = iter(rows)
    next(iterator)
    table.wait_for(lambda n: len(asked(n, "SELECT pages")) == 2)
    assert [next(iterator).k for _ in range(3)] == [1, 2, 3]
    gevent.sleep(0.02)
    assert asked(table, "SELECT pages") == [None, b"4"]
    next(iterator)
    table.wait_for(lambda n: asked(n, "SELECT pages") == [None, b"4", b"8"])
    assert len(list(iterator)) == 5
    assert len(asked(table, "SELECT pages")) == 3


def test_fetch_next_page_and_paging_state(session: Session, table: FakeNode) -> None:
    rows = session.execute("SELECT pages")
    pages = [list(rows.current_rows)]
    while rows.has_more_pages:
        rows.fetch_next_page()
        pages.append(list(rows.current_rows))
    assert pages == [DATA[:4], DATA[4:8], DATA[8:]]
    assert asked(table, "SELECT pages") == [None, b"4", b"8"]
    rows.fetch_next_page()
    assert rows.current_rows == [] and list(rows) == [] and rows.one() is None and not rows.has_more_pages
    assert next(rows, None) is None
    assert rows.column_names == ["k", "v"]
    resumed = session.execute("SELECT pages", paging_state=session.execute("SELECT pages").paging_state)
    assert resumed.all() == DATA[4:]


def test_fetch_size_is_the_statements_or_the_sessions(session: Session, node: FakeNode) -> None:
    node.on("SELECT sized", paged(COLUMNS, DATA))
    session.default_fetch_size = 3
    assert len(session.execute("SELECT sized").current_rows) == 3
    assert len(session.execute(SimpleStatement("SELECT sized", fetch_size=6)).current_rows) == 6
    assert len(session.execute(SimpleStatement("SELECT sized", fetch_size=None)).current_rows) == 10
    prepared = session.prepare("SELECT sized")
    assert len(session.execute(prepared).current_rows) == 3
    prepared.fetch_size = 7
    assert len(session.execute(prepared).current_rows) == 7
    session.default_fetch_size = None
    assert len(session.execute("SELECT sized").current_rows) == 10


def test_prepared_statements_page_too(session: Session, node: FakeNode) -> None:
    node.on("SELECT b WHERE k = ?", paged(COLUMNS, DATA, 3), rows=COLUMNS, binds=[("k", "int")], pk_indexes=[0])
    prepared = session.prepare("SELECT b WHERE k = ?")
    assert session.execute(prepared, (5,)).all() == DATA
    assert {request.params[0] for request in node.queries} == {5}
    assert [request.paging_state for request in node.queries] == [None, b"3", b"6", b"9"]


def test_five_thousand_empty_pages_and_then_a_row(session: Session, node: FakeNode) -> None:
    def answer(request: Request, connection: Any) -> Rows:
        number = int(request.paging_state or b"0")
        return Rows(COLUMNS, DATA[:1] if number == 5000 else [], paging_state=None if number == 5000 else b"%d" % (number + 1))

    node.record = False
    node.on("SELECT sparse", answer)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        rows = session.execute("SELECT sparse")
        assert rows.one() is None and not rows  # of the first page
        assert list(rows) == DATA[:1]
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("one_by_one", [True, False])
def test_the_error_of_a_page_comes_behind_its_last_row(session: Session, node: FakeNode, one_by_one: bool) -> None:
    def answer(request: Request, connection: Any) -> Any:
        return Rows(COLUMNS, DATA[:4], paging_state=b"x") if request.paging_state is None else Error(ErrorCode.INVALID, "gone")

    node.on("SELECT broken", answer)
    rows = session.execute("SELECT broken")
    seen = []
    with pytest.raises(InvalidRequest, match="gone"):
        for row in rows:
            if one_by_one:
                gevent.sleep(0.002)  # the error is here long before the last row is taken
            seen.append(row)
    assert seen == DATA[:4]
    assert rows.one() == DATA[0]  # the page that came is still there
    node.on("SELECT broken", Rows(COLUMNS, DATA[4:]))
    assert list(rows) == DATA  # and iteration may begin anew from it


def test_a_page_that_never_comes_times_out_by_itself(session: Session, node: FakeNode) -> None:
    node.on("SELECT slow", lambda request, c: None if request.paging_state else Rows(COLUMNS, DATA[:4], paging_state=b"x"))
    seen = []
    with pytest.raises(OperationTimedOut):
        for row in session.execute("SELECT slow", timeout=0.05):
            gevent.sleep(0.01)
            seen.append(row)
    assert seen == DATA[:4]


def test_the_node_goes_between_pages(session: Session, table: FakeNode) -> None:
    rows = session.execute("SELECT pages")
    table.refuse()
    table.drop_connections()
    [host] = session.hosts
    eventually(lambda: host.is_up is False)
    with pytest.raises(NoHostAvailable):
        rows.fetch_next_page()
    assert rows.current_rows == DATA[:4]


def test_an_abandoned_iterator_leaves_nothing(session: Session, table: FakeNode) -> None:
    for _ in range(50):
        for row in session.execute("SELECT pages"):
            if row.k == 1:
                break
    eventually(lambda: settled(session))
    gc.collect()
    iterator = iter(session.execute("SELECT pages"))
    next(iterator)
    del iterator
    eventually(lambda: settled(session))


def test_two_greenlets_read_one_result(session: Session, node: FakeNode) -> None:
    """Each sees every row once, however their turns mix with the slices that are decoded."""
    many = [(i, "x") for i in range(5000)]
    node.on("SELECT many", Rows(COLUMNS, many))
    rows = session.execute("SELECT many")

    def read(pause: int) -> list[int]:
        keys = []
        for row in rows:
            keys.append(row.k)
            if row.k % pause == 0:
                gevent.sleep(0)
        return keys

    readers = [gevent.spawn(read, pause) for pause in (700, 300, 1100)]
    assert [reader.get() for reader in readers] == [list(range(5000))] * 3


def draw(iterator: Any, pause: float) -> list[int]:
    """What a greenlet gets of an iterator that it shares with others."""
    keys = []
    for row in iterator:
        keys.append(row.k)
        if len(keys) % 100 == 0:
            gevent.sleep(pause)
    return keys


@pytest.mark.parametrize("page_size", [5000, 2500, 700, 1])
@pytest.mark.parametrize("shared", [iter, lambda rows: iter(lambda: next(rows, None), None)], ids=["iter", "next"])
def test_greenlets_that_share_an_iterator_share_the_rows(
    session: Session, node: FakeNode, page_size: int, shared: Callable[[Any], Any]
) -> None:
    count = min(5000, page_size * 30)
    node.on("SELECT many", paged(COLUMNS, [(i, "x") for i in range(count)], page_size))
    iterator = shared(session.execute("SELECT many"))
    workers = [gevent.spawn(draw, iterator, pause) for pause in (0, 0.001, 0.0001, 0)]
    gevent.joinall(workers, raise_error=True)
    assert sorted(key for worker in workers for key in worker.value) == list(range(count))
    assert next(iterator, None) is None


@pytest.mark.patching
def test_a_timeout_or_a_kill_while_a_page_is_waited_for_loses_no_rows(session: Session, node: FakeNode) -> None:
    pages = paged(COLUMNS, DATA, 4)
    held: list[gevent.event.Event] = []

    def answer(request: Request, connection: Any) -> Any:
        if request.paging_state:
            held.append(gevent.event.Event())
            held[-1].wait()
        return pages(request, connection)

    node.on("SELECT pages", answer)
    rows = session.execute("SELECT pages")
    assert [next(rows).k for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        next(rows)
    reader = gevent.spawn(next, rows)
    gevent.sleep(0.01)
    reader.kill()
    assert len(held) == 1  # the page is asked for once
    held[0].set()
    assert next(rows).k == 4
    eventually(lambda: len(held) == 2)
    held[1].set()
    assert [row.k for row in rows._iterator] == [5, 6, 7, 8, 9]


def test_a_cell_that_does_not_decode_is_no_end(session: Session, node: FakeNode) -> None:
    node.on("SELECT bad", Rows(COLUMNS, [(i, "x" if i < 1500 else b"\xff") for i in range(2000)]))
    rows = session.execute("SELECT bad")
    assert [next(rows).k for _ in range(1000)] == list(range(1000))
    for _ in range(3):
        with pytest.raises(DecodeError):
            next(rows)


def test_an_iterated_result_is_no_garbage(session: Session, table: FakeNode) -> None:
    """It goes when nobody holds it any more, without the collector."""
    gc.collect()
    gc.disable()
    try:
        rows = session.execute("SELECT pages")
        assert next(rows).k == 0
        gone = weakref.ref(rows)
        eventually(lambda: settled(session))
        del rows
        assert gone() is None
    finally:
        gc.enable()


def test_looking_at_all_rows_while_iterating(session: Session, node: FakeNode) -> None:
    many = [(i, "x") for i in range(5000)]
    node.on("SELECT many", Rows(COLUMNS, many))
    for at in (0, 500, 999, 1000, 1500, 4999):
        rows = session.execute("SELECT many")
        keys = []
        for row in rows:
            keys.append(row.k)
            if row.k == at:
                assert len(rows.current_rows) == 5000
        assert keys == list(range(5000))


@pytest.mark.parametrize("read", [lambda rows: rows.all(), list], ids=["all", "iterated"])
def test_sockets_of_others_are_looked_at_while_a_large_page_is_read(
    session: Session, node: FakeNode, read: Callable[[Any], list[Any]]
) -> None:
    """Two greenlets throw a ball to and fro; each throw needs a look of the hub at its sockets."""
    node.on("SELECT many", Rows(COLUMNS, [(i, "x") for i in range(20_000)]))
    rows = session.execute("SELECT many")
    throws = []
    left, right = gevent.socket.socketpair()

    def throw() -> None:
        while True:
            left.sendall(b"x")
            throws.append(left.recv(1))

    def throw_back() -> None:
        while True:
            right.sendall(right.recv(1))

    players = [gevent.spawn(throw), gevent.spawn(throw_back)]
    try:
        gevent.sleep(0.001)
        throws.clear()
        assert len(read(rows)) == 20_000
        assert len(throws) >= 5  # of 20 slices; it takes two looks
    finally:
        gevent.killall(players)
        left.close()
        right.close()


# -- what does not decode ----------------------------------------------------------------------------------------------


def test_a_cell_that_does_not_decode(session: Session, node: FakeNode) -> None:
    node.on("SELECT bad", Rows(COLUMNS, [(1, "a"), (2, b"\xff\xfe"), (3, "c")]))
    future = session.execute_async("SELECT bad")
    rows = future.result()
    assert future.successful()
    ways: list[Callable[[], Any]] = [rows.all, lambda: list(rows), lambda: rows.current_rows, future.result().all, rows.all]
    errors = []
    for way in ways:
        with pytest.raises(DecodeError) as raised:
            way()
        errors.append(raised.value)
    assert len({str(error) for error in errors}) == 1
    error = errors[0]
    assert error.column == "v" and "text" in str(error.cql_type) and node.host in str(error.host)
    assert len(pooled(session)) == 1 and pooled(session)[0].table.in_flight == 0
    assert session.execute("SELECT bad").one() == (1, "a")  # the first row is in order
    assert len(asked(node, "SELECT bad")) == 2  # never sent again


def test_a_page_with_less_in_it_than_it_claims(session: Session, node: FakeNode) -> None:
    from tests.support.fakenode import Message

    good = Rows(COLUMNS, DATA)
    request = Request(7, 5, 0, 0, b"")  # type: ignore[arg-type]
    opcode, body = good.message(request)
    for cut in range(9, len(body), 7):
        node.on("SELECT cut", Message(opcode, body[:cut]))
        try:
            rows = session.execute("SELECT cut").all()
        except (geventcql.DriverException, FrameError):
            continue
        raise AssertionError(f"{cut} bytes of {len(body)} gave {rows}")
    assert len(pooled(session)) == 1
    assert node.accepted == 2  # no connection was given up


def test_errors_of_the_server_are_no_result(session: Session, node: FakeNode) -> None:
    node.on("SELECT fails", Error(ErrorCode.SERVER_ERROR, "boom"))
    with pytest.raises(ServerError, match="boom"):
        session.execute("SELECT fails")


@pytest.mark.parametrize("rows", [[{"id": 1}, {"id": 2}], iter([{"id": 1}, {"id": 2}])])
def test_a_result_made_by_hand(rows: Any) -> None:
    """As tests of applications make them."""
    result = ResultSet(Mock(), rows)
    assert result.one() == {"id": 1} and list(result) == list(result) == result.all() == [{"id": 1}, {"id": 2}]
    assert result and result[1] == {"id": 2} and not result.has_more_pages and result.current_rows == result.all()
    assert not ResultSet(Mock(), []) and ResultSet(Mock(), None).one() is None


def test_a_row_factory_gets_lists(session: Session, table: FakeNode) -> None:
    session.row_factory = lambda names, rows: [names, *rows]
    assert session.execute("SELECT all")[:2] == [["k", "v"], (0, "v0")]
