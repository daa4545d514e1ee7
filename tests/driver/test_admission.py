"""Requests that wait for room: in order, within their deadlines, bounded, and never lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.admission import Admission, admit
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.errors import Busy, ConnectionShutdown, NoHostAvailable, OperationTimedOut
from geventcql.execution import Execution
from geventcql.net.scheduler import Scheduler
from geventcql.policies import (
    ConstantReconnectionPolicy,
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    RoundRobinPolicy,
)
from geventcql.query import SimpleStatement
from geventcql.session import Session
from tests.driver.support import BY_KEY, INSERT, cluster_of, eventually, in_hub, own_key, pooled, serve_keys, settled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import NEVER, Close, Error, ErrorCode, FakeNode, Opcode, Ready, Request, Rows
from tests.support.logs import UNREACHABLE
from tests.support.native import block

pytestmark = pytest.mark.logs(UNREACHABLE)


@pytest.fixture
def narrow(node: FakeNode) -> Iterator[Session]:
    """A Session with room for four requests, and eight more that wait."""
    with cluster_of(node, max_requests_in_flight=4, max_requests_waiting=8) as cluster:
        yield cluster.connect()


@pytest.fixture
def gate(node: FakeNode) -> Event:
    event = Event()
    node.on("SELECT gated", Rows([("v", "int")], [(7,)]).when(event))
    return event


def fill(session: Session, count: int) -> list[Any]:
    return [session.execute_async("SELECT gated") for _ in range(count)]


def test_ten_thousand_greenlets_on_four_streams(node: FakeNode) -> None:
    node.record = False
    most = [0]

    def answer(request: Request, connection: Any) -> Any:
        most[0] = max(most[0], len(connection.in_flight))
        return own_key(request)

    serve_keys(node, answer)
    with cluster_of(node, max_requests_in_flight=4) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        asking = [gevent.spawn(lambda key: session.execute(prepared, (key,), timeout=60).one().k, i) for i in range(10_000)]
        assert [greenlet.get() for greenlet in asking] == list(range(10_000))
        assert settled(session)
    assert 0 < most[0] <= 4


def test_who_waits_longest_is_admitted_first(narrow: Session, node: FakeNode) -> None:
    arrived: list[int] = []

    def answer(request: Request, connection: Any) -> Any:
        arrived.append(request.params[0])
        return own_key(request).after(0.002 * (request.params[0] % 3))

    serve_keys(node, answer)
    prepared = narrow.prepare(BY_KEY)
    futures = [narrow.execute_async(prepared, (key,)) for key in range(12)]
    assert len(narrow._admission) == 8
    assert [future.result().one().k for future in futures] == list(range(12))
    assert arrived == list(range(12))


def test_a_deadline_that_passes_in_the_queue(narrow: Session, gate: Event, node: FakeNode) -> None:
    sent = fill(narrow, 4)
    late = narrow.execute_async("SELECT gated", timeout=0.03)
    later = narrow.execute_async("SELECT gated", timeout=0.06)
    patient = narrow.execute_async("SELECT gated")
    for future, after in ((late, 0.03), (later, 0.06)):
        with pytest.raises(OperationTimedOut) as raised:
            future.result()
        error: Any = raised.value
        assert "not sent" in str(error.errors)
        assert error.attempts == 0 and error.host is None and after <= error.elapsed < after + 0.5
    assert not patient.ready()
    gate.set()
    assert [f.result().one().v for f in [*sent, patient]] == [7] * 5
    assert node.count("SELECT gated") == 5


def test_a_deadline_in_the_queue_that_is_earlier_than_those_before(narrow: Session, gate: Event) -> None:
    sent = fill(narrow, 4)
    patient = narrow.execute_async("SELECT gated", timeout=30)
    late = narrow.execute_async("SELECT gated", timeout=0.03)
    with gevent.Timeout(5), pytest.raises(OperationTimedOut):
        late.get()
    gate.set()
    assert [f.result().one().v for f in [*sent, patient]] == [7] * 5


def test_busy_at_the_bound(narrow: Session, gate: Event, node: FakeNode) -> None:
    futures = fill(narrow, 12)
    with pytest.raises(Busy) as raised:
        narrow.execute("SELECT gated")
    assert (raised.value.waiting, raised.value.in_flight) == (8, 4)
    assert "8" in str(raised.value)
    gate.set()
    gevent.joinall([gevent.spawn(future.result) for future in futures], raise_error=True)
    assert narrow.execute("SELECT gated").one().v == 7
    assert node.count("SELECT gated") == 13


def test_nobody_may_wait(node: FakeNode, gate: Event) -> None:
    with cluster_of(node, max_requests_in_flight=1, max_requests_waiting=0) as cluster:
        session = cluster.connect()
        first = session.execute_async("SELECT gated")
        with pytest.raises(Busy):
            session.execute_async("SELECT gated")
        gate.set()
        assert first.result() and session.execute("SELECT gated")


def test_those_who_left_do_not_count(narrow: Session, gate: Event) -> None:
    """Greenlets that were killed while they waited make room in the queue."""
    fill(narrow, 4)
    for _ in range(50):
        waiting = [gevent.spawn(narrow.execute, "SELECT gated", timeout=None) for _ in range(8)]
        gevent.sleep(0)
        gevent.killall(waiting)
    rest = fill(narrow, 8)
    gate.set()
    assert [future.result().one().v for future in rest] == [7] * 8


def test_who_waits_gets_the_room_of_a_killed_request(narrow: Session, node: FakeNode) -> None:
    """The server owes the answer for ever, but the room is there at once, and for who has waited."""
    node.on("SELECT mute", None)
    arrived: list[int] = []

    def answer(request: Request, connection: Any) -> Any:
        arrived.append(request.params[0])
        return own_key(request)

    serve_keys(node, answer)
    prepared = narrow.prepare(BY_KEY)
    under_way = [gevent.spawn(narrow.execute, "SELECT mute", timeout=None) for _ in range(4)]
    node.wait_for(lambda n: n.count("SELECT mute") == 4)
    waiting = narrow.execute_async(prepared, (1,), timeout=2)
    assert len(narrow._admission) == 1
    under_way[0].kill()
    gevent.sleep(0)
    later = narrow.execute_async(prepared, (2,), timeout=2)
    assert waiting.result().one().k == 1 and later.result().one().k == 2
    assert arrived == [1, 2]
    gevent.killall(under_way)


def test_killed_requests_have_their_connection_replaced(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orphans count, however they were made, and though no answer comes."""
    from geventcql.net import pool as pools

    monkeypatch.setattr(pools, "MAX_ORPHANS", 64)
    node.on("SELECT mute", None)
    with cluster_of(node) as cluster:
        session = cluster.connect()
        first = pooled(session)[0]
        mute = [gevent.spawn(session.execute, "SELECT mute", timeout=None) for _ in range(64)]
        gevent.sleep(0)
        gevent.killall(mute)
        eventually(lambda: pooled(session) and pooled(session)[0] is not first)


def test_a_request_listener_learns_of_busy(narrow: Session, gate: Event) -> None:
    """The future that a listener got hold of ends too."""
    seen: list[Any] = []
    fill(narrow, 12)
    narrow.add_request_init_listener(seen.append)
    with pytest.raises(Busy):
        narrow.execute_async("SELECT gated")
    assert isinstance(seen[0].exception, Busy)
    narrow.remove_request_init_listener(seen.append)
    gate.set()


def test_shutdown_ends_those_who_wait(narrow: Session, gate: Event) -> None:
    futures = fill(narrow, 10)
    narrow.shutdown()
    for future in futures[4:]:
        with pytest.raises(ConnectionShutdown):
            future.result(timeout=1)
    gate.set()
    assert [future.result().one().v for future in futures[:4]] == [7] * 4  # under way: they end by themselves
    for call in (narrow.execute, narrow.execute_async, narrow.prepare):
        with pytest.raises(ConnectionShutdown, match="Session has been shut down"):
            call("SELECT gated")


def test_cluster_shutdown_ends_everything(narrow: Session, gate: Event) -> None:
    futures = fill(narrow, 10)
    gevent.sleep(0.002)
    narrow.cluster.shutdown()
    for future in futures:
        with pytest.raises(ConnectionShutdown):
            future.result(timeout=1)


def test_a_lost_connection_with_requests_that_wait(narrow: Session, gate: Event, node: FakeNode) -> None:
    """What was in flight fails, or goes elsewhere; what was never sent is sent when there is a connection again."""
    futures = fill(narrow, 10)
    node.wait_for(lambda n: n.count("SELECT gated") == 4)
    node.drop_connections()
    for future in futures[:4]:
        with pytest.raises(ConnectionShutdown):
            future.result(timeout=2)
    gate.set()
    assert [future.result(timeout=5).one().v for future in futures[4:]] == [7] * 6


def test_a_host_that_does_not_come_back(node: FakeNode, gate: Event) -> None:
    with cluster_of(node, max_requests_in_flight=2, reconnection_policy=ConstantReconnectionPolicy(0.02)) as cluster:
        session = cluster.connect()
        futures = [session.execute_async("SELECT gated", timeout=None) for _ in range(5)]
        node.wait_for(lambda n: n.count("SELECT gated") == 2)
        node.refuse()
        node.drop_connections()
        for future in futures[:2]:
            with pytest.raises(ConnectionShutdown):
                future.result(timeout=2)
        for future in futures[2:]:
            with pytest.raises(NoHostAvailable) as raised:
                future.result(timeout=2)
            assert [host.address for host in raised.value.errors] == [node.host]


@pytest.mark.logs(UNREACHABLE)
def test_who_waits_for_a_host_that_is_being_connected_to_waits_while_others_cannot_be() -> None:
    gate = Event()
    options: dict[str, Any] = {"max_requests_in_flight": 2, "reconnection_policy": ConstantReconnectionPolicy(0.02)}
    with FakeCluster(2) as nodes, cluster_of(nodes, **options) as cluster:
        nodes.on("SELECT gated", Rows([("v", "int")], [(7,)]).when(gate))
        session = cluster.connect(wait_for_all_pools=True)
        slow, dead = nodes
        host = cluster.metadata.get_host(slow.host)
        futures = [session.execute_async("SELECT gated", timeout=10, host=host) for _ in range(5)]
        slow.wait_for(lambda n: n.count("SELECT gated") == 2)
        slow.on(Opcode.STARTUP, Ready().after(0.5))
        slow.drop_connections()
        dead.stop()
        gevent.wait(futures[:2])
        gate.set()
        assert [future.result().one().v for future in futures[2:]] == [7] * 3


def test_forty_thousand_values_that_do_not_encode(session: Session) -> None:
    """pitfalls: slots taken before encoding were lost, until no stream id was left."""
    prepared = session.prepare(INSERT)
    connection = pooled(session)[0]
    for _ in range(40_000):
        with pytest.raises((TypeError, ValueError)):
            session.execute(prepared, ("not a number",))
    connection.check_invariants()
    assert settled(session) and connection.in_flight == 0
    session.execute(prepared, (1,))


@pytest.mark.slow
def test_a_request_that_is_too_long(session: Session) -> None:
    from geventcql.errors import FrameError

    with pytest.raises(FrameError):
        session.execute("x" * (256 * 1024 * 1024 + 1))
    assert settled(session)
    session.execute("INSERT INTO t (k) VALUES (1)")


def test_one_pinned_host_does_not_hold_up_the_others() -> None:
    """Many wait for a host that is mute; those behind them that wait for another one are admitted all the same."""
    with FakeCluster(2) as nodes:
        nodes.on("SELECT v", Rows([("v", "int")], [(1,)]))
        gate = Event()
        nodes[1].on("SELECT v", Rows([("v", "int")], [(1,)]).when(gate))
        with cluster_of(nodes, max_requests_in_flight=2, load_balancing_policy=RoundRobinPolicy()) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            free, mute = (next(h for h in session.hosts if h.address == node.host) for node in nodes)
            stuck = [session.execute_async("SELECT v", host=mute, timeout=None) for _ in range(40)]
            others = [session.execute_async("SELECT v", host=free) for _ in range(40)]
            with gevent.Timeout(3):
                assert [future.result().one().v for future in others] == [1] * 40
            assert not any(future.ready() for future in stuck)
            gate.set()
            assert [future.result().one().v for future in stuck] == [1] * 40


def test_a_server_that_is_mute_for_one_table(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its orphans fill the connection, which is replaced; requests for other tables never notice (pitfall B4)."""
    from geventcql.net import pool as pools

    monkeypatch.setattr(pools, "MAX_ORPHANS", 64)
    node.on("SELECT mute", None)
    with cluster_of(node, max_requests_in_flight=1000) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        first = pooled(session)[0]
        stop = False

        def others() -> list[float]:
            took: list[float] = []
            while not stop:
                started = time.monotonic()
                assert session.execute(prepared, (len(took),)).one().k == len(took)
                took.append(time.monotonic() - started)
            return took

        busy = [gevent.spawn(others) for _ in range(4)]
        muted = []
        for _ in range(4):
            muted += [session.execute_async("SELECT mute", timeout=0.03) for _ in range(20)]
            gevent.sleep(0.05)
        for future in muted:
            with pytest.raises(OperationTimedOut):
                future.result()
        eventually(lambda: pooled(session) and pooled(session)[0] is not first)
        stop = True
        assert all(0 < max(greenlet.get(), default=0) < 1 for greenlet in busy)
        eventually(lambda: first not in pooled(session))
        assert node.accepted == 3  # control, the first, its one replacement
        assert session.execute(prepared, (1,)).one().k == 1


def test_requests_of_two_sessions(node: FakeNode, gate: Event) -> None:
    """Sessions share the connections; each has a queue of its own, and both are served."""
    with cluster_of(node, max_requests_in_flight=2) as cluster:
        sessions: list[Session] = [cluster.connect(), cluster.connect()]
        futures = [session.execute_async("SELECT gated") for _ in range(10) for session in sessions]
        gate.set()
        assert [future.result().one().v for future in futures] == [7] * 20


def test_no_session_starves_another(node: FakeNode) -> None:
    """Whoever has waited longest is next, though the other Session always has requests that wait."""
    arrived: list[int] = []

    def answer(request: Request, connection: Any) -> Any:
        arrived.append(request.params[0])
        return own_key(request).after(0.001)

    serve_keys(node, answer)
    with cluster_of(node, max_requests_in_flight=2) as cluster:
        sessions = [cluster.connect(), cluster.connect()]
        prepared = sessions[0].prepare(BY_KEY)
        futures = [sessions[number // 10 % 2].execute_async(prepared, (number,)) for number in range(60)]
        assert [future.result().one().k for future in futures] == list(range(60))
    assert arrived == list(range(60))


def test_many_deadlines_at_once_do_not_stall_the_hub(node: FakeNode, gate: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    from geventcql.execution import Execution

    turns: list[int] = []
    loop = gevent.get_hub().loop
    expire = Execution.expire
    monkeypatch.setattr(Execution, "expire", lambda self: (turns.append(loop.iteration), expire(self)))
    with cluster_of(node, max_requests_in_flight=1) as cluster:
        session = cluster.connect()
        first = session.execute_async("SELECT gated", timeout=None)
        futures = [session.execute_async("SELECT gated", timeout=0.5) for _ in range(2000)]
        loop.run_callback(block, 0.6)  # all of them are due then
        gevent.wait(futures)
        assert all(isinstance(future.exception, OperationTimedOut) for future in futures)
        assert len(turns) == 2000 and max(turns.count(turn) for turn in set(turns)) <= 256
        assert len(session._admission) == 0
        gate.set()
        assert first.result().one().v == 7


def test_deadlines_of_those_who_wait_no_more_are_forgotten(narrow: Session) -> None:
    """However many have waited, the Session keeps no more of them than of those who wait."""
    prepared = narrow.prepare(BY_KEY)
    for _ in range(100):
        for future in [narrow.execute_async(prepared, (key,), timeout=50) for key in range(12)]:
            future.result()
    assert len(narrow._admission._deadlines) == 0 and narrow._admission._deadlines._timer is None


class Room:
    """Stands for a pool."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.asked = 0
        self.in_flight = 0


class Waiting:
    """Stands for an Execution that waits for room."""

    def __init__(self, sent: list[Any]) -> None:
        self.sent = sent
        self.done = False
        self.waiting = 0
        self.deadline = float("inf")
        self.broken = False
        self.others: list[Any] = []
        self.queue: Any = None

    def begin_waiting(self, queue: Any, number: int) -> None:
        self.queue, self.waiting = queue, number

    def end_waiting(self) -> None:
        self.waiting = 0

    def try_pool(self, pool: Room) -> bool:
        pool.asked += 1
        if self.broken:
            raise ValueError("cannot be sent")
        if pool.room:
            pool.room -= 1
            self.sent.append(self)
            return True
        return False

    def _fail(self, error: Exception) -> None:
        self.done = True
        for other in self.others:
            other.done = True
            other.queue.cancelled()


Admissions = tuple[set[Admission], Admission, Admission]


@pytest.fixture
def admissions() -> Admissions:
    """A Cluster's set of those that have requests waiting, and those of two Sessions."""
    waiting: set[Admission] = set()
    one, other = (Admission(Scheduler.for_hub(), 65_536, waiting) for _ in range(2))
    return waiting, one, other


def wait_in(admission: Admission, pools: list[Any], sent: list[Any], deadline: float = float("inf")) -> Any:
    execution = Waiting(sent)
    execution.deadline = deadline
    admission.wait(execution, pools)
    return execution


def test_a_thousand_hosts_are_not_looked_at_for_one(admissions: Admissions) -> None:
    waiting, admission, _ = admissions
    pools: list[Any] = [Room() for _ in range(1000)]
    sent: list[Any] = []
    for pool in pools:
        first, _ = wait_in(admission, [pool], sent), wait_in(admission, [pool], sent)
    pools[-1].room = 1
    admit(waiting, pools[-1])
    assert sent == [first] and len(admission) == 1999
    assert [pool.asked for pool in pools] == [0] * 999 + [2]


def test_deadlines_are_forgotten_though_somebody_waits_all_the_time(admissions: Admissions) -> None:
    waiting, admission, _ = admissions
    mute: Any = Room()
    pool: Any = Room(1000)
    wait_in(admission, [mute], [])
    for _ in range(1000):
        wait_in(admission, [pool], [], deadline=1e9)
        admit(waiting, pool)
    assert len(admission) == 1 and len(admission._deadlines) < 200
    admission._deadlines.clear()


def test_queues_that_share_a_host_are_served_by_age(admissions: Admissions) -> None:
    waiting, one, other = admissions
    here: Any = Room()
    there: Any = Room()
    sent: list[Any] = []
    who = [wait_in(a, pools, sent) for _ in range(3) for a in (one, other) for pools in ([here], [here, there], [there])]
    for room, expected in ((4, [0, 1, 3, 4]), (1, [6]), (50, [7, 9, 10, 12, 13, 15, 16])):
        here.room = room
        admit(waiting, here)
        assert [who.index(execution) for execution in sent] == expected
        sent.clear()
    assert len(one) == len(other) == 3
    there.room = 50
    admit(waiting, there)
    assert [who.index(execution) for execution in sent] == [2, 5, 8, 11, 14, 17]
    assert not waiting and not one._of_pool and not one._queues and len(one) == len(other) == 0


def test_the_end_of_one_is_the_end_of_others_in_the_queue(admissions: Admissions) -> None:
    """Nobody is sent twice, or forgotten, because the queue is looked through while it is served."""
    waiting, admission, _ = admissions
    pool: Any = Room(1000)
    full: Any = Room()
    sent: list[Any] = []
    head = wait_in(admission, [pool], sent)
    head.broken = True
    head.others = [wait_in(admission, pools, sent) for _ in range(100) for pools in ([pool], [full, pool])]
    living = [wait_in(admission, [pool], sent) for _ in range(10)]
    admit(waiting, pool)
    admit(waiting, pool)
    assert sent == living
    assert len(admission) == 0 and not waiting


def test_limits_are_checked() -> None:
    for wrong in (0, -1, 32_769):
        with pytest.raises(ValueError, match="max_requests_in_flight"):
            Cluster(max_requests_in_flight=wrong)
    with pytest.raises(ValueError, match="max_requests_waiting"):
        Cluster(max_requests_waiting=-1)


def test_room_that_comes_late(narrow: Session, node: FakeNode, gate: Event) -> None:
    """The hub was busy while the deadline passed: what could be sent then is not."""
    first, *others = fill(narrow, 4)
    late = narrow.execute_async("SELECT gated", timeout=0.1)
    node.wait_for(lambda node: node.count("SELECT gated") == 4)
    in_hub(lambda: block(0.2), first._execution.cancel, lambda: narrow.cluster._on_room(narrow.get_pools()[0]))
    with pytest.raises(OperationTimedOut, match="was not sent"):
        late.result()
    gate.set()
    assert [future.result().one().v for future in others] == [7] * 3
    assert node.count("SELECT gated") == 4


def test_room_that_comes_while_the_policy_goes_on(node: FakeNode, gate: Event) -> None:
    """Behind the host that had none: nobody would tell of it again."""
    filling: list[Any] = []

    class Dawdling(RoundRobinPolicy):
        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
            yield from super().make_query_plan(working_keyspace, query)
            if filling:
                gate.set()
                filling.pop().result()

    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(Dawdling())}
    with cluster_of(node, max_requests_in_flight=1, execution_profiles=profiles) as cluster:
        session = cluster.connect()
        filling += fill(session, 1)
        assert session.execute("SELECT gated", timeout=2).one().v == 7 and not filling


def test_who_waited_and_was_sent_gets_no_answer(narrow: Session, node: FakeNode, gate: Event) -> None:
    node.on("SELECT never", NEVER)
    filling = fill(narrow, 4)
    late = narrow.execute_async("SELECT never", timeout=0.3)
    gate.set()
    with pytest.raises(OperationTimedOut) as raised:
        late.result()
    error: Any = raised.value
    assert "no answer" in str(error.errors) and "not sent" not in str(error.errors)
    assert all(future.result() for future in filling)


def test_who_waits_again_was_sent_before(narrow: Session, node: FakeNode) -> None:
    def answer(request: Request, connection: Any) -> Any:
        node.on(Opcode.STARTUP, NEVER)
        return Close()

    node.on("SELECT lost", answer)
    with pytest.raises(OperationTimedOut, match="was not sent again"):
        narrow.execute(SimpleStatement("SELECT lost", is_idempotent=True), timeout=0.4)


def test_who_gives_up_and_asks_again_comes_behind_those_who_wait(narrow: Session, node: FakeNode) -> None:
    node.on("SELECT never", NEVER)
    stopping: list[bool] = []

    def ask() -> None:
        while not stopping:
            with gevent.Timeout(0.03, False):
                narrow.execute("SELECT never")

    asking = [gevent.spawn(ask) for _ in range(4)]
    eventually(lambda: node.count("SELECT never") == 4)
    assert narrow.execute("INSERT", timeout=5).one() is None
    stopping.append(True)
    gevent.joinall(asking)


class InOrder(DCAwareRoundRobinPolicy):
    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
        yield from sorted(super().make_query_plan(working_keyspace, query))


def test_deadlines_of_attempts_that_wait_together() -> None:
    """The end of one is that of the other, while the ended ones are looked through."""
    races = 40
    with FakeCluster(3) as nodes:
        gate = Event()
        nodes.on("SELECT slow", Rows([("v", "int")], [(1,)]).when(gate))
        for node in nodes.nodes[:2]:
            node.on("SELECT v", Error(ErrorCode.OVERLOADED).after(0.3))
        profile = ExecutionProfile(
            InOrder("dc1"), speculative_execution_policy=ConstantSpeculativeExecutionPolicy(0.05, 1), request_timeout=1.0
        )
        profiles = {EXEC_PROFILE_DEFAULT: profile}
        with cluster_of(nodes, max_requests_in_flight=100, execution_profiles=profiles) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            [third] = [host for host in session.hosts if host.address == nodes[2].host]
            full = [session.execute_async("SELECT slow", host=third, timeout=None) for _ in range(100)]
            futures = [session.execute_async(SimpleStatement("SELECT v", is_idempotent=True)) for _ in range(races)]
            eventually(lambda: len(session._admission) == 2 * races)
            gevent.wait(futures)
            assert {type(future.exception) for future in futures} == {OperationTimedOut}
            eventually(lambda: not session._admission)
            with pytest.raises(OperationTimedOut):
                session.execute("SELECT slow", host=third, timeout=0.05)
            assert len(session._admission) == 0
            gate.set()
            assert all(future.result() for future in full)


def test_late_requests_whose_ends_make_room(node: FakeNode) -> None:
    """One behind the other, however many they are: each end of one that waited too long frees an id for the next look."""
    late = 3000
    node.on("SELECT never", NEVER)
    with cluster_of(node, max_requests_in_flight=2) as cluster:
        session = cluster.connect()
        filling = [session.execute_async("SELECT never", timeout=None) for _ in range(2)]
        depth = [0, 0]

        class Late(Execution):
            def expire(self) -> None:
                depth[0] += 1
                depth[1] = max(depth)
                super().expire()
                cluster._on_room(session.get_pools()[0])
                depth[0] -= 1

        session._execution_class = Late
        futures = [session.execute_async("SELECT never", timeout=1) for _ in range(late)]
        assert len(session._admission) == late
        in_hub(lambda: block(1.1), filling[0]._execution.cancel)
        gevent.wait(futures)
        assert {type(future.exception) for future in futures} == {OperationTimedOut}
        assert depth == [0, 1] and not session._admission
