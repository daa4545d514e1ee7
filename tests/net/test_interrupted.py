"""Signals whose handlers raise in the hub: the main greenlet gets what they raise, and nothing that was under way is lost.

CPython runs handlers where it next comes to Python code, which is most often the beginning of whatever the hub calls. The
test's own greenlet is the main one.
"""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from geventcql.cython.wire import Page
from geventcql.net.connection import Connection
from geventcql.net.heartbeat import Heartbeat
from geventcql.net.scheduler import Scheduler
from tests.net.peers import Recorder, connected, send, template, wait_all
from tests.support.fakenode import NEVER, FakeNode, Rows
from tests.support.invariants import HubError
from tests.support.waits import eventually

ONE = Rows([("v", "int")], [(1,)])


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as started:
        started.on("SELECT v", ONE)
        started.on("SELECT never", NEVER)
        yield started


def interrupt_next() -> None:
    """SIGINT comes in the hub, right before what it is to call next."""
    gevent.get_hub().loop.run_callback(_thread.interrupt_main)


def is_interrupted(act: Callable[[], object], errors: list[HubError]) -> bool:
    """Whether KeyboardInterrupt comes of that, here and to the hub."""
    with pytest.raises(KeyboardInterrupt):
        act()
        gevent.sleep(1)
    told = [error.type for error in errors]
    errors.clear()
    return told == [KeyboardInterrupt]


@pytest.mark.parametrize("version", [4, 5])
def test_before_a_flush(node: FakeNode, version: int, hub_errors: list[HubError]) -> None:
    with connected(node, version) as connection:
        interrupt_next()
        recorder = send(connection, "SELECT v")
        assert is_interrupted(lambda: None, hub_errors)
        assert wait_all([recorder], 1) == ["page"]


def test_between_what_the_timer_calls(hub_errors: list[HubError], monkeypatch: pytest.MonkeyPatch) -> None:
    class Lag:
        def record(self, *_: float) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt

    scheduler = Scheduler.for_hub()
    called: list[str] = []
    monkeypatch.setattr(scheduler, "lag", Lag())
    scheduler.call_later(0, called.append, "first")
    assert is_interrupted(lambda: None, hub_errors)
    eventually(lambda: called == ["first"])


def test_in_what_the_timer_calls(hub_errors: list[HubError]) -> None:
    """It is called again, and so are those behind it."""
    scheduler = Scheduler.for_hub()
    called: list[str] = []

    def interrupted() -> None:
        called.append("interrupted")
        if len(called) == 1:
            raise KeyboardInterrupt

    def act() -> None:
        scheduler.call_later(0, interrupted)
        scheduler.call_later(0, called.append, "next")

    assert is_interrupted(act, hub_errors)
    eventually(lambda: len(called) == 3)
    assert sorted(called) == ["interrupted", "interrupted", "next"]


def test_a_deadline(node: FakeNode, hub_errors: list[HubError], monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(node) as connection:
        looked: list[bool] = []

        def drain_socket() -> bool:
            looked.append(True)
            if len(looked) == 1:
                raise KeyboardInterrupt
            return False

        monkeypatch.setattr(connection, "drain_socket", drain_socket)
        recorder = send(connection, "SELECT never", timeout=0.05)
        assert is_interrupted(lambda: None, hub_errors)
        assert wait_all([recorder], 1) == ["timeout"]
        assert wait_all([send(connection, "SELECT never", timeout=0.05)], 1) == ["timeout"]


class Interrupted(Recorder):
    """A signal's handler runs right before it is told, the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _tell(self, event: str, argument: Any) -> None:
        self.calls += 1
        if self.calls == 1:
            raise KeyboardInterrupt
        super()._tell(event, argument)


class Broken(Recorder):
    def _tell(self, event: str, argument: Any) -> None:
        super()._tell(event, argument)
        raise RuntimeError("of a target")


def targets_of(connection: Connection, text: str, timeout: float | None) -> list[Recorder]:
    """Of requests that are in flight, an interrupted one among them."""
    targets = [Recorder(), Interrupted(), Recorder()]
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    for target in targets:
        assert connection.send(target, template(text, connection.version), b"", 0, None, deadline) >= 0
    return targets


def test_a_target_whose_time_has_passed(node: FakeNode, hub_errors: list[HubError]) -> None:
    with connected(node) as connection:
        targets = targets_of(connection, "SELECT never", 0.05)
        assert is_interrupted(lambda: None, hub_errors)
        assert wait_all(targets, 1) == ["timeout"] * 3
        assert not connection.closed and wait_all([send(connection, "SELECT never", timeout=0.05)], 1) == ["timeout"]


def test_a_target_that_gets_its_reply(node: FakeNode, hub_errors: list[HubError]) -> None:
    with connected(node) as connection:
        targets = targets_of(connection, "SELECT v", None)
        assert is_interrupted(lambda: None, hub_errors)
        assert wait_all(targets, 1) == ["page"] * 3
        assert "KeyboardInterrupt" in str(connection.cause)


def test_an_interrupt_before_an_error_of_another_target(node: FakeNode, hub_errors: list[HubError]) -> None:
    """It is not forgotten for the error."""
    with connected(node) as connection:
        told: list[tuple[Any, Any]] = [(Interrupted(), Page.void()), (Broken(), Page.void()), (Recorder(), Page.void())]
        with pytest.raises(KeyboardInterrupt):
            connection._deliver(told)
        assert [target.event for target, _ in told] == ["page"] * 3


@pytest.mark.parametrize("where", ["target", "on_close", "socket"])
def test_the_end(where: str, node: FakeNode, hub_errors: list[HubError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets are told of it, and so is the owner."""
    with connected(node) as connection:
        targets = [send(connection, "SELECT never"), send(connection, "SELECT never")]
        if where == "target":
            targets = targets_of(connection, "SELECT never", None)
        closings: list[Any] = []
        interrupts = [KeyboardInterrupt] if where != "target" else []

        def on_close(closed: Connection, cause: BaseException | None) -> None:
            if where == "on_close" and interrupts:
                raise interrupts.pop()
            closings.append(cause)

        def close() -> None:
            monkeypatch.undo()
            connection._transport.close()
            raise interrupts.pop()

        connection.on_close = on_close
        if where == "socket":
            monkeypatch.setattr(connection._transport, "close", close)
        with pytest.raises(KeyboardInterrupt):
            connection.close()
        assert not interrupts and closings == [None]
        assert {target.event for target in targets} == {"lost"}
        connection.check_invariants()
    hub_errors.clear()


def test_a_heartbeat(hub_errors: list[HubError]) -> None:
    """It goes on, and does not beat twice as often."""
    scheduler = Scheduler.for_hub()
    beats: list[int] = []
    before = len(scheduler)

    def connections() -> list[object]:
        beats.append(len(scheduler) - before)
        if len(beats) == 2:
            raise KeyboardInterrupt
        return []

    heartbeat = Heartbeat(scheduler, connections, 0.02, 1)  # type: ignore[arg-type]
    heartbeat.start()
    assert is_interrupted(lambda: None, hub_errors)
    eventually(lambda: len(beats) > 6)
    heartbeat.stop()
    assert set(beats) == {1} and len(scheduler) == before
