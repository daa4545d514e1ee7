"""An application written for cassandra-driver gives the same answers on geventcql, with nothing but its imports changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from geventcql.cli.commands import cli
from geventcql.session import Session
from tests.integration.support import DDL_TIMEOUT, connect

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "tests" / "applications" / "shop"

RUN = """
import runpy, sys
sys.path[:0] = [{directory!r}, {root!r}]
sys.argv = ["main", *{arguments!r}]
runpy.run_module("shop.main", run_name="__main__")
print("drivers:", *sorted({{"cassandra", "geventcql"}} & set(sys.modules)), file=sys.stderr)
"""


def answers(directory: Path, server: Any, keyspace: str, driver: str) -> Any:
    """What the application below `directory` prints, in a process of its own."""
    arguments = [server.contact_points[0], str(server.port), keyspace]
    code = RUN.format(directory=str(directory), root=str(ROOT), arguments=arguments)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 0, run.stderr[-4000:]
    assert f"drivers: {driver}" in run.stderr.splitlines(), run.stderr[-4000:]
    return json.loads(run.stdout)


@pytest.fixture
def other_keyspace(cassandra: Any, cassandra_keyspace: str) -> Any:
    """Another one, for the other driver."""
    name = f"{cassandra_keyspace}_b"
    with connect(cassandra) as cluster:
        session: Session = cluster.connect()
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}", timeout=DDL_TIMEOUT)
        yield name
        session.execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)


@pytest.mark.integration
@pytest.mark.timeout(240)
def test_the_shop_gives_the_same_answers(
    cassandra: Any, cassandra_keyspace: str, other_keyspace: str, tmp_path: Path
) -> None:
    for name in ("before", "after"):
        shutil.copytree(SHOP, tmp_path / name / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    migrated = CliRunner().invoke(cli, ["migrate", "--write", str(tmp_path / "after")])
    assert migrated.exit_code == 0, migrated.stderr
    theirs = answers(tmp_path / "before", cassandra, cassandra_keyspace, "cassandra")
    ours = answers(tmp_path / "after", cassandra, other_keyspace, "geventcql")
    assert ours.keys() == theirs.keys()
    for name, answer in theirs.items():
        assert ours[name] == answer, name
    assert len(theirs["views"]["list"]) == 57
