"""Signals to a process that waits for the driver: the main greenlet gets what their handlers raise, whatever it waits for, and
goes on with a driver that is as it was; or the process ends at once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import gevent
import psutil
import pytest
from gevent.event import Event

from tests.driver.processes import Child
from tests.driver.support import eventually, own_key, serve_keys
from tests.support.fakenode import NEVER, FakeNode, Opcode, Request, Rows, paged

ONE = Rows([("v", "int")], [(7,)])
ACTS = (
    "execute", "result", "get", "prepare", "pages", "imap", "execute_concurrent", "connect", "shutdown", "join", "sleep",
)  # fmt: skip
ENDS = {"SIGINT": "KeyboardInterrupt()", "SIGTERM": "SystemExit(3)"}
SECONDS = 2.0
LOOKS = 5


@pytest.fixture
def node() -> Iterator[FakeNode]:
    first_page = paged([("v", "int")], [(i,) for i in range(4)], 2)

    def stuck(request: Request, connection: object) -> object:
        return NEVER if request.paging_state else first_page(request, connection)

    with FakeNode() as started:
        serve_keys(started, lambda request, _: NEVER if request.params[0] < 0 else own_key(request))
        started.on("SELECT stuck", stuck)
        started.on("SELECT never", NEVER)
        started.on("SELECT mute", NEVER, opcode=Opcode.PREPARE)
        yield started


@pytest.fixture
def mute() -> Iterator[FakeNode]:
    with FakeNode(mute=True) as started:
        started.on("SELECT v", ONE)
        yield started


def send(child: Child, name: str) -> None:
    """Signal a process that waits: it has said so, and sleeps, since all that was to be sent or read is."""
    assert child.tell() == "waiting"
    process = psutil.Process(child.process.pid)

    def sleeps() -> bool:
        for _ in range(LOOKS):
            if process.status() != psutil.STATUS_SLEEPING:
                return False
            gevent.sleep(0.01)
        return True

    eventually(sleeps, 10)
    os.kill(child.process.pid, getattr(signal, name))


@pytest.mark.parametrize("patch", ["never", "first"])
@pytest.mark.parametrize("handler", ["python", "gevent"])
@pytest.mark.parametrize("name", ENDS)
def test_the_main_greenlet_is_told_and_goes_on(node: FakeNode, mute: FakeNode, name: str, handler: str, patch: str) -> None:
    gate = Event()
    node.on("SELECT gated", ONE.when(gate))
    child = Child("signalled.py", patch, handler, str(node.port), str(mute.port))
    for act in ACTS:
        child.say(act)
        send(child, name)
        assert child.tell() == ENDS[name], act
        mute.mute = act != "connect"
        gate.set()
        child.say("go on")
        assert child.tell() is True, act
        gate.clear()
    errors = child.end()
    right = errors == "" if name == "SIGTERM" else "geventcql.errors" not in errors and "Exception ignored" not in errors
    assert right, errors


@pytest.mark.parametrize(("name", "status"), [("SIGINT", -signal.SIGINT), ("SIGTERM", 3)])
@pytest.mark.parametrize("handler", ["python", "gevent"])
def test_the_process_ends(node: FakeNode, mute: FakeNode, handler: str, name: str, status: int) -> None:
    """Nobody catches it."""
    child = Child("signalled.py", "first", handler, str(node.port), str(mute.port))
    child.say("leave")
    send(child, name)
    errors = child.end(status, SECONDS)
    assert "Exception ignored" not in errors and "geventcql.errors" not in errors
