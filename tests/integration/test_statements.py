"""Statements of every kind on a real Cassandra, over every protocol version; errors by cassandra-driver's classes."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from geventcql import ConsistencyLevel
from geventcql.concurrent import execute_concurrent_with_args
from geventcql.errors import InvalidRequest, NoHostAvailable, Unavailable, UnsupportedOperation
from geventcql.policies import FallthroughRetryPolicy
from geventcql.query import (
    BatchStatement,
    BatchType,
    SimpleStatement,
    ValueSequence,
    dict_factory,
    ordered_dict_factory,
    tuple_factory,
)
from geventcql.session import Session
from tests.integration.peer import Peer, PeerError
from tests.integration.support import DDL_TIMEOUT, connect

pytest_plugins = "tests.integration.fixtures"

ROWS = 5000


@pytest.fixture(scope="module", autouse=True)
def tables(sessions: dict[int, Session], ks: str) -> None:
    """`kv`, `hits` (a counter), `wide` (one partition of ROWS rows), and functions, one of which always fails."""
    ddl = sessions[5].cluster.connect(ks)
    for text in (
        "CREATE TABLE kv (k text PRIMARY KEY, v int, w text)",
        "CREATE TABLE hits (k text PRIMARY KEY, n counter)",
        "CREATE TABLE wide (k int, c int, v text, PRIMARY KEY (k, c))",
        "CREATE FUNCTION fails (i int) RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE java "
        "AS 'if (i > 0) throw new RuntimeException(\"no\"); return i;'",
    ):
        ddl.execute(text, timeout=DDL_TIMEOUT)
    insert = ddl.prepare("INSERT INTO wide (k, c, v) VALUES (1, ?, ?)")
    execute_concurrent_with_args(ddl, insert, ((c, f"row {c}") for c in range(ROWS)), concurrency=200)
    ddl.shutdown()


# -- simple, prepared, bound ------------------------------------------------------------------------------------------


def test_parameters(own: Session) -> None:
    key = f"p{own.cluster.protocol_version}"
    own.execute("INSERT INTO kv (k, v, w) VALUES (%s, %s, %s)", (key, 1, "it's 100%"))
    own.execute("INSERT INTO kv (k, v, w) VALUES (%(k)s, %(v)s, %(w)s)", {"k": key + "b", "w": None, "v": 2, "x": 0})
    prepared = own.prepare("SELECT k, v, w FROM kv WHERE k = ?")
    named = own.prepare("SELECT k, v, w FROM kv WHERE k = :key")
    assert own.execute(prepared, [key]).one() == (key, 1, "it's 100%")
    assert own.execute(named, {"key": key + "b"}).one() == (key + "b", 2, None)
    assert own.execute(prepared.bind([key])).one().w == "it's 100%"
    assert own.execute("SELECT v FROM kv WHERE k IN %s", [ValueSequence([key, key + "b"])]).all() == [(1,), (2,)]
    assert own.execute("SELECT v FROM kv WHERE k = %s AND w = 'it''s 100%%' ALLOW FILTERING", [key]).one() == (1,)
    assert own.execute(prepared, ["not there"]).one() is None


def test_row_factories(own: Session) -> None:
    own.execute("INSERT INTO kv (k, v) VALUES ('factory', 1)")
    query = "SELECT k, v, ttl(v) FROM kv WHERE k = 'factory'"
    seen: list[Any] = []

    def custom(names: list[str], rows: list[Any]) -> list[Any]:
        seen.append(list(names))
        return [(len(row), row[0]) for row in rows]

    expected = {tuple_factory: ("factory", 1, None), dict_factory: {"k": "factory", "v": 1, "ttl(v)": None}}
    for factory, row in {**expected, ordered_dict_factory: expected[dict_factory], custom: (3, "factory")}.items():
        own.row_factory = factory
        assert own.execute(query).one() == row
        assert own.execute(own.prepare(query)).all() == [row]
    assert seen == [["k", "v", "ttl(v)"]] * len(seen) and seen


def test_callbacks_and_futures(own: Session) -> None:
    own.execute("INSERT INTO kv (k, v) VALUES ('future', 1)")
    seen: list[Any] = []
    futures = [own.execute_async("SELECT v FROM kv WHERE k = 'future'") for _ in range(20)]
    for future in futures:
        future.add_callback(seen.append)
    gevent.wait(futures)
    assert [future.get().one() for future in futures] == [(1,)] * 20
    for _ in range(100):
        if len(seen) == 20:
            break
        gevent.sleep(0.01)
    assert seen == [[(1,)]] * 20


def test_concurrent(own: Session) -> None:
    key = f"concurrent{own.cluster.protocol_version} "
    insert = own.prepare("INSERT INTO kv (k, v) VALUES (?, ?)")
    results = own.execute_concurrent_with_args(insert, [(key + str(i), i) for i in range(300)], concurrency=50)
    assert len(results) == 300 and all(result.success for result in results)
    select = own.prepare("SELECT v FROM kv WHERE k = ?")
    parameters = ((key + str(i),) for i in range(300))
    assert [rows.one().v for rows in own.imap(select, parameters, concurrency=40)] == list(range(300))


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [BatchType.LOGGED, BatchType.UNLOGGED], ids=str)
def test_batches(own: Session, kind: BatchType) -> None:
    key = f"batch{own.cluster.protocol_version}{kind}"
    insert = own.prepare("INSERT INTO kv (k, v) VALUES (?, ?)")
    batch = BatchStatement(kind)
    batch.add(insert, (key + "a", 1))
    batch.add(insert.bind((key + "b", 2)))
    batch.add("INSERT INTO kv (k, v) VALUES (%s, %s)", (key + "c", 3))
    batch.add(SimpleStatement("INSERT INTO kv (k, v, w) VALUES (%(k)s, 4, %(w)s)"), {"k": key + "d", "w": "?"})
    assert own.execute(batch).all() == []
    rows = [own.execute("SELECT v, w FROM kv WHERE k = %s", [key + letter]).one() for letter in "abcd"]
    assert rows == [(1, None), (2, None), (3, None), (4, "?")]


def test_counter_batch(own: Session) -> None:
    key = f"c{own.cluster.protocol_version}"
    add = own.prepare("UPDATE hits SET n = n + ? WHERE k = ?")
    batch = BatchStatement(BatchType.COUNTER)
    batch.add_all([add] * 3, [(1, key), (2, key), (3, key)])
    own.execute(batch)
    assert own.execute("SELECT n FROM hits WHERE k = %s", [key]).one().n == 6


def test_large_batch(own: Session) -> None:
    """Many statements of one partition, in several segments on v5."""
    insert = own.prepare("INSERT INTO wide (k, c, v) VALUES (?, ?, ?)")
    k = 100 + own.cluster.protocol_version
    batch = BatchStatement(BatchType.UNLOGGED)
    for c in range(400):
        batch.add(insert, (k, c, "x" * 100))
    own.execute(batch)
    assert own.execute("SELECT count(*) FROM wide WHERE k = %s", [k]).one() == (400,)


# -- conditions and consistency ---------------------------------------------------------------------------------------


def test_conditions(own: Session) -> None:
    key = f"lwt{own.cluster.protocol_version}"
    insert = own.prepare("INSERT INTO kv (k, v, w) VALUES (?, ?, ?) IF NOT EXISTS")
    first = own.execute(insert, (key, 1, "x"))
    assert first.was_applied and first.one() == (True,)
    second = own.execute(insert, (key, 2, "y"))
    assert not second.was_applied
    assert second.one()._asdict() == {"applied": False, "k": key, "v": 1, "w": "x"}
    # Each outcome has other columns than the prepared statement was told.
    update = own.prepare("UPDATE kv SET v = ? WHERE k = ? IF v = ?")
    outcomes = [own.execute(update, values) for values in ((5, key, 9), (5, key, 1), (6, key, 1))]
    assert [outcome.was_applied for outcome in outcomes] == [False, True, False]
    assert [tuple(outcome.one()) for outcome in outcomes] == [(False, 1), (True,), (False, 5)]
    assert not own.execute("UPDATE kv SET v = 1 WHERE k = 'nobody' IF EXISTS").was_applied


def test_conditional_batch(own: Session) -> None:
    k = 200 + own.cluster.protocol_version
    insert = own.prepare("INSERT INTO wide (k, c, v) VALUES (?, ?, ?) IF NOT EXISTS")
    outcomes = []
    for _ in range(2):
        batch = BatchStatement()
        batch.add(insert, (k, 1, "a"))
        batch.add(insert, (k, 2, "b"))
        outcomes.append(own.execute(batch))
    assert [outcome.was_applied for outcome in outcomes] == [True, False]
    assert [tuple(row) for row in outcomes[1]] == [(False, k, 1, "a"), (False, k, 2, "b")]


def test_row_factories_of_conditions(own: Session) -> None:
    own.row_factory = dict_factory
    assert own.execute("INSERT INTO kv (k) VALUES (%s) IF NOT EXISTS", [f"d{own.cluster.protocol_version}"]).was_applied
    own.row_factory = tuple_factory
    assert not own.execute("UPDATE kv SET v = 1 WHERE k = 'nobody' IF EXISTS").was_applied


@pytest.mark.parametrize("level", ["ONE", "QUORUM", "ALL", "LOCAL_QUORUM", "LOCAL_ONE", "ANY"])
def test_consistency(own: Session, level: str) -> None:
    """One node satisfies these; the trace tells the level that it was asked for."""
    value = getattr(ConsistencyLevel, level)
    statement = SimpleStatement("INSERT INTO kv (k) VALUES ('level')", consistency_level=value)
    trace = own.execute(statement, trace=True).get_query_trace()
    assert trace.parameters["consistency_level"] == level


def test_serial_consistency(own: Session) -> None:
    prepared = own.prepare("UPDATE kv SET v = 1 WHERE k = 'serial' IF EXISTS")
    prepared.serial_consistency_level = ConsistencyLevel.LOCAL_SERIAL
    trace = own.execute(prepared, trace=True).get_query_trace()
    assert trace.parameters["serial_consistency_level"] == "LOCAL_SERIAL"
    reading = SimpleStatement("SELECT v FROM kv WHERE k = 'serial'", consistency_level=ConsistencyLevel.SERIAL)
    assert own.execute(reading).one() is None


def test_client_timestamps(own: Session) -> None:
    version = own.cluster.protocol_version
    written = "SELECT writetime(v) AS w FROM kv WHERE k = %s"
    insert = own.prepare("INSERT INTO kv (k, v) VALUES (?, 1)")
    now = 1_000_000 * version
    own.timestamp_generator = lambda: now
    batch = BatchStatement()
    batch.add(insert, [f"t{version}c"])
    own.execute(insert, [f"t{version}a"])
    own.execute("INSERT INTO kv (k, v) VALUES (%s, 1)", [f"t{version}b"])
    own.execute(batch)
    assert [own.execute(written, [f"t{version}{letter}"]).one().w for letter in "abc"] == [now] * 3
    now = 1  # an older write loses
    own.execute("INSERT INTO kv (k, v) VALUES (%s, 99)", [f"t{version}a"])
    assert own.execute("SELECT v FROM kv WHERE k = %s", [f"t{version}a"]).one().v == 1
    own.execute("INSERT INTO kv (k, v) VALUES (%s, 1) USING TIMESTAMP 77", [f"t{version}d"])
    own.use_client_timestamp = False
    own.execute(insert, [f"t{version}e"])
    assert own.execute(written, [f"t{version}d"]).one().w == 77
    assert own.execute(written, [f"t{version}e"]).one().w > 10**15


# -- tracing, warnings, payloads --------------------------------------------------------------------------------------


def test_tracing(own: Session) -> None:
    result = own.execute(own.prepare("SELECT * FROM kv WHERE k = ?"), ["trace"], trace=True)
    trace = result.get_query_trace()
    assert trace.request_type == "Execute CQL3 prepared query" and trace.duration.total_seconds() > 0
    assert trace.coordinator and trace.started_at.year >= 2026
    assert [event for event in trace.events if "kv" in event.description]
    assert result.response_future.get_query_trace_ids() == [trace.trace_id]
    assert own.execute("SELECT * FROM kv WHERE k = 'trace'").get_query_trace() is None


def test_tracing_of_pages(own: Session) -> None:
    statement = SimpleStatement("SELECT c FROM wide WHERE k = 1 LIMIT 5", fetch_size=2)
    result = own.execute(statement, trace=True)
    assert len(list(result)) == 5
    traces = result.get_all_query_traces()
    assert len({trace.trace_id for trace in traces}) == 3


def test_warnings(own: Session, caplog: pytest.LogCaptureFixture) -> None:
    if own.cluster.protocol_version == 3:
        future = own.execute_async("SELECT count(*) FROM kv")
        assert future.warnings is None  # protocol v3 has none
        return
    insert = own.prepare("INSERT INTO kv (k, v) VALUES (?, 1)")
    batch = BatchStatement(BatchType.UNLOGGED)
    for i in range(30):
        batch.add(insert, [f"warning {i}"])
    with caplog.at_level(logging.WARNING, "geventcql"):
        (text,) = own.execute_async(batch).warnings
        assert "Unlogged batch covering 30 partitions" in text
        (text,) = own.execute_async("SELECT count(*) FROM kv").warnings
        assert "Aggregation query used without partition key" in text
        gevent.sleep(0.05)
    assert sum("Server warning" in record.getMessage() for record in caplog.records) == 2
    assert own.execute_async("SELECT count(*) FROM wide WHERE k = 1").warnings is None


def test_custom_payload_does_no_harm(own: Session) -> None:
    payload = {"key": b"value", "empty": b"", "nothing": None}
    if own.cluster.protocol_version == 3:
        with pytest.raises(UnsupportedOperation, match="payload"):
            own.execute("SELECT * FROM kv WHERE k = 'x'", custom_payload=payload)
        return
    prepared = own.prepare("SELECT v FROM kv WHERE k = ?", custom_payload=payload)
    batch = BatchStatement(custom_payload=payload)
    batch.add("INSERT INTO kv (k, v) VALUES ('payload', 3)")
    own.execute(batch)
    assert own.execute("SELECT v FROM kv WHERE k = 'payload'", custom_payload=payload).one() == (3,)
    assert own.execute(prepared, ["payload"]).one() == (3,)
    assert own.execute_async(prepared, ["payload"]).custom_payload is None


# -- paging -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page_size", "limit"), [(1, 300), (7, 1000), (100, 5000), (2500, 5000), (4999, 5000), (None, 5000)])
def test_page_sizes(own: Session, page_size: int | None, limit: int) -> None:
    query = f"SELECT c, v FROM wide WHERE k = 1 LIMIT {limit}"
    expected = [(c, f"row {c}") for c in range(limit)]
    assert list(own.execute(SimpleStatement(query, fetch_size=page_size))) == expected
    prepared = own.prepare(query)
    prepared.fetch_size = page_size
    result = own.execute(prepared)
    assert len(result.current_rows) == (page_size or limit)
    assert result.has_more_pages == (page_size is not None)
    assert result.all() == expected


def test_pages_that_fill_exactly(own: Session) -> None:
    """Behind a page that is full at the very end the server says there is another, which is empty."""
    result = own.execute(SimpleStatement("SELECT c FROM wide WHERE k = 1", fetch_size=ROWS // 2))
    sizes = [len(result.current_rows)]
    while result.has_more_pages:
        result.fetch_next_page()
        sizes.append(len(result.current_rows))
    assert sizes[:2] == [ROWS // 2] * 2 and sum(sizes) == ROWS
    assert len(list(own.execute(SimpleStatement("SELECT c FROM wide WHERE k = 1", fetch_size=ROWS // 2)))) == ROWS


def test_pages_of_a_filtered_scan(own: Session) -> None:
    query = "SELECT c FROM wide WHERE v = 'row 4321' ALLOW FILTERING"
    for page_size in (1, 10):
        assert list(own.execute(SimpleStatement(query, fetch_size=page_size))) == [(4321,)]
        assert list(own.execute(SimpleStatement(query.replace("4321", "none"), fetch_size=page_size))) == []
    grouped = SimpleStatement("SELECT k, count(*) FROM wide WHERE c < 50 GROUP BY k ALLOW FILTERING", fetch_size=1)
    assert (1, 50) in list(own.execute(grouped))


def test_paging_state_goes_on_in_another_session(own: Session, ks: str) -> None:
    query = SimpleStatement("SELECT c FROM wide WHERE k = 1", fetch_size=1000)
    first = own.execute(query)
    rows, state = list(first.current_rows), first.paging_state
    with own.cluster.connect(ks) as other:
        result = other.execute(query, paging_state=state)
        rows += result.current_rows
        rows += other.execute(query, paging_state=result.paging_state).all()
    assert rows == [(c,) for c in range(ROWS)]
    with pytest.raises(Exception, match="paging state") as caught:
        own.execute(query, paging_state=b"nonsense")
    assert type(caught.value).__name__ in ("ProtocolException", "InvalidRequest")


def test_iterations_left_early(own: Session) -> None:
    statement = SimpleStatement("SELECT c FROM wide WHERE k = 1", fetch_size=10)
    for _ in range(50):
        for row in own.execute(statement):
            if row.c == 15:
                break
    assert own.execute(statement).one() == (0,)


# -- keyspaces --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def second_ks(sessions: dict[int, Session], ks: str) -> Any:
    """Another keyspace with tables of the same names, its name in need of quotes; each holds its own name."""
    name = f'"{ks}_Second"'
    ddl = sessions[5]
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    ddl.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}", timeout=DDL_TIMEOUT)
    for keyspace in (ks, name):
        ddl.execute(f"CREATE TABLE {keyspace}.whoami (id int PRIMARY KEY, name text)", timeout=DDL_TIMEOUT)
        ddl.execute(f"INSERT INTO {keyspace}.whoami (id, name) VALUES (1, %s)", [keyspace])
    for each in sessions.values():
        each.cluster.connect(name.strip('"')).shutdown()
    yield name
    ddl.execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)


WHOAMI = "SELECT name FROM whoami WHERE id = 1"


def test_use(own: Session, ks: str, second_ks: str) -> None:
    in_first = own.prepare(WHOAMI)
    assert own.execute(WHOAMI).one().name == own.execute(in_first).one().name == ks
    own.execute(f"USE {second_ks};")
    assert own.keyspace == second_ks.strip('"')
    in_second = own.prepare(WHOAMI)
    assert own.execute(WHOAMI).one().name == own.execute(in_second).one().name == second_ks
    assert own.execute(in_first).one().name == ks  # a statement belongs to where it was prepared
    own.set_keyspace(ks)
    assert own.execute(WHOAMI).one().name == ks
    assert own.execute(in_second).one().name == second_ks


def test_use_of_what_is_not_there(own: Session, ks: str, peer: Peer) -> None:
    for change in (lambda: own.execute("USE nowhere"), lambda: own.set_keyspace("nowhere")):
        with pytest.raises(InvalidRequest, match="Keyspace 'nowhere' does not exist"):
            change()
    with pytest.raises(NoHostAvailable, match="Keyspace 'nowhere' does not exist"):
        own.cluster.connect("nowhere")
    with pytest.raises(PeerError, match="Keyspace 'nowhere' does not exist") as theirs:
        peer.execute("USE nowhere")
    assert theirs.value.name == "InvalidRequest"
    assert own.keyspace == ks and own.execute("SELECT v FROM kv WHERE k = 'not there'").one() is None


def test_use_as_a_statement(own: Session, ks: str, second_ks: str) -> None:
    own.execute(SimpleStatement(f"-- there\nUSE {second_ks}"))
    assert own.execute(WHOAMI).one().name == second_ks
    own.execute_async(f"use {ks}").result()
    assert own.execute(WHOAMI).one().name == ks


def test_use_that_reaches_the_server(own: Session, cassandra: Any, ks: str, second_ks: str) -> None:
    """In a form that is not recognised it is sent; the connection that it went to is replaced, and nobody finds himself
    elsewhere.
    """
    with connect(cassandra, own.cluster.protocol_version) as cluster:
        session = cluster.connect(ks)
        with pytest.raises(UnsupportedOperation, match="USE"):
            session.prepare(f"USE {second_ks}")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("geventcql.keyspaces.used", lambda query: None)
            use = session.prepare(f"USE {second_ks}")
        for _ in range(3):
            session.execute(use)
            assert {session.execute(WHOAMI).one().name for _ in range(20)} == {ks}


def test_two_keyspaces_at_once(own: Session, ks: str, second_ks: str) -> None:
    with own.cluster.connect(second_ks.strip('"')) as other:
        sessions = {ks: own, second_ks: other}
        prepared = {name: each.prepare(WHOAMI) for name, each in sessions.items()}
        wrong: list[Any] = []

        def ask(name: str) -> None:
            for i in range(40):
                statement: Any = WHOAMI if i % 2 else prepared[name]
                answer = sessions[name].execute(statement).one().name
                if answer != name:
                    wrong.append((name, answer))

        gevent.joinall([gevent.spawn(ask, name) for name in list(sessions) * 10], raise_error=True)
        assert wrong == []


def test_keyspace_of_one_request(own: Session, ks: str, second_ks: str) -> None:
    plain = second_ks.strip('"')
    if own.cluster.protocol_version < 5:
        with pytest.raises(UnsupportedOperation, match="keyspace"):
            own.prepare(WHOAMI, keyspace=plain)
        return
    assert own.execute(SimpleStatement(WHOAMI, keyspace=plain)).one().name == second_ks
    assert own.execute(WHOAMI).one().name == ks
    assert own.execute(own.prepare(WHOAMI, keyspace=plain)).one().name == second_ks


# -- schema -----------------------------------------------------------------------------------------------------------


def test_ddl(own: Session) -> None:
    name = f"made{own.cluster.protocol_version}"
    for text in (
        f"CREATE TABLE {name} (id int PRIMARY KEY, a text)",
        f"CREATE INDEX ON {name} (a)",
        f"ALTER TABLE {name} ADD b int",
        f"INSERT INTO {name} (id, a, b) VALUES (1, 'x', 2)",
        f"TRUNCATE {name}",
        f"DROP TABLE {name}",
    ):
        assert own.execute(text, timeout=DDL_TIMEOUT).all() == []


def test_a_new_keyspace_is_known_at_once(own: Session) -> None:
    name = f"{own.keyspace}_made{own.cluster.protocol_version}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    own.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}", timeout=DDL_TIMEOUT)
    assert own.cluster.metadata.keyspaces[name].replication_strategy.replication_factor == 1
    assert own.cluster.metadata.get_replicas(name, b"key") == own.hosts
    own.execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)
    assert name not in own.cluster.metadata.keyspaces


# -- errors -----------------------------------------------------------------------------------------------------------

INTERNAL = ("ErrorMessageSub", "_MessageType")
ERRORS = {
    "SyntaxException": "SELEC * FROM kv",
    "InvalidRequest": "SELECT nothing FROM kv",
    "InvalidRequest ": "SELECT * FROM nowhere.kv",
    "InvalidRequest  ": "SELECT * FROM not_there",
    "InvalidRequest   ": "INSERT INTO kv (k, v) VALUES (1, 'x')",
    "AlreadyExists": "CREATE TABLE kv (k int PRIMARY KEY)",
    "AlreadyExists ": "CREATE KEYSPACE system_auth WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "ConfigurationErrorMessage": "CREATE KEYSPACE odd WITH replication = {'class': 'NoSuchStrategy'}",
    "FunctionFailure": "SELECT fails(c) FROM wide WHERE k = 1 LIMIT 3",
}


def same_as_theirs(error: BaseException, ask_peer: Callable[[], object]) -> None:
    """An application that catches cassandra-driver's error, or a base of it, catches ours once its imports are changed."""
    with pytest.raises(PeerError) as theirs:
        ask_peer()
    public = [name for name in theirs.value.names if name.startswith("cassandra.") and not name.endswith(INTERNAL)]
    assert public
    for module, _, name in (full.rpartition(".") for full in public):
        ours = getattr(importlib.import_module(module.replace("cassandra", "geventcql", 1)), name)
        assert isinstance(error, ours), (name, type(error))


@pytest.mark.parametrize("name", ERRORS)
def test_errors(own: Session, ks: str, peer: Peer, name: str) -> None:
    query = ERRORS[name]
    with pytest.raises(Exception) as caught:
        own.execute(query)
    assert caught.value.host == own.hosts[0] and caught.value.attempts == 1
    if name == "FunctionFailure" and own.cluster.protocol_version == 3:  # which has no such error
        assert type(caught.value) is InvalidRequest
    else:
        assert type(caught.value).__name__ == name.strip()
        peer.execute(f"USE {ks}")
        same_as_theirs(caught.value, lambda: peer.execute(query))
    future = own.execute_async(query)
    future.wait()
    assert type(future.exception) is type(caught.value)
    assert own.execute("SELECT v FROM kv WHERE k = 'still here'").one() is None


def test_errors_of_prepare(own: Session) -> None:
    with pytest.raises(Exception, match="nothing") as caught:
        own.prepare("SELECT nothing FROM kv")
    assert type(caught.value) is InvalidRequest


def test_details_of_errors(own: Session) -> None:
    with pytest.raises(Exception) as exists:
        own.execute("CREATE TABLE kv (k int PRIMARY KEY)")
    assert (exists.value.keyspace, exists.value.table) == (own.keyspace, "kv")
    if own.cluster.protocol_version >= 4:
        with pytest.raises(Exception) as failure:
            own.execute(ERRORS["FunctionFailure"])
        assert (failure.value.keyspace, failure.value.function, failure.value.arg_types) == (own.keyspace, "fails", ["int"])


@pytest.mark.parametrize("query", ["SELECT v FROM {ks}.kv WHERE k = 'x'", "INSERT INTO {ks}.kv (k) VALUES ('x')"])
def test_unavailable(own: Session, ks: str, peer: Peer, query: str) -> None:
    text = query.format(ks=ks)
    with pytest.raises(Exception) as caught:
        own.execute(SimpleStatement(text, consistency_level=ConsistencyLevel.THREE))
    error = caught.value
    assert type(error) is NoHostAvailable  # Unavailable is worth a try on another host, and there is none
    (answer,) = error.errors.values()
    told = (answer.consistency, answer.required_replicas, answer.alive_replicas)
    assert (type(answer), told) == (Unavailable, (ConsistencyLevel.THREE, 3, 1))
    statement = SimpleStatement(text, consistency_level=ConsistencyLevel.THREE, retry_policy=FallthroughRetryPolicy())
    with pytest.raises(Unavailable):
        own.execute(statement)
    same_as_theirs(error, lambda: peer.execute(text, consistency=ConsistencyLevel.THREE))
