"""The invariant checker and the hard timeout, each in a pytest of its own on a file made for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEAKS = '''
import os, sys, types
import gevent, greenlet, pytest
from gevent import socket
from tests.support import invariants

invariants.SETTLE_SECONDS = 0.8
kept = []

def test_clean():
    gevent.spawn(gevent.sleep, 0.05)
    gevent.get_hub().threadpool.apply(lambda: None)
    a, b = socket.socketpair()
    a.close(), b.close()

def test_greenlet():
    kept.append(gevent.spawn(gevent.sleep, 100))

def test_raw_greenlet():
    raw = greenlet.greenlet(lambda: gevent.get_hub().switch())
    kept.append(raw)
    gevent.get_hub().loop.run_callback(raw.switch)
    raw.parent = gevent.get_hub()
    gevent.sleep(0)

def test_descriptor():
    kept.append(os.open("/", os.O_RDONLY))

def test_socket():
    kept.extend(socket.socketpair())

def test_hub_error():
    gevent.spawn(lambda: 1 / 0)
    gevent.sleep(0.01)

def test_hub_error_expected(hub_errors):
    gevent.spawn(lambda: 1 / 0)
    gevent.sleep(0.01)
    assert [error.type for error in hub_errors] == [ZeroDivisionError]
    hub_errors.clear()

@pytest.mark.allow_leaks("it is about the marker")
def test_allowed():
    kept.append(gevent.spawn(gevent.sleep, 100))

@pytest.mark.allow_leaks()
def test_allowed_without_reason():
    pass

def test_failing_and_leaking():
    kept.append(gevent.spawn(gevent.sleep, 100))
    assert False, "the reason of this failure"

def test_after_all_is_clean_again():
    pass
'''

DRIVER = """
import logging
import gevent, geventcql, pytest
from geventcql.net.connection import Connection
from geventcql.net.pool import HostPool
from geventcql.response import ResponseFuture
from tests.driver.support import pooled
from tests.support import invariants
from tests.support.fakenode import FakeNode, Rows

invariants.SETTLE_SECONDS = 0.3
kept, lists = [], []
log = logging.getLogger("geventcql.something")

@pytest.fixture(scope="module")
def node():
    with FakeNode() as node:
        node.on("SELECT k", Rows([("k", "int")], [(1,)]))
        node.on("SELECT never", lambda *args: None)
        yield node

@pytest.fixture
def session(node):
    with geventcql.connect([node.host], port=node.port) as session:
        yield session

@pytest.fixture(scope="module")
def held(node):
    with geventcql.connect([node.host], port=node.port) as session:
        yield session

def test_clean(session):
    session.execute("SELECT k")
    with gevent.Timeout(0.01, False):
        session.execute("SELECT never")
    future = session.execute_async("SELECT never")

def test_orphans_stay_in_flight(session, monkeypatch):
    monkeypatch.setattr(Connection, "orphan", lambda *args: False)
    with gevent.Timeout(0.01, False):
        session.execute("SELECT never")

def test_told_twice(session, monkeypatch):
    finish = ResponseFuture.finish
    monkeypatch.setattr(ResponseFuture, "finish", lambda self, page: (finish(self, page), finish(self, page)))
    session.execute("SELECT k")

def test_never_told(session, monkeypatch):
    monkeypatch.setattr(ResponseFuture, "fail", lambda self, error: None)
    kept.append(session.execute_async("SELECT never", timeout=0.01))
    gevent.sleep(0.05)

def test_dropped(session, monkeypatch):
    monkeypatch.setattr(ResponseFuture, "fail", lambda self, error: None)
    session.execute_async("SELECT never", timeout=0.01)
    gevent.sleep(0.05)

def test_kept_after_its_shutdown(node):
    with geventcql.connect([node.host], port=node.port) as session:
        pass
    lists.append([session.cluster])

def test_switches(session, monkeypatch):
    finish = ResponseFuture.finish
    monkeypatch.setattr(ResponseFuture, "finish", lambda self, page: (gevent.sleep(0), finish(self, page)))
    session.execute("SELECT k")

def test_unexpected_in_the_log():
    log.warning("a node is %s", "away")

def test_an_unexpected_traceback():
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("a bug")

@pytest.mark.logs("WARNING a node is away", "ZeroDivisionError a bug")
def test_expected_in_the_log(caplog):
    test_unexpected_in_the_log()
    test_an_unexpected_traceback()
    log.info("not looked at")
    assert "division by zero" in caplog.text

def test_open_without_a_cluster(node, monkeypatch):
    monkeypatch.setattr(HostPool, "shutdown", lambda self: None)
    with geventcql.connect([node.host], port=node.port) as session:
        kept.extend(pooled(session))

def test_clean_held(held):
    held.execute("SELECT k")

def test_in_flight_for_ever(held):
    class Target:
        def on_lost(self, connection, cause):
            pass
    for _ in range(50):
        pooled(held)[0].table.acquire(Target())

def test_host_that_is_looked_at_too_late(held):
    [supervisor] = held.cluster._registry._supervisors.values()
    supervisor.size = supervisor.pools[0].size = 2
    gevent.sleep(0)
    assert supervisor.due() is not None and supervisor._reconciler._waits_until is None

def test_host_without_a_supervisor(held):
    for supervisor in held.cluster._registry._supervisors.values():
        supervisor._reconciler._begin = lambda delay: None
        supervisor._reconciler.kill()
"""

HANGS = """
import time
import gevent, pytest

def stuck_helper():
    gevent.sleep(1000)

@pytest.mark.timeout(0.3)
def test_waits():
    helper = gevent.spawn(stuck_helper)
    try:
        helper.join()
    finally:
        helper.kill()

@pytest.mark.timeout(20)
def test_next():
    pass
"""

BLOCKS = """
import time
import pytest
from tests.support import watchdog

watchdog.GRACE_SECONDS = 0.3

@pytest.mark.timeout(0.3)
def test_blocks():
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        pass
"""


def _pytest(directory: Path, text: str) -> tuple[int, str]:
    file = directory / "test_inner.py"
    file.write_text(text)
    names = ("tests.support.invariants", "tests.support.watchdog", "pytest_timeout", "no:cacheprovider")
    plugins = [argument for name in names for argument in ("-p", name)]
    command = [sys.executable, "-m", "pytest", "-v", "-rA", *plugins, f"--rootdir={directory}", str(file)]
    # under CI pytest repeats the whole text of a failure in its summary, so that it could not be counted
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode()


def _outcomes(output: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for outcome, name in re.findall(r"^(PASSED|FAILED|ERROR) \S*::(\w+)", output, re.MULTILINE):
        found.setdefault(name, set()).add(outcome)
    return found


def test_what_is_left_behind_is_found(tmp_path: Path) -> None:
    code, output = _pytest(tmp_path, LEAKS)
    assert code == 1
    outcomes = _outcomes(output)
    assert outcomes.pop("test_failing_and_leaking") == {"FAILED"}
    clean = {"test_clean", "test_hub_error_expected", "test_allowed", "test_after_all_is_clean_again"}
    assert {name for name, outcome in outcomes.items() if outcome == {"PASSED"}} == clean
    assert all(outcome in ({"PASSED"}, {"PASSED", "ERROR"}, {"ERROR"}) for outcome in outcomes.values())
    assert output.count("greenlet left: ") == 3
    assert "descriptor left: " in output and "socket:[" in output
    assert output.count("hub error: ZeroDivisionError") == 1
    assert "allow_leaks needs a reason" in output
    assert "the reason of this failure" in output


def test_the_drivers_state_is_checked(tmp_path: Path) -> None:
    """By a driver with one fault at a time."""
    code, output = _pytest(tmp_path, DRIVER)
    assert code == 1
    outcomes = _outcomes(output)
    faults = {
        "test_orphans_stay_in_flight": "in flight though it has ended: ",
        "test_told_twice": "a future was ended again, by <Page 1 columns",
        "test_never_told": "future never told: ",
        "test_dropped": "a request was dropped before its future was told",
        "test_in_flight_for_ever": "in flight, and nobody waits: ",
        "test_open_without_a_cluster": "connection open while every cluster is shut down: ",
        "test_host_that_is_looked_at_too_late": "looked at not before None",
        "test_kept_after_its_shutdown": "still there: <Cluster fake shut down",
        "test_switches": "a switch in Sender._deliver",
        "test_unexpected_in_the_log": "unexpected in the log: WARNING a node is away",
        "test_an_unexpected_traceback": "unexpected in the log: ZeroDivisionError a bug",
        "test_host_without_a_supervisor": "has died",
    }
    assert {name for name, outcome in outcomes.items() if "ERROR" in outcome} == set(faults)
    assert {name for name, outcome in outcomes.items() if outcome == {"PASSED"}} == {
        "test_clean", "test_clean_held", "test_expected_in_the_log"
    }  # fmt: skip
    for name, text in faults.items():
        assert text in output, name


def test_a_test_that_waits_too_long_fails_with_stacks_and_the_next_one_runs(tmp_path: Path) -> None:
    code, output = _pytest(tmp_path, HANGS)
    assert code == 1
    assert _outcomes(output) == {"test_waits": {"FAILED"}, "test_next": {"PASSED"}}
    assert "timeout: still running after 0.3 s" in output
    assert "stuck_helper" in output and "Thread 0x" in output


@pytest.mark.parametrize("patched", [False, True])
def test_a_test_that_blocks_the_hub_ends_the_process_with_stacks(tmp_path: Path, patched: bool) -> None:
    code, output = _pytest(tmp_path, ("from gevent import monkey; monkey.patch_all()\n" if patched else "") + BLOCKS)
    assert code == 1
    assert "in test_blocks" in output and "the hub is blocked" in output
