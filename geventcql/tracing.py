"""Reading traces from the server (layer: driver); waits in the calling greenlet."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID

import gevent

from geventcql.errors import TraceUnavailable
from geventcql.query import QueryTrace, SimpleStatement, named_tuple_factory

if TYPE_CHECKING:
    from geventcql.session import Session

__all__ = ["read_trace"]

SESSION_ROW = "SELECT * FROM system_traces.sessions WHERE session_id = %s"
EVENT_ROWS = "SELECT * FROM system_traces.events WHERE session_id = %s"
FIRST_PAUSE = 0.003


def read_trace(session: Session, trace_id: UUID, max_wait: float | None, consistency: int) -> QueryTrace:
    """The trace of a request; the server writes it a little after the answer, so this asks until it is complete.

    :param max_wait: seconds; None for no limit
    :raises TraceUnavailable: it is not complete by then
    """
    profile = session.execution_profile_clone_update(
        session.get_execution_profile(session.cluster.profile_manager.default), row_factory=named_tuple_factory
    )
    profile._of_driver = True
    started = monotonic()
    pause = FIRST_PAUSE
    while True:
        rows: Any = session.execute(
            SimpleStatement(SESSION_ROW, consistency_level=consistency), (trace_id,), execution_profile=profile
        )
        row = rows.one()
        if row is not None and QueryTrace.is_complete(row):
            events = session.execute(
                SimpleStatement(EVENT_ROWS, consistency_level=consistency), (trace_id,), execution_profile=profile
            )
            trace = QueryTrace(trace_id)
            trace.fill(row, list(events))
            return trace
        if max_wait is not None and monotonic() - started + pause > max_wait:
            raise TraceUnavailable(f"the trace {trace_id} was not complete within {max_wait} s")
        gevent.sleep(pause)
        pause = min(pause * 2, 0.25)
