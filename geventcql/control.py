"""The control connection (layer: driver): one connection beside the pools, for what the driver itself wants to know.

Its own greenlet keeps it open: finds a node that answers, negotiates the protocol version, registers for events, and reads
what is in the cluster; another node takes over when it is lost or falls silent. That greenlet alone opens it and reads the
topology; whoever needs either waits for it.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult, Event
from gevent.exceptions import BlockingSwitchOutError

from geventcql import reconnecting
from geventcql.agreement import wait_for_agreement
from geventcql.cython.wire import Frame
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
from geventcql.events import Events
from geventcql.host import DefaultEndPoint, EndPoint, Host
from geventcql.net.connection import Connection
from geventcql.net.opening import open_negotiated
from geventcql.net.scheduler import Turn
from geventcql.net.transport import resolve
from geventcql.options import connection_settings, contact_endpoints
from geventcql.ownqueries import rows_of
from geventcql.protocol import requests, responses
from geventcql.protocol.constants import Opcode
from geventcql.protocol.responses import SchemaChange
from geventcql.reconciling import Reconciler
from geventcql.reconnecting import Backoff
from geventcql.showing import shown_words
from geventcql.sinks import all_told
from geventcql.topology import Node, Topology

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["ControlConnection"]

log = logging.getLogger(__name__)

LOCAL = "SELECT * FROM system.local WHERE key='local'"
PEERS_V2 = "SELECT * FROM system.peers_v2"
PEERS = "SELECT * FROM system.peers"

Row = dict[str, Any]
CONFIRM_AFTER = 5.0
"""Seconds to the next reading when one did not show hosts that were there; twice as long each time it still does not."""
CONFIRM_LATEST = 300.0
SUSPECT_PAUSE = 1.0
"""Seconds between looks at a connection that has fallen silent."""
FIRST_HOSTS = 3
"""So many known hosts are tried before the contact points: when all have moved, those alone know where to."""
MOST_NODES = 10_000


class ControlConnection:
    """The control connection of a Cluster.

    :param cluster: whose it is
    :param timeout: seconds for each of its queries; None for no limit
    """

    def __init__(self, cluster: Cluster, timeout: float | None) -> None:
        self.topology = Topology(cluster)
        self.events = Events(cluster, self)
        self.cluster = cluster
        self._timeout = timeout
        self._connection: Connection | None = None
        self._host: Host | None = None
        self._reconciler: Reconciler | None = None
        self._wake = Event()
        self._backoff = Backoff(cluster)
        self._asked_for = AsyncResult()
        """What those get who wait for the connection: of the round of attempts that is under way or comes next."""
        self._waited_for = False
        self._tried: dict[str, BaseException] = {}
        """What those nodes said that were tried in the round of attempts that is under way, by end point as text."""
        self._trying: EndPoint | None = None
        self._refreshed = AsyncResult()
        """What those get who wait for the next reading of the topology."""
        self._has_peers_v2 = True
        self._confirm_after = CONFIRM_AFTER
        self._is_shutdown = False

    @property
    def connection(self) -> Connection | None:
        """The connection, if there is an open one."""
        connection = self._connection
        return connection if connection is not None and not connection.closed else None

    @property
    def host(self) -> Host | None:
        """The host it leads to."""
        return None if self.connection is None else self._host

    def start(self) -> None:
        """Begin to keep it open."""
        self._reconciler = Reconciler(
            "the control connection", self._wake, lambda: self._look_after(), lambda: self._is_shutdown
        )

    def is_own_greenlet(self) -> bool:
        """Whether the calling greenlet is the one that keeps the connection open."""
        return self._reconciler is not None and gevent.getcurrent() is self._reconciler.greenlet

    def connect(self, wait: float | None = None) -> Connection:
        """The open connection; waits for it if there is none.

        :param wait: seconds; until every node has been tried if left out
        :raises NoHostAvailable: nobody could be used, or nobody yet; its ``errors`` say why, by end point as text
        :raises UnresolvableContactPoints: no contact point's name is known
        :raises ConnectionShutdown: the Cluster was shut down; or there is none, and it is the control greenlet that asks
        """
        connection = self.connection
        if connection is not None:
            return connection
        if self._is_shutdown:
            raise ConnectionShutdown("the Cluster has been shut down", None)
        if self.is_own_greenlet():  # it would wait for itself
            raise ConnectionShutdown("the control connection was lost", None)
        self._waited_for = True
        self._wake.set()
        with gevent.Timeout(wait, False):
            opened: Connection = self._asked_for.get()
            return opened
        tried = dict(self._tried)
        told = all_told(tried) or "none has answered yet"
        raise NoHostAvailable(
            f"no server could be asked within {wait} s, the control connection was lost: {told}; "
            f"being tried: {self._trying}",
            tried,
        )

    # -- the control greenlet -----------------------------------------------------------------------------------------------

    def _look_after(self) -> float | None:
        """Do what is due; when there is something to do unless a report comes before, monotonic seconds."""
        connection = self.connection
        if connection is None:
            if self._backoff.is_due() or self._waited_for:
                self._open_round()
        elif connection.suspect and len(self.cluster.metadata.all_hosts()) > 1 and self._backoff.is_due():
            self._open_round(but=self._host)
        connection = self.connection
        if connection is None:
            return self._backoff.due
        if connection.suspect:  # the old one serves until there is another, or it answers again
            return max(monotonic() + SUSPECT_PAUSE, self._backoff.due)
        self.events.handle()
        return self.events.due

    def _open_round(self, but: Host | None = None) -> None:
        """One round of attempts; whoever waits for the connection gets what comes of it.

        :param but: the host whose connection is silent
        """
        self._backoff.begin()
        try:
            self._use(*self._open_any(but))
        except (Exception, gevent.Timeout) as error:
            self._backoff.failed()
            if self.connection is not None:
                log.warning("the control connection to %s is silent, and there is no other: %s", but, error)
                return
            self._answer().set_exception(error)

    def _answer(self) -> AsyncResult:
        """What those get who wait for the connection; who comes later waits for the next."""
        answer, self._asked_for = self._asked_for, AsyncResult()
        self._waited_for = False
        return answer

    def _use(self, connection: Connection, host: Host | None) -> None:
        if connection.closed:
            raise ConnectionShutdown(f"the control connection to {connection.endpoint} was lost", connection.endpoint)
        before, self._connection, self._host = self._connection, connection, host
        self._backoff.opened()
        connection.on_close = self._on_close
        if before is not None:
            before.on_close = None
            before.close()
        self._answer().set(connection)
        for known in self.cluster.metadata.all_hosts():  # that others are up may have been told meanwhile
            if known is host and not self.cluster._registry.is_connected(known):
                self.cluster._registry.rumour(known, is_up=True)
            elif known.is_up is False:
                self.cluster._registry.look_again(known)

    def _on_close(self, connection: Connection, cause: BaseException | None) -> None:
        if connection is self._connection:
            self._backoff.lost()
            self._wake.set()

    def hurry(self) -> None:
        """What kept the connection from being opened may be over: try at once."""
        self._backoff.hurry()
        self._wake.set()

    def look_for_connection(self) -> None:
        """A host is up again: where there is no connection, try at once."""
        if self.connection is None:
            self._backoff.begin_anew()
            self._wake.set()

    def reconsider(self) -> None:
        """Something has happened that the control greenlet is to look at; from anywhere."""
        self._wake.set()

    def _open_any(self, but: Host | None) -> tuple[Connection, Host | None]:
        errors = self._tried = {}
        for endpoint in self._candidates(errors, but):
            self._trying = endpoint
            if self._is_shutdown:
                break
            try:
                if self._backoff.again:
                    gevent.sleep(reconnecting.RATE.reserve(endpoint))
                return self._open(endpoint)
            except (Exception, gevent.Timeout) as error:  # whatever it is, another node may be better
                level = logging.ERROR if isinstance(error, AuthenticationFailed) else logging.WARNING
                log.log(level, "control connection: %s: %s", endpoint, shown_words([str(error)]))
                errors[str(endpoint)] = error
        raise NoHostAvailable(f"Unable to connect to any servers: {all_told(errors) or 'there are none'}", errors)

    def _open(self, endpoint: EndPoint) -> tuple[Connection, Host | None]:
        cluster = self.cluster
        self._has_peers_v2 = True  # of this node that is to be seen
        connection = open_negotiated(
            endpoint, cluster._protocol_version, connection_settings(cluster), cluster._version_is_fixed
        )
        try:
            self._register(connection)
            host = self._read_topology(connection)
            if self._is_shutdown:
                raise ConnectionShutdown("the Cluster was shut down while its control connection was opened", endpoint)
        except BaseException:
            connection.close()
            raise
        cluster._settle_version(connection.version)
        # What changed while there was no control connection was not heard of.
        cluster.metadata.forget_schema(names_too=not cluster.token_metadata_enabled)  # else they have just been read
        cluster._preparer.cache.clear()
        return connection, host

    def _register(self, connection: Connection) -> None:
        """Hear of events, before anything is read: what changes behind the reading is heard of."""
        types = self.events.types()
        if not types:
            return
        connection.on_event = self._on_event
        message = connection.call(Opcode.REGISTER, requests.register(types), self._timeout)
        if not isinstance(message, responses.Ready):
            raise DriverException(f"{connection.endpoint} answered REGISTER with {type(message).__name__}")

    def _on_event(self, connection: Connection, frame: Frame) -> None:
        """An event has come; in the reader."""
        event = responses.decode(frame.opcode, frame.flags, frame.body, frame.version)
        assert isinstance(event, responses.Event)
        self.events.came(event)
        self._wake.set()

    def _candidates(self, errors: dict[str, BaseException], but: Host | None) -> Iterator[EndPoint]:
        """Known hosts, those first that are likely to answer, then the contact points, their names resolved anew."""
        hosts = [host.endpoint for host in self._hosts_by_hope() if host != but]
        seen = set()
        points = self._contact_points(errors)
        for endpoint in itertools.chain(hosts[:FIRST_HOSTS], points, hosts[FIRST_HOSTS:]):
            if endpoint not in seen and (but is None or endpoint != but.endpoint):
                seen.add(endpoint)
                yield endpoint

    def _contact_points(self, errors: dict[str, BaseException]) -> Iterator[EndPoint]:
        cluster = self.cluster
        points = contact_endpoints(cluster)
        resolved: dict[EndPoint, None] = {}
        unresolved = []
        for point in points:
            try:
                found = self._resolve(point)
            except (OSError, UnicodeError, ConnectionException) as error:  # UnicodeError: it cannot be a name
                errors[str(point)] = error
                unresolved.append(point)
                continue
            resolved.update(dict.fromkeys(found))
            cluster.endpoints_resolved = list(resolved)
            yield from found
        if points and len(unresolved) == len(points) and not cluster.metadata.all_hosts():
            raise UnresolvableContactPoints(
                "none of the contact points' names could be resolved: "
                + "; ".join(f"{point}: {errors[str(point)]}" for point in points)
            )

    def _hosts_by_hope(self) -> list[Host]:
        hosts = self.cluster.metadata.all_hosts()
        random.shuffle(hosts)  # many clients are not all to come to the same one
        registry = self.cluster._registry
        return sorted(hosts, key=lambda host: (not registry.is_responsive(host), host.is_up is False, registry.is_far(host)))

    def _resolve(self, endpoint: EndPoint) -> list[EndPoint]:
        if type(endpoint) is not DefaultEndPoint:
            return [endpoint]  # an application's own kind knows how to resolve itself
        limit = self.cluster.connect_timeout
        late = ConnectionException(f"the name {endpoint.address} was not resolved within {limit} s", endpoint)
        with gevent.Timeout(limit, late):
            addresses = resolve(endpoint.address, endpoint.port)
        return [DefaultEndPoint(address[0], endpoint.port) for _, address in addresses]

    # -- queries ------------------------------------------------------------------------------------------------------

    def query(self, text: str) -> list[Row]:
        """Run a query of the driver's own; waits, for a connection no longer than two nodes may take that do not answer.

        :returns: the rows as dicts by column name
        :raises ErrorMessage: the server's error
        :raises NoHostAvailable: there was no connection by then
        """
        limit = self.cluster.connect_timeout
        wait = None if limit is None else 2 * limit
        try:
            return self.query_on(self.connect(wait), text)
        except ConnectionException:  # it broke, perhaps long ago and unnoticed; nothing but reading is asked here
            return self.query_on(self.connect(wait), text)

    def query_on(self, connection: Connection, text: str) -> list[Row]:
        """As :meth:`query`, on this connection."""
        return rows_of(connection, text, self._timeout)

    def refresh_keyspaces(self) -> None:
        """Read the replication of all keyspaces; waits."""
        self._read_keyspaces(self.connect())

    def keyspace_exists(self, name: str) -> bool:
        """Whether there is a keyspace of that name, virtual ones included."""
        for schema in ("system_schema", "system_virtual_schema"):
            try:
                if self.query(f"SELECT keyspace_name FROM {schema}.keyspaces WHERE keyspace_name = {cql_quote(name)}"):
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

    def refresh_topology(self, force_token_rebuild: bool = False) -> None:
        """Have the topology read again, and wait for it.

        :raises DriverException: it could not be read
        :raises BlockingSwitchOutError: it is the control greenlet that asks, which would wait for itself
        """
        if self.is_own_greenlet():
            raise BlockingSwitchOutError("translators and factories of addresses must not wait for the reading that asks them")
        refreshed = self._refreshed
        self.events.refresh_soon(0.0)
        self._wake.set()
        self.connect()
        refreshed.get()
        if force_token_rebuild:
            self.topology.rebuild_tokens(force=True)

    def read_topology(self) -> None:
        """Read what is in the cluster; in the control greenlet."""
        refreshed, self._refreshed = self._refreshed, AsyncResult()
        connection = self.connection
        try:
            if connection is None:
                raise ConnectionShutdown("the control connection was lost", None)
            self._read_topology(connection)
        except BaseException as error:  # a kill, too
            refreshed.set_exception(error if isinstance(error, Exception) else ConnectionShutdown("it was shut down", None))
            raise
        refreshed.set(True)

    def _read_topology(self, connection: Connection) -> Host | None:
        local = self._local(connection)
        peers = self.peers(connection)
        if len(peers) > MOST_NODES:
            raise DriverException(f"{connection.endpoint} tells of {len(peers)} nodes: {MOST_NODES} are the most")
        nodes = [Node(connection.endpoint, local, is_local=True)]
        for row in peers:
            if row.get("host_id") != local.get("host_id"):
                nodes.append(Node(self.peer_endpoint(row), row))
        if self.topology.take(local, nodes):
            self.events.refresh_soon(self._confirm_after)
            self._confirm_after = min(2 * self._confirm_after, CONFIRM_LATEST)
        else:
            self._confirm_after = CONFIRM_AFTER
        self.topology.rebuild_tokens()
        if self.cluster.token_metadata_enabled:
            self._read_keyspaces(connection)
        host_id = local.get("host_id")
        metadata = self.cluster.metadata
        return metadata.get_host(connection.endpoint) if host_id is None else metadata.get_host_by_host_id(host_id)

    def _local(self, connection: Connection) -> Row:
        rows = self.query_on(connection, LOCAL)
        if not rows:
            raise DriverException(f"{connection.endpoint} has nothing to say of itself: system.local is empty")
        return rows[0]

    def peers(self, connection: Connection) -> list[Row]:
        """The rows of system.peers_v2, or where there is none, of system.peers; waits."""
        if self._has_peers_v2:
            try:
                return self.query_on(connection, PEERS_V2)
            except ErrorMessage as error:
                if not isinstance(error, InvalidRequestException):
                    raise
                self._has_peers_v2 = False  # before Cassandra 4.0
        return self.query_on(connection, PEERS)

    def peer_endpoint(self, row: Row) -> EndPoint | None:
        """Where the node of a row is; None if that is not told, or not understood."""
        try:
            endpoint: EndPoint = self.cluster.endpoint_factory.create(row)
        except (Exception, gevent.Timeout) as error:  # an application's factory or translator may raise anything
            log.warning("the row of %s gives no end point: %s", row.get("peer"), error)
            return None
        return endpoint

    def _read_keyspaces(self, connection: Connection) -> None:
        self.cluster.metadata.keyspaces.read(lambda query: self.query_on(connection, query), Turn().give_way)

    # -- schema changes -----------------------------------------------------------------------------------------------

    def schema_changed(self, change: SchemaChange, connection: Connection) -> bool:
        """Wait until all nodes have a changed schema, and read again what is kept of it.

        :param connection: to the node that changed it
        :returns: whether all nodes that are up were seen to have it within the Cluster's ``max_schema_agreement_wait``
        """
        agreed = False
        try:
            try:
                agreed = wait_for_agreement(self, connection)
            finally:  # not before: a node that is behind would be asked, and its answer kept
                self.cluster.metadata.schema_changed(change)
            if change.target == "KEYSPACE" and self.cluster.token_metadata_enabled:
                self.refresh_keyspaces()
        except Exception as error:  # the statement itself has succeeded
            log.warning("the schema could not be looked at after %s: %s", change, error)
        return agreed

    def shutdown(self) -> None:
        """Close it for good."""
        self._is_shutdown = True
        if self._reconciler is not None:
            self._reconciler.kill()  # first: what it is reading is not to be missed
        if self._connection is not None:
            self._connection.close()
        closed = ConnectionShutdown("the Cluster was shut down", None)
        for waited_for in (self._asked_for, self._refreshed):
            waited_for.set_exception(closed)
