"""10,000 greenlets executing at once against one host, in a process of their own; prints what came of it as JSON.

Test support: ``python -m tests.integration.crowd HOST PORT VERSION TABLE``.
"""

from __future__ import annotations

import json
import re
import sys

import gevent

from geventcql.cluster import Cluster
from tests.integration.test_concurrency import KEYS, TIMEOUT, row_of

GREENLETS = 10_000


def memory(name: str) -> float:
    """`VmRSS`, or its peak `VmHWM`; MB."""
    with open("/proc/self/status") as status:
        found = re.search(rf"{name}:\s+(\d+) kB", status.read())
    assert found
    return int(found[1]) / 1024


def main(host: str, port: str, version: str, table: str) -> None:
    """Each greenlet executes twice, so that the second time all of them are there already."""
    with Cluster([host], port=int(port), protocol_version=int(version)) as cluster:
        session = cluster.connect()
        select = session.prepare(f"SELECT k, t, l, d FROM {table} WHERE k = ?")
        expected = [row_of(k) for k in range(KEYS)]
        session.execute(select, [0]).one()
        before = memory("VmRSS")

        def run(n: int) -> int:
            return sum(session.execute(select, [k], timeout=TIMEOUT).one() == expected[k] for k in (n % KEYS, -n % KEYS))

        running = [gevent.spawn(run, n) for n in range(GREENLETS)]
        gevent.joinall(running, raise_error=True)
        right = sum(greenlet.value for greenlet in running)
        growth = memory("VmHWM") - before
    print(json.dumps({"greenlets": len(running), "right": right, "before": before, "growth": growth}))


if __name__ == "__main__":
    main(*sys.argv[1:])
