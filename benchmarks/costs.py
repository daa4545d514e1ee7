"""What a driver costs its application besides its rates: import, connecting, memory, the hub's longest stall, a crowd.

Each figure comes from fresh processes. Times are the least of several (what the code costs), memory is the median.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.runner import run_process

PROBE_LIMIT_S = 300


def probe(package: str, peers: Path | None, name: str, server: tuple[str, int], protocol: int) -> dict[str, Any]:
    """Run one probe (see drivers/probe.py) in a fresh process: what it found. Raises BenchmarkError."""
    interpreter = peers if package == "cassandra" and peers is not None else Path(sys.executable)
    order = {"probe": name, "package": package, "host": server[0], "port": server[1], "protocol": protocol}
    return run_process(interpreter, "benchmarks.drivers.probe", json.dumps(order), PROBE_LIMIT_S)


def connecting(
    package: str, peers: Path | None, server: tuple[str, int], protocol: int, times: int
) -> dict[str, float]:
    """Import and connect-plus-first-query seconds (the least, and the median), resident MB then (the median)."""
    runs = [probe(package, peers, "connecting", server, protocol) for _ in range(times + 1)]
    runs = runs[1:]  # the first one wrote the .pyc files
    imports, connects = [run["import_s"] for run in runs], [run["connect_s"] for run in runs]
    return {
        "import_s": round(min(imports), 4),
        "import_median_s": round(median(imports), 4),
        "connect_s": round(min(connects), 4),
        "connect_median_s": round(median(connects), 4),
        "rss_mb": round(median(run["rss_mb"] for run in runs), 1),
    }


def run(
    peers: Path | None,
    real: tuple[str, int],
    replayed: tuple[str, int],
    times: int,
    progress: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Every cost of geventcql on v5, and of cassandra-driver on v4 where it is at hand.

    Connecting is measured on the real server, the rest on the replaying one. `times` is how many processes a time is
    the best of. `progress` is told what is measured next.
    """
    found = {}
    for package, protocol in (("geventcql", 5), ("cassandra", 4)):
        if package == "cassandra" and peers is None:
            continue
        progress(f"{package}: import, connect, memory")
        costs: dict[str, Any] = {"protocol": protocol, **connecting(package, peers, real, protocol, times)}
        progress(f"{package}: the longest stall of the hub")
        costs["stall"] = probe(package, peers, "stall", replayed, protocol)
        if package == "geventcql":
            progress(f"{package}: 10,000 greenlets at once")
            costs["crowd"] = probe(package, peers, "crowd", replayed, protocol)
        found[package] = costs
    return found
