"""What the tests of this folder share, fixtures aside."""

from __future__ import annotations

from typing import Any

from geventcql.cluster import Cluster
from geventcql.testing import CassandraCluster

DDL_TIMEOUT = 60.0
VERSIONS = (3, 4, 5)


def connect(server: Any, version: int = 5, **options: Any) -> Cluster:
    """A Cluster, not connected yet, for the server that the fixture `cassandra` gives."""
    if isinstance(server, CassandraCluster):
        options = {**server.driver_options(), **options}
    return Cluster(server.contact_points, port=server.port, protocol_version=version, **options)
