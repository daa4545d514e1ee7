"""The demonstration runs as a new user runs it, on fewer rows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import geventcql
from geventcql.testing.processes import run

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs" / "examples" / "flights.py"


def _demo(*arguments: str) -> tuple[int, str]:
    return run(["env", f"PYTHONPATH={ROOT}", sys.executable, "-W", "error", str(DEMO), *arguments], timeout=300)


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
    with geventcql.connect(cassandra.contact_points, port=cassandra.port) as session:
        names = [row.keyspace_name for row in session.execute("SELECT keyspace_name FROM system_schema.keyspaces")]
    assert "system" in names
    assert "geventcql_demo" not in names


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_says_why_it_failed() -> None:
    status, text = _demo("--host=127.0.0.1:1", "--limit=10")
    assert status == 1
    assert "Failed: NoHostAvailable" in text
    assert "Traceback" not in text
