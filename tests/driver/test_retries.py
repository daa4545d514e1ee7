"""Retries with pauses, how often at most, and only of what may be repeated."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventcql.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile
from geventcql.errors import (
    ConnectionShutdown,
    NoHostAvailable,
    OperationTimedOut,
    OverloadedErrorMessage,
    ServerError,
    Unavailable,
    WriteTimeout,
)
from geventcql.execution import MAX_ATTEMPTS
from geventcql.policies import ExponentialBackoffRetryPolicy, RetryPolicy, RoundRobinPolicy
from geventcql.query import BatchStatement, BatchType, SimpleStatement
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, eventually, pooled, serve_keys, settled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import NEVER, Close, Error, ErrorCode, FakeNode, Opcode, Rows, in_turn

TEXT = "SELECT v FROM t"
GOOD = Rows([("v", "int")], [(1,)])
OVERLOADED = Error(ErrorCode.OVERLOADED)


@pytest.fixture
def three() -> Iterator[FakeCluster]:
    with FakeCluster(3) as nodes:
        nodes.on(TEXT, GOOD)
        yield nodes


@pytest.fixture
def on_three(three: FakeCluster) -> Iterator[Session]:
    with cluster_of(three, load_balancing_policy=RoundRobinPolicy()) as cluster:
        yield cluster.connect(wait_for_all_pools=True)


def statement(policy: RetryPolicy, idempotent: bool = True) -> SimpleStatement:
    return SimpleStatement(TEXT, retry_policy=policy, is_idempotent=idempotent)


def backoff(times: float = 8, least: float = 0.02, most: float = 0.04) -> ExponentialBackoffRetryPolicy:
    return ExponentialBackoffRetryPolicy(times, least, most)


def test_a_node_that_recovers_while_the_request_waits(session: Session, node: FakeNode) -> None:
    """The only host is asked again, although it has answered: after a pause that makes sense."""
    node.on(TEXT, in_turn(OVERLOADED, OVERLOADED, OVERLOADED, GOOD))
    started = time.monotonic()
    future = session.execute_async(statement(backoff()))
    assert future.result().one().v == 1
    assert time.monotonic() - started >= 0.02 + 0.04 + 0.04 - 3 * 0.01
    assert node.count(TEXT) == 4 and len(future.attempted_hosts) == 4


def test_all_hosts_have_their_turn_before_the_first_is_asked_again(on_three: Session, three: FakeCluster) -> None:
    three.on(TEXT, OVERLOADED, times=2)
    future = on_three.execute_async(statement(backoff()))
    assert future.result().one().v == 1
    asked = [host.address for host in future.attempted_hosts]
    assert len(asked) == 7 and set(asked[:3]) == set(asked[3:6]) == set(three.addresses)
    assert all(one != next_one for one, next_one in itertools.pairwise(asked))


def test_a_pinned_host_gets_its_retries(on_three: Session, three: FakeCluster) -> None:
    host = on_three.hosts[1]
    three.on(TEXT, OVERLOADED, times=2)
    future = on_three.execute_async(statement(backoff()), host=host)
    assert future.result().one().v == 1 and future.attempted_hosts == [host] * 3


def test_lost_connections_are_retried_after_a_pause(session: Session, node: FakeNode) -> None:
    node.on(TEXT, in_turn(Close(), GOOD))
    future = session.execute_async(statement(backoff(8, 0.2, 0.4)))
    assert future.result().one().v == 1 and node.count(TEXT) == 2


def test_the_retries_end(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.SERVER_ERROR, "always"))
    with pytest.raises(ServerError, match="always") as raised:
        session.execute(statement(backoff(2, 0.001, 0.001)))
    assert node.count(TEXT) == 3 and raised.value.attempts == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("pinned", [True, False])
def test_the_driver_ends_retries_that_would_not(session: Session, node: FakeNode, pinned: bool) -> None:
    node.on(TEXT, Error(ErrorCode.SERVER_ERROR, "always"))
    host = session.hosts[0] if pinned else None
    with pytest.raises((ServerError, NoHostAvailable), match="always"):
        session.execute(statement(backoff(float("inf"), 0.001, 0.001)), host=host, timeout=None)
    assert MAX_ATTEMPTS <= node.count(TEXT) <= MAX_ATTEMPTS + 1


def test_a_pause_beyond_the_deadline_is_not_waited_for(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.OVERLOADED, "too much to do"))
    started = time.monotonic()
    with pytest.raises(Exception, match="too much to do"):
        session.execute(statement(backoff(8, 5, 5)), timeout=2)
    assert time.monotonic() - started < 1.5


def test_a_pause_holds_nobody_up(session: Session, node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    node.on(TEXT, OVERLOADED, times=40)
    policy = backoff(2, 2.0, 2.0)
    futures = [session.execute_async(statement(policy)) for _ in range(40)]
    eventually(lambda: node.count(TEXT) == 40)
    eventually(lambda: settled(session))
    assert session.execute("SELECT key FROM system.local").one().key == "local"
    assert not any(future.ready() for future in futures)
    assert [future.result().one().v for future in futures] == [1] * 40


def test_who_gives_up_during_a_pause_sends_nothing_more(session: Session, node: FakeNode) -> None:
    node.on(TEXT, OVERLOADED)
    with gevent.Timeout(0.05, False):
        session.execute(statement(backoff(8, 0.1, 0.1)))
    eventually(lambda: not len(session.cluster._greenlets))
    assert node.count(TEXT) == 1


def test_a_session_that_is_shut_down_during_a_pause(session: Session, node: FakeNode) -> None:
    node.on(TEXT, OVERLOADED)
    future = session.execute_async(statement(backoff(8, 0.1, 0.1)))
    eventually(lambda: node.count(TEXT))
    gevent.sleep(0.02)
    session.shutdown()
    with pytest.raises(ConnectionShutdown), gevent.Timeout(5):
        future.result()


def test_what_is_not_idempotent_is_repeated_only_if_it_was_refused(session: Session, node: FakeNode) -> None:
    node.on(TEXT, in_turn(OVERLOADED, Error(ErrorCode.SERVER_ERROR, "perhaps applied"), GOOD))
    with pytest.raises(ServerError, match="perhaps applied"):
        session.execute(statement(backoff(), idempotent=False))
    assert node.count(TEXT) == 2


def test_a_counter_whose_answer_is_lost_is_counted_once(session: Session, node: FakeNode) -> None:
    """pitfalls: writes that were retried although nobody knew whether they were applied."""
    update = "UPDATE t SET c = c + 1 WHERE k = 1"
    node.on(update, Close())
    with pytest.raises(ConnectionShutdown, match="may have been applied"):
        session.execute(SimpleStatement(update, retry_policy=backoff()))
    assert node.count(update) == 1


def test_policies_of_scylla_driver_with_and_without_a_pause(session: Session, node: FakeNode) -> None:
    class Old(RetryPolicy):
        def on_request_error(self, query: Any, consistency: Any, error: Any, retry_num: int) -> Any:
            return self.RETRY, None, None

    node.on(TEXT, in_turn(OVERLOADED, GOOD))
    assert session.execute(statement(Old())).one().v == 1


def test_the_deadline_passes_while_the_next_hosts_are_looked_for(node: FakeNode) -> None:
    class Slow(RoundRobinPolicy):
        pause = 0.0

        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
            gevent.sleep(self.pause)
            yield from super().make_query_plan(working_keyspace, query)

    node.on(TEXT, OVERLOADED)
    policy = Slow()
    with cluster_of(node, load_balancing_policy=policy, default_retry_policy=backoff(8, 0.01, 0.01)) as cluster:
        session = cluster.connect()
        future = session.execute_async(TEXT, timeout=0.3)
        policy.pause = 0.5
        with pytest.raises(OperationTimedOut):
            future.result()
        eventually(lambda: not len(cluster._greenlets))
        assert node.count(TEXT) == 1


UPDATE = "UPDATE t SET c = c + 1 WHERE k = 1"
UNAVAILABLE = Error(ErrorCode.UNAVAILABLE, consistency=1, required=1, alive=0)


def batch(batch_type: BatchType) -> BatchStatement:
    statements = BatchStatement(batch_type)
    statements.add(SimpleStatement(UPDATE))
    statements.retry_policy = Again()
    return statements


class Again(RetryPolicy):
    """The next host, whatever has happened."""

    def on_unavailable(self, *args: Any, **kwargs: Any) -> Any:
        return self.RETRY_NEXT_HOST, None

    def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
        return self.RETRY_NEXT_HOST, None


def text_batch(kind: str) -> SimpleStatement:
    return text_write(f"/* two */ BEGIN {kind} BATCH {UPDATE}; {UPDATE} APPLY BATCH")


def text_write(text: str) -> SimpleStatement:
    return SimpleStatement(text, retry_policy=Again())


TWO_PARTITIONS = ("UPDATE t SET c = c + 1 WHERE k IN (1, 2)", "DELETE FROM t WHERE k IN (1, 2)")


@pytest.mark.parametrize("unavailable", [True, False])
@pytest.mark.parametrize("kind", [BatchType.UNLOGGED, BatchType.COUNTER, "COUNTER", "unlogged", *TWO_PARTITIONS])
def test_a_refused_batch_may_have_been_applied_in_part(
    on_three: Session, three: FakeCluster, kind: Any, unavailable: bool
) -> None:
    """Its coordinator sends it partition by partition."""
    made: Any = text_batch(kind) if isinstance(kind, str) else batch(kind)
    if kind in TWO_PARTITIONS:
        made = text_write(kind)
    what = Opcode.BATCH if isinstance(made, BatchStatement) else made.query_string
    three.on(what, UNAVAILABLE if unavailable else OVERLOADED)
    with pytest.raises(Unavailable if unavailable else OverloadedErrorMessage):
        on_three.execute(made)
    assert sum(node.count(what) for node in three) == 1
    made.is_idempotent = True
    with pytest.raises(NoHostAvailable):
        on_three.execute(made)
    assert sum(node.count(what) for node in three) == 4


@pytest.mark.parametrize("made", [batch(BatchType.LOGGED), text_batch("")])
def test_a_logged_batch_is_looked_at_whole(on_three: Session, three: FakeCluster, made: Any) -> None:
    """All its replicas are there, or nothing is sent; but its log may be written when a node finds itself overloaded."""
    what = Opcode.BATCH if isinstance(made, BatchStatement) else made.query_string
    three.on(what, UNAVAILABLE)
    with pytest.raises(NoHostAvailable):
        on_three.execute(made)
    assert sum(node.count(what) for node in three) == 3
    three.on(what, OVERLOADED)
    with pytest.raises(OverloadedErrorMessage):
        on_three.execute(made)
    assert sum(node.count(what) for node in three) == 4


@pytest.mark.parametrize("error", [UNAVAILABLE, OVERLOADED])
def test_a_refused_statement_was_not_applied(on_three: Session, three: FakeCluster, error: Error) -> None:
    three.on(UPDATE, error, times=1)
    three[2].on(UPDATE, GOOD)
    assert on_three.execute(SimpleStatement(UPDATE, retry_policy=Again())).one().v == 1


class InOrder(RoundRobinPolicy):
    """The hosts always in the same order."""

    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
        yield from sorted(super().make_query_plan(working_keyspace, query))


def test_behind_a_lost_connection_another_host_comes_first(three: FakeCluster) -> None:
    """Not another connection of the host that is perhaps just going."""
    three[0].on(TEXT, Close())
    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(InOrder())}
    with cluster_of(three, connections_per_host=2, execution_profiles=profiles) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        future = session.execute_async(SimpleStatement(TEXT, is_idempotent=True))
        assert future.result().one().v == 1
        assert [host.address for host in future.attempted_hosts] == [three[0].host, three[1].host]


def test_behind_all_lost_connections_the_first_host_may_answer(three: FakeCluster) -> None:
    three.on(TEXT, Close(), times=1)
    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(InOrder())}
    with cluster_of(three, connections_per_host=2, execution_profiles=profiles) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        eventually(lambda: all(pool.missing == 0 for pool in session.get_pools()))
        future = session.execute_async(SimpleStatement(TEXT, is_idempotent=True))
        assert future.result().one().v == 1
        assert [host.address for host in future.attempted_hosts] == [node.host for node in (*three, three[0])]


def test_who_loses_each_connection_is_asked_twice(three: FakeCluster) -> None:
    """And not as long as there are connections: a request that kills servers would kill them all the time."""
    three.on(TEXT, Close())
    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(InOrder())}
    with cluster_of(three, connections_per_host=3, execution_profiles=profiles) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        eventually(lambda: all(pool.missing == 0 for pool in session.get_pools()))
        future = session.execute_async(SimpleStatement(TEXT, is_idempotent=True))
        with pytest.raises(NoHostAvailable):
            future.result()
        assert [host.address for host in future.attempted_hosts] == [node.host for node in three] * 2


def test_nobody_waits_for_the_pauses_of_those_who_have_gone(node: FakeNode) -> None:
    node.on(TEXT, OVERLOADED)
    with cluster_of(node) as cluster:
        session = cluster.connect()
        with gevent.Timeout(0.2, False):
            session.execute(statement(backoff(8, 30, 30)), timeout=None)
        started = time.monotonic()
        cluster.shutdown(timeout=20)
        assert time.monotonic() - started < 5


class Untellable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no words")

    __str__ = __repr__


def test_errors_that_cannot_be_told(node: FakeNode) -> None:
    """An application's own, as an authenticator's: the request ends all the same."""
    node.on(TEXT, GOOD)
    node.on(TEXT, NEVER, times=1)
    with cluster_of(node) as cluster:
        session = cluster.connect()
        future = session.execute_async(statement(backoff(8, 0.05, 0.05)), timeout=0.5)
        future._execution.errors[session.hosts[0]] = Untellable()
        with pytest.raises(OperationTimedOut), gevent.Timeout(5):
            future.result()
        future = session.execute_async(statement(backoff(8, 0.05, 0.05)), host=session.hosts[0])
        future._execution.errors["another"] = Untellable()
        with gevent.Timeout(5):
            assert future.result().one().v == 1
        assert "another: <Untellable>" in future._execution._no_host().args[0]


def test_what_reached_the_batch_log_is_replayed(on_three: Session, three: FakeCluster) -> None:
    class Same(RetryPolicy):
        def on_write_timeout(self, *args: Any, **kwargs: Any) -> Any:
            return self.RETRY, None

    made = batch(BatchType.LOGGED)
    made.retry_policy = Same()
    three.on(Opcode.BATCH, Error(ErrorCode.WRITE_TIMEOUT, consistency=1, received=1, block_for=2, write_type="BATCH_LOG"))
    with pytest.raises(WriteTimeout):
        on_three.execute(made)
    assert sum(node.count(Opcode.BATCH) for node in three) == 1


READ_TIMEOUT = Error(ErrorCode.READ_TIMEOUT, consistency=1, received=1, block_for=1, data_present=False)


class Own(RoundRobinPolicy):
    """An application's: it is asked for each plan."""


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("policy", [Own, RoundRobinPolicy])
@pytest.mark.parametrize("why", ["refused", "unprepared"])
def test_the_same_host_without_room_is_waited_for(node: FakeNode, policy: Any, pinned: bool, why: str) -> None:
    """The stream id that the error freed has gone to somebody who waited."""
    serve_keys(node)
    node.on("SELECT slow", GOOD.after(0.1))
    with cluster_of(node, max_requests_in_flight=2, load_balancing_policy=policy()) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        prepared.is_idempotent = True
        if why == "unprepared":
            node.unprepare_all()
        else:
            node.on(BY_KEY, READ_TIMEOUT, times=1)
        slow = [session.execute_async("SELECT slow")]
        future = session.execute_async(prepared, (1,), host=session.hosts[0] if pinned else None)
        slow += [session.execute_async("SELECT slow") for _ in range(3)]
        assert future.result().one().k == 1
        assert all(each.result() for each in slow)


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("when", ["policy says the same host", "behind a PREPARE", "during a PREPARE"])
def test_the_only_host_is_asked_over_its_other_connection(node: FakeNode, when: str, pinned: bool) -> None:
    class Same(RetryPolicy):
        def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
            return self.RETRY, None

    serve_keys(node)
    with cluster_of(node, connections_per_host=2) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        eventually(lambda: len(pooled(session)) == 2)
        prepared = session.prepare(BY_KEY)
        prepared.is_idempotent = True
        if when == "policy says the same host":
            prepared.retry_policy = Same()
        else:
            node.unprepare_all()
        node.on(Opcode.PREPARE if when == "during a PREPARE" else BY_KEY, Close(), times=1)
        future = session.execute_async(prepared, (1,), host=session.hosts[0] if pinned else None)
        assert future.result().one().k == 1
