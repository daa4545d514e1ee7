"""Prepared statements while the schema changes under them, and after the server has forgotten them."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from geventcql import util
from geventcql.errors import DriverException, InvalidRequest, NoHostAvailable, ReadFailure, ServerError, WriteFailure
from geventcql.policies import ConstantReconnectionPolicy
from geventcql.query import BatchStatement
from geventcql.session import Session
from geventcql.testing import CassandraCluster
from tests.integration.faults import SECONDS
from tests.integration.relays import Relays
from tests.integration.support import DDL_TIMEOUT, connect

pytest_plugins = "tests.integration.fixtures"

READERS = 50
ADDED = (("a", "int", "1"), ("b", "text", "'x'"), ("c", "list<int>", "[1]"), ("y", "double", "1.5"))


@pytest.fixture
def table(own: Session) -> str:
    """A table whose columns `m` and `t` are moved by every column that sorts before them."""
    name = f"t{uuid.uuid4().hex[:8]}"
    own.execute(f"CREATE TABLE {name} (k int PRIMARY KEY, m text, t timeuuid, z int)", timeout=DDL_TIMEOUT)
    insert = own.prepare(f"INSERT INTO {name} (k, m, t, z) VALUES (?, ?, ?, ?)")
    for k in range(10):
        own.execute(insert, (k, f"m{k}", util.LOWEST_TIME_UUID, -k))
    return name


class Readers:
    """Greenlets that execute `read` over and over and check each row.

    `errors`: what of them raised; `refused`: how often, by class, what they may.
    """

    def __init__(self, read: Callable[[int], None], allowed: tuple[type[BaseException], ...] = ()) -> None:
        self.reads = 0
        self.errors: list[BaseException] = []
        self.refused: Counter[str] = Counter()
        self._read = read
        self._allowed = allowed
        self._stop = False

    def __enter__(self) -> Readers:
        self._greenlets = [gevent.spawn(self._run, n) for n in range(READERS)]
        return self

    def _run(self, n: int) -> None:
        while not self._stop:
            try:
                self._read(n)
                self.reads += 1
            except self._allowed as error:
                self.refused[type(error).__name__] += 1
                gevent.sleep(0.01)
            except BaseException as error:
                self.errors.append(error)
                return

    def __exit__(self, *exc: object) -> None:
        self.more()  # what was last done has been seen
        self._stop = True
        gevent.joinall(self._greenlets)
        assert self.errors == []

    def more(self) -> None:
        """Wait until everybody may have read again."""
        target = self.reads + 2 * READERS
        while self.reads < target and not self.errors:
            gevent.sleep(0.01)


def test_columns_added_and_dropped(own: Session, table: str, cassandra: Any, ks: str) -> None:
    select = own.prepare(f"SELECT * FROM {table} WHERE k = ?")
    select.is_idempotent = True
    seen = set()

    def read(n: int) -> None:
        k = n % 10
        row = own.execute(select, [k]).one()
        values = row._asdict()
        assert (values.pop("k"), values.pop("m"), values.pop("t"), values.pop("z")) == (k, f"m{k}", util.LOWEST_TIME_UUID, -k)
        seen.update(values)
        for name, value in values.items():
            assert value is None or type(value) is {"a": int, "b": str, "c": list, "y": float}[name[0]], (name, value)

    # A node that finds its columns dropped under way fails such a read.
    with connect(cassandra, own.cluster.protocol_version) as cluster, Readers(read, (ReadFailure,)) as readers:
        other = cluster.connect(ks)
        for round_ in range(2):
            for name, cql_type, value in ADDED:
                column = f"{name}{round_}"
                other.execute(f"ALTER TABLE {table} ADD {column} {cql_type}", timeout=DDL_TIMEOUT)
                other.execute(f"UPDATE {table} SET {column} = {value} WHERE k = 1")
                other.prepare(f"SELECT * FROM {table} WHERE k = ?")
                readers.more()
            for name in "acb":
                other.execute(f"ALTER TABLE {table} DROP {name}{round_}", timeout=DDL_TIMEOUT)
                readers.more()
    assert {"a0", "b0", "c0", "y0", "a1", "b1", "c1", "y1"} <= seen
    assert list(own.execute(select, [1]).one()._fields) == ["k", "m", "t", "y0", "y1", "z"]


def test_user_types_that_grow(own: Session, table: str) -> None:
    udt = f"{table}_type"
    own.execute(f"CREATE TYPE {udt} (a int)", timeout=DDL_TIMEOUT)
    own.execute(f"ALTER TABLE {table} ADD u frozen<{udt}>", timeout=DDL_TIMEOUT)
    own.execute(f"UPDATE {table} SET u = {{a: 5}} WHERE k = 1")
    select = own.prepare(f"SELECT u, m FROM {table} WHERE k = 1")

    def read(n: int) -> None:
        row = own.execute(select).one()
        assert row.m == "m1" and row.u.a == 5 and set(row.u[1:]) <= {None}

    with Readers(read) as readers:
        for field, cql_type in (("b", "text"), ("c", "int")):
            own.execute(f"ALTER TYPE {udt} ADD {field} {cql_type}", timeout=DDL_TIMEOUT)
            readers.more()
        own.execute(f"ALTER TYPE {udt} RENAME b TO b2", timeout=DDL_TIMEOUT)
        readers.more()


def test_a_table_made_anew_with_other_types(own: Session, table: str) -> None:
    name = f"{table}_anew"
    create = f"CREATE TABLE {name} (k int PRIMARY KEY, a %s, b %s)"
    own.execute(create % ("int", "text"), timeout=DDL_TIMEOUT)
    own.execute(f"INSERT INTO {name} (k, a, b) VALUES (1, 7, 'seven')")
    select = own.prepare(f"SELECT * FROM {name} WHERE k = ?")
    select.is_idempotent = True

    def read(n: int) -> None:
        row = own.execute(select, [1]).one()
        assert row in (None, (1, 7, "seven"), (1, "seven", 7))

    # While there is no such table, the server says so, in one way or another: "Unknown CF" is a server error.
    with Readers(read, (InvalidRequest, NoHostAvailable, ServerError)) as readers:
        for types, values in ((("text", "int"), "'seven', 7"), (("int", "text"), "7, 'seven'")):
            own.execute(f"DROP TABLE {name}", timeout=DDL_TIMEOUT)
            own.execute(create % types, timeout=DDL_TIMEOUT)
            own.execute(f"INSERT INTO {name} (k, a, b) VALUES (1, {values})")
            readers.more()
            assert list(own.execute(select, [1]).one()) == [1, *([7, "seven"] if types[0] == "int" else ["seven", 7])]


class Gone(Exception):
    """There is no such table at this moment."""


class Reads:
    """What the greenlets of the next test do: prepared reads and conditional writes, some of whose rows are decoded late."""

    COLUMNS = {"a": int, "b": str, "c": list, "y": float}

    def __init__(self, session: Session, table: str, anew: str) -> None:
        self.seen: set[str] = set()
        self._session = session
        self._late: deque[tuple[Callable[[Any], None], int, Any]] = deque()
        self._select = session.prepare(f"SELECT * FROM {table} WHERE k = ?")
        self._insert = session.prepare(f"INSERT INTO {table} (k, m) VALUES (?, 'other') IF NOT EXISTS")
        self._update = session.prepare(f"UPDATE {table} SET z = ? WHERE k = ? IF m = ? AND z = ?")
        self._anew = session.prepare(f"SELECT * FROM {anew} WHERE k = ?")
        for statement in (self._select, self._insert, self._update, self._anew):
            statement.is_idempotent = True

    def __call__(self, n: int) -> None:
        k, kind = n % 10, random.randrange(6)
        if kind == 0:
            self._ask(self._check_inserted, k, self._insert, [k])
        elif kind == 1:
            self._ask(self._check_updated, k, self._update, [-k, k, "no", -k])
        elif kind == 2:
            self._ask(self._check_applied, k, self._update, [-k, k, f"m{k}", -k])
        elif kind == 3:
            try:
                self._ask(self._check_anew, 1, self._anew, [1])
            except (InvalidRequest, NoHostAvailable, ReadFailure, ServerError) as error:
                raise Gone from error
        else:
            self._ask(self._check, k, self._select, [k])

    def _ask(self, check: Callable[[int, Any], None], k: int, statement: Any, values: list[Any]) -> None:
        rows = self._session.execute(statement, values)
        if random.random() < 0.5:
            check(k, rows)
            return
        self._late.append((check, k, rows))
        if len(self._late) > 100:
            check, k, rows = self._late.popleft()
            check(k, rows)

    def finish(self) -> None:
        for check, k, rows in self._late:
            check(k, rows)

    def _check(self, k: int, rows: Any) -> None:
        self._check_columns(k, rows.one()._asdict())

    def _check_columns(self, k: int, values: dict[str, Any]) -> None:
        known = values.pop("k"), values.pop("m"), values.pop("t"), values.pop("z")
        assert known == (k, f"m{k}", util.LOWEST_TIME_UUID, -k)
        u = values.pop("u")
        assert u is None if k != 1 else u.a == 5 and set(u[1:]) <= {None}, u
        self.seen.update(values)
        for name, value in values.items():
            assert value is None or type(value) is self.COLUMNS[name[0]], (name, value)

    def _check_inserted(self, k: int, rows: Any) -> None:
        assert not rows.was_applied
        applied, *rest = rows.one()
        names = rows.column_names[1:]
        assert applied is False
        self._check_columns(k, dict(zip(names, rest, strict=True)))

    def _check_updated(self, k: int, rows: Any) -> None:
        assert list(rows.one()) == [False, f"m{k}", -k]

    def _check_applied(self, k: int, rows: Any) -> None:
        assert list(rows.one()) == [True]

    def _check_anew(self, k: int, rows: Any) -> None:
        assert rows.one() in (None, (1, 7, "seven"), (1, "seven", 7))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.parametrize("session", [4, 5], ids=["v4", "v5"], indirect=True)
def test_everything_changes_at_once(own: Session, table: str, cassandra: Any, ks: str) -> None:
    """By another client, which prepares the same statements: nobody ever gets a value of another type."""
    udt, anew = f"{table}_type", f"{table}_anew"

    def change(statement: str) -> None:
        other.execute(statement, timeout=DDL_TIMEOUT)

    def make(a: str, b: str, values: str) -> None:
        change(f"CREATE TABLE {anew} (k int PRIMARY KEY, a {a}, b {b})")
        change(f"INSERT INTO {anew} (k, a, b) VALUES (1, {values})")

    with connect(cassandra, own.cluster.protocol_version) as cluster:
        other = cluster.connect(ks)
        change(f"CREATE TYPE {udt} (a int)")
        change(f"ALTER TABLE {table} ADD u frozen<{udt}>")
        change(f"UPDATE {table} SET u = {{a: 5}} WHERE k = 1")
        make("int", "text", "7, 'seven'")
        reads = Reads(own, table, anew)
        end = time.monotonic() + SECONDS / 2
        with Readers(reads, (Gone, ReadFailure, WriteFailure)) as readers:
            for turn in itertools.count():
                name, cql_type, value = ADDED[turn % 4]
                change(f"ALTER TABLE {table} ADD {name}{turn} {cql_type}")
                change(f"UPDATE {table} SET {name}{turn} = {value} WHERE k = 1")
                other.prepare(f"SELECT * FROM {table} WHERE k = ?")
                other.prepare(f"INSERT INTO {table} (k, m) VALUES (?, 'other') IF NOT EXISTS")
                change(f"ALTER TYPE {udt} ADD f{turn} {cql_type}")
                readers.more()
                change(f"DROP TABLE {anew}")
                make(*(("text", "int", "'seven', 7") if turn % 2 else ("int", "text", "7, 'seven'")))
                other.prepare(f"SELECT * FROM {anew} WHERE k = ?")
                readers.more()
                change(f"ALTER TYPE {udt} RENAME f{turn} TO g{turn}")
                if turn > 1:
                    old = ADDED[(turn - 2) % 4][0]
                    change(f"ALTER TABLE {table} DROP {old}{turn - 2}")
                readers.more()
                if time.monotonic() > end:
                    break
        reads.finish()
    print(f"{readers.reads} reads, {turn + 1} rounds, {len(reads.seen)} columns, {dict(readers.refused)}")
    assert {f"{ADDED[n % 4][0]}{n}" for n in range(turn)} <= reads.seen


def test_parameters_of_another_type(own: Session, table: str) -> None:
    """Values are encoded by the types that were: if those change, nothing is sent."""
    name = f"{table}_other"
    own.execute(f"CREATE TABLE {name} (k int PRIMARY KEY, v int)", timeout=DDL_TIMEOUT)
    insert = own.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?)")
    own.execute(insert, (1, 0x41424344))
    own.execute(f"DROP TABLE {name}", timeout=DDL_TIMEOUT)
    own.execute(f"CREATE TABLE {name} (k int PRIMARY KEY, v text)", timeout=DDL_TIMEOUT)
    with pytest.raises(DriverException, match=r"parameters of a prepared statement have changed.*prepare it anew"):
        own.execute(insert, (2, 0x41424344))
    assert own.execute(f"SELECT * FROM {name}").all() == []
    own.execute(own.prepare(insert.query_string), (2, "text"))
    assert own.execute(f"SELECT v FROM {name}").one() == ("text",)


def test_parameters_of_a_user_type_made_anew(own: Session, table: str) -> None:
    """Its name is what it was, its fields are not; fields that are only added change nothing."""
    name, udt = f"{table}_users", f"{table}_type"

    def create(fields: str) -> None:
        own.execute(f"CREATE TYPE {udt} ({fields})", timeout=DDL_TIMEOUT)
        own.execute(f"CREATE TABLE {name} (k int PRIMARY KEY, v list<frozen<{udt}>>)", timeout=DDL_TIMEOUT)

    create("a int, b text")
    insert = own.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?)")
    own.execute(insert, (1, [(1, "abcd")]))
    own.execute(f"ALTER TYPE {udt} ADD c int", timeout=DDL_TIMEOUT)
    own.execute(insert, (2, [(2, "abcd")]))
    assert own.execute(f"SELECT v FROM {name} WHERE k = 2").one() == ([(2, "abcd", None)],)
    own.execute(f"DROP TABLE {name}", timeout=DDL_TIMEOUT)
    own.execute(f"DROP TYPE {udt}", timeout=DDL_TIMEOUT)
    create("a text, b int")
    with pytest.raises(DriverException, match=r"changed from k int, v list<\w+\(a int, b text\)> to .*\(a text, b int\)>"):
        own.execute(insert, (3, [(3, "abcd")]))
    assert own.execute(f"SELECT * FROM {name}").all() == []
    own.execute(own.prepare(insert.query_string), (3, [("abcd", 3)]))
    assert own.execute(f"SELECT v FROM {name}").one() == ([("abcd", 3)],)


def test_batches_of_forgotten_statements(own: Session, table: str) -> None:
    """A change of the table makes the server forget its statements; a batch prepares each again."""
    statements = [own.prepare(f"INSERT INTO {table} (k, {column}) VALUES (?, ?)") for column in ("m", "z")]
    own.execute(f"ALTER TABLE {table} ADD more int", timeout=DDL_TIMEOUT)
    batch = BatchStatement()
    batch.add(statements[0], (77, "batch"))
    batch.add(statements[1], (77, 5))
    own.execute(batch)
    assert own.execute(f"SELECT m, z FROM {table} WHERE k = 77").one() == ("batch", 5)


def test_many_greenlets_find_a_statement_forgotten(own: Session, table: str) -> None:
    select = own.prepare(f"SELECT z FROM {table} WHERE k = ?")
    for round_ in range(3):
        own.execute(f"ALTER TABLE {table} ADD extra{round_} int", timeout=DDL_TIMEOUT)
        greenlets = [gevent.spawn(own.execute, select, [n % 10]) for n in range(200)]
        gevent.joinall(greenlets, raise_error=True)
        assert [greenlet.value.one().z for greenlet in greenlets] == [-(n % 10) for n in range(200)]


STATEMENTS = 1000


@pytest.fixture(scope="module")
def forgetful() -> Iterator[CassandraCluster]:
    """A server with room for all those statements; an eviction would make it forget by itself."""
    with CassandraCluster(1, yaml={"prepared_statements_cache_size": "64MiB"}) as servers:
        yield servers


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", [4, 5])
def test_a_server_that_forgot_everything(forgetful: CassandraCluster, version: int) -> None:
    """Whoever needs a statement again, over whichever connection: the server is told it once, and only those needed."""
    options = {"connections_per_host": 2, "reconnection_policy": ConstantReconnectionPolicy(0.2, None)}
    with (
        Relays(forgetful.contact_points, forgetful.port) as relays,
        connect(relays, version, address_translator=relays, **options) as cluster,
    ):
        session, [relay], ks = cluster.connect(), relays, f"v{version}"
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        session.execute(f"CREATE KEYSPACE {ks} WITH replication = {replication}", timeout=DDL_TIMEOUT)
        session.execute(f"CREATE TABLE {ks}.t (k int PRIMARY KEY, v text)", timeout=DDL_TIMEOUT)
        session.set_keyspace(ks)
        insert, select = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)"), session.prepare("SELECT * FROM t WHERE k = ?")
        for k in range(100):
            session.execute(insert, (k, f"v{k}"))
        many = [session.prepare(f"SELECT v FROM {ks}.t WHERE k = ? LIMIT {n + 1}") for n in range(STATEMENTS)]
        for statement in (select, *many):
            statement.is_idempotent = True

        before = relay.prepared
        assert before.total() == STATEMENTS + 2
        session.execute("TRUNCATE system.prepared_statements", timeout=DDL_TIMEOUT)
        forgetful[0].restart()
        with gevent.Timeout(60):
            while any(pool.missing for pool in session.get_pools()):
                gevent.sleep(0.1)
        assert relay.prepared == before  # not before somebody needs them
        sessions = session, cluster.connect(ks)
        greenlets = [gevent.spawn(sessions[n % 2].execute, select, [n]) for n in range(100)]
        greenlets += [gevent.spawn(sessions[i].execute, many[n], [n % 100]) for n in range(STATEMENTS) for i in range(2)]
        gevent.joinall(greenlets, raise_error=True)
        assert [greenlet.value.one() for greenlet in greenlets[:100]] == [(n, f"v{n}") for n in range(100)]
        assert all(greenlet.value.one().v.startswith("v") for greenlet in greenlets[100:])
        told = relay.prepared - before
        assert set(told.values()) == {1} and told.total() == STATEMENTS + 1
        session.execute(insert, (5, "new"))
        assert session.execute(select, [5]).one().v == "new"
