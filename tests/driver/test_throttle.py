"""The limit of requests per second: kept, in order, within deadlines, bounded, and nothing lost when all of it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.errors import Busy, ConnectionShutdown, NoHostAvailable, OperationTimedOut
from geventcql.execution import Execution
from geventcql.policies import ConstantSpeculativeExecutionPolicy, RoundRobinPolicy
from geventcql.query import SimpleStatement
from geventcql.session import Session
from geventcql.throttle import ThrottledExecution
from tests.driver.support import BY_KEY, cluster_of, eventually, in_hub, outcome, own_key, pooled, serve_keys, settled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import NEVER, FakeNode, Opcode, Request, Rows, paged
from tests.support.logs import UNREACHABLE
from tests.support.native import block

pytestmark = pytest.mark.logs(UNREACHABLE)

ONE = Rows([("v", "int")], [(7,)])


@pytest.fixture
def slow(node: FakeNode) -> Iterator[Session]:
    """A Session that starts one request in 50 s, and has room for eight that wait; the first has been started."""
    node.on("SELECT v", ONE)
    with cluster_of(node, max_requests_per_second=0.02, max_requests_waiting=8) as cluster:
        session = cluster.connect()
        session.execute("SELECT v")
        yield session


def waiting(session: Session) -> int:
    assert session._throttle is not None
    return len(session._throttle)


def test_the_rate_is_kept_in_order(node: FakeNode) -> None:
    arrived: list[tuple[int, float]] = []

    def answer(request: Request, connection: Any) -> Any:
        arrived.append((request.params[0], time.monotonic()))
        return own_key(request)

    serve_keys(node, answer)
    with cluster_of(node, max_requests_per_second=400) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        began = time.monotonic()
        futures = [session.execute_async(prepared, (key,), timeout=30) for key in range(220)]
        assert waiting(session) == 200
        assert [future.result().one().k for future in futures] == list(range(220))
        took = time.monotonic() - began
    assert [key for key, _ in arrived] == list(range(220))
    assert took >= 0.49, "a burst of 20, the rest at 400 in a second"
    assert took < 5
    for (_, first), (_, later) in zip(arrived, arrived[60:], strict=False):
        assert later - first >= 0.04, "60 within less than a burst and what is due meanwhile"


def test_a_pause_saves_no_more_than_a_burst(node: FakeNode) -> None:
    with cluster_of(node, max_requests_per_second=400) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        gevent.sleep(0.3)
        futures = [session.execute_async(prepared, (key,)) for key in range(60)]
        assert waiting(session) == 40
        gevent.joinall([gevent.spawn(future.result) for future in futures], raise_error=True)


def test_greenlets_that_execute(node: FakeNode) -> None:
    with cluster_of(node, max_requests_per_second=2000) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        asking = [gevent.spawn(lambda key: session.execute(prepared, (key,)).one().k, key) for key in range(1000)]
        gevent.sleep(0)
        assert waiting(session) > 100 and not len(cluster._greenlets), "no greenlet for who waits"
        assert [greenlet.get() for greenlet in asking] == list(range(1000))
        assert settled(session) and not waiting(session)
        assert session._throttle._timer is None and not len(session._throttle._deadlines)  # type: ignore[union-attr]


def test_what_is_not_prepared_and_who_is_not_ours(node: FakeNode) -> None:
    """Policies of an application's run in a greenlet, never in the hub that drains the queue."""
    hub = gevent.get_hub()

    class Own(RoundRobinPolicy):
        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
            assert gevent.getcurrent() is not hub
            gevent.sleep(0)
            return iter(list(super().make_query_plan(working_keyspace, query)))

    node.on("SELECT v", ONE)
    profiles = {"own": ExecutionProfile(Own())}
    with cluster_of(node, max_requests_per_second=200, execution_profiles=profiles) as cluster:
        session = cluster.connect()
        [host] = session.hosts
        for options in ({"execution_profile": "own"}, {"host": host}, {}):
            futures = [session.execute_async("SELECT v", **options) for _ in range(30)]
            assert waiting(session)
            assert [future.result().one().v for future in futures] == [7] * 30


def test_a_deadline_that_passes_in_the_queue(slow: Session, node: FakeNode) -> None:
    late = slow.execute_async("SELECT v", timeout=0.03)
    later = slow.execute_async("SELECT v", timeout=0.06)
    for future, after in ((late, 0.03), (later, 0.06)):
        with pytest.raises(OperationTimedOut) as raised:
            future.result()
        error: Any = raised.value
        assert "max_requests_per_second; the request was not sent" in error.errors["(not sent)"]
        assert error.attempts == 0 and error.host is None and after <= error.elapsed < after + 1
    assert node.count("SELECT v") == 1 and waiting(slow) == 0


def test_busy_at_the_bound(slow: Session, node: FakeNode) -> None:
    futures = [slow.execute_async("SELECT v") for _ in range(8)]
    for call in (slow.execute, slow.execute_async):
        with pytest.raises(Busy) as raised:
            call("SELECT v")
        assert (raised.value.waiting, raised.value.in_flight) == (8, 0)
        assert "8 requests are waiting for its turn" in str(raised.value)
    slow.max_requests_per_second = None
    assert [future.result().one().v for future in futures] == [7] * 8
    assert node.count("SELECT v") == 9


def test_busy_tells_what_is_in_flight(node: FakeNode) -> None:
    gate = Event()
    node.on("SELECT gated", ONE.when(gate))
    with cluster_of(node, max_requests_per_second=40, max_requests_waiting=0) as cluster:
        session = cluster.connect()
        first = session.execute_async("SELECT gated")
        session.max_requests_per_second = 0.02
        second = None
        with pytest.raises(Busy) as raised:
            for _ in range(3):
                second = session.execute_async("SELECT gated")
        gate.set()
        assert raised.value.waiting == 0 and raised.value.in_flight in (1, 2)
        assert f"{raised.value.in_flight} are in flight" in str(raised.value)
        assert first.result() and (second is None or second.result())


def test_those_who_left_do_not_count(slow: Session, node: FakeNode) -> None:
    """Greenlets that were killed while they waited make room in the queue."""
    for _ in range(50):
        asking = [gevent.spawn(slow.execute, "SELECT v", timeout=None) for _ in range(8)]
        gevent.sleep(0)
        assert waiting(slow) == 8
        gevent.killall(asking)
        assert waiting(slow) == 0
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        slow.execute("SELECT v")
    assert waiting(slow) == 0 and node.count("SELECT v") == 1


def test_one_of_many_leaves(slow: Session, node: FakeNode) -> None:
    first, *rest = [slow.execute_async(SimpleStatement("SELECT v")) for _ in range(8)]
    first._execution.cancel()
    assert waiting(slow) == 7
    slow.max_requests_per_second = 1000
    assert [future.result().one().v for future in rest] == [7] * 7
    with pytest.raises(ConnectionShutdown, match="cancelled"):
        first.result()
    assert node.count("SELECT v") == 8


@pytest.mark.parametrize("end", ["session", "cluster"])
def test_the_end_ends_those_who_wait(slow: Session, end: str) -> None:
    futures = [slow.execute_async("SELECT v") for _ in range(4)]
    (slow if end == "session" else slow.cluster).shutdown()
    for future in futures:
        with pytest.raises(ConnectionShutdown, match="shut down while the request waited for its turn"):
            future.result(timeout=1)
    with pytest.raises(ConnectionShutdown, match="has been shut down"):
        slow.execute("SELECT v")


def test_the_shutdown_while_a_policy_is_asked_for_a_turn_that_has_come(node: FakeNode) -> None:
    """It kills the greenlet that asks, not the one that waits for the result."""

    class Slow(RoundRobinPolicy):
        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Any:
            gevent.sleep(0 if query is None else 30)
            return super().make_query_plan(working_keyspace, query)

    cluster = cluster_of(node, load_balancing_policy=Slow(), max_requests_per_second=20)
    session = cluster.connect()
    assert session._throttle is not None and session._throttle.admits()  # a turn is not there at once
    waiting = gevent.spawn(outcome, lambda: session.execute("SELECT v", timeout=None))
    gevent.sleep(0.2)
    cluster.shutdown()
    assert isinstance(waiting.get(timeout=5), ConnectionShutdown)


def test_a_session_that_was_dropped_serves_who_waits(node: FakeNode) -> None:
    node.on("SELECT v", ONE)
    with cluster_of(node, max_requests_per_second=100) as cluster:
        session: Session | None = cluster.connect()
        assert session is not None
        futures = [session.execute_async("SELECT v") for _ in range(20)]
        session = None
        assert [future.result().one().v for future in futures] == [7] * 20


def test_set_at_any_time(node: FakeNode) -> None:
    node.on("SELECT v", ONE)
    with cluster_of(node) as cluster:
        session, other = cluster.connect(), cluster.connect()
        assert session.max_requests_per_second is None and session._execution_class is Execution
        session.max_requests_per_second = 0.02
        assert session.max_requests_per_second == 0.02 and session._execution_class is ThrottledExecution
        session.execute("SELECT v")
        future = session.execute_async("SELECT v")
        gevent.sleep(0.01)
        assert not future.ready()
        for _ in range(20):
            other.execute("SELECT v")  # each has its own
        session.max_requests_per_second = 1000
        assert future.result().one().v == 7
        session.max_requests_per_second = None
        assert [session.execute("SELECT v").one().v for _ in range(100)] == [7] * 100
        cluster.max_requests_per_second = 5
        assert cluster.connect().max_requests_per_second == 5


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_what_is_no_rate(node: FakeNode, wrong: float) -> None:
    with pytest.raises(ValueError, match="max_requests_per_second must be a positive number"):
        Cluster(max_requests_per_second=wrong)
    with cluster_of(node) as cluster:
        session = cluster.connect()
        with pytest.raises(ValueError, match="max_requests_per_second"):
            session.max_requests_per_second = wrong
        assert session._throttle is None and session._execution_class is Execution
        session.max_requests_per_second = 5
        with pytest.raises(ValueError, match="max_requests_per_second"):
            session.max_requests_per_second = wrong
        assert session.max_requests_per_second == 5


def test_pages_count_and_retries_do_not(node: FakeNode) -> None:
    pages = paged([("v", "int")], [(n,) for n in range(10)], 2)
    node.on("SELECT pages", pages)
    with cluster_of(node, max_requests_per_second=20) as cluster:
        session = cluster.connect()
        began = time.monotonic()
        assert [row.v for row in session.execute(SimpleStatement("SELECT pages", fetch_size=2))] == list(range(10))
        assert time.monotonic() - began >= 4 * 0.05 - 0.01
        result = session.execute(SimpleStatement("SELECT pages", fetch_size=2))
        session.shutdown()
        with pytest.raises((ConnectionShutdown, NoHostAvailable)):
            list(result)


def test_prepare_does_not_count(slow: Session, node: FakeNode) -> None:
    before = node.count(Opcode.PREPARE)
    with gevent.Timeout(5):
        for number in range(5):
            node.prepare(f"SELECT {number} FROM t", [], [("v", "int")])
            slow.prepare(f"SELECT {number} FROM t")
    assert node.count(Opcode.PREPARE) == before + 5


def test_turns_come_though_there_is_no_room(node: FakeNode) -> None:
    """Those whose turn has come wait for room then, and nobody behind them waits for that."""
    gate = Event()
    node.on("SELECT gated", ONE.when(gate))
    with cluster_of(node, max_requests_per_second=500, max_requests_in_flight=2, max_requests_waiting=60) as cluster:
        session = cluster.connect()
        futures = [session.execute_async("SELECT gated") for _ in range(60)]
        eventually(lambda: not waiting(session))
        eventually(lambda: len(session._admission) == 58)
        cut_short = session.execute_async("SELECT gated", timeout=0.05)
        with pytest.raises(OperationTimedOut, match="a connection with room"):
            cut_short.result()
        gate.set()
        assert [future.result().one().v for future in futures] == [7] * 60


def test_no_host_when_the_turn_comes(node: FakeNode) -> None:
    node.on("SELECT v", ONE)
    with cluster_of(node, max_requests_per_second=10) as cluster:
        session = cluster.connect()
        session.execute("SELECT v")
        future = session.execute_async("SELECT v")
        node.stop()
        eventually(lambda: not pooled(session))
        with pytest.raises(NoHostAvailable):
            future.result()


def test_many_at_once_do_not_stall_the_hub(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are started in passes, and others have their turn between these."""
    node.on("SELECT v", ONE)
    loop = gevent.get_hub().loop
    turns: list[int] = []
    proceed = ThrottledExecution.proceed
    monkeypatch.setattr(ThrottledExecution, "proceed", lambda self: (turns.append(loop.iteration), proceed(self)))
    with cluster_of(node, max_requests_per_second=0.02) as cluster:
        session = cluster.connect()
        futures = [session.execute_async("SELECT v") for _ in range(2000)]
        session.max_requests_per_second = None
        gevent.wait(futures)
        assert all(future.successful() for future in futures)
        assert len(turns) == 1999 and max(turns.count(turn) for turn in set(turns)) <= 256


def test_a_shutdown_that_drains_waits_for_those_who_wait_their_turn(node: FakeNode) -> None:
    node.on("SELECT v", ONE)
    with cluster_of(node, max_requests_per_second=20) as cluster:
        session = cluster.connect()
        futures = [session.execute_async("SELECT v") for _ in range(5)]
        cluster.shutdown(timeout=10)
        assert [future.result().one().v for future in futures] == [7] * 5


def test_started_in_the_hub(node: FakeNode) -> None:
    """execute_async may be called there, whether the request is admitted or waits."""
    with cluster_of(node, max_requests_per_second=40) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        futures: list[Any] = []
        in_hub(*[lambda: futures.append(session.execute_async(prepared, (7,)))] * 5)
        assert len(futures) == 5 and waiting(session) == 3
        assert [future.result().one().k for future in futures] == [7] * 5


def test_deadlines_of_those_who_wait_no_more_are_forgotten(node: FakeNode) -> None:
    node.on("SELECT v", ONE)
    with cluster_of(node, max_requests_per_second=0.02) as cluster:
        session = cluster.connect()
        session.execute("SELECT v")
        keeper = session.execute_async("SELECT v", timeout=60)
        for _ in range(100):
            for future in [session.execute_async("SELECT v", timeout=50) for _ in range(10)]:
                future._execution.cancel()
        assert waiting(session) == 1
        assert len(session._throttle._deadlines) < 200 and len(session._throttle._queue) < 200  # type: ignore[union-attr]
        session.max_requests_per_second = None
        assert keeper.result().one().v == 7


def test_what_cannot_be_sent_when_its_turn_comes(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with its own error, and those behind it are served."""
    with cluster_of(node, max_requests_per_second=40) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        futures = [session.execute_async(prepared, (key,)) for key in range(5)]
        bad = futures[3]._execution
        monkeypatch.setattr(bad, "try_pool", lambda pool: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            futures[3].result()
        assert [future.result().one().k for future in (*futures[:3], futures[4])] == [0, 1, 2, 4]


def test_speculative_execution_of_those_who_waited() -> None:
    """Further attempts do not count; the policy is asked in a greenlet."""
    hub = gevent.get_hub()

    class Policy(ConstantSpeculativeExecutionPolicy):
        def new_plan(self, keyspace: Any, statement: Any) -> Any:
            assert gevent.getcurrent() is not hub
            return super().new_plan(keyspace, statement)

    with FakeCluster(2) as nodes:
        nodes[0].on("SELECT v", NEVER)
        nodes[1].on("SELECT v", ONE)
        profile = ExecutionProfile(RoundRobinPolicy(), speculative_execution_policy=Policy(0.02, 1))
        with cluster_of(nodes, max_requests_per_second=20, execution_profiles={EXEC_PROFILE_DEFAULT: profile}) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            statement = SimpleStatement("SELECT v", is_idempotent=True)
            futures = [session.execute_async(statement, timeout=5) for _ in range(6)]
            assert waiting(session) == 5
            assert [future.result().one().v for future in futures] == [7] * 6
            assert nodes[0].count("SELECT v") >= 2 and nodes[1].count("SELECT v") == 6


def test_a_deadline_behind_the_turn(node: FakeNode) -> None:
    """Out of time before the greenlet runs that asks the policy: nothing is sent."""
    node.on("SELECT v", ONE)
    with cluster_of(node, max_requests_per_second=0.02) as cluster:
        session = cluster.connect()
        session.execute("SELECT v")
        future = session.execute_async("SELECT v", host=session.hosts[0])
        session.max_requests_per_second = None
        in_hub(session._throttle._start_due, future._execution.expire)  # type: ignore[union-attr]
        with pytest.raises(OperationTimedOut):
            future.result()
        gevent.sleep(0.02)
        assert node.count("SELECT v") == 1


def test_a_turn_that_comes_late(node: FakeNode) -> None:
    """The hub was busy with something else while the deadline passed: nothing is sent."""
    node.on("SELECT v", ONE)
    with cluster_of(node, max_requests_per_second=10) as cluster:
        session = cluster.connect()
        session.execute("SELECT v")
        future = session.execute_async("SELECT v", timeout=0.15)
        assert waiting(session) == 1
        in_hub(lambda: block(0.2), session._throttle._start_due)  # type: ignore[union-attr]
        with pytest.raises(OperationTimedOut):
            future.result()
        gevent.sleep(0.02)
        assert node.count("SELECT v") == 1
