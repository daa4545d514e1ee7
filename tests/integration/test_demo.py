"""The demonstration runs as a new user runs it, on fewer rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import geventcql
from geventcql.testing.processes import run

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs" / "examples" / "flights.py"


def _demo(*arguments: str) -> tuple[int, str]:
    return run(["env", f"PYTHONPATH={ROOT}", sys.executable, "-W", "error", str(DEMO), *arguments], timeout=300)


def _keyspaces(cassandra: Any) -> list[str]:
    with geventcql.connect(cassandra.contact_points, port=cassandra.port) as session:
        return [row.keyspace_name for row in session.execute("SELECT keyspace_name FROM system_schema.keyspaces")]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_starts_a_cassandra_and_all_answers_are_right() -> None:
    status, text = _demo("--limit=2000", "--reads=1000", "--greenlets=200")
    assert status == 0, text
    assert "Connected to Cassandra 5.0" in text
    assert "2,000 rows with checksum" in text
    assert "All answers are right." in text


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_uses_a_cassandra_that_is_there_and_leaves_nothing(cassandra) -> None:  # type: ignore[no-untyped-def]
    host = f"{cassandra.contact_points[0]}:{cassandra.port}"
    status, text = _demo(f"--host={host}", "--limit=500", "--reads=100")
    assert status == 0, text
    assert f"on {host}" in text
    names = _keyspaces(cassandra)
    assert "system" in names
    assert "geventcql_demo" not in names


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_says_why_it_failed() -> None:
    status, text = _demo("--host=127.0.0.1:1", "--limit=10")
    assert status == 1
    assert "Failed: NoHostAvailable" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("host", ["127.0.0.1:abc", "[::1", ":9042"])
def test_it_names_what_is_no_address(host: str) -> None:
    status, text = _demo(f"--host={host}")
    assert status == 1
    assert "Failed: AddressError" in text and host in text
    assert "Traceback" not in text


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_drops_its_keyspace_when_a_table_cannot_be_made(cassandra, tmp_path) -> None:  # type: ignore[no-untyped-def]
    host = f"{cassandra.contact_points[0]}:{cassandra.port}"
    demo = tmp_path / "flights.py"
    demo.write_text(DEMO.read_text().replace("PRIMARY KEY ((origin, year, month), time_hour)", "no primary key"))
    (tmp_path / "flights_data.py").write_text(DEMO.with_name("flights_data.py").read_text())
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, str(demo), f"--host={host}", "--limit=10"]
    status, text = run(command, timeout=300)
    assert status == 1 and "SyntaxException" in text, text
    assert "geventcql_demo" not in _keyspaces(cassandra)
