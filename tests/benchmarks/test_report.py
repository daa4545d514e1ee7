"""Results as JSON, targets, terminal tables and Markdown, and the page that they are written into."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import report, results
from benchmarks.plan import Cell, Plan, Sample, cells
from benchmarks.results import Results
from benchmarks.runner import entries

STALLS = {
    "iterate": {"longest_ms": 1.5, "collector_ms": 0.5, "exchange_ms": 2.25},
    "all": {"longest_ms": 12.5, "collector_ms": 5.25, "exchange_ms": 1.0},
}
COSTS: dict[str, Any] = {
    "geventcql": {
        "protocol": 5, "import_s": 0.1, "connect_s": 0.05, "rss_mb": 40.0, "stall": STALLS,
        "crowd": {"seconds": 0.5, "rss_before_mb": 36.0, "rss_peak_mb": 120.0},
    },
    "cassandra": {"protocol": 4, "import_s": 0.3, "connect_s": 0.2, "rss_mb": 55.0, "stall": STALLS},
}  # fmt: skip


def samples(rate: float, factor: float = 1.0) -> list[Sample]:
    """A select at 256 greenlets and one at a time, the CPU time `factor` times what one core gives."""
    return [Sample("select", 256, rate, 1e6 / rate * factor), Sample("sync1", 1, rate / 10, 1e7 / rate)]


@pytest.fixture
def found() -> Results:
    rounds = [
        {
            "floor v4": [samples(150_000.0 * speed)[0]],
            "geventcql v4": samples(120_000.0 * speed),
            "geventcql v5": samples(100_000.0 * speed, 0.9),
            "acsylla v4": samples(100_000.0 * speed),
            "cassandra-driver v4": samples(2_000.0 * speed),
        }
        for speed in (1.0, 0.5, 0.8)
    ]
    machine = {
        "date": "2026-11-23 12:00 UTC", "cpu": "a CPU", "cores": 2, "memory_gib": 8.0, "system": "Linux 6",
        "python": "CPython 3.11.7", "versions": {"geventcql": "1.0", "acsylla": "1.2.0"},
    }  # fmt: skip
    settings = {"rounds": 3, "seconds": 0.5, "repeats": 3}
    micro = {"geventcql": {"encode": 412.3, "token": 45.6}, "cassandra-driver": {"encode": 13573.3}}
    return Results(machine, settings, rounds, COSTS, micro)


def test_the_main_table_has_rates_cpu_and_ratios(found: Results) -> None:
    sheet = report.rates(found)
    assert list(sheet.columns) == [
        "", "floor v4", "geventcql v4", "geventcql v5", "acsylla v4", "cassandra-driver v4",
        "rate: v4 / acsylla", "rate: v4 / cassandra-driver", "CPU: v4 / gevent floor", "CPU: v5 / v4",
    ]  # fmt: skip
    select, sync = sheet.rows
    assert list(select) == [
        "select\n256 at once", "120.0 k/s\n8.33 us", "96.0 k/s\n10.4 us", "80.0 k/s\n11.2 us", "80.0 k/s\n12.5 us",
        "1.6 k/s\n625 us", "1.20\n(1.20-1.20)", "60.0\n(60.0-60.0)", "1.25\n(1.25-1.25)", "1.08\n(1.08-1.08)",
    ]  # fmt: skip
    assert list(sync)[:3] == ["sync1", "-", "9.6 k/s\n104 us"]
    assert sync[8] == "-", "the floor has no such workload"


def test_ratios_of_absent_drivers_have_no_column(found: Results) -> None:
    found.rounds = [{"geventcql v4": one["geventcql v4"], "floor v4": one["floor v4"]} for one in found.rounds]
    assert list(report.rates(found).columns) == ["", "geventcql v4", "floor v4", "CPU: v4 / gevent floor"]


def test_targets(found: Results) -> None:
    judged = {target.name: target for target in results.targets(found)}
    assert not judged["select @256, rate: v4 / acsylla"].met
    assert judged["select @256, rate: v4 / acsylla"].measured == "1.20"
    assert judged["select @256, rate: v4 / cassandra-driver"].met
    assert judged["select @256, CPU: v5 / v4"].met
    assert judged["sync1, rate: v4 / acsylla"].met
    assert judged["import"] == ("import", "at most 0.12 s", "0.1 s", True, False)
    assert not judged["resident memory, connected"].met
    assert judged["longest stall, rows iterated"].met
    assert not judged["longest stall, all()"].met
    aim = judged["select @256, CPU: v4 / gevent floor"]
    assert aim.is_aim and aim.required == "aim: at most 1.4"
    assert {target.name for target in judged.values() if target.is_aim} <= {
        "select @256, CPU: v4 / gevent floor", "insert @256, CPU: v4 / gevent floor",
    }  # fmt: skip
    assert not any(name.startswith("insert") for name in judged), "nothing was measured for it"


def test_costs_and_micro_sheets(found: Results) -> None:
    costs = {row[0]: list(row[1:]) for row in report.cost_sheet(found).rows}
    assert costs["import, s"] == ["0.100", "0.300"]
    assert costs["resident memory at most, MB"] == ["120", "-"]
    micro = [list(row) for row in report.micro_sheet(found).rows]
    assert micro == [["encode", "412", "13,573"], ["token", "45.6", "-"]]


def test_parts_that_were_not_measured_have_no_sheet(found: Results) -> None:
    bare = Results(found.machine, found.settings)
    assert report.sheets(bare) == []
    assert results.targets(bare) == []


def test_the_terminal_shows_every_table(found: Results) -> None:
    out = io.StringIO()
    report.show(found, Console(file=out, width=200))
    text = out.getvalue()
    for word in ("select", "120.0 k/s", "60.0", "MISSED", "reached", "5.2", "import, s", "13,573"):
        assert word in text


def test_markdown_tables_are_well_formed(found: Results) -> None:
    text = report.markdown(found)
    assert "a CPU (2 cores, 8.0 GiB), Linux 6, CPython 3.11.7; geventcql 1.0, acsylla 1.2.0." in text
    assert "3 interleaved rounds" in text
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1
        assert set(lines[1]) <= set("|-:")
    assert "| select<br>256 at once | 120.0 k/s<br>8.33 us |" in text


def test_the_cluster_has_a_table_and_targets_of_its_own(found: Results, tmp_path: Path) -> None:
    found.cluster = [{name: one[name] for name in ("geventcql v4", "acsylla v4")} for one in found.rounds]
    found.rounds = []
    sheet, *_ = report.sheets(found)
    assert "three nodes" in sheet.title and list(sheet.columns) == ["", "geventcql v4", "acsylla v4", "rate: v4 / acsylla"]
    judged = {target.name: target for target in results.targets(found)}
    assert not judged["select @256, rate: v4 / acsylla, three nodes"].met
    assert judged["sync1, rate: v4 / acsylla, three nodes"].met
    assert "select @256, rate: v4 / acsylla" not in judged
    path = tmp_path / "results.json"
    path.write_text(found.to_json())
    assert results.from_json(path) == found


def test_publish_replaces_what_stands_between_the_markers(found: Results, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{report.BEGIN}\n\nold words\n\n{report.END}\n\nbehind\n")
    for _ in range(2):
        report.publish(page, report.markdown(found))
        text = page.read_text()
        assert text.startswith(f"# Before\n\n{report.BEGIN}\n\nMeasured 2026-11-23")
        assert text.endswith(f"|\n\n{report.END}\n\nbehind\n")
        assert "old words" not in text


def test_publish_needs_both_markers_and_touches_nothing_without(found: Results, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in ("nothing", f"{report.BEGIN} only", f"{report.END} only"):
        page.write_text(text)
        with pytest.raises(ValueError, match="no place for results"):
            report.publish(page, "new")
        assert page.read_text() == text


def test_the_documentation_has_a_place_for_results() -> None:
    page = Path(report.__file__).parent.parent / "docs" / "benchmarks.md"
    text = page.read_text()
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    assert text.index(report.BEGIN) < text.index(report.END)


def test_json_round_trip(found: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(found.to_json())
    assert results.from_json(path) == found
    document = json.loads(path.read_text())
    medians = document["medians"][0]
    assert (medians["workload"], medians["greenlets"]) == ("select", 256)
    assert medians["acsylla v4"]["rate"] == {"median": 80_000.0, "low": 50_000.0, "high": 100_000.0, "count": 3}
    assert medians["ratios"]["rate: v4 / cassandra-driver"]["median"] == 60.0
    target = {"name": "import", "required": "at most 0.12 s", "measured": "0.1 s", "met": True, "is_aim": False}
    assert target in document["targets"]


def test_cells_and_plans() -> None:
    wanted = cells(("select", "sync1"), (1, 32))
    assert wanted == (Cell("select", 1), Cell("select", 32), Cell("sync1", 1))
    assert [str(cell) for cell in wanted] == ["select @1", "select @32", "sync1"]
    assert len(cells()) == 11
    plan = Plan("127.0.0.1", 9042, 4, None, 0.5, 3, wanted)
    assert Plan.from_json(plan.to_json()) == plan


def test_who_takes_part() -> None:
    everyone = ("floor", "geventcql", "acsylla", "cassandra-driver")
    names = [entry.name for entry in entries(everyone, (4, 5))]
    assert names == ["floor v4", "geventcql v4", "geventcql v5", "acsylla v4", "cassandra-driver v4"]
    assert [entry.name for entry in entries(("acsylla", "geventcql"), (5,))] == ["geventcql v5"]
