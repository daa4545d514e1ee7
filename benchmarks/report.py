"""Results as tables, once for the terminal (rich) and once for the documentation (Markdown). Pure but for `publish`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.plan import CONCURRENT
from benchmarks.results import RATIOS, Results, Target, targets
from benchmarks.stats import Spread

BEGIN = "<!-- results: begin (written by make bench) -->"
END = "<!-- results: end -->"
FILES = (
    "![Rates by driver and workload](_static/benchmarks.svg)\n\n"
    "Every figure of every round: [benchmarks.json](_static/benchmarks.json)."
)


@dataclass(frozen=True)
class Sheet:
    """A table to show: cells of several lines have them separated by newlines; the first column is text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def sheets(results: Results) -> list[Sheet]:
    """All tables that these results fill."""
    cluster = rates(results.on_cluster())
    cluster = replace(cluster, title="The same in a cluster of three nodes that all have the data, token-aware")
    every = (rates(results), cluster, target_sheet(results), cost_sheet(results), micro_sheet(results))
    return [sheet for sheet in every if sheet.rows]


def rates(results: Results) -> Sheet:
    """The main table: what each entry reached, and our ratios to the others."""
    entries, ratios = results.entries(), [r for r in RATIOS if {r.over, r.under} <= set(results.entries())]
    rows = []
    for cell in results.cells():
        name = f"{cell.workload}\n{cell.greenlets:,} at once" if cell.workload in CONCURRENT else cell.workload
        figures = [
            _rate_and_cpu(results.figure(entry, cell, "rate"), results.figure(entry, cell, "cpu_us"))
            for entry in entries
        ]
        rows.append([name, *figures, *(_median_and_range(results.ratio(ratio, cell)) for ratio in ratios)])
    title = "Requests (rows, for the scans) a second and CPU time for each; medians of the rounds, (least-greatest)"
    return Sheet(title, ["", *entries, *(ratio.name for ratio in ratios)], rows)


def target_sheet(results: Results) -> Sheet:
    """What a release has to reach."""
    rows = [[t.name, t.required, t.measured, _verdict(t)] for t in targets(results)]
    return Sheet("Targets", ["", "required", "measured", ""], rows)


def _verdict(target: Target) -> str:
    if target.is_aim:
        return "reached" if target.met else "not reached"
    return "met" if target.met else "MISSED"


def cost_sheet(results: Results) -> Sheet:
    """What a driver costs besides its rates, one column for each driver."""
    drivers = list(results.costs)
    lines: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
        ("protocol", lambda c: f"v{c['protocol']}"),
        ("import, s", lambda c: f"{c['import_s']:.3f}"),
        ("connect and first query, s", lambda c: f"{c['connect_s']:.3f}"),
        ("resident memory once connected, MB", lambda c: f"{c['rss_mb']:.1f}"),
        ("longest stretch without a switch, 5,000-row pages iterated, ms", lambda c: _stall(c, "iterate")),
        ("the same by all(), ms", lambda c: _stall(c, "all")),
        ("longest run of Python's garbage collector in there, ms", lambda c: f"{_longest(c, 'collector_ms'):.1f}"),
        ("longest exchange of others over a socket meanwhile, ms", lambda c: f"{_longest(c, 'exchange_ms'):.1f}"),
        ("10,000 greenlets at once, 3 selects each, s", lambda c: _crowd(c, "seconds", ".2f")),
        ("resident memory before, MB", lambda c: _crowd(c, "rss_before_mb", ".0f")),
        ("resident memory at most, MB", lambda c: _crowd(c, "rss_peak_mb", ".0f")),
    )
    rows = [[name, *(value(results.costs[driver]) for driver in drivers)] for name, value in lines]
    return Sheet("Costs", ["", *drivers], rows if drivers else [])


def micro_sheet(results: Results) -> Sheet:
    """Nanoseconds for each operation of the compiled core."""
    drivers = list(results.micro)
    names = dict.fromkeys(name for driver in drivers for name in results.micro[driver])
    rows = [[name, *(_nanoseconds(results.micro[driver].get(name)) for driver in drivers)] for name in names]
    return Sheet("The core alone, ns for each operation (best of several)", ["", *drivers], rows)


def _rate_and_cpu(rate: Spread | None, cpu: Spread | None) -> str:
    return f"{_thousands(rate.median)}/s\n{_digits(cpu.median)} us" if rate and cpu else "-"


def _median_and_range(spread: Spread | None) -> str:
    return f"{_digits(spread.median)}\n({_digits(spread.low)}-{_digits(spread.high)})" if spread else "-"


def _thousands(value: float) -> str:
    return f"{value / 1000:.1f} k" if value >= 1000 else f"{value:.0f}"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _nanoseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _stall(costs: dict[str, Any], way: str) -> str:
    return f"{costs['stall'][way]['longest_ms']:.1f}"


def _longest(costs: dict[str, Any], figure: str) -> float:
    return max(float(way[figure]) for way in costs["stall"].values())


def _crowd(costs: dict[str, Any], figure: str, form: str) -> str:
    return format(costs["crowd"][figure], form) if "crowd" in costs else "-"


def show(results: Results, console: Console) -> None:
    """Print every table."""
    for sheet in sheets(results):
        table = Table(title=sheet.title, show_lines=any("\n" in cell for row in sheet.rows for cell in row))
        for number, column in enumerate(sheet.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


def markdown(results: Results) -> str:
    """Every table, and where it was measured, as Markdown."""
    machine, settings = results.machine, results.settings
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = (
        f"Measured {machine['date']} on {machine['cpu']} ({machine['cores']} cores, {machine['memory_gib']} GiB),"
        f" {machine['system']}, {machine['python']}; {versions}."
    )
    how = (
        f"{settings['rounds']} interleaved rounds, in each the best of"
        f" {settings['repeats']} times {settings['seconds']} s."
    )
    parts = [f"{where}\n{how}", FILES, *(f"### {sheet.title}\n\n{_markdown_table(sheet)}" for sheet in sheets(results))]
    return "\n\n".join(parts)


def _markdown_table(sheet: Sheet) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(sheet.columns) - 1)
    return "\n".join([line(sheet.columns), rule, *map(line, sheet.rows)])


def publish(page: Path, text: str) -> None:
    """Replace what stands between the markers of `page`. Raises ValueError when a marker is missing."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for results: {BEGIN} ... {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
