"""What a request is made of stays as it was resolved, from the first attempt and page to the last."""

from __future__ import annotations

from typing import Any

import pytest

from geventcql import ConsistencyLevel
from geventcql.cluster import ExecutionProfile
from geventcql.policies import RetryPolicy, RoundRobinPolicy
from geventcql.query import BatchStatement, SimpleStatement, dict_factory, named_tuple_factory, tuple_factory
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, serve_keys
from tests.support.fakenode import Error, ErrorCode, FakeNode, Request, Rows, Void, in_turn, paged
from tests.support.wire import Opcode

COLUMNS = [("k", "int")]
DATA = [(i,) for i in range(6)]


class AtOne(RetryPolicy):
    """Tries once more at ONE, and remembers what it was asked about."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def on_unavailable(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(query)
        return self.RETRY, ConsistencyLevel.ONE


def unavailable() -> Error:
    return Error(ErrorCode.UNAVAILABLE, required=2, alive=1)


def test_a_batch_that_is_filled_anew_while_it_is_under_way(session: Session, node: FakeNode) -> None:
    serve_keys(node)
    prepared = session.prepare("INSERT INTO t (k) VALUES (?)")
    sent: list[tuple[Any, Any]] = []

    def answer(request: Request, connection: Any) -> Any:
        sent.append((request.entries, request.timestamp))
        return unavailable() if len(sent) == 1 else Void()

    node.on(Opcode.BATCH, answer)
    batch = BatchStatement(consistency_level=ConsistencyLevel.QUORUM, retry_policy=AtOne())
    batch.add("INSERT one").add(prepared, (1,))
    future = session.execute_async(batch)
    batch.clear()
    batch.add("INSERT two")
    future.result()
    assert len(sent) == 2 and sent[0] == sent[1]
    assert len(sent[0][0]) == 2 and "INSERT one" in str(sent[0][0])


def test_a_cleared_batch_is_prepared_again(session: Session, node: FakeNode) -> None:
    serve_keys(node)
    prepared = session.prepare("INSERT INTO t (k) VALUES (?)")
    node.unprepare_all()
    batch = BatchStatement().add(prepared, (1,))
    future = session.execute_async(batch)
    batch.clear()
    future.result()
    assert sum(request.opcode == Opcode.PREPARE for request in node.requests) == 2


@pytest.mark.parametrize("how", ["Session", "profile"])
def test_all_pages_are_read_as_the_first(node: FakeNode, how: str) -> None:
    node.on("SELECT pages", paged(COLUMNS, DATA, 2))
    profile = ExecutionProfile(RoundRobinPolicy(), row_factory=dict_factory)
    with cluster_of(node, execution_profiles={"mine": profile} if how == "profile" else None) as cluster:
        session = cluster.connect()
        if how == "Session":
            session.row_factory = dict_factory
            rows = session.execute("SELECT pages")
            session.row_factory = tuple_factory
        else:
            rows = session.execute("SELECT pages", execution_profile="mine")
            profile.row_factory = tuple_factory
        assert list(rows) == [{"k": k} for (k,) in DATA]


def test_a_listener_may_choose_the_row_factory(session: Session, node: FakeNode) -> None:
    node.on("SELECT pages", paged(COLUMNS, DATA, 2))

    def choose(future: Any) -> None:
        assert future.row_factory is named_tuple_factory
        future.row_factory = dict_factory

    session.add_request_init_listener(choose)
    assert list(session.execute("SELECT pages")) == [{"k": k} for (k,) in DATA]
    session.remove_request_init_listener(choose)
    assert session.execute("SELECT pages").one() == (0,)


def test_a_retry_at_the_same_level_is_the_same_request(session: Session, node: FakeNode) -> None:
    resolved = session.execute_async(SimpleStatement("INSERT 1", consistency_level=ConsistencyLevel.ONE))._execution.resolved
    assert resolved.at_consistency(ConsistencyLevel.ONE) is resolved
    other = resolved.at_consistency(ConsistencyLevel.TWO)
    assert other.consistency == ConsistencyLevel.TWO and other.template.suffix != resolved.template.suffix


def test_a_retry_is_read_as_the_first_attempt(session: Session, node: FakeNode) -> None:
    node.on("SELECT k", in_turn(unavailable(), Rows(COLUMNS, DATA)))
    session.row_factory = dict_factory
    future = session.execute_async(SimpleStatement("SELECT k", retry_policy=AtOne(), is_idempotent=True))
    session.row_factory = named_tuple_factory
    assert future.result().one() == {"k": 0}


def test_policies_and_listeners_see_the_statement_itself(session: Session, node: FakeNode) -> None:
    node.on("SELECT 7", in_turn(unavailable(), Rows(COLUMNS, DATA)))
    policy = AtOne()
    statement = SimpleStatement("SELECT %s", retry_policy=policy, is_idempotent=True)
    heard: list[Any] = []
    session.add_request_init_listener(lambda future: heard.append(future.query))
    assert session.execute(statement, (7,)).one().k == 0
    assert policy.asked == [statement] and policy.asked[0] is statement is heard[0]
    assert statement.query_string == "SELECT %s"


def test_policies_see_the_values_of_a_prepared_statement(session: Session, node: FakeNode) -> None:
    node.on("SELECT k FROM t WHERE k = ?", in_turn(unavailable(), Rows(COLUMNS, DATA)), rows=COLUMNS, binds=COLUMNS)
    prepared = session.prepare("SELECT k FROM t WHERE k = ?")
    policy = prepared.retry_policy = AtOne()
    prepared.is_idempotent = True
    session.execute(prepared, (5,))
    (asked,) = policy.asked
    assert asked.prepared_statement is prepared and asked.values == [b"\x00\x00\x00\x05"] and asked.raw_values == [5]


def test_a_policys_plan_is_asked_for_the_sessions_keyspace(node: FakeNode) -> None:
    asked: list[tuple[Any, Any]] = []

    class Asking(RoundRobinPolicy):
        def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Any:
            asked.append((working_keyspace, query.keyspace))
            return super().make_query_plan(working_keyspace, query)

    node.on("SELECT k", Rows(COLUMNS, DATA))
    node.on(lambda r: "keyspace_name =" in (r.text or ""), Rows([("keyspace_name", "text")], [("mine",)]))
    with cluster_of(node, load_balancing_policy=Asking()) as cluster:
        session = cluster.connect("mine")
        session.execute(SimpleStatement("SELECT k", keyspace="other"))
        assert asked[-1] == ("mine", "other")


def test_a_batch_names_its_own_keyspace(node: FakeNode) -> None:
    serve_keys(node)
    with cluster_of(node, protocol_version=5) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)

        def sent(batch: BatchStatement) -> Any:
            session.execute(batch)
            return node.requests[-1].keyspace

        explicit = BatchStatement().add("INSERT INTO here (k) VALUES (1)")
        explicit.keyspace = "mine"
        assert sent(explicit) == "mine"
        first = SimpleStatement("INSERT INTO here (k) VALUES (1)", keyspace="first", routing_key=b"k")
        assert sent(BatchStatement().add(first)) == "first"
        of_prepared = BatchStatement().add(prepared, (1,))
        assert of_prepared.keyspace == "ks" and sent(of_prepared) is None  # for routing alone: its names are complete
        assert sent(BatchStatement().add("INSERT INTO here (k) VALUES (1)")) is None
        explicit.clear()
        assert explicit.keyspace is None
