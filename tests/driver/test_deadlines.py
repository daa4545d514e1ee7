"""A request's deadline holds whatever is done with the request: while policies decide and while nodes agree on a schema."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from geventcql.cluster import Cluster
from geventcql.errors import OperationTimedOut
from geventcql.policies import RetryPolicy, RoundRobinPolicy
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, eventually, outcome, settled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Rows, SchemaChange
from tests.support.invariants import HubError

TEXT = "SELECT v FROM t"
DDL = "CREATE TABLE t (k int PRIMARY KEY)"
GOOD = Rows([("v", "int")], [(1,)])
LONG = 5.0
"""Seconds that whatever a deadline is to cut short would take."""


@contextmanager
def times_out(what: str) -> Iterator[None]:
    started = time.monotonic()
    with pytest.raises(OperationTimedOut) as raised:
        yield
    assert time.monotonic() - started < LONG / 2
    assert what in str(raised.value.errors)  # type: ignore[attr-defined]


@pytest.mark.patching
def test_while_a_retry_policy_thinks(node: FakeNode) -> None:
    class Slow(RetryPolicy):
        def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
            gevent.sleep(LONG)
            return self.RETRY, None

    node.on(TEXT, Error(ErrorCode.OVERLOADED))
    with cluster_of(node, default_retry_policy=Slow()) as cluster:
        session = cluster.connect()
        with times_out("no decision about another attempt within 0.05 s"):
            session.execute(TEXT, timeout=0.05)
        assert settled(session) and node.count(TEXT) == 1


def test_while_the_first_plan_is_made(node: FakeNode) -> None:
    class Slow(RoundRobinPolicy):
        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
            gevent.sleep(0.1)
            yield from super().make_query_plan(working_keyspace, query)

    node.on(TEXT, GOOD)
    with cluster_of(node, load_balancing_policy=Slow()) as cluster:
        session = cluster.connect()
        with times_out("no host was chosen within 0.05 s"):
            session.execute(TEXT, timeout=0.05)
        assert node.count(TEXT) == 0
        assert session.execute(TEXT, timeout=5).one().v == 1


def test_while_the_nodes_agree_on_a_schema() -> None:
    with FakeCluster(2) as nodes:
        nodes.on(DDL, SchemaChange("CREATED", "TABLE", "ks", "t"))
        with Cluster(nodes.addresses, port=nodes.port, max_schema_agreement_wait=LONG) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            for node in nodes:
                node.system.local.schema_version = uuid.uuid4()
            with times_out("the statement was executed, but the nodes did not agree"):
                session.execute(DDL, timeout=0.2)


def test_while_a_statement_is_prepared_again(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    node.on(Opcode.PREPARE, None)
    with times_out("prepared again"):
        session.execute(prepared, (1,), timeout=0.05)


def test_of_a_use_statement(node: FakeNode) -> None:
    node.system.keyspaces["alpha"] = {"class": "SimpleStrategy", "replication_factor": "1"}
    with cluster_of(node, control_connection_timeout=LONG) as cluster:
        session = cluster.connect()
        node.pause()
        with times_out("keyspace alpha was not looked up within 0.05 s"):
            session.execute("USE alpha", timeout=0.05)
        node.resume()
        eventually(lambda: cluster._control.connection is not None and cluster._control.connection.in_flight == 0)
        gevent.sleep(0.05)
        assert session.keyspace is None, "a USE that failed has no effect, not even later"
        session.execute("USE alpha", timeout=5)
        assert session.keyspace == "alpha"


def test_a_handler_of_a_timeout_that_raises(session: Session, node: FakeNode, hub_errors: list[HubError]) -> None:
    """It is reported once, is not called again, and everybody else goes on (pitfall A2)."""
    node.on(TEXT)
    calls: list[str] = []
    ticks: list[float] = []

    def bad(name: str) -> Callable[[Any], None]:
        def handler(_: Any) -> None:
            calls.append(name)
            raise ZeroDivisionError(name)

        return handler

    def tick() -> None:
        while True:
            gevent.sleep(0.001)
            ticks.append(time.monotonic())

    ticker = gevent.spawn(tick)
    due = time.monotonic() + 0.05
    future = session.execute_async(TEXT, timeout=0.05)
    future.add_errback(bad("errback"))
    future.rawlink(bad("link"))
    later = session.execute_async(TEXT, timeout=0.1)
    for each in (future, later):
        with pytest.raises(OperationTimedOut):
            each.result()
    eventually(lambda: sum(at > due + 0.1 for at in ticks) > 10)
    ticker.kill()
    assert sorted(calls) == ["errback", "link"]
    assert sorted(error.text for error in hub_errors) == ["ZeroDivisionError: errback", "ZeroDivisionError: link"]
    hub_errors.clear()


@pytest.mark.parametrize("step", [3600.0, -3600.0])
@pytest.mark.parametrize("where", ["in flight", "waiting for room", "prepared again"])
def test_steps_of_the_wall_clock(node: FakeNode, monkeypatch: pytest.MonkeyPatch, step: float, where: str) -> None:
    """No deadline passes early or late (pitfall A7)."""
    with cluster_of(node, max_requests_in_flight=1) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        node.on(BY_KEY)
        if where == "waiting for room":
            session.execute_async(prepared, (1,), timeout=None)
        elif where == "prepared again":
            node.unprepare_all()
            node.on(Opcode.PREPARE)
        real, started = time.time, time.monotonic()
        asking = gevent.spawn(outcome, lambda: session.execute(prepared, (2,), timeout=0.2))
        gevent.sleep(0.02)
        monkeypatch.setattr(time, "time", lambda: real() + step)
        gevent.sleep(0.02)
        assert not asking.ready()
        assert isinstance(asking.get(timeout=LONG), OperationTimedOut)
        assert 0.2 <= time.monotonic() - started < 2
        cluster.shutdown(timeout=0)


def test_the_cold_path_keeps_no_timer(node: FakeNode) -> None:
    class Again(RetryPolicy):
        def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
            return self.RETRY, None

    node.on(TEXT, GOOD)
    with cluster_of(node, idle_heartbeat_interval=0, default_retry_policy=Again()) as cluster:
        session = cluster.connect()
        session.execute(TEXT, timeout=50)
        before = len(cluster._scheduler)
        node.on(TEXT, Error(ErrorCode.OVERLOADED), times=1)
        assert session.execute(TEXT, timeout=50).one().v == 1
        assert node.count(TEXT) == 3
        assert len(cluster._scheduler) == before
