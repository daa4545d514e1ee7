"""Nodes and how to reach them: Host, EndPoint and what makes end points from rows of system.local and system.peers.

Layer: model. Plain data: the host registry is the only writer of a Host's state; anybody may read it, in any greenlet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import total_ordering
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from geventcql.policies.conviction import ConvictionPolicy

__all__ = ["DefaultEndPoint", "DefaultEndPointFactory", "EndPoint", "EndPointFactory", "Host", "NodeAddresses"]

DEFAULT_PORT = 9042
_AF_UNSPEC = 0  # socket.AF_UNSPEC on every platform; this layer does not import socket


class EndPoint:
    """What a connection to a node needs to know (`cassandra.connection.EndPoint`): a base for applications' own."""

    @property
    def address(self) -> str:
        """The address that the driver connects to, or a name for it."""
        raise NotImplementedError

    @property
    def port(self) -> int | None:
        """The TCP port."""
        raise NotImplementedError

    @property
    def ssl_options(self) -> Mapping[str, Any] | None:
        """TLS options of this end point alone, such as `server_hostname`; None for those of the Cluster."""
        return None

    @property
    def socket_family(self) -> int:
        """The address family to look names up in; any by default."""
        return _AF_UNSPEC

    def resolve(self) -> tuple[str, int | None]:
        """(address, port), asked for at each connect; the address may still be a name."""
        raise NotImplementedError

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, EndPoint):
            return NotImplemented
        return (self.address, self.port or 0) < (other.address, other.port or 0)


@total_ordering
class DefaultEndPoint(EndPoint):
    """An address, numeric or a name, and a port (`cassandra.connection.DefaultEndPoint`)."""

    __slots__ = ("_address", "_port")

    def __init__(self, address: str, port: int = DEFAULT_PORT) -> None:
        self._address = address
        self._port = port

    @property
    def address(self) -> str:
        """The address as given."""
        return self._address

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._port

    def resolve(self) -> tuple[str, int]:
        """(address, port)."""
        return self._address, self._port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DefaultEndPoint) and self._address == other._address and self._port == other._port

    def __hash__(self) -> int:
        return hash((self._address, self._port))

    def __str__(self) -> str:
        return f"{self._address}:{self._port}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


class NodeAddresses:
    """The addresses in a row of system.local, system.peers or system.peers_v2; None for what it does not tell.

    The columns' names differ from version to version: Cassandra 3 has `rpc_address`, 4 and later `native_address` in
    peers_v2, DSE `native_transport_address`. A wildcard address is of no use to a client; `peer` stands in for it.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        names = ("native_transport_address", "native_address", "rpc_address")
        known = [row[name] for name in names if row.get(name) and str(row[name]) not in ("0.0.0.0", "::")]
        self.broadcast_rpc_address: str | None = known[0] if known else row.get("peer")
        self.broadcast_rpc_port: int | None = row.get("rpc_port") or row.get("native_port") or None
        self.broadcast_address: str | None = row.get("broadcast_address") or row.get("peer")
        self.broadcast_port: int | None = row.get("broadcast_port") or row.get("peer_port") or None
        self.listen_address: str | None = row.get("listen_address")
        self.listen_port: int | None = row.get("listen_port") or None


class EndPointFactory:
    """Makes the EndPoint of a discovered node (`cassandra.connection.EndPointFactory`): a base for applications'
    own.
    """

    cluster: Any = None

    def configure(self, cluster: Any) -> EndPointFactory:
        """Called once by the Cluster that will use it; returns the factory."""
        self.cluster = cluster
        return self

    def create(self, row: Mapping[str, Any]) -> EndPoint:
        """The end point for a row of system.local or system.peers, whose columns are the keys."""
        raise NotImplementedError


class DefaultEndPointFactory(EndPointFactory):
    """DefaultEndPoints: the address as the Cluster's translator gives it, the row's port, else `port`, else 9042."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port

    def create(self, row: Mapping[str, Any]) -> EndPoint:
        """The end point for a row; ValueError if the row tells no address."""
        found = NodeAddresses(row)
        if found.broadcast_rpc_address is None:
            raise ValueError(f"a row of a node without an address; its host_id is {row.get('host_id')}")
        address = self.cluster.address_translator.translate(found.broadcast_rpc_address)
        return DefaultEndPoint(address, found.broadcast_rpc_port or self.port or DEFAULT_PORT)


class Host:
    """A node of the cluster (`cassandra.pool.Host`). The same as another if it has the same `host_id`, whatever address
    it has moved to; made without one, if it has the same end point. Ordered by end point.

    Attributes, None while unknown:
        endpoint: where the driver connects to. host_id: UUID, the node's identity through changes of address; never changed.
        datacenter, rack, release_version: as the node reports them. tokens: its tokens as text.
        broadcast_address/_port: between nodes; broadcast_rpc_address/_port: for clients; listen_address/_port.
        is_up: True, False, or None before anything is known.
        dse_version, dse_workload, dse_workloads: of nodes of DataStax Enterprise.
        conviction_policy: made by the factory for this host; decides which failures mean that it is down.
    """

    broadcast_address: str | None = None
    broadcast_port: int | None = None
    broadcast_rpc_address: str | None = None
    broadcast_rpc_port: int | None = None
    listen_address: str | None = None
    listen_port: int | None = None
    release_version: str | None = None
    dse_version: str | None = None
    dse_workload: str | None = None
    dse_workloads: Collection[str] | None = None
    is_up: bool | None = None
    tokens: tuple[str, ...] = ()

    def __init__(
        self,
        endpoint: EndPoint | str,
        conviction_policy_factory: Callable[[Host], ConvictionPolicy],
        datacenter: str | None = None,
        rack: str | None = None,
        host_id: UUID | None = None,
    ) -> None:
        if endpoint is None:
            raise ValueError("endpoint may not be None")
        if conviction_policy_factory is None:
            raise ValueError("conviction_policy_factory may not be None")
        self.endpoint: EndPoint = endpoint if isinstance(endpoint, EndPoint) else DefaultEndPoint(endpoint)
        self.conviction_policy = conviction_policy_factory(self)
        self.host_id = host_id
        self.datacenter = datacenter
        self.rack = rack
        self._identity: Any = self.endpoint if host_id is None else host_id
        self._hash = hash(self._identity)

    @property
    def address(self) -> str:
        """The address that the driver connects to."""
        return self.endpoint.address

    def set_location_info(self, datacenter: str | None, rack: str | None) -> None:
        """Sets data centre and rack; for the host registry."""
        self.datacenter = datacenter
        self.rack = rack

    def set_up(self) -> None:
        """Marks the host up and forgets its failures; for the host registry."""
        self.is_up = True
        self.conviction_policy.reset()

    def set_down(self) -> None:
        """Marks the host down; for the host registry."""
        self.is_up = False

    def signal_connection_failure(self, connection_exc: BaseException | None) -> bool:
        """Whether this failure convicts the host, by its conviction policy."""
        return self.conviction_policy.add_failure(connection_exc)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Host):
            return bool(self._identity == other._identity)
        return self.endpoint.address == other  # as in cassandra-driver: a host equals its address

    def __hash__(self) -> int:
        return self._hash

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Host):
            return NotImplemented
        return self.endpoint < other.endpoint

    def __str__(self) -> str:
        return str(self.endpoint)

    def __repr__(self) -> str:
        state = {True: "up", False: "down", None: "unknown"}[self.is_up]
        return f"<Host: {self.endpoint} {self.datacenter} {state}>"
