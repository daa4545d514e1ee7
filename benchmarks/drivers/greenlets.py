"""The workloads for a driver with cassandra-driver's interface, from greenlets. Never patches: the caller has to.

`python -m benchmarks.drivers.cassandra_driver` and `...geventcql_driver` are this with their own Session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from benchmarks import schema
from benchmarks.drivers.measure import Recorder, expect_rows
from benchmarks.plan import Cell


class Workloads:
    """The five workloads on one connected Session.

    Requests are made in a closed loop: each greenlet sends its next request once it has the last one's answer, until
    the time is over, and then all wait for the answers that are still to come.
    """

    def __init__(self, session: Any, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self._running = False
        session.default_timeout = 60
        self._select = session.prepare(schema.SELECT)
        self._insert = session.prepare(schema.INSERT)
        self._scans = {"scan_rows": session.prepare(schema.SCAN), "coll_rows": session.prepare(schema.COLLECTIONS)}
        for statement in self._scans.values():
            statement.fetch_size = schema.PAGE_ROWS

    def run(self) -> None:
        """Measure every cell of the plan."""
        self._select_one(self._session.execute)
        self._session.execute(self._insert, schema.INSERT_VALUES)
        for cell in self._recorder.plan.cells:
            self._recorder.measure(cell, lambda cell=cell: self._work(cell))  # type: ignore[misc]

    def _work(self, cell: Cell) -> int:
        if cell.workload in self._scans:
            return self._scan(self._scans[cell.workload])
        worker = self._insert_loop if cell.workload == "insert" else self._select_loop
        self._running = True
        stop = gevent.spawn_later(self._recorder.plan.seconds, self._stop)
        try:
            return worker() if cell.workload == "sync1" else self._spawned(worker, cell.greenlets)
        finally:
            stop.kill()

    def _stop(self) -> None:
        self._running = False

    @staticmethod
    def _spawned(worker: Callable[[], int], count: int) -> int:
        workers = [gevent.spawn(worker) for _ in range(count)]
        gevent.joinall(workers, raise_error=True)
        return sum(worker.value for worker in workers)

    def _select_one(self, execute: Callable[..., Any]) -> None:
        if execute(self._select, schema.SELECT_VALUES).one() is None:
            raise ValueError("the row to select is not there")

    def _select_loop(self) -> int:
        execute, done = self._session.execute, 0
        while self._running:
            self._select_one(execute)
            done += 1
        return done

    def _insert_loop(self) -> int:
        execute, statement, values, done = self._session.execute, self._insert, schema.INSERT_VALUES, 0
        while self._running:
            execute(statement, values)
            done += 1
        return done

    def _scan(self, statement: Any) -> int:
        rows = self._session.execute(statement, schema.SCAN_VALUES)
        return expect_rows(sum(1 for _ in rows), schema.ROWS)
