"""Use from another thread than the one that connected: a named error at once, and nothing of the owner's is damaged.

Every public method is either in `publiccalls`, and raises WrongHubError, or here among those that only read or set state.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gevent
import pytest
from gevent.event import Event

import geventcql
from geventcql.cluster import Cluster
from geventcql.errors import WrongHubError
from geventcql.familiar import Submitted
from geventcql.response import ResponseFuture
from geventcql.resultset import ResultSet
from geventcql.session import Session
from tests.driver.publiccalls import SOON, Owned, calls
from tests.driver.support import eventually, outcome, serve_public_calls
from tests.support.fakenode import FakeNode
from tests.support.native import Thread

ONLY_STATE: Mapping[type, set[str]] = {
    Session: {
        "add_request_init_listener", "remove_request_init_listener", "execute_graph", "execute_graph_async",
        "execution_profile_clone_update", "get_execution_profile", "get_pool_state", "get_pools", "hosts",
        "max_requests_per_second",
    },
    Cluster: {
        "get_connection_holders", "get_control_connection_host", "get_core_connections_per_host",
        "get_max_connections_per_host", "get_max_requests_per_connection", "get_min_requests_per_connection", "listeners",
        "load_of", "metrics", "register_listener", "set_max_connections_per_host", "set_max_requests_per_connection",
        "set_meta_refresh_enabled", "set_min_requests_per_connection", "unregister_listener",
        "connection_factory",  # a connection of the calling thread's own
    },
    ResponseFuture: {
        "attempted_hosts", "clear_callbacks", "coordinator_host", "fail", "fetch_after", "finish", "is_schema_agreed",
        "message", "of", "page_of", "prepared_statement", "query", "request_encoded_size", "row_factory",
        "session", "timeout", "value",
    },
    ResultSet: {
        "cancel_continuous_paging", "column_names", "column_types", "current_rows", "has_more_pages", "one", "paging_state",
        "was_applied",
    },
    Submitted: {"done", "is_of_parent", "rawlink", "switch", "throw"},
}  # fmt: skip


@pytest.fixture
def gate() -> Event:
    return Event()


@pytest.fixture
def node(gate: Event) -> Iterator[FakeNode]:
    with FakeNode() as node:
        serve_public_calls(node, gate)
        yield node


@pytest.fixture
def owned(node: FakeNode) -> Iterator[Owned]:
    with geventcql.connect([node.host], port=node.port) as session:
        owned = Owned(session)
        next(owned.ordered)
        next(owned.unordered)
        yield owned


def goes_on(owned: Owned, gate: Event) -> None:
    """All of it goes on in its own thread."""
    gate.set()
    assert owned.pending.result().one().k == 7
    assert [row.v for row in owned.first] == list(range(10))
    assert [*owned.seen, *[row.v for row in owned.iteration]] == list(range(10))
    assert [result.one().k for result in owned.ordered] == list(range(1, 9))
    assert len(list(owned.unordered)) == 8
    assert [result.result_or_exc.one().k for result in owned.generated] == [1, 2]
    assert owned.concurrent.get()[0].result_or_exc.one().k == 8
    assert owned.submitted.result() == 9
    assert owned.session.execute(owned.prepared, (3,)).one().k == 3


def in_thread(work: Callable[[], None]) -> None:
    def run() -> None:
        work()
        gevent.get_hub().destroy(destroy_loop=True)  # some calls had one made

    thread = Thread(run)
    thread.start()
    thread.join()


def in_pool(work: Callable[[], None]) -> None:
    pool = gevent.get_hub().threadpool
    pool.spawn(work).get()
    pool.kill()


def in_hub_of_its_own(work: Callable[[], None]) -> None:
    """In a greenlet of a thread that has a hub, which runs."""

    once = [work]  # a thread that has gone may be cleared away late, and is not to keep what the test has
    in_thread(lambda: gevent.spawn(once.pop()).join())


@pytest.mark.parametrize("run", [in_thread, in_pool, in_hub_of_its_own])
def test_another_thread_gets_a_named_error_at_once(
    node: FakeNode, owned: Owned, gate: Event, run: Callable[..., None]
) -> None:
    """pitfalls: A10."""
    found: dict[tuple[str, str], tuple[Any, bool]] = {}

    def foreign() -> None:
        for kind, named in calls(owned).items():
            for name, call in named.items():
                started = time.monotonic()
                raised = type(outcome(call))
                found[(kind.__name__, name)] = (raised, time.monotonic() - started < SOON)

    def in_flight() -> Any:
        (state,) = owned.session.get_pool_state().values()
        return state["in_flights"], state["orphan_requests"], state["unsent_bytes"]

    eventually(lambda: in_flight() == ([3], [0], [0]))
    sent = len(node.requests)
    run(foreign)
    assert {call: how for call, how in found.items() if how != (WrongHubError, True)} == {}
    assert in_flight() == ([3], [0], [0]) and len(node.requests) == sent
    goes_on(owned, gate)


def test_what_only_reads_works_in_another_thread(owned: Owned, gate: Event) -> None:
    session, cluster = owned.session, owned.cluster
    found: list[Any] = []

    def foreign() -> None:
        found.append(f"{session!r} {cluster!r} {owned.pending!r} {owned.first!r}")
        found.append((session.get_pool_state(), session.hosts, cluster.metadata.all_hosts()))
        found.append((owned.first.one().v, owned.first.current_rows, owned.first.has_more_pages))
        found.append((owned.pending.ready(), owned.pending.value, owned.first.response_future.result().one().v))
        found.append(cluster.get_control_connection_host())

    in_thread(foreign)
    assert len(found) == 5 and found[2][0] == 0 and found[3] == (False, None, 0)
    goes_on(owned, gate)


@pytest.mark.parametrize("kind", [Session, Cluster, ResponseFuture, ResultSet, Submitted])
def test_every_public_method_is_looked_at(owned: Owned, gate: Event, kind: type) -> None:
    own = [base for base in kind.__mro__ if base.__module__.startswith("geventcql.") and "cython" not in base.__module__]
    members = {name: member for base in reversed(own) for name, member in vars(base).items() if not name.startswith("_")}
    public = {name for name, member in members.items() if inspect.isfunction(member) or isinstance(member, property)}
    refused = {name.split()[0] for name in calls(owned)[kind]}
    assert public - refused - ONLY_STATE[kind] == set()
    assert ONLY_STATE[kind] & refused == set()
    goes_on(owned, gate)
