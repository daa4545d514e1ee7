"""What one driver process is asked to measure and what it answers: passed as JSON. Standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

WORKLOADS = ("select", "insert", "sync1", "scan_rows", "coll_rows")
CONCURRENT = ("select", "insert")  # the ones that run at every number of greenlets; the others have one
GREENLETS = (1, 32, 256, 1024)


@dataclass(frozen=True)
class Cell:
    """One workload at one number of greenlets (asyncio tasks for an asyncio driver)."""

    workload: str
    greenlets: int = 1

    def __str__(self) -> str:
        return f"{self.workload} @{self.greenlets}" if self.workload in CONCURRENT else self.workload


@dataclass(frozen=True)
class Plan:
    """The order to one driver process.

    `core` is the processor to stay on (None: any). Each cell is measured `repeats` times for about `seconds`
    (a scan: once through its table), and the best one counts.
    """

    host: str
    port: int
    protocol: int
    core: int | None
    seconds: float
    repeats: int
    cells: tuple[Cell, ...]

    def to_json(self) -> str:
        """This plan as one line of JSON, for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote."""
        fields = json.loads(text)
        fields["cells"] = tuple(Cell(**cell) for cell in fields["cells"])
        return cls(**fields)


@dataclass(frozen=True)
class Sample:
    """A measurement: requests (rows, for the scans) per second, and the process's CPU time for each in microseconds."""

    workload: str
    greenlets: int
    rate: float
    cpu_us: float

    @property
    def cell(self) -> Cell:
        """The cell that this is a measurement of."""
        return Cell(self.workload, self.greenlets)


def cells(workloads: tuple[str, ...] = WORKLOADS, greenlets: tuple[int, ...] = GREENLETS) -> tuple[Cell, ...]:
    """Every cell of these workloads, the concurrent ones at each of these numbers of greenlets."""
    return tuple(
        Cell(name, count) for name in workloads for count in (greenlets if name in CONCURRENT else (1,))
    )
