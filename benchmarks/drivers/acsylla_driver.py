"""acsylla (the DataStax C++ driver under asyncio), one I/O thread and one connection, rows read as dicts.

Its CPU time takes in the I/O thread, which shares the client's core as the other drivers' I/O does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import acsylla  # type: ignore[import-not-found,unused-ignore]  # stands in the peers' environment only

from benchmarks import schema
from benchmarks.drivers.measure import Recorder, expect_rows, read_plan
from benchmarks.plan import Cell

SELECT_VALUES, INSERT_VALUES, SCAN_VALUES = map(list, (schema.SELECT_VALUES, schema.INSERT_VALUES, schema.SCAN_VALUES))


class Workloads:
    """The five workloads on one session: closed loops of tasks, as drivers/greenlets.py has them of greenlets."""

    def __init__(self, session: Any, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self._running = False

    async def run(self) -> None:
        """Measure every cell of the plan."""
        prepare = self._session.create_prepared
        self._select = await prepare(schema.SELECT)
        self._insert = await prepare(schema.INSERT)
        self._scans = {"scan_rows": await prepare(schema.SCAN), "coll_rows": await prepare(schema.COLLECTIONS)}
        await self._select_one()
        await self._insert_one()
        for cell in self._recorder.plan.cells:
            await self._recorder.measure_async(cell, lambda cell=cell: self._work(cell))  # type: ignore[misc]

    async def _work(self, cell: Cell) -> int:
        if cell.workload in self._scans:
            return await self._scan(self._scans[cell.workload])
        request = self._insert_one if cell.workload == "insert" else self._select_one
        self._running = True
        asyncio.get_running_loop().call_later(self._recorder.plan.seconds, self._stop)
        if cell.workload == "sync1":
            return await self._loop(request)
        return sum(await asyncio.gather(*(self._loop(request) for _ in range(cell.greenlets))))

    def _stop(self) -> None:
        self._running = False

    async def _loop(self, request: Callable[[], Awaitable[None]]) -> int:
        done = 0
        while self._running:
            await request()
            done += 1
        return done

    async def _select_one(self) -> None:
        statement = self._select.bind()
        statement.bind_list(SELECT_VALUES)
        result = await self._session.execute(statement)
        if not result.first().as_dict():
            raise ValueError("the row to select is not there")

    async def _insert_one(self) -> None:
        statement = self._insert.bind()
        statement.bind_list(INSERT_VALUES)
        await self._session.execute(statement)

    async def _scan(self, prepared: Any) -> int:
        statement = prepared.bind(page_size=schema.PAGE_ROWS)
        statement.bind_list(SCAN_VALUES)
        count = 0
        while True:
            result = await self._session.execute(statement)
            for row in result:
                row.as_dict()
                count += 1
            if not result.has_more_pages():
                return expect_rows(count, schema.ROWS)
            statement.set_page_state(result.page_state())


async def measure() -> None:
    """Connect and measure what the plan on the command line asks for."""
    plan = read_plan()
    cluster = acsylla.create_cluster(
        [plan.host],
        port=plan.port,
        protocol_version=plan.protocol,
        num_threads_io=1,
        core_connections_per_host=1,
    )
    session = await cluster.create_session()
    recorder = Recorder(plan)
    await Workloads(session, recorder).run()
    await session.close()
    recorder.finish()


if __name__ == "__main__":
    asyncio.run(measure())
