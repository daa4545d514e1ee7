"""Shared by the tests of the driver layer: a node that answers each key with itself, and ways to wait for states.

Every row that :func:`serve_keys` makes carries the key that it was asked for, so an answer that reaches the wrong
request shows.
"""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from geventcql.cluster import Cluster
from geventcql.session import Session
from tests.driver.publiccalls import BY_KEY, GATED
from tests.support.fakenode import FakeNode, Reply, Request, Rows, paged
from tests.support.waits import eventually as eventually

INSERT = "INSERT INTO t (k) VALUES (?)"


def own_key(request: Request, connection: Any = None) -> Reply:
    """One row with the key that was asked for."""
    return Rows([("k", "int")], [(request.params[0],)])


def serve_keys(node: Any, answer: Callable[..., Any] = own_key) -> None:
    """Have a FakeNode or FakeCluster answer :data:`BY_KEY`, and accept :data:`INSERT`."""
    node.on(BY_KEY, answer, rows=[("k", "int")], binds=[("k", "int")], pk_indexes=[0])
    node.prepare(INSERT, [("k", "int")], None, [0])


def serve_public_calls(node: FakeNode, gate: Event) -> None:
    """Have a FakeNode answer what :mod:`tests.driver.publiccalls` asks, some of it once the gate is open."""
    serve_keys(node)
    node.on(GATED, lambda request, connection: own_key(request).when(gate), rows=[("k", "int")], binds=[("k", "int")])
    node.on("SELECT pages", paged([("v", "int")], [(i,) for i in range(10)], 3))
    node.on("SELECT traced", Rows([("v", "int")], [(1,)]).with_trace(uuid.UUID(int=1)))
    have_keyspaces(node, "ks")


def have_keyspaces(node: FakeNode, *names: str) -> None:
    """Have a FakeNode say that there are these keyspaces."""
    node.system.keyspaces.update({name: {"class": "SimpleStrategy", "replication_factor": "1"} for name in names})


def cluster_of(node: Any, **options: Any) -> Cluster:
    """A Cluster, not connected, of a FakeNode or a FakeCluster."""
    addresses = [node.host] if isinstance(node, FakeNode) else node.addresses
    return Cluster(addresses, port=node.port, **options)


def pooled(session: Session) -> list[Any]:
    """The open connections that the Session's requests go over."""
    return [connection for pool in session.get_pools() for connection in pool.connections]


def settled(session: Session) -> bool:
    """Whether no connection has a request in flight or an orphan, and none waits for room."""
    return not session._admission and not any(c.in_flight or c.orphaned for c in pooled(session))


def collected(reference: Any) -> Callable[[], bool]:
    """Whether an object is gone."""
    return lambda: gc.collect() >= 0 and reference() is None


def outcome(fn: Callable[..., Any], *args: Any) -> Any:
    """What a call returns, or the exception it raises: for greenlets whose errors are expected."""
    try:
        return fn(*args)
    except Exception as error:
        return error


def in_hub(*functions: Callable[[], object]) -> None:
    """Run functions one after the other in one callback of the hub, and come back when they have run."""
    done = gevent.event.Event()

    def run() -> None:
        for function in functions:
            function()
        done.set()

    gevent.get_hub().loop.run_callback(run)
    done.wait()
