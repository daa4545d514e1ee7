"""A request leaves nothing to the garbage collector, however it ends: what it was made of goes with the last reference."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

import gevent
import pytest

from geventcql.cluster import ExecutionProfile
from geventcql.errors import NoHostAvailable, OperationTimedOut
from geventcql.policies import ConstantSpeculativeExecutionPolicy, FallthroughRetryPolicy, RetryPolicy
from geventcql.query import BatchStatement, SimpleStatement
from geventcql.session import Session
from tests.driver.hostlife import AT_ONCE
from tests.driver.support import BY_KEY, INSERT, cluster_of, eventually, outcome, pooled
from tests.support.fakenode import Close, Error, ErrorCode, FakeNode, Rows
from tests.support.handlers import paged
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

COLUMNS = [("k", "int")]
GOOD = Rows(COLUMNS, [(1,)])
PAGES = "SELECT k FROM pages"
NEVER, LATE, REFUSED, LOST = "SELECT never", "SELECT late", "SELECT refused", "SELECT lost"
TIMES = 5


@pytest.fixture
def session(node: FakeNode) -> Iterator[Session]:
    node.on(PAGES, paged(COLUMNS, [(k,) for k in range(10)], 3))
    node.on(NEVER)
    node.on(LATE, GOOD.after(0.05))
    node.on(REFUSED, Error(ErrorCode.OVERLOADED))
    node.on(LOST, Close())
    with cluster_of(node, **AT_ONCE) as cluster:
        cluster.add_execution_profile("never again", ExecutionProfile(retry_policy=FallthroughRetryPolicy()))
        cluster.add_execution_profile("again", ExecutionProfile(retry_policy=Thrice()))
        speculative = ConstantSpeculativeExecutionPolicy(0.001, 2)
        cluster.add_execution_profile("twice", ExecutionProfile(speculative_execution_policy=speculative))
        yield cluster.connect()


class Thrice(RetryPolicy):
    def on_request_error(self, query: Any, consistency: Any, error: Any, retry_num: int) -> Any:
        return (self.RETRY, None) if retry_num < 3 else (self.RETHROW, None)


def is_of_requests(item: object) -> bool:
    """The driver's objects, errors, and the frames that they lead to."""
    kind = type(item)
    of_the_driver = kind.__module__.startswith("geventcql.")
    return of_the_driver or isinstance(item, (BaseException, TracebackType)) or _is_of_the_driver(item)


def _is_of_the_driver(item: object) -> bool:
    return isinstance(item, FrameType) and "/geventcql/" in item.f_code.co_filename


def garbage(work: Callable[[], object]) -> Counter[str]:
    """What of the driver's only the collector finds behind ``work``, by type."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(TIMES):
            work()
        gevent.sleep(0.01)
        gc.collect()
        return Counter(type(item).__name__ for item in gc.garbage if is_of_requests(item))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def killed(fn: Callable[..., Any], *args: Any) -> None:
    """``fn`` in a greenlet that is killed while it waits."""
    greenlet = gevent.spawn(fn, *args)
    gevent.sleep(0.002)
    greenlet.kill()


def failed(session: Session, text: str, timeout: float) -> None:
    """A future's error is raised where nothing keeps the future: who does has the error lead back to it."""
    with pytest.raises(OperationTimedOut):
        session.execute_async(text, timeout=timeout).result()
    with pytest.raises(OperationTimedOut):
        session.execute_async(text, timeout=timeout).get()


def within(seconds: float, fn: Callable[..., Any], *args: Any) -> None:
    with gevent.Timeout(seconds, False):
        fn(*args)


def called_back(session: Session, text: str) -> None:
    told: list[Any] = []
    session.execute_async(text, timeout=0.02).add_callbacks(lambda rows: told.append(1), lambda error: told.append(0))
    eventually(lambda: told)


def in_pages(session: Session) -> None:
    assert len(list(session.execute(PAGES))) == 10
    rows = session.execute(PAGES)
    rows.fetch_next_page()
    future = session.execute_async(PAGES)
    future.result()
    future.start_fetching_next_page()
    assert [row.k for row in future.result().current_rows] == [3, 4, 5]


def batch(session: Session, insert: Any) -> None:
    made = BatchStatement()
    made.add(insert, (1,))
    made.add(SimpleStatement("INSERT INTO u (k) VALUES (1)"))
    session.execute(made)


def together(session: Session, prepared: Any) -> None:
    pairs = [(prepared, (k,)) for k in range(10)]
    assert all(done.success for done in session.execute_concurrent(pairs, 3))
    assert len(list(session.imap(prepared, [(k,) for k in range(10)], 3))) == 10
    for refused in range(3):
        with pytest.raises(NoHostAvailable):
            next(session.imap(REFUSED, [None], refused + 1))
    next(iter(session.imap_unordered(prepared, [(k,) for k in range(10)], 3)))


def at_a_rate(session: Session) -> None:
    """Those that wait for their turn decide in greenlets of their own where they may be sent several times."""
    session.max_requests_per_second = 20
    statement = SimpleStatement(LATE, is_idempotent=True)
    futures = [session.execute_async(statement, execution_profile="twice") for _ in range(22)]
    assert all(future.result().one() for future in futures)
    session.max_requests_per_second = None


WAYS: dict[str, Callable[[Session, Any, Any], object]] = {
    "simple": lambda s, select, insert: s.execute(LATE).one(),
    "with parameters": lambda s, select, insert: s.execute("INSERT INTO u (k) VALUES (%s)", (1,)),
    "prepared": lambda s, select, insert: s.execute(select, (1,)).one(),
    "bound": lambda s, select, insert: s.execute(select.bind((1,))).one(),
    "batch": lambda s, select, insert: batch(s, insert),
    "at a rate": lambda s, select, insert: at_a_rate(s),
    "pages": lambda s, select, insert: in_pages(s),
    "together": lambda s, select, insert: together(s, select),
    "prepare": lambda s, select, insert: s.prepare(INSERT),
    "not sent": lambda s, select, insert: outcome(s.execute, select, ("no number",)),
    "timed out": lambda s, select, insert: outcome(s.execute, NEVER, None, 0.005),
    "timed out, a future": lambda s, select, insert: failed(s, NEVER, 0.005),
    "a future nobody waits for": lambda s, select, insert: s.execute_async(NEVER, timeout=0.005) and gevent.sleep(0.02),
    "refused": lambda s, select, insert: outcome(lambda: s.execute(REFUSED, execution_profile="never again")),
    "retried": lambda s, select, insert: outcome(lambda: s.execute(REFUSED, execution_profile="again")),
    "lost": lambda s, select, insert: (outcome(s.execute, LOST), eventually(lambda: pooled(s))),
    "killed": lambda s, select, insert: killed(s.execute, LATE),
    "a Timeout": lambda s, select, insert: within(0.002, s.execute, LATE),
    "called back": lambda s, select, insert: called_back(s, LATE),
    "called back with the error": lambda s, select, insert: called_back(s, NEVER),
    "two attempts": lambda s, select, insert: s.execute(SimpleStatement(LATE, is_idempotent=True), execution_profile="twice"),
    "a keyspace": lambda s, select, insert: outcome(s.execute, "USE missing"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_request_leaves_no_garbage(way: str, session: Session) -> None:
    select, insert = session.prepare(BY_KEY), session.prepare(INSERT)
    WAYS[way](session, select, insert)
    assert not garbage(lambda: WAYS[way](session, select, insert))


def test_what_is_found(session: Session) -> None:
    def keeps_itself() -> None:
        future: Any = session.execute_async(LATE)
        future.result()
        future.itself = future

    found = garbage(keeps_itself)
    assert found["ResponseFuture"] == TIMES and found["Execution"] == TIMES
