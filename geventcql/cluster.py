"""The Cluster (layer: driver): configuration, registries, host pools, the control connection, an ordered shutdown.

It belongs to the hub that connects it. What several callers wait for (connecting, pools) runs in driver greenlets, so that a
caller that is killed harms nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult
from gevent.pool import Group

from geventcql.admission import admit
from geventcql.control import ControlConnection
from geventcql.decoders import DecoderCache
from geventcql.errors import (
    DriverException,
    InvalidRequest,
    NoHostAvailable,
    QueryExhausted,
    UserTypeDoesNotExist,
    WrongHubError,
)
from geventcql.execution import leave
from geventcql.host import DefaultEndPoint, DefaultEndPointFactory, EndPoint, Host
from geventcql.hosts import HostRegistry
from geventcql.metadata import Metadata, protect_name
from geventcql.net.connection import Connection
from geventcql.net.heartbeat import Heartbeat
from geventcql.net.opening import ConnectionSettings, open_connection
from geventcql.net.scheduler import Scheduler
from geventcql.net.transport import Resolver
from geventcql.options import connection_settings, initial_profiles, unsupported
from geventcql.policies import (
    AddressTranslator,
    ExponentialReconnectionPolicy,
    HostDistance,
    IdentityTranslator,
    LoadBalancingPolicy,
    ReconnectionPolicy,
    RetryPolicy,
    SimpleConvictionPolicy,
)
from geventcql.profiles import EXEC_PROFILE_DEFAULT, NOT_SET, ExecutionProfile, ProfileManager, default_lbp_factory
from geventcql.protocol import requests
from geventcql.protocol.constants import ConsistencyLevel, ProtocolVersion
from geventcql.protocol.responses import SchemaChange, SetKeyspace
from geventcql.response import ResponseFuture, ResultSet
from geventcql.session import Session
from geventcql.waiting import thread_id

__all__ = [
    "EXEC_PROFILE_DEFAULT",
    "Cluster",
    "ExecutionProfile",
    "NoHostAvailable",
    "ProfileManager",
    "QueryExhausted",
    "ResponseFuture",
    "ResultSet",
    "Session",
    "UserTypeDoesNotExist",
    "default_lbp_factory",
]

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)


class Cluster:
    """The configuration of, and the connections to, one Cassandra or ScyllaDB cluster (``cassandra.cluster.Cluster``).

    The arguments and their defaults are cassandra-driver's, save for ``compression`` (off). Those that are not listed here
    configure what geventcql does otherwise (no threads) or not yet, and are accepted for familiarity.

    :param contact_points: addresses or names of nodes, ``(address, port)`` pairs or EndPoints; those that answer tell of the
        others
    :param port: of the native protocol
    :param compression: False, True (what the server has), 'lz4' or 'snappy'
    :param auth_provider: :class:`~geventcql.auth.PlainTextAuthProvider` or another AuthProvider
    :param ssl_context: an ``ssl.SSLContext``; TLS is used if one is given
    :param ssl_options: arguments of ``SSLContext.wrap_socket``; only ``server_hostname`` is used, with ``ssl_context``
    :param protocol_version: 3, 4 or 5; the highest that the server speaks if left out
    :param load_balancing_policy: of the default profile; not together with ``execution_profiles``
    :param default_retry_policy: of the default profile; not together with ``execution_profiles``
    :param execution_profiles: profiles by name
    :param reconnection_policy: the pauses between attempts to reach a host
    :param connect_timeout: seconds from the first packet to the end of the handshake
    :param control_connection_timeout: seconds for each query of the driver's own
    :param idle_heartbeat_interval: seconds a connection may be silent before it is asked for a sign of life; 0: never asked
    :param idle_heartbeat_timeout: seconds it has to give one
    :param sockopts: arguments of ``setsockopt`` calls
    :param timestamp_generator: gives microseconds since the epoch for each request
    :param connection_class: accepted and ignored: there is one kind of connection
    :param max_requests_in_flight: per connection, 1 to 32,768
    :param max_requests_waiting: per Session, for a connection with room; one more raises Busy
    :param connections_per_host: how many
    """

    metrics: Any = None
    connect_to_remote_hosts = True

    def __init__(
        self,
        contact_points: Any = NOT_SET,
        port: int = 9042,
        compression: bool | str = False,
        auth_provider: Any = None,
        load_balancing_policy: LoadBalancingPolicy | None = None,
        reconnection_policy: ReconnectionPolicy | None = None,
        default_retry_policy: RetryPolicy | None = None,
        conviction_policy_factory: Callable[[Host], Any] | None = None,
        metrics_enabled: bool = False,
        connection_class: Any = None,
        ssl_options: Mapping[str, Any] | None = None,
        sockopts: Iterable[tuple[Any, ...]] | None = None,
        cql_version: str | None = None,
        protocol_version: Any = NOT_SET,
        executor_threads: int = 2,
        max_schema_agreement_wait: float = 10,
        control_connection_timeout: float | None = 2.0,
        idle_heartbeat_interval: float = 30,
        schema_event_refresh_window: float = 2,
        topology_event_refresh_window: float = 10,
        connect_timeout: float | None = 5,
        schema_metadata_enabled: bool = True,
        token_metadata_enabled: bool = True,
        address_translator: AddressTranslator | None = None,
        status_event_refresh_window: float = 2,
        prepare_on_all_hosts: bool = True,
        reprepare_on_up: bool = True,
        execution_profiles: dict[Any, ExecutionProfile] | None = None,
        allow_beta_protocol_version: bool = False,
        timestamp_generator: Callable[[], int] | None = None,
        idle_heartbeat_timeout: float = 30,
        no_compact: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        endpoint_factory: Any = None,
        application_name: str | None = None,
        application_version: str | None = None,
        monitor_reporting_enabled: bool = True,
        monitor_reporting_interval: float = 30,
        client_id: Any = None,
        cloud: Any = None,
        column_encryption_policy: Any = None,
        *,
        max_requests_in_flight: int = 2048,
        max_requests_waiting: int = 65_536,
        connections_per_host: int = 1,
    ) -> None:
        unsupported(cloud=cloud, column_encryption_policy=column_encryption_policy, metrics_enabled=metrics_enabled)
        self.port = port
        self.contact_points = contact_points
        self.auth_provider = auth_provider
        self.reconnection_policy = reconnection_policy or ExponentialReconnectionPolicy(1.0, 600.0)
        self.conviction_policy_factory = conviction_policy_factory or SimpleConvictionPolicy
        self.connect_timeout = connect_timeout
        self.control_connection_timeout = control_connection_timeout
        self.max_schema_agreement_wait = max_schema_agreement_wait
        self.schema_metadata_enabled = schema_metadata_enabled
        self.token_metadata_enabled = token_metadata_enabled
        self.address_translator = address_translator or IdentityTranslator()
        self.endpoint_factory = (endpoint_factory or DefaultEndPointFactory(port=port)).configure(self)
        self.timestamp_generator = timestamp_generator
        self.application_name = application_name
        self.application_version = application_version
        self.resolver = Resolver()
        self.metadata = Metadata()
        self.is_shutdown = False
        self.sessions: set[Session] = set()
        self.endpoints_resolved: list[EndPoint] = []
        """The contact points, their names resolved; set by the first connect."""
        self.profile_manager: ProfileManager = initial_profiles(
            load_balancing_policy, default_retry_policy, execution_profiles
        )
        self._contact_endpoints = list(self._endpoints(contact_points))
        self._version_is_fixed = protocol_version is not NOT_SET
        self._protocol_version: int = ProtocolVersion.MAX_SUPPORTED if protocol_version is NOT_SET else protocol_version
        if self._protocol_version not in ProtocolVersion.SUPPORTED_VERSIONS:
            raise ValueError(
                f"protocol_version must be one of {ProtocolVersion.SUPPORTED_VERSIONS}, not {protocol_version!r}"
            )
        self._connection_settings: ConnectionSettings = connection_settings(
            compression=compression,
            auth_provider=auth_provider,
            ssl_context=ssl_context,
            ssl_options=ssl_options,
            sockopts=sockopts,
            connect_timeout=connect_timeout,
            cql_version=cql_version,
            no_compact=no_compact,
            application=(application_name, application_version, client_id),
            max_in_flight=max_requests_in_flight,
        )
        if max_requests_waiting < 0 or connections_per_host < 1:
            raise ValueError("max_requests_waiting must be at least 0 and connections_per_host at least 1")
        self._max_waiting = max_requests_waiting
        self._pool_size = connections_per_host
        self._heartbeat_times = (idle_heartbeat_interval, idle_heartbeat_timeout)
        self._user_types: dict[tuple[str, str], type] = {}
        self._decoders = DecoderCache(self._user_types)
        self._listeners: list[Any] = []
        self._connecting: AsyncResult | None = None
        self._connectors = 0
        """Greenlets that wait for a Session."""
        self._thread: int | None = None
        self._entered: set[str | None] = set()

    def _endpoints(self, contact_points: Any) -> Iterator[EndPoint]:
        if contact_points is NOT_SET or contact_points is None:
            contact_points = ["127.0.0.1"]
        if isinstance(contact_points, str):
            raise TypeError("contact_points must be a list of addresses, not one string")
        for point in contact_points:
            if isinstance(point, EndPoint):
                yield point
            elif isinstance(point, tuple):
                yield DefaultEndPoint(*point)
            else:
                yield DefaultEndPoint(str(point), self.port)

    # -- connecting ---------------------------------------------------------------------------------------------------

    def connect(self, keyspace: str | None = None, wait_for_all_pools: bool = False) -> Session:
        """Connect, if that has not been done, and give a new Session; waits.

        :param keyspace: where its unqualified names are
        :param wait_for_all_pools: wait until connecting to each host has been tried, not just for the first that answers
        :raises NoHostAvailable: nobody answered; its ``errors`` say why
        :raises AuthenticationFailed: the credentials were refused
        :raises InvalidRequest: there is no such keyspace
        :raises UserTypeDoesNotExist: a class was registered for a type that is not there
        """
        return self._connect_session(Session, keyspace, wait_for_all_pools)

    def _connect_session(self, session_class: type[Session], keyspace: str | None, wait_for_all_pools: bool) -> Session:
        if self.is_shutdown:
            raise DriverException("the Cluster has been shut down: make a new one")
        if self._thread is not None and self._thread != thread_id():
            raise WrongHubError()
        if self._connecting is None:
            self._begin()
        connecting = self._connecting
        assert connecting is not None
        self._connectors += 1
        try:
            connecting.get()
            self._wait_for_pools(self._pool_keyspace(None), wait_for_all_pools)
            session = session_class(self)
            if keyspace is not None:
                self._enter_keyspace(keyspace)
                session.keyspace = keyspace
            for (type_keyspace, user_type), klass in list(self._user_types.items()):
                session.user_type_registered(type_keyspace, user_type, klass)
            if self._connecting is not connecting:
                raise DriverException("the Cluster was shut down while it connected")
            self.sessions.add(session)
            return session
        finally:
            self._connectors -= 1
            if not self.sessions and not self._connectors and self._connecting is connecting:
                self._stop()  # a Cluster that nobody got a Session of leaves nothing behind; connect may be tried again

    def _begin(self) -> None:
        self._thread = thread_id()
        self._scheduler = Scheduler.for_hub()
        self._greenlets = Group()
        self._registry = HostRegistry(self)
        self._control = ControlConnection(self, self.control_connection_timeout)
        self._heartbeat = Heartbeat(
            self._scheduler, self._all_connections, *self._heartbeat_times, on_suspect=self._on_suspect
        )
        self._connecting = AsyncResult()
        self._greenlets.spawn(self._connect, self._connecting)

    def _connect(self, done: AsyncResult) -> None:
        """Find the cluster; in a driver greenlet."""
        try:
            self._control.connect()
            for policy in self.profile_manager.policies():
                policy.populate(self, self.metadata.all_hosts())
                policy.check_supported()
            for host in self.metadata.all_hosts():
                self._registry.add(host)
            self._heartbeat.start()
        except (Exception, gevent.Timeout) as error:  # policies and authenticators may be an application's
            done.set_exception(error)
        else:
            done.set(True)

    def _wait_for_pools(self, keyspace: str | None, all_of_them: bool = False) -> None:
        supervisors = self._registry.open_pools(keyspace)
        tries = [supervisor.first_try(keyspace) for supervisor in supervisors]
        for tried in tries if all_of_them else gevent.iwait(tries):
            tried.wait()
            if tried.value is True and not all_of_them:
                return
        if any(tried.value is True for tried in tries):
            return
        errors = {s.host: t.value for s, t in zip(supervisors, tries, strict=True)}
        told = "; ".join(f"{host}: {error}" for host, error in errors.items())
        raise NoHostAvailable(f"no host could be connected to: {told or 'the policies use none'}", errors)

    def _pool_keyspace(self, keyspace: str | None) -> str | None:
        """The keyspace that pools are kept for: none on v5, where each request names its own."""
        return None if self._protocol_version >= ProtocolVersion.V5 else keyspace

    def _enter_keyspace(self, keyspace: str) -> None:
        if keyspace not in self._entered:
            if not self._control.keyspace_exists(keyspace):
                raise InvalidRequest(f"Keyspace '{keyspace}' does not exist")
            self._entered.add(keyspace)
        if self._protocol_version < ProtocolVersion.V5:  # its own connections
            self._wait_for_pools(keyspace)

    def _settle_version(self, version: int) -> None:
        """The first server that answered speaks ``version``: all connections do."""
        self._protocol_version = version
        self._version_is_fixed = True

    @property
    def protocol_version(self) -> int:
        """The protocol version in use, or to be tried first."""
        return self._protocol_version

    def _open_pooled(self, host: Host, keyspace: str | None) -> Connection:
        """Open a connection for a pool; in a supervisor."""
        connection = open_connection(host.endpoint, self._protocol_version, self._connection_settings)
        if keyspace is not None:
            try:
                parts = requests.query_parts(
                    connection.version, f"USE {protect_name(keyspace)}", ConsistencyLevel.ONE
                )
                message = connection.call(parts.opcode, parts.body(), self.connect_timeout)
                if not isinstance(message, SetKeyspace):
                    raise DriverException(f"{host} answered USE with {type(message).__name__}")
                connection.keyspace = keyspace
            except BaseException:
                connection.close()
                raise
        return connection

    # -- hosts --------------------------------------------------------------------------------------------------------

    def _add_host(self, endpoint: EndPoint, datacenter: str | None, rack: str | None, host_id: Any) -> Host:
        host, _ = self.metadata.add_or_return_host(
            Host(endpoint, self.conviction_policy_factory, datacenter, rack, host_id)
        )
        host.set_location_info(datacenter, rack)
        if host.is_up is None:
            host.set_up()
        return host

    def _distance(self, host: Host) -> int:
        """The nearest distance at which any profile's policy sees the host."""
        order = (HostDistance.LOCAL, HostDistance.REMOTE, HostDistance.IGNORED)
        distances = [policy.distance(host) for policy in self.profile_manager.policies()]
        return next((d for d in order if d in distances), HostDistance.IGNORED)

    def _connections_per_host(self, host: Host) -> int:
        return self._pool_size

    def _all_connections(self) -> list[Connection]:
        control = self._control.connection
        return [*self._registry.connections(), *([control] if control is not None else [])]

    def _tell_listeners(self, method: str, host: Host) -> None:
        """Tell policies and listeners of a host's new state; in a supervisor."""
        for listener in [*self.profile_manager.policies(), *self._listeners]:
            try:
                getattr(listener, method)(host)
            except (Exception, gevent.Timeout):
                log.exception("%r failed in %s(%s)", listener, method, host)

    def register_listener(self, listener: Any) -> None:
        """Have a :class:`~geventcql.policies.HostStateListener` told of hosts that go down and come back."""
        self._listeners.append(listener)

    def unregister_listener(self, listener: Any) -> None:
        """Take back :meth:`register_listener`.

        :raises ValueError: it was not registered
        """
        self._listeners.remove(listener)

    @property
    def listeners(self) -> list[Any]:
        """The registered listeners."""
        return list(self._listeners)

    def get_control_connection_host(self) -> Host | None:
        """The host that the control connection leads to; None if it is not open."""
        return self._control.host if self._connecting is not None else None

    # -- for Sessions ---------------------------------------------------------------------------------------------------

    def _on_room(self) -> None:
        """Some connection may take requests again; in readers and in the hub."""
        admit([session._admission for session in self.sessions])

    def _on_unreachable(self) -> None:
        """A host could not be connected to; in its supervisor."""
        for session in self.sessions:
            session._admission.give_up()

    def _on_suspect(self, connection: Connection) -> None:
        """A host has fallen silent; in the hub."""
        leave(connection, (pool for supervisor in self._registry.supervisors() for pool in supervisor.pools.values()))

    def _replace_connection(self, connection: Connection) -> None:
        for supervisor in self._registry.supervisors():
            for pool in supervisor.pools.values():
                pool.replace(connection)

    def _schema_changed(self, change: SchemaChange, connection: Connection) -> bool:
        """A statement of ours has changed the schema; in the cold path of its request, which waits for the other nodes.

        :param connection: where it was executed
        :returns: whether all nodes have the new schema
        """
        if change.target == "KEYSPACE":
            self._entered.discard(change.keyspace)
        return self._control.schema_changed(change, connection)

    # -- profiles, user types -------------------------------------------------------------------------------------------

    def add_execution_profile(self, name: Any, profile: ExecutionProfile, pool_wait_timeout: float = 5) -> None:
        """Add a profile; hosts that only its policy uses are connected to.

        :param pool_wait_timeout: seconds to wait for those connections
        :raises ValueError: the name is taken
        """
        self.profile_manager.add(name, profile)
        if self._connecting is not None and self._connecting.successful():
            profile.load_balancing_policy.populate(self, self.metadata.all_hosts())
            with gevent.Timeout(pool_wait_timeout, False):
                self._wait_for_pools(self._pool_keyspace(None), all_of_them=True)

    def register_user_type(self, keyspace: str, user_type: str, klass: type) -> None:
        """Have values of a user type read as instances of ``klass``, made with the fields as keyword arguments; and
        instances written as CQL literals in statements that are not prepared. Waits if the Cluster is connected.

        Statements that were prepared before keep what they had.

        :raises UserTypeDoesNotExist: there is no such type; if the Cluster is not connected yet, connecting raises it
        """
        for session in list(self.sessions):
            session.user_type_registered(keyspace, user_type, klass)
        self._user_types[(keyspace, user_type)] = klass
        self._decoders.clear()

    # -- the end ------------------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Close everything: waiting requests and requests in flight end with an error. Twice is harmless."""
        if self._thread not in (None, thread_id()):
            raise WrongHubError()
        if self.is_shutdown:
            return
        self.is_shutdown = True
        self._stop()

    def _stop(self) -> None:
        if self._connecting is None:
            return
        connecting, self._connecting = self._connecting, None
        for session in list(self.sessions):
            session.shutdown()
        self._heartbeat.stop()
        self._registry.shutdown()
        self._control.shutdown()
        if not connecting.ready():
            connecting.set_exception(DriverException("the Cluster was shut down while it connected"))
        current = gevent.getcurrent()
        for greenlet in list(self._greenlets):
            if greenlet is not current:
                greenlet.kill(block=False)
        self._thread = None
        self._entered.clear()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        state = "shut down" if self.is_shutdown else "connected" if self._connecting else "not connected"
        name = self.metadata.cluster_name or "(name not known)"
        return f"<Cluster {name} {state} {len(self.metadata.all_hosts())} hosts v{self._protocol_version}>"
