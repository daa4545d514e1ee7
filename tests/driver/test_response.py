"""ResponseFuture: an AsyncResult in every respect, with callbacks that run apart from the driver's own greenlets."""

from __future__ import annotations

import contextvars
import itertools
import traceback
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult, Event
from gevent.exceptions import BlockingSwitchOutError

from geventcql.cluster import ExecutionProfile
from geventcql.errors import ConnectionShutdown, DecodeError, InvalidRequest, OperationTimedOut, QueryExhausted
from geventcql.execution import Execution
from geventcql.policies import ConstantReconnectionPolicy, RetryPolicy
from geventcql.query import SimpleStatement
from geventcql.response import ResponseFuture
from geventcql.resultset import ResultSet
from geventcql.session import Session
from geventcql.sinks import Cancelled
from tests.driver.support import BY_KEY, cluster_of, eventually, in_hub, outcome, pooled, settled
from tests.support.fakenode import Close, Error, ErrorCode, FakeNode, Rows, paged

ONE = Rows([("v", "int")], [(7,)])


@pytest.fixture
def gate(node: FakeNode) -> Event:
    """Opens the answer to "SELECT gated"."""
    event = Event()
    node.on("SELECT gated", ONE.when(event))
    node.on("SELECT now", ONE)
    node.on("SELECT wrong", Error(ErrorCode.INVALID, "no such table"))
    node.on("SELECT overloaded", Error(ErrorCode.OVERLOADED))
    return event


def test_it_is_an_async_result_of_result_sets(session: Session, gate: Event) -> None:
    future = session.execute_async("SELECT gated")
    linked: list[Any] = []
    raw: list[Any] = []
    future.link(lambda f: linked.append(f.value))
    future.rawlink(raw.append)
    assert isinstance(future, AsyncResult) and not future.ready() and not future.successful() and future.value is None
    assert future.wait(timeout=0.001) is None
    with pytest.raises(gevent.Timeout):
        future.get(timeout=0.001)
    with pytest.raises(gevent.Timeout):
        future.get(block=False)
    gevent.spawn_later(0.01, gate.set)
    for rows in (future.wait(), future.get(), future.result(), future.value, future.get_nowait()):
        assert type(rows) is ResultSet and rows.one() == (7,)
    assert future.ready() and future.successful() and future.exception is None
    gevent.sleep(0)
    assert raw == [future] and len(linked) == 1 and linked[0].one().v == 7


def test_a_failed_one(session: Session, gate: Event) -> None:
    future = session.execute_async("SELECT wrong")
    assert future.wait() is None
    assert future.ready() and not future.successful() and future.value is None
    assert isinstance(future.exception, InvalidRequest)
    for call in (future.get, future.result, future.get_nowait, lambda: future.has_more_pages, lambda: future.warnings):
        with pytest.raises(InvalidRequest, match="no such table"):
            call()


def test_its_error_tells_where_it_came_from(session: Session, gate: Event) -> None:
    """However often it is raised: each time from there to who waits, and no further."""

    class Faulty(RetryPolicy):
        def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError

    def places(call: Callable[[], Any]) -> list[str]:
        with pytest.raises(ZeroDivisionError) as raised:
            call()
        return [entry.name for entry in traceback.extract_tb(raised.value.__traceback__)]

    session.cluster.add_execution_profile("faulty", ExecutionProfile(retry_policy=Faulty()))
    future = session.execute_async(SimpleStatement("SELECT overloaded", is_idempotent=True), execution_profile="faulty")
    for call in (future.result, future.get, future.result, future.get):
        seen = places(call)
        assert seen[-1] == "on_request_error" and seen.count("places") == seen.count("on_request_error") == 1


def test_gevent_wait_and_iwait(session: Session, gate: Event) -> None:
    slow, quick, wrong = map(session.execute_async, ("SELECT gated", "SELECT now", "SELECT wrong"))
    assert set(gevent.wait([slow, quick, wrong], timeout=0.2)) == {quick, wrong}
    gate.set()
    assert set(gevent.iwait([slow, quick, wrong])) == {slow, quick, wrong}


def test_several_waiters_by_every_way_of_waiting(session: Session, gate: Event) -> None:
    future = session.execute_async("SELECT gated")
    ways: list[Callable[[], Any]] = [future.result, future.get, future.wait, future.result]
    greenlets = [gevent.spawn(way) for way in ways]
    gevent.sleep(0.005)
    greenlets[0].kill()  # whoever waited first: the others must not notice
    later = gevent.spawn(future.result)
    gevent.sleep(0)
    gate.set()
    assert [g.get().one().v for g in [*greenlets[1:], later]] == [7, 7, 7, 7]


def test_result_with_a_timeout_leaves_the_request_alone(session: Session, gate: Event) -> None:
    future = session.execute_async("SELECT gated")
    with pytest.raises(gevent.Timeout):
        future.result(timeout=0.01)
    gate.set()
    assert future.result(timeout=1).one().v == 7


# -- callbacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.patching
def test_callbacks_run_in_order_in_one_greenlet_of_their_own(session: Session, gate: Event) -> None:
    seen: list[Any] = []

    def note(rows: Any, *args: Any, **kwargs: Any) -> None:
        seen.append((rows, args, kwargs, gevent.getcurrent()))

    future = session.execute_async("SELECT gated")
    assert future.add_callback(note, 1, a=2) is future
    future.add_errback(note, "not this one")
    future.add_callbacks(note, note, (3,), {"b": 4}, ("nor", "this"))
    gate.set()
    future.result()
    eventually(lambda: len(seen) == 2)
    assert [entry[:3] for entry in seen] == [([(7,)], (1,), {"a": 2}), ([(7,)], (3,), {"b": 4})]
    assert seen[0][3] is seen[1][3]
    assert seen[0][3] not in (gevent.getcurrent(), gevent.get_hub(), pooled(session)[0]._reader)


def test_errbacks_get_the_error(session: Session, gate: Event) -> None:
    seen: list[Any] = []
    future = session.execute_async("SELECT wrong")
    future.add_callbacks(seen.append, lambda error, *a, **k: seen.append((error, a, k)), (), None, (1,), {"x": 2})
    eventually(lambda: seen)
    [(error, args, kwargs)] = seen
    assert error is future.exception and args == (1,) and kwargs == {"x": 2}


def test_a_result_without_rows_calls_back_with_none(session: Session) -> None:
    seen: list[Any] = []
    session.execute_async("INSERT INTO t (k) VALUES (1)").add_callback(seen.append)
    eventually(lambda: seen)
    assert seen == [None]


def test_callbacks_keep_the_context_of_their_registration(session: Session, gate: Event) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")
    seen: list[str] = []
    future = session.execute_async("SELECT gated")
    for user in ("first", "second"):
        token = name.set(user)
        future.add_callback(lambda rows: seen.append(name.get()))
        name.reset(token)
    gate.set()
    eventually(lambda: len(seen) == 2)
    future.add_callback(lambda rows: seen.append(name.get()))
    eventually(lambda: len(seen) == 3)
    assert seen == ["first", "second", "nobody"]


def test_what_it_says_of_its_request(session: Session) -> None:
    prepared = session.prepare(BY_KEY)
    bound = session.execute_async(prepared.bind((5,)), timeout=7.5)
    assert bound.prepared_statement is prepared and bound.timeout == 7.5
    bare = session.execute_async(prepared, (5,))
    assert bare.prepared_statement is prepared and bare.timeout == session.default_timeout
    simple = session.execute_async("SELECT key FROM system.local", timeout=None)
    assert simple.prepared_statement is None and simple.timeout is None
    gevent.wait([bound, bare, simple])


def test_a_callback_may_execute(session: Session, gate: Event) -> None:
    prepared = session.prepare(BY_KEY)
    seen: list[int] = []

    def again(rows: list[Any]) -> None:
        seen.append(session.execute(prepared, (5,)).one().k)
        session.execute_async(prepared, (6,)).add_callback(lambda rows: seen.append(rows[0].k))

    session.execute_async("SELECT now").add_callback(again)
    eventually(lambda: len(seen) == 2)
    assert seen == [5, 6]


def test_a_callback_that_raises_is_reported_once_and_the_others_run(
    session: Session, gate: Event, hub_errors: list[Any]
) -> None:
    seen: list[Any] = []

    def bad(rows: Any) -> None:
        raise ZeroDivisionError("mine")

    future = session.execute_async("SELECT gated")
    future.add_callback(bad)
    future.add_callback(seen.append)
    gate.set()
    eventually(lambda: seen)
    assert [error.text for error in hub_errors] == ["ZeroDivisionError: mine"]
    hub_errors.clear()
    assert future.result().one().v == 7


def test_a_callback_that_ends_its_greenlet_does_not_keep_the_others_from_running(session: Session, gate: Event) -> None:
    """By raising GreenletExit, or because it is killed."""
    called: list[Any] = []

    def end(rows: Any) -> None:
        called.append(1)
        raise gevent.GreenletExit

    def wait(rows: Any) -> None:
        called.append(2)
        gevent.getcurrent().kill(block=False)
        gevent.sleep(5)

    future = session.execute_async("SELECT gated")
    for callback in (end, wait, called.append):
        future.add_callback(callback)
    gate.set()
    assert eventually(lambda: called[2:]) == [future.result().all()] and called[:2] == [1, 2]


def test_each_callback_is_called_once_though_one_ends_its_greenlet(session: Session, gate: Event) -> None:
    """And another one is added before anybody has heard of that end."""
    called: list[str] = []

    def end(rows: Any) -> None:
        gevent.spawn(future.add_callback, call, "added")
        raise gevent.GreenletExit

    def call(rows: Any, name: str) -> None:
        gevent.sleep(0.001)
        called.append(name)

    future = session.execute_async("SELECT gated").add_callback(end).add_callback(call, "first").add_callback(call, "second")
    gate.set()
    eventually(lambda: "added" in called)
    gevent.sleep(0.02)
    assert called == ["first", "second", "added"]


def test_callbacks_added_when_it_has_ended(session: Session, gate: Event) -> None:
    future = session.execute_async("SELECT now")
    future.result()
    seen: list[Any] = []
    future.add_callback(lambda rows: seen.append((rows, gevent.getcurrent())))
    assert not seen  # never from within add_callback
    eventually(lambda: seen)
    assert seen[0][0] == [(7,)] and seen[0][1] is not gevent.getcurrent()
    failed = session.execute_async("SELECT wrong")
    failed.wait()
    failed.add_errback(seen.append)
    eventually(lambda: len(seen) == 2)
    gevent.sleep(0.005)
    assert len(seen) == 2
    future.add_callback(seen.append)  # behind others that have been called
    eventually(lambda: len(seen) == 3)


def test_clear_callbacks(session: Session, gate: Event) -> None:
    seen: list[Any] = []
    future = session.execute_async("SELECT gated")
    future.add_callbacks(seen.append, seen.append)
    future.clear_callbacks()
    gate.set()
    future.result()
    gevent.sleep(0.01)
    assert seen == []


def test_callbacks_of_all_pages(session: Session, node: FakeNode) -> None:
    """The way of cassandra-driver's documentation: the callback itself asks for the next page."""
    node.on("SELECT many", paged([("v", "int")], [(i,) for i in range(10)], 3))
    seen: list[Any] = []
    other: list[Any] = []
    finished = Event()
    future = session.execute_async("SELECT many")

    def page(rows: list[Any]) -> None:
        seen.append([row.v for row in rows])
        if future.has_more_pages:
            future.start_fetching_next_page()
        else:
            finished.set()

    future.add_callbacks(page, lambda error: seen.append(error))
    future.add_callback(lambda rows: other.append([row.v for row in rows]))
    assert finished.wait(5)
    expected = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    eventually(lambda: len(other) == 4)
    assert seen == expected and other == expected
    with pytest.raises(QueryExhausted):
        future.start_fetching_next_page()


def test_start_fetching_next_page_by_hand(session: Session, node: FakeNode) -> None:
    node.on("SELECT many", paged([("v", "int")], [(i,) for i in range(5)], 2))
    future = session.execute_async("SELECT many")
    with pytest.raises(RuntimeError):
        future.start_fetching_next_page()
    links: list[Any] = []
    future.rawlink(links.append)
    pages = [future.result().current_rows]
    while future.has_more_pages:
        future.start_fetching_next_page()
        assert not future.ready()
        pages.append(future.result().current_rows)
    assert pages == [[(0,), (1,)], [(2,), (3,)], [(4,)]]
    assert links == [future]  # a link is of one end


@pytest.mark.parametrize("first", range(6))
def test_all_who_wait_get_a_page(session: Session, node: FakeNode, first: int) -> None:
    """One of them asks for the next page as soon as it has this one; the others get this one or that one."""
    node.on("SELECT many", paged([("v", "int")], [(i,) for i in range(4)], 2))
    future = session.execute_async("SELECT many")

    def wait(number: int) -> Any:
        with gevent.Timeout(3):
            rows = (future.result, future.get, future.wait)[number % 3]().current_rows
        if number == first:
            future.start_fetching_next_page()
        return rows

    waiting = [gevent.spawn(outcome, wait, number) for number in range(6)]
    pages = [greenlet.get() for greenlet in waiting]
    assert all(rows in ([(0,), (1,)], [(2,), (3,)]) for rows in pages), pages
    assert future.result().current_rows == [(2,), (3,)]


def test_a_page_that_is_asked_for_before_the_links_were_told(session: Session, node: FakeNode) -> None:
    """The greenlet that is parked on the future may be woken first."""
    node.on("SELECT many", paged([("v", "int")], [(i,) for i in range(4)], 2))
    future = session.execute_async("SELECT many")
    eventually(future.ready)
    linked: list[Any] = []
    future.rawlink(linked.append)
    future.start_fetching_next_page()
    assert linked == [future] and future.result().current_rows == [(2,), (3,)]


def test_the_next_page_fails(session: Session, node: FakeNode) -> None:
    pages = iter([Rows([("v", "int")], [(1,)], paging_state=b"x"), Error(ErrorCode.INVALID, "gone")])
    node.on("SELECT many", lambda r, c: next(pages))
    future = session.execute_async("SELECT many")
    errors: list[Any] = []
    future.add_errback(errors.append)
    future.result()
    future.start_fetching_next_page()
    with pytest.raises(InvalidRequest, match="gone"):
        future.result()
    eventually(lambda: errors)


def test_rows_that_do_not_decode_reach_the_errback(session: Session, node: FakeNode, hub_errors: list[Any]) -> None:
    node.on("SELECT bad", Rows([("v", "int")], [(b"\x01",)]))
    seen: list[Any] = []
    future = session.execute_async("SELECT bad")
    future.add_callbacks(seen.append, lambda error: seen.append(error))
    later: list[Any] = []
    future.add_callbacks(later.append, later.append)
    eventually(lambda: seen and later)
    assert [type(e) for e in seen + later] == [DecodeError, DecodeError]
    assert future.successful()
    assert not hub_errors


def test_a_shutdown_tells_the_errbacks(session: Session, gate: Event) -> None:
    seen: list[Any] = []
    future = session.execute_async("SELECT gated")
    future.add_errback(seen.append)
    gevent.sleep(0.005)
    session.shutdown()
    eventually(lambda: seen)
    assert isinstance(seen[0], ConnectionShutdown)


def test_a_shutdown_within_a_callback(session: Session, gate: Event) -> None:
    seen: list[Any] = []

    def end(rows: Any) -> None:
        session.shutdown()
        gevent.sleep(0.002)
        seen.append("end")

    session.execute_async("SELECT now").add_callback(end)
    eventually(lambda: seen)
    assert session.cluster.is_shutdown


# -- where waiting cannot work -----------------------------------------------------------------------------------------


def test_a_wait_in_the_hub_raises_at_once_and_sends_nothing(session: Session, node: FakeNode, gate: Event) -> None:
    prepared = session.prepare(BY_KEY)
    pending = session.execute_async("SELECT gated")
    raised: list[type[BaseException]] = []

    def try_all(future: Any) -> None:
        for call in (
            lambda: session.execute(prepared, (1,)),
            lambda: session.execute("SELECT now"),
            lambda: session.prepare("SELECT other"),
            lambda: session.set_keyspace("ks"),
            lambda: session.execute("USE ks"),
            lambda: session.imap(prepared, [(1,)]),
            pending.result,
            pending.get,
            pending.wait,
            lambda: session.cluster.connect(),
        ):
            try:
                call()
            except BaseException as error:
                raised.append(type(error))
            else:
                raised.append(type(None))

    node.wait_for(lambda n: n.count("SELECT gated"))
    before = len(node.requests)
    session.execute_async("SELECT now").rawlink(try_all)
    eventually(lambda: len(raised) == 10)
    gevent.sleep(0.01)
    assert raised == [BlockingSwitchOutError] * 10
    assert [request.text for request in node.requests[before:]] == ["SELECT now"]
    gate.set()
    assert pending.result().one().v == 7


# -- each future ends exactly once -------------------------------------------------------------------------------------


class Counted(ResponseFuture):
    """Counts how often it is ended."""

    ends: list[Any]

    def finish(self, page: Any) -> None:
        self.ends.append("finish")
        super().finish(page)

    def fail(self, error: BaseException) -> None:
        self.ends.append(type(error))
        super().fail(error)


@pytest.mark.parametrize("together", [True, False], ids=["one turn", "turns apart"])
@pytest.mark.parametrize("statement", ["idempotent", "not idempotent"])
def test_reply_timeout_close_and_cancel_in_every_order(node: FakeNode, statement: str, together: bool) -> None:
    """Whatever comes first ends it; nothing afterwards ends it again, and the ids balance."""
    with cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(0.005)) as cluster:
        _every_order(node, cluster.connect(), statement, together)


def _every_order(node: FakeNode, session: Session, statement: str, together: bool) -> None:
    node.tolerate_violations = True  # it does not know of the replies that are made up here
    prepared = session.prepare(BY_KEY)
    prepared.is_idempotent = statement == "idempotent"
    node.on(BY_KEY)  # never answered
    for count in (1, 2, 3, 4):
        for order in itertools.permutations(("reply", "timeout", "close", "cancel"), count):
            eventually(lambda: pooled(session))
            connection = pooled(session)[0]
            execution, future = _start(session, prepared)
            events = {
                "reply": lambda f=future, e=execution, c=connection: _reply(c, e),
                "timeout": lambda e=execution, c=connection: e.stream >= 0 and not e.done and _expire(c, e),
                "close": lambda c=connection: c.defunct(ConnectionShutdown("made up")),
                "cancel": execution.cancel,
            }
            for event in order if not together else ():
                in_hub(events[event])
                gevent.sleep(0)
            if together:
                in_hub(*(events[event] for event in order))
            if order[0] == "close" and prepared.is_idempotent:
                eventually(lambda e=execution: e.done or e.attempts == 2)  # sent again, to a node that does not answer
                execution.cancel()
            with gevent.Timeout(2):
                future.wait()
            gevent.sleep(0.001)
            assert len(future.ends) == 1, (order, future.ends)
            expected = {"reply": "finish", "timeout": OperationTimedOut, "cancel": Cancelled}.get(order[0])
            if expected is not None:
                assert future.ends == [expected], (order, future.ends)
            connection.check_invariants()


def _start(session: Session, prepared: Any) -> tuple[Execution, Any]:
    resolved = session._remember(prepared)
    execution = Execution(session, resolved, prepared.encoder.encode((1,)), 0, 5.0)
    future = Counted.of(execution)
    future.ends = []
    execution.start(future)
    return execution, future


def _reply(connection: Any, execution: Execution) -> None:
    """What the reader does with a void answer, late ones included."""
    stream = execution.stream
    if not connection.closed:
        body = b"\x00\x00\x00\x01"
        header = bytes((0x80 | connection.version, 0, stream >> 8, stream & 255, 8, 0, 0, 0, len(body)))
        splitter = type(connection._splitter)(connection.table, connection.version)
        connection._deliver(splitter.feed(header + body))


def _expire(connection: Any, execution: Execution) -> None:
    """The deadline passes: what the connection's timer does."""
    if connection.table.orphan(execution.stream, execution):
        execution.on_timeout(connection)


def test_a_reply_that_needs_work_and_a_shutdown_in_one_turn(session: Session, node: FakeNode) -> None:
    """The greenlet that would handle the error is killed before it starts: the future ends all the same."""
    node.on("SELECT wrong", Error(ErrorCode.INVALID, "no"))
    reached: list[Any] = []
    connection = pooled(session)[0]
    deliver = connection._deliver

    def deliver_and_end(batch: Any) -> None:
        deliver(batch)
        session.shutdown()
        reached.append(True)

    connection._deliver = deliver_and_end
    future = session.execute_async("SELECT wrong")
    eventually(lambda: reached)
    with gevent.Timeout(1):
        future.wait()
    assert isinstance(future.exception, (ConnectionShutdown, InvalidRequest))


def test_a_lost_connection_and_a_shutdown_in_one_turn(session: Session, node: FakeNode, gate: Event) -> None:
    future = session.execute_async("SELECT gated")
    node.wait_for(lambda n: n.count("SELECT gated"))
    in_hub(lambda: pooled(session)[0].defunct(ConnectionShutdown("made up")), session.shutdown)
    with gevent.Timeout(1):
        future.wait()
    assert isinstance(future.exception, ConnectionShutdown)


@pytest.mark.logs("WARNING Server warning: slow; old")
def test_warnings_payload_and_traces(session: Session, node: FakeNode) -> None:
    import uuid

    trace = uuid.uuid4()
    node.on("SELECT told", ONE.with_warnings("slow", "old").with_payload({"a": b"1"}).with_trace(trace))
    future = session.execute_async("SELECT told", trace=True)
    assert future.warnings == ["slow", "old"]
    assert future.custom_payload == {"a": b"1"}
    assert future.get_query_trace_ids() == [trace]
    assert node.queries[-1].tracing


def test_what_it_tells_of_the_request(session: Session, node: FakeNode, gate: Event) -> None:
    prepared = session.prepare(BY_KEY)
    future = session.execute_async(prepared, (1,))
    future.result()
    assert future.query.prepared_statement is prepared and future.session is session
    assert [host.address for host in future.attempted_hosts] == [node.host]
    assert future.coordinator_host.address == node.host
    assert future.request_encoded_size == len(node.queries[-1].body)
    assert "done" in repr(future)


def test_a_connection_closed_by_the_server(session: Session, node: FakeNode) -> None:
    node.on("SELECT closes", Close())
    future = session.execute_async("SELECT closes")
    with pytest.raises(ConnectionShutdown):
        future.result()
    eventually(lambda: pooled(session) and settled(session))
