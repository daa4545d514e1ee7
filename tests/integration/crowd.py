"""Driver processes with nothing else in them, for what only a process of its own can tell: its memory and its CPU time.

Test support: ``python -m tests.integration.crowd ACT HOST PORT VERSION TABLE`` prints what came of it as JSON. ACT:
``ten_thousand`` greenlets executing at once, a ``million`` requests with a timeout each, ``idle`` for a minute.
"""

from __future__ import annotations

import gc
import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import gevent

from geventcql.cluster import Cluster
from geventcql.session import Session
from tests.integration.test_concurrency import KEYS, TIMEOUT, row_of

GREENLETS = 10_000
MILLION = 1_000_000
WARM_UP = 100_000
CROWD = 256
REQUEST_TIMEOUT = 10.0
IDLE_SECONDS = 60.0


def memory(name: str) -> float:
    """`VmRSS`, or its peak `VmHWM`; MB."""
    with open("/proc/self/status") as status:
        found = re.search(rf"{name}:\s+(\d+) kB", status.read())
    assert found
    return int(found[1]) / 1024


def ten_thousand(session: Session, table: str) -> dict[str, Any]:
    """Each greenlet executes twice, so that the second time all of them are there already."""
    select = session.prepare(f"SELECT k, t, l, d FROM {table} WHERE k = ?")
    expected = [row_of(k) for k in range(KEYS)]
    session.execute(select, [0]).one()
    before = memory("VmRSS")

    def run(n: int) -> int:
        return sum(session.execute(select, [k], timeout=TIMEOUT).one() == expected[k] for k in (n % KEYS, -n % KEYS))

    running = [gevent.spawn(run, n) for n in range(GREENLETS)]
    gevent.joinall(running, raise_error=True)
    right = sum(greenlet.value for greenlet in running)
    return {"greenlets": len(running), "right": right, "before": before, "growth": memory("VmHWM") - before}


def million(session: Session, table: str) -> dict[str, Any]:
    """Small selects by CROWD greenlets, each with a deadline that outlives thousands of them; memory at each tenth."""

    def small(k: int) -> tuple[int, float]:
        return k, k / 7

    select = session.prepare(f"SELECT k, d FROM {table} WHERE k = ?")

    def run(numbers: Iterator[int]) -> int:
        return sum(session.execute(select, (n % KEYS,), timeout=REQUEST_TIMEOUT).one() == small(n % KEYS) for n in numbers)

    def ask(count: int) -> int:
        numbers = iter(range(count))
        running = [gevent.spawn(run, numbers) for _ in range(CROWD)]
        gevent.joinall(running, raise_error=True)
        return sum(greenlet.value for greenlet in running)

    ask(WARM_UP)
    gc.collect()
    sizes = [memory("VmRSS")]
    right = 0
    for _ in range(10):
        right += ask(MILLION // 10)
        gc.collect()
        sizes.append(memory("VmRSS"))
    return {"right": right, "growth": max(sizes) - sizes[0], "sizes": sizes}


def idle(session: Session, table: str) -> dict[str, Any]:
    """CPU time of a connected Cluster that nobody uses; seconds."""
    session.execute(f"SELECT k FROM {table}").all()
    started = time.process_time()
    gevent.sleep(IDLE_SECONDS)
    used = time.process_time() - started
    pools = session.get_pool_state()
    return {"cpu": used, "hosts": len(pools), "open": sum(state["open_count"] for state in pools.values())}


def main(act: str, host: str, port: str, version: str, table: str) -> None:
    with Cluster([host], port=int(port), protocol_version=int(version)) as cluster:
        print(json.dumps(globals()[act](cluster.connect(), table)))


if __name__ == "__main__":
    main(*sys.argv[1:])
