"""How every driver is measured: wall time and CPU time around a piece of work, the best of some repeats, JSON out.

Standard library only. Runs in the driver's process, in its main greenlet or its event loop.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable

from benchmarks.plan import Cell, Plan


def read_plan() -> Plan:
    """The plan on the command line. Pins this process to the plan's core: do it before any thread is started."""
    plan = Plan.from_json(sys.argv[1])
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    return plan


def cpu_seconds() -> float:
    """User and system CPU time of all threads of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Recorder:
    """Collects one process's measurements and prints them as the last line of its standard output."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._samples: list[dict[str, object]] = []

    def measure(self, cell: Cell, work: Callable[[], int]) -> None:
        """Run `work` (returns how many units it did) the planned number of times; keep the fastest."""
        best = None
        for _ in range(self.plan.repeats):
            cpu, start = cpu_seconds(), time.perf_counter()
            units = work()
            wall, cpu = time.perf_counter() - start, cpu_seconds() - cpu
            best = _faster(best, (units / wall, cpu / units * 1e6))
        self._keep(cell, best)

    async def measure_async(self, cell: Cell, work: Callable[[], Awaitable[int]]) -> None:
        """`measure` for work that is a coroutine."""
        best = None
        for _ in range(self.plan.repeats):
            cpu, start = cpu_seconds(), time.perf_counter()
            units = await work()
            wall, cpu = time.perf_counter() - start, cpu_seconds() - cpu
            best = _faster(best, (units / wall, cpu / units * 1e6))
        self._keep(cell, best)

    def _keep(self, cell: Cell, best: tuple[float, float] | None) -> None:
        if best is None:
            raise ValueError(f"{cell}: nothing was measured, repeats is {self.plan.repeats}")
        rate, cpu_us = best
        self._samples.append(
            {"workload": cell.workload, "greenlets": cell.greenlets, "rate": round(rate, 1), "cpu_us": round(cpu_us, 3)}
        )

    def finish(self) -> None:
        """Print what was measured."""
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"samples": self._samples, "peak_rss_mb": round(peak_kib / 1024, 1)}), flush=True)


def _faster(best: tuple[float, float] | None, new: tuple[float, float]) -> tuple[float, float]:
    return new if best is None or new[0] > best[0] else best


def expect_rows(count: int, expected: int) -> int:
    """`count`, or ValueError: a benchmark that reads other rows than it should measures nothing."""
    if count != expected:
        raise ValueError(f"read {count} rows, expected {expected}")
    return count
