"""Connections that are cut under way, by FIN and by RST: requests go on over others, and never to another keyspace."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from geventcql.errors import ConnectionException, NoHostAvailable
from geventcql.policies import ConstantReconnectionPolicy
from geventcql.query import SimpleStatement
from geventcql.session import Session
from tests.integration.faults import SECONDS
from tests.integration.relays import Relays
from tests.integration.support import DDL_TIMEOUT, connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SECONDS + 300)]
pytest_plugins = "tests.integration.fixtures"

QUERIES = int(100_000 * min(1.0, SECONDS / 60))
WINDOW = 50  # requests that each greenlet has under way
LOST = (NoHostAvailable, ConnectionException)


@pytest.fixture
def two_keyspaces(sessions: dict[int, Session], ks: str) -> Iterator[tuple[str, str]]:
    """The names of two keyspaces, each with a table `t` whose rows name the keyspace."""
    names = f"{ks}_a", f"{ks}_b"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    for name in names:
        sessions[5].execute(f"CREATE KEYSPACE {name} WITH replication = {replication}", timeout=DDL_TIMEOUT)
        sessions[5].execute(f"CREATE TABLE {name}.t (k int PRIMARY KEY, v text)", timeout=DDL_TIMEOUT)
        for k in range(10):
            sessions[5].execute(f"INSERT INTO {name}.t (k, v) VALUES ({k}, '{name}')")
    yield names
    for name in names:
        sessions[5].execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)


@contextmanager
def cutting(relays: Relays, pause: Callable[[], float]) -> Iterator[Counter[str]]:
    """Cut one connection after the other until the block ends; how many of each kind."""
    choose = random.Random(1)
    cuts: Counter[str] = Counter()

    def run() -> None:
        while True:
            gevent.sleep(pause())
            links = [link for relay in relays for link in relay.links]
            if links:
                link = choose.choice(links)
                rst = choose.random() < 0.5
                cuts["control" if link.is_control else "RST" if rst else "FIN"] += 1
                link.cut(rst)

    greenlet = gevent.spawn(run)
    try:
        yield cuts
    finally:
        greenlet.kill()
        if greenlet.exception is not None:
            raise greenlet.exception


class Tenant:
    """Queries one keyspace after the other, unqualified, in a Session of its own, and checks whose rows come back."""

    def __init__(self, session: Session, names: tuple[str, str], seed: int) -> None:
        self.done = 0
        self.lost = 0
        self._session = session
        self._names = names
        self._choose = random.Random(seed)
        self._prepared = {}
        for name in names:
            session.set_keyspace(name)
            statements = session.prepare("SELECT v FROM t WHERE k = ?"), session.prepare("INSERT INTO t (k, v) VALUES (?, ?)")
            for statement in statements:
                statement.is_idempotent = True
            self._prepared[name] = statements

    def run(self, queries: int) -> None:
        while self.done < queries:
            name = self._choose.choice(self._names)
            if self._enter(name):
                for _ in range(self._choose.randrange(5)):
                    self._ask(name)

    def _enter(self, name: str) -> bool:
        ways = f"USE {name}", f'use "{name}";', f"/* mine */ USE {name} /* from now on */", "set_keyspace"
        use = self._choose.choice(ways)
        try:
            if use == "set_keyspace":
                self._session.set_keyspace(name)
            else:
                self._session.execute(use)
        except LOST:
            self.lost += 1
            gevent.sleep(0.01)
            return False
        assert self._session.keyspace == name, use
        return True

    def _ask(self, name: str) -> None:
        """A windowful of requests that are under way together, in the Session's keyspace and, prepared, in the other."""
        asked = []
        other = self._names[self._names[0] == name]
        for _ in range(WINDOW):
            k, kind = self._choose.randrange(10), self._choose.randrange(5)
            if kind < 2:
                statement = SimpleStatement(f"SELECT v FROM t WHERE k = {k}", is_idempotent=True)
                asked.append((name, self._session.execute_async(statement)))
            elif kind < 4:
                whose = name if kind == 2 else other
                asked.append((whose, self._session.execute_async(self._prepared[whose][0], (k,))))
            else:
                text = f"INSERT INTO t (k, v) VALUES ({k}, '{name}')"
                asked.append((name, self._session.execute_async(SimpleStatement(text, is_idempotent=True))))
                asked.append((other, self._session.execute_async(self._prepared[other][1], (k, other))))
        for whose, future in asked:
            try:
                rows = future.result()
            except LOST:
                self.lost += 1
                continue
            for row in rows:
                assert row.v == whose, f"a row of {row.v} in {whose}"
            self.done += 1


@pytest.mark.parametrize("version", [4, 5])
def test_two_keyspaces(cassandra: Any, two_keyspaces: tuple[str, str], version: int) -> None:
    with Relays(cassandra.contact_points, cassandra.port) as relays:
        options = {"address_translator": relays, "reconnection_policy": ConstantReconnectionPolicy(0.05, None)}
        with connect(relays, version, connections_per_host=3, **options) as cluster:
            tenants = [Tenant(cluster.connect(), two_keyspaces, seed) for seed in range(2)]
            choose = random.Random(2)
            with cutting(relays, lambda: choose.random() * 0.5) as cuts:
                running = [gevent.spawn(tenant.run, QUERIES // 2) for tenant in tenants]
                try:
                    gevent.joinall(running, raise_error=True)
                finally:
                    gevent.killall(running)
            print([tenant.done for tenant in tenants], "lost:", [tenant.lost for tenant in tenants], dict(cuts))
    assert cuts["FIN"] and cuts["RST"]
    with connect(cassandra) as cluster:  # what was written, too
        session = cluster.connect()
        for name in two_keyspaces:
            assert {row.v for row in session.execute(f"SELECT v FROM {name}.t")} == {name}
