"""Interleaved rounds: in each one every entry measures the whole plan in a process of its own, one after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.plan import Cell, Plan, Sample

ROOT = Path(__file__).resolve().parent.parent
DRIVERS = ("floor", "geventcql", "acsylla", "cassandra-driver")
MODULES = {
    "floor": "gevent_floor",
    "geventcql": "geventcql_driver",
    "acsylla": "acsylla_driver",
    "cassandra-driver": "cassandra_driver",
}
OWN = ("floor", "geventcql")  # run by this interpreter, the others by the peers'
V4_ONLY = ("floor", "acsylla", "cassandra-driver")  # acsylla has no v5, on which the third's gevent reactor breaks
CELL_LIMIT_S = 120  # a process that takes longer than this for one cell is stuck


@dataclass(frozen=True)
class Entry:
    """A driver at a protocol version, as it takes part in every round."""

    driver: str
    protocol: int

    @property
    def name(self) -> str:
        """How results name it."""
        return f"{self.driver} v{self.protocol}"


def entries(drivers: Sequence[str], protocols: Sequence[int]) -> list[Entry]:
    """Who takes part: each driver at each of the protocol versions it can be measured on."""
    return [
        Entry(driver, protocol)
        for driver in DRIVERS
        if driver in drivers
        for protocol in protocols
        if protocol == 4 or driver not in V4_ONLY
    ]


def run_process(interpreter: Path, module: str, argument: str, limit_s: float) -> dict[str, object]:
    """Run `python -m module argument` from the project's root: the JSON of its last line. Raises BenchmarkError."""
    # modules are imported from their .pyc files, as installed ones are: compiling them takes longer than all the rest
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [str(interpreter), "-W", "ignore", "-m", module, argument]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{module} did not finish within {limit_s:.0f} s.\n{_tail(error.stderr)}") from error
    if done.returncode or not done.stdout.strip():
        raise BenchmarkError(f"{module} ended with status {done.returncode}.\n{_tail(done.stderr)}")
    answer: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _tail(text: str | bytes | None) -> str:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text or ""
    return "\n".join(words.splitlines()[-20:])


def measure(entry: Entry, plan: Plan, peers: Path | None) -> list[Sample]:
    """One entry's samples of the whole plan, from a fresh process."""
    interpreter = Path(sys.executable) if entry.driver in OWN else peers
    if interpreter is None:
        raise BenchmarkError(f"{entry.name} needs the peers' environment")
    own_plan = replace(plan, protocol=entry.protocol)
    module = f"benchmarks.drivers.{MODULES[entry.driver]}"
    answer = run_process(interpreter, module, own_plan.to_json(), CELL_LIMIT_S * max(1, len(plan.cells)))
    samples = answer["samples"]
    assert isinstance(samples, list)
    return [Sample(**sample) for sample in samples]


def run_rounds(
    who: Sequence[Entry],
    plan: Plan,
    rounds: int,
    peers: Path | None,
    progress: Callable[[int, Entry], None],
) -> list[dict[str, list[Sample]]]:
    """`rounds` rounds of every entry in turn (A B C A B C ...). `progress` is told before each process."""
    done: list[dict[str, list[Sample]]] = []
    for number in range(rounds):
        done.append({})
        for entry in who:
            progress(number, entry)
            done[-1][entry.name] = measure(entry, plan, peers)
    return done


def warm(who: Sequence[Entry], plan: Plan, peers: Path | None) -> None:
    """Fill the replaying server's cache and every .pyc: each entry once through each kind of request, uncounted."""
    kinds = tuple({cell.workload: Cell(cell.workload) for cell in plan.cells}.values())
    for entry in who:
        measure(entry, replace(plan, seconds=0.05, repeats=1, cells=kinds), peers)
