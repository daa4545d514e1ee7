"""What an application asks of a Cluster: defaults, checks, and what connections are made with (layer: driver). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from geventcql.endpoints import NO_SNI
from geventcql.host import DefaultEndPoint, DefaultEndPointFactory, EndPoint, Host
from geventcql.metrics import Metrics
from geventcql.net.opening import ConnectionSettings, check_beside_context
from geventcql.policies import (
    AddressTranslator,
    EC2MultiRegionTranslator,
    ExponentialReconnectionPolicy,
    IdentityTranslator,
    LoadBalancingPolicy,
    ReconnectionPolicy,
    RetryPolicy,
    SimpleConvictionPolicy,
)
from geventcql.profiles import EXEC_PROFILE_DEFAULT, NOT_SET, ExecutionProfile, ProfileManager, refuse_classes
from geventcql.protocol.compression import compressors
from geventcql.protocol.constants import MAX_BODY_SIZE, ProtocolVersion
from geventcql.protocol.handshake import startup_identity
from geventcql.throttle import check_rate
from geventcql.timestamps import MonotonicTimestampGenerator

if TYPE_CHECKING:
    import ssl

__all__ = [
    "ClusterOptions", "OfDefaultProfile", "check", "connection_settings", "contact_endpoints", "give_resolver",
    "initial_profiles",
]  # fmt: skip


LEAST_FRAME = 16 * 1024 * 1024
"""Bytes that `max_frame_size` has at least: the driver's own queries have pages of a few MiB in large clusters."""

_REFUSED = {
    "column_encryption_policy": "encrypt values before they are bound",
}


class OfDefaultProfile:
    """An attribute of the default profile that the Cluster has, too, from before there were profiles."""

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute

    def __set_name__(self, owner: type, name: str) -> None:
        self._own = f"_{name}"
        setattr(owner, self._own, None)

    def __get__(self, cluster: Any, owner: type | None = None) -> Any:
        return getattr(owner, self._own) if cluster is None else getattr(cluster.profile_manager.default, self._attribute)

    def __set__(self, cluster: Any, value: Any) -> None:
        if cluster._has_profiles:
            raise ValueError("the Cluster has execution profiles: set the policy of a profile")
        cluster._legacy = True
        setattr(cluster.profile_manager.default, self._attribute, value)


class _WayIn:
    """What connections that are opened from now on are let in by. Set on a connected Cluster, be it to what it is already, it
    has the nodes that refused tried again at once.
    """

    def __init__(self, check: Callable[[Any], None] = lambda value: None) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._own = f"_{name}"

    def __get__(self, cluster: Any, owner: type | None = None) -> Any:
        return self if cluster is None else getattr(cluster, self._own)

    def __set__(self, cluster: Any, value: Any) -> None:
        self._check(value)
        cluster._check_thread()
        setattr(cluster, self._own, value)
        cluster._way_in_changed()


def _check_provider(provider: Any) -> None:
    if provider and not hasattr(provider, "new_authenticator"):
        raise TypeError(f"auth_provider must be an AuthProvider, with new_authenticator(host), not {type(provider).__name__}")


def _check_context(context: Any) -> None:
    if context is not None and not hasattr(context, "wrap_bio"):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}")


class ClusterOptions:
    """What a Cluster does unless told otherwise. A subclass may have its own, which count where the argument is left out."""

    contact_points: Any = ["127.0.0.1"]  # never changed
    protocol_version: int = ProtocolVersion.MAX_SUPPORTED
    load_balancing_policy: Any = OfDefaultProfile("load_balancing_policy")
    default_retry_policy: Any = OfDefaultProfile("retry_policy")
    reconnection_policy: ReconnectionPolicy = ExponentialReconnectionPolicy(1.0, 600.0)
    conviction_policy_factory: Callable[[Host], Any] = SimpleConvictionPolicy
    address_translator: AddressTranslator = IdentityTranslator()
    connection_class: Any = None
    application_name: str | None = ""
    application_version: str | None = ""
    cloud: Any = None
    column_encryption_policy: Any = None
    connect_to_remote_hosts = True
    _metrics: Metrics | None = None

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
        connections_per_host: int | Mapping[int, int] = 1,
        prepared_cache_size: int = 1000,
        max_requests_per_second: float | None = None,
        max_frame_size: int = MAX_BODY_SIZE,
    ) -> None:
        self._set_up()
        given_points = None if contact_points is NOT_SET else contact_points
        if isinstance(given_points, Iterator):
            given_points = list(given_points)  # it is looked at more than once
        self.port = int(port)
        self.compression = compression
        self.auth_provider = auth_provider
        self.metrics_enabled = metrics_enabled
        self.ssl_options = ssl_options
        self.sockopts = sockopts
        self.cql_version = cql_version
        self.executor_threads = executor_threads
        self.max_schema_agreement_wait: float = max_schema_agreement_wait
        self.control_connection_timeout = control_connection_timeout
        self.idle_heartbeat_interval = idle_heartbeat_interval
        self.idle_heartbeat_timeout = idle_heartbeat_timeout
        self.schema_event_refresh_window = schema_event_refresh_window
        self.topology_event_refresh_window = topology_event_refresh_window
        self.status_event_refresh_window = status_event_refresh_window
        self.connect_timeout = connect_timeout
        self.schema_metadata_enabled: bool = schema_metadata_enabled
        self.token_metadata_enabled: bool = token_metadata_enabled
        self.prepare_on_all_hosts = prepare_on_all_hosts
        self.reprepare_on_up = reprepare_on_up
        self.allow_beta_protocol_version = allow_beta_protocol_version
        self.timestamp_generator = timestamp_generator or MonotonicTimestampGenerator()
        self.no_compact = no_compact
        self.ssl_context = ssl_context
        self.monitor_reporting_enabled = monitor_reporting_enabled
        self.monitor_reporting_interval = monitor_reporting_interval
        self.client_id = client_id
        for name, value in (
            ("contact_points", given_points),
            ("reconnection_policy", reconnection_policy),
            ("conviction_policy_factory", conviction_policy_factory),
            ("connection_class", connection_class),
            ("protocol_version", None if protocol_version is NOT_SET else protocol_version),
            ("address_translator", address_translator),
            ("application_name", application_name),
            ("application_version", application_version),
            ("cloud", cloud),
            ("column_encryption_policy", column_encryption_policy),
        ):
            if value is not None:  # else it is the class's
                setattr(self, name, value)
        self._version_is_fixed = protocol_version not in (NOT_SET, None)
        self.endpoint_factory = (endpoint_factory or DefaultEndPointFactory(port=self.port)).configure(self)
        self.profile_manager = initial_profiles(
            type(self), load_balancing_policy, default_retry_policy, execution_profiles
        )
        self._has_profiles = bool(execution_profiles)
        self._legacy = bool(load_balancing_policy or default_retry_policy)
        """Settings from before there were profiles are in use, which cannot be mixed with profiles."""
        self._set_limits(max_requests_in_flight, max_requests_waiting, max_requests_per_second, max_frame_size)
        self.connections_per_host: int | Mapping[int, int] = connections_per_host
        self.prepared_cache_size = prepared_cache_size
        check(self)
        self._protocol_version = self.protocol_version

    def _set_limits(self, in_flight: int, waiting: int, per_second: float | None, frame_size: int) -> None:
        self.max_requests_in_flight = in_flight
        self.max_requests_waiting = waiting
        self.max_requests_per_second = per_second
        self.max_frame_size = frame_size

    auth_provider = _WayIn(_check_provider)
    ssl_context = _WayIn(_check_context)
    ssl_options = _WayIn()

    def _way_in_changed(self) -> None:
        """Nodes that refused us may let us in now."""

    def _set_up(self) -> None:
        """The state of a Cluster that has not been connected."""
        raise NotImplementedError

    @property
    def metrics(self) -> Metrics | None:
        """What the Cluster counts and times; None unless it was made with ``metrics_enabled=True``."""
        if self.metrics_enabled and self._metrics is None:
            self._metrics = Metrics(self)
        return self._metrics

    def __init_subclass__(cls) -> None:
        for name in ("load_balancing_policy", "default_retry_policy"):
            if name in cls.__dict__:  # it must not hide what sets the default profile's
                setattr(cls, f"_{name}", cls.__dict__[name])
                delattr(cls, name)


def check(cluster: ClusterOptions) -> None:
    """Refuse what makes no sense and what geventcql does not have.

    :raises ValueError: a value is out of its range, or asks for something that is not there
    :raises TypeError: a value is of the wrong kind
    """
    if cluster.cloud:
        raise ValueError(f"Cluster(cloud=...): {NO_SNI}")
    for name, reason in _REFUSED.items():
        if getattr(cluster, name):
            raise ValueError(f"Cluster({name}=...) is not supported by geventcql: {reason}")
    refuse_classes(
        reconnection_policy=cluster.reconnection_policy,
        address_translator=cluster.address_translator,
        timestamp_generator=cluster.timestamp_generator,
    )
    if cluster.protocol_version not in ProtocolVersion.SUPPORTED_VERSIONS:
        raise ValueError(
            f"protocol_version must be one of {ProtocolVersion.SUPPORTED_VERSIONS}, not {cluster.protocol_version!r}"
        )
    wanted = cluster.connections_per_host
    if cluster.max_requests_waiting < 0 or min([wanted] if isinstance(wanted, int) else wanted.values(), default=1) < 1:
        raise ValueError("max_requests_waiting must be at least 0 and connections_per_host at least 1")
    for name in ("timestamp_generator", "conviction_policy_factory"):
        if not callable(getattr(cluster, name)):
            raise ValueError(f"{name} must be callable, not {getattr(cluster, name)!r}")
    check_rate(cluster.max_requests_per_second)
    contact_endpoints(cluster)
    _check_tls(connection_settings(cluster))


def _check_tls(settings: ConnectionSettings) -> None:
    if settings.ssl_context is None and settings.ssl_options:
        from geventcql.net.tls import make_context  # here: importing ssl takes a quarter of the package's import time

        make_context(settings.ssl_options)
    elif settings.ssl_context is not None:
        check_beside_context(settings.ssl_context, settings.ssl_options)


def give_resolver(cluster: Any) -> None:
    """Let an EC2MultiRegionTranslator that has no resolver of its own ask the Cluster's."""
    translator = cluster.address_translator
    if isinstance(translator, EC2MultiRegionTranslator) and translator.resolver is None:
        translator.resolver = cluster.resolver


def contact_endpoints(cluster: ClusterOptions) -> list[EndPoint]:
    """The contact points as end points, names not yet resolved."""
    points = cluster.contact_points
    if isinstance(points, str):
        raise TypeError("contact_points must be a list of addresses, not one string")
    ports = [port for port in (cluster.port, *(p[1] for p in points if isinstance(p, tuple))) if not 0 < int(port) < 65_536]
    if ports:
        raise ValueError(f"a port is 1 to 65,535, not {ports[0]}")
    if any(isinstance(point, int) for point in points):
        raise TypeError(f"contact_points must be a list of addresses or of (address, port) pairs, not {points!r}")
    endpoints: list[EndPoint] = []
    for point in points:
        if point is None:
            raise ValueError("contact_points must not contain None")
        if isinstance(point, EndPoint):
            endpoints.append(point)
        elif isinstance(point, tuple):
            address, port = point
            endpoints.append(DefaultEndPoint(address, int(port)))
        else:
            endpoints.append(DefaultEndPoint(str(point), int(cluster.port)))
    return endpoints


def initial_profiles(
    cluster_class: type[ClusterOptions],
    load_balancing_policy: LoadBalancingPolicy | None,
    default_retry_policy: RetryPolicy | None,
    execution_profiles: dict[Any, ExecutionProfile] | None,
) -> ProfileManager:
    """The profiles of a new Cluster.

    :raises ValueError: both profiles and the arguments from before there were profiles are given
    """
    if execution_profiles and (load_balancing_policy is not None or default_retry_policy is not None):
        raise ValueError("give load_balancing_policy and default_retry_policy in an ExecutionProfile, or no profiles at all")
    balancing = load_balancing_policy or cluster_class.load_balancing_policy or NOT_SET
    default = ExecutionProfile(balancing, default_retry_policy or cluster_class.default_retry_policy)
    return ProfileManager({EXEC_PROFILE_DEFAULT: default, **(execution_profiles or {})})


def _compression(asked: bool | str) -> tuple[str, ...]:
    if asked is False or asked is None:
        return ()
    if asked is True:
        return compressors()
    if asked not in ("lz4", "snappy"):
        raise ValueError(f"compression must be False, True, 'lz4' or 'snappy', not {asked!r}")
    if asked not in compressors():
        raise ValueError("compression='snappy' needs the package python-snappy: pip install 'geventcql[snappy]'")
    return (asked,)


def connection_settings(cluster: ClusterOptions) -> ConnectionSettings:
    """What a connection that is opened now is made with."""
    provider = cluster.auth_provider
    authenticator = None
    if provider:

        def authenticator(endpoint: Any) -> Any:
            return provider.new_authenticator(endpoint.address)

    if cluster.ssl_options is not None and cluster.ssl_context is None and not cluster.ssl_options:
        raise ValueError("empty ssl_options would mean no TLS at all: name ca_certs, or give an ssl_context")
    if not 1 <= cluster.max_requests_in_flight <= 32_768:
        raise ValueError(f"max_requests_in_flight must be 1 to 32,768, not {cluster.max_requests_in_flight}")
    if not LEAST_FRAME <= cluster.max_frame_size <= MAX_BODY_SIZE:
        raise ValueError(f"max_frame_size must be {LEAST_FRAME} to {MAX_BODY_SIZE} bytes, not {cluster.max_frame_size}")
    timeout = cluster.connect_timeout
    if timeout is not None and timeout <= 0:
        raise ValueError(f"connect_timeout must be positive, or None for no limit, not {timeout}")
    client_id = None if cluster.client_id is None else str(cluster.client_id)
    return ConnectionSettings(
        connect_timeout=timeout,
        compression=_compression(cluster.compression),
        ssl_context=cluster.ssl_context,
        ssl_options=cluster.ssl_options or {},
        sockopts=tuple(cluster.sockopts or ()),
        cql_version=cluster.cql_version,
        no_compact=cluster.no_compact,
        startup_options=startup_identity(cluster.application_name or None, cluster.application_version or None, client_id),
        authenticator=authenticator,
        max_in_flight=cluster.max_requests_in_flight,
        max_frame=cluster.max_frame_size,
        traffic=None if cluster.metrics is None else cluster.metrics.traffic,
    )
