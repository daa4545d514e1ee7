"""What a request was begun with holds to its end: its keyspace, its kind, and the classes of its values."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from geventcql.policies import RetryPolicy
from tests.driver.support import cluster_of, have_keyspaces
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Request, Rows, udt

TEXT = "SELECT v FROM t"


def in_its_keyspace(request: Request, connection: Any) -> Rows:
    """Two pages, each of one row that says where it was read."""
    rows = [(f"{request.effective_keyspace}",)]
    return Rows([("v", "text")], rows, paging_state=b"more" if request.paging_state is None else None)


@pytest.mark.parametrize("version", [4, 5])
def test_pages_come_from_the_keyspace_of_the_first(version: int) -> None:
    with FakeNode() as node, cluster_of(node, protocol_version=version) as cluster:
        node.on(TEXT, in_its_keyspace)
        session = cluster.connect()
        have_keyspaces(node, "a", "b")
        session.set_keyspace("a")
        rows = session.execute(TEXT)
        session.set_keyspace("b")
        assert [row.v for row in rows] == ["a", "a"]


@pytest.mark.parametrize("version", [4, 5])
def test_a_retry_stays_in_its_keyspace(version: int) -> None:
    class Weaker(RetryPolicy):
        def on_read_timeout(self, *args: Any, **kwargs: Any) -> Any:
            session.keyspace = "b"
            return self.RETRY, 1

    with FakeNode() as node, cluster_of(node, protocol_version=version, default_retry_policy=Weaker()) as cluster:
        node.on(TEXT, in_its_keyspace)
        session = cluster.connect()
        have_keyspaces(node, "a", "b")
        session.set_keyspace("b")
        session.set_keyspace("a")
        node.on(TEXT, Error(ErrorCode.READ_TIMEOUT), times=1)
        assert session.execute(TEXT).one().v == "a"


@pytest.mark.parametrize("version", [4, 5])
def test_a_statement_belongs_to_the_keyspace_it_was_prepared_in(version: int) -> None:
    with FakeNode() as node, cluster_of(node, protocol_version=version) as cluster:
        node.prepare(TEXT, [], [("v", "text")])
        session = cluster.connect()
        have_keyspaces(node, "a", "b")
        session.set_keyspace("b")
        session.set_keyspace("a")
        node.on(Opcode.PREPARE, lambda request, _: node.statements.prepare(request, node._sample).after(0.05))
        preparing = gevent.spawn(session.prepare, TEXT)
        node.wait_for(lambda n: n.count(Opcode.PREPARE))
        session.set_keyspace("b")
        assert preparing.get().keyspace == "a"


def test_a_prepare_that_is_retried_is_still_a_prepare(node: FakeNode) -> None:
    class Again(RetryPolicy):
        def on_request_error(self, query: Any, consistency: int, error: Any, retry_num: int) -> Any:
            return self.RETRY, consistency

    text = "INSERT INTO t (k) VALUES (1)"
    with cluster_of(node, default_retry_policy=Again()) as cluster:
        session = cluster.connect()
        node.on(Opcode.PREPARE, Error(ErrorCode.OVERLOADED), times=1)
        assert session.prepare(text).query_string == text
    assert node.count(Opcode.PREPARE) == 2
    assert not node.queries, "it was executed"


class Address:
    def __init__(self, street: str) -> None:
        self.street = street


@pytest.mark.parametrize("version", [4, 5])
def test_registered_classes_after_preparing_again(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "SELECT home FROM t WHERE k = ?"
    with FakeNode() as node, cluster_of(node, protocol_version=version) as cluster:
        address = udt("ks", "address", street="text")
        node.on(text, rows=[("home", address)], data=[(("here",),)], binds=[("k", "int")], pk_indexes=[0])
        session = cluster.connect()
        monkeypatch.setattr(cluster._control, "user_type_fields", lambda *names: ["street"])
        cluster.register_user_type("ks", "address", Address)
        prepared = session.prepare(text)
        for _ in range(2):
            assert isinstance(session.execute(prepared, (1,)).one().home, Address)
            assert isinstance(session.execute(prepared, (1,)).one().home, Address)
            node.unprepare_all()
