"""A Session's own settings beside those of the default profile."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from geventcql import ConsistencyLevel, UnsupportedOperation
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from geventcql.policies import RoundRobinPolicy
from geventcql.query import dict_factory, named_tuple_factory, tuple_factory
from tests.driver.support import BY_KEY, eventually, serve_keys, settled
from tests.support.fakenode import FakeNode

OTHER = "other"


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        node.on("SELECT v FROM t", rows=[("v", "int")], data=[(1,)])
        yield node


@pytest.fixture
def session(node: FakeNode) -> Iterator[Session]:
    with Cluster([("127.0.0.1", node.port)]) as cluster:
        yield cluster.connect()


@pytest.fixture
def profiled(node: FakeNode) -> Iterator[Session]:
    profiles = {
        EXEC_PROFILE_DEFAULT: ExecutionProfile(request_timeout=3.0, consistency_level=ConsistencyLevel.QUORUM),
        OTHER: ExecutionProfile(row_factory=tuple_factory, serial_consistency_level=ConsistencyLevel.SERIAL),
    }
    with Cluster([("127.0.0.1", node.port)], execution_profiles=profiles) as cluster:
        yield cluster.connect()


def test_read_as_the_default_profile_until_set(session: Session) -> None:
    assert session.default_timeout == 10.0
    assert session.default_consistency_level == ConsistencyLevel.LOCAL_ONE
    assert session.default_serial_consistency_level is None
    assert session.row_factory is named_tuple_factory
    session.cluster.profile_manager.default.request_timeout = 4.0
    assert session.default_timeout == 4.0
    session.default_timeout = None
    assert session.default_timeout is None


def test_own_values_count(session: Session, node: FakeNode) -> None:
    session.row_factory = dict_factory
    session.default_consistency_level = ConsistencyLevel.QUORUM
    session.default_serial_consistency_level = ConsistencyLevel.LOCAL_SERIAL
    assert session.execute("SELECT v FROM t").one() == {"v": 1}
    sent = node.queries[-1]
    assert (sent.consistency, sent.serial_consistency) == (ConsistencyLevel.QUORUM, ConsistencyLevel.LOCAL_SERIAL)
    with pytest.raises(ValueError, match="SERIAL"):
        session.default_serial_consistency_level = ConsistencyLevel.QUORUM


def test_profiles_by_request(profiled: Session, node: FakeNode) -> None:
    assert profiled.default_timeout == 3.0
    assert profiled.execute("SELECT v FROM t").one().v == 1
    row = profiled.execute("SELECT v FROM t", execution_profile=OTHER).one()
    assert row == (1,) and type(row) is tuple
    first, second = node.queries[-2:]
    assert (first.consistency, first.serial_consistency) == (ConsistencyLevel.QUORUM, None)
    assert (second.consistency, second.serial_consistency) == (ConsistencyLevel.LOCAL_ONE, ConsistencyLevel.SERIAL)
    clone = profiled.execution_profile_clone_update(OTHER, row_factory=dict_factory)
    assert profiled.execute("SELECT v FROM t", execution_profile=clone).one() == {"v": 1}
    profiled.cluster.add_execution_profile("third", clone)
    assert profiled.execute("SELECT v FROM t", execution_profile="third").one() == {"v": 1}
    assert profiled.get_execution_profile(OTHER).row_factory is tuple_factory
    with pytest.raises(ValueError, match="third"):
        profiled.cluster.add_execution_profile("third", ExecutionProfile())
    with pytest.raises(TypeError, match="ExecutionProfile"):
        profiled.cluster.add_execution_profile("fourth", dict_factory)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no execution profile 'fifth'"):
        profiled.execute("SELECT v FROM t", execution_profile="fifth")


SETTINGS = [
    ("default_timeout", 5.0),
    ("row_factory", dict_factory),
    ("default_consistency_level", ConsistencyLevel.ONE),
    ("default_serial_consistency_level", ConsistencyLevel.SERIAL),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_settings_beside_profiles_are_refused(profiled: Session, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be set.*profile"):
        setattr(profiled, name, value)


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_profiles_beside_settings_are_refused(session: Session, name: str, value: object) -> None:
    session.cluster.add_execution_profile(OTHER, ExecutionProfile(row_factory=tuple_factory))
    assert session.execute("SELECT v FROM t", execution_profile=OTHER).one() == (1,)
    setattr(session, name, value)
    for profile in (OTHER, ExecutionProfile()):
        with pytest.raises(ValueError, match="cannot be named"):
            session.execute("SELECT v FROM t", execution_profile=profile)
    with pytest.raises(ValueError, match="cannot be added"):
        session.cluster.add_execution_profile("another", ExecutionProfile())
    assert session.execute("SELECT v FROM t").one() in ({"v": 1}, (1,))


def test_policies_of_the_cluster_beside_profiles_are_refused(node: FakeNode) -> None:
    balancing = RoundRobinPolicy()
    with Cluster([("127.0.0.1", node.port)], load_balancing_policy=balancing) as cluster:
        session = cluster.connect()
        with pytest.raises(ValueError, match="cannot be added"):
            cluster.add_execution_profile(OTHER, ExecutionProfile())
        session.row_factory = dict_factory
        assert session.execute("SELECT v FROM t").one() == {"v": 1}
    with pytest.raises(ValueError, match="in an ExecutionProfile"):
        Cluster(load_balancing_policy=balancing, execution_profiles={OTHER: ExecutionProfile()})


def test_graph_is_refused(session: Session) -> None:
    for execute in (session.execute_graph, session.execute_graph_async):
        with pytest.raises(UnsupportedOperation, match="graph is not supported"):
            execute("g.V()")


def test_prepared_statements_follow_a_change(session: Session, node: FakeNode) -> None:
    node.prepare("SELECT v FROM t WHERE k=?", binds=[("k", "int")], columns=[("v", "int")])
    node.on("SELECT v FROM t WHERE k=?", rows=[("v", "int")], data=[(1,)])
    prepared = session.prepare("SELECT v FROM t WHERE k=?")
    assert session.execute(prepared, (1,)).one().v == 1
    session.row_factory = dict_factory
    session.default_fetch_size = 7
    assert session.execute(prepared, (1,)).one() == {"v": 1}
    assert node.queries[-1].page_size == 7
    prepared.fetch_size = 9
    session.execute(prepared, (1,))
    assert node.queries[-1].page_size == 9


def test_statements_do_not_keep_the_sessions_they_were_executed_on(session: Session, node: FakeNode) -> None:
    serve_keys(node)
    prepared = session.prepare(BY_KEY)
    session.execute(prepared, (1,))
    others = [session.cluster.connect() for _ in range(3)]
    for other in others:
        other.execute(prepared, (1,))
    gone = [weakref.ref(other) for other in others]
    assert len(prepared._templates) == 4
    others.clear()
    del other
    eventually(lambda: settled(session))
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    assert len(prepared._templates) == 1
    assert session.execute(prepared, (2,)).one().k == 2


def test_a_session_that_its_own_row_factory_knows_is_not_kept(session: Session) -> None:
    other = session.cluster.connect()

    def factory(names: list[str], rows: list[tuple[int, ...]], knows: Session = other) -> list[int]:
        return [row[0] for row in rows]

    other.row_factory = factory
    assert other.execute("SELECT v FROM t").one() == 1
    gone = weakref.ref(other)
    del other, factory
    eventually(lambda: settled(session))
    gc.collect()
    assert gone() is None
