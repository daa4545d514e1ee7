"""Pages that cannot be had, and long pages in callbacks."""

from __future__ import annotations

import gevent
import pytest

from geventcql.cluster import Cluster
from geventcql.errors import ServerError
from geventcql.policies import FallthroughRetryPolicy
from geventcql.query import SimpleStatement
from tests.support.fakenode import Error, ErrorCode, FakeNode, Rows, in_turn

COLUMNS = [("v", "int")]


def test_next_keeps_raising_where_a_page_is_missing() -> None:
    with FakeNode() as node, Cluster([("127.0.0.1", node.port)]) as cluster:
        node.on("SELECT v FROM t", in_turn(Rows(COLUMNS, [(1,)], paging_state=b"p"), Error(ErrorCode.SERVER_ERROR, "broken")))
        statement = SimpleStatement("SELECT v FROM t", retry_policy=FallthroughRetryPolicy())
        rows = cluster.connect().execute(statement)
        assert next(rows).v == 1
        for _ in range(3):
            with pytest.raises(ServerError, match="broken"):
                next(rows)


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
