"""What a Cluster counts and times: each instrument moved by what it stands for, and by nothing else."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.errors import Busy
from geventcql.metrics import Counter, Gauge, Metrics, Registry, Sample, Timer, all_metrics
from geventcql.policies import (
    ConstantReconnectionPolicy,
    ConstantSpeculativeExecutionPolicy,
    RetryPolicy,
    RoundRobinPolicy,
)
from geventcql.query import SimpleStatement
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, eventually, outcome, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Close, Error, ErrorCode, FakeNode, Rows
from tests.support.handlers import paged
from tests.support.logs import UNREACHABLE
from tests.support.native import Thread
from tests.support.tls import Tls

pytestmark = pytest.mark.logs(UNREACHABLE)

TEXT = "SELECT v FROM t"
ROWS = Rows([("v", "int")], [(1,)])
EVENTS = [
    "connection_errors", "write_timeouts", "read_timeouts", "unavailables", "other_errors", "retries", "ignores",
    "prepared_again", "speculative_executions", "attempt_timeouts", "suspected", "connect_errors", "reconnects",
]  # fmt: skip


@pytest.fixture
def session(node: FakeNode) -> Iterator[Session]:
    node.on(TEXT, ROWS)
    with cluster_of(node, metrics_enabled=True, reconnection_policy=ConstantReconnectionPolicy(0.02)) as cluster:
        yield cluster.connect()


def metrics_of(session: Session) -> Metrics:
    metrics = session.cluster.metrics
    assert metrics is not None
    return metrics


def counted(session: Session) -> dict[str, int]:
    """The counters that are not 0."""
    return {name: value for name in EVENTS if (value := getattr(metrics_of(session), name))}


def samples(session: Session, name: str) -> list[Sample]:
    return metrics_of(session).registry[name].samples()


def asking(decision: int) -> SimpleStatement:
    """A statement whose retry policy decides so the first time."""

    class Policy(RetryPolicy):
        def decide(self, *args: Any, retry_num: int = 0, **kwargs: Any) -> tuple[int, int | None]:
            return (self.RETHROW if retry_num else decision), None

        on_read_timeout = on_write_timeout = on_unavailable = on_request_error = decide

    return SimpleStatement(TEXT, is_idempotent=True, retry_policy=Policy())


# -- off -----------------------------------------------------------------------------------------------------------------


def test_off_by_default(node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.INVALID))
    with cluster_of(node) as cluster:
        named = len(all_metrics())
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        session.execute(prepared, (1,))
        outcome(session.execute, TEXT)
        assert cluster.metrics is None and len(all_metrics()) <= named
        assert {resolved.timer for resolved in prepared._templates.values()} == {None}
        assert all(connection._traffic is None for connection in pooled(session))


def test_switched_on_before_it_connects(node: FakeNode) -> None:
    cluster = cluster_of(node)
    cluster.metrics_enabled = True
    with cluster:
        session = cluster.connect()
        session.execute(session.prepare(BY_KEY), (1,))
        assert metrics_of(session).request_timer["count"] == 1


# -- times ---------------------------------------------------------------------------------------------------------------


def test_requests_are_timed(session: Session, node: FakeNode) -> None:
    timer = metrics_of(session).request_timer
    assert dict(timer) == dict.fromkeys(Timer.KEYS, 0)
    prepared = session.prepare(BY_KEY)
    assert timer["count"] == 0  # as in cassandra-driver
    started = time.monotonic()
    for key in range(20):
        session.execute(prepared, (key,))
    took = time.monotonic() - started
    session.execute(TEXT)
    assert timer["count"] == 21
    assert 0 < timer["min"] <= timer["median"] <= timer["95percentile"] <= timer["max"] <= took + 1
    assert timer["min"] * 20 <= took and timer["stddev"] >= 0
    assert timer.percentile(50) == timer["median"]
    assert {**timer} == timer.get_stats() and len(timer) == len(timer.get_stats()) == 11
    with pytest.raises(KeyError):
        timer["stdev"]


def test_a_request_takes_from_the_call_to_the_answer(session: Session, node: FakeNode) -> None:
    node.on(TEXT, ROWS.after(0.05))
    session.execute(TEXT)
    assert 0.05 <= metrics_of(session).request_timer["max"] < 5


def test_failures_are_timed_too(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.INVALID), times=1)
    outcome(session.execute, TEXT)
    node.on(TEXT, Error(ErrorCode.READ_TIMEOUT), times=1)
    session.execute(asking(RetryPolicy.IGNORE))
    gate = Event()
    node.on(TEXT, ROWS.when(gate), times=2)
    outcome(session.execute, TEXT, None, 0.02)
    assert metrics_of(session).request_timer["count"] == 3
    with gevent.Timeout(0.02, False):
        session.execute(TEXT)
    assert metrics_of(session).request_timer["count"] == 4
    assert samples(session, "request_errors") == [
        ({"error": "InvalidRequest"}, 1), ({"error": "OperationTimedOut"}, 1), ({"error": "Cancelled"}, 1)
    ]  # fmt: skip
    gate.set()


def test_each_page_is_a_request(session: Session, node: FakeNode) -> None:
    node.on(TEXT, paged([("v", "int")], [(n,) for n in range(30)]))
    assert len(list(session.execute(SimpleStatement(TEXT, fetch_size=10)))) == 30
    assert metrics_of(session).request_timer["count"] == 3


def test_what_ends_twice_is_timed_once(session: Session, node: FakeNode) -> None:
    node.on(TEXT, ROWS.after(0.05))
    future = session.execute_async(TEXT, timeout=0.01)
    outcome(future.result)
    gevent.sleep(0.1)
    assert metrics_of(session).request_timer["count"] == metrics_of(session).request_errors == 1


def test_a_hub_that_was_busy(session: Session) -> None:
    lag = metrics_of(session).hub_lag
    before = lag["count"]
    session.cluster._scheduler.call_later(0.01, lambda: None)
    stop = time.monotonic() + 0.1
    while time.monotonic() < stop:
        pass
    gevent.sleep(0.02)
    assert lag["count"] > before and 0.08 < lag["max"] < 5


# -- events --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (ErrorCode.READ_TIMEOUT, "read_timeouts"),
        (ErrorCode.WRITE_TIMEOUT, "write_timeouts"),
        (ErrorCode.UNAVAILABLE, "unavailables"),
        (ErrorCode.OVERLOADED, "other_errors"),
        (ErrorCode.INVALID, "other_errors"),
    ],
)
def test_errors_of_the_server(session: Session, node: FakeNode, code: ErrorCode, name: str) -> None:
    node.on(TEXT, Error(code))
    outcome(session.execute, asking(RetryPolicy.RETHROW))
    assert counted(session) == {name: 1}
    assert samples(session, name) == [({"host": f"{node.host}:{node.port}"}, 1)]


@pytest.mark.parametrize("decision", [RetryPolicy.RETRY, RetryPolicy.RETRY_NEXT_HOST])
def test_retries(session: Session, node: FakeNode, decision: int) -> None:
    node.on(TEXT, Error(ErrorCode.READ_TIMEOUT))
    outcome(session.execute, asking(decision))
    again = 2 if decision == RetryPolicy.RETRY else 1
    assert counted(session) == {"read_timeouts": again, "retries": 1}


def test_what_is_not_idempotent_is_no_retry(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.SERVER_ERROR))
    statement = asking(RetryPolicy.RETRY)
    statement.is_idempotent = False
    outcome(session.execute, statement)
    assert counted(session) == {"other_errors": 1}


def test_ignored_errors(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Error(ErrorCode.WRITE_TIMEOUT))
    session.execute(asking(RetryPolicy.IGNORE))
    assert counted(session) == {"write_timeouts": 1, "ignores": 1}
    assert metrics_of(session).request_errors == 0


def test_a_connection_that_breaks(session: Session, node: FakeNode) -> None:
    node.on(TEXT, Close(), times=1)
    outcome(session.execute, TEXT)
    eventually(lambda: pooled(session))
    assert counted(session) == {"connection_errors": 1, "reconnects": 1}
    node.on(TEXT, Close(), times=1)
    outcome(session.execute, asking(RetryPolicy.RETRY_NEXT_HOST))
    assert counted(session)["connection_errors"] == 2 and counted(session)["retries"] == 1


def test_a_host_that_is_away(session: Session, node: FakeNode) -> None:
    node.stop()
    eventually(lambda: metrics_of(session).connect_errors >= 2)
    assert metrics_of(session).reconnects == 0
    assert (metrics_of(session).known_hosts, metrics_of(session).connected_to) == (1, 0)
    node.start()
    eventually(lambda: metrics_of(session).connected_to == 1)
    assert metrics_of(session).reconnects == 1
    assert samples(session, "reconnects") == [({"host": f"{node.host}:{node.port}"}, 1)]


def test_a_statement_that_was_forgotten(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    gevent.joinall([gevent.spawn(session.execute, prepared, (key,)) for key in range(5)], raise_error=True)
    assert counted(session) == {"prepared_again": 1}


def test_a_host_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventcql.net.heartbeat.SUSPECT_AFTER", 0.1)
    monkeypatch.setattr("geventcql.net.heartbeat.TICK", 0.05)
    options = {"load_balancing_policy": RoundRobinPolicy(), "metrics_enabled": True}
    with FakeCluster(2) as nodes, cluster_of(nodes, **options) as cluster:
        nodes.on(TEXT, ROWS)
        session = cluster.connect(wait_for_all_pools=True)
        nodes[0].pause()
        futures = [session.execute_async(SimpleStatement(TEXT, is_idempotent=True)) for _ in range(4)]
        gevent.wait(futures)
        silent = {"host": f"{nodes[0].host}:{nodes.port}"}
        assert counted(session) == {"connection_errors": 2, "suspected": metrics_of(session).suspected}
        assert (silent, 2) in samples(session, "connection_errors")
        assert (silent, 1) in samples(session, "suspects") and (silent, 2) in samples(session, "orphans")
        nodes[0].resume()
        eventually(lambda: metrics_of(session).suspects == metrics_of(session).orphans == 0)


def test_a_full_queue(node: FakeNode) -> None:
    gate = Event()
    node.on(TEXT, ROWS.when(gate))
    with cluster_of(node, metrics_enabled=True, max_requests_in_flight=2, max_requests_waiting=3) as cluster:
        session = cluster.connect()
        futures = [session.execute_async(TEXT) for _ in range(5)]
        metrics = metrics_of(session)
        assert (metrics.in_flight, metrics.queue_length) == (2, 3)
        with pytest.raises(Busy):
            session.execute(TEXT)
        assert samples(session, "request_errors") == [({"error": "Busy"}, 1)]
        gate.set()
        gevent.wait(futures)
        assert (metrics.in_flight, metrics.queue_length) == (0, 0)


def test_requests_that_wait_their_turn(session: Session) -> None:
    session.max_requests_per_second = 50
    futures = [session.execute_async(TEXT) for _ in range(10)]
    assert 5 <= metrics_of(session).throttled <= 9 and metrics_of(session).queue_length == 0
    gevent.wait(futures)
    assert metrics_of(session).throttled == 0
    assert metrics_of(session).request_timer["count"] == 10 and metrics_of(session).request_timer["max"] > 0.05


@pytest.mark.parametrize("fails", [False, True])
def test_speculative_attempts_are_one_request(fails: bool) -> None:
    policy = ConstantSpeculativeExecutionPolicy(0.02, 1)
    profile = ExecutionProfile(RoundRobinPolicy(), speculative_execution_policy=policy)
    profiles = {EXEC_PROFILE_DEFAULT: profile}
    with FakeCluster(2) as nodes, cluster_of(nodes, execution_profiles=profiles, metrics_enabled=True) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        answer = Error(ErrorCode.INVALID) if fails else ROWS
        for node in nodes:
            node.on(TEXT, answer.after(0.1))
        outcome(session.execute, SimpleStatement(TEXT, is_idempotent=True))
        assert len(nodes.queries) == 2
        metrics = metrics_of(session)
        assert metrics.speculative_executions == 1 and metrics.attempt_timeouts == 0
        assert metrics.request_timer["count"] == 1 and metrics.request_timer["max"] >= 0.1
        assert metrics.request_errors == int(fails)


def test_attempts_that_take_too_long() -> None:
    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(RoundRobinPolicy(), attempt_timeout=0.05)}
    with FakeCluster(2) as nodes, cluster_of(nodes, execution_profiles=profiles, metrics_enabled=True) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        nodes.on(TEXT, ROWS.after(0.3))
        first = session.execute(SimpleStatement(TEXT, is_idempotent=True)).response_future.attempted_hosts[0]
        assert samples(session, "attempt_timeouts") == [({"host": str(first)}, 1)]
        assert metrics_of(session).speculative_executions == 0 and metrics_of(session).request_timer["count"] == 1


# -- gauges --------------------------------------------------------------------------------------------------------------


def test_hosts_and_connections() -> None:
    with FakeCluster(3) as nodes, cluster_of(nodes, metrics_enabled=True, connections_per_host=2) as cluster:
        metrics = cluster.metrics
        assert metrics is not None and metrics.open_connections == metrics.known_hosts == metrics.in_flight == 0
        cluster.connect(wait_for_all_pools=True)
        eventually(lambda: metrics.open_connections == 6)
        assert (metrics.known_hosts, metrics.connected_to) == (3, 3)
        by_host = {sample.labels["host"]: sample.value for sample in metrics.registry["open_connections"].samples()}
        assert by_host == {f"{node.host}:{nodes.port}": 2 for node in nodes}
        # cassandra-driver has functions there
        assert (metrics.known_hosts(), metrics.stats.connected_to(), metrics.get_stats()["open_connections"]()) == (3, 3, 6)
    assert (metrics.connected_to, metrics.open_connections) == (0, 0)


def test_bytes(session: Session, node: FakeNode) -> None:
    metrics = metrics_of(session)
    node.on(TEXT, Rows([("v", "blob")], [(bytes(100_000),)]))
    sent, received = metrics.bytes_sent, metrics.bytes_received
    assert sent > 0 and received > 0  # the handshakes
    session.execute(TEXT)
    assert 100_000 < metrics.bytes_received - received < 101_000 and len(TEXT) < metrics.bytes_sent - sent < 1000
    received = metrics.bytes_received
    node.drop_connections()
    eventually(lambda: metrics.reconnects == 1)
    assert metrics.bytes_received >= received  # what ended connections brought still counts
    assert [sample.labels for sample in samples(session, "bytes_sent")] == [{"host": f"{node.host}:{node.port}"}]


def test_bytes_under_tls(tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server) as node, cluster_of(node, ssl_context=tls.client, metrics_enabled=True) as cluster:
        node.on(TEXT, Rows([("v", "blob")], [(bytes(100_000),)]))
        session = cluster.connect()
        session.execute(TEXT)
        assert metrics_of(session).bytes_received > 100_000 and metrics_of(session).bytes_sent > len(TEXT)


# -- the registry, names ---------------------------------------------------------------------------------------------------


def test_everything_is_in_the_registry(session: Session) -> None:
    metrics = metrics_of(session)
    stats = metrics.get_stats()
    assert list(stats) == [instrument.name for instrument in metrics.registry] and len(stats) == len(metrics.registry)
    assert isinstance(stats["request_timer"], dict) and stats["request_timer"]["count"] == 0
    for instrument in metrics.registry:
        assert instrument.kind in ("counter", "gauge", "histogram") and instrument.help and repr(instrument)
        for labels, value in instrument.samples():
            assert set(labels) == ({instrument.label} if instrument.label else set())
            assert instrument.kind == "histogram" or isinstance(value, int)
    assert repr(metrics).startswith("<Metrics cassandra-")
    with pytest.raises(AttributeError, match="no attribute 'requests'"):
        _ = metrics.requests


def test_a_collector_reads_a_histogram(session: Session) -> None:
    session.execute(TEXT)
    [(labels, histogram)] = samples(session, "request_timer")
    assert labels == {} and histogram.count == 1 and histogram.total == pytest.approx(metrics_of(session).request_timer["max"])
    assert histogram.cumulative([1e-6, math.inf]) == [0, 1]


def test_instruments_of_an_application() -> None:
    registry = Registry()
    cached = Counter("cached", "Answers found in the cache", "table")
    registry.add(cached)
    registry.add(Gauge("cache_size", "Entries", lambda: {"": 7}))
    cached.add("words")
    cached.add("words", 2)
    cached.add("users")
    assert cached.value == 4 and cached.samples() == [({"table": "words"}, 3), ({"table": "users"}, 1)]
    assert registry["cache_size"].samples() == [({}, 7)] and [i.name for i in registry] == ["cached", "cache_size"]
    assert Counter("none", "Never").samples() == [({}, 0)]
    with pytest.raises(ValueError, match="'cached'"):
        registry.add(Counter("cached", "Again"))


def test_names() -> None:
    one, other = Cluster(metrics_enabled=True).metrics, Cluster(metrics_enabled=True).metrics
    assert one is not None and other is not None and one.stats_name != other.stats_name
    one.set_stats_name("shop")
    one.set_stats_name("shop")
    with pytest.raises(ValueError, match="'shop'"):
        other.set_stats_name("shop")
    assert {one, other} <= set(all_metrics())
    was = other.stats_name
    other.set_stats_name("users")
    one.set_stats_name(was)  # it is free again
    del one
    gc.collect()
    assert was not in {metrics.stats_name for metrics in all_metrics()}


def test_each_cluster_has_its_own(node: FakeNode) -> None:
    with cluster_of(node, metrics_enabled=True) as one, cluster_of(node, metrics_enabled=True) as other:
        sessions = one.connect(), other.connect()
        prepared = sessions[0].prepare(BY_KEY)
        sessions[0].execute(prepared, (1,))
        sessions[1].execute(prepared, (1,))  # what one Session has resolved is not the other's
        sessions[1].execute(prepared, (1,))
        assert [metrics_of(session).request_timer["count"] for session in sessions] == [1, 2]


def test_read_when_its_cluster_is_gone(node: FakeNode) -> None:
    with cluster_of(node, metrics_enabled=True) as cluster:
        session = cluster.connect()
        metrics = metrics_of(session)
        session.execute(session.prepare(BY_KEY), (1,))
    del cluster, session
    eventually(lambda: gc.collect() is not None and metrics._reference() is None)  # they do not keep it
    assert metrics.known_hosts == metrics.in_flight == metrics.queue_length == 0
    assert metrics.request_timer["count"] == 1 and metrics.bytes_sent > 0


def test_read_in_another_thread(session: Session) -> None:
    seen: list[Any] = []
    thread = Thread(target=lambda: seen.append(metrics_of(session).get_stats()))
    thread.start()
    thread.join()
    assert seen[0]["open_connections"] == seen[0]["known_hosts"] == 1
