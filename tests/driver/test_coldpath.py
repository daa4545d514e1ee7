"""Many requests at once that need a decision: so many begin in a turn of the hub, and none is lost."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.pool import Group

from geventcql.coldpath import MAX_TURN_BEGUN, Decisions
from geventcql.errors import ConnectionShutdown
from geventcql.net.scheduler import Scheduler
from geventcql.policies import FallthroughRetryPolicy
from geventcql.query import SimpleStatement
from geventcql.session import Session
from tests.driver.support import cluster_of, eventually, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import NEVER, FakeNode, Rows

TEXT = "SELECT v FROM t"
MANY = 1000


class Asked:
    """As an Execution: remembers what was done with it."""

    def __init__(self) -> None:
        self.done = False
        self.begun = self.left = self.was_given_up = 0

    def decide(self, work: Any, args: tuple[Any, ...]) -> None:
        self.begun += 1
        work(*args)

    def decided(self, greenlet: Any) -> None:
        assert greenlet.successful()

    def leave_cold_path(self) -> None:
        self.left += 1

    def given_up(self) -> None:
        self.was_given_up += 1


@pytest.fixture
def decisions() -> Decisions:
    return Decisions(Scheduler.for_hub(), Group().spawn)


def begun(all_asked: list[Asked]) -> int:
    return sum(each.begun for each in all_asked)


class Turns:
    """As a Scheduler: the next turn comes when it is told to."""

    def __init__(self) -> None:
        self.due: list[Any] = []

    def call_later(self, delay: float, callback: Any) -> Any:
        assert delay == 0
        self.due.append(callback)
        return callback

    def turn(self) -> None:
        (callback,), self.due = self.due, []
        callback()


def test_so_many_begin_in_a_turn() -> None:
    order: list[int] = []
    all_asked = [Asked() for _ in range(MAX_TURN_BEGUN * 2 + 1)]
    group, turns = Group(), Turns()
    decisions = Decisions(turns, group.spawn)  # type: ignore[arg-type]
    for n, each in enumerate(all_asked):
        decisions.add(each, order.append, (n,))  # type: ignore[arg-type]
    for number in (MAX_TURN_BEGUN, 2 * MAX_TURN_BEGUN, len(all_asked)):
        group.join()
        assert order == list(range(number)) and len(decisions) == len(all_asked) - number
        turns.turn()
    assert begun(all_asked) == len(order)
    assert not turns.due, "in the last turn there was nothing to do"


def test_what_has_ended_meanwhile_is_not_begun(decisions: Decisions) -> None:
    all_asked = [Asked() for _ in range(MAX_TURN_BEGUN * 2)]
    for each in all_asked:
        decisions.add(each, int, ())  # type: ignore[arg-type]
    assert len(decisions) == MAX_TURN_BEGUN
    for each in all_asked:
        each.done = True
    eventually(lambda: not decisions)
    gevent.sleep(0.01)
    assert begun(all_asked[MAX_TURN_BEGUN:]) == 0
    assert [each.left for each in all_asked[MAX_TURN_BEGUN:]] == [1] * MAX_TURN_BEGUN


def test_the_end_gives_up_what_has_not_begun(decisions: Decisions) -> None:
    all_asked = [Asked() for _ in range(MAX_TURN_BEGUN + 10)]
    for each in all_asked:
        decisions.add(each, int, ())  # type: ignore[arg-type]
    decisions.end()
    assert [each.was_given_up for each in all_asked[MAX_TURN_BEGUN:]] == [1] * 10 and not decisions
    late = Asked()
    decisions.add(late, int, ())  # type: ignore[arg-type]
    assert late.was_given_up == 1
    gevent.sleep(0.01)
    assert begun([*all_asked[MAX_TURN_BEGUN:], late]) == 0


@pytest.fixture
def nodes() -> Any:
    with FakeCluster(2) as nodes:
        nodes.on(TEXT, Rows([("v", "int")], [(1,)]))
        yield nodes


def silent_requests(session: Session, nodes: FakeCluster, idempotent: bool) -> list[Any]:
    """Requests to the first node, which does not answer them."""
    nodes[0].on(TEXT, NEVER)
    statement = SimpleStatement(TEXT, is_idempotent=idempotent, retry_policy=None if idempotent else FallthroughRetryPolicy())
    futures = []
    while nodes[0].count(TEXT) < MANY:
        futures += [session.execute_async(statement, timeout=30) for _ in range(MANY)]
        gevent.sleep(0.01)
    eventually(lambda: sum(connection.in_flight for connection in pooled(session)) >= MANY)
    return futures


def test_a_lost_connection_with_many_requests(nodes: FakeCluster) -> None:
    with cluster_of(nodes) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        futures = silent_requests(session, nodes, idempotent=True)
        nodes[0].drop_connections()
        assert [future.result().one().v for future in futures] == [1] * len(futures)
        eventually(lambda: not cluster._decisions and not len(cluster._greenlets))


def test_the_end_of_a_cluster_that_has_just_lost_it(nodes: FakeCluster) -> None:
    with cluster_of(nodes) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        futures = silent_requests(session, nodes, idempotent=False)
        nodes[0].drop_connections()
        eventually(lambda: len(cluster._decisions))
        cluster.shutdown(0)
    gevent.wait(futures, timeout=5)
    errors = [future.exception for future in futures if not future.successful()]
    assert len(errors) >= MANY and {type(error) for error in errors} == {ConnectionShutdown}
    assert "while the request was being tried again" in str(errors[-1])


def test_shutdown_waits_for_decisions_that_have_not_begun(nodes: FakeCluster) -> None:
    cluster = cluster_of(nodes)
    session = cluster.connect(wait_for_all_pools=True)
    futures = silent_requests(session, nodes, idempotent=True)
    nodes[0].drop_connections()
    eventually(lambda: len(cluster._decisions))
    cluster.shutdown(timeout=20)
    assert [future.result().one().v for future in futures] == [1] * len(futures)


def test_one_decision_waits_for_no_turn(node: FakeNode, decisions: Decisions) -> None:
    asked = Asked()
    decisions.add(asked, int, ())  # type: ignore[arg-type]
    gevent.sleep(0)
    assert asked.begun == 1
