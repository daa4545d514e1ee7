"""What an application asks of a Cluster: defaults, checks, and what connections are made with (layer: driver). Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geventcql.host import DefaultEndPoint, EndPoint, Host
from geventcql.net.opening import ConnectionSettings
from geventcql.policies import (
    AddressTranslator,
    ExponentialReconnectionPolicy,
    IdentityTranslator,
    LoadBalancingPolicy,
    ReconnectionPolicy,
    RetryPolicy,
    SimpleConvictionPolicy,
)
from geventcql.profiles import EXEC_PROFILE_DEFAULT, NOT_SET, ExecutionProfile, ProfileManager, refuse_classes
from geventcql.protocol.compression import compressors
from geventcql.protocol.constants import ProtocolVersion
from geventcql.protocol.handshake import startup_identity

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["ClusterOptions", "OfDefaultProfile", "check", "connection_settings", "contact_endpoints", "initial_profiles"]


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
        setattr(cluster.profile_manager.default, self._attribute, value)


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
    metrics: Any = None

    def __init_subclass__(cls) -> None:
        for name in ("load_balancing_policy", "default_retry_policy"):
            if name in cls.__dict__:  # it must not hide what sets the default profile's
                setattr(cls, f"_{name}", cls.__dict__[name])
                delattr(cls, name)


def check(cluster: Cluster) -> None:
    """Refuse what makes no sense and what geventcql does not have.

    :raises ValueError: a value is out of its range, or asks for something that is not there
    :raises TypeError: a value is of the wrong kind
    """
    for name in ("cloud", "column_encryption_policy", "metrics_enabled"):
        if getattr(cluster, name):
            raise ValueError(f"Cluster({name}=...) is not supported by geventcql")
    refuse_classes(
        reconnection_policy=cluster.reconnection_policy,
        address_translator=cluster.address_translator,
        timestamp_generator=cluster.timestamp_generator,
    )
    if cluster.protocol_version not in ProtocolVersion.SUPPORTED_VERSIONS:
        raise ValueError(
            f"protocol_version must be one of {ProtocolVersion.SUPPORTED_VERSIONS}, not {cluster.protocol_version!r}"
        )
    if cluster.max_requests_waiting < 0 or cluster.connections_per_host < 1:
        raise ValueError("max_requests_waiting must be at least 0 and connections_per_host at least 1")
    contact_endpoints(cluster)
    connection_settings(cluster)


def contact_endpoints(cluster: Cluster) -> list[EndPoint]:
    """The contact points as end points, names not yet resolved."""
    points = cluster.contact_points
    if isinstance(points, str):
        raise TypeError("contact_points must be a list of addresses, not one string")
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


def connection_settings(cluster: Cluster) -> ConnectionSettings:
    """What a connection that is opened now is made with."""
    provider = cluster.auth_provider
    authenticator = None
    if provider is not None:
        if not hasattr(provider, "new_authenticator"):
            raise TypeError(f"auth_provider must be an AuthProvider, with new_authenticator(host), not {provider!r}")

        def authenticator(endpoint: Any) -> Any:
            return provider.new_authenticator(endpoint.address)

    if cluster.ssl_options is not None and cluster.ssl_context is None:
        raise ValueError("ssl_options alone is not supported: give Cluster an ssl_context (ssl.create_default_context(...))")
    if not 1 <= cluster.max_requests_in_flight <= 32_768:
        raise ValueError(f"max_requests_in_flight must be 1 to 32,768, not {cluster.max_requests_in_flight}")
    timeout = cluster.connect_timeout
    if timeout is not None and timeout <= 0:
        raise ValueError(f"connect_timeout must be positive, or None for no limit, not {timeout}")
    client_id = None if cluster.client_id is None else str(cluster.client_id)
    return ConnectionSettings(
        connect_timeout=timeout,
        compression=_compression(cluster.compression),
        ssl_context=cluster.ssl_context,
        server_hostname=(cluster.ssl_options or {}).get("server_hostname"),
        sockopts=tuple(cluster.sockopts or ()),
        cql_version=cluster.cql_version,
        no_compact=cluster.no_compact,
        startup_options=startup_identity(cluster.application_name or None, cluster.application_version or None, client_id),
        authenticator=authenticator,
        max_in_flight=cluster.max_requests_in_flight,
    )
