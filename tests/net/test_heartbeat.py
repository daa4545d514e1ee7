"""Liveness: who is asked and when, who is suspect, who is closed; a busy hub, slow peers and clocks are no dead peers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.errors import ConnectionException
from geventcql.net import heartbeat as heartbeat_module
from geventcql.net.connection import Connection
from geventcql.net.heartbeat import Heartbeat
from geventcql.net.scheduler import Scheduler
from tests.net.peers import Recorder, ThreadNode, connect, connected, send, template, wait_all
from tests.support.fakenode import NEVER as SILENCE
from tests.support.fakenode import FakeNode, Opcode, Supported, Void
from tests.support.invariants import HubError
from tests.support.waits import eventually

SUSPECT_AFTER = 0.1
TICK = 0.02


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times faster and more: what counts is the order of things."""
    monkeypatch.setattr(heartbeat_module, "SUSPECT_AFTER", SUSPECT_AFTER)
    monkeypatch.setattr(heartbeat_module, "TICK", TICK)


class Watched:
    """Heartbeat of some connections, and those that became suspect."""

    def __init__(self, *connections: Connection, interval: float | None, timeout: float) -> None:
        self.suspects: list[Connection] = []
        self.heartbeat = Heartbeat(
            Scheduler.for_hub(), lambda: list(connections), interval, timeout, lambda c: self.suspects.append(c)
        )

    def __enter__(self) -> Watched:
        self.heartbeat.start()
        self.heartbeat.start()  # harmless
        return self

    def __exit__(self, *_: object) -> None:
        self.heartbeat.stop()
        self.heartbeat.stop()


def _busy(seconds: float) -> None:
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        pass


@pytest.mark.usefixtures("quick")
def test_an_idle_connection_is_asked_once_an_interval() -> None:
    with FakeNode() as node, connected(node) as connection:
        with Watched(connection, interval=0.2, timeout=1) as watched:
            gevent.sleep(1.1)
        assert 2 <= node.count(Opcode.OPTIONS) <= 6
        assert connection.probe is None and connection.in_flight == 0 and not connection.closed
        assert watched.suspects == []
        asked = node.count(Opcode.OPTIONS)
        gevent.sleep(0.5)
        assert node.count(Opcode.OPTIONS) == asked, "stopped"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("interval", [0, None])
def test_switched_off(interval: float | None) -> None:
    with FakeNode() as node, connected(node) as connection, Watched(connection, interval=interval, timeout=1):
        before = len(Scheduler.for_hub())
        send(connection, "q", timeout=None)
        gevent.sleep(0.2)
        assert node.count(Opcode.OPTIONS) == 0 and len(Scheduler.for_hub()) == before


@pytest.mark.usefixtures("quick")
def test_a_connection_that_works_is_not_asked() -> None:
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void())
        with connected(node) as connection, Watched(connection, interval=0.3, timeout=1):
            for _ in range(60):
                wait_all([send(connection)])
                gevent.sleep(0.01)
        assert node.count(Opcode.OPTIONS) == 0


@pytest.mark.usefixtures("quick")
def test_silent_with_requests_in_flight() -> None:
    """Asked early, suspect, closed at the timeout with a cause that says so; every target told."""
    with FakeNode() as node:
        connection = connect(node)
        node.pause()
        began = time.monotonic()
        recorder = send(connection, timeout=None)
        with Watched(connection, interval=10, timeout=0.5) as watched:
            eventually(lambda: connection.suspect)
            suspected = time.monotonic() - began
            assert suspected >= 2 * SUSPECT_AFTER - TICK and "suspect" in repr(connection)
            assert watched.suspects == [connection] and connection.usable, "pick avoids it; nothing else"
            wait_all([recorder])
            assert time.monotonic() - began >= 0.5 + SUSPECT_AFTER - 2 * TICK
            assert watched.suspects == [connection], "once"
        assert recorder.event == "lost" and connection.closed
        assert isinstance(connection.cause, ConnectionException)
        assert "did not answer a heartbeat" in str(connection.cause) and str(connection.endpoint) in str(connection.cause)
        node.resume()


def test_suspect_after_two_seconds() -> None:
    """With the times that applications have."""
    with FakeNode() as node, connected(node) as connection:
        node.pause()
        began = time.monotonic()
        send(connection, timeout=None)
        with Watched(connection, interval=30, timeout=30):
            eventually(lambda: connection.suspect)
            assert 1.4 < time.monotonic() - began < 4
        node.resume()


@pytest.mark.usefixtures("quick")
def test_an_idle_peer_that_is_gone() -> None:
    with FakeNode() as node:
        connection = connect(node)
        node.pause()
        began = time.monotonic()
        with Watched(connection, interval=0.2, timeout=0.3):
            eventually(lambda: connection.closed)
        assert 0.5 - TICK <= time.monotonic() - began < 0.5 + 2, "the interval and the timeout, and what a busy machine adds"
        assert "did not answer a heartbeat" in str(connection.cause)
        node.resume()


@pytest.mark.usefixtures("quick")
def test_any_byte_clears_the_suspicion() -> None:
    with FakeNode() as node:
        gate = Event()
        node.on(Opcode.QUERY, Void().when(gate))
        node.on(Opcode.OPTIONS, Supported({}).when(gate))
        with connected(node) as connection, Watched(connection, interval=10, timeout=5) as watched:
            recorder = send(connection, timeout=None)
            eventually(lambda: connection.suspect)
            gate.set()
            assert wait_all([recorder]) == ["page"]
            assert not connection.suspect
            eventually(lambda: connection.probe is None)
            gate.clear()
            recorder = send(connection, timeout=None)
            eventually(lambda: connection.suspect)
            assert watched.suspects == [connection] * 2
            gate.set()
            wait_all([recorder])


@pytest.mark.usefixtures("quick")
def test_slow_answers_are_no_death() -> None:
    """A peer that leaves OPTIONS unanswered, but answers requests, lives; it is asked again later."""
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void().after(0.05))
        options = node.on(Opcode.OPTIONS, SILENCE)
        with connected(node) as connection, Watched(connection, interval=0.1, timeout=0.3) as watched:
            stop = time.monotonic() + 0.15
            eventually(lambda: options.hits == 1)
            while time.monotonic() < stop + 1.5:
                assert wait_all([send(connection)]) == ["page"]
            assert not connection.closed and watched.suspects == []
            options.remove()
            eventually(lambda: options.hits < node.count(Opcode.OPTIONS))


def test_who_has_been_asked_is_not_asked_again_before_the_answer() -> None:
    with FakeNode() as node:
        node.on(Opcode.OPTIONS, SILENCE)
        with connected(node) as connection:
            heartbeat = Watched(connection, interval=10, timeout=1).heartbeat
            for _ in range(3):
                heartbeat.ask(connection)
                assert connection.in_flight == 1


@pytest.mark.usefixtures("quick")
def test_the_late_answer_to_a_question_that_was_given_up() -> None:
    """It does not pass for the answer to the next one."""
    gate = Event()
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void())
        options = node.on(Opcode.OPTIONS, Supported({}).when(gate))
        with connected(node) as connection, Watched(connection, interval=0.1, timeout=1) as watched:
            eventually(lambda: options.hits)
            first = connection.probe
            assert wait_all([send(connection)]) == ["page"]
            eventually(lambda: connection.probe is not first)
            watched.heartbeat.stop()
            options.remove()
            node.on(Opcode.OPTIONS, SILENCE)
            watched.heartbeat.ask(connection)
            second = connection.probe
            gate.set()
            eventually(lambda: connection.table.late_replies or connection.probe is None)
            assert connection.probe is second is not None


@pytest.mark.usefixtures("quick")
def test_a_full_table_does_not_hide_a_dead_peer() -> None:
    """With every place taken by requests that nobody answers, the question must still get out."""
    with FakeNode() as node:
        connection = connect(node, max_in_flight=5)
        node.pause()
        waiting = [send(connection, timeout=None) for _ in range(5)]
        assert not connection.usable
        with Watched(connection, interval=10, timeout=0.3) as watched:
            assert wait_all(waiting, 5) == ["lost"] * 5
        assert watched.suspects == [connection] and "did not answer a heartbeat" in str(connection.cause)
        node.resume()


@pytest.mark.usefixtures("quick")
def test_a_full_socket_does_not_hide_a_dead_peer() -> None:
    with FakeNode(receive_buffer=4096) as node:
        connection = connect(node)
        node.pause()
        query = template("x" * 1_000_000, 4)
        waiting = [Recorder() for _ in range(50)]
        sent = [target for target in waiting if connection.send(target, query, b"") >= 0]
        assert 5 < len(sent) < 50
        with Watched(connection, interval=10, timeout=0.3):
            assert set(wait_all(sent, 5)) == {"lost"}
        node.resume()
        node.tolerate_violations = True


# --- a busy hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def alive() -> Iterator[ThreadNode]:
    """A node that does not wait for this thread's hub and answers in 5 ms."""
    with ThreadNode(delay=0.005) as node:
        yield node


@pytest.mark.patching
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("in_hub", [False, True])
def test_a_busy_hub_is_no_dead_peer(alive: ThreadNode, in_hub: bool) -> None:
    """CPU work for twice the heartbeat's timeout, at any moment, costs no connection (pitfall A7)."""
    rng = random.Random(1)
    connections = [connect(alive) for _ in range(3)]
    try:
        with Watched(*connections, interval=0.1, timeout=0.2) as watched:
            for _ in range(5):
                gevent.sleep(rng.uniform(0, 0.15))
                recorders = [send(connection, timeout=None) for connection in connections]
                if in_hub:
                    gevent.get_hub().loop.run_callback(_busy, 0.4)
                    gevent.sleep(0)
                else:
                    _busy(0.4)
                assert wait_all(recorders) == ["page"] * 3
            gevent.sleep(0.3)
            assert not any(connection.closed for connection in connections), connections
        assert watched.suspects == []
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.usefixtures("quick")
def test_busy_between_the_question_and_its_sending(alive: ThreadNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """By construction: the hub works on something else before the flush, so the question leaves after its own deadline."""
    real: Callable[..., Any] = Heartbeat.ask
    asked: list[float] = []

    def ask(self: Heartbeat, connection: Connection) -> None:
        real(self, connection)
        asked.append(time.monotonic())
        _busy(0.5)

    monkeypatch.setattr(Heartbeat, "ask", ask)
    with connected(alive) as connection, Watched(connection, interval=0.1, timeout=0.2) as watched:
        eventually(lambda: len(asked) >= 3, 10)
        gevent.sleep(0)
        assert not connection.closed, connection
        assert watched.suspects == []


@pytest.mark.usefixtures("quick")
def test_a_dead_peer_is_found_by_a_busy_process(alive: ThreadNode) -> None:
    """Being late now and then must not mean never judging."""
    with FakeNode() as node:
        connection = connect(node)
        node.pause()
        send(connection, timeout=None)
        with Watched(connection, interval=0.2, timeout=0.3):
            began = time.monotonic()
            while not connection.closed:
                _busy(0.05)
                gevent.sleep(0.01)
                assert time.monotonic() - began < 0.5 + 2
        node.resume()


# --- robustness ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_a_listener_that_raises_does_not_end_the_heartbeat(hub_errors: list[HubError]) -> None:
    def fail(connection: Connection) -> None:
        raise ZeroDivisionError("on purpose")

    with FakeNode() as node:
        connections = [connect(node) for _ in range(2)]
        node.pause()
        rounds = [0]

        def listed() -> list[Connection]:
            rounds[0] += 1
            return connections

        heartbeat = Heartbeat(Scheduler.for_hub(), listed, 0.1, 0.5, fail)
        heartbeat.start()
        eventually(lambda: all(connection.closed for connection in connections))
        before = rounds[0]
        eventually(lambda: rounds[0] > before + 3)
        heartbeat.stop()
        assert [error.text for error in hub_errors] == ["ZeroDivisionError: on purpose"] * 2
        hub_errors.clear()
        node.resume()


@pytest.mark.usefixtures("quick")
def test_stopped_by_its_own_listener() -> None:
    """As a shutdown that a suspicion sets off would: it stays stopped."""
    with FakeNode() as node, connected(node) as connection:
        node.pause()
        rounds = [0]

        def listed() -> list[Connection]:
            rounds[0] += 1
            return [connection]

        heartbeat = Heartbeat(Scheduler.for_hub(), listed, 0.1, 0.5, lambda connection: heartbeat.stop())
        heartbeat.start()
        eventually(lambda: connection.suspect)
        before = rounds[0]
        gevent.sleep(0.2)
        assert rounds[0] == before
        node.resume()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_wall_clock_steps(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeNode() as node, connected(node) as connection, Watched(connection, interval=0.1, timeout=0.3) as watched:
        gevent.sleep(0.15)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + step)
        asked = node.count(Opcode.OPTIONS)
        gevent.sleep(0.6)
        assert not connection.closed and watched.suspects == []
        assert node.count(Opcode.OPTIONS) > asked
