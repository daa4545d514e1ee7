"""Processes that fork after they have connected to a real node: right rows on each side, and connections of each one's own."""

from __future__ import annotations

import json
import os
from typing import Any

import gevent
import pytest
from gevent.fileobject import FileObject

from geventcql.concurrent import execute_concurrent_with_args
from geventcql.session import Session
from tests.integration.support import DDL_TIMEOUT, connect
from tests.support.preforking import ask_gunicorn, run_preforked

pytest_plugins = "tests.integration.fixtures"

KEYS = 1000
TIMEOUT = 60.0


@pytest.fixture(scope="module")
def select(sessions: dict[int, Session], ks: str) -> str:
    """A statement that gives the row of a key."""
    session = sessions[5]
    session.execute(f"CREATE TABLE {ks}.forked (k int PRIMARY KEY)", timeout=DDL_TIMEOUT)
    insert = session.prepare(f"INSERT INTO {ks}.forked (k) VALUES (?)")
    execute_concurrent_with_args(session, insert, [(key,) for key in range(KEYS)], concurrency=100)
    return f"SELECT k FROM {ks}.forked WHERE k = ?"


def child_of(session: Session, prepared: Any) -> Any:
    """Fork; what the child finds: whether its rows were right, and the ports of its connections."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            rows = [session.execute(prepared, (key,), timeout=TIMEOUT).one().k for key in range(100)]
            ports = [connection._transport._sock.getsockname()[1] for connection in session.get_pools()[0].connections]
            os.write(write_end, json.dumps({"right": rows == list(range(100)), "ports": ports}).encode())
        except Exception as error:
            os.write(write_end, json.dumps({"right": repr(error)}).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with gevent.Timeout(TIMEOUT), FileObject(read_end, "rb") as found:
        told = found.read()
    os.waitpid(pid, 0)
    return json.loads(told)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_thousand_requests_in_flight(cassandra: Any, select: str, version: int) -> None:
    """pitfalls: A1. The node's tables tell which connections there are."""
    with connect(cassandra, version, connect_timeout=TIMEOUT, control_connection_timeout=TIMEOUT) as cluster:
        session = cluster.connect()
        session.default_timeout = TIMEOUT
        prepared = session.prepare(select)
        futures = [session.execute_async(prepared, (key,), timeout=TIMEOUT) for key in range(KEYS)]
        found = child_of(session, prepared)
        assert found["right"] is True
        assert [future.result().one().k for future in futures] == list(range(KEYS))
        own = [connection._transport._sock.getsockname()[1] for connection in session.get_pools()[0].connections]
        clients = {row.port for row in session.execute("SELECT port FROM system_views.clients")}
        assert set(own) <= clients and not set(found["ports"]) & set(own)


def test_gunicorn_with_preload(cassandra: Any, select: str) -> None:
    answers = ask_gunicorn(cassandra.contact_points[0], cassandra.port, select, 200)
    assert len(answers) == 2


def test_workers_that_get_tasks_over_a_pipe_and_are_replaced(cassandra: Any, select: str) -> None:
    found = run_preforked("prefork", cassandra.contact_points[0], cassandra.port, select)
    assert found == {"right": [60, True], "own": [1200, True], "ended": 0}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(cassandra: Any, select: str, method: str) -> None:
    found = run_preforked(method, cassandra.contact_points[0], cassandra.port, select)
    assert found == {"right": True, "others": True, "exit": 0}
