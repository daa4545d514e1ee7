"""What is in the cluster (layer: driver): rows of system.local and system.peers made into hosts and tokens.

Reading is the control connection's work, in its greenlet. Taking the rows in neither waits nor switches. One reading alone
may be wrong: nodes that start, or have just lost sight of others, show few peers, or rows without columns. So a host is
forgotten when the server has said that it was removed, when another node has taken its address, or when two readings did
not show it and nothing is connected to it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from geventcql.host import EndPoint, Host, NodeAddresses
from geventcql.net.scheduler import Turn

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["Node", "Topology"]

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
MOST_REMOVED = 10_000
"""Addresses of removed nodes that are kept until the next reading; without their word it takes two to forget a host."""


class Node(NamedTuple):
    """One node as a reading shows it."""

    endpoint: EndPoint | None
    """None: its row does not tell enough to use it."""
    row: Row
    is_local: bool = False
    """Whether it is the one that was asked: the end point has been seen to work."""

    @property
    def is_complete(self) -> bool:
        """Whether there is all that a host needs; of the node that answers, its answer is enough."""
        needed = ("host_id", "data_center", "tokens")
        return self.is_local or (self.endpoint is not None and all(self.row.get(name) for name in needed))


class Topology:
    """Keeps the Cluster's hosts and tokens as the nodes tell of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._missing: set[Host] = set()
        """Hosts that the last reading did not show, or that were said to be removed before it."""
        self._removed: set[tuple[str, int]] = set()
        """Addresses of nodes that the server says were removed, until the next reading."""
        self._partitioner = ""
        self._owners: Any = None
        """What the token map was made of."""

    def removed(self, address: str, port: int) -> None:
        """The server says that the node at this address for clients was removed."""
        if len(self._removed) < MOST_REMOVED:
            self._removed.add((address, port))

    def take(self, local: Row, nodes: list[Node]) -> bool:
        """Take a reading in.

        :param local: the row of system.local
        :param nodes: all nodes, that one's too
        :returns: whether another reading should tell if hosts are gone
        """
        metadata = self._cluster.metadata
        metadata.cluster_name = local.get("cluster_name")
        self._partitioner = local.get("partitioner") or ""
        seen = {node.row.get("host_id") for node in nodes}
        for node in nodes:
            if node.is_complete:
                self._take_node(node, seen)
            else:
                log.warning("the row of a node is not complete, it changes nothing: %s", node.row.get("peer"))
        self._forget(seen)
        return bool(self._missing)

    def _take_node(self, node: Node, seen: set[Any]) -> None:
        row, endpoint = node.row, node.endpoint
        assert endpoint is not None
        cluster = self._cluster
        registry = cluster._registry
        place = (row.get("data_center"), row.get("rack"))
        addresses = NodeAddresses(row)
        host_id, before = row.get("host_id"), cluster.metadata.get_host(endpoint)
        host = before if host_id is None else cluster.metadata.get_host_by_host_id(host_id)
        if host is None:
            if before is not None and before.host_id in seen:
                before = None  # it has moved, or is about to
            if before is not None:
                log.info("%s has been replaced by another node at its address", before)
            host = Host(endpoint, cluster.conviction_policy_factory, *place, host_id)
            self._describe(host, row, addresses)
            host.is_up = True  # until a connection, or the lack of one, tells
            registry.add(host, instead_of=before)
            return
        told = (addresses.broadcast_rpc_address, addresses.broadcast_rpc_port)
        is_moved = told != (host.broadcast_rpc_address, host.broadcast_rpc_port)
        if not is_moved and registry.is_connected(host):
            endpoint = registry.endpoint(host)  # of a node that was found by another address than it tells, the one that works
        self._describe(host, row, addresses)
        registry.place(host, (endpoint, *place))

    @staticmethod
    def _describe(host: Host, row: Row, addresses: NodeAddresses) -> None:
        for name in ("broadcast_address", "broadcast_port", "broadcast_rpc_address", "broadcast_rpc_port",
                     "listen_address", "listen_port"):  # fmt: skip
            setattr(host, name, getattr(addresses, name))
        host.release_version = row.get("release_version")
        host.dse_version, host.dse_workload = row.get("dse_version"), row.get("workload")
        host.dse_workloads = row.get("workloads")
        host.tokens = tuple(row.get("tokens") or ())

    def _forget(self, seen: set[Any]) -> None:
        registry = self._cluster._registry
        hosts = self._cluster.metadata.all_hosts()
        taken = {registry.endpoint(host) for host in hosts if host.host_id in seen}
        missing = set()
        for host in hosts:
            address = (host.broadcast_rpc_address or host.address, host.broadcast_rpc_port or host.endpoint.port)
            if host.host_id in seen:
                if address in self._removed:  # the word or the reading is late
                    missing.add(host)
                continue
            confirmed = host in self._missing and not registry.is_connected(host)
            if confirmed or address in self._removed or registry.endpoint(host) in taken:  # connections there prove nothing
                log.info("%s has left the cluster", host)
                registry.remove(host)
            else:
                missing.add(host)
        self._missing = missing
        self._removed.clear()

    def rebuild_tokens(self, force: bool = False) -> None:
        """Make the token map anew if what it is made of has changed; others get turns meanwhile."""
        if not self._cluster.token_metadata_enabled:
            return
        hosts = self._cluster.metadata.all_hosts()
        owners = (self._partitioner, {host: (host.tokens, host.datacenter, host.rack) for host in hosts})
        if not force and owners == self._owners:
            return
        try:
            tokens = {host: host.tokens for host in hosts}
            self._cluster.metadata.rebuild_token_map(self._partitioner, tokens, Turn().give_way)
        except ValueError as error:  # a token that is no number: the rest of the topology is as good as ever
            log.error("the token map could not be made of the tokens that nodes tell: %s", error)
        self._owners = owners  # not before: whoever makes it may be killed meanwhile
