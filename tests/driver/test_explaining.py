"""What errors tell of the request that ended with them, for each way in which it can end (pitfall C11)."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest

from geventcql.errors import (
    Busy,
    ConnectionShutdown,
    InvalidRequest,
    NoHostAvailable,
    OperationTimedOut,
    ReadTimeout,
)
from geventcql.policies import FallthroughRetryPolicy
from geventcql.session import Session
from tests.driver.support import cluster_of, outcome
from tests.support.fakenode import NEVER, Close, Error, ErrorCode, FakeNode, Reply

TEXT = "SELECT v FROM t"
OTHER = "SELECT v FROM other"


ENDS: dict[str, tuple[Reply | None, type[Exception], int]] = {
    "no answer": (NEVER, OperationTimedOut, 1),
    "a server's error": (Error(ErrorCode.INVALID), InvalidRequest, 1),
    "an error that might be retried": (Error(ErrorCode.READ_TIMEOUT), ReadTimeout, 1),
    "all hosts refuse": (Error(ErrorCode.OVERLOADED), NoHostAvailable, 1),
    "a lost connection": (Close(), ConnectionShutdown, 1),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_was_sent(session: Session, node: FakeNode, end: str) -> None:
    answer, kind, attempts = ENDS[end]
    node.on(TEXT, answer)
    node.on(OTHER, NEVER)
    if kind is not NoHostAvailable:
        session.default_retry_policy = FallthroughRetryPolicy()  # type: ignore[assignment]
    others = [session.execute_async(OTHER, timeout=60) for _ in range(3)]
    node.wait_for(lambda n: n.count(OTHER) == 3)
    started = time.monotonic()
    error: Any = outcome(lambda: session.execute(TEXT, timeout=0.1))
    assert type(error) is kind
    assert error.host == session.hosts[0] and error.attempts == attempts
    assert 0 < error.elapsed <= time.monotonic() - started and (kind is not OperationTimedOut or error.elapsed >= 0.1)
    assert error.in_flight == (3 if kind is not ConnectionShutdown else 0) or kind is OperationTimedOut
    assert error.waited == 0 and 0 <= error.hub_lag < 60
    assert str(error.host) in str(error) and f"attempts={attempts}" in str(error)
    for other in others:
        other._execution.cancel()


@pytest.mark.parametrize(
    "limit", [{"max_requests_in_flight": 1}, {"max_requests_per_second": 5}], ids=["waits for room", "waits its turn"]
)
@pytest.mark.parametrize("end", ["not sent", "no answer", "refused"])
def test_what_waited_first(node: FakeNode, limit: dict[str, Any], end: str) -> None:
    """Of the time that has passed it is told how much it waited, whether it was sent at last or not."""
    node.on(OTHER, NEVER)
    node.on(TEXT, Error(ErrorCode.INVALID) if end == "refused" else NEVER)
    with cluster_of(node, **limit) as cluster:
        session = cluster.connect()
        other = session.execute_async(OTHER, timeout=0.15)
        error: Any = outcome(lambda: session.execute(TEXT, timeout=0.1 if end == "not sent" else 1))
        assert type(error) is (InvalidRequest if end == "refused" else OperationTimedOut)
        assert 0.05 <= error.waited <= error.elapsed and f"waited={error.waited:.3f} s" in str(error)
        if end == "not sent":
            assert (error.attempts, error.host) == (0, None) and "the request was not sent" in str(error)
        else:
            assert (error.attempts, error.host) == (1, session.hosts[0]) and error.waited >= 0.1
        assert end != "no answer" or error.elapsed - error.waited > 0.1
        other.wait()


def test_a_hub_that_was_busy(session: Session, node: FakeNode) -> None:
    node.on(TEXT, NEVER)
    future = session.execute_async(TEXT, timeout=0.05)
    gevent.sleep(0.02)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    error: Any = outcome(future.result)
    assert type(error) is OperationTimedOut
    assert error.hub_lag >= 0.2 and f"hub_lag={error.hub_lag:.3f} s" in str(error)


def test_nobody_may_wait(node: FakeNode) -> None:
    node.on(TEXT, NEVER)
    with cluster_of(node, max_requests_in_flight=1, max_requests_waiting=0) as cluster:
        session = cluster.connect()
        first = session.execute_async(TEXT)
        error: Any = outcome(lambda: session.execute(TEXT))
        assert type(error) is Busy and (error.attempts, error.in_flight, error.waited) == (0, 1, 0)
        first._execution.cancel()
