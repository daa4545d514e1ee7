"""Waiting, killing and timing out: nobody is switched to twice, nothing is left behind, whatever the order of events."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult

from geventcql.session import Session
from geventcql.waiting import Waker, park
from tests.driver.support import BY_KEY, cluster_of, eventually, in_hub, own_key, pooled, serve_keys, settled
from tests.support.fakenode import FakeNode, Request, Rows

ALL_IDS = 32768


class Held:
    """Replies that the node keeps back until the test delivers them from within a callback of the hub."""

    def __init__(self, session: Session) -> None:
        self._connection = pooled(session)[0]
        self._deliver = self._connection._deliver
        self.batches: list[Any] = []
        self._connection._deliver = self.batches.append

    def arrived(self) -> None:
        """Wait until the next reply has been cut from the stream."""
        eventually(lambda: self.batches)

    def let_go(self) -> None:
        """Hand the replies to their targets, as the reader does."""
        batches, self.batches = self.batches, []
        for batch in batches:
            self._deliver(batch)

    def release(self) -> None:
        del self._connection._deliver
        self.let_go()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("reply_first", [True, False])
@pytest.mark.parametrize("error", [gevent.GreenletExit, gevent.Timeout, Interrupted])
def test_a_throw_and_the_reply_in_one_turn_of_the_hub(
    session: Session, node: FakeNode, error: type[BaseException], reply_first: bool
) -> None:
    prepared = session.prepare(BY_KEY)
    held = Held(session)
    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append(session.execute(prepared, (1,)).one().k)
        except BaseException as raised:
            outcome.append(type(raised))
        gevent.sleep(0.005)  # the next waits of the same greenlet must not be disturbed
        outcome.append(session.execute(prepared, (2,)).one().k)
        gevent.sleep(0)
        outcome.append("end")

    asker = gevent.spawn(ask)
    held.arrived()
    events: list[Callable[[], object]] = [held.let_go, lambda: asker.throw(error)]
    in_hub(*(events if reply_first else reversed(events)))
    held.release()
    asker.get()
    assert outcome == [error, 2, "end"]
    assert settled(session)


@pytest.mark.parametrize("reply_first", [True, False])
def test_a_kill_scheduled_with_the_reply(session: Session, reply_first: bool) -> None:
    """kill() throws in a later turn, between the reply and the waking or behind both."""
    prepared = session.prepare(BY_KEY)
    held = Held(session)
    left: list[str] = []

    def ask() -> None:
        try:
            session.execute(prepared, (1,))
            gevent.sleep(5)
        finally:
            gevent.sleep(0.002)
            left.append("finally")

    asker = gevent.spawn(ask)
    held.arrived()
    events: list[Callable[[], object]] = [held.let_go, lambda: asker.kill(block=False)]
    in_hub(*(events if reply_first else reversed(events)))
    held.release()
    asker.join()
    assert left == ["finally"] and settled(session)
    assert session.execute(prepared, (3,)).one().k == 3


def test_a_timeout_that_is_due_when_the_reply_comes(session: Session) -> None:
    prepared = session.prepare(BY_KEY)
    held = Held(session)

    def ask() -> str:
        with gevent.Timeout(0.02) as timeout:
            try:
                session.execute(prepared, (1,))
            except gevent.Timeout as raised:
                assert raised is timeout
                return "timeout"
        return "reply"

    asker = gevent.spawn(ask)
    held.arrived()
    # The hub is kept busy past the timeout, so that the timer and the callback with the reply run in the same turn.
    gevent.get_hub().loop.run_callback(_burn, 0.03)
    gevent.get_hub().loop.run_callback(held.let_go)
    assert asker.get() in ("timeout", "reply")
    held.release()
    gevent.sleep(0.01)
    assert session.execute(prepared, (2,)).one().k == 2
    assert settled(session)


def _burn(seconds: float) -> None:
    from time import monotonic

    end = monotonic() + seconds
    while monotonic() < end:
        pass


@pytest.mark.parametrize("version", [4, 5])
def test_ten_thousand_kills_and_timeouts_leave_nothing(node: FakeNode, version: int) -> None:
    with cluster_of(node, protocol_version=version) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        _kill_ten_thousand(node, session, prepared)
        _ask_at_once(node, session, prepared, 2000)


@pytest.mark.slow
def test_all_stream_ids_are_there_behind_ten_thousand_kills(node: FakeNode) -> None:
    """As many requests in flight as the protocol has ids: none is lost (pitfall A9)."""
    with cluster_of(node, max_requests_in_flight=ALL_IDS) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        _kill_ten_thousand(node, session, prepared)
        _ask_at_once(node, session, prepared, ALL_IDS)


def _kill_ten_thousand(node: FakeNode, session: Session, prepared: Any) -> None:
    rng = random.Random(20261123)
    delays = random.Random(1)

    def sometimes_late(request: Request, connection: Any) -> Any:
        reply = own_key(request)
        return reply if delays.random() < 0.8 else reply.after(delays.random() * 0.008)

    serve_keys(node, sometimes_late)
    node.record = False
    wrong: list[Any] = []
    ended = [0, 0, 0]
    orphaned = 0

    def one(key: int, after: float) -> None:
        try:
            with gevent.Timeout(after):
                if session.execute(prepared, (key,)).one().k != key:
                    wrong.append(key)
                ended[0] += 1
        except gevent.Timeout:
            ended[1] += 1

    def killed(key: int) -> None:
        try:
            if session.execute(prepared, (key,)).one().k != key:
                wrong.append(key)
            ended[0] += 1
        except gevent.GreenletExit:
            ended[2] += 1

    for start in range(0, 10_000, 25):
        greenlets = []
        for key in range(start, start + 25):
            if rng.random() < 0.5:
                greenlets.append(gevent.spawn(one, key, rng.random() * 0.005 + 1e-6))
            else:
                greenlet = gevent.spawn(killed, key)
                gevent.spawn_later(rng.random() * 0.005, greenlet.kill, block=False)
                greenlets.append(greenlet)
        gevent.joinall(greenlets, raise_error=True)
        # The node still holds answers back, and nobody waits for them any more.
        assert not any(connection.in_flight for connection in pooled(session))
        orphaned += sum(connection.orphaned for connection in pooled(session))
    assert not wrong
    assert all(ended), ended
    assert orphaned > 100
    eventually(lambda: settled(session))
    for connection in pooled(session):
        connection.check_invariants()


def _ask_at_once(node: FakeNode, session: Session, prepared: Any, count: int) -> None:
    gate = gevent.event.Event()
    serve_keys(node, lambda request, connection: own_key(request).when(gate))
    [connection] = pooled(session)
    futures = [session.execute_async(prepared, (key,), timeout=60) for key in range(count)]
    assert connection.in_flight == count and not session._admission
    gate.set()
    assert [future.result().one().k for future in futures] == list(range(count))
    eventually(lambda: settled(session))


# -- the model: park and Waker by themselves ---------------------------------------------------------------------------


class Future(AsyncResult):  # type: ignore[misc]
    """The least that park and Waker need."""

    def __init__(self) -> None:
        super().__init__()
        self._waiter: Any = None
        self.waker = Waker.for_hub()

    def end(self) -> None:
        self.set("answer")
        if self._waiter is not None:
            self.waker.wake(self)

    def result(self) -> Any:
        if not self.ready():
            if self._waiter is None:
                park(self, gevent.get_hub())
            else:
                return self.get()
        return self.get()


EVENTS = ("reply", "kill", "timeout", "second", "get")


@pytest.mark.parametrize("together", [True, False], ids=["one turn", "turns apart"])
def test_every_order_of_reply_kill_timeout_and_other_waiters(together: bool) -> None:
    """Each waiter ends once, by the first of what can end it, and its next wait is not disturbed."""
    for count in range(1, len(EVENTS) + 1):
        for order in itertools.permutations(EVENTS, count):
            if "reply" in order:
                _play(order, together)


def _play(order: tuple[str, ...], together: bool) -> None:
    future = Future()
    log: list[tuple[str, str]] = []

    def waiter(name: str, wait: Callable[[], Any]) -> None:
        try:
            how = wait()
        except gevent.Timeout:
            how = "timeout"
        except gevent.GreenletExit:
            how = "kill"
        log.append((name, how))
        gevent.sleep(0.001)  # a switch that was meant for the wait before would end this one at once
        log.append((name, "slept"))

    greenlets = {"first": gevent.spawn(waiter, "first", future.result)}
    gevent.sleep(0)
    actions: dict[str, Callable[[], object]] = {
        "reply": future.end,
        "kill": lambda: greenlets["first"].dead or greenlets["first"].throw(gevent.GreenletExit),
        "timeout": lambda: greenlets["first"].dead or greenlets["first"].throw(gevent.Timeout),
        "second": lambda: greenlets.update(second=gevent.spawn(waiter, "second", future.result)),
        "get": lambda: greenlets.update(get=gevent.spawn(waiter, "get", future.get)),
    }
    throws = [event for event in order if event in ("kill", "timeout")]
    played = [event for event in order if event not in throws[1:]]  # one throw is enough: the next would hit the sleep
    if together:
        in_hub(*(actions[event] for event in played))
    else:
        for event in played:
            in_hub(actions[event])
            if event in ("reply", "kill", "timeout") and greenlets["first"].gr_frame is not None:
                gevent.sleep(0)
            if event == "reply" and throws and played.index(throws[0]) > played.index("reply"):
                break  # the first waiter has left: what is thrown now belongs to its sleep
    gevent.joinall(list(greenlets.values()), timeout=2, raise_error=True)
    ends = {name: how for name, how in log if how != "slept"}
    assert len(log) == 2 * len(greenlets), (order, log)
    for name in greenlets:
        assert [entry[0] for entry in log].count(name) == 2, (order, log)
        if name != "first":
            assert ends[name] == "answer", (order, log)
    assert ends["first"] in {"answer", *throws[:1]}, (order, log)
    if throws and played.index(throws[0]) < played.index("reply"):
        assert ends["first"] == throws[0], (order, log)
    assert future._waiter is None, order


def test_waking_goes_on_after_a_waiter_that_raises(hub_errors: list[Any]) -> None:
    import greenlet

    bad, good = Future(), Future()

    def fail() -> None:
        park(bad, gevent.get_hub())
        raise Interrupted

    raw = greenlet.greenlet(fail, gevent.get_hub())
    gevent.get_hub().loop.run_callback(raw.switch)
    waiting = gevent.spawn(good.result)
    gevent.sleep(0)
    in_hub(bad.end, good.end)
    assert waiting.get(timeout=1) == "answer"
    assert [error.type for error in hub_errors] == [Interrupted]
    hub_errors.clear()


def test_a_thousand_waiters_wake_in_the_order_in_which_they_ended() -> None:
    futures = [Future() for _ in range(1000)]
    woken: list[int] = []
    greenlets = [gevent.spawn(lambda i, f: (f.result(), woken.append(i)), i, f) for i, f in enumerate(futures)]
    gevent.sleep(0)
    order = list(range(1000))
    random.Random(7).shuffle(order)
    in_hub(*(futures[i].end for i in order))
    gevent.joinall(greenlets, timeout=5, raise_error=True)
    assert woken == order


def test_rows_of_a_killed_request_reach_nobody(session: Session, node: FakeNode) -> None:
    gate = gevent.event.Event()
    node.on("SELECT slow FROM t", Rows([("slow", "int")], [(1,)]).when(gate))
    asker = gevent.spawn(session.execute, "SELECT slow FROM t")
    node.wait_for(lambda n: n.count("SELECT slow FROM t"))
    asker.kill()
    connection = pooled(session)[0]
    assert (connection.in_flight, connection.orphaned) == (0, 1)
    gate.set()
    eventually(lambda: settled(session))
