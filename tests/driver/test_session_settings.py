"""A Session's own settings beside those of the default profile."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from geventcql import ConsistencyLevel
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
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
    other = ExecutionProfile(row_factory=tuple_factory)
    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(request_timeout=3.0), OTHER: other}
    with Cluster([("127.0.0.1", node.port)], execution_profiles=profiles) as cluster:
        yield cluster.connect()


def test_read_as_the_default_profile_until_set(session: Session) -> None:
    assert session.default_timeout == 3.0
    assert session.default_consistency_level == ConsistencyLevel.LOCAL_ONE
    assert session.default_serial_consistency_level is None
    assert session.row_factory is named_tuple_factory
    session.cluster.profile_manager.default.request_timeout = 4.0
    assert session.default_timeout == 4.0
    session.default_timeout = None
    assert session.default_timeout is None


def test_own_values_count_for_the_default_profile_only(session: Session, node: FakeNode) -> None:
    session.row_factory = dict_factory
    session.default_consistency_level = ConsistencyLevel.QUORUM
    session.default_serial_consistency_level = ConsistencyLevel.LOCAL_SERIAL
    assert session.execute("SELECT v FROM t").one() == {"v": 1}
    assert session.execute("SELECT v FROM t", execution_profile=OTHER).one() == (1,)
    first, second = node.queries[-2:]
    assert (first.consistency, first.serial_consistency) == (ConsistencyLevel.QUORUM, ConsistencyLevel.LOCAL_SERIAL)
    assert (second.consistency, second.serial_consistency) == (ConsistencyLevel.LOCAL_ONE, None)


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
