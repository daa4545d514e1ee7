"""What the cluster recorded of a traced request.

Layer: model. Plain data: the driver reads the rows and fills them in, in the greenlet that asked for the trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from geventcql.showing import shown_cql
from geventcql.util import unix_time_from_uuid1

__all__ = ["QueryTrace", "TraceEvent"]


class TraceEvent:
    """One step of a traced request: a row of system_traces.events (`cassandra.query.TraceEvent`).

    description, source (address of the node), thread_name; datetime: aware, UTC; source_elapsed: timedelta since the
    node got the request.
    """

    def __init__(
        self, description: str, timeuuid: UUID, source: str, source_elapsed: int | None, thread_name: str
    ) -> None:
        self.description = description
        self.datetime = datetime.fromtimestamp(unix_time_from_uuid1(timeuuid), tz=timezone.utc)
        self.source = source
        self.source_elapsed = None if source_elapsed is None else timedelta(microseconds=source_elapsed)
        self.thread_name = thread_name

    def __repr__(self) -> str:
        return f"{shown_cql(self.description)} on {self.source}[{self.thread_name}] at {self.datetime}"


class QueryTrace:
    """The trace of a request (`cassandra.query.QueryTrace`): plain data, which the driver reads from the cluster and
    fills in.

    trace_id: UUID; request_type, coordinator, client (None before Cassandra 2.2), parameters: dict; started_at: naive
    datetime, UTC; duration: timedelta, None while the trace is not complete; events: TraceEvents in the order of their
    rows.
    """

    request_type: str | None = None
    duration: timedelta | None = None
    client: str | None = None
    coordinator: str | None = None
    parameters: Mapping[str, str] | None = None
    started_at: datetime | None = None
    events: tuple[TraceEvent, ...] | None = None

    def __init__(self, trace_id: UUID) -> None:
        self.trace_id = trace_id

    @staticmethod
    def is_complete(session_row: Any) -> bool:
        """Whether a row of system_traces.sessions is final: its duration and its start are written apart, in any
        order.
        """
        return session_row is not None and session_row.duration is not None and session_row.started_at is not None

    def fill(self, session_row: Any, event_rows: Iterable[Any]) -> None:
        """Takes over a row of system_traces.sessions and the rows of system_traces.events, both with columns as
        attributes.
        """
        self.request_type = session_row.request
        self.duration = timedelta(microseconds=session_row.duration) if self.is_complete(session_row) else None
        self.started_at = session_row.started_at
        self.coordinator = session_row.coordinator
        self.parameters = session_row.parameters
        self.client = getattr(session_row, "client", None)
        self.events = tuple(
            TraceEvent(row.activity, row.event_id, row.source, row.source_elapsed, row.thread) for row in event_rows
        )

    def __repr__(self) -> str:
        return (
            f"{self.request_type} [{self.trace_id}] coordinator: {self.coordinator}, started at: {self.started_at}, "
            f"duration: {self.duration}, parameters: {', '.join(self.parameters or ())}"
        )  # without what they were: bound values are among them
