"""The measuring ground: a real server, or several, with the benchmarks' data in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.errors import BenchmarkError
from benchmarks.runner import run_process

LOAD_LIMIT_S = 600

Address = tuple[str, int]


class Place(NamedTuple):
    """A node of a cluster: where it listens, and where drivers are told that it does."""

    real: Address
    told: Address


@contextmanager
def real_server(host: str | None) -> Iterator[Address]:
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


@contextmanager
def real_cluster(size: int) -> Iterator[list[Place]]:
    """`size` nodes, each of which has drivers come to it through another address. Raises BenchmarkError."""
    from geventcql.testing import CassandraCluster, MissingTool, StartError

    with ExitStack() as stack:
        cluster = CassandraCluster(size)
        places = []
        for node in cluster:
            net, _, last = node.address.rpartition(".")
            told = f"{net}.{100 + int(last)}"
            node.settings = replace(node.settings, yaml={"broadcast_rpc_address": told})
            places.append(Place((node.address, node.port), (told, node.port)))
        try:
            stack.enter_context(cluster)
        except (MissingTool, StartError) as error:
            raise BenchmarkError(f"No cluster of {size} nodes could be started ({error}).") from error
        yield places


def load(server: Address, peers: Path | None, nodes: int = 1) -> int:
    """Create and fill the tables where that is still to do, by the reference driver if it is at hand: rows written.

    `nodes`: of the cluster that `server` is one of; each has all rows.
    """
    interpreter, package = (peers, "cassandra") if peers else (Path(sys.executable), "geventcql")
    order = json.dumps({"host": server[0], "port": server[1], "package": package, "nodes": nodes})
    rows = run_process(interpreter, "benchmarks.drivers.load", order, LOAD_LIMIT_S)["rows"]
    assert isinstance(rows, int)
    return rows
