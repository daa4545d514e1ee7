"""An application written for cassandra-driver gives the same answers on geventcql, with nothing but its imports changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from geventcql.cli.commands import cli
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


def answers(directory: Path, server: Any, keyspace: str, driver: str, version: int = 4) -> Any:
    """What the application below `directory` prints, in a process of its own.

    `version`: of the protocol; cassandra-driver's reactor for gevent breaks on 5.
    """
    arguments = [server.contact_points[0], str(server.port), keyspace]
    code = RUN.format(directory=str(directory), root=str(ROOT), arguments=arguments)
    environment = {**os.environ, "SHOP_PROTOCOL_VERSION": str(version)}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100, env=environment
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert f"drivers: {driver}" in run.stderr.splitlines(), run.stderr[-4000:]
    return json.loads(run.stdout)


@pytest.fixture
def keyspaces(cassandra: Any, cassandra_keyspace: str) -> Any:
    """One for each run of the application."""
    names = [f"{cassandra_keyspace}_{letter}" for letter in "abc"]
    with connect(cassandra) as cluster:
        session = cluster.connect()
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        for name in names:
            session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}", timeout=DDL_TIMEOUT)
        yield names
        for name in names:
            session.execute(f"DROP KEYSPACE {name}", timeout=DDL_TIMEOUT)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(240)
def test_the_shop_gives_the_same_answers(cassandra: Any, keyspaces: list[str], tmp_path: Path) -> None:
    for name in ("before", "after"):
        shutil.copytree(SHOP, tmp_path / name / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    migrated = CliRunner().invoke(cli, ["migrate", "--write", str(tmp_path / "after")])
    assert migrated.exit_code == 0, migrated.stderr
    theirs = answers(tmp_path / "before", cassandra, keyspaces[0], "cassandra")
    for keyspace, version in zip(keyspaces[1:], (4, 5), strict=True):
        ours = answers(tmp_path / "after", cassandra, keyspace, "geventcql", version)
        assert ours.keys() == theirs.keys()
        for name, answer in theirs.items():
            assert ours[name] == answer, f"{name}, protocol v{version}"
    assert len(theirs["views"]["list"]) == 57
