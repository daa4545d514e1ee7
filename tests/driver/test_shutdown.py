"""The end of a Cluster: what is under way ends by itself or with an error, from any state, and nothing is left."""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import gevent
import greenlet
import pytest
from gevent.event import Event

import geventcql
from geventcql.errors import ConnectionShutdown, DriverException, NoHostAvailable, WrongHubError
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, collected, eventually, have_keyspaces, in_hub, outcome, pooled
from tests.support.fakenode import NEVER, FakeNode, Opcode, Ready, Rows, Void, paged
from tests.support.logs import UNREACHABLE
from tests.support.replies import topology_change

pytestmark = pytest.mark.logs(UNREACHABLE)

ENDS = (ConnectionShutdown, DriverException, NoHostAvailable)
ONE = Rows([("v", "int")], [(1,)])


def slow(node: FakeNode, seconds: float = 0.2) -> str:
    node.on("SELECT slow", ONE.after(seconds))
    return "SELECT slow"


def test_requests_in_flight_end_by_themselves(node: FakeNode) -> None:
    cluster = cluster_of(node)
    session = cluster.connect()
    future = session.execute_async(slow(node))
    cluster.shutdown(timeout=10)
    assert future.ready() and future.result().one().v == 1
    eventually(lambda: not node.connections)


@pytest.mark.patching
@pytest.mark.parametrize("how", ["shutdown", "with", "with an error", "a session of its own"])
def test_nothing_that_was_taken_is_lost(node: FakeNode, how: str) -> None:
    """pitfalls: a script that sends and ends."""
    node.on("INSERT", Void())
    if how == "a session of its own":
        with geventcql.connect([node.host], port=node.port) as session:
            futures = [session.execute_async("INSERT") for _ in range(200)]
    else:
        cluster = cluster_of(node)
        with suppress(ZeroDivisionError), nullcontext() if how == "shutdown" else cluster:
            session = cluster.connect()
            futures = [session.execute_async("INSERT") for _ in range(200)]
            if how == "with an error":
                raise ZeroDivisionError
        cluster.shutdown()
    assert node.count("INSERT") == 200 and all(future.successful() for future in futures)


@pytest.mark.parametrize("error", [gevent.Timeout, gevent.GreenletExit, KeyboardInterrupt])
def test_who_is_killed_waits_for_nothing(node: FakeNode, error: type[BaseException]) -> None:
    node.on("SELECT never", NEVER)
    started = time.monotonic()
    with suppress(error), cluster_of(node) as cluster:
        future = cluster.connect().execute_async("SELECT never", timeout=60)
        raise error
    assert time.monotonic() - started < 1
    assert isinstance(future.exception, ConnectionShutdown)


def test_the_hub_waits_for_nothing(node: FakeNode) -> None:
    node.on("SELECT never", NEVER)
    cluster = cluster_of(node)
    future = cluster.connect().execute_async("SELECT never", timeout=60)
    in_hub(cluster.shutdown)
    with pytest.raises(ConnectionShutdown), gevent.Timeout(1):
        future.result()


def test_requests_that_wait_for_room_are_sent(node: FakeNode) -> None:
    cluster = cluster_of(node, max_requests_in_flight=1)
    session = cluster.connect()
    futures = [session.execute_async(slow(node, 0.02)) for _ in range(5)]
    cluster.shutdown(timeout=10)
    assert [future.result().one().v for future in futures] == [1] * 5


def test_what_has_not_ended_in_time_ends_with_an_error(node: FakeNode) -> None:
    node.on("SELECT never", NEVER)
    cluster = cluster_of(node)
    session = cluster.connect()
    future = session.execute_async("SELECT never", timeout=None)
    started = time.monotonic()
    cluster.shutdown(timeout=0.1)
    assert 0.1 <= time.monotonic() - started < 2
    with pytest.raises(ConnectionShutdown):
        future.result()
    eventually(lambda: not node.connections)


def test_nothing_new_is_taken_while_the_rest_ends(node: FakeNode) -> None:
    cluster = cluster_of(node)
    session = cluster.connect()
    future = session.execute_async(slow(node))
    ending = gevent.spawn(cluster.shutdown, 10)
    gevent.sleep(0.02)
    for call in (
        lambda: session.execute("SELECT v"),
        lambda: session.execute_async("SELECT v"),
        lambda: session.prepare("SELECT v"),
    ):
        with pytest.raises(ConnectionShutdown, match="shut down"):
            call()
    with pytest.raises(DriverException, match="shut down"):
        cluster.connect()
    ending.get(timeout=10)
    assert future.result().one().v == 1


def test_what_is_read_meanwhile_is_not_missed(node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    cluster = cluster_of(node, topology_event_refresh_window=0)
    cluster.connect()
    reading = node.on(lambda request: "system.peers" in (request.text or ""), NEVER)
    node.push(topology_change("NEW_NODE", "127.0.0.99", node.port))
    eventually(lambda: reading.hits)
    cluster.shutdown(0)
    eventually(lambda: not node.connections)
    assert not caplog.records


def test_submitted_work_is_waited_for(node: FakeNode) -> None:
    cluster = cluster_of(node)
    session = cluster.connect()
    submitted = session.submit(gevent.sleep, 0.1)
    assert not submitted.done()
    cluster.shutdown(timeout=10)
    assert submitted.successful() and submitted.done() and submitted.result() is None


def test_the_results_of_submitted_work(node: FakeNode) -> None:
    with cluster_of(node) as cluster:
        session = cluster.connect()
        assert session.submit(divmod, 7, 2).result() == session.submit(divmod, 7, 2).get() == (3, 1)
        assert session.submit(dict, a=1).result(timeout=5) == {"a": 1}
        never = session.submit(gevent.event.Event().wait)
        with pytest.raises(gevent.Timeout):
            never.result(timeout=0.01)
    with pytest.raises(DriverException, match="was ended before it was through"):
        never.result()


def test_a_callback_that_shuts_down(node: FakeNode) -> None:
    cluster = cluster_of(node)
    session = cluster.connect()
    ended = gevent.event.AsyncResult()

    def end(rows: Any) -> None:
        cluster.shutdown(timeout=5)
        ended.set(True)

    session.execute_async(slow(node, 0.01)).add_callback(end)
    assert ended.get(timeout=4)
    eventually(lambda: not node.connections)


def test_whoever_has_no_time_ends_it_for_all(node: FakeNode) -> None:
    node.on("SELECT never", NEVER)
    cluster = cluster_of(node)
    session = cluster.connect()
    future = session.execute_async("SELECT never", timeout=None)
    patient = gevent.spawn(cluster.shutdown, 60)
    gevent.sleep(0.02)
    assert not future.ready()
    cluster.shutdown()
    patient.get(timeout=5)
    with pytest.raises(ConnectionShutdown):
        future.result()
    cluster.shutdown(timeout=1)
    cluster.shutdown()


def test_a_greenlet_that_is_killed_while_it_shuts_down(node: FakeNode) -> None:
    node.on("SELECT never", NEVER)
    cluster = cluster_of(node)
    session = cluster.connect()
    future = session.execute_async("SELECT never", timeout=None)
    ending = gevent.spawn(cluster.shutdown, 60)
    gevent.sleep(0.02)
    ending.kill()
    with pytest.raises(ConnectionShutdown):
        future.result(timeout=5)
    eventually(lambda: not node.connections)


def test_a_cluster_that_was_never_connected(node: FakeNode) -> None:
    cluster = cluster_of(node)
    cluster.shutdown(timeout=5)
    cluster.shutdown()
    with pytest.raises(DriverException, match="shut down"):
        cluster.connect()


@pytest.mark.parametrize("timeout", [0.0, 5.0])
@pytest.mark.parametrize("opcode", [Opcode.STARTUP, Opcode.REGISTER, Opcode.QUERY])
def test_while_it_connects(node: FakeNode, opcode: Opcode, timeout: float) -> None:
    node.on(opcode, Ready().after(30))
    cluster = cluster_of(node, connect_timeout=60, control_connection_timeout=60)
    connecting = gevent.spawn(outcome, cluster.connect)
    gevent.sleep(0.05)
    cluster.shutdown(timeout)
    assert isinstance(connecting.get(timeout=5), DriverException | NoHostAvailable)
    eventually(lambda: not node.connections)


def test_a_cluster_whose_connecting_failed(node: FakeNode) -> None:
    cluster = cluster_of(node, connect_timeout=0.2)
    node.mute = True
    with pytest.raises(NoHostAvailable):
        cluster.connect()
    cluster.shutdown(timeout=1)


def test_another_thread(node: FakeNode) -> None:
    cluster = cluster_of(node)
    cluster.connect()
    result = gevent.get_hub().threadpool.spawn(outcome, cluster.shutdown, 1.0).get(timeout=5)
    gevent.get_hub().threadpool.kill()
    assert isinstance(result, WrongHubError)
    cluster.shutdown()


# -- at every point at which something is waited for --------------------------------------------------------------------


@contextmanager
def at_switch(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` in the hub behind the ``number``-th time that it is switched to."""
    hub, count = gevent.get_hub(), itertools.count(1)

    def trace(event: str, switched: Any) -> None:
        if switched[1] is hub and next(count) == number:
            hub.loop.run_callback(act)

    before = greenlet.settrace(trace)
    try:
        yield
    finally:
        greenlet.settrace(before)


def reconnect(session: Session, node: FakeNode) -> None:
    node.drop_connections()
    eventually(lambda: not pooled(session))
    eventually(lambda: pooled(session) or session.is_shutdown)


def prepare_again(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    node.unprepare_all()
    session.execute(prepared, (1,))


OPERATIONS: dict[str, Callable[[Session, FakeNode], object]] = {
    "reconnect": reconnect,
    "prepare": lambda session, node: session.prepare(BY_KEY),
    "prepare again": prepare_again,
    "set_keyspace": lambda session, node: session.set_keyspace("ks"),
    "pages": lambda session, node: list(session.execute("SELECT pages")),
    "imap": lambda session, node: list(session.imap(session.prepare(BY_KEY), ((key,) for key in range(20)), concurrency=3)),
    "metadata": lambda session, node: session.cluster.refresh_keyspace_metadata("ks"),
    "nodes": lambda session, node: session.cluster.refresh_nodes(),
    "another session": lambda session, node: session.cluster.connect("ks"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("no_log")
@pytest.mark.parametrize("black_hole", [False, True], ids=["answers", "black hole"])
@pytest.mark.parametrize("operation", ["connect", *OPERATIONS])
def test_at_every_point_of(node: FakeNode, operation: str, black_hole: bool) -> None:
    """Whoever waits is told within a second, nothing stays open, and nothing keeps the Cluster (pitfall C9)."""
    have_keyspaces(node, "ks")
    node.on("SELECT pages", paged([("v", "int")], [(i,) for i in range(6)], 2))
    points = 1
    while not _shut_down_at(points, node, operation, black_hole):
        points += 1
    print(f"{operation}: {points - 1} points")
    assert points > 5


def _shut_down_at(number: int, node: FakeNode, operation: str, black_hole: bool) -> bool:
    """Whether the operation was over before that."""
    cluster = cluster_of(node, schema_event_refresh_window=-1)
    reached = Event()

    def act() -> None:
        if black_hole:
            node.pause()
        reached.set()

    if operation != "connect":
        session = cluster.connect()
    with at_switch(number, act):
        if operation == "connect":
            running = gevent.spawn(outcome, cluster.connect)
        else:
            running = gevent.spawn(outcome, OPERATIONS[operation], session, node)
            del session
        gevent.wait([running, reached], count=1)
    was_over = not reached.is_set()
    started = time.monotonic()
    cluster.shutdown(timeout=0)
    ended = running.get(timeout=1)
    assert time.monotonic() - started < 1
    assert not isinstance(ended, Exception) or (isinstance(ended, ENDS) and not was_over), repr(ended)
    node.resume()
    eventually(lambda: not node.connections)
    gone = weakref.ref(cluster)
    del cluster, running, ended
    eventually(collected(gone))
    return was_over
