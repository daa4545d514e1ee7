"""What the tests of faults on real nodes share: a steady load that is watched, and a listener that remembers. Test support."""

from __future__ import annotations

import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import gevent

from geventcql import ConsistencyLevel
from geventcql.policies import HostStateListener
from geventcql.session import Session
from geventcql.testing import CassandraCluster
from tests.integration.support import DDL_TIMEOUT

SECONDS = float(os.environ.get("GEVENTCQL_FAULT_SECONDS", "60"))
"""How long a scenario goes on making faults; 300 for the full length."""

GREENLETS = 200
KEYS = 300
PACE = 0.15  # between one greenlet's requests: the load must leave the machine room for a node that starts


def make_table(session: Session, keyspace: str, factor: int = 3) -> str:
    """A keyspace with `factor` copies and in it a table that has a row for each of the keys on all of them; its name."""
    replication = f"{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}"
    session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {replication}", timeout=DDL_TIMEOUT)
    session.execute(f"CREATE TABLE {keyspace}.t (k int PRIMARY KEY, v text)", timeout=DDL_TIMEOUT)
    insert = session.prepare(f"INSERT INTO {keyspace}.t (k, v) VALUES (?, ?)")
    insert.consistency_level = ConsistencyLevel.ALL
    for _ in session.imap_unordered(insert, ((k, f"{k}:0") for k in range(KEYS))):
        pass
    return f"{keyspace}.t"


def wait_until(condition: Callable[[], Any], seconds: float) -> None:
    """Wait until `condition()` is true, which takes a while and is not cheap to see; AssertionError after `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {condition}"
        gevent.sleep(0.05)


class Told(HostStateListener):
    """What a listener was told, in order. `of(address)`: of one host; `when`: the monotonic time of each."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.when: list[float] = []

    def of(self, address: str) -> list[str]:
        return [event for event, of in self.events if of == address]

    def clear(self) -> None:
        self.events.clear()
        self.when.clear()

    def _note(self, event: str, host: Any) -> None:
        self.events.append((event, host.address))
        self.when.append(time.monotonic())

    def on_up(self, host: Any) -> None:
        self._note("up", host)

    def on_down(self, host: Any) -> None:
        self._note("down", host)

    def on_add(self, host: Any) -> None:
        self._note("add", host)

    def on_remove(self, host: Any) -> None:
        self._note("remove", host)


class Load:
    """Greenlets that read and write by key, idempotently, each request checked. A context manager.

    Attributes: `phase`, what is being done to the nodes; `slowest`, seconds by phase, of the requests that had to do with the
    node that it is done to, or were sent more than once (a request counts for the phase that it began in and for the one that
    it ended in); `worst`, which those were; `bystanders`, seconds by phase of the others: what a well node takes is its own
    and the machine's doing; `done`, answers by coordinator; `errors`, what came instead.
    """

    def __init__(self, session: Session, table: str, consistency: int | None = None, policy: Any = None) -> None:
        self.phase = "calm"
        self._since = time.monotonic()
        self._victim: str | None = None
        self.slowest: defaultdict[str, float] = defaultdict(float)
        self.bystanders: defaultdict[str, float] = defaultdict(float)
        self.worst: dict[str, str] = {}
        self.done: Counter[str] = Counter()
        self.errors: list[Exception] = []
        self._session = session
        self._read = session.prepare(f"SELECT k, v FROM {table} WHERE k = ?")
        self._write = session.prepare(f"INSERT INTO {table} (k, v) VALUES (?, ?)")
        for statement in (self._read, self._write):
            statement.is_idempotent = True
            if consistency is not None:
                statement.consistency_level = consistency
            statement.retry_policy = policy
        self._stop = False

    def __enter__(self) -> Load:
        self._greenlets = [gevent.spawn(self._run, n) for n in range(GREENLETS)]
        wait_until(lambda: self.done.total() > 2 * GREENLETS, 30)
        self.slowest.clear()  # what preparing and warming up took
        self.bystanders.clear()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop = True
        gevent.joinall(self._greenlets, timeout=30)
        assert all(greenlet.ready() for greenlet in self._greenlets), "requests hang"
        for greenlet in self._greenlets:
            greenlet.get()

    def _run(self, n: int) -> None:
        choose = random.Random(n)
        gevent.sleep(choose.random() * PACE)
        while not self._stop:
            self._request(choose)
            gevent.sleep(PACE)

    def _request(self, choose: random.Random) -> None:
        key = choose.randrange(KEYS)
        writes = choose.random() < 0.5
        phase, started = self.phase, time.monotonic()
        if writes:
            future = self._session.execute_async(self._write, (key, f"{key}:{choose.randrange(1000)}"))
        else:
            future = self._session.execute_async(self._read, (key,))
        try:
            rows = future.result()
        except Exception as error:
            self.errors.append(error)
        else:
            self.done[future.coordinator_host.address] += 1
            if not writes:
                (row,) = rows.all()
                assert row.k == key and row.v.startswith(f"{key}:"), row
        took = time.monotonic() - started
        way = [host.address for host in future.attempted_hosts]
        slowest = self.slowest if self._victim in way or len(way) > 1 else self.bystanders
        for each in {phase, self.phase}:
            if took > slowest[each]:
                slowest[each] = took
                if slowest is self.slowest:
                    kind, since = "write" if writes else "read", started - self._since
                    self.worst[each] = f"{took:.2f} s, {kind} to {way}, begun {since:.2f} s after the phase"

    def uses(self, address: str) -> bool:
        """Whether a node has answered lately: within the next tenth of a second."""
        before = self.done[address]
        gevent.sleep(0.1)
        return self.done[address] > before

    @contextmanager
    def during(self, phase: str, victim: str) -> Any:
        """`phase` is done to the node on the address `victim` until the block ends."""
        self._victim = victim
        self.enter(phase)
        yield
        self.enter("calm")

    def enter(self, phase: str) -> None:
        self.phase, self._since = phase, time.monotonic()


def in_full_use(session: Session, address: str, connections: int = 1) -> bool:
    """Whether the Session holds as many connections to a node as it should."""
    states = {host.address: (host.is_up, state["open_count"]) for host, state in session.get_pool_state().items()}
    return states.get(address) == (True, connections)


def restart_noting_when_it_listens(servers: CassandraCluster, address: str) -> tuple[gevent.Greenlet, float]:
    """Start a killed node; the greenlet that waits until it is a member again, and the time from which on it listened."""
    starting = gevent.spawn(servers.start)
    node = next(node for node in servers if node.address == address)
    wait_until(lambda: starting.ready() or node.is_listening(), 120)
    return starting, time.monotonic()
