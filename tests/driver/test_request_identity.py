"""What a request was begun with holds to its end: its keyspace, its kind, the classes of its values, and its stream id."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from geventcql.errors import OperationTimedOut
from geventcql.policies import RetryPolicy
from tests.driver.support import BY_KEY, cluster_of, eventually, have_keyspaces, own_key, pooled, serve_keys, settled
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Request, Rows, udt

TEXT = "SELECT v FROM t"
ALL_IDS = 32768


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


@pytest.mark.slow
def test_late_replies_while_all_stream_ids_cycle(node: FakeNode) -> None:
    """One in forty comes when its request has been given up, while all other ids are used anew (pitfall B1)."""
    node.record = False
    gates = [gevent.event.Event() for _ in range(3)]

    def answer(request: Request, connection: Any) -> Any:
        key = request.params[0]
        return own_key(request).when(gates[key // ALL_IDS]) if key % 40 == 0 else own_key(request)

    serve_keys(node, answer)
    with cluster_of(node, max_requests_in_flight=ALL_IDS) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        [connection] = pooled(session)
        for turn in range(3):
            keys = range(turn * ALL_IDS, (turn + 1) * ALL_IDS)
            futures = {key: session.execute_async(prepared, (key,), timeout=0.1 if key % 40 == 0 else 60) for key in keys}
            if turn:
                gates[turn - 1].set()
            for key, future in futures.items():
                if key % 40 == 0:
                    with pytest.raises(OperationTimedOut):
                        future.result()
                else:
                    assert future.result().one().k == key
            assert len(futures) == ALL_IDS
        gates[-1].set()
        eventually(lambda: settled(session))
        assert pooled(session) == [connection] and connection.table.late_replies > 2000
        connection.check_invariants()
