"""Use from another thread than the one that connected: a named error at once, and nothing of the owner's is damaged.

Every public method is here, either among those that raise WrongHubError or among those that only read or set state.
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
from geventcql.policies import HostDistance
from geventcql.profiles import ExecutionProfile
from geventcql.response import ResponseFuture
from geventcql.resultset import ResultSet
from geventcql.session import Session
from tests.driver.support import BY_KEY, eventually, have_keyspaces, outcome, own_key, serve_keys
from tests.support.fakenode import FakeNode, paged
from tests.support.native import Thread

SOON = 1.0
GATED = "SELECT k FROM gated WHERE k = ?"


class Owned:
    """What the main thread has made, in the states in which others may get hold of it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cluster = session.cluster
        self.prepared = session.prepare(BY_KEY)
        self.gated = session.prepare(GATED)
        self.pending = session.execute_async(self.gated, (7,))
        self.first = session.execute("SELECT pages")
        self.iterated = session.execute("SELECT pages")
        self.iteration = iter(self.iterated)
        self.seen = [next(self.iteration).v]
        self.ordered = session.imap(self.prepared, ((key,) for key in range(9)), 2)
        self.unordered = session.imap_unordered(self.prepared, ((key,) for key in range(9)), 2)
        self.generated = session.execute_concurrent([(self.prepared, (1,)), (self.prepared, (2,))], results_generator=True)
        next(self.ordered)
        next(self.unordered)
        self.concurrent = session.execute_concurrent_async([(self.gated, (8,))])
        self.submitted = session.submit(lambda: session.execute(self.gated, (9,)).one().k)
        gevent.sleep(0)

    def check(self, gate: Event) -> None:
        """All of it goes on in its own thread."""
        gate.set()
        assert self.pending.result().one().k == 7
        assert [row.v for row in self.first] == list(range(10))
        assert [*self.seen, *[row.v for row in self.iteration]] == list(range(10))
        assert [result.one().k for result in self.ordered] == list(range(1, 9))
        assert len(list(self.unordered)) == 8
        assert [result.result_or_exc.one().k for result in self.generated] == [1, 2]
        assert self.concurrent.get()[0].result_or_exc.one().k == 8
        assert self.submitted.result() == 9
        assert self.session.execute(self.prepared, (3,)).one().k == 3


def calls(o: Owned) -> dict[type, dict[str, Callable[[], Any]]]:
    """Those that wait or send, by the name of the method; what a name has behind a space tells two of one method apart."""
    session, cluster, pending = o.session, o.cluster, o.pending
    host = cluster.metadata.all_hosts()[0]
    concurrent = [(o.prepared, (1,))]
    return {
        Session: {
            "execute": lambda: session.execute(o.prepared, (1,)),
            "execute text": lambda: session.execute("SELECT pages"),
            "execute use": lambda: session.execute("USE ks"),
            "execute_async": lambda: session.execute_async(o.prepared, (1,)),
            "prepare": lambda: session.prepare("SELECT pages"),
            "execute_concurrent": lambda: session.execute_concurrent(concurrent),
            "execute_concurrent generator": lambda: next(o.generated),
            "execute_concurrent_with_args": lambda: session.execute_concurrent_with_args(o.prepared, [(1,)]),
            "execute_concurrent_async": lambda: session.execute_concurrent_async(concurrent),
            "execute_concurrent_async pending": o.concurrent.get,
            "imap": lambda: session.imap(o.prepared, [(1,)]),
            "imap begun": lambda: next(o.ordered),
            "imap_unordered": lambda: session.imap_unordered(o.prepared, [(1,)]),
            "imap_unordered begun": lambda: next(o.unordered),
            "set_keyspace": lambda: session.set_keyspace("ks"),
            "user_type_registered": lambda: session.user_type_registered("ks", "t", dict),
            "submit": lambda: session.submit(print),
            "shutdown": session.shutdown,
        },
        Cluster: {
            "connect": cluster.connect,
            "shutdown": cluster.shutdown,
            "add_execution_profile": lambda: cluster.add_execution_profile("late", ExecutionProfile()),
            "register_user_type": lambda: cluster.register_user_type("ks", "t", dict),
            "set_core_connections_per_host": lambda: cluster.set_core_connections_per_host(HostDistance.LOCAL, 2),
            "policies_changed": cluster.policies_changed,
            "on_up": lambda: cluster.on_up(host),
            "on_down": lambda: cluster.on_down(host),
            "on_add": lambda: cluster.on_add(host),
            "on_remove": lambda: cluster.on_remove(host),
            "signal_connection_failure": lambda: cluster.signal_connection_failure(host, None),
            "add_host": lambda: cluster.add_host("127.0.0.9"),
            "remove_host": lambda: cluster.remove_host(host),
            "refresh_nodes": cluster.refresh_nodes,
            "refresh_schema_metadata": cluster.refresh_schema_metadata,
            "refresh_keyspace_metadata": lambda: cluster.refresh_keyspace_metadata("ks"),
            "refresh_table_metadata": lambda: cluster.refresh_table_metadata("ks", "t"),
            "refresh_materialized_view_metadata": lambda: cluster.refresh_materialized_view_metadata("ks", "v"),
            "refresh_user_type_metadata": lambda: cluster.refresh_user_type_metadata("ks", "t"),
            "refresh_user_function_metadata": lambda: cluster.refresh_user_function_metadata("ks", None),  # type: ignore[arg-type]
            "refresh_user_aggregate_metadata": lambda: cluster.refresh_user_aggregate_metadata("ks", None),  # type: ignore[arg-type]
            "metadata": lambda: cluster.metadata.keyspaces["ks"].tables["t"],
        },
        ResponseFuture: {
            "result": pending.result,
            "result timeout": lambda: pending.result(timeout=SOON),
            "get": pending.get,
            "get timeout": lambda: pending.get(timeout=SOON),
            "wait": pending.wait,
            "wait gevent": lambda: gevent.wait([pending], timeout=SOON),
            "rawlink": lambda: pending.rawlink(print),
            "link": lambda: pending.link(print),
            "add_callback": lambda: pending.add_callback(print),
            "add_callback ready": lambda: o.first.response_future.add_callback(print),
            "add_errback": lambda: pending.add_errback(print),
            "add_callbacks": lambda: pending.add_callbacks(print, print),
            "start_fetching_next_page": o.first.response_future.start_fetching_next_page,
            "has_more_pages": lambda: pending.has_more_pages,
            "warnings": lambda: pending.warnings,
            "custom_payload": lambda: pending.custom_payload,
            "get_query_trace": pending.get_query_trace,
            "get_query_trace_ids": pending.get_query_trace_ids,
            "get_all_query_traces": pending.get_all_query_traces,
        },
        ResultSet: {
            "fetch_next_page": o.first.fetch_next_page,
            "all": o.first.all,
            "next": lambda: [row for row in o.first],  # noqa: C416  whether it is the list or the loop
        },
        Submitted: {"result": o.submitted.result, "get": o.submitted.get, "join": lambda: o.submitted.join(SOON)},
    }


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
        "cancel_continuous_paging", "column_names", "column_types", "current_rows", "get_all_query_traces",
        "get_query_trace", "has_more_pages", "one", "paging_state", "was_applied",
    },
    Submitted: {"done", "is_of_parent", "rawlink", "switch", "throw"},
}  # fmt: skip


@pytest.fixture
def gate() -> Event:
    return Event()


@pytest.fixture
def owned(gate: Event) -> Iterator[Owned]:
    with FakeNode() as node:
        serve_keys(node)
        node.on(GATED, lambda request, connection: own_key(request).when(gate), rows=[("k", "int")], binds=[("k", "int")])
        node.on("SELECT pages", paged([("v", "int")], [(i,) for i in range(10)], 3))
        have_keyspaces(node, "ks")
        with geventcql.connect([node.host], port=node.port) as session:
            yield Owned(session)


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
def test_another_thread_gets_a_named_error_at_once(owned: Owned, gate: Event, run: Callable[..., None]) -> None:
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
    run(foreign)
    assert {call: how for call, how in found.items() if how != (WrongHubError, True)} == {}
    assert in_flight() == ([3], [0], [0])
    owned.check(gate)


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
    owned.check(gate)


@pytest.mark.parametrize("kind", [Session, Cluster, ResponseFuture, ResultSet, Submitted])
def test_every_public_method_is_looked_at(owned: Owned, gate: Event, kind: type) -> None:
    own = [base for base in kind.__mro__ if base.__module__.startswith("geventcql.") and "cython" not in base.__module__]
    members = {name: member for base in reversed(own) for name, member in vars(base).items() if not name.startswith("_")}
    public = {name for name, member in members.items() if inspect.isfunction(member) or isinstance(member, property)}
    refused = {name.split()[0] for name in calls(owned)[kind]}
    assert public - refused - ONLY_STATE[kind] == set()
    assert ONLY_STATE[kind] & refused == set()
    owned.check(gate)
