"""Requests of every kind, in another order than gevent's, while nodes answer as they like and whoever runs is killed.

What is done is drawn from a seed, which the test's name tells: the work of application greenlets, what nodes answer and when,
which callbacks of the hub come late, whom a kill or a Timeout strikes, greenlets of the driver's among them. What must hold:
every future ends, once and in its time, and every row carries its own key; behind it no stream id is in use, every pool is
full, and requests are answered. `GEVENTCQL_FUZZ_SEEDS=1000` has more seeds tried, from 4 or `GEVENTCQL_FUZZ_FROM` on.
`test_random_life.py` is the same for hosts.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from geventcql.errors import ConnectionException, DriverException, ErrorMessage, NoHostAvailable, ProtocolError
from geventcql.net.connection import Connection
from geventcql.policies import RetryPolicy
from geventcql.query import BatchStatement, SimpleStatement
from geventcql.session import Session
from tests.driver.hostlife import AT_ONCE, reachable
from tests.driver.support import BY_KEY, INSERT, cluster_of, eventually, have_keyspaces, outcome, serve_keys, settled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Close, Error, ErrorCode, Reply, Request, Rows, Void
from tests.support.logs import UNREACHABLE
from tests.support.shaken import shaken

SIMPLE = re.compile(r"SELECT k FROM t WHERE k = (\d+)")
PAGED = "SELECT k FROM pages WHERE k = ?"
PAGE_ROWS, PAGES = 3, 4
COLUMNS = [("k", "int")]
TIMEOUT = 0.15
TICK = 0.01
"""Futures are timed by the ticks of a greenlet, so many seconds apart: on a busy machine both are late."""
IN_TIME = 100
"""Ticks in which each future must have ended; its deadline is at the 15th."""
EXPECTED = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage, ProtocolError, ZeroDivisionError)
"""What requests may end with."""
WORKERS = 8
STEPS = 60

FOUND: list[int] = []
"""Seeds that have found something."""


class Answers:
    """What nodes answer: what they should, if need be late, twice, in pieces, never; or an error; until they are ``calm``."""

    def __init__(self, drawn: random.Random) -> None:
        self._drawn = drawn
        self.calm = False
        self.owed: list[tuple[Request, Reply]] = []

    def __call__(self, request: Request, good: Reply) -> Any:
        drawn = self._drawn
        chance = drawn.random()
        if self.calm or chance < 0.5:
            return good
        if chance < 0.7:
            return good.after(drawn.choice([0, 0.001, 0.01, 0.05, TIMEOUT, 2 * TIMEOUT]))
        if chance < 0.80:
            code = drawn.choice([ErrorCode.OVERLOADED, ErrorCode.SERVER_ERROR, ErrorCode.IS_BOOTSTRAPPING, ErrorCode.INVALID])
            return Error(code, "drawn").after(drawn.choice([0, 0.005]))
        if chance < 0.90:
            self.owed.append((request, good))
            return None
        if chance < 0.96:
            return good.drip(*sorted(drawn.sample(range(1, 30), 3)))
        return drawn.choice([good.times(2), Close(), Close(rst=True), good.cut(drawn.randrange(1, 20)), good.on_stream(4000)])

    def simple(self, request: Request, connection: Any) -> Any:
        match = SIMPLE.search(request.text or "")
        assert match
        return self(request, Rows(COLUMNS, [(int(match[1]),)]))

    def by_key(self, request: Request, connection: Any) -> Any:
        return self(request, Rows(COLUMNS, [(request.params[0],)]))

    def paged(self, request: Request, connection: Any) -> Any:
        number = int(request.paging_state or b"0") + 1
        state = b"%d" % number if number < PAGES else None
        return self(request, Rows(COLUMNS, [(request.params[0],)] * PAGE_ROWS, paging_state=state))

    def void(self, request: Request, connection: Any) -> Any:
        return self(request, Void())

    def pay(self) -> None:
        """Answer what has not been answered."""
        owed, self.owed = self.owed, []
        for request, good in owed:
            if request.connection is not None and not request.connection.closed:
                request.answer(good)


class Retries(RetryPolicy):
    """Asks again, elsewhere, later, or not; now and then it waits, or fails."""

    def __init__(self, drawn: random.Random) -> None:
        self._drawn = drawn

    def on_request_error(self, *args: Any, **kwargs: Any) -> Any:
        if self._drawn.random() < 0.2:
            gevent.sleep(self._drawn.random() * 0.01)
        if self._drawn.random() < 0.05:
            raise ZeroDivisionError("a mood")
        return self._drawn.choice([self.RETRY, self.RETRY_NEXT_HOST, self.RETHROW]), None


class World:
    """The work, and what strikes it."""

    def __init__(self, nodes: FakeCluster, session: Session, answers: Answers, drawn: random.Random) -> None:
        self.nodes = nodes
        self.session = session
        self.answers = answers
        self.drawn = drawn
        self.log: list[str] = []
        self.wrong: list[str] = []
        self.futures: list[list[Any]] = []
        """Each future with the tick when it was made, and when it ended."""
        self.ticks = 0
        self._ticker = gevent.spawn(self._tick)
        self._workers: list[gevent.Greenlet] = []
        self._at_work: set[Any] = set()
        self._thrown: set[gevent.Timeout] = set()
        self._keys = iter(range(1, 1_000_000))
        self.prepared = session.prepare(BY_KEY)
        self.insert = session.prepare(INSERT)
        self.paged = session.prepare(PAGED)
        self.prepared.is_idempotent = self.paged.is_idempotent = True

    def _tick(self) -> None:
        while True:
            gevent.sleep(TICK)
            self.ticks += 1

    # -- application greenlets ------------------------------------------------------------------------------------------

    def work(self) -> None:
        """One piece of work; what it raises is no concern of ours, as long as it ends."""
        kind: Callable[[], object] = self.drawn.choice(
            [
                self.select, self.select, self.select, self.ask_simply, self.batch, self.read_pages, self.read_pages,
                self.later, self.later, self.call_back, self.many, self.many_iterated, self.many_later, self.use,
                self.prepare, self.refresh,
            ]
        )  # fmt: skip
        self.log.append(kind.__name__)
        self._at_work.add(gevent.getcurrent())
        limit = self.drawn.choice([None, None, 0.0, 0.001, 0.01, 0.05])
        timeout = gevent.Timeout(limit)
        try:
            timeout.start()
            kind()
        except EXPECTED:
            pass
        except gevent.Timeout as raised:
            if raised is not timeout and raised not in self._thrown:
                raise
        finally:
            self._at_work.discard(gevent.getcurrent())
            timeout.close()

    def check(self, key: int, rows: Any, count: int = 1) -> None:
        found = [row.k for row in rows]
        if found != [key] * count:
            self.wrong.append(f"{found} for {key}")

    def failed(self, error: Exception) -> None:
        if not isinstance(error, EXPECTED):
            self.wrong.append(f"a request ended with {error!r}")

    def select(self) -> None:
        key = next(self._keys)
        self.check(key, self.session.execute(self.prepared, (key,), timeout=TIMEOUT))

    def ask_simply(self) -> None:
        key = next(self._keys)
        statement = SimpleStatement(f"SELECT k FROM t WHERE k = {key}", is_idempotent=self.drawn.random() < 0.5)
        self.check(key, self.session.execute(statement, timeout=TIMEOUT))

    def batch(self) -> None:
        batch = BatchStatement()
        for _ in range(self.drawn.randrange(1, 4)):
            batch.add(self.insert, (next(self._keys),))
        assert self.session.execute(batch, timeout=TIMEOUT).one() is None

    def read_pages(self) -> None:
        key = next(self._keys)
        rows = self.session.execute(self.paged, (key,), timeout=TIMEOUT)
        some = [row for row, _ in zip(rows, range(self.drawn.choice([1, PAGE_ROWS + 1, PAGE_ROWS * PAGES])), strict=False)]
        self.check(key, some, len(some))

    def _start(self, key: int) -> Any:
        began = self.ticks
        future = self.session.execute_async(self.prepared, (key,), timeout=TIMEOUT)
        entry = [future, began, None]
        self.futures.append(entry)

        def ended(_: Any) -> None:
            entry[2] = self.ticks

        future.rawlink(ended)
        return future

    def later(self) -> None:
        began = [(key, self._start(key)) for key in (next(self._keys) for _ in range(self.drawn.randrange(1, 20)))]
        for key, future in began:
            if self.drawn.random() < 0.8:  # the others are left to themselves
                rows = outcome(future.result)
                if isinstance(rows, Exception):
                    self.failed(rows)
                else:
                    self.check(key, rows)

    def call_back(self) -> None:
        key, told = next(self._keys), []
        future = self._start(key)
        future.add_callbacks(lambda rows: told.append(self.check(key, rows)), lambda error: told.append(self.failed(error)))
        outcome(future.result)
        gevent.sleep(0.02)
        if len(told) > 1:
            self.wrong.append(f"called back {len(told)} times for {key}")

    def _some(self) -> list[int]:
        return [next(self._keys) for _ in range(self.drawn.randrange(1, 30))]

    def many(self) -> None:
        keys = self._some()
        pairs = [(self.prepared, (key,)) for key in keys]
        found = self.session.execute_concurrent(pairs, self.drawn.randrange(1, 10), self.drawn.random() < 0.3)
        self._check_all(keys, found)

    def many_later(self) -> None:
        keys = self._some()
        found = self.session.execute_concurrent_async([(self.prepared, (key,)) for key in keys], self.drawn.randrange(1, 10))
        self._check_all(keys, found.get(timeout=len(keys) * TIMEOUT + 5))

    def _check_all(self, keys: list[int], found: Any) -> None:
        for key, result in zip(keys, found, strict=True):
            if result.success:
                self.check(key, result.result_or_exc)
            else:
                self.failed(result.result_or_exc)

    def many_iterated(self) -> None:
        keys = self._some()
        for key, rows in zip(keys, self.session.imap(self.prepared, [(key,) for key in keys], 5), strict=True):
            self.check(key, rows)
            if self.drawn.random() < 0.1:
                return

    def use(self) -> None:
        name = self.drawn.choice(["ks", "other", "missing"])
        if self.drawn.random() < 0.5:
            self.session.set_keyspace(name)
        else:
            self.session.execute(f"USE {name}", timeout=TIMEOUT)

    def prepare(self) -> None:
        self.session.prepare(self.drawn.choice([BY_KEY, INSERT, f"SELECT k FROM t WHERE k = {next(self._keys)}"]))

    def refresh(self) -> None:
        cluster = self.session.cluster
        self.drawn.choice([cluster.refresh_nodes, cluster.refresh_schema_metadata])()

    # -- what strikes ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        self._workers = [worker for worker in self._workers if not worker.dead]
        while len(self._workers) < WORKERS:
            self._workers.append(gevent.spawn(self.work))
        strikes: Callable[[], object] = self.drawn.choice(
            [self.nothing] * 4 + [self.kill, self.throw, self.kill_of_the_driver, self.cut, self.stop, self.forget, self.pay]
        )
        self.log.append(strikes.__name__)
        strikes()
        gevent.sleep(self.drawn.choice([0, 0, 0.001, 0.005, 0.02]))

    def nothing(self) -> None:
        """Not every step does."""

    def kill(self) -> None:
        self.drawn.choice(self._workers).kill(block=False)

    def throw(self) -> None:
        at_work = [worker for worker in self._workers if worker in self._at_work]
        if at_work:
            thrown = gevent.Timeout()
            self._thrown.add(thrown)
            self.drawn.choice(at_work).kill(thrown, block=False)

    def kill_of_the_driver(self) -> None:
        """Any greenlet that is not the test's own."""
        self.drawn.choice(self._of_the_driver()).kill(block=False)

    def _of_the_driver(self) -> list[gevent.Greenlet]:
        cluster = self.session.cluster
        supervisors = list(cluster._registry._living)
        found = [supervisor._reconciler.greenlet for supervisor in supervisors]
        found += [supervisor._attempt._greenlet for supervisor in supervisors if supervisor._attempt is not None]
        found += [connection._reader for connection in cluster._all_connections()]
        found += [cluster._control._reconciler.greenlet, *sorted(cluster._greenlets, key=lambda g: g.minimal_ident)]
        return found

    def cut(self) -> None:
        self.drawn.choice(self.nodes.nodes).drop_connections(rst=self.drawn.random() < 0.5)

    def stop(self) -> None:
        node = self.drawn.choice(self.nodes.nodes)
        node.stop()
        gevent.sleep(self.drawn.choice([0, 0.02]))
        eventually(lambda: outcome(node.start) is None)  # the listener's socket closes in a callback, which may be put off

    def forget(self) -> None:
        self.drawn.choice(self.nodes.nodes).unprepare_all()

    def pay(self) -> None:
        self.answers.pay()

    # -- the end --------------------------------------------------------------------------------------------------------

    def join(self) -> None:
        gevent.joinall(self._workers, timeout=10)
        self.wrong += [f"a worker does not end: {w!r}" for w in self._workers if not w.dead]
        failed = [w.exception for w in self._workers if w.exception is not None]
        self.wrong += [f"a worker raised {error!r}" for error in failed if error not in self._thrown]
        eventually(lambda: all(ended is not None for _, _, ended in self.futures))
        for future, began, ended in self.futures:
            if ended - began > IN_TIME:
                self.wrong.append(f"{future!r} took {ended - began} ticks")
        self._ticker.kill()


@contextmanager
def world(seed: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Half of them below v5."""
    monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.01)
    monkeypatch.setattr("geventcql.reconnecting.RATE.reserve", lambda endpoint: 0.0)
    hub = gevent.get_hub()
    for name in ("_geventcql_waker", "_geventcql_scheduler"):  # they hold on to the loop
        monkeypatch.delattr(hub, name, raising=False)
    drawn = random.Random(seed)
    random.seed(seed)
    answers = Answers(drawn)
    answers.calm = True
    with shaken(drawn), FakeCluster(2) as nodes:
        serve_keys(nodes, answers.by_key)
        nodes.on(SIMPLE, answers.simple)
        nodes.on(PAGED, answers.paged, rows=COLUMNS, binds=COLUMNS, pk_indexes=[0])
        nodes.on(INSERT, answers.void, opcode=None)
        for node in nodes:
            have_keyspaces(node, "ks", "other")
        options: dict[str, Any] = {
            "protocol_version": 4 + seed % 2,
            "connections_per_host": 1 + seed // 2 % 2,
            "default_retry_policy": Retries(drawn),
            "connect_timeout": 0.5,
            "control_connection_timeout": 0.5,
        }
        with cluster_of(nodes, **AT_ONCE, **options) as cluster:
            session = cluster.connect("ks", wait_for_all_pools=True)
            session.default_timeout = TIMEOUT
            made = World(nodes, session, answers, drawn)
            answers.calm = False
            try:
                yield made
                made.join()
                answers.calm = True
                if not cluster.is_shutdown:
                    check(made)
                assert not made.wrong, made.wrong
            except BaseException:
                print(*made.log, sep="\n")
                raise
            finally:
                answers.calm = True


def check(made: World) -> None:
    """All is well again."""
    session, answers = made.session, made.answers
    registry = session.cluster._registry

    def is_full() -> bool:
        return reachable(session) == set(made.nodes.addresses) and not any(p.missing for p in registry.pools())

    answers.pay()
    eventually(is_full, 10)
    eventually(lambda: settled(session))
    assert all(isinstance(c, Connection) and len(c.table.waiting()) == 0 for p in registry.pools() for c in p.connections)
    registry.check_invariants()
    for key in range(100):
        made.check(key, session.execute(made.prepared, (key,), timeout=5))


MORE = range(int(os.environ.get("GEVENTCQL_FUZZ_FROM", "4")), int(os.environ.get("GEVENTCQL_FUZZ_SEEDS", "40")))
SEEDS = [*range(4), *FOUND, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MORE)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.logs(UNREACHABLE, r"GreenletExit .* could not be looked after", r"WARNING the \w+ could not be (read|looked at)")
def test_whatever_happens_each_request_ends_once_with_its_own_answer(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(seed, monkeypatch) as made:
        for _ in range(STEPS):
            made.step()
        if seed % 3 == 2:
            made.session.cluster.shutdown(made.drawn.choice([None, 0, 0.05]))
