"""What cassandra-driver lets one ask and set about the connections of a Cluster (layer: driver).

Most of it is of protocol v1 and v2, whose connections took 128 requests each; it is refused as cassandra-driver refuses it
from v3 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, cast

import gevent

from geventcql.errors import DriverException, UnsupportedOperation
from geventcql.host import DefaultEndPoint, EndPoint
from geventcql.net.connection import Connection
from geventcql.net.forking import ApplicationGreenlet
from geventcql.net.opening import open_in_keyspace
from geventcql.options import connection_settings
from geventcql.waiting import OfItsThread

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["FamiliarConnections", "Submitted"]

_PER_HOST = "set_core_connections_per_host, or the argument connections_per_host, says how many connections there are"
_PER_CONNECTION = "the argument max_requests_in_flight says how many requests a connection takes"


def _refuse(name: str, instead: str) -> NoReturn:
    raise UnsupportedOperation(f"Cluster.{name} has an effect with protocol v1 and v2 only, which are not spoken: {instead}")


class Submitted(OfItsThread, ApplicationGreenlet):
    """What ``Session.submit`` returns: a Greenlet that has what cassandra-driver's future is most used for."""

    def result(self, timeout: float | None = None) -> Any:
        """What the function returned; waits.

        :param timeout: seconds for this wait
        :raises gevent.Timeout: ``timeout`` passed
        :raises DriverException: it was killed, as the Cluster's shutdown does; else what the function raised
        """
        value = self.get(timeout=timeout)
        if isinstance(value, gevent.GreenletExit):
            raise DriverException(f"{self.name} was ended before it was through, as by the shutdown of its Cluster")
        return value

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        ended: bool = self.ready()
        return ended


class FamiliarConnections:
    """The part of :class:`geventcql.cluster.Cluster` that is there for familiarity."""

    def get_min_requests_per_connection(self, host_distance: int) -> int:
        """5, as in cassandra-driver, without a meaning from protocol v3 on."""
        return 5

    def set_min_requests_per_connection(self, host_distance: int, min_requests: int) -> None:
        """Refused, as in cassandra-driver from protocol v3 on: UnsupportedOperation."""
        _refuse("set_min_requests_per_connection", _PER_CONNECTION)

    def get_max_requests_per_connection(self, host_distance: int) -> int:
        """How many requests a connection may have in flight."""
        return cast("Cluster", self).max_requests_in_flight

    def set_max_requests_per_connection(self, host_distance: int, max_requests: int) -> None:
        """Refused, as in cassandra-driver from protocol v3 on: UnsupportedOperation."""
        _refuse("set_max_requests_per_connection", _PER_CONNECTION)

    def get_max_connections_per_host(self, host_distance: int) -> int:
        """How many connections a host at that distance has."""
        return cast("Cluster", self).get_core_connections_per_host(host_distance)

    def set_max_connections_per_host(self, host_distance: int, max_connections: int) -> None:
        """Refused, as in cassandra-driver from protocol v3 on: UnsupportedOperation."""
        _refuse("set_max_connections_per_host", _PER_HOST)

    def connection_factory(self, endpoint: EndPoint | str, *args: Any, **kwargs: Any) -> Connection:
        """Open a connection with the Cluster's settings, which is the caller's to close; waits.

        :param endpoint: where to
        :param args: as `kwargs`, of cassandra-driver's reactors; ignored
        :raises ConnectionException: it could not be opened
        """
        cluster = cast("Cluster", self)
        where = endpoint if isinstance(endpoint, EndPoint) else DefaultEndPoint(endpoint, cluster.port)
        return open_in_keyspace(where, cluster._protocol_version, connection_settings(cluster), None)

    def get_connection_holders(self) -> list[Any]:
        """What holds connections: the pools of all hosts, and the control connection."""
        cluster = cast("Cluster", self)
        return [] if cluster._connecting is None else [*cluster._registry.pools(), cluster._control]
