"""The Cluster (layer: driver): configuration, registries, host pools, the control connection, an ordered shutdown.

It belongs to the hub that connects it. What several callers wait for (connecting, pools) runs in driver greenlets, so that a
caller that is killed harms nobody else.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import gevent

from geventcql.admission import Admission, admit
from geventcql.belonging import Connecting
from geventcql.clusterhosts import ClusterHosts
from geventcql.coldpath import Decisions, leave
from geventcql.control import ControlConnection
from geventcql.decoders import DecoderCache
from geventcql.errors import (
    DriverException,
    InvalidRequest,
    NoHostAvailable,
    QueryExhausted,
    UserTypeDoesNotExist,
)
from geventcql.familiar import FamiliarConnections
from geventcql.handed_on import handing_on
from geventcql.host import EndPoint, Host
from geventcql.hosts import HostRegistry
from geventcql.metadata import Metadata
from geventcql.metrics import count
from geventcql.net.connection import Connection
from geventcql.net.forking import Greenlets, inherit, settle
from geventcql.net.heartbeat import Heartbeat
from geventcql.net.opening import open_in_keyspace
from geventcql.net.pool import HostPool
from geventcql.net.scheduler import Scheduler
from geventcql.net.transport import Resolver
from geventcql.options import check, connection_settings, give_resolver
from geventcql.policies import HostDistance
from geventcql.preparedcache import PreparedCache
from geventcql.preparing import Preparer
from geventcql.profiles import EXEC_PROFILE_DEFAULT, ExecutionProfile, ProfileManager, default_lbp_factory
from geventcql.profiles import NOT_SET as _NOT_SET  # noqa: F401  applications import it
from geventcql.protocol.constants import ProtocolVersion
from geventcql.protocol.responses import SchemaChange
from geventcql.response import ResponseFuture, ResultSet
from geventcql.schema import SchemaReader, SchemaRefreshing
from geventcql.session import Session
from geventcql.unsupported import ContinuousPagingOptions, GraphAnalyticsExecutionProfile, GraphExecutionProfile

__all__ = [
    "EXEC_PROFILE_DEFAULT",
    "Cluster",
    "ContinuousPagingOptions",
    "DefaultConnection",
    "ExecutionProfile",
    "GraphAnalyticsExecutionProfile",
    "GraphExecutionProfile",
    "NoHostAvailable",
    "ProfileManager",
    "QueryExhausted",
    "ResponseFuture",
    "ResultSet",
    "Session",
    "UserTypeDoesNotExist",
    "default_lbp_factory",
]

log = logging.getLogger(__name__)

DefaultConnection = Connection

SHUTDOWN_TIMEOUT = 2.0
"""Seconds that what is under way has at the end of a Cluster, unless it is told otherwise."""
DRAIN_PAUSE = 0.005
"""Seconds between looks whether everything has ended."""


class Cluster(FamiliarConnections, SchemaRefreshing, ClusterHosts):
    """The configuration of, and the connections to, one Cassandra or ScyllaDB cluster (``cassandra.cluster.Cluster``).

    The arguments and their defaults are cassandra-driver's, save for ``compression`` (off). Those that are not listed here
    configure what geventcql does otherwise (no threads) or not yet, and are accepted for familiarity. Each is an attribute
    of the same name, too, which may be set until the Cluster connects; what connections are made with, such as
    ``auth_provider``, counts for those that are opened from then on. Setting ``auth_provider``, ``ssl_context`` or
    ``ssl_options``, be it to what it is already, has the nodes that refused us tried at once.

    :param contact_points: addresses or names of nodes, ``(address, port)`` pairs or EndPoints; those that answer tell of the
        others
    :param port: of the native protocol
    :param compression: False, True (what the server has), 'lz4' or 'snappy'
    :param auth_provider: :class:`~geventcql.auth.PlainTextAuthProvider` or another AuthProvider
    :param ssl_context: an ``ssl.SSLContext``; TLS is used if one is given
    :param ssl_options: what to make a context from, as :func:`geventcql.net.tls.make_context` takes it; next to an
        ``ssl_context`` only ``server_hostname`` counts
    :param protocol_version: 3, 4 or 5; the highest that the server speaks if left out
    :param load_balancing_policy: of the default profile; not together with ``execution_profiles``
    :param default_retry_policy: of the default profile; not together with ``execution_profiles``
    :param execution_profiles: profiles by name
    :param reconnection_policy: the pauses between attempts to reach a host
    :param connect_timeout: seconds from the first packet to the end of the handshake
    :param control_connection_timeout: seconds for each query of the driver's own
    :param idle_heartbeat_interval: seconds a connection may be silent before it is asked for a sign of life; 0: never asked
    :param idle_heartbeat_timeout: seconds it has to give one
    :param schema_metadata_enabled: whether looking at the schema in ``metadata`` reads it
    :param token_metadata_enabled: whether to know which nodes hold what, for token-aware requests
    :param sockopts: arguments of ``setsockopt`` calls
    :param timestamp_generator: gives microseconds since the epoch for each request
    :param connection_class: accepted and ignored: there is one kind of connection
    :param max_requests_in_flight: per connection, 1 to 32,768
    :param max_requests_waiting: per Session, for a connection with room; one more raises Busy
    :param prepared_cache_size: how many answers to PREPARE are kept, for texts that are prepared again; 0: none
    :param metrics_enabled: count and time requests: see :attr:`metrics`
    :param connections_per_host: how many; or how many by :class:`~geventcql.policies.HostDistance`
    :param max_frame_size: the longest answer that is taken, in bytes, also when decompressed: from 16 MiB to the protocol's
        256 MiB; with a longer one the connection is given up
    :param max_requests_per_second: of each Session, until that is told otherwise; None for no limit
    """

    def _set_up(self) -> None:
        """The state of a Cluster that has not been connected."""
        self.resolver = Resolver()
        self._schema = SchemaReader(self)
        self.metadata = Metadata(self._schema)
        self.is_shutdown = False
        self.sessions: WeakSet[Session] = WeakSet()
        """Those that are open. Whoever wants one has to hold it, as in cassandra-driver."""
        self._waiting: set[Admission] = set()
        """Those of Sessions that have requests waiting for room, which the Sessions have to live for."""
        self._with_room: deque[HostPool] = deque()
        """Pools that those who wait have still to be offered; the first one is being offered."""
        self.endpoints_resolved: list[EndPoint] = []
        """The contact points, their names resolved; set by the first connect."""
        self._user_types: dict[tuple[str, str], type] = {}
        self._decoders = DecoderCache(self._user_types)
        self._preparer = Preparer(self)
        self._listeners: list[Any] = []
        self._puzzled: set[tuple[int, Host]] = set()
        """Policies that failed to tell the distance of a host, which has been logged."""

    # -- connecting ---------------------------------------------------------------------------------------------------

    def connect(self, keyspace: str | None = None, wait_for_all_pools: bool = False) -> Session:
        """Connect, if that has not been done, and give a new Session; waits.

        :param keyspace: where its unqualified names are
        :param wait_for_all_pools: wait until connecting to each host has been tried, not just for the first that answers
        :raises NoHostAvailable: no node could be used; its ``errors`` say why, by 'address:port': nobody listens there, the
            credentials were refused, the protocol version is not spoken, there is no such keyspace
        :raises UnresolvableContactPoints: no contact point's name is known
        :raises UserTypeDoesNotExist: a class was registered for a type that is not there
        """
        return self._connect_session(Session, keyspace, wait_for_all_pools)

    def _connect_session(self, session_class: type[Session], keyspace: str | None, wait_for_all_pools: bool) -> Session:
        if self.is_shutdown:
            raise DriverException("the Cluster has been shut down: make a new one")
        self._check_thread()
        with self._connected(wait_for_all_pools):
            session = session_class(self)
            if keyspace:
                self._enter_first(keyspace)
                session.keyspace = keyspace
            for (type_keyspace, user_type), klass in list(self._user_types.items()):
                session.user_type_registered(type_keyspace, user_type, klass)
        self.sessions.add(session)
        return session

    @contextmanager
    def _connected(self, wait_for_all_pools: bool = False) -> Iterator[None]:
        """Connect, if that has not been done, and wait for it; for a Session to be made, or for those that there are to go on
        in a fork's child.
        """
        if self._connecting is None:
            self._begin()
        connecting = self._connecting
        assert connecting is not None
        connecting.waiters += 1
        try:
            connecting.get()
            self._registry.wait_for_pools(self._pool_keyspace(None), wait_for_all_pools)
            if self._is_forked and self._connecting is connecting:
                connecting.in_use = True
                self._is_forked = False
                for session in list(self.sessions):
                    session._settle()
            yield
            if self._connecting is not connecting:
                raise DriverException("the Cluster was shut down while it connected")
            connecting.in_use = True
        finally:
            connecting.waiters -= 1
            if not connecting.in_use and not connecting.waiters and self._connecting is connecting:
                # A Cluster that nobody got a Session of leaves nothing behind; connect may be tried again.
                self._disconnect(connecting)

    def _reconnect(self) -> None:
        with self._connected():
            pass

    def _begin(self) -> None:
        settle()
        inherit(self)
        check(self)
        give_resolver(self)
        self._protocol_version = self.protocol_version
        self._belong()
        # Without word of schema changes answers to PREPARE would be wrong for ever.
        self._preparer.cache = PreparedCache(self.prepared_cache_size if self.schema_event_refresh_window >= 0 else 0)
        self._scheduler = Scheduler.for_hub()
        self._greenlets = Greenlets()
        self._decisions = Decisions(self._scheduler, self._greenlets.spawn)
        self._registry = HostRegistry(self)
        self._control = ControlConnection(self, self.control_connection_timeout)
        self._heartbeat = Heartbeat(
            self._scheduler, self._all_connections, self.idle_heartbeat_interval, self.idle_heartbeat_timeout,
            on_suspect=self._on_suspect,
        )
        self._connecting = done = Connecting()

        def ended(greenlet: Any) -> None:
            if not done.ready():  # it was killed
                done.set_exception(DriverException("the greenlet that connected the Cluster was killed"))

        self._greenlets.spawn(self._connect, done).rawlink(ended)

    def _connect(self, done: Connecting) -> None:
        """Find the cluster; in a driver greenlet. A shutdown meanwhile may find it between two steps."""
        steps: list[Callable[[], object]] = [self._control.start, self._control.connect, self._registry.start]
        introduce = self._registry.introductions.introduce
        steps += [partial(introduce, policy) for policy in self.profile_manager.policies()]
        steps.append(self._heartbeat.start)
        try:
            for step in steps:
                if done.ready():
                    return
                step()
        except (Exception, gevent.Timeout) as error:  # policies and authenticators may be an application's
            if not done.ready():
                done.set_exception(error)
        else:
            if not done.ready():
                done.set(True)

    def _pool_keyspace(self, keyspace: str | None) -> str | None:
        """The keyspace that pools are kept for: none on v5, where each request names its own."""
        return None if self._protocol_version >= ProtocolVersion.V5 else keyspace

    def _enter_keyspace(self, keyspace: str) -> None:
        if not self._control.keyspace_exists(keyspace):
            raise InvalidRequest(f"Keyspace '{keyspace}' does not exist")
        if self._protocol_version < ProtocolVersion.V5:  # its own connections
            self._registry.wait_for_pools(keyspace)

    def _enter_first(self, keyspace: str) -> None:
        """Enter the keyspace that a Session is to begin in."""
        try:
            self._enter_keyspace(keyspace)
        except InvalidRequest as error:  # as in cassandra-driver, where no connection can be opened then
            raise NoHostAvailable(
                f"Unable to connect to any servers using keyspace {keyspace!r}: {error}",
                {str(host): error for host in self.metadata.all_hosts()},
            ) from error

    def _settle_version(self, version: int) -> None:
        """The first server that answered speaks ``version``: all connections do."""
        self.protocol_version = self._protocol_version = version
        self._version_is_fixed = True

    def _open_pooled(self, host: Host, keyspace: str | None) -> Connection:
        """Open a connection for a pool; in a supervisor."""
        return open_in_keyspace(host.endpoint, self._protocol_version, connection_settings(self), keyspace)

    def _way_in_changed(self) -> None:
        if self._connecting is not None:
            self._check_thread()
            self._registry.hurry()
            self._control.hurry()

    # -- hosts --------------------------------------------------------------------------------------------------------

    def _distance(self, host: Host) -> int:
        """The nearest distance at which any profile's policy sees the host; policies may switch."""
        distances = [self._distance_of(policy, host) for policy in self._registry.introductions.policies]
        order = (HostDistance.LOCAL, HostDistance.REMOTE, HostDistance.IGNORED)
        return next((d for d in order if d in distances), HostDistance.IGNORED)

    def _distance_of(self, policy: Any, host: Host) -> int:
        try:
            distance: int = policy.distance(host)
        except (Exception, gevent.Timeout):  # the other hosts, and the control connection, have nothing to do with it
            if (id(policy), host) not in self._puzzled:
                log.exception("%r failed to say how near %s is: it does not use that host", policy, host)
                self._puzzled.add((id(policy), host))
            return HostDistance.IGNORED
        return distance

    def _connections_for(self, host: Host) -> int:
        """How many connections each pool of a host should have; none: the policies do not use it."""
        distance = self._distance(host)
        if distance == HostDistance.IGNORED or (distance == HostDistance.REMOTE and not self.connect_to_remote_hosts):
            return 0
        wanted = self.connections_per_host
        return wanted if isinstance(wanted, int) else wanted.get(distance, 1)

    def _all_connections(self) -> list[Connection]:
        control = self._control.connection
        return [*self._registry.connections(), *([control] if control is not None else [])]

    # -- for Sessions ---------------------------------------------------------------------------------------------------

    def _on_room(self, pool: HostPool) -> None:
        """A connection of ``pool`` may take requests again; in readers, in the hub, and where a request is given up."""
        if not self._waiting:
            return
        self._with_room.append(pool)
        if len(self._with_room) > 1:  # the end of a request that waited too long has made room elsewhere: behind this
            return
        try:
            while self._with_room:
                admit(self._waiting, self._with_room[0])
                self._with_room.popleft()
        finally:
            self._with_room.clear()

    def _on_unreachable(self) -> None:
        """A host could not be connected to; in its supervisor."""
        for admission in tuple(self._waiting):
            admission.give_up()

    def _on_suspect(self, connection: Connection) -> None:
        """A connection has fallen silent; in the hub."""
        count(self, "suspected", connection.endpoint)
        leave(connection, self._registry.pools())
        self._registry.doubt(connection)
        control = self._control.connection
        if control is connection:
            self._control.reconsider()
        elif control is not None and control.endpoint == connection.endpoint:
            self._heartbeat.ask(control)

    def _replace_connection(self, connection: Connection) -> None:
        for pool in self._registry.pools():
            pool.replace(connection)

    def _schema_changed(self, change: SchemaChange, connection: Connection) -> bool:
        """A statement of ours has changed the schema; in the cold path of its request, which waits for the other nodes.

        :param connection: where it was executed
        :returns: whether all nodes have the new schema
        """
        self._preparer.cache.clear()
        return self._control.schema_changed(change, connection)

    # -- profiles, user types -------------------------------------------------------------------------------------------

    def add_execution_profile(self, name: Any, profile: ExecutionProfile, pool_wait_timeout: float = 5) -> None:
        """Add a profile; hosts that only its policy uses are connected to.

        :param pool_wait_timeout: seconds to wait for those connections
        :raises ValueError: the name is taken; or settings from before there were profiles are in use, such as
            ``session.default_timeout``
        """
        if self._legacy:
            raise ValueError("execution profiles cannot be added beside settings of the Session or policies of the Cluster")
        self._check_thread()
        self.profile_manager.add(name, profile)
        if self._connecting is not None and self._connecting.successful():
            self._registry.introductions.introduce(profile.load_balancing_policy)
            with gevent.Timeout(pool_wait_timeout, False):
                self._registry.wait_for_pools(self._pool_keyspace(None), all_of_them=True)

    def register_user_type(self, keyspace: str, user_type: str, klass: type) -> None:
        """Have values of a user type read as instances of ``klass``, made with the fields as keyword arguments; and
        instances written as CQL literals in statements that are not prepared. Waits if the Cluster is connected.

        Statements that were prepared before keep what they had.

        :raises UserTypeDoesNotExist: there is no such type; if the Cluster is not connected yet, connecting raises it
        """
        self._check_thread()
        for session in list(self.sessions):
            session.user_type_registered(keyspace, user_type, klass)
        self._user_types[(keyspace, user_type)] = klass
        self._decoders.clear()
        self._preparer.cache.clear()

    # -- the end ------------------------------------------------------------------------------------------------------

    def shutdown(self, timeout: float | None = None) -> None:
        """Close everything. Nothing new is taken from now on; what is under way ends with an error once ``timeout`` is over.

        From any state, and any number of times: whoever calls it while another drains waits no longer than he says.

        :param timeout: seconds that requests, and what was given to ``Session.submit``, have to end by themselves; waits
            until they have. 2 if left out, so that nothing is lost that ``execute_async`` has just taken; 0: not at all, as
            always in the hub
        :raises WrongHubError: it belongs to another thread
        """
        self._check_thread()
        self.is_shutdown = True
        if gevent.getcurrent() is gevent.get_hub():
            timeout = 0.0
        elif timeout is None:
            timeout = SHUTDOWN_TIMEOUT
        try:
            if timeout > 0 and self._connecting is not None and self._connecting.successful():
                self._drain(timeout)
        finally:
            self._stop()

    def _drain(self, timeout: float) -> None:
        for session in list(self.sessions):
            session._refuse()
        deadline = monotonic() + timeout
        while self._connecting is not None and monotonic() < deadline and self._is_busy():
            gevent.sleep(DRAIN_PAUSE)

    def _is_busy(self) -> bool:
        """Whether anything is under way for an application."""
        current = gevent.getcurrent()
        return (
            bool(self._waiting or self._decisions)
            or any(session._throttle for session in list(self.sessions))
            or any(connection.in_flight for connection in self._registry.connections())
            or any(greenlet is not current for greenlet in self._greenlets)
        )

    def _stop(self) -> None:
        connecting, self._connecting = self._connecting, None
        for session in list(self.sessions):
            session.shutdown()
        if connecting is not None:
            self._disconnect(connecting)

    def _disconnect(self, connecting: Connecting) -> None:
        self._connecting = None
        for admission in tuple(self._waiting):  # of Sessions that were shut down while a policy was deciding
            admission.fail_all(lambda execution: execution.session._closed())
        self._heartbeat.stop()
        self._registry.shutdown()
        self._control.shutdown()
        if not connecting.ready():
            connecting.set_exception(DriverException("the Cluster was shut down while it connected"))
        current = gevent.getcurrent()
        for greenlet in list(self._greenlets):
            if greenlet is not current:
                greenlet.kill(block=False)
        self._decisions.end()
        self._belong_nowhere()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        # A kill, a Timeout or Ctrl-C waits for nothing.
        self.shutdown(None if kind is None or issubclass(kind, Exception) else 0.0)

    def __repr__(self) -> str:
        state = "shut down" if self.is_shutdown else "connected" if self._connecting else "not connected"
        name = self.metadata.cluster_name or "(name not known)"
        return f"<Cluster {name} {state} {len(self.metadata.all_hosts())} hosts v{self._protocol_version}>"

if not TYPE_CHECKING:
    __getattr__ = handing_on(__name__)
