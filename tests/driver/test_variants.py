"""What is kept of bound and simple statements, and of profiles that are named: nothing that has changed, nothing for ever."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from geventcql import ConsistencyLevel as Level
from geventcql import variants
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.policies import RetryPolicy, RoundRobinPolicy
from geventcql.query import BatchStatement, BoundStatement, PreparedStatement, SimpleStatement, dict_factory, tuple_factory
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, eventually, have_keyspaces, settled
from tests.support.fakenode import Error, ErrorCode, FakeNode, Request, Rows, in_turn, paged
from tests.support.wire import Opcode

NAMED = "named"


@pytest.fixture
def profile() -> ExecutionProfile:
    return ExecutionProfile(RoundRobinPolicy(), consistency_level=Level.TWO)


@pytest.fixture
def cluster(node: FakeNode, profile: ExecutionProfile) -> Iterator[Cluster]:
    with cluster_of(node, execution_profiles={NAMED: profile}) as cluster:
        yield cluster


@pytest.fixture
def session(cluster: Cluster) -> Session:
    return cluster.connect()


@pytest.fixture
def prepared(session: Session) -> PreparedStatement:
    return session.prepare(BY_KEY)


@pytest.fixture
def resolutions(monkeypatch: pytest.MonkeyPatch, prepared: PreparedStatement) -> list[Any]:
    """The statements that were resolved, each time."""
    resolved: list[Any] = []
    resolve = variants.resolve

    def counting(session: Any, statement: Any, *args: Any, **kwargs: Any) -> Any:
        resolved.append(statement)
        return resolve(session, statement, *args, **kwargs)

    monkeypatch.setattr(variants, "resolve", counting)
    return resolved


def sent(node: FakeNode) -> Request:
    """The last statement."""
    return [request for request in node.requests if request.opcode in (Opcode.EXECUTE, Opcode.QUERY)][-1]


def on_wire(node: FakeNode) -> tuple[Any, ...]:
    """What the last statement's request said besides text and values."""
    request = sent(node)
    return request.consistency, request.serial_consistency, request.page_size, request.payload


def test_simple_statements_are_resolved_once_for_all_texts(session: Session, node: FakeNode, resolutions: list[Any]) -> None:
    for key in range(5):
        session.execute(f"INSERT {key}")
        session.execute("INSERT %s", (key,))
        session.execute(SimpleStatement("INSERT %(key)s"), {"key": key}, execution_profile=NAMED)
        session.execute(SimpleStatement(f"INSERT {key}", is_idempotent=True))
        assert [request.text for request in node.queries[-4:]] == [f"INSERT {key}"] * 4
        assert [request.consistency for request in node.queries[-4:]] == [Level.LOCAL_ONE] * 2 + [Level.TWO, Level.LOCAL_ONE]
    assert [(statement.query_string, statement.is_idempotent) for statement in resolutions] == [("", False)] * 2 + [("", True)]


def test_resolved_once_for_all_that_are_alike(session: Session, prepared: PreparedStatement, resolutions: list[Any]) -> None:
    for key in range(5):
        assert session.execute(prepared.bind((key,))).one().k == key
        assert session.execute(prepared.bind((key,)), execution_profile=NAMED).one().k == key
        assert session.execute(prepared, (key,), execution_profile=NAMED).one().k == key
        quorum = prepared.bind((key,))
        quorum.consistency_level = Level.QUORUM
        assert session.execute(quorum).one().k == key
    assert len(resolutions) == 4
    assert all(type(statement) is PreparedStatement or statement.values == [] for statement in resolutions)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("consistency_level", Level.ALL, (Level.ALL, None, 5000, None)),
        ("serial_consistency_level", Level.SERIAL, (Level.LOCAL_ONE, Level.SERIAL, 5000, None)),
        ("fetch_size", 7, (Level.LOCAL_ONE, None, 7, None)),
        ("fetch_size", None, (Level.LOCAL_ONE, None, None, None)),
        ("custom_payload", {"a": b"1"}, (Level.LOCAL_ONE, None, 5000, {"a": b"1"})),
    ],
)
@pytest.mark.parametrize("of", ["bound", "prepared"])
def test_every_option_counts(
    session: Session, node: FakeNode, prepared: PreparedStatement, name: str, value: Any, expected: Any, of: str
) -> None:
    bound = prepared.bind((1,))
    default = getattr(bound, name)

    usual = (Level.LOCAL_ONE, None, 5000, None)

    def executed(option: Any) -> tuple[Any, ...]:
        setattr(bound if of == "bound" else prepared, name, option)
        session.execute(bound if of == "bound" else prepared.bind((1,)))
        return on_wire(node)

    assert [executed(option) for option in (default, value, default, value)] == [usual, expected] * 2


def test_a_payload_that_is_taken_back(session: Session, node: FakeNode, prepared: PreparedStatement) -> None:
    prepared.custom_payload = {"a": b"1"}
    bound = prepared.bind((1,))
    bound.custom_payload = None
    session.execute(bound)
    assert sent(node).payload is None
    session.execute(prepared.bind((1,)))
    assert sent(node).payload == {"a": b"1"}


@pytest.mark.parametrize("how", ["prepared", "bound", NAMED])
def test_a_payload_that_is_changed_in_place(session: Session, node: FakeNode, prepared: PreparedStatement, how: str) -> None:
    prepared.custom_payload = {"a": b"1"}
    for payload in (b"1", b"2"):
        prepared.custom_payload["a"] = payload
        if how == "bound":
            session.execute(prepared.bind((1,)))
        elif how == NAMED:
            session.execute(prepared, (1,), execution_profile=NAMED)
        else:
            session.execute(prepared, (1,))
        assert sent(node).payload == {"a": payload}


def test_idempotence_counts(session: Session, node: FakeNode, prepared: PreparedStatement) -> None:
    asked: list[bool] = []

    class Asking(RetryPolicy):
        def on_request_error(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            asked.append(query.is_idempotent)
            return self.RETRY if len(asked) % 2 else self.RETHROW, None

    prepared.retry_policy = Asking()
    bound = prepared.bind((1,))
    session.execute(bound)
    for idempotent in (True, False, True):
        bound.is_idempotent = idempotent
        node.on(BY_KEY, in_turn(Error(ErrorCode.SERVER_ERROR), Rows([("k", "int")], [(1,)])), binds=[("k", "int")])
        before = node.count(BY_KEY)
        try:
            session.execute(bound)
        except Exception:
            assert not idempotent
        assert node.count(BY_KEY) - before == (2 if idempotent else 1)
        asked.clear()


def test_policies_and_listeners_get_the_very_statement(session: Session, node: FakeNode, prepared: PreparedStatement) -> None:
    asked: list[Any] = []

    class Asking(RetryPolicy):
        def on_unavailable(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            asked.append(query)
            return self.RETRY, None

    prepared.retry_policy = Asking()
    heard: list[Any] = []
    session.add_request_init_listener(lambda future: heard.append(future.query))
    for key in range(2):
        down = Error(ErrorCode.UNAVAILABLE, required=2, alive=1)
        node.on(BY_KEY, in_turn(down, Rows([("k", "int")], [(key,)])), binds=[("k", "int")])
        bound = prepared.bind((key,))
        future = session.execute_async(bound)
        assert future.result().one().k == key and future.query is bound
        assert asked[-1] is bound and heard[-1] is bound and heard[-1].raw_values == [key]


def test_a_retry_policy_of_its_own(session: Session, node: FakeNode, prepared: PreparedStatement) -> None:
    class Ignoring(RetryPolicy):
        def on_unavailable(self, *args: Any, **kwargs: Any) -> Any:
            return self.IGNORE, None

    bound = prepared.bind((1,))
    session.execute(bound)
    node.on(BY_KEY, Error(ErrorCode.UNAVAILABLE, required=2, alive=1), binds=[("k", "int")])
    bound.retry_policy = Ignoring()
    assert session.execute(bound).one() is None
    (kept,) = prepared._variants.values()  # nothing of the application's
    assert len(kept) == 1 and bound.retry_policy not in [resolved.retry_policy for resolved in kept.values()]


def test_a_routing_key_of_its_own(session: Session, prepared: PreparedStatement) -> None:
    bound = prepared.bind((1,))
    session.execute(bound)
    bound.routing_key = b"another"
    assert session.execute_async(bound)._execution.resolved.token_aware is False
    bound.routing_key = None
    assert session.execute_async(bound)._execution.resolved.token_aware is True


def test_the_next_pages_are_of_the_same_statement(session: Session, node: FakeNode) -> None:
    node.on("SELECT pages", paged([("k", "int")], [(i,) for i in range(6)], 2), rows=[("k", "int")])
    bound = session.prepare("SELECT pages").bind(())
    bound.consistency_level = Level.QUORUM
    for _ in range(2):
        future = session.execute_async(bound)
        assert [row.k for row in future.result()] == list(range(6))
        future.start_fetching_next_page()
        assert [row.k for row in future.result()] == [2, 3, 4, 5] and future.query is bound
        assert sent(node).consistency == Level.QUORUM


Change = Callable[[Session, ExecutionProfile, PreparedStatement], object]


@pytest.mark.parametrize("bind", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda session, profile, prepared: setattr(profile, "consistency_level", Level.THREE),
        lambda session, profile, prepared: setattr(prepared, "consistency_level", Level.THREE),
        lambda session, profile, prepared: session.cluster.profile_manager.profiles.update(
            {NAMED: ExecutionProfile(consistency_level=Level.THREE)}
        ),
    ],
    ids=["profile", "prepared", "replaced"],
)
def test_changes_are_followed(
    session: Session, node: FakeNode, profile: ExecutionProfile, prepared: PreparedStatement, bind: bool, change: Change
) -> None:
    def consistency() -> Any:
        session.execute(prepared.bind((1,)) if bind else prepared, None if bind else (1,), execution_profile=NAMED)
        return sent(node).consistency

    assert [consistency(), consistency()] == [Level.TWO] * 2
    change(session, profile, prepared)
    assert consistency() == Level.THREE


def test_settings_of_the_session_are_followed(session: Session, node: FakeNode, prepared: PreparedStatement) -> None:
    have_keyspaces(node, "mine")
    bound = prepared.bind((1,))
    for _ in range(2):
        session.execute(bound)
        session.execute(bound, execution_profile=NAMED)
        session.execute("INSERT 1")
    session.default_fetch_size = 9
    session.use_client_timestamp = False
    for name in (NAMED, EXEC_PROFILE_DEFAULT):
        for statement in (bound, "INSERT 1"):
            session.execute(statement, execution_profile=name)
            assert (sent(node).page_size, sent(node).timestamp) == (9, None)
    session.set_keyspace("mine")
    assert session.execute_async(bound)._execution.resolved.working_keyspace == "mine"
    assert session.execute_async(bound, execution_profile=NAMED)._execution.resolved.working_keyspace == "mine"


def test_a_profiles_row_factory_is_followed(session: Session, profile: ExecutionProfile, prepared: PreparedStatement) -> None:
    profile.row_factory = dict_factory
    assert session.execute(prepared, (1,), execution_profile=NAMED).one() == {"k": 1}
    profile.row_factory = tuple_factory
    assert session.execute(prepared, (1,), execution_profile=NAMED).one() == (1,)


def test_new_result_columns_are_followed(session: Session, prepared: PreparedStatement) -> None:
    bound = prepared.bind((1,))
    before = session.execute_async(bound)._execution.resolved
    assert session.execute_async(bound)._execution.resolved is before
    prepared.result = prepared.result
    assert session.execute_async(bound)._execution.resolved is not before


def test_profiles_that_may_not_be_named_any_more(node: FakeNode) -> None:
    """Another Session was given a setting of its own."""
    with cluster_of(node) as cluster:
        session, other = cluster.connect(), cluster.connect()
        cluster.add_execution_profile(NAMED, ExecutionProfile(RoundRobinPolicy()))
        prepared = session.prepare(BY_KEY)
        for _ in range(2):
            session.execute(prepared, (1,), execution_profile=NAMED)
        other.row_factory = dict_factory
        with pytest.raises(ValueError, match="cannot be named"):
            session.execute(prepared, (1,), execution_profile=NAMED)
        assert session.execute(prepared.bind((1,))).one().k == 1


def test_what_is_kept_is_bounded(session: Session, node: FakeNode, prepared: PreparedStatement) -> None:
    bound = prepared.bind((1,))
    for size in range(1, 100):
        bound.fetch_size = size
        session.execute(bound)
        assert sent(node).page_size == size
        session.execute(SimpleStatement("INSERT 1", fetch_size=size))
        assert sent(node).page_size == size
    (kept,) = prepared._variants.values()
    assert len(kept) <= variants.MAX_VARIANTS and len(session._simple) <= variants.MAX_VARIANTS


def test_profiles_without_a_name_are_not_kept(session: Session, node: FakeNode, prepared: PreparedStatement) -> None:
    node.on("SELECT 1", Rows([("k", "int")], [(1,)]))
    profile = ExecutionProfile(RoundRobinPolicy(), row_factory=dict_factory)
    for statement, values in ((prepared, (1,)), (prepared.bind((1,)), None), (SimpleStatement("SELECT 1"), None)):
        assert session.execute(statement, values, execution_profile=profile).one() == {"k": 1}
    gone = weakref.ref(profile)
    del profile
    eventually(lambda: settled(session))
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("end", ["collected", "shut down"])
def test_sessions_are_not_kept(session: Session, prepared: PreparedStatement, end: str) -> None:
    other = session.cluster.connect()
    for _ in range(2):
        other.execute(prepared.bind((1,)))
        other.execute(prepared, (1,), execution_profile=NAMED)
        other.execute("INSERT 1")
        session.execute(prepared, (1,), execution_profile=NAMED)
    assert len(prepared._variants) == 2
    gone = weakref.ref(other)
    if end == "shut down":
        other.shutdown()
        assert len(prepared._variants) == 1
    del other
    eventually(lambda: settled(session))
    gc.collect()
    assert gone() is None and len(prepared._variants) == 1


class Special(BoundStatement):
    """As applications may have them; not kept."""

    def is_lwt(self) -> bool:
        return True


def test_subclasses_are_asked_each_time(session: Session, prepared: PreparedStatement) -> None:
    session.execute(prepared.bind((1,)))
    special = Special(prepared)
    special.bind((2,))
    future = session.execute_async(special)
    assert future._execution.resolved.statement is special and future.result().one().k == 2


def test_copies_have_options_of_their_own(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    prepared.custom_payload = {"a": b"1"}
    bound, batch = prepared.bind((3,)), BatchStatement()
    batch.add(prepared, (4,))
    session.execute(prepared, (1,))
    for copied in (copy.copy(prepared), copy.deepcopy(prepared)):
        copied.consistency_level = Level.ALL
        assert prepared.consistency_level is None
        assert [session.execute(each, (2,)).one().k for each in (prepared, copied)] == [2, 2]
        assert [request.consistency for request in node.requests[-2:]] == [Level.LOCAL_ONE, Level.ALL]
    assert copied.custom_payload == {"a": b"1"} and copied.custom_payload is not prepared.custom_payload
    assert session.execute(copy.deepcopy(bound)).one().k == 3
    assert len(copy.deepcopy(batch)) == 1


def test_another_default_profile(node: FakeNode) -> None:
    with cluster_of(node, execution_profiles={EXEC_PROFILE_DEFAULT: ExecutionProfile(RoundRobinPolicy())}) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        for level, factory in ((Level.LOCAL_ONE, None), (Level.QUORUM, dict_factory)):
            if factory is not None:
                made = ExecutionProfile(RoundRobinPolicy(), consistency_level=level, row_factory=factory)
                cluster.profile_manager.profiles[EXEC_PROFILE_DEFAULT] = made
            for statement, values in ((prepared, (1,)), (prepared.bind((1,)), None)):
                row = session.execute(statement, values).one()
                assert isinstance(row, dict) == (factory is not None) and node.requests[-1].consistency == level
            session.execute("INSERT")
            assert node.requests[-1].consistency == level


def test_an_empty_payload_that_is_filled(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    prepared.custom_payload = {}
    session.execute(prepared, (1,))
    prepared.custom_payload["a"] = b"x"
    session.execute(prepared, (1,))
    assert node.requests[-1].payload == {"a": b"x"}
