"""Pages that cannot be had, and long pages that hold nobody up."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import datetime

import gevent
import pytest

from geventcql.cluster import Cluster
from geventcql.errors import ServerError
from geventcql.policies import FallthroughRetryPolicy
from geventcql.query import SimpleStatement
from geventcql.resultset import ResultSet
from geventcql.session import Session
from tests.driver.support import cluster_of
from tests.support.fakenode import Error, ErrorCode, FakeNode, Message, Opcode, Rows, in_turn
from tests.support.hubturns import HubTurns
from tests.support.wire import bytes_, int_, short, string

COLUMNS = [("v", "int")]
TRACE = [("duration", "int"), ("started_at", "timestamp"), ("request", "text"), ("coordinator", "inet"), ("parameters", "int")]


def test_next_keeps_raising_where_a_page_is_missing() -> None:
    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        node.on("SELECT v FROM t", in_turn(Rows(COLUMNS, [(1,)], paging_state=b"p"), Error(ErrorCode.SERVER_ERROR, "broken")))
        statement = SimpleStatement("SELECT v FROM t", retry_policy=FallthroughRetryPolicy())
        rows = cluster.connect().execute(statement)
        assert next(rows).v == 1
        for _ in range(3):
            with pytest.raises(ServerError, match="broken"):
                next(rows)


def fetch_ahead(rows: ResultSet) -> None:
    assert [row.v for row in rows] == [1, 2]


def fetch_behind(rows: ResultSet) -> None:
    rows.fetch_next_page()
    assert [row.v for row in rows.current_rows] == [2]


def fetch_again(rows: ResultSet) -> None:
    rows.response_future.start_fetching_next_page()
    assert [row.v for row in rows.response_future.result().current_rows] == [2]


@pytest.mark.parametrize("fetch", [fetch_ahead, fetch_behind, fetch_again])
def test_each_page_is_traced(session: Session, node: FakeNode, fetch: Callable[[ResultSet], None]) -> None:
    """The pages of a result are asked for with its options, however they are asked for (pitfall B9)."""
    ids = [uuid.UUID(int=1), uuid.UUID(int=2)]
    first, second = Rows(COLUMNS, [(1,)], paging_state=b"p").with_trace(ids[0]), Rows(COLUMNS, [(2,)]).with_trace(ids[1])
    node.on("SELECT v FROM t", in_turn(first, second))
    node.on(re.compile("FROM system_traces.sessions"), rows=TRACE, data=[(1, datetime(2026, 11, 26), "Execute", None, None)])
    node.on(re.compile("FROM system_traces.events"), rows=[("event_id", "timeuuid")])
    rows = session.execute("SELECT v FROM t", trace=True)
    fetch(rows)
    assert [request.tracing for request in node.queries] == [True, True]
    assert [request.paging_state for request in node.queries] == [None, b"p"]
    assert rows.response_future.get_query_trace_ids() == ids
    assert [trace.trace_id for trace in rows.get_all_query_traces()] == ids
    assert not any(request.tracing for request in node.requests if "system_traces" in (request.text or ""))


def test_a_callback_gets_a_long_page_without_holding_up_others() -> None:
    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        node.on("SELECT v FROM t", rows=COLUMNS, data=[(i,) for i in range(5000)])
        future = cluster.connect().execute_async("SELECT v FROM t")
        future.wait()
        turns: list[int] = []

        def tick() -> None:
            while True:
                turns.append(1)
                gevent.sleep(0)

        ticker = gevent.spawn(tick)
        got: list[int] = []
        future.add_callback(lambda rows: got.append(len(rows)))
        while not got:
            gevent.sleep(0)
        ticker.kill()
        assert got == [5000]
        assert len(turns) >= 4


def page_of(rows: int, paging_state: bytes | None) -> Message:
    """Rows (7, 'hello'), made by hand: the reference codec would take minutes over millions."""
    metadata = [int_(3), int_(2), bytes_(paging_state)] if paging_state is not None else [int_(1), int_(2)]
    columns = string("ks") + string("t") + string("k") + short(0x09) + string("v") + short(0x0D)
    row = bytes_(int_(7)) + bytes_(b"hello")
    return Message(Opcode.RESULT, b"".join([int_(2), *metadata, columns, int_(rows), row * rows]))


@pytest.mark.parametrize(
    ("pages", "size", "look"),
    [(50, 100_000, "iterate"), (1, 1_000_000, "iterate"), (1, 1_000_000, "list")],
)
def test_millions_of_rows_do_not_keep_the_hub(pages: int, size: int, look: str) -> None:
    """Nobody waits longer than a tenth of a second for his socket or timer (pitfall A7)."""
    with FakeNode(record=False) as node, cluster_of(node) as cluster:
        last, others = page_of(size, None), page_of(size, b"more")
        node.on("SELECT many", in_turn(*[others] * (pages - 1), last))
        session = cluster.connect()
        with HubTurns() as turns:
            rows = session.execute("SELECT many", timeout=60)
            count = len(rows.all()) if look == "list" else sum(row.k == 7 for row in rows)
        assert count == pages * size
        assert len(turns.held) >= count / 2000 and turns.longest < 0.1
