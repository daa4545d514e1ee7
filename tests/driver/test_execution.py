"""What becomes of a request that fails: errors as cassandra-driver gives them, retries, timeouts and late replies."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile
from geventcql.errors import (
    ConnectionShutdown,
    InvalidRequest,
    NoHostAvailable,
    OperationTimedOut,
    ReadTimeout,
    ServerError,
    TruncateError,
    Unavailable,
    WriteTimeout,
)
from geventcql.execution import MAX_ATTEMPTS
from geventcql.policies import RetryPolicy, RoundRobinPolicy
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.query import BatchStatement, SimpleStatement
from geventcql.session import Session
from tests.driver.support import BY_KEY, INSERT, cluster_of, eventually, outcome, own_key, pooled, serve_keys, settled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Close, Error, ErrorCode, FakeNode, Message, Opcode, Request, Rows, Void
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

TEXT = "SELECT v FROM t"
GOOD = Rows([("v", "int")], [(1,)])


@pytest.fixture
def three() -> Iterator[FakeCluster]:
    with FakeCluster(3) as nodes:
        nodes.on(TEXT, GOOD)
        serve_keys(nodes)
        yield nodes


@pytest.fixture
def on_three(three: FakeCluster) -> Iterator[Session]:
    with cluster_of(three, load_balancing_policy=RoundRobinPolicy()) as cluster:
        yield cluster.connect(wait_for_all_pools=True)


class Decides(RetryPolicy):
    """Gives one answer to everything and remembers what it was asked."""

    def __init__(self, decision: int, consistency: int | None = None, times: int = 1 << 30) -> None:
        self.answer = (decision, consistency)
        self.times = times
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def _decide(self, what: str, asked: dict[str, Any]) -> tuple[int, int | None]:
        self.asked.append((what, asked))
        return self.answer if len(self.asked) <= self.times else (self.RETHROW, None)

    def on_read_timeout(self, query: Any, **asked: Any) -> Any:
        return self._decide("read_timeout", asked)

    def on_write_timeout(self, query: Any, **asked: Any) -> Any:
        return self._decide("write_timeout", asked)

    def on_unavailable(self, query: Any, **asked: Any) -> Any:
        return self._decide("unavailable", asked)

    def on_request_error(self, query: Any, consistency: int, error: BaseException, retry_num: int) -> Any:
        return self._decide("request_error", {"consistency": consistency, "error": error, "retry_num": retry_num})


def statement(policy: RetryPolicy | None = None, idempotent: bool = True, text: str = TEXT) -> SimpleStatement:
    return SimpleStatement(text, retry_policy=policy, is_idempotent=idempotent)


# -- errors ------------------------------------------------------------------------------------------------------------

RENAMED = {"ConfigurationErrorMessage": "ConfigurationException"}  # whose name another class has too
THEIR_OWN = {"ErrorMessageSub", "_MessageType", "RequestExecutionException", "RequestValidationException"}
"""Helpers of cassandra.protocol; the last two are not the classes of these names that applications catch."""


@pytest.mark.parametrize("code", [code for code in ErrorCode if code != ErrorCode.UNPREPARED], ids=lambda code: code.name)
@pytest.mark.parametrize("version", [3, 4, 5])
def test_each_error_is_what_cassandra_driver_raises(code: ErrorCode, version: int) -> None:
    import cassandra.protocol as theirs

    reply = Error(code, "what it says")
    _, body = reply.message(Request(Opcode.QUERY, version, 0, 0, b""))
    message = theirs.ErrorMessage.recv_body(io.BytesIO(body), version, {})
    expected = message.to_exception()
    with FakeNode(versions=[version]) as node:
        node.on(TEXT, reply)
        with cluster_of(node) as cluster:
            session = cluster.connect()
            with pytest.raises(Exception) as raised:
                session.execute(statement(Decides(RetryPolicy.RETHROW)))
            error: Any = raised.value
            mine = {RENAMED.get(kind.__name__, kind.__name__) for kind in type(error).__mro__}
            assert type(expected).__name__ in mine
            assert {kind.__name__ for kind in type(expected).__mro__} - THEIR_OWN <= mine
            for name, value in vars(expected).items():
                assert value is None or getattr(error, name) == value, name  # None: unknown to them
            assert "what it says" in str(error) or code == ErrorCode.ALREADY_EXISTS
            assert error.host.address == node.host and error.attempts == 1 and 0 <= error.elapsed < 5
            assert error.in_flight == 0
            assert settled(session)


def test_an_error_of_no_known_code(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(0x9999, "from the future"))
    with pytest.raises(Exception, match="from the future"):
        session.execute(TEXT)
    assert settled(session)


def test_an_answer_that_makes_no_sense_ends_that_request_alone(session: Session, node: FakeNode) -> None:
    for body in (b"", b"\x00\x00", b"\x00\x00\x00\x63", b"\x00\x00\x00\x04\x00\x10abc", b"\x00\x00\x00\x02\x00"):
        node.on("SELECT odd", Message(Opcode.RESULT, body))
        with pytest.raises(Exception) as raised:
            session.execute("SELECT odd")
        assert not isinstance(raised.value, OperationTimedOut)
    node.on("SELECT odd", Message(Opcode.READY))
    with pytest.raises(Exception, match=r"READY|Ready"):
        session.execute("SELECT odd")
    assert node.accepted == 2 and settled(session)


# -- the retry policy's decisions --------------------------------------------------------------------------------------


def test_retry_on_the_same_host(on_three: Session, three: FakeCluster) -> None:
    for node in three:
        node.on(TEXT, Error(ErrorCode.READ_TIMEOUT, received=1, block_for=1), times=1)
    policy = Decides(RetryPolicy.RETRY)
    assert on_three.execute(statement(policy)).one().v == 1
    [asked] = [node for node in three if node.count(TEXT)]
    assert asked.count(TEXT) == 2
    [(what, given)] = policy.asked
    assert what == "read_timeout" and given.pop("retry_num") == 0
    assert given == {"consistency": 1, "required_responses": 1, "received_responses": 1, "data_retrieved": False}


def test_retry_on_the_next_host(on_three: Session, three: FakeCluster) -> None:
    for node in three:
        node.on(TEXT, Error(ErrorCode.UNAVAILABLE, required=2, alive=1), times=1)
    policy = Decides(RetryPolicy.RETRY_NEXT_HOST)
    with pytest.raises(NoHostAvailable) as raised:
        on_three.execute(statement(policy))
    assert [node.count(TEXT) for node in three] == [1, 1, 1]
    assert {host.address for host in raised.value.errors} == set(three.addresses)
    assert all(type(error) is Unavailable for error in raised.value.errors.values())
    assert [given["retry_num"] for _, given in policy.asked] == [0, 1, 2]
    future = on_three.execute_async(statement(policy))
    assert future.result().one().v == 1


def test_ignore(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.WRITE_TIMEOUT))
    rows = session.execute(statement(Decides(RetryPolicy.IGNORE)))
    assert rows.all() == [] and rows.one() is None


def test_rethrow(on_three: Session, three: FakeCluster) -> None:
    three.on(TEXT, Error(ErrorCode.WRITE_TIMEOUT, write_type="SIMPLE"))
    with pytest.raises(WriteTimeout):
        on_three.execute(statement(Decides(RetryPolicy.RETHROW)))
    assert sum(node.count(TEXT) for node in three) == 1


@pytest.mark.parametrize("decision", [RetryPolicy.RETRY, RetryPolicy.RETRY_NEXT_HOST])
@pytest.mark.parametrize("kind", ["simple", "prepared", "batch"])
def test_a_retry_at_another_consistency(on_three: Session, three: FakeCluster, decision: int, kind: str) -> None:
    prepared = on_three.prepare(BY_KEY)
    answers = iter([Error(ErrorCode.UNAVAILABLE)])
    for opcode in (Opcode.QUERY, Opcode.EXECUTE, Opcode.BATCH):
        three.on(opcode, lambda request, connection: next(answers, GOOD))
    policy = Decides(decision, ConsistencyLevel.ONE, times=1)
    made: Any = statement(policy)
    if kind == "prepared":
        made = prepared.bind((3,))
        made.retry_policy = policy
    elif kind == "batch":
        made = BatchStatement(retry_policy=policy).add("INSERT INTO t (k) VALUES (1)")
    made.consistency_level = ConsistencyLevel.QUORUM
    on_three.execute(made)
    levels = [request.consistency for request in three.queries]
    assert set(levels) == {ConsistencyLevel.ONE, ConsistencyLevel.QUORUM}  # some refused as not prepared
    stamps = {request.timestamp for request in three.queries}
    assert len(stamps) == 1  # drawn once: a retried write is the same write


def test_a_retry_at_another_consistency_after_a_lost_connection(on_three: Session, three: FakeCluster) -> None:
    answers = iter([Close()])
    three.on(TEXT, lambda request, connection: next(answers, GOOD))
    made = statement(Decides(RetryPolicy.RETRY_NEXT_HOST, ConsistencyLevel.ONE, times=1))
    made.consistency_level = ConsistencyLevel.QUORUM
    on_three.execute(made)
    assert {request.consistency for request in three.queries} == {ConsistencyLevel.QUORUM, ConsistencyLevel.ONE}


def test_the_level_of_a_paxos_read_is_none_of_a_write(on_three: Session, three: FakeCluster) -> None:
    answers = iter([Error(ErrorCode.READ_TIMEOUT)])
    three.on(TEXT, lambda request, connection: next(answers, GOOD))
    made = statement(Decides(RetryPolicy.RETRY, ConsistencyLevel.SERIAL, times=1))
    made.consistency_level = ConsistencyLevel.QUORUM
    on_three.execute(made)
    assert [request.consistency for request in three.queries] == [ConsistencyLevel.QUORUM] * 2


@pytest.mark.parametrize("kind", ["prepared", "bound", "simple"])
def test_policies_and_listeners_get_one_statement_with_its_values(session: Session, node: FakeNode, kind: str) -> None:
    seen: list[Any] = []

    class Looks(RetryPolicy):
        def on_request_error(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(query)
            return self.RETRY, None

    answers = iter([Error(ErrorCode.OVERLOADED), Error(ErrorCode.OVERLOADED)])
    serve_keys(node, lambda request, connection: next(answers, None) or own_key(request))
    node.on(TEXT, lambda request, connection: next(answers, GOOD))
    prepared = session.prepare(BY_KEY)
    prepared.retry_policy = Looks()
    given = {"prepared": prepared, "bound": prepared.bind((7,)), "simple": statement(Looks())}[kind]
    session.add_request_init_listener(lambda future: seen.append(future.query))
    future = session.execute_async(given, (7,) if kind == "prepared" else None)
    future.result()
    assert len(seen) == 3 and all(query is future.query for query in seen)
    if kind == "prepared":
        assert future.query.prepared_statement is prepared and future.query.values == [b"\0\0\0\7"]
    else:
        assert future.query is given


class Frozen(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} cannot be set")


def test_a_policy_raises_what_takes_no_attributes(node: FakeNode) -> None:
    class Raises(RetryPolicy):
        def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
            raise Frozen("mine")

    node.on(TEXT, Error(ErrorCode.OVERLOADED))
    with cluster_of(node, default_retry_policy=Raises()) as cluster, pytest.raises(Frozen, match="mine"):
        cluster.connect().execute(TEXT, timeout=2)


def test_the_default_policy(on_three: Session, three: FakeCluster) -> None:
    for node in three:
        node.on(TEXT, Error(ErrorCode.OVERLOADED), times=1)
    assert sum(node.count(TEXT) for node in three) == 0
    with pytest.raises(NoHostAvailable):
        on_three.execute(TEXT)
    assert [node.count(TEXT) for node in three] == [1, 1, 1]


def test_a_single_host_is_not_its_own_next_host(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.OVERLOADED))
    with pytest.raises(NoHostAvailable):
        session.execute(statement())
    assert node.count(TEXT) == 1


@pytest.mark.parametrize("decision", [RetryPolicy.RETRY, RetryPolicy.RETRY_NEXT_HOST])
def test_a_pinned_host_that_always_fails(on_three: Session, three: FakeCluster, decision: int) -> None:
    """pitfalls: retried for ever, without a pause."""
    three.on(TEXT, Error(ErrorCode.SERVER_ERROR, "always"))
    host = on_three.hosts[0]
    with pytest.raises((NoHostAvailable, ServerError)) as raised:
        on_three.execute(statement(Decides(decision)), host=host, timeout=None)
    asked = sum(node.count(TEXT) for node in three)
    assert asked == (1 if decision == RetryPolicy.RETRY_NEXT_HOST else MAX_ATTEMPTS + 1)
    assert [node.count(TEXT) for node in three if node.host != host.address] == [0, 0]
    assert "always" in str(raised.value)
    error: Any = raised.value
    assert error.attempts == asked


def test_a_policy_that_raises_ends_the_request(session: Session, node: FakeNode) -> None:
    class Broken(RetryPolicy):
        def on_read_timeout(self, *args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError("mine")

    node.on(TEXT, Error(ErrorCode.READ_TIMEOUT))
    with pytest.raises(ZeroDivisionError):
        session.execute(statement(Broken()))


def test_a_policy_may_execute_and_wait(session: Session, node: FakeNode) -> None:
    class Asks(RetryPolicy):
        def on_read_timeout(self, *args: Any, **kwargs: Any) -> Any:
            gevent.sleep(0.005)
            assert session.execute("SELECT other").one().v == 1
            return self.RETRY, None

    node.on("SELECT other", GOOD)
    node.on(TEXT, GOOD)
    node.on(TEXT, Error(ErrorCode.READ_TIMEOUT), times=1)
    assert session.execute(statement(Asks())).one().v == 1


def test_the_deadline_covers_all_attempts(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.READ_TIMEOUT).after(0.02))
    started = time.monotonic()
    with pytest.raises(OperationTimedOut) as raised:
        session.execute(statement(Decides(RetryPolicy.RETRY)), timeout=0.1)
    error: Any = raised.value
    assert 0.1 <= time.monotonic() - started < 1
    assert 2 <= error.attempts <= 6 and error.elapsed >= 0.1


def test_a_profiles_retry_policy(node: FakeNode) -> None:
    policy = Decides(RetryPolicy.IGNORE)
    node.on(TEXT, Error(ErrorCode.READ_TIMEOUT))
    with cluster_of(node, execution_profiles={EXEC_PROFILE_DEFAULT: ExecutionProfile(retry_policy=policy)}) as cluster:
        assert cluster.connect().execute(TEXT).all() == []
        with pytest.raises(ReadTimeout):
            cluster.connect().execute(statement(Decides(RetryPolicy.RETHROW)))


# -- what may have been applied is not sent twice ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Close(), ConnectionShutdown),
        (Close(rst=True), ConnectionShutdown),
        (Error(ErrorCode.SERVER_ERROR), ServerError),
        (Error(ErrorCode.TRUNCATE_ERROR), TruncateError),
        (Error(ErrorCode.WRITE_TIMEOUT), WriteTimeout),
    ],
    ids=["FIN", "RST", "server error", "truncate error", "write timeout"],
)
def test_a_statement_that_is_not_idempotent_is_sent_once(
    on_three: Session, three: FakeCluster, failure: Any, error: type[Exception]
) -> None:
    counter = "UPDATE c SET n = n + 1 WHERE k = 1"
    three.on(counter, failure)
    for decision in (RetryPolicy.RETRY, RetryPolicy.RETRY_NEXT_HOST):
        before = sum(node.count(counter) for node in three)
        assert type(outcome(on_three.execute, statement(Decides(decision), False, counter))) is error
        assert sum(node.count(counter) for node in three) == before + 1
        eventually(lambda: len(pooled(on_three)) == 3)


@pytest.mark.parametrize("failure", [Close(), Close(rst=True), Error(ErrorCode.SERVER_ERROR)], ids=["FIN", "RST", "error"])
def test_an_idempotent_statement_goes_to_the_next_host(on_three: Session, three: FakeCluster, failure: Any) -> None:
    for node in list(three)[:2]:
        node.on(TEXT, failure)
    with gevent.Timeout(10):
        while not (three[0].count(TEXT) and three[1].count(TEXT)):  # which is the first one is chance
            future = on_three.execute_async(statement())
            assert future.result().one().v == 1
            assert future.coordinator_host.address == three[2].host == future.attempted_hosts[-1].address


def test_a_timeout_is_never_followed_by_another_attempt(on_three: Session, three: FakeCluster) -> None:
    three.on(TEXT)
    for idempotent in (True, False):
        before = sum(node.count(TEXT) for node in three)
        with pytest.raises(OperationTimedOut) as raised:
            on_three.execute(statement(idempotent=idempotent), timeout=0.03)
        gevent.sleep(0.02)
        assert sum(node.count(TEXT) for node in three) == before + 1
        error: Any = raised.value
        assert error.host in on_three.hosts and str(error.host) in str(error.errors) and error.last_host == error.host
        assert error.attempts == 1 and error.elapsed >= 0.03


def test_the_reply_of_a_counter_update_is_lost(session: Session, node: FakeNode) -> None:
    applied: list[int] = []

    def apply(request: Request, connection: Any) -> Any:
        applied.append(1)
        return Close()

    node.on("UPDATE counter", apply)
    with pytest.raises(ConnectionShutdown, match="may have been applied"):
        session.execute("UPDATE counter")
    gevent.sleep(0.05)
    assert applied == [1]


def test_one_of_two_connections_breaks(node: FakeNode) -> None:
    """Idempotent requests of the broken one go on over the other."""
    with cluster_of(node, connections_per_host=2) as cluster:
        session = cluster.connect()
        eventually(lambda: len(pooled(session)) == 2)
        prepared = session.prepare(BY_KEY)
        prepared.is_idempotent = True
        serve_keys(node, lambda request, connection: own_key(request).after(0.02))
        asking = [gevent.spawn(lambda key: session.execute(prepared, (key,)).one().k, key) for key in range(100)]
        node.wait_for(lambda n: n.count(BY_KEY) == 100)
        pooled(session)[0].defunct(ConnectionShutdown("made up"))
        assert [greenlet.get() for greenlet in asking] == list(range(100))


# -- timeouts and late replies -----------------------------------------------------------------------------------------


def test_late_replies_reach_nobody_else(node: FakeNode) -> None:
    """pitfalls: answers of one user's query given to another's. Every row carries its own key."""
    node.record = False

    def sometimes_late(request: Request, connection: Any) -> Any:
        return own_key(request).after(0.03) if request.params[0] % 5 == 0 else own_key(request)

    serve_keys(node, sometimes_late)
    with cluster_of(node, max_requests_in_flight=64) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        ends = {"right": 0, "timeout": 0}

        def ask(first: int) -> None:
            for key in range(first, 20_000, 64):
                try:
                    row = session.execute(prepared, (key,), timeout=0.02 if key % 5 == 0 else 5).one()
                except OperationTimedOut:
                    ends["timeout"] += 1
                else:
                    assert row.k == key
                    ends["right"] += 1

        gevent.joinall([gevent.spawn(ask, i) for i in range(64)], raise_error=True)
        assert sum(ends.values()) == 20_000 and ends["timeout"] > 1000, ends
        eventually(lambda: settled(session))
        [connection] = pooled(session)
        connection.check_invariants()
        assert connection.table.late_replies >= ends["timeout"]


@pytest.mark.parametrize("reply", [own_key, lambda r, c: own_key(r).times(2)], ids=["unknown stream", "twice"])
def test_replies_that_nobody_asked_for_end_the_connection(session: Session, node: FakeNode, reply: Callable[..., Any]) -> None:
    """pitfalls: such a reply made the same stream id free twice."""
    prepared = session.prepare(BY_KEY)
    gate = Event()
    node.on("SELECT gated", GOOD.when(gate))
    waiting = [session.execute_async(statement(text="SELECT gated")) for _ in range(3)]
    node.wait_for(lambda n: n.count("SELECT gated") == 3)
    serve_keys(node, reply if reply is not own_key else lambda r, c: [own_key(r).on_stream(30_000)])
    broken = pooled(session)[0]
    session.execute_async(prepared, (1,), timeout=0.5).wait()
    eventually(lambda: broken.closed)
    assert broken.table.in_flight == 0
    broken.check_invariants()
    gate.set()
    serve_keys(node)
    assert [future.result().one().v for future in waiting] == [1] * 3  # idempotent: asked again
    assert session.execute(prepared, (2,)).one().k == 2


def test_no_timeout(session: Session, node: FakeNode) -> None:
    gate = Event()
    node.on("SELECT gated", GOOD.when(gate))
    session.default_timeout = 0.01
    with pytest.raises(OperationTimedOut):
        session.execute("SELECT gated")
    future = session.execute_async("SELECT gated", timeout=None)
    gevent.sleep(0.05)
    assert not future.ready()
    gate.set()
    assert future.result().one().v == 1


# -- what a request carries --------------------------------------------------------------------------------------------


def test_options_reach_the_server(session: Session, node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    made = SimpleStatement(
        TEXT, consistency_level=ConsistencyLevel.QUORUM, serial_consistency_level=ConsistencyLevel.SERIAL, fetch_size=77,
        custom_payload={"a": b"1"},
    )  # fmt: skip
    session.execute(made, custom_payload={"b": b"2"}, execute_as="her")
    request = node.queries[-1]
    assert request.consistency == ConsistencyLevel.QUORUM and request.serial_consistency == ConsistencyLevel.SERIAL
    assert request.page_size == 77 and request.payload == {"a": b"1", "b": b"2", "ProxyExecute": b"her"}
    assert abs((request.timestamp or 0) / 1e6 - time.time()) < 5
    session.use_client_timestamp = False
    session.execute(TEXT)
    assert node.queries[-1].timestamp is None
    session.timestamp_generator = lambda: 42
    session.use_client_timestamp = True
    session.default_consistency_level = ConsistencyLevel.ALL
    session.execute(TEXT)
    assert node.queries[-1].timestamp == 42 and node.queries[-1].consistency == ConsistencyLevel.ALL


def test_batches(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(INSERT)
    batch = BatchStatement(consistency_level=ConsistencyLevel.QUORUM)
    batch.add(prepared, (1,)).add(prepared.bind((2,))).add("INSERT INTO t (k) VALUES (%s)", (3,))
    node.on(INSERT, Void(), opcode=Opcode.BATCH)
    session.execute(batch)
    request = node.queries[-1]
    assert request.opcode == Opcode.BATCH and request.consistency == ConsistencyLevel.QUORUM
    assert [entry.params for entry in request.entries[:2]] == [[1], [2]]
    assert request.entries[2].text == "INSERT INTO t (k) VALUES (3)"


def test_parameters_of_simple_statements(session: Session, node: FakeNode) -> None:
    session.execute("INSERT INTO t (a, b) VALUES (%s, %s)", ("it's", None))
    session.execute("INSERT INTO t (a, b) VALUES (%(x)s, %(y)s)", {"x": 1, "y": [2]})
    sent = [request.text for request in node.queries]
    assert sent == ["INSERT INTO t (a, b) VALUES ('it''s', NULL)", "INSERT INTO t (a, b) VALUES (1, [2])"]
    for wrong in (1, None, object()):
        with pytest.raises(TypeError):
            session.execute(wrong)
    with pytest.raises(ValueError, match="values already"):
        session.execute(session.prepare(INSERT).bind((1,)), (2,))


def test_request_init_listeners(session: Session, node: FakeNode) -> None:
    seen: list[Any] = []

    def listener(future: Any, *args: Any, **kwargs: Any) -> None:
        seen.append((future.query, args, kwargs, future.ready(), node.count(TEXT)))

    node.on(TEXT, GOOD)
    session.add_request_init_listener(listener, 1, a=2)
    session.execute(TEXT)
    session.remove_request_init_listener(listener, 1, a=2)
    session.execute(TEXT)
    with pytest.raises(ValueError):
        session.remove_request_init_listener(listener, 1, a=2)
    [(query, args, kwargs, ready, count)] = seen
    assert query.query_string == TEXT and (args, kwargs, ready, count) == ((1,), {"a": 2}, False, 0)


def test_a_listener_that_gives_the_future_away(session: Session, node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    others: list[Any] = []

    def listener(future: Any) -> None:
        others.append(gevent.spawn(lambda: future.result().one().v))
        gevent.sleep(0)  # it is parked on the future now

    session.add_request_init_listener(listener)
    assert session.execute(TEXT).one().v == 1
    assert others[0].get(timeout=2) == 1


def test_a_listener_that_raises(session: Session, node: FakeNode) -> None:
    seen: list[Any] = []
    session.add_request_init_listener(seen.append)

    def bad(future: Any) -> None:
        raise ZeroDivisionError("mine")

    session.add_request_init_listener(bad)
    with pytest.raises(ZeroDivisionError):
        session.execute(TEXT)
    assert isinstance(seen[0].exception, ZeroDivisionError)  # who got hold of the future is told
    assert node.count(TEXT) == 0


@pytest.mark.parametrize("ends", ["deadline", "session"])
def test_a_listener_that_takes_too_long(session: Session, node: FakeNode, ends: str) -> None:
    """Behind the request's time, or the Session's, nothing is sent."""

    def slow(future: Any) -> None:
        gevent.sleep(0.15)
        if ends == "session":
            session.shutdown()

    session.add_request_init_listener(slow)
    future = session.execute_async(TEXT, timeout=0.1 if ends == "deadline" else 5)
    with pytest.raises(OperationTimedOut if ends == "deadline" else ConnectionShutdown):
        future.result()
    gevent.sleep(0.02)
    assert node.count(TEXT) == 0


@pytest.mark.logs("WARNING Server warning: too many tombstones")
def test_warnings_of_the_server_are_logged(session: Session, node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    node.on(TEXT, GOOD.with_warnings("too many tombstones"))
    session.execute(TEXT)
    eventually(lambda: "too many tombstones" in caplog.text)


def test_an_error_keeps_nothing_open(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.INVALID, "no"))
    for _ in range(200):
        with pytest.raises(InvalidRequest):
            session.execute(TEXT)
    eventually(lambda: settled(session) and not len(session.cluster._greenlets))


# -- hosts that the plan passed by ---------------------------------------------------------------------------------------


class InOrder(RoundRobinPolicy):
    """The hosts always in the same order."""

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Any:
        yield from sorted(super().make_query_plan(working_keyspace, query))


@pytest.fixture
def in_order() -> Iterator[tuple[FakeCluster, Session]]:
    """Three nodes in a fixed order, with room for two requests each; they are full as long as SELECT full is answered."""
    with FakeCluster(3) as nodes:
        nodes.on("SELECT full", GOOD.after(0.3))
        nodes.on(TEXT, GOOD)
        with cluster_of(nodes, max_requests_in_flight=2, load_balancing_policy=InOrder()) as cluster:
            yield nodes, cluster.connect(wait_for_all_pools=True)


def fill(session: Session, node: FakeNode) -> list[Any]:
    host = session.cluster.metadata.get_host(node.host)
    return [session.execute_async("SELECT full", host=host) for _ in range(2)]


def test_a_host_that_was_full_is_asked_when_the_others_refuse(in_order: tuple[FakeCluster, Session]) -> None:
    nodes, session = in_order
    for refusing in (nodes[0], nodes[2]):
        refusing.on(TEXT, Error(ErrorCode.OVERLOADED))
    filling = fill(session, nodes[1])
    assert session.execute(SimpleStatement(TEXT, is_idempotent=True)).one().v == 1
    assert [node.count(TEXT) for node in nodes] == [1, 1, 1]
    assert all(future.result() for future in filling)


def test_a_host_that_was_full_is_asked_when_the_others_are_lost(in_order: tuple[FakeCluster, Session]) -> None:
    nodes, session = in_order
    nodes[1].on(TEXT, GOOD.after(5))
    filling = [*fill(session, nodes[0]), *fill(session, nodes[2])]
    future = session.execute_async(SimpleStatement(TEXT, is_idempotent=True))
    nodes[1].wait_for(lambda node: node.count(TEXT))
    nodes[1].stop()
    assert future.result().one().v == 1
    assert all(full.result() for full in filling)


def test_a_host_that_was_silent_is_asked_when_the_others_refuse(in_order: tuple[FakeCluster, Session]) -> None:
    nodes, session = in_order
    for refusing in (nodes[1], nodes[2]):
        refusing.on(TEXT, Error(ErrorCode.OVERLOADED))
    for connection in pooled(session):
        connection.suspect = connection.endpoint.address == nodes[0].host
    assert session.execute(SimpleStatement(TEXT, is_idempotent=True)).one().v == 1
    assert [node.count(TEXT) for node in nodes] == [1, 1, 1]
