"""A run's results: what is kept as JSON, and the figures, ratios and targets that follow from the rounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import stats
from benchmarks.plan import Cell, Sample


class Ratio(NamedTuple):
    """A comparison of two entries, each round's own; `figure` is "rate" or "cpu_us"."""

    name: str
    over: str
    under: str
    figure: stats.Figure


RATIOS = (
    Ratio("rate: v4 / acsylla", "geventcql v4", "acsylla v4", "rate"),
    Ratio("rate: v4 / cassandra-driver", "geventcql v4", "cassandra-driver v4", "rate"),
    Ratio("CPU: v4 / gevent floor", "geventcql v4", "floor v4", "cpu_us"),
    Ratio("CPU: v5 / v4", "geventcql v5", "geventcql v4", "cpu_us"),
)
ACSYLLA, CASSANDRA, FLOOR, V5 = RATIOS


Rounds = Sequence[Mapping[str, Sequence[Sample]]]
"""In each round, by entry."""


class Target(NamedTuple):
    """A figure that a release has to reach, and what this run measured."""

    name: str
    required: str
    measured: str
    met: bool
    is_aim: bool = False
    """Wished for, not required."""


@dataclass
class Results:
    """All that one run found; parts that were not asked for stay empty."""

    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    rounds: Rounds = ()
    costs: Mapping[str, Any] = field(default_factory=dict)
    micro: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # driver -> operation -> ns
    cluster: Rounds = field(default_factory=list)
    """As `rounds`, on a cluster of several nodes."""

    def on_cluster(self) -> Results:
        """What was found on the cluster, as if it were all."""
        return Results(self.machine, self.settings, self.cluster)

    def entries(self) -> list[str]:
        """The entries measured, in the order of the rounds."""
        return list(dict.fromkeys(name for samples in self.rounds for name in samples))

    def cells(self) -> list[Cell]:
        """The cells measured by any entry, in the order of the plan."""
        return list(dict.fromkeys(s.cell for one in self.rounds for samples in one.values() for s in samples))

    def figure(self, entry: str, cell: Cell, figure: stats.Figure) -> stats.Spread | None:
        """The spread of one figure over the rounds."""
        return stats.spread(self.rounds, entry, cell, figure)

    def ratio(self, ratio: Ratio, cell: Cell) -> stats.Spread | None:
        """The spread of a ratio over the rounds; None when one of its entries did not measure the cell."""
        return stats.ratio(self.rounds, ratio.over, ratio.under, cell, ratio.figure)

    def to_json(self) -> str:
        """Everything measured and the medians, as indented JSON."""
        document = {
            "machine": self.machine,
            "settings": self.settings,
            "targets": [target._asdict() for target in targets(self)],
            "medians": [self._medians(cell) for cell in self.cells()],
            "costs": self.costs,
            "micro_ns": self.micro,
            "rounds": _plain(self.rounds),
            "cluster": _plain(self.cluster),
        }
        return json.dumps(document, indent=1) + "\n"

    def _medians(self, cell: Cell) -> dict[str, Any]:
        figures: dict[str, Any] = {"workload": cell.workload, "greenlets": cell.greenlets}
        for entry in self.entries():
            rate, cpu = self.figure(entry, cell, "rate"), self.figure(entry, cell, "cpu_us")
            if rate and cpu:
                figures[entry] = {"rate": asdict(rate), "cpu_us": asdict(cpu)}
        figures["ratios"] = {r.name: asdict(spread) for r in RATIOS if (spread := self.ratio(r, cell))}
        return figures


def _plain(rounds: Rounds) -> list[dict[str, list[dict[str, Any]]]]:
    return [{name: [asdict(s) for s in samples] for name, samples in one.items()} for one in rounds]


def _samples(rounds: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]) -> Rounds:
    return [{name: [Sample(**s) for s in samples] for name, samples in one.items()} for one in rounds]


def from_json(path: Path) -> Results:
    """The results that `to_json` wrote."""
    document = json.loads(path.read_text())
    return Results(
        machine=document["machine"],
        settings=document["settings"],
        rounds=_samples(document["rounds"]),
        cluster=_samples(document.get("cluster", ())),
        costs=document["costs"],
        micro=document["micro_ns"],
    )


SELECT, INSERT, SYNC = Cell("select", 256), Cell("insert", 256), Cell("sync1")
SCAN, COLLECTIONS = Cell("scan_rows"), Cell("coll_rows")
AT_LEAST = (
    (SELECT, ACSYLLA, 1.5),
    (SELECT, CASSANDRA, 25.0),
    (INSERT, ACSYLLA, 1.3),
    (INSERT, CASSANDRA, 15.0),
    (SYNC, ACSYLLA, 1.1),
    (SCAN, ACSYLLA, 1.5),
    (SCAN, CASSANDRA, 4.0),
    (COLLECTIONS, CASSANDRA, 5.0),
)
AT_MOST = ((SELECT, V5, 1.15), (INSERT, V5, 1.15))
AIMS_AT_MOST = ((SELECT, FLOOR, 1.4), (INSERT, FLOOR, 1.4))
COSTS_AT_MOST: tuple[tuple[str, str, float, Callable[[Mapping[str, Any]], float]], ...] = (
    ("import", "s", 0.12, lambda costs: costs["import_s"]),
    ("connect and first query", "s", 0.06, lambda costs: costs["connect_s"]),
    ("resident memory, connected", "MB", 38, lambda costs: costs["rss_mb"]),
    ("longest stall, rows iterated", "ms", 10, lambda costs: costs["stall"]["iterate"]["longest_ms"]),
    ("longest stall, all()", "ms", 10, lambda costs: costs["stall"]["all"]["longest_ms"]),
)


def targets(results: Results) -> list[Target]:
    """Every target that this run measured something for, met or not."""
    found = []
    for limits, word in ((AT_LEAST, "at least"), (AT_MOST, "at most"), (AIMS_AT_MOST, "aim: at most")):
        for cell, ratio, limit in limits:
            spread = results.ratio(ratio, cell)
            if spread is not None:
                met = spread.median >= limit if limits is AT_LEAST else spread.median <= limit
                name, required = f"{cell}, {ratio.name}", f"{word} {limit:g}"
                found.append(Target(name, required, f"{spread.median:.2f}", met, limits is AIMS_AT_MOST))
    if results.cluster:
        found += [target._replace(name=f"{target.name}, three nodes") for target in targets(results.on_cluster())]
    ours = results.costs.get("geventcql")
    if ours is not None:
        for name, unit, limit, measured in COSTS_AT_MOST:
            value = measured(ours)
            found.append(Target(name, f"at most {limit:g} {unit}", f"{value:g} {unit}", value <= limit))
    return found
