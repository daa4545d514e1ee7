"""Policies that let other greenlets run while they decide."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventcql.errors import ConnectionShutdown, OperationTimedOut
from geventcql.policies import RetryPolicy, RoundRobinPolicy
from tests.driver.support import cluster_of, eventually
from tests.support.fakenode import NEVER, Error, ErrorCode, FakeNode, Rows

ANSWER = Rows([("v", "int")], [(1,)])


def test_room_that_comes_while_the_plan_is_made(node: FakeNode) -> None:
    class Slow(RoundRobinPolicy):
        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
            yield from super().make_query_plan(working_keyspace, query)
            gevent.sleep(0.1)

    node.on("SELECT slow", ANSWER.after(0.05))
    with cluster_of(node, max_requests_in_flight=1, load_balancing_policy=Slow()) as cluster:
        session = cluster.connect()
        first = session.execute_async("SELECT slow")
        assert session.execute("SELECT slow", timeout=2).one().v == 1
        assert first.result().one().v == 1


class Pausing(RetryPolicy):
    def __init__(self, pause: float, verdict: int) -> None:
        self._pause = pause
        self._verdict = verdict

    def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
        gevent.sleep(self._pause)
        return self._verdict, None


@pytest.mark.parametrize("verdict", [RetryPolicy.RETRY, RetryPolicy.RETRY_NEXT_HOST])
def test_cancelled_while_the_policy_thinks_it_is_not_sent_again(node: FakeNode, verdict: int) -> None:
    node.on("SELECT v", Error(ErrorCode.OVERLOADED))
    with cluster_of(node, default_retry_policy=Pausing(0.1, verdict)) as cluster:
        session = cluster.connect()
        with gevent.Timeout(0.05, False):
            session.execute("SELECT v")
        eventually(lambda: not len(cluster._greenlets))
        assert node.count("SELECT v") == 1
        assert len(session._admission) == 0


@pytest.mark.parametrize("verdict", [RetryPolicy.RETRY, RetryPolicy.RETRY_NEXT_HOST])
def test_out_of_time_while_the_policy_thinks_it_is_not_sent_again(node: FakeNode, verdict: int) -> None:
    node.on("SELECT v", Error(ErrorCode.OVERLOADED))
    with cluster_of(node, default_retry_policy=Pausing(0.1, verdict)) as cluster:
        session = cluster.connect()
        started = time.monotonic()
        with pytest.raises(OperationTimedOut):
            session.execute("SELECT v", timeout=0.05)
        assert time.monotonic() - started < 1
        assert node.count("SELECT v") == 1


def test_a_retry_policy_that_runs_out_of_time(node: FakeNode) -> None:
    class Late(RetryPolicy):
        def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
            with gevent.Timeout(0.01):
                gevent.sleep(5)

    node.on("SELECT v", Error(ErrorCode.OVERLOADED))
    with cluster_of(node, default_retry_policy=Late()) as cluster:
        session = cluster.connect()
        with pytest.raises(gevent.Timeout) as raised:
            session.execute("SELECT v")
        assert raised.value.seconds == 0.01


@pytest.mark.parametrize("cold", [False, True], ids=["first plan", "after an error"])
def test_a_session_that_is_shut_down_while_a_plan_is_made(node: FakeNode, cold: bool) -> None:
    """Its hosts are full; nobody would ever come to the request in its queue."""

    class Slow(RoundRobinPolicy):
        pause = 0.0

        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
            yield from super().make_query_plan(working_keyspace, query)
            gevent.sleep(self.pause)

    node.on("SELECT never", NEVER)
    node.on("SELECT v", Error(ErrorCode.OVERLOADED))
    policy = Slow()
    options = {"load_balancing_policy": policy, "default_retry_policy": Pausing(0.1, RetryPolicy.RETRY_NEXT_HOST)}
    with cluster_of(node, max_requests_in_flight=1, **options) as cluster:
        session = cluster.connect()
        if cold:
            asked = session.execute_async("SELECT v", timeout=30)
            eventually(lambda: node.count("SELECT v"))
            gevent.sleep(0.05)
        session.execute_async("SELECT never", timeout=30)
        policy.pause = 0.1
        if not cold:
            asked = gevent.spawn(session.execute_async, "SELECT v", timeout=30)  # type: ignore[assignment]
            gevent.sleep(0.02)
        session.shutdown()
        with pytest.raises(ConnectionShutdown), gevent.Timeout(5):
            asked.get() if cold else asked.get().result()
