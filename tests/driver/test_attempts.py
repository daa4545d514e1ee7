"""Several attempts for one request: speculative execution and attempt timeouts."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile
from geventcql.errors import (
    Busy,
    ConnectionShutdown,
    InvalidRequest,
    NoHostAvailable,
    OperationTimedOut,
    OverloadedErrorMessage,
    ServerError,
)
from geventcql.execution import MAX_ATTEMPTS
from geventcql.policies import (
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    ExponentialBackoffRetryPolicy,
    FallthroughRetryPolicy,
    LoadBalancingPolicy,
    PercentileSpeculativeExecutionPolicy,
    RetryPolicy,
    RoundRobinPolicy,
    SpeculativeExecutionPlan,
    SpeculativeExecutionPolicy,
    TokenAwarePolicy,
)
from geventcql.query import BatchStatement, SimpleStatement
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, eventually, have_keyspaces, own_key, pooled, serve_keys, settled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import NEVER, Close, Error, ErrorCode, FakeNode, Opcode, Rows, SchemaChange, paged

TEXT = "SELECT v FROM t"
GOOD = Rows([("v", "int")], [(1,)])
LONG = 5.0
"""Seconds that nothing here should have to wait for."""


class InOrder(DCAwareRoundRobinPolicy):
    """The hosts always in the same order."""

    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
        yield from sorted(super().make_query_plan(working_keyspace, query))


@pytest.fixture
def nodes() -> Iterator[FakeCluster]:
    with FakeCluster(3) as started:
        started.on(TEXT, GOOD)
        serve_keys(started)
        yield started


def profile(
    speculation: SpeculativeExecutionPolicy | None = None, policy: LoadBalancingPolicy | None = None, **options: Any
) -> dict[Any, ExecutionProfile]:
    made = ExecutionProfile(policy or InOrder("dc1"), speculative_execution_policy=speculation, **options)
    return {EXEC_PROFILE_DEFAULT: made}


def constant(delay: float = 0.05, most: int = 2) -> ConstantSpeculativeExecutionPolicy:
    return ConstantSpeculativeExecutionPolicy(delay, most)


@pytest.fixture
def session(nodes: FakeCluster) -> Iterator[Session]:
    """Speculates after 50 ms, on up to two other hosts, always in the same order."""
    with cluster_of(nodes, execution_profiles=profile(constant(), request_timeout=LONG)) as cluster:
        yield cluster.connect(wait_for_all_pools=True)


def statement(idempotent: bool = True, text: str = TEXT, policy: RetryPolicy | None = None) -> SimpleStatement:
    return SimpleStatement(text, is_idempotent=idempotent, retry_policy=policy)


def counts(nodes: FakeCluster, text: str = TEXT) -> list[int]:
    return [node.count(text) for node in nodes]


def asked(future: Any) -> list[str]:
    return [host.address for host in future.attempted_hosts]


# -- speculative execution -----------------------------------------------------------------------------------------------


def test_the_first_result_wins(session: Session, nodes: FakeCluster) -> None:
    late = nodes[0].on(TEXT, Rows([("v", "int")], [(99,)]).after(0.5))
    future = session.execute_async(statement())
    assert future.result().one().v == 1
    assert asked(future) == [nodes[0].host, nodes[1].host]
    assert future.coordinator_host.address == nodes[1].host
    assert sum(connection.orphaned for connection in pooled(session)) == 1 and late.hits == 1
    eventually(lambda: settled(session))
    assert future.result().one().v == 1 and counts(nodes) == [1, 1, 0]


def test_the_first_host_may_still_win(session: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, GOOD.after(0.15))
    nodes[1].on(TEXT, NEVER)
    nodes[2].on(TEXT, NEVER)
    future = session.execute_async(statement())
    assert future.result().one().v == 1
    assert future.coordinator_host.address == nodes[0].host and len(future.attempted_hosts) >= 2
    assert all(c.in_flight == 0 for c in pooled(session))


def test_an_answer_in_time_leaves_nothing_behind(session: Session, nodes: FakeCluster) -> None:
    session.execute(statement())
    timers = len(session.cluster._scheduler)
    futures = [session.execute_async(statement()) for _ in range(20)]
    assert [future.result().one().v for future in futures] == [1] * 20
    gevent.sleep(0.1)
    assert counts(nodes) == [21, 0, 0] and abs(len(session.cluster._scheduler) - timers) <= 1
    assert all(future._execution.race is None for future in futures)


@pytest.mark.parametrize("how", ["not idempotent", "pinned", "no policy"])
def test_who_is_never_speculated(session: Session, nodes: FakeCluster, how: str) -> None:
    nodes[0].on(TEXT, GOOD.after(0.2))
    options: dict[str, Any] = {}
    if how == "pinned":
        options["host"] = session.hosts[0]
    elif how == "no policy":
        options["execution_profile"] = ExecutionProfile(InOrder("dc1"))
    future = session.execute_async(statement(how != "not idempotent"), **options)
    assert future.result().one().v == 1
    assert counts(nodes) == [1, 0, 0] and future._execution.asked is None


def test_no_more_than_the_plan_allows(nodes: FakeCluster) -> None:
    nodes.on(TEXT, NEVER)
    with cluster_of(nodes, execution_profiles=profile(constant(0.02, 1))) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        with pytest.raises(OperationTimedOut) as raised:
            session.execute(statement(), timeout=0.3)
        error: Any = raised.value
        assert counts(nodes) == [1, 1, 0] and error.attempts == 2 and 0.3 <= error.elapsed < LONG
        for node in nodes.nodes[:2]:
            assert f"{node.host}:{node.port}" in error.errors


def test_no_more_than_there_are_hosts(nodes: FakeCluster) -> None:
    nodes.on(TEXT, NEVER)
    with cluster_of(nodes, execution_profiles=profile(constant(0.0, 1000))) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        with pytest.raises(OperationTimedOut):
            session.execute(statement(), timeout=0.2)
        assert counts(nodes) == [1, 1, 1]
        assert all(c.in_flight == 0 and c.orphaned == 1 for c in pooled(session))


@pytest.mark.parametrize("how", ["prepared", "bound", "batch"])
def test_all_kinds_of_statements(nodes: FakeCluster, how: str) -> None:
    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy("dc1"))
    for node in nodes:
        have_keyspaces(node, "ks")
    with cluster_of(nodes, execution_profiles=profile(constant(0.02, 2), policy)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        prepared = session.prepare(BY_KEY)
        prepared.is_idempotent = True
        query: Any = {"prepared": prepared, "bound": prepared.bind((7,)), "batch": BatchStatement().add(prepared, (7,))}[how]
        query.is_idempotent = True
        [replica] = cluster.metadata.get_replicas("ks", b"\0\0\0\7")
        slow = next(node for node in nodes if node.host == replica.address)
        slow.on(BY_KEY, NEVER)
        slow.on(Opcode.BATCH, NEVER)
        future = session.execute_async(query, (7,) if how == "prepared" else None)
        rows = future.result()
        assert future.coordinator_host.address != slow.host and asked(future)[0] == slow.host
        assert how == "batch" or rows.one().k == 7


def test_each_page_speculates_for_itself(session: Session, nodes: FakeCluster) -> None:
    nodes.on("SELECT pages", paged([("k", "int")], [(i,) for i in range(6)], 2))
    answer = paged([("k", "int")], [(i,) for i in range(6)], 2)
    nodes[0].on("SELECT pages", lambda request, connection: answer(request, connection) if not request.paging_state else NEVER)
    rows = session.execute(statement(text="SELECT pages"))
    assert rows.response_future.coordinator_host.address == nodes[0].host
    assert [row.k for row in rows] == list(range(6))
    assert counts(nodes, "SELECT pages") == [3, 2, 0]
    future = session.execute_async(statement(text="SELECT pages"))
    future.result()
    future.start_fetching_next_page()
    assert [row.k for row in future.result().current_rows] == [2, 3]
    assert asked(future) == [nodes[0].host, nodes[1].host]


def test_callbacks_are_called_once(session: Session, nodes: FakeCluster) -> None:
    nodes.on(TEXT, GOOD.after(0.1))
    heard: list[Any] = []
    future = session.execute_async(statement())
    future.add_callbacks(heard.append, heard.append)
    future.result()
    eventually(lambda: settled(session))
    gevent.sleep(0.02)
    assert [[row.v for row in rows] for rows in heard] == [[1]] and len(future.attempted_hosts) >= 2


# -- errors of one of several ------------------------------------------------------------------------------------------


def test_an_error_ends_the_request_only_when_nothing_else_is_under_way(session: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, Error(ErrorCode.SERVER_ERROR, "mine").after(0.07))
    nodes[1].on(TEXT, GOOD.after(0.2))
    future = session.execute_async(statement(policy=FallthroughRetryPolicy()))
    assert future.result().one().v == 1 and asked(future) == [nodes[0].host, nodes[1].host]
    nodes[1].on(TEXT, Error(ErrorCode.SERVER_ERROR, "theirs").after(0.2))
    with pytest.raises(Exception, match="mine") as raised:  # what came first
        session.execute(statement(policy=FallthroughRetryPolicy()))
    error: Any = raised.value
    assert error.attempts == 2 and error.host.address == nodes[0].host and error.elapsed >= 0.2


def test_an_error_alone_ends_it_at_once(session: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, Error(ErrorCode.INVALID, "mine"))
    with pytest.raises(InvalidRequest, match="mine"):
        session.execute(statement())
    gevent.sleep(0.1)
    assert counts(nodes) == [1, 0, 0]


def test_what_every_host_would_say_ends_it_though_another_attempt_is_under_way(session: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, Error(ErrorCode.INVALID, "no such column").after(0.15))
    nodes[1].on(TEXT, NEVER)
    nodes[2].on(TEXT, NEVER)
    future = session.execute_async(statement(), timeout=None)
    eventually(lambda: counts(nodes)[1])
    with gevent.Timeout(2), pytest.raises(InvalidRequest, match="no such column"):
        future.result()


def test_attempts_retry_on_hosts_that_no_other_asks(session: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, Error(ErrorCode.OVERLOADED).after(0.08))
    nodes[1].on(TEXT, NEVER)
    future = session.execute_async(statement())
    assert future.result().one().v == 1 and future.coordinator_host.address == nodes[2].host
    assert asked(future)[:2] == [nodes[0].host, nodes[1].host] and counts(nodes) == [1, 1, 1]


def test_the_retry_policy_hears_of_one_request(nodes: FakeCluster) -> None:
    numbers: list[int] = []

    class Counts(RetryPolicy):
        def on_request_error(self, query: Any, consistency: Any, error: Any, retry_num: int) -> Any:
            numbers.append(retry_num)
            return (self.RETRY if retry_num < 5 else self.RETHROW), None

    nodes.on(TEXT, Error(ErrorCode.OVERLOADED, "always").after(0.03))
    profiles = profile(constant(0.01, 2), retry_policy=Counts())
    with cluster_of(nodes, execution_profiles=profiles) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        with pytest.raises(Exception, match="always") as raised:
            session.execute(statement())
        assert numbers == list(range(len(numbers))) and 6 <= len(numbers) <= 8
        error: Any = raised.value
        assert error.attempts == sum(counts(nodes)) == len(numbers)


def test_all_hosts_refuse(session: Session, nodes: FakeCluster) -> None:
    nodes.on(TEXT, Error(ErrorCode.OVERLOADED, "busy").after(0.08))
    with pytest.raises(NoHostAvailable, match="busy") as raised:
        session.execute(statement())
    assert {host.address for host in raised.value.errors} == set(nodes.addresses) and counts(nodes) == [1, 1, 1]


def test_a_lost_connection_is_one_attempt_less(session: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, Close().after(0.1))
    nodes[1].on(TEXT, GOOD.after(0.5))
    nodes[2].on(TEXT, NEVER)
    future = session.execute_async(statement())
    assert future.result().one().v == 1 and future.coordinator_host.address == nodes[1].host
    assert future.exception is None


def test_a_node_that_does_not_know_the_statement(session: Session, nodes: FakeCluster) -> None:
    prepared = session.prepare(BY_KEY)
    prepared.is_idempotent = True
    nodes[0].on(BY_KEY, NEVER)
    nodes[1].unprepare_all()
    assert session.execute(prepared, (3,)).one().k == 3
    assert counts(nodes, BY_KEY)[0] == 1 and len(nodes[1].queries) >= 1


def test_a_changed_schema(session: Session, nodes: FakeCluster) -> None:
    ddl = "CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY)"
    nodes.on(ddl, SchemaChange("CREATED", "TABLE", "ks", "t"))
    future = session.execute_async(statement(text=ddl))
    assert list(future.result()) == [] and future.is_schema_agreed


def test_what_a_server_has_done_is_not_done_elsewhere(nodes: FakeCluster) -> None:
    """It has answered; that the nodes do not agree on the schema yet is no reason to ask another one."""
    ddl = "CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY)"
    nodes.on(ddl, SchemaChange("CREATED", "TABLE", "ks", "t"))
    versions = iter([uuid.uuid4() for _ in range(100)])
    nodes[1].system.local.overrides = {"schema_version": next(versions)}
    with cluster_of(nodes, execution_profiles=profile(constant(), request_timeout=LONG)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        future = session.execute_async(statement(text=ddl))
        eventually(lambda: sum(counts(nodes, ddl)) == 1)
        gevent.sleep(0.3)
        assert not future.ready() and sum(counts(nodes, ddl)) == 1
        for node in nodes:
            node.system.local.overrides = {}
        assert list(future.result()) == [] and sum(counts(nodes, ddl)) == 1


# -- ends ----------------------------------------------------------------------------------------------------------------


def test_a_kill_ends_all_attempts(session: Session, nodes: FakeCluster) -> None:
    nodes.on(TEXT, GOOD.after(0.4))
    with gevent.Timeout(0.08, False):
        session.execute(statement())
    assert counts(nodes)[:2] == [1, 1]
    assert all(c.in_flight == 0 for c in pooled(session)) and sum(c.orphaned for c in pooled(session)) == 2
    gevent.sleep(0.1)
    assert counts(nodes) == [1, 1, 0]
    eventually(lambda: settled(session))


def test_the_session_is_shut_down(session: Session, nodes: FakeCluster) -> None:
    nodes.on(TEXT, NEVER)
    future = session.execute_async(statement())
    eventually(lambda: sum(counts(nodes)) == 2)
    session.cluster.shutdown()
    with pytest.raises(ConnectionShutdown):
        future.result()


def test_requests_that_wait_their_turn_under_a_limit_speculate_all_the_same(nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, Rows([("v", "int")], [(99,)]).after(1.0))
    with cluster_of(nodes, execution_profiles=profile(constant(), request_timeout=LONG)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        session.max_requests_per_second = 50
        futures = [session.execute_async(statement()) for _ in range(5)]
        assert [future.result().one().v for future in futures] == [1] * 5
        assert all(asked(future) == [nodes[0].host, nodes[1].host] for future in futures)


def test_attempts_that_wait_for_room(nodes: FakeCluster) -> None:
    nodes.on(TEXT, GOOD.after(0.05))
    options = {"max_requests_in_flight": 1, "max_requests_waiting": 20}
    profiles = profile(constant(0.01, 2), request_timeout=LONG)
    with cluster_of(nodes, execution_profiles=profiles, **options) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        futures = [session.execute_async(statement()) for _ in range(23)]
        with pytest.raises(Busy):
            session.execute_async(statement())
        futures[-1]._execution.cancel()
        assert [future.result().one().v for future in futures[:-1]] == [1] * 22
        assert isinstance(futures[-1].exception, ConnectionShutdown)
        waiting = [session.execute_async(statement(), timeout=0.2) for _ in range(20)]
        for node in nodes:
            node.pause()
        gevent.wait(waiting)
        assert sum(isinstance(future.exception, OperationTimedOut) for future in waiting) >= 14
        for node in nodes:
            node.resume()
        eventually(lambda: settled(session))
        first = [session.execute_async(statement()) for _ in range(10)]
        session.shutdown()
        gevent.wait(first, timeout=LONG)
        assert all(future.ready() for future in first) and len(session._admission) == 0


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_each_request_ends_once(nodes: FakeCluster, seed: int) -> None:
    chance = random.Random(seed)

    def answer(request: Any, connection: Any) -> Any:
        fate = chance.random()
        if fate < 0.05:
            return NEVER
        if fate < 0.052:
            return Close()
        if fate < 0.25:
            return Error(chance.choice([ErrorCode.OVERLOADED, ErrorCode.SERVER_ERROR])).after(chance.random() * 0.03)
        reply: Any = own_key(request)
        return reply.after(chance.random() * 0.03)

    serve_keys(nodes, answer)
    profiles = profile(constant(0.01, 2), TokenAwarePolicy(DCAwareRoundRobinPolicy("dc1")), attempt_timeout=0.02)
    with cluster_of(nodes, execution_profiles=profiles, max_requests_in_flight=8) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        prepared = session.prepare(BY_KEY)
        prepared.is_idempotent = True
        ended = dict.fromkeys(range(300), 0)

        def count(_: Any, key: int) -> None:
            ended[key] += 1

        futures = []
        for key in ended:
            future = session.execute_async(prepared, (key,), timeout=1.0)
            future.add_callbacks(count, count, (key,), errback_args=(key,))
            futures.append(future)
            if chance.random() < 0.1:
                gevent.sleep(0.005)
            if chance.random() < 0.05:
                future._execution.cancel()
        gevent.wait(futures, timeout=LONG)
        for key, future in enumerate(futures):
            assert future.ready() and (future.exception is not None or future.get().one().k == key)
        eventually(lambda: set(ended.values()) == {1})
        assert sum(future.exception is None for future in futures) > 30
        assert all(c.in_flight == 0 for c in pooled(session)) and len(session._admission) == 0
        eventually(lambda: not any(future._execution.race for future in futures))


# -- policies of applications ----------------------------------------------------------------------------------------------


def test_an_applications_policy(nodes: FakeCluster) -> None:
    """As applications write them for cassandra-driver; not asked in the hub or in a reader."""
    told: list[tuple[Any, ...]] = []

    class Plan(SpeculativeExecutionPlan):
        def __init__(self) -> None:
            self.left = [0.02, 0.01]

        def next_execution(self, host: Any) -> float:
            gevent.sleep(0)  # where that cannot be done, this raises
            told.append(("next", host.address))
            return self.left.pop(0) if self.left else -1

    class Policy(SpeculativeExecutionPolicy):
        def new_plan(self, keyspace: Any, statement: Any) -> Plan:
            told.append(("plan", keyspace, statement))
            return Plan()

    nodes[0].on(TEXT, NEVER)
    nodes[1].on(TEXT, NEVER)
    with cluster_of(nodes, execution_profiles=profile(Policy())) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        query = statement()
        query.keyspace = "ks"
        future = session.execute_async(query)
        assert future.result().one().v == 1 and asked(future) == nodes.addresses
        eventually(lambda: len(told) >= 3)
        assert told[:3] == [("plan", "ks", query), ("next", nodes[0].host), ("next", nodes[1].host)]
        nodes[0].on(TEXT, GOOD)
        session.execute(statement(False))
        assert [what for what, *_ in told].count("plan") == 1


@pytest.mark.logs(r"ZeroDivisionError no host could be asked beside")
def test_a_policy_that_raises(nodes: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SpeculativeExecutionPolicy):
        at_once = True

        def new_plan(self, keyspace: Any, statement: Any) -> Any:
            if self.at_once:
                raise ZeroDivisionError("no plan")
            return self

        def next_execution(self, host: Any) -> float:
            if host.address == nodes[0].host:
                return 0.01
            raise ZeroDivisionError("no next")

    policy = Broken()
    with cluster_of(nodes, execution_profiles=profile(policy)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        with pytest.raises(ZeroDivisionError, match="no plan"):
            session.execute(statement())
        assert counts(nodes) == [0, 0, 0]
        policy.at_once = False
        nodes[0].on(TEXT, GOOD.after(0.2))
        nodes[1].on(TEXT, NEVER)
        with caplog.at_level(logging.ERROR, "geventcql.attempts"):
            future = session.execute_async(statement())
            assert future.result().one().v == 1 and len(future.attempted_hosts) == 2
        assert "no next" in caplog.text


def test_a_load_balancing_policy_that_takes_its_time(nodes: FakeCluster) -> None:
    """An answer that comes while it is asked for another host."""

    class Slow(InOrder):
        pause = 0.0

        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
            for host in super().make_query_plan(working_keyspace, query):
                gevent.sleep(self.pause)
                yield host

    policy = Slow("dc1")
    with cluster_of(nodes, execution_profiles=profile(constant(0.01, 2), policy)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        nodes[0].on(TEXT, GOOD.after(0.1))
        future = session.execute_async(statement())
        policy.pause = 0.2
        assert future.result().one().v == 1
        eventually(lambda: not len(cluster._greenlets))
        assert counts(nodes) == [1, 0, 0]


# -- percentiles -------------------------------------------------------------------------------------------------------


def test_speculation_by_what_has_been_measured(nodes: FakeCluster) -> None:
    policy = PercentileSpeculativeExecutionPolicy(90.0, max_attempts=1, min_samples=20)
    nodes[0].on(TEXT, GOOD.after(0.02))
    with cluster_of(nodes, execution_profiles=profile(policy)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        for _ in range(19):
            session.execute(statement())
        session.execute(statement(False))  # what is not asked about is not measured
        assert len(policy.latencies) == 19 and 0.02 <= policy.latencies.percentile(50) < 1
        nodes[0].on(TEXT, GOOD.after(0.3))
        assert session.execute(statement()).response_future.coordinator_host.address == nodes[0].host
        future = session.execute_async(statement())
        assert future.result() and future.coordinator_host.address == nodes[1].host
        assert len(policy.latencies) == 22  # the attempt that lost counts with what it has lasted


# -- attempt timeouts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hurried(nodes: FakeCluster) -> Iterator[Session]:
    with cluster_of(nodes, execution_profiles=profile(attempt_timeout=0.1, request_timeout=LONG)) as cluster:
        yield cluster.connect(wait_for_all_pools=True)


def test_an_attempt_that_takes_too_long_is_given_up(hurried: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, NEVER)
    started = time.monotonic()
    future = hurried.execute_async(statement())
    assert future.result().one().v == 1 and 0.1 <= time.monotonic() - started < LONG / 2
    assert asked(future) == [nodes[0].host, nodes[1].host]
    assert [c.orphaned for pool in hurried.get_pools() if pool.host.address == nodes[0].host for c in pool.connections] == [1]
    assert "no answer to this attempt within 0.1 s" in str(future._execution.errors)


def test_all_hosts_take_too_long(hurried: Session, nodes: FakeCluster) -> None:
    """The last one has all the time that is left."""
    nodes.on(TEXT, NEVER)
    nodes[2].on(TEXT, GOOD.after(0.5))
    future = hurried.execute_async(statement())
    assert future.result().one().v == 1 and asked(future) == nodes.addresses
    nodes[2].on(TEXT, NEVER)
    with pytest.raises(OperationTimedOut) as raised:
        hurried.execute(statement(), timeout=0.6)
    errors: Any = raised.value.errors
    assert len(errors) == 3 and sum("this attempt" in text for text in errors.values()) == 2


def test_what_is_not_idempotent_waits(hurried: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, GOOD.after(0.3))
    future = hurried.execute_async(statement(False))
    assert future.result().one().v == 1 and counts(nodes) == [1, 0, 0]


def test_an_only_host_may_take_its_time(nodes: FakeCluster) -> None:
    with FakeNode() as node:
        node.on(TEXT, GOOD.after(0.3))
        with cluster_of(node, execution_profiles=profile(attempt_timeout=0.05)) as cluster:
            session = cluster.connect()
            assert session.execute(statement()).one().v == 1 and node.count(TEXT) == 1


def test_an_error_within_the_attempt_timeout(hurried: Session, nodes: FakeCluster) -> None:
    nodes[0].on(TEXT, Error(ErrorCode.OVERLOADED))
    nodes[1].on(TEXT, Error(ErrorCode.SERVER_ERROR, "broken"))
    future = hurried.execute_async(statement())
    assert future.result().one().v == 1 and asked(future) == nodes.addresses
    with pytest.raises(ServerError):
        hurried.execute(statement(policy=OnceMore()))
    gevent.sleep(0.15)
    assert counts(nodes) == [2, 2, 1]


def test_an_attempt_that_pauses_is_not_slow(hurried: Session, nodes: FakeCluster) -> None:
    class Pausing(RetryPolicy):
        def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
            return self.RETRY_NEXT_HOST, None, 0.4

    nodes[0].on(TEXT, Error(ErrorCode.OVERLOADED))
    started = time.monotonic()
    future = hurried.execute_async(statement(policy=Pausing()))
    assert future.result().one().v == 1 and time.monotonic() - started >= 0.4
    assert [type(error) for error in future._execution.errors.values()] == [OverloadedErrorMessage]


class Held(InOrder):
    """Whose plans wait, once they are to."""

    hold: Event | None = None
    waiting = False

    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
        if self.hold is not None:
            self.waiting = True
            self.hold.wait()
        yield from super().make_query_plan(working_keyspace, query)


def test_an_attempt_that_is_sent_again_while_the_policy_is_asked_is_not_slow(nodes: FakeCluster) -> None:
    """It was when the policy was asked for another host; by the time that has one, it is under way elsewhere."""
    refused, answered = Event(), Event()
    nodes[0].on(TEXT, Error(ErrorCode.OVERLOADED).when(refused))
    nodes[1].on(TEXT, GOOD.when(answered))
    nodes[2].on(TEXT, NEVER)
    policy = Held("dc1")
    made = profile(policy=policy, attempt_timeout=0.5, request_timeout=LONG)
    with cluster_of(nodes, execution_profiles=made) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        future = session.execute_async(statement(policy=OnceMore()))
        policy.hold = Event()
        eventually(lambda: policy.waiting)
        refused.set()
        nodes[1].wait_for(lambda node: node.count(TEXT))
        policy.hold.set()
        nodes[2].wait_for(lambda node: node.count(TEXT))
        answered.set()
        assert future.result().one().v == 1 and future.coordinator_host.address == nodes[1].host


class OnceMore(RetryPolicy):
    def on_request_error(self, query: Any, consistency: Any, error: Any, retry_num: int) -> Any:
        return (self.RETRY_NEXT_HOST if retry_num == 0 else self.RETHROW), None


def test_an_attempt_timeout_that_makes_no_sense() -> None:
    for timeout in (0, -1):
        with pytest.raises(ValueError, match="attempt_timeout"):
            ExecutionProfile(attempt_timeout=timeout)
    assert ExecutionProfile().attempt_timeout is None


def test_who_could_ask_nobody_looks_again(nodes: FakeCluster) -> None:
    """At the first delay both other hosts are silent; at the second one of them has come back."""
    for node in nodes:
        node.on(TEXT, NEVER)
    nodes[1].on(TEXT, GOOD)
    options = profile(constant(0.1, 3), request_timeout=LONG)
    with cluster_of(nodes, execution_profiles=options) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        others = [connection for connection in pooled(session) if connection.endpoint.address != nodes[0].host]
        for connection in others:
            connection.suspect = True
        future = session.execute_async(statement())
        gevent.sleep(0.15)
        assert asked(future) == [nodes[0].host]
        for connection in others:
            connection.suspect = False
        assert future.result().one().v == 1
        assert asked(future) == [nodes[0].host, nodes[1].host]


def test_the_attempts_together_have_one_cap(nodes: FakeCluster) -> None:
    class Again(RetryPolicy):
        def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
            return self.RETRY, None, 0.002  # a pause lets all hosts be asked anew

    nodes.on(TEXT, Error(ErrorCode.OVERLOADED, "always").after(0.002))
    with cluster_of(nodes, execution_profiles=profile(constant(0.001, 2), request_timeout=30)) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        with pytest.raises((OverloadedErrorMessage, NoHostAvailable)):
            session.execute(statement(policy=Again()))
        assert MAX_ATTEMPTS <= sum(counts(nodes)) <= MAX_ATTEMPTS + 3


@pytest.mark.parametrize("ends", ["won", "cancelled"])
def test_nobody_waits_for_the_pause_of_an_attempt_that_is_not_needed(nodes: FakeCluster, ends: str) -> None:
    nodes.on(TEXT, NEVER)
    nodes[0].on(TEXT, Error(ErrorCode.OVERLOADED))
    if ends == "won":
        nodes[1].on(TEXT, GOOD.after(0.2))
    made = profile(constant(0.0, 1), retry_policy=ExponentialBackoffRetryPolicy(5, 20.0, 20.0), request_timeout=60)
    with cluster_of(nodes, execution_profiles=made) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        with gevent.Timeout(0.5, False):
            session.execute(statement())
        started = time.monotonic()
        cluster.shutdown(timeout=30)
        assert time.monotonic() - started < LONG


@pytest.mark.parametrize("ends", ["deadline", "session"])
def test_a_policy_that_is_slow_to_make_its_plan(node: FakeNode, ends: str) -> None:
    """Behind the request's time, or the Session's, nothing is sent."""

    class Slow(ConstantSpeculativeExecutionPolicy):
        def new_plan(self, keyspace: Any, statement: Any) -> Any:
            gevent.sleep(0.2)
            return super().new_plan(keyspace, statement)

    node.on(TEXT, GOOD)
    with cluster_of(node, execution_profiles=profile(Slow(0.1, 1), RoundRobinPolicy())) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        if ends == "session":
            gevent.spawn_later(0.05, session.shutdown)
        with pytest.raises(OperationTimedOut if ends == "deadline" else ConnectionShutdown):
            session.execute(statement(), timeout=0.1 if ends == "deadline" else LONG)
        gevent.sleep(0.3)
        assert node.count(TEXT) == 0
