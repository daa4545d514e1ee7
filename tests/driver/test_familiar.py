"""What cassandra-driver lets one ask about connections."""

from __future__ import annotations

import pytest

from geventcql import UnsupportedOperation
from geventcql.cluster import Cluster
from geventcql.policies import HostDistance
from tests.support.fakenode import FakeNode


def test_limits() -> None:
    cluster = Cluster(max_requests_in_flight=100, connections_per_host=2)
    for distance in (HostDistance.LOCAL, HostDistance.REMOTE):
        assert cluster.get_max_connections_per_host(distance) == cluster.get_core_connections_per_host(distance) == 2
    assert cluster.get_max_requests_per_connection(HostDistance.LOCAL) == 100
    assert cluster.get_min_requests_per_connection(HostDistance.LOCAL) == 5
    for name, instead in (
        ("set_max_connections_per_host", "connections_per_host"),
        ("set_min_requests_per_connection", "max_requests_in_flight"),
        ("set_max_requests_per_connection", "max_requests_in_flight"),
    ):
        with pytest.raises(UnsupportedOperation, match=f"{name} has .* v1 and v2.*{instead}"):
            getattr(cluster, name)(HostDistance.LOCAL, 4)


def test_a_connection_of_ones_own_and_what_holds_the_others() -> None:
    with FakeNode() as node, Cluster([node.host], port=node.port) as cluster:
        assert cluster.get_connection_holders() == []
        session = cluster.connect()
        pool, control = cluster.get_connection_holders()
        assert pool in session.get_pools() and control is cluster._control
        connection = cluster.connection_factory(node.host)
        assert " open" in repr(connection) and connection not in pool.connections
        connection.close()
