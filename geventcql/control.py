"""The control connection (layer: driver): one connection beside the pools, for what the driver itself wants to know.

It finds a contact point that answers, negotiates the protocol version, and reads the cluster's topology and keyspaces. Runs
in a driver greenlet; lost, it is opened anew on any known host when it is next needed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.lock import RLock

from geventcql.cython.wire import Page
from geventcql.encoder import cql_quote
from geventcql.errors import (
    AuthenticationFailed,
    ConnectionException,
    ConnectionShutdown,
    DriverException,
    ErrorMessage,
    InvalidRequestException,
    NoHostAvailable,
    UnresolvableContactPoints,
    UserTypeDoesNotExist,
)
from geventcql.host import DefaultEndPoint, EndPoint, Host, NodeAddresses
from geventcql.metadata import KeyspaceMetadata
from geventcql.net.connection import Connection
from geventcql.net.opening import open_negotiated
from geventcql.net.transport import resolve
from geventcql.options import connection_settings, contact_endpoints
from geventcql.protocol import requests
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.protocol.responses import SchemaChange

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["ControlConnection"]

log = logging.getLogger(__name__)

LOCAL = "SELECT * FROM system.local WHERE key='local'"
SCHEMA_VERSION = "SELECT schema_version FROM system.local WHERE key='local'"
PEERS_V2 = "SELECT * FROM system.peers_v2"
PEERS = "SELECT * FROM system.peers"
KEYSPACES = "SELECT keyspace_name, durable_writes, replication FROM system_schema.keyspaces"

Row = dict[str, Any]
# Between looks at whether the nodes have the same schema, seconds.
AGREEMENT_PAUSE = 0.2
PAGE_SIZE = 500
"""Rows per page of the driver's own queries: what is decoded in one go keeps the hub for a few milliseconds at most."""


class ControlConnection:
    """The control connection of a Cluster.

    :param cluster: whose it is
    :param timeout: seconds for each of its queries; None for no limit
    """

    def __init__(self, cluster: Cluster, timeout: float | None) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._connection: Connection | None = None
        self._opening = RLock()
        self._has_peers_v2 = True
        self._is_shutdown = False

    @property
    def connection(self) -> Connection | None:
        """The connection, if there is an open one."""
        connection = self._connection
        return connection if connection is not None and not connection.closed else None

    @property
    def host(self) -> Host | None:
        """The host it leads to."""
        connection = self.connection
        return None if connection is None else self._cluster.metadata.get_host(connection.endpoint)

    def connect(self) -> Connection:
        """The open connection, opened if there is none; waits.

        :raises NoHostAvailable: nobody could be used; its ``errors`` say why, by end point as text
        :raises UnresolvableContactPoints: no contact point's name is known
        """
        with self._opening:
            connection = self.connection
            if connection is None:
                connection = self._connection = self._open_any()
            return connection

    def _open_any(self) -> Connection:
        errors: dict[str, BaseException] = {}
        for endpoint in self._candidates(errors):
            if self._is_shutdown:
                break
            try:
                return self._open(endpoint)
            except (Exception, gevent.Timeout) as error:  # whatever it is, another node may be better
                level = logging.ERROR if isinstance(error, AuthenticationFailed) else logging.WARNING
                log.log(level, "control connection: %s: %s", endpoint, error)
                errors[str(endpoint)] = error
        told = "; ".join(f"{endpoint}: {error}" for endpoint, error in errors.items())
        raise NoHostAvailable(f"unable to connect to any of the servers: {told or 'there are none'}", errors)

    def _open(self, endpoint: EndPoint) -> Connection:
        cluster = self._cluster
        connection = open_negotiated(
            endpoint, cluster._protocol_version, connection_settings(cluster), cluster._version_is_fixed
        )
        self._refresh(connection)
        if self._is_shutdown:
            connection.close()
            raise ConnectionShutdown("the Cluster was shut down while its control connection was opened", endpoint)
        cluster._settle_version(connection.version)
        cluster.metadata.forget_schema()  # what changed while there was no control connection was not heard of
        return connection

    def _candidates(self, errors: dict[str, BaseException]) -> Iterator[EndPoint]:
        """Known hosts that may be up, then the contact points, their names resolved anew."""
        seen = set()
        for host in self._cluster.metadata.all_hosts():
            seen.add(host.endpoint)
            yield host.endpoint
        unresolved = []
        points = contact_endpoints(self._cluster)
        for point in points:
            try:
                found: list[EndPoint] = self._resolve(point)
            except OSError as error:
                errors[str(point)] = error
                unresolved.append(point)
                continue
            self._cluster.endpoints_resolved = list(dict.fromkeys((*self._cluster.endpoints_resolved, *found)))
            for endpoint in found:
                if endpoint not in seen:
                    seen.add(endpoint)
                    yield endpoint
        if points and len(unresolved) == len(points) and not self._cluster.metadata.all_hosts():
            raise UnresolvableContactPoints(
                "none of the contact points' names could be resolved: "
                + "; ".join(f"{point}: {errors[str(point)]}" for point in points)
            )

    @staticmethod
    def _resolve(endpoint: EndPoint) -> list[EndPoint]:
        if type(endpoint) is not DefaultEndPoint:
            return [endpoint]  # an application's own kind knows how to resolve itself
        return [DefaultEndPoint(address[0], endpoint.port) for _, address in resolve(endpoint.address, endpoint.port)]

    # -- queries ------------------------------------------------------------------------------------------------------

    def query(self, text: str) -> list[Row]:
        """Run a query of the driver's own; waits.

        :returns: the rows as dicts by column name
        :raises ErrorMessage: the server's error
        """
        try:
            return self._query(self.connect(), text)
        except ConnectionException:  # it broke, perhaps long ago and unnoticed; nothing but reading is asked here
            return self._query(self.connect(), text)

    def _query(self, connection: Connection, text: str) -> list[Row]:
        rows: list[Row] = []
        state: bytes | None = None
        while True:
            parts = requests.query_parts(
                connection.version, text, ConsistencyLevel.ONE, page_size=PAGE_SIZE, paging_state=state
            )
            page = connection.call(parts.opcode, parts.body(), self._timeout)
            if not isinstance(page, Page):
                raise DriverException(f"{connection.endpoint} answered {text!r} with {type(page).__name__}")
            if page.has_rows:
                names = page.decoder().names
                rows += [dict(zip(names, row, strict=True)) for row in page.all()]
            state = page.paging_state
            if state is None:
                return rows

    def refresh_keyspaces(self) -> None:
        """Read the replication of all keyspaces."""
        self._read_keyspaces(self.connect())

    def keyspace_exists(self, name: str) -> bool:
        """Whether there is a keyspace of that name, virtual ones included."""
        literal = name.replace("'", "''")
        for schema in ("system_schema", "system_virtual_schema"):
            try:
                if self.query(f"SELECT keyspace_name FROM {schema}.keyspaces WHERE keyspace_name = '{literal}'"):
                    return True
            except InvalidRequestException:
                log.debug("the server has no %s", schema)
        return False

    def user_type_fields(self, keyspace: str, name: str) -> list[str]:
        """The names of a user type's fields, in order; waits.

        :raises UserTypeDoesNotExist: there is no such type
        """
        keyspace_literal, name_literal = cql_quote(keyspace), cql_quote(name)
        rows = self.query(
            "SELECT field_names FROM system_schema.types "
            f"WHERE keyspace_name = {keyspace_literal} AND type_name = {name_literal}"
        )
        if not rows:
            raise UserTypeDoesNotExist(f"keyspace {keyspace} has no user type {name}, or there is no such keyspace")
        return list(rows[0]["field_names"])

    # -- topology -----------------------------------------------------------------------------------------------------

    def _refresh(self, connection: Connection) -> None:
        metadata = self._cluster.metadata
        try:
            local = self._local(connection)
            peers = self._peers(connection)
            tokens = {}
            host = self._host(local, connection.endpoint)
            tokens[host] = local.get("tokens") or ()
            for row in peers:
                endpoint = self._peer_endpoint(row)
                if endpoint is not None and endpoint != connection.endpoint:
                    tokens[self._host(row, endpoint)] = row.get("tokens") or ()
            metadata.cluster_name = local.get("cluster_name")
            if self._cluster.token_metadata_enabled:
                metadata.rebuild_token_map(local.get("partitioner") or "", tokens)
                self._read_keyspaces(connection)
        except BaseException:
            connection.close()
            raise

    def _local(self, connection: Connection) -> Row:
        rows = self._query(connection, LOCAL)
        if not rows:
            raise DriverException(f"{connection.endpoint} has nothing to say of itself: system.local is empty")
        return rows[0]

    def _peers(self, connection: Connection) -> list[Row]:
        if self._has_peers_v2:
            try:
                return self._query(connection, PEERS_V2)
            except ErrorMessage as error:
                if not isinstance(error, InvalidRequestException):
                    raise
                self._has_peers_v2 = False  # before Cassandra 4.0
        return self._query(connection, PEERS)

    def _peer_endpoint(self, row: Row) -> EndPoint | None:
        if not row.get("tokens") or not row.get("host_id") or not row.get("data_center"):
            log.warning("a peer is left out, its row is not complete: %s", row.get("peer"))
            return None
        endpoint: EndPoint = self._cluster.endpoint_factory.create(row)
        return endpoint

    def _host(self, row: Row, endpoint: EndPoint) -> Host:
        host = self._cluster._add_host(endpoint, row.get("data_center"), row.get("rack"), row.get("host_id"))
        addresses = NodeAddresses(row)
        for name in ("broadcast_address", "broadcast_port", "broadcast_rpc_address", "broadcast_rpc_port",
                     "listen_address", "listen_port"):  # fmt: skip
            setattr(host, name, getattr(addresses, name))
        host.release_version = row.get("release_version")
        host.tokens = tuple(row.get("tokens") or ())
        return host

    def _read_keyspaces(self, connection: Connection) -> None:
        rows = self._query(connection, KEYSPACES)
        self._cluster.metadata.set_keyspaces([KeyspaceMetadata.from_row(row) for row in rows])

    # -- schema changes -----------------------------------------------------------------------------------------------

    def schema_changed(self, change: SchemaChange, connection: Connection) -> bool:
        """Wait until all nodes have a changed schema, and read again what is kept of it.

        :param connection: to the node that changed it: others may not have heard of the change, and agree on the old one
        :returns: whether all nodes that are up were seen to have it within the Cluster's ``max_schema_agreement_wait``
        """
        agreed = False
        try:
            try:
                agreed = self._schema_agreed(connection, self._cluster.max_schema_agreement_wait)
            finally:  # not before: a node that is behind would be asked, and its answer kept
                self._cluster.metadata.schema_changed(change)
            if change.target == "KEYSPACE" and self._cluster.token_metadata_enabled:
                self.refresh_keyspaces()
        except Exception as error:  # the statement itself has succeeded
            log.warning("the schema could not be looked at after %s: %s", change, error)
        return agreed

    def wait_for_agreement(self, wait: float) -> bool:
        """Wait until all nodes that are up have the same schema, ``wait`` seconds at most; whether they do."""
        return self._schema_agreed(self.connect(), wait)

    def _schema_agreed(self, connection: Connection, wait: float) -> bool:
        if wait <= 0 or len(self._cluster.metadata.all_hosts()) == 1:
            return True
        deadline = monotonic() + wait
        while len(self._schema_versions(connection)) > 1:
            if monotonic() > deadline:
                log.warning("the nodes have not agreed on a schema within %s s", wait)
                return False
            gevent.sleep(AGREEMENT_PAUSE)
        return True

    def _schema_versions(self, connection: Connection) -> set[Any]:
        versions = {row["schema_version"] for row in self._query(connection, SCHEMA_VERSION)}
        for row in self._peers(connection):
            endpoint = self._peer_endpoint(row)
            host = None if endpoint is None else self._cluster.metadata.get_host(endpoint)
            if host is not None and host.is_up is not False:
                versions.add(row.get("schema_version"))
        return versions

    def shutdown(self) -> None:
        """Close it for good."""
        self._is_shutdown = True
        if self._connection is not None:
            self._connection.close()


