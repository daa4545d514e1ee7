"""What the tests of this folder share, fixtures aside."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from geventcql import ConsistencyLevel
from geventcql.cluster import Cluster
from geventcql.testing import CassandraCluster
from tests.integration.peer import ROOT
from tests.support.children import run

DDL_TIMEOUT = 60.0
VERSIONS = (3, 4, 5)


def connect(server: Any, version: int = 5, **options: Any) -> Cluster:
    """A Cluster, not connected yet, for the server that the fixture `cassandra` gives."""
    if isinstance(server, CassandraCluster):
        options = {**server.driver_options(), **options}
    return Cluster(server.contact_points, port=server.port, protocol_version=version, **options)


def make_tables(server: Any, replications: dict[str, str], kind: str, values: Iterable[Any]) -> None:
    """A table `t` in each of some new keyspaces: values `v`, whose CQL type is `kind`, by their number `k`, on all replicas.

    :param replications: by the name of the keyspace
    """
    rows = list(enumerate(values))
    with connect(server) as cluster:
        session = cluster.connect()
        for name, replication in replications.items():
            session.execute(f"CREATE KEYSPACE {name} WITH replication = {{{replication}}}", timeout=DDL_TIMEOUT)
            session.execute(f"CREATE TABLE {name}.t (k int PRIMARY KEY, v {kind})", timeout=DDL_TIMEOUT)
            insert = session.prepare(f"INSERT INTO {name}.t (k, v) VALUES (?, ?)")
            insert.consistency_level = ConsistencyLevel.ALL
            for _ in session.imap_unordered(insert, rows):
                pass


def alone(act: str, server: Any, table: str, version: int = 5) -> dict[str, Any]:
    """What an act of ``tests.integration.crowd`` tells, in a process of its own."""
    command = [sys.executable, "-m", "tests.integration.crowd", act, server.contact_points[0], str(server.port)]
    result: dict[str, Any] = json.loads(run([*command, str(version), table], cwd=ROOT)[0])
    return result
