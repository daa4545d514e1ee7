"""Prepared statements: found again when a node has forgotten them, and never decoded by somebody else's columns."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

import geventcql
from geventcql import preparing
from geventcql.errors import (
    DriverException,
    EncodeError,
    InvalidRequest,
    OperationTimedOut,
    PreparedQueryNotFound,
    UnsupportedOperation,
)
from geventcql.policies import RoundRobinPolicy
from geventcql.query import UNSET_VALUE, BatchStatement, dict_factory
from geventcql.session import Session
from tests.driver.support import (
    BY_KEY,
    INSERT,
    cluster_of,
    eventually,
    have_keyspaces,
    outcome,
    own_key,
    pooled,
    serve_keys,
    settled,
)
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Close, Error, ErrorCode, FakeNode, Opcode, Prepared, Request, Rows, Void
from tests.support.replies import SchemaChange, schema_event
from tests.support.values import Type, parse, udt


@pytest.fixture(params=[4, 5])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def node(version: int) -> Iterator[FakeNode]:
    with FakeNode(versions=[version]) as started:
        serve_keys(started)
        yield started


def test_prepare(session: Session, node: FakeNode, version: int) -> None:
    prepared = session.prepare(BY_KEY)
    assert prepared.query_string == BY_KEY and [column.name for column in prepared.bind_columns] == ["k"]
    assert prepared.protocol_version == version and prepared.routing_key_indexes == (0,)
    assert session.execute(prepared, (3,)).one() == (3,)
    assert session.execute(prepared, {"k": 4}).one() == (4,)
    assert session.execute(prepared.bind((5,))).one() == (5,)
    with pytest.raises(InvalidRequest):
        session.prepare("SELECT nonsense")
    with pytest.raises(EncodeError):
        session.execute(prepared, ("x",))
    with pytest.raises(ValueError):
        session.execute(prepared, (1, 2))
    session.execute(session.prepare(INSERT), (7,))
    assert node.queries[-1].params == [7]


def test_prepare_with_a_payload(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY, custom_payload={"a": b"1"})
    assert node.requests[-1].opcode == Opcode.PREPARE and node.requests[-1].payload == {"a": b"1"}
    assert prepared.custom_payload is None
    session.execute(prepared, (1,))
    assert not node.queries[-1].payload


def test_prepare_is_answered_with_a_payload(session: Session, node: FakeNode) -> None:
    node.on(Opcode.PREPARE, lambda request, _: node.statements.prepare(request, node._sample).with_payload({"b": b"2"}))
    prepared = session.prepare(BY_KEY, custom_payload={"a": b"1"})
    assert prepared.custom_payload == {"b": b"2"}
    session.execute(prepared, (1,))
    assert node.queries[-1].payload == {"b": b"2"}


def test_prepare_is_answered_by_something_else(session: Session, node: FakeNode) -> None:
    rule = node.on(Opcode.PREPARE, Void())
    with pytest.raises(DriverException, match="PREPARE"):
        session.prepare(BY_KEY)
    rule.remove()
    node.on(Opcode.PREPARE)
    session.default_timeout = 0.05
    with pytest.raises(OperationTimedOut):
        session.prepare(BY_KEY)


def test_columns_of_the_result_are_left_out_on_v5_only(session: Session, node: FakeNode, version: int) -> None:
    prepared = session.prepare(BY_KEY)
    session.execute(prepared, (1,))
    assert node.queries[-1].skip_metadata == (version == 5)
    node.prepare("SELECT unknown columns")
    session.execute(session.prepare("INSERT INTO t (k) VALUES (1)"))
    assert not node.queries[-1].skip_metadata


# -- forgotten by the node ---------------------------------------------------------------------------------------------


def test_forgotten(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    assert session.execute(prepared, (1,)).one().k == 1
    assert node.count(Opcode.PREPARE) == 2
    assert [request.connection for request in node.requests[-3:]] == [node.requests[-1].connection] * 3


@pytest.mark.patching
def test_many_find_out_at_once(session: Session, node: FakeNode) -> None:
    """One PREPARE for all of them; whoever asked first may be killed."""
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    gate = gevent.event.Event()
    statement = node.statements.declared[BY_KEY]
    node.on(Opcode.PREPARE, lambda request, connection: [_prepared(node, request, statement).when(gate)])
    asking = [gevent.spawn(lambda key: session.execute(prepared, (key,)).one().k, key) for key in range(100)]
    node.wait_for(lambda n: n.count(Opcode.PREPARE) == 2)
    asking[0].kill()
    gevent.sleep(0.01)
    gate.set()
    assert [greenlet.get() for greenlet in asking[1:]] == list(range(1, 100))
    assert node.count(Opcode.PREPARE) == 2
    eventually(lambda: settled(session) and not session.cluster._preparer._again)


def _prepared(node: FakeNode, request: Request, statement: Any) -> Prepared:
    answer = node.statements.prepare(request, lambda r: None)
    assert isinstance(answer, Prepared)
    return answer


def test_a_node_that_forgets_at_random(session: Session, node: FakeNode) -> None:
    prepared = [session.prepare(BY_KEY), session.prepare(INSERT)]
    rng = random.Random(3)
    answered = itertools.count(1)
    due = 1

    def ask(first: int) -> None:
        nonlocal due
        for key in range(first, 2000, 50):
            assert session.execute(prepared[0], (key,)).one().k == key
            session.execute(prepared[1], (key,))
            if next(answered) >= due:  # by what has been done, not by time, or a slow machine gets nothing done
                node.unprepare_all()
                due += rng.randrange(1, 60)

    gevent.joinall([gevent.spawn(ask, i) for i in range(50)], raise_error=True)


@pytest.fixture
def sessions(node: FakeNode) -> Iterator[list[Session]]:
    """Two, over three connections."""
    with cluster_of(node, connections_per_host=3) as cluster:
        sessions = [cluster.connect() for _ in range(2)]
        eventually(lambda: len(pooled(sessions[0])) == 3)
        yield sessions


def test_it_is_told_once_by_all_connections_and_sessions(node: FakeNode, sessions: list[Session]) -> None:
    prepared = sessions[0].prepare(BY_KEY)
    for round_ in range(3):
        node.unprepare_all()
        asking = [gevent.spawn(lambda i: sessions[i % 2].execute(prepared, (i,)).one().k, i) for i in range(300)]
        assert [greenlet.get() for greenlet in asking] == list(range(300))
        assert node.count(Opcode.PREPARE) == 2 + round_


def test_who_hears_late_that_it_was_forgotten_does_not_tell_it_again(
    node: FakeNode, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another connection the answer was under way while the statement was prepared again."""
    prepared = sessions[0].prepare(BY_KEY)
    node.unprepare_all()
    resolve, gate, seen = node.statements.resolve, gevent.event.Event(), []

    def late(request: Request) -> Any:
        answer = resolve(request)
        if answer is not None:
            seen.append(request)
        return answer.when(gate) if answer is not None and len(seen) == 1 else answer

    monkeypatch.setattr(node.statements, "resolve", late)
    first = gevent.spawn(sessions[0].execute, prepared, (1,))
    node.wait_for(lambda _: seen)
    while node.count(Opcode.PREPARE) == 1:  # until one goes over another connection
        assert sessions[0].execute(prepared, (2,)).one().k == 2
    gate.set()
    assert first.get().one().k == 1
    assert node.count(Opcode.PREPARE) == 2
    node.unprepare_all()  # what is known of the past does not keep it from being prepared when that is needed
    assert sessions[0].execute(prepared, (3,)).one().k == 3
    assert node.count(Opcode.PREPARE) == 3


def test_another_statement_of_the_same_text_is_looked_at_too(session: Session, node: FakeNode) -> None:
    """Its values were encoded for other parameters than those it has now: nothing of them is sent."""
    before = session.prepare(BY_KEY)
    node.prepare(BY_KEY, [("k", "text")], [("k", "text")], [0])
    node.on(BY_KEY, lambda request, _: Rows([("k", "text")], [(request.params[0],)]))
    after = session.prepare(BY_KEY, custom_payload={"not": b"from the cache"} if node.versions[0] > 3 else None)
    node.unprepare_all()
    asked = [session.execute_async(after, ("x",)), session.execute_async(before, (1,))]
    assert asked[0].result().one().k == "x"
    with pytest.raises(DriverException, match="parameters of a prepared statement have changed"):
        asked[1].result()
    assert all(request.params == ["x"] for request in node.queries if request.statement is not None)


def test_each_node_is_told_once() -> None:
    with FakeCluster(3) as nodes:
        serve_keys(nodes)
        with cluster_of(nodes, load_balancing_policy=RoundRobinPolicy()) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            prepared = session.prepare(BY_KEY)
            asking = [gevent.spawn(lambda key: session.execute(prepared, (key,)).one().k, key) for key in range(300)]
            assert [greenlet.get() for greenlet in asking] == list(range(300))
            assert [node.count(Opcode.PREPARE) for node in nodes] == [1, 1, 1]


def test_a_batch_with_a_forgotten_statement(session: Session, node: FakeNode) -> None:
    first = session.prepare(INSERT)
    node.prepare("INSERT INTO u (k) VALUES (?)", [("k", "int")], None, [0])
    second = session.prepare("INSERT INTO u (k) VALUES (?)")
    batch = BatchStatement().add(first, (1,)).add(second, (2,))
    session.execute(batch)
    node.unprepare_all()
    before = node.queries[-1]
    session.execute(batch)
    last = node.queries[-1]
    assert [entry.params for entry in last.entries] == [[1], [2]]
    assert node.count(Opcode.PREPARE) == 4
    sent = [request.timestamp for request in node.queries if request.opcode == Opcode.BATCH]
    assert len(set(sent)) == 2 and before.timestamp == sent[0]


def test_the_id_is_another_one(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    statement = node.statements.declared[BY_KEY]
    node.unprepare_all()
    rule = node.on(Opcode.PREPARE, Prepared(statement, id=b"another"))
    with pytest.raises(DriverException, match="another id"):
        session.execute(prepared, (1,))
    rule.remove()
    assert session.execute(session.prepare(BY_KEY), (1,)).one().k == 1


def test_the_parameters_are_others(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    node.prepare(BY_KEY, [("k", "bigint")], [("k", "int")], [0])
    with pytest.raises(DriverException, match="parameters of a prepared statement have changed"):
        session.execute(prepared, (1,))
    assert not [request for request in node.queries if request.values == [b"\0\0\0\1"] and request.text]


# Around a user type: a value, and what makes the type of a parameter from it.
NESTINGS: list[tuple[Any, Callable[[Type], Type]]] = [
    ((1, "abcd"), lambda t: t),
    ([(1, "abcd")], lambda t: Type("list", (t,))),
    ({3: (1, "abcd")}, lambda t: Type("map", (parse("int"), t))),
    ((3, (1, "abcd")), lambda t: Type("tuple", (parse("int"), t))),
    ([(1, "abcd")], lambda t: Type("vector", (t,), dimensions=1)),
    ([((1, "abcd"), 3)], lambda t: Type("list", (udt("ks", "outer", inner=t, n="int"),))),
]


@pytest.mark.parametrize(("value", "around"), NESTINGS)
def test_a_user_type_was_made_anew(session: Session, node: FakeNode, value: Any, around: Callable[[Type], Type]) -> None:
    text = "INSERT INTO t (v) VALUES (?)"

    def execute_under(now: Type) -> None:
        node.prepare(text, [("v", around(udt("ks", "w", a="int", b="text")))])
        prepared = session.prepare(text)
        node.unprepare_all()
        node.prepare(text, [("v", around(now))])
        session.execute(prepared, (value,))

    sent = len(node.queries)
    for other in (
        udt("ks", "w", a="text", b="int"),
        udt("ks", "w", b="text", a="int"),
        udt("ks", "w", a="int"),
        udt("ks", "w2", a="int", b="text"),
        parse("int"),
    ):
        with pytest.raises(DriverException, match=r"changed from .*w\(a int, b text\).* to "):
            execute_under(other)
    assert len(node.queries) == sent + 5  # each asked with once, and never again
    execute_under(udt("ks", "w", a="int", b="text"))
    execute_under(udt("ks", "w", a="int", b="text", c="int"))  # ALTER TYPE ADD: what is missing at the end is null


def test_a_vector_of_another_length(session: Session, node: FakeNode) -> None:
    text = "INSERT INTO t (v) VALUES (?)"
    node.prepare(text, [("v", "vector<int, 2>")])
    prepared = session.prepare(text)
    node.unprepare_all()
    node.prepare(text, [("v", "vector<int, 3>")])
    with pytest.raises(DriverException, match="parameters of a prepared statement have changed"):
        session.execute(prepared, ([1, 2],))


def test_preparing_again_fails(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    rule = node.on(Opcode.PREPARE, Error(ErrorCode.INVALID, "table t is gone"))
    futures = [session.execute_async(prepared, (key,)) for key in range(5)]
    errors = []
    for future in futures:
        with pytest.raises(InvalidRequest, match="table t is gone") as raised:
            future.result()
        errors.append(raised.value)
    assert len({id(error) for error in errors}) == 5  # each carries the facts of its own request
    rule.remove()
    assert session.execute(prepared, (1,)).one().k == 1


def test_preparing_again_takes_too_long(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    node.on(Opcode.PREPARE)
    with pytest.raises(OperationTimedOut):
        session.execute(prepared, (1,), timeout=0.05)


def test_a_node_that_forgets_what_it_has_just_prepared(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.on(BY_KEY, lambda request, c: Error(ErrorCode.UNPREPARED, "no", id=request.id))
    with pytest.raises(PreparedQueryNotFound) as raised:
        session.execute(prepared, (1,), timeout=None)
    error: Any = raised.value
    assert 2 < error.attempts < 100


@pytest.mark.parametrize("cold", [False, True])
def test_policies_do_not_hear_of_it(session: Session, node: FakeNode, cold: bool) -> None:
    """The default policy tries again at its first question only: that comes behind the preparing."""
    answers = iter([Error(ErrorCode.READ_TIMEOUT, received=1, block_for=1, data_present=0)])
    serve_keys(node, lambda request, connection: next(answers, None) or own_key(request))
    prepared = session.prepare(BY_KEY)
    if cold:
        node.unprepare_all()
    assert session.execute(prepared, (5,)).one().k == 5


def test_a_batch_of_many_statements_that_the_node_has_forgotten(session: Session, node: FakeNode) -> None:
    batch = BatchStatement()
    for number in range(100):
        text = f"INSERT INTO t{number} (k) VALUES (?)"
        node.prepare(text, [("k", "int")], None, [0])
        batch.add(session.prepare(text), (number,))
    node.unprepare_all()
    future = session.execute_async(batch, timeout=30)
    future.result()
    assert len(future.attempted_hosts) == 101


def test_the_connection_is_lost_while_preparing_again() -> None:
    """The request was refused, so another host may have it whether it is idempotent or not."""
    with FakeCluster(2) as nodes:
        serve_keys(nodes)
        with cluster_of(nodes, load_balancing_policy=RoundRobinPolicy()) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            prepared = session.prepare(BY_KEY)
            for node in nodes:
                node.unprepare_all()
            nodes[0].on(Opcode.PREPARE, Close())
            for key in range(4):
                assert session.execute(prepared, (key,)).one().k == key


def test_it_is_prepared_again_in_its_own_keyspace(node: FakeNode) -> None:
    with cluster_of(node) as cluster:
        have_keyspaces(node, "a", "b")
        session = cluster.connect("a")
        prepared = session.prepare(BY_KEY)
        session.set_keyspace("b")
        node.unprepare_all()
        assert session.execute(prepared, (1,)).one().k == 1
        first, again = [request for request in node.requests if request.opcode == Opcode.PREPARE]
        assert first.effective_keyspace == again.effective_keyspace == "a"


def test_what_was_prepared_again_long_ago_is_forgotten(
    session: Session, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is refused a statement so late has been refused it anew."""
    one, other = session.prepare(BY_KEY), session.prepare(INSERT)
    monkeypatch.setattr(preparing, "REMEMBERED", 0.0)
    for statement in (one, other, one):
        node.unprepare_all()
        session.execute(statement, (1,))
        assert [key[-1] for key in session.cluster._preparer._done] == [statement.query_id]


# -- columns that change -----------------------------------------------------------------------------------------------


def test_columns_change_under_prepared_statements(session: Session, node: FakeNode, version: int) -> None:
    text = "SELECT * FROM t"
    node.prepare(text, [], [("a", "int")])
    node.on(text, Rows(None, [(1,)]))
    prepared = session.prepare(text)
    assert session.execute(prepared).one()._fields == ("a",)
    old = prepared.result
    node.prepare(text, [], [("a", "int"), ("b", "text")])
    node.on(text, Rows(None, [(1, "x")]))
    assert session.execute(prepared).one() == (1, "x")
    assert session.execute(prepared).one()._fields == ("a", "b")
    if version == 5:
        assert prepared.result != old and prepared.result_metadata_id == node.queries[-1].result_metadata_id
        assert node.queries[-1].skip_metadata
        before = len(node.queries)
        session.execute(prepared)
        assert node.queries[before].result_metadata_id == prepared.result_metadata_id
    node.prepare(text, [], [("a", "text")])
    node.on(text, Rows(None, [("abcd",)]))  # four bytes: as int it would decode to nonsense
    assert session.execute(prepared).one() == ("abcd",)


def test_what_is_told_when_it_is_prepared_again_counts_at_once(session: Session, node: FakeNode) -> None:
    """The server need not say it once more with the rows (v5)."""
    text = "SELECT * FROM t"
    node.prepare(text, [], [("a", "int")])
    prepared = session.prepare(text)
    before = prepared.result
    node.unprepare_all()
    node.prepare(text, [], [("a", "text")])
    node.on(text, Rows(None, [("abcd",)]))
    assert session.execute(prepared).one() == ("abcd",)
    assert node.queries[-1].result_metadata_id == prepared.result_metadata_id and prepared.result != before


def test_an_answer_is_read_with_the_columns_it_was_asked_with(session: Session, node: FakeNode) -> None:
    """Two requests under way while the columns change: each is decoded by its own."""
    text = "SELECT * FROM t"
    gate = gevent.event.Event()
    node.prepare(text, [], [("a", "int")])
    node.on(text, Rows([("a", "int")], [(0x61626364,)]).when(gate))
    prepared = session.prepare(text)
    early = session.execute_async(prepared)
    node.wait_for(lambda n: n.count(text))
    node.prepare(text, [], [("a", "text")])
    node.on(text, Rows(None, [("abcd",)]))
    assert session.execute(prepared).one() == ("abcd",)
    gate.set()
    assert early.result().one() == (0x61626364,)


def test_conditional_statements_bring_their_own_columns(session: Session, node: FakeNode) -> None:
    text = "UPDATE t SET v = 1 WHERE k = ? IF v = 2"
    node.prepare(text, [("k", "int")], [("[applied]", "boolean")], [0])
    prepared = session.prepare(text)
    node.on(text, Rows([("[applied]", "boolean"), ("v", "text")], [(False, "x")], lwt=True))
    rows = session.execute(prepared, (1,))
    assert not rows.was_applied and rows.one() == (False, "x")
    node.on(text, Rows([("[applied]", "boolean")], [(True,)], lwt=True))
    rows = session.execute(prepared, (1,))
    assert rows.was_applied and rows.one() == (True,)


def test_unset_values(session: Session, node: FakeNode) -> None:
    node.prepare("INSERT INTO t (k, v) VALUES (?, ?)", [("k", "int"), ("v", "text")], None, [0])
    prepared = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)")
    for values in ((1, UNSET_VALUE), (1,), {"k": 1}):
        session.execute(prepared, values)
        assert repr(node.queries[-1].params[1]) == repr(node.queries[-1].values[1])  # type: ignore[index]
        assert not isinstance(node.queries[-1].params[1], str)
    session.execute(prepared, (1, None))
    assert node.queries[-1].params == [1, None]


def test_settings_made_after_preparing_are_followed(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    session.execute(prepared, (1,))
    session.row_factory = dict_factory
    assert session.execute(prepared, (1,)).one() == {"k": 1}
    prepared.consistency_level = geventcql.ConsistencyLevel.QUORUM
    session.execute(prepared, (1,))
    assert node.queries[-1].consistency == geventcql.ConsistencyLevel.QUORUM
    for level in (1, 4, 6) * 50:
        session.default_consistency_level = level
        session.execute(prepared, (1,))
    assert len(prepared._templates) <= 2  # nothing is kept for settings of the past


def test_v3_knows_no_unset_values() -> None:
    with FakeNode(versions=[3]) as node:
        serve_keys(node)
        with cluster_of(node) as cluster:
            session = cluster.connect()
            prepared = session.prepare(BY_KEY)
            assert session.execute(prepared, (2,)).one().k == 2
            for values in ((), (UNSET_VALUE,)):
                with pytest.raises((ValueError, UnsupportedOperation)):
                    session.execute(prepared, values)
            with pytest.raises(UnsupportedOperation):
                session.execute(prepared, (1,), custom_payload={"a": b""})
            assert len(pooled(session)) == 1


# -- texts that are prepared again ----------------------------------------------------------------------------------------


def test_the_same_text_again_is_another_statement_and_no_prepare(session: Session, node: FakeNode) -> None:
    one, other = session.prepare(BY_KEY), session.prepare(BY_KEY)
    assert node.count(Opcode.PREPARE) == 1 and one is not other
    one.is_idempotent = True
    assert not other.is_idempotent
    assert session.execute(one, (1,)).one() == (1,) and session.execute(other, (2,)).one() == (2,)
    session.prepare(BY_KEY, custom_payload={"a": b"1"})  # which may mean anything to the server
    assert node.count(Opcode.PREPARE) == 2


def test_a_text_in_another_keyspace_is_another_one(version: int) -> None:
    with FakeNode(versions=[version]) as node, cluster_of(node) as cluster:
        serve_keys(node)
        have_keyspaces(node, "a", "b")
        session = cluster.connect("a")
        session.prepare(BY_KEY)
        session.set_keyspace("b")
        session.prepare(BY_KEY)
        assert node.count(Opcode.PREPARE) == 2


def test_many_greenlets_that_prepare_the_same_text(session: Session, node: FakeNode) -> None:
    gate = gevent.event.Event()
    answer = node.on(Opcode.PREPARE, lambda request, _: [node.statements.prepare(request, node._sample).when(gate)])
    greenlets = [gevent.spawn(outcome, session.prepare, BY_KEY) for _ in range(50)]
    node.wait_for(lambda n: n.count(Opcode.PREPARE))
    greenlets[0].kill()  # whoever asked first
    gate.set()
    prepared = [greenlet.get(timeout=5) for greenlet in greenlets[1:]]
    answer.remove()
    assert node.count(Opcode.PREPARE) == 1
    assert all(session.execute(statement, (1,)).one() == (1,) for statement in prepared)


def test_texts_are_kept_until_the_schema_changes(session: Session, node: FakeNode) -> None:
    session.prepare(BY_KEY)
    node.push(schema_event("UPDATED", "TABLE", "ks", "t"))
    eventually(lambda: not session.cluster._preparer.cache)
    session.prepare(BY_KEY)
    assert node.count(Opcode.PREPARE) == 2
    node.on("ALTER TABLE t ADD c int", SchemaChange("UPDATED", "TABLE", "ks", "t"))
    session.execute("ALTER TABLE t ADD c int")
    session.prepare(BY_KEY)
    assert node.count(Opcode.PREPARE) == 3


def test_an_answer_from_before_a_change_is_not_kept(session: Session, node: FakeNode) -> None:
    gate = gevent.event.Event()
    node.on(Opcode.PREPARE, lambda request, _: [node.statements.prepare(request, node._sample).when(gate)])
    preparing = gevent.spawn(session.prepare, BY_KEY)
    node.wait_for(lambda n: n.count(Opcode.PREPARE))
    before = session.cluster._preparer.cache.generation
    node.push(schema_event("UPDATED", "TABLE", "ks", "t"))
    eventually(lambda: session.cluster._preparer.cache.generation > before)
    gate.set()
    preparing.get(timeout=5)
    assert not session.cluster._preparer.cache


@pytest.mark.logs("WARNING more than 10 different statements have been prepared")
def test_ever_new_texts_stay_bounded_and_are_warned_of_once(
    node: FakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    with cluster_of(node, prepared_cache_size=10) as cluster:
        session = cluster.connect()
        node.on(re.compile("SELECT .* FROM lots"), own_key, rows=[("k", "int")], binds=[])
        for n in range(100):
            node.prepare(f"SELECT {n} FROM lots", [], [("k", "int")])
            session.prepare(f"SELECT {n} FROM lots")
        assert len(cluster._preparer.cache) == 10
        assert caplog.text.count("different statements have been prepared") == 1


@pytest.mark.parametrize("options", [{"prepared_cache_size": 0}, {"schema_event_refresh_window": -1}])
def test_nothing_is_kept_where_that_is_not_wanted_or_changes_are_not_heard_of(node: FakeNode, options: Any) -> None:
    with cluster_of(node, **options) as cluster:
        session = cluster.connect()
        session.prepare(BY_KEY)
        session.prepare(BY_KEY)
        assert node.count(Opcode.PREPARE) == 2


def test_a_text_whose_parameters_have_changed_is_prepared_anew(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    node.prepare(BY_KEY, [("k", "text")], [("k", "text")], [0])
    with pytest.raises(DriverException):
        session.execute(prepared, (1,))
    assert session.prepare(BY_KEY).bind_columns[0].type.name == "text"
