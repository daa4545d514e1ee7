"""What the driver knows of the cluster: hosts, keyspaces and the token map.

Layer: model. The driver's own greenlets write; each part is an immutable snapshot that is replaced as a whole, so any
greenlet may read at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from geventcql.host import EndPoint, Host
from geventcql.metadata.keyspaces import KeyspaceMetadata, Keyspaces
from geventcql.metadata.lazy import NOT_CONNECTED, SchemaSource
from geventcql.metadata.replication import ReplicationStrategy, Ring
from geventcql.metadata.tokens import TokenMap, token_class_of
from geventcql.protocol.responses import SchemaChange

__all__ = ["Metadata"]


class Metadata:
    """Hosts, keyspaces and token map of one cluster (`cassandra.metadata.Metadata`).

    Attributes: cluster_name; partitioner: its Java class name; dbaas: False: it is not DataStax Astra.

    Parameters:
        source: where the schema is read from when it is looked at.
    """

    dbaas = False

    def __init__(self, source: SchemaSource = NOT_CONNECTED) -> None:
        self.cluster_name: str | None = None
        self.partitioner: str | None = None
        self.on_token_map: Callable[[], object] | None = None
        """Called whenever the token map has been replaced; must not switch."""
        self._token_map: TokenMap | None = None
        self._rebuilds = self._rebuilt = 0
        """How many calls of `rebuild_token_map` there were, and the number of the last one that was taken."""
        self._hosts: Mapping[Host, Host] = {}
        self._by_endpoint: Mapping[EndPoint, Host] = {}
        self._keyspaces = Keyspaces(source, self._replication_changed)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "on_token_map": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, by pickle or `copy`, belongs to no Cluster. Whatever is in the keyspaces is read for it, and waited for."""
        vars(self).update(state)
        self._keyspaces = Keyspaces.of(state["_keyspaces"], self._replication_changed)

    # -- hosts

    def all_hosts(self) -> list[Host]:
        """All hosts, up or not."""
        return list(self._hosts.values())

    def get_host(self, endpoint_or_address: EndPoint | Host | str, port: int | None = None) -> Host | None:
        """The host with this end point, or with this address for clients, and port if given; None if there is none."""
        if isinstance(endpoint_or_address, Host):
            endpoint_or_address = endpoint_or_address.endpoint
        if isinstance(endpoint_or_address, EndPoint):
            return self._by_endpoint.get(endpoint_or_address)
        for host in self._hosts.values():
            address, host_port = host.broadcast_rpc_address, host.broadcast_rpc_port
            if address is None:
                address, host_port = host.endpoint.address, host.endpoint.port
            if address == endpoint_or_address and (port is None or host_port is None or host_port == port):
                return host
        return None

    def get_host_by_host_id(self, host_id: UUID) -> Host | None:
        """The host of this identity; None if there is none."""
        return next((host for host in self._hosts.values() if host.host_id == host_id), None)

    def add_or_return_host(self, host: Host) -> tuple[Host, bool]:
        """(the host known by this identity, False), or (`host`, True) after adding it."""
        known = self._hosts.get(host)
        if known is not None:
            return known, False
        self._set_hosts({**self._hosts, host: host})
        return host, True

    def remove_host(self, host: Host) -> bool:
        """Forgets the host; False if it was not known."""
        hosts = dict(self._hosts)
        known = hosts.pop(host, None)
        self._set_hosts(hosts)
        return known is not None

    def host_moved(self) -> None:
        """The end point of some host has changed."""
        self._set_hosts(self._hosts)

    def _set_hosts(self, hosts: Mapping[Host, Host]) -> None:
        self._hosts = hosts
        self._by_endpoint = {host.endpoint: host for host in hosts.values()}

    # -- keyspaces

    @property
    def keyspaces(self) -> Keyspaces:
        """The keyspaces by name, a read-only mapping. Of those of data, names and replication are known from connecting
        on; what is in them, and the virtual keyspaces, is read when it is looked at, which waits.
        """
        return self._keyspaces

    def set_keyspaces(self, keyspaces: Iterable[KeyspaceMetadata]) -> None:
        """Replaces all keyspaces of data, and with them the strategies of the token map; what has been read of their
        contents is kept.
        """
        self._keyspaces.replace(keyspaces)

    def schema_changed(self, change: SchemaChange) -> None:
        """What a change of the schema is about is read anew when it is next looked at; does not switch.

        A dropped keyspace is gone at once. The replication of one that was made or altered comes with the next reading, or
        when somebody looks at it.
        """
        self._keyspaces.changed(change)

    def forget_schema(self, names_too: bool = False) -> None:
        """Changes may have been missed: whatever is in the keyspaces is read anew when it is next looked at; does not
        switch.

        :param names_too: which keyspaces there are, and their replication, too
        """
        self._keyspaces.forget(names_too)

    def export_schema_as_string(self) -> str:
        """The statements that make all keyspaces and what is in them. Reads what has not been read, and waits."""
        return "\n\n".join(keyspace.export_as_string() for keyspace in self._keyspaces.values())

    def _replication_changed(self) -> None:
        token_map = self.token_map
        if token_map is not None:
            changed = token_map.with_strategies(self._strategies())
            if changed is not token_map:
                self.token_map = changed

    def _strategies(self) -> dict[str, ReplicationStrategy | None]:
        return {name: keyspace.replication_strategy for name, keyspace in self._keyspaces.known.items()}

    # -- tokens

    @property
    def token_map(self) -> TokenMap | None:
        """A snapshot of who owns which tokens; None while it is not known."""
        return self._token_map

    @token_map.setter
    def token_map(self, token_map: TokenMap | None) -> None:
        self._token_map = token_map
        if self.on_token_map is not None:
            self.on_token_map()

    def rebuild_token_map(
        self, partitioner: str, token_map: Mapping[Host, Iterable[str]], give_way: Callable[[], object] | None = None
    ) -> None:
        """Replaces the token map by one made of each host's tokens, as their text in system.local and system.peers.

        Needed as well when a host changes data centre or rack. With an unknown partitioner there is no token map.
        `give_way`, if given, is called now and then; if a later call is through meanwhile, this one changes nothing.
        """
        self.partitioner = partitioner
        self._rebuilds += 1
        this = self._rebuilds
        token_class = token_class_of(partitioner)
        if token_class is None:
            self.token_map = None
            return
        owners: dict[Any, Host] = {}
        for host, tokens in token_map.items():
            owners.update((token_class.from_string(text).value, host) for text in tokens)
            if give_way is not None:
                give_way()
        ring = Ring(owners, give_way)
        if this >= self._rebuilt:
            self._rebuilt = this
            self.token_map = TokenMap(token_class, ring, self._strategies())

    def get_replicas(self, keyspace: str, key: bytes) -> list[Host]:
        """The hosts that hold the partition of a serialized key, in a list of the caller's own; empty if not known."""
        tokens = self.token_map
        return [] if tokens is None else list(tokens.get_replicas_of_key(keyspace, key))

    def can_support_partitioner(self) -> bool:
        """True: the tokens of any partitioner it knows, the driver can compute. cassandra-driver may lack Murmur3."""
        return True

    def __repr__(self) -> str:
        return f"<Metadata: {self.cluster_name} {len(self._hosts)} hosts, {len(self._keyspaces.known)} keyspaces>"
