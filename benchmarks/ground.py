"""The measuring ground: a real server with the benchmarks' data in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.runner import run_process

LOAD_LIMIT_S = 600


@contextmanager
def real_server(host: str | None) -> Iterator[tuple[str, int]]:
    """(address, port) of the server at `host`, or of one node started for this. Raises BenchmarkError."""
    from geventcql.testing import AddressError, CassandraCluster, MissingTool, StartError, parse_address

    if host is not None:
        try:
            server = parse_address(host)
        except AddressError as error:
            raise BenchmarkError(f"--host: {error}") from error
        yield server
        return
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(CassandraCluster(1))
        except (MissingTool, StartError) as error:
            raise BenchmarkError(f"No Cassandra could be started ({error}); --host uses one that runs.") from error
        yield cluster.contact_points[0], cluster.port


def load(server: tuple[str, int], peers: Path | None) -> int:
    """Create and fill the tables where that is still to do, by the reference driver if it is at hand: rows written."""
    interpreter, package = (peers, "cassandra") if peers else (Path(sys.executable), "geventcql")
    order = json.dumps({"host": server[0], "port": server[1], "package": package})
    rows = run_process(interpreter, "benchmarks.drivers.load", order, LOAD_LIMIT_S)["rows"]
    assert isinstance(rows, int)
    return rows
