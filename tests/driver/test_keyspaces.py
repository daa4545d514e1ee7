"""Keyspaces: no connection that others use is ever told USE, and nobody reads another Session's tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventcql.errors import ConnectionShutdown, InvalidRequest, NoHostAvailable, UnsupportedOperation
from geventcql.keyspaces import used
from geventcql.policies import ConstantReconnectionPolicy
from geventcql.query import BatchStatement, SimpleStatement
from geventcql.session import Session
from tests.driver.support import cluster_of, eventually, pooled, settled
from tests.support.fakenode import Close, Error, ErrorCode, FakeNode, Opcode, Request, Rows, SetKeyspace, Void
from tests.support.logs import UNREACHABLE
from tests.support.replies import statement_id

pytestmark = pytest.mark.logs(UNREACHABLE)

WHERE = "SELECT name FROM here"
NAMES = ("alpha", "beta", "Quoted")


def in_its_keyspace(request: Request, connection: Any) -> Rows:
    """A row that tells in which keyspace the statement was read."""
    name = request.effective_keyspace
    if request.id is not None:  # a prepared one: in which it was prepared
        [name] = [n for n in (None, *NAMES, "mine") if statement_id(WHERE, n) == request.id]
    return Rows([("name", "text")], [(name,)])


def exists(request: Request, connection: Any) -> Rows:
    found = [(name,) for name in NAMES if f"'{name}'" in (request.text or "")]
    return Rows([("keyspace_name", "text")], found)


@pytest.fixture(params=[3, 4, 5])
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with FakeNode(versions=[request.param]) as started:
        started.on(lambda r: "keyspace_name =" in (r.text or ""), exists)
        started.on(WHERE, in_its_keyspace)
        yield started


@pytest.mark.parametrize(
    ("text", "keyspace"),
    [
        ("USE ks", "ks"),
        ("  use KS ;", "ks"),
        ('Use "KS"', "KS"),
        ('USE "a""b"', 'a"b'),
        ("-- hello\nUSE /* here */ ks", "ks"),
        ("/* a\nb */ use\tks;\n", "ks"),
        ("USE ks /* there */", "ks"),
        ("USE ks -- there\n;// here\n", "ks"),
        ('USE"KS"', "KS"),
        ("/* USE ks */ SELECT 1 /* USE ks */", None),
        ("/* many */ " * 50 + "/*/ comments **/ USE ks", "ks"),
        ("/* many */ " * 50 + "SELECT 1", None),
        ("SELECT 1", None),
        ("USE", None),
        ("USER x", None),
        ("INSERT INTO t (v) VALUES ('USE ks')", None),
        ("", None),
    ],
)
def test_what_is_a_use_statement(text: str, keyspace: str | None) -> None:
    assert used(text) == keyspace
    assert used(SimpleStatement(text)) == keyspace


def test_no_statement_but_text_can_be_one() -> None:
    assert used(BatchStatement()) is None and used(7) is None


def test_it_cannot_be_prepared(node: FakeNode) -> None:
    """Executed, it would be sent on a connection that others use."""
    with cluster_of(node) as cluster:
        session = cluster.connect()
        with pytest.raises(UnsupportedOperation, match="set_keyspace"):
            session.prepare("USE alpha")
    assert not [request for request in node.requests if request.opcode == Opcode.PREPARE]


@pytest.mark.parametrize("way", ["connect", "set_keyspace", "execute", "simple statement", "execute_async", "quoted"])
def test_every_way_to_enter_a_keyspace(node: FakeNode, way: str) -> None:
    with cluster_of(node) as cluster:
        session = cluster.connect("alpha" if way == "connect" else None)
        if way == "set_keyspace":
            session.set_keyspace("alpha")
        elif way == "execute":
            assert session.execute("USE alpha").all() == []
        elif way == "simple statement":
            session.execute(SimpleStatement("use Alpha;"))
        elif way == "execute_async":
            assert session.execute_async("USE alpha").result().one() is None
        elif way == "quoted":
            session.execute('USE "Quoted"')
        expected = "Quoted" if way == "quoted" else "alpha"
        assert session.keyspace == expected
        assert session.execute(WHERE).one().name == expected
        assert session.execute(session.prepare(WHERE)).one().name == expected
        for request in node.requests:
            if (request.text or "").upper().startswith("USE"):  # below v5: on a connection that is for that keyspace only
                assert request.version < 5 and request.connection is not None
                assert request.connection.requests.index(request) == len(
                    [r for r in request.connection.requests if r.opcode.name in ("OPTIONS", "STARTUP")]
                )


@pytest.mark.parametrize("name", ["gone", "a'b", 'x"; DROP KEYSPACE y', ""])
def test_a_keyspace_that_is_not_there(node: FakeNode, name: str) -> None:
    with cluster_of(node) as cluster:
        with pytest.raises(NoHostAvailable, match="does not exist"):
            cluster.connect(name or "nothing")
        session = cluster.connect("alpha")
        with pytest.raises(InvalidRequest):
            session.set_keyspace(name)
        with pytest.raises(InvalidRequest):
            session.execute("USE gone")
        with pytest.raises(InvalidRequest):
            session.execute_async("USE gone").result()
        assert session.keyspace == "alpha" and session.execute(WHERE).one().name == "alpha"
        assert not [r for r in node.requests if "DROP" in (r.text or "") and "keyspace_name =" not in (r.text or "")]


def test_two_sessions_in_two_keyspaces(node: FakeNode) -> None:
    """The same table name in both, over shared pools, while connections break: nobody ever reads the other's."""
    with cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(0.01)) as cluster:
        sessions = {name: cluster.connect(name) for name in ("alpha", "beta")}
        prepared = {name: session.prepare(WHERE) for name, session in sessions.items()}
        for statement in prepared.values():
            statement.is_idempotent = True
        seen = {"alpha": 0, "beta": 0}
        stop = False

        def ask(name: str) -> None:
            session = sessions[name]
            while not stop:
                for made in (prepared[name], SimpleStatement(WHERE, is_idempotent=True)):
                    try:
                        assert session.execute(made).one().name == name
                    except NoHostAvailable:  # at once, for a moment: yet this loop must not keep the driver from reconnecting
                        continue
                    seen[name] += 1

        asking = [gevent.spawn(ask, name) for name in sessions for _ in range(8)]
        for _ in range(15):
            gevent.sleep(0.02)
            for connection in list(node.connections)[-1:]:
                connection.close()
        eventually(lambda: min(seen.values()) > 50)
        stop = True
        gevent.joinall(asking, raise_error=True)
        eventually(lambda: all(_answers(session) for session in sessions.values()))
        # a prepared statement belongs to the keyspace it was prepared in, whoever executes it, also when it was forgotten
        node.unprepare_all()
        assert sessions["beta"].execute(prepared["alpha"]).one().name == "alpha"
        assert sessions["alpha"].execute(prepared["beta"]).one().name == "beta"


def test_batches_are_in_the_sessions_keyspace(node: FakeNode) -> None:
    with cluster_of(node) as cluster:
        for name in ("alpha", "beta"):
            session = cluster.connect(name)
            session.execute(BatchStatement().add("INSERT INTO here (k) VALUES (1)"))
            assert node.queries[-1].effective_keyspace == name


def test_one_session_changes_its_keyspace(node: FakeNode) -> None:
    with cluster_of(node) as cluster:
        session = cluster.connect()
        other = cluster.connect()
        for name in ("alpha", "beta", "alpha", "beta"):
            session.set_keyspace(name)
            assert session.execute(WHERE).one().name == name
        assert other.keyspace is None and other.execute(WHERE).one().name is None


def test_a_keyspace_is_asked_for_below_v5_while_the_host_is_away(node: FakeNode) -> None:
    """An error soon, and all is well when the host is back."""
    with cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(0.05)) as cluster:
        session = cluster.connect()
        node.refuse()
        node.drop_connections()
        with gevent.Timeout(2), pytest.raises(NoHostAvailable):
            session.set_keyspace("alpha")
        node.listen()
        eventually(lambda: pooled(session))
        eventually(lambda: _enters(session, "alpha"))
        assert session.execute(WHERE).one().name == "alpha"


def _answers(session: Session) -> bool:
    try:
        return session.execute(WHERE) is not None
    except (NoHostAvailable, ConnectionShutdown):
        return False


def _enters(session: Session, name: str) -> bool:
    try:
        session.set_keyspace(name)
    except NoHostAvailable:
        return False
    return True


def test_a_host_away_for_long_does_not_hold_up_a_new_keyspace(node: FakeNode) -> None:
    """The pause before the next attempt is for reconnecting, not for those who ask now."""
    if node.versions[0] >= 5:
        pytest.skip("there are no connections for keyspaces on v5")
    with cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(600)) as cluster:
        session = cluster.connect()
        node.refuse()
        for connection in list(node.connections):
            if not [r for r in connection.requests if "system" in (r.text or "")]:
                connection.close()  # all but the control connection
        eventually(lambda: not pooled(session))
        gevent.sleep(0.02)
        node.listen()
        with gevent.Timeout(3):
            session.set_keyspace("alpha")
            assert session.execute(WHERE).one().name == "alpha"


def test_an_unexpected_set_keyspace_answer_costs_the_connection(node: FakeNode) -> None:
    node.on("SELECT sly", SetKeyspace("beta"))
    with cluster_of(node) as cluster:
        session = cluster.connect()
        before = pooled(session)
        session.execute("SELECT sly")
        for _ in range(5):
            assert session.execute(WHERE).one().name is None
        assert not set(before) & set(pooled(session))
        eventually(lambda: settled(session))


def test_use_on_a_new_connection_fails(node: FakeNode) -> None:
    if node.versions[0] >= 5:
        pytest.skip("no USE is sent on v5")
    for answer in (Error(ErrorCode.UNAUTHORIZED, "not you"), Void(), Close()):
        rule = node.on("USE alpha", answer)
        with cluster_of(node) as cluster:
            session = cluster.connect()
            with pytest.raises(NoHostAvailable) as raised:
                session.set_keyspace("alpha")
            assert raised.value.errors
            assert session.keyspace is None and session.execute(WHERE).one().name is None
        rule.remove()


def test_a_new_keyspace_can_be_entered_and_a_dropped_one_not(node: FakeNode) -> None:
    there = {"mine"}
    node.on(
        lambda r: "keyspace_name = 'mine'" in (r.text or ""),
        lambda r, c: Rows([("keyspace_name", "text")], [(name,) for name in there]),
    )
    with cluster_of(node) as cluster:
        session = cluster.connect()
        session.execute("CREATE KEYSPACE mine WITH replication = {}")
        session.set_keyspace("mine")
        assert session.execute(WHERE).one().name == "mine"
        there.clear()
        session.execute("DROP KEYSPACE mine")
        with pytest.raises(NoHostAvailable):
            cluster.connect("mine")
        with pytest.raises(InvalidRequest):
            session.set_keyspace("mine")


def test_the_state_of_all_pools_of_a_host(node: FakeNode) -> None:
    node.on("SELECT slow")
    with cluster_of(node) as cluster:
        without, within = cluster.connect(), cluster.connect("alpha")
        future = without.execute_async("SELECT slow")
        [state] = within.get_pool_state().values()
        assert state["open_count"] == len(state["in_flights"]) == len(within.get_pools())
        assert sum(state["in_flights"]) == 1 and state["last_error"] is None and not state["shutdown"]
        future._execution.cancel()
        [state] = within.get_pool_state().values()
        assert sum(state["orphan_requests"]) == 1 and len(state["orphan_requests"]) == len(state["unsent_bytes"])


def test_pools_of_keyspaces_that_nobody_is_in_are_closed(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    if node.versions[0] >= 5:
        pytest.skip("there are no connections for keyspaces on v5")
    monkeypatch.setattr("geventcql.supervisor.IDLE", 0.02)
    gate = gevent.event.Event()
    node.on("SELECT slow", Rows([("v", "int")], [(1,)]).when(gate))
    with cluster_of(node) as cluster:
        session = cluster.connect("alpha")
        in_alpha = session.prepare(WHERE)
        other = cluster.connect("beta")
        eventually(lambda: len(node.connections) == 4)
        session.set_keyspace("Quoted")
        eventually(lambda: {pool.keyspace for pool in session.get_pools()} == {None, "beta", "Quoted"})
        eventually(lambda: len(node.connections) == 4)
        slow = other.execute_async("SELECT slow")
        [beta] = [pool for pool in session.get_pools() if pool.keyspace == "beta"]
        other.set_keyspace("Quoted")
        gevent.sleep(0.1)
        assert not beta.is_shutdown, "it is kept for the request"
        gate.set()
        assert slow.result().one().v == 1
        eventually(lambda: {pool.keyspace for pool in session.get_pools()} == {None, "Quoted"})
        assert session.execute(in_alpha).one().name == "alpha"  # opened again for it
        assert session.execute(WHERE).one().name == "Quoted"
        other.keyspace = session.keyspace = None
        eventually(lambda: {pool.keyspace for pool in session.get_pools()} == {None})
        gevent.sleep(0.1)
        assert session.execute(WHERE).one().name is None


def test_a_keyspace_that_somebody_else_has_dropped(node: FakeNode) -> None:
    there = {"mine"}
    node.on(
        lambda r: "keyspace_name = 'mine'" in (r.text or ""),
        lambda r, c: Rows([("keyspace_name", "text")], [(name,) for name in there]),
    )
    with cluster_of(node) as cluster:
        session = cluster.connect("mine")
        session.set_keyspace("alpha")
        there.clear()
        with pytest.raises(InvalidRequest):
            session.set_keyspace("mine")
        with pytest.raises(NoHostAvailable):
            cluster.connect("mine")
        assert session.keyspace == "alpha"


@pytest.mark.logs("WARNING the schema could not be looked at after")
def test_ddl_succeeds_though_the_keyspaces_cannot_be_read_again(node: FakeNode) -> None:
    with cluster_of(node, control_connection_timeout=0.05) as cluster:
        session = cluster.connect()
        node.on("SELECT keyspace_name, durable_writes, replication FROM system_schema.keyspaces")
        assert session.execute("CREATE KEYSPACE mine WITH replication = {}").all() == []


def test_a_pool_that_is_used_is_kept(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    if node.versions[0] >= 5:
        pytest.skip("there are no connections for keyspaces on v5")
    monkeypatch.setattr("geventcql.supervisor.IDLE", 0.05)
    with cluster_of(node) as cluster:
        session = cluster.connect("alpha")
        in_alpha = session.prepare(WHERE)
        [pool] = [pool for pool in session.get_pools() if pool.keyspace == "alpha"]
        session.keyspace = None
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert session.execute(in_alpha).one().name == "alpha"
            gevent.sleep(0.005)
        assert pool in session.get_pools()
        eventually(lambda: pool.is_shutdown)
