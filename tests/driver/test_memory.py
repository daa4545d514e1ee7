"""What must not grow: with the number of requests, of texts, of clients, and with what a server does not read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import chain

import gevent
import pytest
from gevent.pool import Pool

from geventcql.errors import Busy
from geventcql.net.connection import MAX_UNSENT_BYTES
from geventcql.session import Session
from tests.driver.support import BY_KEY, INSERT, cluster_of, eventually, pooled, settled
from tests.support.fakenode import FakeNode, Opcode, Prepared, Void
from tests.support.memory import resident

UPDATE = re.compile("^UPDATE ")
MANY = int(os.environ.get("GEVENTCQL_MANY", "1000000"))


def growth(steps: Iterable[object], warm: int, every: int) -> float:
    """What memory grows by at most behind the first ``warm`` steps, looked at behind ``every`` so many, MB."""
    base: float | None = None
    most = 0.0
    for number, _ in enumerate(steps, 1):
        if number == warm:
            base = resident()
        elif base is not None and number % every == 0:
            most = max(most, resident() - base)
    assert base is not None
    return most


@pytest.mark.slow
@pytest.mark.timeout(600 + MANY // 1000)
def test_a_million_from_a_generator(session: Session, node: FakeNode) -> None:
    """Pulled as there is room, and nothing is left of those that are behind (pitfall B10); half of them in order."""
    node.record = False
    prepared = session.prepare(INSERT)
    keys = range(MANY // 2)
    ordered = session.imap(prepared, ((key,) for key in keys), concurrency=200)
    unordered = session.imap_unordered(prepared, ((key,) for key in keys), concurrency=200)
    grown = growth(chain(ordered, unordered), MANY // 10, MANY // 50)
    print(f"{MANY} requests: {grown:.2f} MB")
    assert grown < 5
    assert settled(session) and len(session.cluster._scheduler) < 10


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.logs("WARNING more than 1000 different statements have been prepared")
def test_a_hundred_thousand_texts(node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    """Prepared and executed, and as simple statements: values in the text must cost time only."""
    node.record = False
    statement = node.statements.by_id[b"lots"] = node.prepare(BY_KEY, [("k", "int")], [("k", "int")], [0])
    node.on(Opcode.PREPARE, Prepared(statement, b"lots"))
    node.on(UPDATE, Void())
    with cluster_of(node) as cluster:
        session = cluster.connect()

        def use(n: int) -> None:
            prepared = session.prepare(f"SELECT k FROM t WHERE k = ? AND n = {n}")
            if n % 10 == 0:
                session.execute(prepared, (n,)).one()
                session.execute(f"UPDATE t SET v = {n} WHERE k = 0")

        grown = growth(Pool(50).imap_unordered(use, range(100_000), maxsize=50), 10_000, 10_000)
        print(f"100,000 texts: {grown:.2f} MB")
        assert grown < 5
        assert len(cluster._preparer.cache) == cluster.prepared_cache_size == 1000
        assert caplog.text.count("different statements have been prepared") == 1


def test_a_server_that_does_not_read(node: FakeNode) -> None:
    """What is not sent is bounded in bytes, what waits in number; then whoever asks is told so (pitfall A5)."""
    node.on(UPDATE, Void())
    with cluster_of(node, max_requests_waiting=100) as cluster:
        session = cluster.connect()
        connection = pooled(session)[0]
        for served in node.connections:
            served.stop_reading()
        text = "UPDATE t SET v = '" + "x" * 64_000 + "' WHERE k = 0"
        before = resident()
        refused = 0
        for _ in range(10_000):
            try:
                session.execute_async(text, timeout=None)
            except Busy:
                refused += 1
            gevent.sleep(0)
        grown = resident() - before
        print(f"{refused} refused: {grown:.1f} MB")
        assert refused > 9000 and len(session._admission) == 100
        assert connection.unsent_bytes < 1.1 * MAX_UNSENT_BYTES
        assert grown < 40, f"{grown:.1f} MB"
        for served in node.connections:
            served.resume_reading()
        eventually(lambda: settled(session), 20)
