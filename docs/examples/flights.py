"""The demonstration: a year of real flights in a real Cassandra, from hundreds of greenlets.

Starts a Cassandra (or takes the one that --host names), loads the 336,776 flights that left New York in 2013 and 26,115
hours of weather, asks three kinds of questions, checks each answer against the files, and says how fast it went.
What touches the database are the functions from `create_schema` to `worst_days`; the rest talks to you.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click
import gevent
from flights_data import FLIGHTS, WEATHER, DataError, Row, checksum, column_names, read_data
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

import geventcql
from geventcql.cluster import NoHostAvailable, Session
from geventcql.query import UNSET_VALUE
from geventcql.testing import AddressError, CassandraCluster, MissingTool, StartError, parse_address

KEYSPACE = "geventcql_demo"

# One partition for each airport and day (about 300 flights), and for each airport and month (about 720 hours).
SCHEMA = [
    f"CREATE TABLE {KEYSPACE}.flights ({FLIGHTS}, PRIMARY KEY ((origin, year, month, day), sched_dep_time, carrier, flight))",
    f"CREATE TABLE {KEYSPACE}.weather ({WEATHER}, PRIMARY KEY ((origin, year, month), time_hour))",
]
SELECT_FLIGHTS = f"SELECT {', '.join(column_names(FLIGHTS))} FROM {KEYSPACE}.flights"

console = Console()


class Wrong(Exception):
    """An answer of the database is not what the files say."""


FAILURES = (Wrong, DataError, AddressError, MissingTool, StartError, NoHostAvailable, geventcql.DriverException)


def create_schema(session: Session) -> None:
    """Make the keyspace anew, with its tables."""
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    session.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}", timeout=60)
    session.execute(f"CREATE KEYSPACE {KEYSPACE} WITH replication = {replication}", timeout=60)
    for statement in SCHEMA:
        session.execute(statement, timeout=60)


def load_flights(session: Session, rows: list[Row], greenlets: int) -> None:
    """Insert with plain blocking code in many greenlets, which is how the handlers of a web service use a Session."""
    insert = session.prepare(insert_into("flights", FLIGHTS))
    with progress("load flights", len(rows)) as count:

        def work(mine: Iterable[Row]) -> None:
            for row in mine:
                count(session.execute(insert, row))

        run_greenlets(work, (unset_for_none(row) for row in rows), greenlets)


def load_weather(session: Session, rows: list[Row], concurrency: int) -> None:
    """Insert through one lazy iterator: no greenlet for each request, and memory for `concurrency` requests."""
    insert = session.prepare(insert_into("weather", WEATHER))
    with progress("load weather", len(rows)) as count:
        for result in session.imap_unordered(insert, map(unset_for_none, rows), concurrency=concurrency):
            count(result)


def read_points(session: Session, rows: list[Row], reads: int, greenlets: int) -> None:
    """Read single flights by their whole key and compare every column."""
    keys = ("origin", "year", "month", "day", "sched_dep_time", "carrier", "flight")
    select = session.prepare(f"{SELECT_FLIGHTS} WHERE {' AND '.join(f'{key} = ?' for key in keys)}")
    positions = [column_names(FLIGHTS).index(key) for key in keys]
    chosen = random.Random(2013).choices(rows, k=reads)
    with progress("read single flights", reads) as count:

        def work(mine: Iterable[Row]) -> None:
            for row in mine:
                found = count(session.execute(select, [row[position] for position in positions]).one())
                if found != row:
                    raise Wrong(f"a flight reads {found}, the file says {row}")

        run_greenlets(work, chosen, greenlets)


def scan(session: Session, rows: list[Row]) -> None:
    """Read the whole table page by page; the next page is on its way while this one is looked at."""
    select = session.prepare(SELECT_FLIGHTS)
    with progress("scan all flights", len(rows)) as count:
        found = checksum(count(tuple(row)) for row in session.execute(select))
    if found != checksum(rows):
        raise Wrong(f"the scan gives {found}, the file {checksum(rows)}")
    console.print(f"  {found}, the same as the file's")


def worst_days(session: Session, rows: list[Row]) -> None:
    """Have the server add up the delays of each airport and day, and look the weather of the worst ones up."""
    day_of = ("origin", "year", "month", "day")
    positions = [column_names(FLIGHTS).index(name) for name in (*day_of, "dep_delay")]
    flights: Counter[Row] = Counter()
    minutes: Counter[Row] = Counter()
    for row in rows:
        *key, delay = (row[position] for position in positions)
        flights[tuple(key)] += delay is not None
        minutes[tuple(key)] += delay or 0
    add_up = session.prepare(
        f"SELECT {', '.join(day_of)}, count(dep_delay) AS flights, sum(dep_delay) AS minutes FROM {KEYSPACE}.flights "
        f"WHERE {' AND '.join(f'{name} = ?' for name in day_of)}"
    )
    days = []
    with progress("add up each airport's days", len(flights)) as count:
        for result in session.imap_unordered(add_up, list(flights), concurrency=64):
            day = count(result.one())
            expected = (flights[day[:4]], minutes[day[:4]])
            if (day.flights, day.minutes) != expected:
                raise Wrong(f"the server adds {day} up, the file says {expected}")
            days.append(day)
    table = Table("airport", "day", "flights", "mean delay", "rain", "gusts", title="The worst days to fly from New York")
    weather = session.prepare(
        f"SELECT day, precip, wind_gust FROM {KEYSPACE}.weather WHERE origin = ? AND year = ? AND month = ?"
    )
    mean = {day: day.minutes / max(day.flights, 1) for day in days}
    for day in sorted(days, key=lambda day: mean[day], reverse=True)[:5]:
        hours = [hour for hour in session.execute(weather, day[:3]) if hour.day == day.day]
        rain, gusts = sum(hour.precip for hour in hours), max((hour.wind_gust or 0 for hour in hours), default=0)
        date = f"{day.year}-{day.month:02}-{day.day:02}"
        table.add_row(day.origin, date, str(day.flights), f"{mean[day]:.0f} min", f"{rain:.2f} in", f"{gusts:.0f} mph")
    console.print(table)


def insert_into(table: str, columns: str) -> str:
    names = column_names(columns)
    return f"INSERT INTO {KEYSPACE}.{table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def unset_for_none(row: Row) -> Row:
    """What the file does not know is left unset: a null would be written, as the deletion of nothing."""
    return tuple(UNSET_VALUE if value is None else value for value in row)


def run_greenlets(work: Callable[[Iterable[Row]], None], rows: Iterable[Row], greenlets: int) -> None:
    """Run `work` in so many greenlets, which take the rows from one iterator; the first error ends them all."""
    shared = iter(rows)
    workers = [gevent.spawn(work, shared) for _ in range(greenlets)]
    try:
        gevent.joinall(workers, raise_error=True)
    finally:
        gevent.killall(workers)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[Any], Any]]:
    """A bar with rows a second. Gives a function that counts what it is given, and returns it. A greenlet draws."""
    done = 0
    started = time.perf_counter()
    columns = [TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]

    def count(item: Any) -> Any:
        nonlocal done
        done += 1
        return item

    def draw(pause: float) -> None:
        while True:
            seconds = time.perf_counter() - started
            bar.update(task, completed=done, rate=f"{done / seconds:,.0f} a second, {seconds:.1f} s", refresh=True)
            if not pause:
                return
            gevent.sleep(pause)

    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task(what, total=total, rate="")
        drawing = gevent.spawn(draw, 0.1)
        try:
            yield count
        finally:
            drawing.kill()
            draw(0)


@click.command()
@click.option("--host", metavar="ADDRESS[:PORT]", help="Use this Cassandra; without it, one is started and stopped.")
@click.option("--limit", type=click.IntRange(min=1), help="Load only so many flights and hours of weather.")
@click.option("--greenlets", default=400, show_default=True, type=click.IntRange(min=1))
@click.option("--reads", default=100_000, show_default=True, help="How many single flights to read.")
def main(host: str | None, limit: int | None, greenlets: int, reads: int) -> None:
    """Load a year of flights into a real Cassandra from hundreds of greenlets, and ask about them."""
    started = time.perf_counter()
    try:
        with ExitStack() as stack:
            server = parse_address(host) if host is not None else None
            console.print("Reading the files ...")
            flights, weather = read_data(limit)
            if server is None:
                console.print("Starting a Cassandra ...")
                cluster = stack.enter_context(CassandraCluster(1, heap="1g", jvm_options=()))
                server = cluster.contact_points[0], cluster.port
            address, port = server
            session = stack.enter_context(geventcql.connect([address], port=port))
            version = session.execute("SELECT release_version FROM system.local").one().release_version
            console.print(f"Connected to Cassandra {version} on {address}:{port}; {greenlets} greenlets")
            if host is not None:
                stack.callback(session.execute, f"DROP KEYSPACE IF EXISTS {KEYSPACE}", timeout=60)
            create_schema(session)
            load_flights(session, flights, greenlets)
            load_weather(session, weather, greenlets)
            read_points(session, flights, reads, greenlets)
            scan(session, flights)
            worst_days(session, flights)
    except FAILURES as error:
        console.print(f"[bold red]Failed:[/] {type(error).__name__}: {escape(str(error))}", highlight=False)
        sys.exit(1)
    console.print(f"[bold green]All answers are right.[/] Everything took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main()
