"""Traces: what the rows of system_traces become."""

from __future__ import annotations

from collections import namedtuple
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid1

import cassandra.query
import pytest

from geventcql.trace import QueryTrace, TraceEvent

Session = namedtuple("Session", "request duration started_at coordinator parameters client")
Event = namedtuple("Event", "activity event_id source source_elapsed thread")

SESSION = Session("Execute CQL3 query", 1234, datetime(2026, 1, 1), "127.0.0.1", {"query": "q"}, "127.0.0.9")


def test_fill() -> None:
    events = [Event("Parsing", uuid1(), "127.0.0.1", 10, "Native-1"), Event("Done", uuid1(), "127.0.0.2", None, "M-2")]
    identity = uuid1()
    trace = QueryTrace(identity)
    assert trace.events is None
    trace.fill(SESSION, events)
    assert (trace.trace_id, trace.request_type, trace.client) == (identity, "Execute CQL3 query", "127.0.0.9")
    assert (trace.coordinator, trace.parameters) == ("127.0.0.1", {"query": "q"})
    assert (trace.started_at, trace.duration) == (datetime(2026, 1, 1), timedelta(microseconds=1234))
    assert trace.events is not None
    assert [event.description for event in trace.events] == ["Parsing", "Done"]
    assert [event.source_elapsed for event in trace.events] == [timedelta(microseconds=10), None]
    assert "Execute CQL3 query" in repr(trace) and str(identity) in repr(trace)


def test_events_are_those_of_cassandra_driver() -> None:
    arguments: Any = ("Parsing", uuid1(), "127.0.0.1", 10, "Native-1")
    ours, theirs = TraceEvent(*arguments), cassandra.query.TraceEvent(*arguments)
    assert vars(ours) == vars(theirs)
    assert str(ours) == str(theirs)
    assert ours.datetime.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("row", "complete"),
    [
        (None, False),
        (SESSION, True),
        (SESSION._replace(duration=None), False),
        (SESSION._replace(started_at=None), False),
    ],
)
def test_complete_once_duration_and_start_are_there(row: Any, complete: bool) -> None:
    assert QueryTrace.is_complete(row) is complete
    if row is not None:
        trace = QueryTrace(uuid1())
        trace.fill(row, [])
        assert (trace.duration is not None) is complete and trace.events == ()
