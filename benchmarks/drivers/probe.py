"""One figure of what a driver costs its application, from a fresh process of its own.

`python -m benchmarks.drivers.probe '{"probe": ..., "package": "geventcql" or "cassandra", "host": ..., "port": ...}'`
prints JSON. geventcql is measured unpatched, cassandra-driver patched as its gevent reactor needs it.
"""

from __future__ import annotations

import json
import sys
import time

_ORDER = json.loads(sys.argv[1])
_START = time.perf_counter()
if _ORDER["package"] == "cassandra":
    from gevent import monkey

    monkey.patch_all()
    from cassandra.cluster import Cluster
    from cassandra.io.geventreactor import GeventConnection

    OPTIONS = {"connection_class": GeventConnection}
else:
    from geventcql.cluster import Cluster

    OPTIONS = {}
IMPORT_S = time.perf_counter() - _START

import gc  # noqa: E402
import resource  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import greenlet  # noqa: E402
from gevent import socket  # noqa: E402

from benchmarks import schema  # noqa: E402

CROWD = 10_000


def connect() -> Any:
    """A Cluster that is not connected yet, on the protocol version of the order."""
    return Cluster([_ORDER["host"]], port=_ORDER["port"], protocol_version=_ORDER.get("protocol", 4), **OPTIONS)


def rss_mb() -> float:
    """Resident memory of this process now, in units of 2**20 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("the kernel does not say VmRSS")


def connecting() -> dict[str, float]:
    """Import time, time from Cluster() to the first answer, and resident memory then."""
    start = time.perf_counter()
    cluster = connect()
    row = cluster.connect().execute("SELECT release_version FROM system.local").one()
    elapsed = time.perf_counter() - start
    if row is None:
        raise ValueError("system.local is empty")
    memory = rss_mb()
    cluster.shutdown()
    return {"import_s": IMPORT_S, "connect_s": elapsed, "rss_mb": memory}


class SwitchTrace:
    """A greenlet trace: the CPU time of this thread between two switches, the most that each kind of greenlet took.

    Kinds: "hub", "caller" (the greenlet that was current at the start), "ticker", and "driver" for all others.
    """

    def __init__(self) -> None:
        self.most: dict[str, float] = {}
        self.switches = 0
        self._kinds: dict[Any, str] = {gevent.get_hub(): "hub", gevent.getcurrent(): "caller"}
        self._since = 0.0

    def name(self, kind: str, one: Any) -> None:
        """Count `one` as of this kind."""
        self._kinds[one] = kind

    def start(self) -> None:
        """Begin to trace this thread."""
        self._since = time.thread_time()
        greenlet.settrace(self._switched)

    def stop(self) -> None:
        """End tracing; the stretch since the last switch counts too."""
        greenlet.settrace(None)
        self._count(gevent.getcurrent(), time.thread_time())

    def _switched(self, event: str, args: Any) -> None:
        now = time.thread_time()
        self._count(args[0], now)
        self.switches += 1
        self._since = time.thread_time()

    def _count(self, origin: Any, now: float) -> None:
        kind = self._kinds.get(origin, "driver")
        self.most[kind] = max(self.most.get(kind, 0.0), now - self._since)


class CollectorTrace:
    """The longest run of Python's garbage collector, CPU seconds; it falls into some greenlet's stretch."""

    def __init__(self) -> None:
        self.most = 0.0
        self._since = 0.0
        gc.callbacks.append(self._called)

    def stop(self) -> None:
        """End tracing."""
        gc.callbacks.remove(self._called)

    def _called(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._since = time.thread_time()
        else:
            self.most = max(self.most, time.thread_time() - self._since)


def stall() -> dict[str, object]:
    """What others wait for while pages of 5,000 rows are read, iterated and by `all()`: the longest stretches of CPU time
    without a switch, and how long two greenlets with a socket between them took at most for one exchange.
    """
    cluster = connect()
    session = cluster.connect()
    session.default_timeout = 60
    statement = session.prepare(schema.SCAN)
    statement.fetch_size = schema.PAGE_ROWS
    found: dict[str, object] = {}
    ways: dict[str, Callable[[Any], int]] = {
        "iterate": lambda rows: sum(1 for _ in rows),
        "all": lambda rows: len(rows.all()),
    }
    for way, read in ways.items():

        def scan(read: Callable[[Any], int] = read) -> None:
            count = read(session.execute(statement, schema.SCAN_VALUES))
            if count != schema.ROWS:
                raise ValueError(f"read {count} rows, expected {schema.ROWS}")

        scan()  # decoders made, caches warm
        found[way] = {**_stretches(scan), "exchange_ms": round(_longest_exchange(scan) * 1e3, 3)}
    cluster.shutdown()
    return found


def _stretches(scan: Callable[[], None]) -> dict[str, object]:
    trace, collector, ticker = SwitchTrace(), CollectorTrace(), gevent.spawn(_tick)
    trace.name("ticker", ticker)
    gevent.sleep(0)
    trace.start()
    scan()
    trace.stop()
    collector.stop()
    ticker.kill()
    most = {kind: round(seconds * 1e3, 3) for kind, seconds in trace.most.items() if kind != "ticker"}
    return {
        "longest_ms": max(most.values()),
        "by_greenlet_ms": most,
        "collector_ms": round(collector.most * 1e3, 3),
        "switches": trace.switches,
    }


def _longest_exchange(scan: Callable[[], None]) -> float:
    """The longest of the exchanges of two greenlets over a socket during `scan`, wall-clock seconds."""
    near, far = socket.socketpair()
    took: list[float] = []

    def ask() -> None:
        start = time.perf_counter()
        try:
            while True:
                near.sendall(b"x")
                near.recv(1)
                took.append(time.perf_counter() - start)
                start = time.perf_counter()
        finally:
            took.append(time.perf_counter() - start)

    def answer() -> None:
        while True:
            far.sendall(far.recv(1))

    players = [gevent.spawn(ask), gevent.spawn(answer)]
    gevent.sleep(0.01)
    took.clear()
    scan()
    gevent.killall(players)
    near.close()
    far.close()
    return max(took)


def _tick() -> None:
    """Another greenlet that always wants to run: each time the driver yields, the hub switches to it."""
    while True:
        gevent.sleep(0)


def crowd() -> dict[str, float]:
    """10,000 greenlets at once against one host, three selects each: seconds, and memory before and at most."""
    cluster = connect()
    session = cluster.connect()
    session.default_timeout = 300
    statement = session.prepare(schema.SELECT)

    def work() -> int:
        return sum(session.execute(statement, schema.SELECT_VALUES).one() is not None for _ in range(3))

    work()
    before, start = rss_mb(), time.perf_counter()
    workers = [gevent.spawn(work) for _ in range(CROWD)]
    gevent.joinall(workers, raise_error=True)
    elapsed = time.perf_counter() - start
    rows = sum(worker.value for worker in workers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cluster.shutdown()
    if rows != 3 * CROWD:
        raise ValueError(f"{rows} rows instead of {3 * CROWD}")
    return {"greenlets": CROWD, "requests": rows, "seconds": elapsed, "rss_before_mb": before, "rss_peak_mb": peak}


def main() -> None:
    """Run the probe of the order and print what it found."""
    probes = {"connecting": connecting, "stall": stall, "crowd": crowd}
    print(json.dumps(probes[_ORDER["probe"]]()))


if __name__ == "__main__":
    main()
