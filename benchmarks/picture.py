"""Results as a picture for the documentation: bars for each workload, and rates over the number of greenlets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

from benchmarks.plan import CONCURRENT, Cell
from benchmarks.results import Results

BARS = (Cell("select", 256), Cell("insert", 256), Cell("sync1"), Cell("scan_rows"), Cell("coll_rows"))
TITLES = {"sync1": "one at a time", "scan_rows": "rows scanned", "coll_rows": "rows of collections"}
COLOURS = {
    "floor v4": "#b0b0b0",
    "geventcql v4": "#1b7837",
    "geventcql v5": "#7fbf7b",
    "acsylla v4": "#2166ac",
    "cassandra-driver v4": "#b2182b",
}


def draw(results: Results, path: Path) -> None:
    """Write the picture of `results` to `path` (SVG, the same bytes for the same results)."""
    with pyplot.rc_context({"svg.hashsalt": "geventcql", "svg.fonttype": "none", "font.size": 9}):
        figure = pyplot.figure(figsize=(12, 7), layout="constrained")
        halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1.1))
        upper, lower = halves
        for axes, cell in zip(upper.subplots(1, len(BARS)), BARS, strict=True):
            _bars(axes, results, cell)
        for axes, workload in zip(lower.subplots(1, len(CONCURRENT)), CONCURRENT, strict=True):
            _lines(axes, results, workload)
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def _bars(axes: Any, results: Results, cell: Cell) -> None:
    """One workload: a bar for each entry, with the least and greatest of the rounds."""
    found = [(entry, spread) for entry in results.entries() if (spread := results.figure(entry, cell, "rate"))]
    for place, (entry, rate) in enumerate(found):
        errors = [[(rate.median - rate.low) / 1000], [(rate.high - rate.median) / 1000]]
        axes.bar(place, rate.median / 1000, yerr=errors, color=COLOURS.get(entry), width=0.8, capsize=2)
        axes.annotate(f"{rate.median / 1000:.3g}", (place, rate.high / 1000), ha="center", va="bottom")
    where = f", {cell.greenlets} greenlets" if cell.workload in CONCURRENT else ""
    axes.set_title(TITLES.get(cell.workload, cell.workload) + where)
    axes.set_ylabel("thousands a second")
    axes.set_xticks(range(len(found)), [entry for entry, _ in found], rotation=45, ha="right")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def _lines(axes: Any, results: Results, workload: str) -> None:
    """One workload at each number of greenlets, a line for each entry."""
    counts = sorted({cell.greenlets for cell in results.cells() if cell.workload == workload})
    for entry in results.entries():
        points = [
            (count, spread.median / 1000)
            for count in counts
            if (spread := results.figure(entry, Cell(workload, count), "rate"))
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=entry, color=COLOURS.get(entry))
    if counts:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.legend(frameon=False)
    axes.set_title(f"{workload}: thousands a second by number of greenlets")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
