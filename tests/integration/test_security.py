"""Authentication and TLS on a real Cassandra: who is let in, and what everybody else is told, and how soon."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

import geventcql
from geventcql.auth import PlainTextAuthProvider, SaslAuthProvider
from geventcql.cluster import Cluster
from geventcql.errors import AuthenticationFailed, ConnectionException, NoHostAvailable, Unauthorized
from geventcql.policies import ConstantReconnectionPolicy
from geventcql.session import Session
from geventcql.testing import CassandraCluster
from tests.integration.support import DDL_TIMEOUT
from tests.support.relay import Relay
from tests.support.tls import Tls
from tests.support.waits import eventually

pytest_plugins = "tests.integration.fixtures"

CONNECT_TIMEOUT = 3.0
COLD = 30.0  # for the first connection, while the node's Java is not warm
SLACK = 2.0  # seconds that a busy machine may add

PAUSE = 0.5
SCHEDULE = ConstantReconnectionPolicy(PAUSE)

Refused = Callable[..., BaseException]


@pytest.fixture(scope="module")
def safe() -> Iterator[CassandraCluster]:
    """A node that asks for a password and speaks TLS only."""
    yaml = {"authorizer": "CassandraAuthorizer"}
    for cache in ("permissions", "credentials", "roles"):  # what is changed is to be seen soon
        yaml |= {f"{cache}_validity": "100ms", f"{cache}_update_interval": "100ms"}
    with CassandraCluster(auth=True, tls=True, yaml=yaml) as cluster:
        yield cluster


def cluster_of(server: Any, version: int = 5, **options: Any) -> Cluster:
    options = {"connect_timeout": CONNECT_TIMEOUT, **options}
    return Cluster(server.contact_points, port=server.port, protocol_version=version, **options)


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
    with cluster_of(safe, version, connect_timeout=COLD, **safe.driver_options()) as cluster:
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


def test_sasl_through_its_library(safe: CassandraCluster, refused: Refused) -> None:
    def provider(password: str) -> SaslAuthProvider:
        return SaslAuthProvider(service="cassandra", mechanism="PLAIN", username="cassandra", password=password)

    with cluster_of(safe, **{**safe.driver_options(), "auth_provider": provider("cassandra")}) as cluster:
        assert cluster.connect().execute("SELECT key FROM system.local").one() == ("local",)
    error = only_cause(refused(safe, **{**safe.driver_options(), "auth_provider": provider("wrong")}))
    assert type(error) is AuthenticationFailed


@pytest.fixture
def relayed(safe: CassandraCluster) -> Iterator[Relay]:
    """A relay to the node, which counts connections, and cuts them."""
    with Relay((safe.contact_points[0], safe.port)) as relay:
        yield relay


def through(relay: Relay, safe: CassandraCluster, **options: Any) -> Cluster:
    return Cluster(
        ["127.0.0.1"], port=relay.port, reconnection_policy=SCHEDULE, connect_timeout=CONNECT_TIMEOUT,
        **{**safe.driver_options(), "ssl_options": {"server_hostname": safe.contact_points[0]}, **options},
    )  # fmt: skip


def no_storm(relay: Relay) -> bool:
    """Attempts follow the reconnection policy: the pool's and the control connection's."""
    before = relay.accepted
    gevent.sleep(6 * PAUSE)
    return 2 <= relay.accepted - before <= 2 * 6 + 2


def connected(session: Session) -> bool:
    return any(pool.connections for pool in session.get_pools())


@pytest.mark.parametrize("new_provider", [True, False])
def test_rotated_credentials(safe: CassandraCluster, relayed: Relay, new_provider: bool) -> None:
    with cluster_of(safe, **safe.driver_options()) as owner:
        admin = owner.connect()
        admin.execute("CREATE ROLE IF NOT EXISTS rotated WITH PASSWORD = 'first' AND LOGIN = true", timeout=DDL_TIMEOUT)
        admin.execute("ALTER ROLE rotated WITH PASSWORD = 'first'", timeout=DDL_TIMEOUT)
        provider = PlainTextAuthProvider("rotated", "first")
        with through(relayed, safe, auth_provider=provider) as cluster:
            session = cluster.connect()
            admin.execute("ALTER ROLE rotated WITH PASSWORD = 'second'", timeout=DDL_TIMEOUT)
            gevent.sleep(0.5)
            assert session.execute("SELECT key FROM system.local").one() == ("local",)
            relayed.drop_connections()
            [host] = session.hosts
            eventually(lambda: host.is_up is False, 20)
            with pytest.raises(NoHostAvailable) as raised:
                session.execute("SELECT key FROM system.local")
            assert type(only_cause(raised.value)) is AuthenticationFailed
            assert no_storm(relayed)
            if new_provider:
                cluster.auth_provider = PlainTextAuthProvider("rotated", "second")
            else:
                provider.password = "second"
            eventually(lambda: connected(session), 20)
            assert session.execute("SELECT key FROM system.local").one() == ("local",)


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


def test_options_instead_of_a_context(safe: CassandraCluster, refused: Refused, tls: Tls) -> None:
    assert safe.certificates is not None
    files = safe.certificates
    options = {**safe.driver_options(), "ssl_context": None}
    for ssl_options in (
        {"ca_certs": files.ca_file},
        {"ca_certs": files.ca_file, "check_hostname": True, "certfile": files.client_certificate, "keyfile": files.client_key},
        {"ca_certs": files.ca_file, "ssl_version": ssl.PROTOCOL_TLSv1_2, "cert_reqs": ssl.CERT_REQUIRED},
        {"cert_reqs": ssl.CERT_NONE},
    ):
        with cluster_of(safe, **options, ssl_options=ssl_options) as cluster:
            assert cluster.connect().execute("SELECT key FROM system.local").one() == ("local",)
    cause = only_cause(refused(safe, **options, ssl_options={"ca_certs": str(tls.ca_file)}))
    assert isinstance(cause, ConnectionException) and "is not trusted" in str(cause)


class NodeCertificate:
    """The node's certificate, which may be replaced while it runs."""

    def __init__(self, safe: CassandraCluster) -> None:
        assert safe.certificates is not None
        self._node = safe[0]
        self._file = Path(safe.certificates.node_file)
        self._original = self._file.read_bytes()
        directory = self._file.parent
        self._authority = trustme.CA.from_pem((directory / "ca.crt").read_bytes(), (directory / "ca.key").read_bytes())

    def replace(self, name: str, end: datetime | None = None) -> None:
        """By one for ``name`` that holds until ``end``."""
        begin = None if end is None else end - timedelta(days=1)
        issued = self._authority.issue_cert(name, not_before=begin, not_after=end, key_type=trustme.KeyType.RSA)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self._load(b"".join([key.private_bytes(*pkcs8), *(blob.bytes() for blob in issued.cert_chain_pems)]))

    def restore(self) -> None:
        self._load(self._original)

    def _load(self, content: bytes) -> None:
        self._file.write_bytes(content)
        self._node.nodetool("reloadssl")


@pytest.mark.slow
def test_a_certificate_that_is_replaced(safe: CassandraCluster, relayed: Relay, refused: Refused) -> None:
    """By an expired one, and one of another name: connections that are open stay; new ones are not made, and no storm."""
    certificate = NodeCertificate(safe)
    address = safe.contact_points[0]
    with through(relayed, safe) as cluster:
        session = cluster.connect()
        [host] = session.hosts
        try:
            for name, end, words in (
                (address, datetime.now(timezone.utc) - timedelta(hours=1), "certificate has expired"),
                ("cassandra.example", None, "IP address mismatch"),
            ):
                certificate.replace(name, end)
                cause = only_cause(refused(safe, **safe.driver_options()))
                assert isinstance(cause, ConnectionException) and f"is not trusted: {words}" in str(cause)
                relayed.drop_connections()
                eventually(lambda: host.is_up is False, 20)
                assert no_storm(relayed)
                with pytest.raises(NoHostAvailable, match=f"is not trusted: {words}"):
                    session.execute("SELECT key FROM system.local")
        finally:
            certificate.restore()
        eventually(lambda: connected(session), 20)
        assert session.execute("SELECT key FROM system.local").one() == ("local",)


@pytest.mark.slow
def test_a_demanded_certificate(refused: Refused, cassandra_cluster_factory: Callable[..., CassandraCluster]) -> None:
    strict = cassandra_cluster_factory(1, tls=True, client_auth=True)
    with cluster_of(strict, connect_timeout=COLD, **strict.driver_options()) as cluster:
        assert cluster.connect().execute("SELECT key FROM system.local").one() == ("local",)
    assert strict.certificates is not None
    cause = only_cause(refused(strict, ssl_context=strict.certificates.ssl_context(with_certificate=False)))
    assert isinstance(cause, ConnectionException) and "does the server demand a client certificate" in str(cause)
    ssl_options: dict[str, Any] = {"ca_certs": strict.certificates.ca_file}
    cause = only_cause(refused(strict, ssl_options={**ssl_options, "ssl_version": ssl.PROTOCOL_TLSv1_2}))
    assert isinstance(cause, ConnectionException) and "does the server demand a client certificate" in str(cause)
    ssl_options |= {"certfile": strict.certificates.client_certificate, "keyfile": strict.certificates.client_key}
    with cluster_of(strict, ssl_options=ssl_options) as cluster:
        assert cluster.connect().execute("SELECT key FROM system.local").one() == ("local",)
