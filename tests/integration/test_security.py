"""Authentication and TLS on a real Cassandra: who is let in, and what everybody else is told, and how soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

import geventcql
from geventcql.auth import PlainTextAuthProvider
from geventcql.cluster import Cluster
from geventcql.errors import AuthenticationFailed, ConnectionException, NoHostAvailable, Unauthorized
from geventcql.testing import CassandraCluster
from tests.integration.support import DDL_TIMEOUT
from tests.support.tls import Tls

pytest_plugins = "tests.integration.fixtures"

CONNECT_TIMEOUT = 3.0
SLACK = 2.0  # seconds that a busy machine may add

Refused = Callable[..., BaseException]


@pytest.fixture(scope="module")
def safe() -> Iterator[CassandraCluster]:
    """A node that asks for a password and speaks TLS only."""
    yaml = {"authorizer": "CassandraAuthorizer", "permissions_validity": "100ms", "permissions_update_interval": "100ms"}
    with CassandraCluster(auth=True, tls=True, yaml=yaml) as cluster:
        yield cluster


def cluster_of(server: Any, version: int = 5, **options: Any) -> Cluster:
    return Cluster(
        server.contact_points, port=server.port, protocol_version=version, connect_timeout=CONNECT_TIMEOUT, **options
    )


@pytest.fixture
def refused() -> Refused:
    """Connects in vain: the error, which came within the time to connect. A second try fares no better."""

    def refused(server: Any, version: int = 5, **options: Any) -> BaseException:
        with cluster_of(server, version, **options) as cluster:
            started = time.monotonic()
            with pytest.raises(NoHostAvailable) as first:
                cluster.connect()
            assert time.monotonic() - started < CONNECT_TIMEOUT + SLACK
            with pytest.raises(NoHostAvailable):
                cluster.connect()
        return first.value

    return refused


def only_cause(error: BaseException) -> BaseException:
    assert isinstance(error, NoHostAvailable)
    (cause,) = error.errors.values()
    assert str(cause) in str(error)
    return cause


VERSIONS = pytest.mark.parametrize("version", [3, 4, 5])


@VERSIONS
def test_let_in(safe: CassandraCluster, version: int) -> None:
    with cluster_of(safe, version, **safe.driver_options()) as cluster:
        session = cluster.connect()
        big = "x" * 300_000
        rows = session.execute(f"SELECT role, (text)'{big}' AS b FROM system_auth.roles").all()
        assert [(row.role, row.b) for row in rows] == [("cassandra", big)]
        greenlets = [gevent.spawn(session.execute, "SELECT key FROM system.local") for _ in range(100)]
        gevent.joinall(greenlets, raise_error=True)


def test_let_in_the_short_way(safe: CassandraCluster) -> None:
    options = safe.driver_options()
    with geventcql.connect(safe.contact_points, port=safe.port, compression="lz4", **options) as session:
        assert session.execute("SELECT key FROM system.local").one() == ("local",)
        assert session.cluster.protocol_version == 5


# -- passwords --------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize(
    ("user", "password"), [("cassandra", "wrong"), ("nobody", "cassandra"), ("cassandra", "\u00fc" * 500)]
)
def test_wrong_credentials(safe: CassandraCluster, refused: Refused, version: int, user: str, password: str) -> None:
    options = {**safe.driver_options(), "auth_provider": PlainTextAuthProvider(user, password)}
    error = only_cause(refused(safe, version, **options))
    assert type(error) is AuthenticationFailed
    assert "username" in str(error) and "password" in str(error) and "\u00fc" not in str(error)


@VERSIONS
def test_no_credentials(safe: CassandraCluster, refused: Refused, version: int) -> None:
    options = {**safe.driver_options(), "auth_provider": None}
    error = only_cause(refused(safe, version, **options))
    assert type(error) is AuthenticationFailed
    assert "PasswordAuthenticator" in str(error)


def test_credentials_that_nobody_asks_for(cassandra: Any) -> None:
    with cluster_of(cassandra, auth_provider=PlainTextAuthProvider("cassandra", "cassandra")) as cluster:
        assert cluster.connect().execute("SELECT key FROM system.local").one() == ("local",)


@VERSIONS
def test_permissions(safe: CassandraCluster, version: int) -> None:
    options = safe.driver_options()
    role = f"reader{version}"
    with cluster_of(safe, version, **options) as cluster:
        admin = cluster.connect()
        admin.execute(f"CREATE ROLE {role} WITH PASSWORD = 'it''s me' AND LOGIN = true", timeout=DDL_TIMEOUT)
        options["auth_provider"] = PlainTextAuthProvider(role, "it's me")
        with cluster_of(safe, version, **options) as limited:
            session = limited.connect()
            assert session.execute("SELECT key FROM system.local").one() == ("local",)
            with pytest.raises(Unauthorized, match=r"has no SELECT permission on <table system_auth.roles>"):
                session.execute("SELECT * FROM system_auth.roles")
            forbidden = session.prepare("SELECT * FROM system_auth.roles")  # the server looks when it executes
            with pytest.raises(Unauthorized):
                session.execute(forbidden)
            assert session.execute("SELECT key FROM system.local").one() == ("local",)
        admin.execute(f"DROP ROLE {role}", timeout=DDL_TIMEOUT)


# -- certificates -----------------------------------------------------------------------------------------------------


@VERSIONS
def test_wrong_authority(safe: CassandraCluster, refused: Refused, tls: Tls, version: int) -> None:
    error = refused(safe, version, **{**safe.driver_options(), "ssl_context": tls.stranger})
    cause = only_cause(error)
    assert isinstance(cause, ConnectionException) and "is not trusted" in str(cause)


def test_wrong_host_name(safe: CassandraCluster, refused: Refused) -> None:
    error = refused(safe, **safe.driver_options(), ssl_options={"server_hostname": "cassandra.example"})
    assert "cassandra.example" in str(only_cause(error))


def test_host_names_unchecked_on_request(safe: CassandraCluster) -> None:
    options = safe.driver_options()
    options["ssl_context"].check_hostname = False
    with cluster_of(safe, **options, ssl_options={"server_hostname": "cassandra.example"}) as cluster:
        assert cluster.connect().execute("SELECT key FROM system.local").one() == ("local",)


@VERSIONS
def test_tls_where_none_is_spoken(cassandra: Any, refused: Refused, tls: Tls, version: int) -> None:
    cause = only_cause(refused(cassandra, version, ssl_context=tls.client))
    assert isinstance(cause, ConnectionException), repr(cause)


@VERSIONS
def test_none_where_tls_is_spoken(safe: CassandraCluster, refused: Refused, version: int) -> None:
    options = {**safe.driver_options(), "ssl_context": None}
    assert isinstance(only_cause(refused(safe, version, **options)), ConnectionException)


@pytest.mark.slow
def test_a_demanded_certificate(refused: Refused, cassandra_cluster_factory: Callable[..., CassandraCluster]) -> None:
    strict = cassandra_cluster_factory(1, tls=True, client_auth=True)
    with cluster_of(strict, **strict.driver_options()) as cluster:
        assert cluster.connect().execute("SELECT key FROM system.local").one() == ("local",)
    assert strict.certificates is not None
    cause = only_cause(refused(strict, ssl_context=strict.certificates.ssl_context(with_certificate=False)))
    assert isinstance(cause, ConnectionException), repr(cause)
