"""The command: sets up what is needed, measures, prints, and renews the documentation from a complete run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import costs, ground, machine, micro, peers, replay, report, runner
from benchmarks.errors import BenchmarkError
from benchmarks.plan import GREENLETS, WORKLOADS, Cell, Plan, Sample, cells
from benchmarks.results import Results, from_json, targets

PARTS = ("rates", "cluster", "costs", "micro")
CACHE = runner.ROOT / ".cache" / "benchmarks"
PAGE = runner.ROOT / "docs" / "benchmarks.md"
PICTURE = runner.ROOT / "docs" / "_static" / "benchmarks.svg"
PUBLISHED = runner.ROOT / "docs" / "_static" / "benchmarks.json"
REPLAY_ADDRESS = "127.0.0.99"  # the drivers' one host, far from the addresses that test clusters take
NODES, CLUSTER_CELLS = 3, (Cell("select", 256), Cell("insert", 256), Cell("scan_rows"))
ROUNDS, SECONDS, REPEATS = 5, 0.5, 3  # the least that a complete run measures
QUICK = {"rounds": 1, "seconds": 0.2, "repeats": 1}


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    parts: tuple[str, ...]
    rounds: int
    seconds: float
    repeats: int
    quick: bool
    workloads: tuple[str, ...]
    greenlets: tuple[int, ...]
    drivers: tuple[str, ...]
    protocols: tuple[int, ...]
    host: str | None
    peers_python: Path | None

    @property
    def complete(self) -> bool:
        """Whether the run measures everything, so that it may stand in the documentation."""
        measured = (self.parts, self.workloads, self.greenlets, self.drivers, self.protocols)
        long_enough = self.rounds >= ROUNDS and self.seconds >= SECONDS and self.repeats >= REPEATS
        return long_enough and not self.quick and measured == (PARTS, WORKLOADS, GREENLETS, runner.DRIVERS, (4, 5))

    @property
    def with_peers(self) -> bool:
        """Whether any other driver takes part."""
        return not set(self.drivers) <= set(runner.OWN)


def run(options: Options, console: Console) -> Results:
    """Set up, measure, and stop all that was started. Raises BenchmarkError."""
    others = None
    if options.with_peers:
        console.print("The other drivers' environment ...")
        others = options.peers_python.absolute() if options.peers_python else peers.python(CACHE)
    settings = {"rounds": options.rounds, "seconds": options.seconds, "repeats": options.repeats}
    results = Results(machine.facts(others), settings)
    if "micro" in options.parts:
        console.print("Micro-benchmarks of the core ...")
        results.micro = micro.run(others)
    if set(options.parts) & {"rates", "costs"}:
        with ExitStack() as stack:
            _on_servers(options, results, others, stack, console)
    if "cluster" in options.parts:
        with ExitStack() as stack:
            _on_cluster(options, results, others, stack, console)
    return results


def _on_servers(options: Options, results: Results, others: Path | None, stack: ExitStack, console: Console) -> None:
    """The parts that need a server: a real one with the data, and the replaying one before it on a core of its own."""
    client_core, server_core = machine.cores()
    if client_core is None:
        console.print("[yellow]There is one core only: client and server share it, rates say little.[/]")
    program = replay.build(CACHE)
    console.print("A real Cassandra ..." if options.host is None else f"The Cassandra at {options.host} ...")
    real = stack.enter_context(ground.real_server(options.host))
    console.print("Tables and rows ...")
    ground.load(real, others)
    replayed = stack.enter_context(replay.running(program, real, (REPLAY_ADDRESS, 9042), core=server_core))
    if "costs" in options.parts:
        times = 2 if options.quick else 7
        results.costs = costs.run(others, real, replayed, times, lambda text: console.print(f"Costs: {text} ..."))
    if "rates" in options.parts:
        who = runner.entries(options.drivers, options.protocols)
        wanted = cells(options.workloads, options.greenlets)
        plan = Plan(*replayed, 4, client_core, options.seconds, options.repeats, wanted)
        results.rounds = _rounds(options, who, plan, others, console)


def _on_cluster(options: Options, results: Results, others: Path | None, stack: ExitStack, console: Console) -> None:
    """Rates where each request has several hosts to go to, each a replaying server before a node of its own."""
    client_core, server_core = machine.cores()
    program = replay.build(CACHE)
    console.print(f"A real Cassandra of {NODES} nodes ...")
    places = stack.enter_context(ground.real_cluster(NODES))
    console.print("Tables and rows ...")
    ground.load(places[0].real, others, NODES)
    for place in places:
        stack.enter_context(replay.running(program, place.real, place.told, core=server_core))
    who = [entry for entry in runner.entries(options.drivers, options.protocols) if entry.driver != "floor"]
    wanted = tuple(cell for cell in CLUSTER_CELLS if cell in cells(options.workloads, options.greenlets))
    plan = Plan(*places[0].told, 4, client_core, options.seconds, options.repeats, wanted)
    results.cluster = _rounds(options, who, plan, others, console)


def _rounds(
    options: Options, who: list[runner.Entry], plan: Plan, others: Path | None, console: Console
) -> list[dict[str, list[Sample]]]:
    def progress(number: int, entry: runner.Entry) -> None:
        console.print(f"Round {number + 1} of {options.rounds}: {entry.name} ...")

    runner.warm(who, plan, others)
    return runner.run_rounds(who, plan, options.rounds, others, progress)


def write(results: Results, path: Path, publish: bool, console: Console) -> None:
    """Keep the JSON; with `publish` also renew the documentation's table and picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results.to_json())
    written = [path]
    if publish:
        from benchmarks import picture  # here: nothing else needs matplotlib

        picture.draw(results, PICTURE)
        report.publish(PAGE, report.markdown(results))
        written += [PICTURE, PAGE]
    console.print("Written: " + ", ".join(map(str, written)))


def _several(allowed: tuple[Any, ...]) -> Any:
    """A click callback for a comma-separated choice; the answer keeps the order of `allowed`."""

    def parse(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[Any, ...]:
        if text is None:
            return allowed
        asked = [word.strip() for word in text.split(",") if word.strip()]
        unknown = set(asked) - {str(one) for one in allowed}
        if unknown or not asked:
            raise click.BadParameter(f"choose among {', '.join(map(str, allowed))}")
        return tuple(one for one in allowed if str(one) in asked)

    return parse


def _choice(flag: str, allowed: tuple[Any, ...], text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    names = ",".join(map(str, allowed))
    return click.option(flag, callback=_several(allowed), metavar="A,B,...", help=f"{text}: {names} (all).")


@click.command(context_settings={"show_default": True})
@_choice("--parts", PARTS, "What to measure")
@_choice("--only", WORKLOADS, "Workloads")
@_choice("--drivers", runner.DRIVERS, "Drivers")
@_choice("--protocols", (4, 5), "Protocol versions; the other drivers run on v4 only")
@_choice("--greenlets", GREENLETS, "Numbers of greenlets for select and insert")
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, help="Interleaved rounds.")
@click.option("--seconds", type=click.FloatRange(0.05), default=SECONDS, help="Length of one measurement.")
@click.option("--repeats", type=click.IntRange(1), default=REPEATS, help="Measurements in a round; the best counts.")
@click.option("--quick", is_flag=True, help="One short round, no cluster: does it run?")
@click.option("--host", metavar="ADDRESS[:PORT]", help="Use this one-node Cassandra instead of starting one.")
@click.option("--peers-python", type=click.Path(exists=True, path_type=Path), help="Python that has the other drivers.")
@click.option("--publish/--no-publish", default=None, help="Renew docs/ from this run; by default if it is complete.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Where the JSON goes.")
@click.option("--render", type=click.Path(exists=True, path_type=Path), help="Measure nothing: show this JSON again.")
def main(publish: bool | None, json_path: Path | None, render: Path | None, **given: Any) -> None:
    """Measure geventcql, its peers and the gevent floor beside each other, and print one table.

    A complete run (no --quick, no choice of parts, workloads or drivers, no fewer or shorter rounds) takes about a
    quarter of an hour and renews docs/benchmarks.md with its picture and JSON. It ends with status 1 if a target was missed.
    """
    console = Console(width=None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "150")))
    given["workloads"] = given.pop("only")
    if given["quick"]:
        given.update(QUICK)
        if given["parts"] == PARTS:  # starting and filling a cluster takes longer than all the rest
            given["parts"] = tuple(part for part in PARTS if part != "cluster")
    options = Options(**given)
    try:
        results = from_json(render) if render else run(options, console)
        report.show(results, console)
        public = options.complete if publish is None and render is None else bool(publish)
        fallback = PUBLISHED if public else render or runner.ROOT / "build" / "benchmarks.json"
        write(results, json_path or fallback, public, console)
        missed = [target.name for target in targets(results) if not target.met and not target.is_aim]
        if missed and options.complete and render is None:
            raise BenchmarkError("missed: " + "; ".join(missed))
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
