"""What an application asks of a Cluster, checked and frozen (layer: driver). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from geventcql.net.opening import ConnectionSettings
from geventcql.policies import LoadBalancingPolicy, RetryPolicy
from geventcql.profiles import EXEC_PROFILE_DEFAULT, NOT_SET, ExecutionProfile, ProfileManager
from geventcql.protocol.compression import compressors
from geventcql.protocol.handshake import startup_identity

if TYPE_CHECKING:
    import ssl

__all__ = ["connection_settings", "initial_profiles", "unsupported"]


def unsupported(**given: Any) -> None:
    """Refuse arguments that ask for what geventcql does not have.

    :raises ValueError: one of them is set
    """
    for name, value in given.items():
        if value:
            raise ValueError(f"Cluster({name}=...) is not supported by geventcql")


def initial_profiles(
    load_balancing_policy: LoadBalancingPolicy | None,
    default_retry_policy: RetryPolicy | None,
    execution_profiles: dict[Any, ExecutionProfile] | None,
) -> ProfileManager:
    """The profiles of a new Cluster.

    :raises ValueError: both profiles and the arguments from before there were profiles are given
    """
    legacy = load_balancing_policy is not None or default_retry_policy is not None
    if execution_profiles and legacy:
        raise ValueError("give load_balancing_policy and default_retry_policy in an ExecutionProfile, or no profiles at all")
    if legacy:
        profile = ExecutionProfile(
            NOT_SET if load_balancing_policy is None else load_balancing_policy, default_retry_policy
        )
        execution_profiles = {EXEC_PROFILE_DEFAULT: profile}
    return ProfileManager(execution_profiles)


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


def connection_settings(
    *,
    compression: bool | str,
    auth_provider: Any,
    ssl_context: ssl.SSLContext | None,
    ssl_options: Mapping[str, Any] | None,
    sockopts: Iterable[tuple[Any, ...]] | None,
    connect_timeout: float | None,
    cql_version: str | None,
    no_compact: bool,
    application: tuple[str | None, str | None, Any],
    max_in_flight: int,
) -> ConnectionSettings:
    """Check and freeze what connections are made with.

    :raises ValueError: a value is out of its range
    :raises TypeError: the auth_provider makes no authenticators
    """
    authenticator = None
    if auth_provider is not None:
        if not hasattr(auth_provider, "new_authenticator"):
            raise TypeError(f"auth_provider must be an AuthProvider, with new_authenticator(host), not {auth_provider!r}")

        def authenticator(endpoint: Any) -> Any:
            return auth_provider.new_authenticator(endpoint.address)

    if ssl_options is not None and ssl_context is None:
        raise ValueError("ssl_options alone is not supported: give Cluster an ssl_context (ssl.create_default_context(...))")
    if not 1 <= max_in_flight <= 32_768:
        raise ValueError(f"max_requests_in_flight must be 1 to 32,768, not {max_in_flight}")
    if connect_timeout is not None and connect_timeout <= 0:
        raise ValueError(f"connect_timeout must be positive, or None for no limit, not {connect_timeout}")
    name, version, client_id = application
    return ConnectionSettings(
        connect_timeout=connect_timeout,
        compression=_compression(compression),
        ssl_context=ssl_context,
        server_hostname=(ssl_options or {}).get("server_hostname"),
        sockopts=tuple(sockopts or ()),
        cql_version=cql_version,
        no_compact=no_compact,
        startup_options=startup_identity(name, version, None if client_id is None else str(client_id)),
        authenticator=authenticator,
        max_in_flight=max_in_flight,
    )
