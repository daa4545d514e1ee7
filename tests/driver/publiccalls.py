"""Every public call that waits or sends: what another thread is refused, and what has to end where the server is dead.

Needs nothing but the installed package, for `child.py` runs with nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from geventcql.cluster import Cluster
from geventcql.familiar import Submitted
from geventcql.policies import HostDistance
from geventcql.profiles import ExecutionProfile
from geventcql.response import ResponseFuture
from geventcql.resultset import ResultSet
from geventcql.session import Session

BY_KEY = "SELECT k FROM t WHERE k = ?"
GATED = "SELECT k FROM gated WHERE k = ?"
"""Which the server does not answer until it is told to."""
SOON = 1.0


class Owned:
    """What one thread has made, in the states in which others may get hold of it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cluster = session.cluster
        self.host = self.cluster.metadata.all_hosts()[0]
        self.prepared = session.prepare(BY_KEY)
        self.gated = session.prepare(GATED)
        self.first = session.execute("SELECT pages")
        self.iterated = session.execute("SELECT pages")
        self.iteration = iter(self.iterated)
        self.seen = [next(self.iteration).v]
        self.traced = session.execute("SELECT traced", trace=True)
        self.begin()

    def begin(self) -> None:
        """Have something of each kind under way."""
        session = self.session
        self.pending = session.execute_async(self.gated, (7,))
        self.ordered = session.imap(self.prepared, ((key,) for key in range(9)), 2)
        self.unordered = session.imap_unordered(self.prepared, ((key,) for key in range(9)), 2)
        self.generated = session.execute_concurrent([(self.prepared, (1,)), (self.prepared, (2,))], results_generator=True)
        self.concurrent = session.execute_concurrent_async([(self.gated, (8,))], 1, True)
        self.submitted = session.submit(lambda: session.execute(self.gated, (9,)).one().k)
        gevent.sleep(0)

    def fetch_next_page(self) -> ResultSet:
        """As those do who know cassandra-driver."""
        future = self.first.response_future
        future.start_fetching_next_page()
        return future.result()


def calls(o: Owned) -> dict[type, dict[str, Callable[[], Any]]]:
    """Those that wait or send, by the name of the method; what a name has behind a space tells two of one method apart.

    At the end are those behind which the host may be gone.
    """
    session, cluster, host, pending = o.session, o.cluster, o.host, o.pending
    concurrent = [(o.prepared, (1,))]
    return {
        Session: {
            "execute": lambda: session.execute(o.prepared, (1,)),
            "execute text": lambda: session.execute("SELECT pages"),
            "execute use": lambda: session.execute("USE ks"),
            "execute_async": lambda: session.execute_async(o.prepared, (1,)).result(),
            "prepare": lambda: session.prepare("SELECT pages"),
            "execute_concurrent": lambda: session.execute_concurrent(concurrent),
            "execute_concurrent generator": lambda: next(o.generated),
            "execute_concurrent_with_args": lambda: session.execute_concurrent_with_args(o.prepared, [(1,)]),
            "execute_concurrent_async": lambda: session.execute_concurrent_async(concurrent, 1, True).get(),
            "execute_concurrent_async pending": o.concurrent.get,
            "imap": lambda: list(session.imap(o.prepared, [(1,)])),
            "imap begun": lambda: next(o.ordered),
            "imap_unordered": lambda: list(session.imap_unordered(o.prepared, [(1,)])),
            "imap_unordered begun": lambda: next(o.unordered),
            "set_keyspace": lambda: session.set_keyspace("ks"),
            "user_type_registered": lambda: session.user_type_registered("ks", "t", dict),
            "submit": lambda: session.submit(session.execute, o.prepared, (1,)).result(),
            "shutdown": session.shutdown,
        },
        ResponseFuture: {
            "result": pending.result,
            "result timeout": lambda: pending.result(timeout=SOON),
            "get": pending.get,
            "get timeout": lambda: pending.get(timeout=SOON),
            "wait": pending.wait,
            "wait gevent": lambda: gevent.wait([pending], timeout=SOON),
            "rawlink": lambda: pending.rawlink(repr),
            "link": lambda: pending.link(repr),
            "add_callback": lambda: pending.add_callback(repr),
            "add_callback ready": lambda: o.first.response_future.add_callback(repr),
            "add_errback": lambda: pending.add_errback(repr),
            "add_callbacks": lambda: pending.add_callbacks(repr, repr),
            "start_fetching_next_page": o.fetch_next_page,
            "has_more_pages": lambda: pending.has_more_pages,
            "warnings": lambda: pending.warnings,
            "custom_payload": lambda: pending.custom_payload,
            "get_query_trace": pending.get_query_trace,
            "get_query_trace read": o.traced.response_future.get_query_trace,
            "get_query_trace_ids": pending.get_query_trace_ids,
            "get_all_query_traces": pending.get_all_query_traces,
            "get_all_query_traces read": o.traced.response_future.get_all_query_traces,
        },
        ResultSet: {
            "fetch_next_page": o.first.fetch_next_page,
            "all": o.first.all,
            "next": lambda: [row for row in o.first],  # noqa: C416  whether it is the list or the loop
            "get_query_trace": o.traced.get_query_trace,
            "get_all_query_traces": o.traced.get_all_query_traces,
        },
        Submitted: {"result": o.submitted.result, "get": o.submitted.get, "join": lambda: o.submitted.join(SOON)},
        Cluster: {
            "connect": cluster.connect,
            "connect keyspace": lambda: cluster.connect("ks"),
            "shutdown timeout": lambda: cluster.shutdown(0.1),
            "shutdown": cluster.shutdown,
            "add_execution_profile": lambda: cluster.add_execution_profile("late", ExecutionProfile()),
            "register_user_type": lambda: cluster.register_user_type("ks", "t", dict),
            "set_core_connections_per_host": lambda: cluster.set_core_connections_per_host(HostDistance.LOCAL, 2),
            "policies_changed": cluster.policies_changed,
            "on_up": lambda: cluster.on_up(host),
            "on_add": lambda: cluster.on_add(host),
            "add_host": lambda: cluster.add_host("127.0.0.9"),
            "refresh_nodes": cluster.refresh_nodes,
            "refresh_schema_metadata": cluster.refresh_schema_metadata,
            "refresh_keyspace_metadata": lambda: cluster.refresh_keyspace_metadata("ks"),
            "refresh_table_metadata": lambda: cluster.refresh_table_metadata("ks", "t"),
            "refresh_materialized_view_metadata": lambda: cluster.refresh_materialized_view_metadata("ks", "v"),
            "refresh_user_type_metadata": lambda: cluster.refresh_user_type_metadata("ks", "t"),
            "refresh_user_function_metadata": lambda: cluster.refresh_user_function_metadata("ks", None),  # type: ignore[arg-type]
            "refresh_user_aggregate_metadata": lambda: cluster.refresh_user_aggregate_metadata("ks", None),  # type: ignore[arg-type]
            "metadata": lambda: cluster.metadata.keyspaces["ks"].tables["t"],
            "on_down": lambda: cluster.on_down(host),
            "signal_connection_failure": lambda: cluster.signal_connection_failure(host, None),
            "on_remove": lambda: cluster.on_remove(host),
            "remove_host": lambda: cluster.remove_host(host),
        },
    }
