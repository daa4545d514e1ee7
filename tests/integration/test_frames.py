"""Single messages between the driver and a real Cassandra are lost, late, forged, cut, doubled or in another order.

Every row carries its own key, and counters tell how often what was sent was applied.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.cluster import Cluster
from geventcql.errors import (
    ConnectionShutdown,
    FrameError,
    NoHostAvailable,
    OperationTimedOut,
    ReadTimeout,
    ServerError,
    Unavailable,
)
from geventcql.policies import ConstantReconnectionPolicy, RetryPolicy
from geventcql.query import PreparedStatement
from geventcql.session import Session
from tests.driver.support import eventually, pooled, settled
from tests.integration.faults import Told
from tests.integration.relays import Relays
from tests.integration.support import DDL_TIMEOUT, connect
from tests.support.frameproxy import FrameProxy, black_hole, cut, delay, drop, duplicate, forge, forward, hold, reorder
from tests.support.replies import Error, ErrorCode
from tests.support.requests import Request
from tests.support.wire import Opcode

pytest_plugins = "tests.integration.fixtures"

KEYS = 1000
LATE = 0.3


@pytest.fixture(scope="module")
def tables(sessions: dict[int, Session], ks: str) -> str:
    """The keyspace, with a table `t` of rows that are their own key negated, and a table `c` of counters."""
    session = sessions[5]
    session.execute(f"CREATE TABLE {ks}.t (k int PRIMARY KEY, v int)", timeout=DDL_TIMEOUT)
    session.execute(f"CREATE TABLE {ks}.c (k int PRIMARY KEY, n counter)", timeout=DDL_TIMEOUT)
    insert = session.prepare(f"INSERT INTO {ks}.t (k, v) VALUES (?, ?)")
    for _ in session.imap_unordered(insert, ((k, -k) for k in range(KEYS))):
        pass
    return ks


@dataclass
class Bench:
    """A Session whose messages pass a FrameProxy, and its statements."""

    proxy: FrameProxy
    cluster: Cluster
    session: Session
    told: Told
    select: PreparedStatement
    count: PreparedStatement
    read_count: PreparedStatement

    def value(self, k: int) -> int:
        found: int = self.session.execute(self.select, (k,)).one().v
        return found

    def counted(self, k: int) -> int:
        row = self.session.execute(self.read_count, (k,)).one()
        return row.n if row else 0

    def data_links(self) -> list[Any]:
        return [link for link in self.proxy.links if not link.is_control]


@pytest.fixture(params=[4, 5], ids=["v4", "v5"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[{}], ids=[""])
def bench(request: pytest.FixtureRequest, cassandra: Any, tables: str, version: int) -> Iterator[Bench]:
    """With the options of a Cluster that the test is parametrized with."""
    told = Told()
    options = {"reconnection_policy": ConstantReconnectionPolicy(0.05, None), **request.param}
    with (
        Relays(cassandra.contact_points, cassandra.port, FrameProxy) as proxies,
        connect(proxies, version, address_translator=proxies, **options) as cluster,
    ):
        cluster.register_listener(told)
        session = cluster.connect(wait_for_all_pools=True)
        eventually(lambda: len(pooled(session)) == options.get("connections_per_host", 1))
        [proxy] = proxies
        texts = [f"SELECT k, v FROM {tables}.t WHERE k = ?", f"UPDATE {tables}.c SET n = n + 1 WHERE k = ?"]
        texts.append(f"SELECT n FROM {tables}.c WHERE k = ?")
        select, count, read_count = map(session.prepare, texts)
        select.is_idempotent = read_count.is_idempotent = True
        eventually(lambda: told.events)
        told.clear()
        yield Bench(proxy, cluster, session, told, select, count, read_count)
        assert told.events == []  # none of this makes a host go down


def two_connections(test: Any) -> Any:
    return pytest.mark.parametrize("bench", [{"connections_per_host": 2}], indirect=True, ids=["two"])(test)


def key_of(request: Request) -> int:
    assert request.values and isinstance(request.values[0], bytes)
    return int.from_bytes(request.values[0], "big", signed=True)


def fresh_key() -> int:
    return random.randrange(KEYS, 1 << 30)


# -- answers that do not come --------------------------------------------------------------------------------------------


def test_an_answer_that_is_lost(bench: Bench) -> None:
    """The request ends with its time and is not sent again; its stream id is not used again either."""
    sent = bench.proxy.requests(bench.count.query_string, forward)
    lost = bench.proxy.responses(bench.count.query_string, drop, times=1)
    key = fresh_key()
    with pytest.raises(OperationTimedOut) as raised:
        bench.session.execute(bench.count, (key,), timeout=0.5)
    assert raised.value.attempts == 1 and lost.hits == 1 and sent.hits == 1
    [connection] = pooled(bench.session)
    assert connection.orphaned == 1 and connection.in_flight == 0
    for k in range(200):
        assert bench.value(k) == -k
    assert connection.orphaned == 1 and pooled(bench.session) == [connection]
    assert sent.hits == 1 and bench.counted(key) == 1


@pytest.mark.parametrize("rst", [False, True])
def test_the_connection_goes_in_the_middle_of_an_answer(bench: Bench, rst: bool) -> None:
    sent = bench.proxy.requests(bench.select.query_string, forward)
    bench.proxy.responses(bench.select.query_string, cut(rst=rst), times=1)
    assert bench.value(7) == -7 and sent.hits == 2


@pytest.mark.parametrize("rst", [False, True])
def test_the_connection_goes_in_the_middle_of_a_counters_answer(bench: Bench, rst: bool) -> None:
    """Which may not be sent twice: it ends with an error, and was applied once."""
    sent = bench.proxy.requests(bench.count.query_string, forward)
    bench.proxy.responses(bench.count.query_string, cut(rst=rst), times=1)
    key = fresh_key()
    with pytest.raises(ConnectionShutdown, match="may have been applied"):
        bench.session.execute(bench.count, (key,))
    assert sent.hits == 1 and bench.counted(key) == 1


@two_connections
def test_one_of_two_connections_goes_again_and_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load, by FIN and by RST, in the middle of a frame: each request is answered, each by its own row."""
    monkeypatch.setattr("geventcql.reconnecting.STABLE", 0.0)  # none is lost so early that it makes a bad host

    def run(first: int) -> None:
        for k in itertools.count(first, 50):
            if stop.is_set():
                return
            assert bench.value(k % KEYS) == -(k % KEYS)
            answered[first] += 1

    answered: Counter[int] = Counter()
    stop = Event()
    running = [gevent.spawn(run, first) for first in range(50)]
    try:
        for rst in (False, True, False, True):
            before = set(pooled(bench.session))
            assert len(before) == 2
            rule = bench.proxy.responses(bench.select.query_string, cut(9, rst=rst), times=1)
            eventually(lambda rule=rule: rule.hits)
            eventually(lambda before=before: len(pooled(bench.session)) == 2 and before - set(pooled(bench.session)))
            earlier = Counter(answered)  # nobody's request is to be lost twice: there is one host to ask
            eventually(lambda earlier=earlier: all(answered[first] > earlier[first] for first in range(50)))
    finally:
        stop.set()
        gevent.joinall(running, raise_error=True)


@pytest.mark.parametrize(
    "bench",
    [{"connections_per_host": 2, "idle_heartbeat_interval": 0.5, "idle_heartbeat_timeout": 1.0}],
    indirect=True,
    ids=["two"],
)
def test_one_of_two_connections_is_a_black_hole(bench: Bench) -> None:
    """Heartbeats find it; what is in flight on it goes over the other one, and it is replaced."""
    hole = bench.proxy.requests(bench.select.query_string, black_hole, times=1)
    with gevent.Timeout(20):
        asking = [gevent.spawn(bench.value, k) for k in range(KEYS)]
        gevent.joinall(asking, raise_error=True)
    assert [greenlet.value for greenlet in asking] == [-k for k in range(KEYS)]
    assert hole.hits == 1
    eventually(lambda: not any(link.swallows for link in bench.proxy.links) and len(pooled(bench.session)) == 2)
    assert len(bench.data_links()) == 2


# -- answers that are late, doubled, in another order ------------------------------------------------------------------


@pytest.mark.parametrize("bench", [{"max_requests_in_flight": 64}], indirect=True, ids=["few ids"])
def test_late_answers_while_ids_come_round(bench: Bench) -> None:
    """pitfalls: answers of one user's query given to another's."""
    late = bench.proxy.responses(lambda request: bool(request.values) and key_of(request) % 9 == 0, delay(LATE))
    ends = {"right": 0, "timeout": 0}

    def ask(first: int) -> None:
        for n in range(first, 3200, 32):
            k = n % KEYS
            try:
                row = bench.session.execute(bench.select, (k,), timeout=LATE / 2 if k % 9 == 0 else 20).one()
            except OperationTimedOut:
                ends["timeout"] += 1
            else:
                assert (row.k, row.v) == (k, -k)
                ends["right"] += 1

    gevent.joinall([gevent.spawn(ask, first) for first in range(32)], raise_error=True)
    assert ends["timeout"] > 250 and ends["right"] > 2500, ends
    assert late.hits >= ends["timeout"]
    eventually(lambda: settled(bench.session))
    [connection] = pooled(bench.session)
    assert connection.table.late_replies == ends["timeout"]


@two_connections
def test_answers_in_another_order(bench: Bench) -> None:
    mixed = bench.proxy.responses(bench.select.query_string, reorder(25, seed=3))
    for _ in range(5):
        futures = [bench.session.execute_async(bench.select, (k,)) for k in range(KEYS)]
        for k, future in enumerate(futures):
            row = future.result().one()
            assert (row.k, row.v) == (k, -k)
    assert mixed.hits == 5 * KEYS


def test_an_answer_that_comes_twice(bench: Bench) -> None:
    """The connection ends, since nobody knows whose the next answers would be; requests under way go on or are told."""
    gate = Event()
    held = bench.proxy.responses(lambda request: bool(request.values) and key_of(request) >= KEYS, hold(gate), times=2)
    key = fresh_key()
    waiting = bench.session.execute_async(bench.read_count, (key + 1,))
    counting = bench.session.execute_async(bench.count, (key,))
    [broken] = pooled(bench.session)
    eventually(lambda: held.hits == 2)  # else the answer of the second attempt would be held
    bench.proxy.responses(bench.select.query_string, duplicate(), times=1)
    assert bench.value(5) == -5
    with pytest.raises(ConnectionShutdown, match="may have been applied"):
        counting.result()
    assert waiting.result().all() == []
    assert broken.closed and isinstance(broken.cause, FrameError)
    gate.set()
    broken.check_invariants()
    assert bench.value(6) == -6 and bench.counted(key) == 1


# -- errors that nodes do not mean -------------------------------------------------------------------------------------


class Again(RetryPolicy):
    """The same host again, whatever happened."""

    def _again(self, *args: Any, **kwargs: Any) -> Any:
        return self.RETRY, None

    on_read_timeout = on_write_timeout = on_unavailable = on_request_error = _again


READ_TIMEOUT = {"consistency": 1, "received": 1, "block_for": 1}


@pytest.mark.parametrize(
    ("error", "attempts", "expected"),
    [
        (Error(ErrorCode.READ_TIMEOUT, **READ_TIMEOUT), 2, None),
        (Error(ErrorCode.READ_TIMEOUT, **READ_TIMEOUT, data_present=True), 1, ReadTimeout),
        (Error(ErrorCode.UNAVAILABLE, required=3, alive=1), 1, (Unavailable, NoHostAvailable)),  # there is no other host
        (Error(ErrorCode.OVERLOADED, "busy"), 1, NoHostAvailable),
        (Error(ErrorCode.SERVER_ERROR, "oops"), 1, NoHostAvailable),
    ],
    ids=["read timeout", "read timeout with data", "unavailable", "overloaded", "server error"],
)
def test_forged_errors_and_the_default_policy(bench: Bench, error: Error, attempts: int, expected: Any) -> None:
    sent = bench.proxy.requests(bench.select.query_string, forward)
    forged = bench.proxy.requests(bench.select.query_string, forge(error), times=1)
    if expected is None:
        assert bench.value(3) == -3
    else:
        with pytest.raises(expected):
            bench.value(3)
    assert forged.hits == 1 and sent.hits == attempts - 1
    assert bench.value(4) == -4 and settled(bench.session)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "OVERLOADED", "READ_TIMEOUT", "SERVER_ERROR", "IS_BOOTSTRAPPING"])
def test_forged_errors_and_a_policy_that_tries_again(bench: Bench, code: str) -> None:
    bench.select.retry_policy = Again()
    sent = bench.proxy.requests(bench.select.query_string, forward)
    forged = bench.proxy.requests(bench.select.query_string, forge(Error(ErrorCode[code])), times=3)
    future = bench.session.execute_async(bench.select, (3,))
    assert future.result().one().v == -3
    assert forged.hits == 3 and sent.hits == 1 and len(future.attempted_hosts) == 4


@pytest.mark.parametrize("way", ["requests", "responses"])
@pytest.mark.parametrize(("code", "refused"), [("OVERLOADED", True), ("SERVER_ERROR", False), ("WRITE_TIMEOUT", False)])
def test_forged_errors_of_what_may_not_be_sent_twice(bench: Bench, code: str, refused: bool, way: str) -> None:
    """Only what a node refuses is sent again. A node that refuses what it does (a forged response) is beyond help."""
    bench.count.retry_policy = Again()
    error = Error(ErrorCode[code], **({"write_type": "COUNTER"} if code == "WRITE_TIMEOUT" else {}))
    forged = getattr(bench.proxy, way)(bench.count.query_string, forge(error), times=1)
    key = fresh_key()
    if refused:
        bench.session.execute(bench.count, (key,))
    else:
        with pytest.raises(Exception) as raised:
            bench.session.execute(bench.count, (key,))
        assert type(raised.value).__name__ == {"SERVER_ERROR": ServerError.__name__}.get(code, "WriteTimeout")
    assert forged.hits == 1
    assert bench.counted(key) == refused + (way == "responses")


@two_connections
def test_a_forged_word_that_a_statement_was_forgotten(bench: Bench) -> None:
    """Many hear of it over both connections: the node is told the statement once."""
    before = bench.proxy.prepared[bench.select.query_string]
    forgotten = forge(lambda request: Error(ErrorCode.UNPREPARED, id=request.id))
    rule = bench.proxy.requests(bench.select.query_string, forgotten, times=200, opcode=Opcode.EXECUTE)
    asking = [gevent.spawn(bench.value, k) for k in range(300)]
    gevent.joinall(asking, raise_error=True)
    assert [greenlet.value for greenlet in asking] == [-k for k in range(300)]
    assert rule.hits == 200
    assert bench.proxy.prepared[bench.select.query_string] == before + 1
