"""Micro-benchmarks of the compiled core, beside cassandra-driver's codecs where those do the same."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.runner import run_process

LIMIT_S = 300


def run(peers: Path | None) -> dict[str, dict[str, float]]:
    """Driver -> operation -> ns, each driver from a process of its own. Raises BenchmarkError."""
    modules = {"geventcql": (Path(sys.executable), "micro_geventcql")}
    if peers is not None:
        modules["cassandra-driver"] = (peers, "micro_cassandra")
    found = {}
    for driver, (interpreter, module) in modules.items():
        answer = run_process(interpreter, f"benchmarks.drivers.{module}", "", LIMIT_S)
        found[driver] = {name: float(ns) for name, ns in answer.items() if isinstance(ns, (int, float))}
    return found
