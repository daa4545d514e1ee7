"""Makes the benchmarks' tables on a real server and fills them, unless they are full already.

`python -m benchmarks.drivers.load '{"host": ..., "port": ..., "package": "cassandra" or "geventcql", "nodes": ...}'`: the
reference driver loads where it is installed, so that what is read later was not written by the driver under test.
"""

from gevent import monkey

monkey.patch_all()

import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks import schema  # noqa: E402


def connect(package: str, host: str, port: int) -> Any:
    """A Cluster of the named driver, which uses that one host: others may be told to stand where nothing listens yet."""
    policy = importlib.import_module(f"{package}.policies").WhiteListRoundRobinPolicy
    options = {"load_balancing_policy": policy([host])}
    if package == "cassandra":
        options["connection_class"] = importlib.import_module("cassandra.io.geventreactor").GeventConnection
    cluster = importlib.import_module(f"{package}.cluster").Cluster
    return cluster([host], port=port, protocol_version=4, **options)


def is_full(session: Any) -> bool:
    """Whether the last row of each table that is read is there; they are written in order."""
    return all(session.execute(query).one() is not None for query in schema.LAST_ROWS)


def load(session: Any, package: str, nodes: int) -> int:
    """Create what is missing and fill it, on each of the nodes: how many rows were written."""
    if len(list(session.execute("SELECT peer FROM system.peers"))) != nodes - 1:
        raise SystemExit(f"the server is not one of {nodes}: drivers would find others and pass the replaying server by")
    for statement in (schema.KEYSPACE_DDL.format(nodes), *schema.DDL):
        session.execute(statement)
    if is_full(session):
        return 0
    concurrent = importlib.import_module(f"{package}.concurrent").execute_concurrent_with_args
    for query, rows in (
        (schema.LOAD_WIDE, schema.wide_rows()),
        (schema.LOAD_COLLECTIONS, schema.collection_rows()),
    ):
        concurrent(session, session.prepare(query), rows, concurrency=100)
    return 2 * schema.ROWS


def main() -> None:
    """Load the server on the command line and print how many rows were written."""
    order = json.loads(sys.argv[1])
    cluster = connect(order["package"], order["host"], order["port"])
    session = cluster.connect()
    session.default_timeout = 60
    session.default_consistency_level = importlib.import_module(order["package"]).ConsistencyLevel.ALL
    print(json.dumps({"rows": load(session, order["package"], order["nodes"])}))
    cluster.shutdown()


if __name__ == "__main__":
    main()
