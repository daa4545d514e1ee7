"""What a Cluster is told: arguments, attributes that are set before it connects, and attributes of subclasses."""

from __future__ import annotations

import ssl
import time
from typing import Any

import pytest

from geventcql.auth import PlainTextAuthProvider
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.errors import NoHostAvailable
from geventcql.policies import (
    ConstantReconnectionPolicy,
    FallthroughRetryPolicy,
    IdentityTranslator,
    NoSpeculativeExecutionPolicy,
    RetryPolicy,
    RoundRobinPolicy,
)
from geventcql.timestamps import MonotonicTimestampGenerator
from tests.driver.support import cluster_of, eventually, outcome, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode, Opcode, Rows
from tests.support.logs import UNREACHABLE
from tests.support.tls import Tls

pytestmark = pytest.mark.logs(UNREACHABLE)

TEXT = "SELECT v FROM t"
GOOD = Rows([("v", "int")], [(1,)])


def test_a_port_as_text(node: FakeNode) -> None:
    port = str(node.port)
    for cluster in (Cluster([node.host], port=port), Cluster([(node.host, port)])):  # type: ignore[arg-type]
        with cluster:
            assert [host.endpoint.port for host in cluster.connect().hosts] == [node.port]
    with FakeCluster(2) as nodes, Cluster([nodes[0].host], port=str(nodes.port)) as cluster:  # type: ignore[arg-type]
        assert cluster.port == nodes.port and len(cluster.connect(wait_for_all_pools=True).get_pools()) == 2
    with pytest.raises(ValueError):
        Cluster(port="cql")  # type: ignore[arg-type]


def test_points_of_any_iterable(node: FakeNode) -> None:
    for points in ({node.host}, (point for point in [node.host]), iter([(node.host, node.port)])):
        with Cluster(points, port=node.port) as cluster:
            cluster.connect()


def test_points_that_are_none() -> None:
    with pytest.raises(ValueError, match="None"):
        Cluster(["127.0.0.1", None])


# -- set before connecting ---------------------------------------------------------------------------------------------


def test_credentials_set_later() -> None:
    with FakeNode(auth={"ada": "secret"}) as node:
        cluster = cluster_of(node)
        cluster.auth_provider = PlainTextAuthProvider("ada", "secret")
        with cluster:
            session = cluster.connect()
            node.auth = {"ada": "changed"}
            cluster.auth_provider = PlainTextAuthProvider("ada", "changed")  # for connections opened from now on
            before = node.accepted
            node.drop_connections()
            node.wait_for(lambda n: n.accepted > before)
            eventually(lambda: pooled(session))
            node.on(TEXT, GOOD)
            assert session.execute(TEXT).one().v == 1


def test_the_time_to_connect_set_later() -> None:
    with FakeNode(mute=True) as node:
        cluster = cluster_of(node)
        cluster.connect_timeout = 0.2
        started = time.monotonic()
        assert isinstance(outcome(cluster.connect), NoHostAvailable)
        assert time.monotonic() - started < 2


def test_the_version_set_later(node: FakeNode) -> None:
    cluster = cluster_of(node)
    cluster.protocol_version = 4
    with cluster:
        cluster.connect()
        assert cluster.protocol_version == 4 and {r.version for r in node.requests} == {4}
    node.versions = (3,)
    cluster = cluster_of(node)
    cluster.protocol_version = 4  # where to begin, as in cassandra-driver; only the argument fixes it
    with cluster:
        cluster.connect()
        assert cluster.protocol_version == 3


def test_the_rest_set_later(tls: Tls) -> None:
    with FakeNode(compression=("lz4",), ssl_context=tls.server) as node:
        cluster = cluster_of(node, load_balancing_policy=RoundRobinPolicy())
        cluster.compression = "lz4"
        cluster.ssl_context = ssl.create_default_context(cafile=str(tls.ca_file))
        cluster.ssl_options = {"server_hostname": "127.0.0.1"}
        cluster.cql_version = "3.4.5"
        cluster.no_compact = True
        cluster.application_name = "tests"
        cluster.idle_heartbeat_interval = 0.05
        cluster.max_schema_agreement_wait = 0
        with cluster:
            cluster.connect()
            started = next(r for r in node.requests if r.opcode == Opcode.STARTUP)
            assert started.options["COMPRESSION"] == "lz4" and started.options["CQL_VERSION"] == "3.4.5"
            assert started.options["NO_COMPACT"] == "true" and started.options["APPLICATION_NAME"] == "tests"
            asked = node.count(Opcode.OPTIONS)
            node.wait_for(lambda n: n.count(Opcode.OPTIONS) > asked)


def test_the_contact_points_set_later(node: FakeNode) -> None:
    cluster = Cluster(["127.0.0.9"], port=1)
    cluster.contact_points, cluster.port = [node.host], node.port
    with cluster:
        cluster.connect()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("connect_timeout", 0, ValueError),
        ("compression", "zip", ValueError),
        ("ssl_options", {"ca_certs": "x"}, OSError),
        ("ssl_options", {}, ValueError),
        ("protocol_version", 6, ValueError),
        ("contact_points", "127.0.0.1", TypeError),
        ("cloud", {"a": 1}, ValueError),
        ("reconnection_policy", ConstantReconnectionPolicy, TypeError),
    ],
)
def test_what_makes_no_sense_is_refused_when_connecting(name: str, value: Any, error: type[Exception]) -> None:
    cluster = Cluster()
    setattr(cluster, name, value)
    with pytest.raises(error):
        cluster.connect()
    with pytest.raises(error):
        Cluster(**{name: value})


def test_policies_of_the_default_profile(node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    balancing, retrying = RoundRobinPolicy(), FallthroughRetryPolicy()
    cluster = cluster_of(node)
    cluster.load_balancing_policy, cluster.default_retry_policy = balancing, retrying
    profile = cluster.profile_manager.default
    assert profile.load_balancing_policy is balancing and profile.retry_policy is retrying
    with cluster:
        assert cluster.connect().execute(TEXT).one().v == 1
    cluster = cluster_of(node, load_balancing_policy=balancing, default_retry_policy=retrying)
    assert cluster.load_balancing_policy is balancing and cluster.default_retry_policy is retrying
    cluster = cluster_of(node, execution_profiles={"other": ExecutionProfile()})
    for name in ("load_balancing_policy", "default_retry_policy"):
        with pytest.raises(ValueError, match="profile"):
            setattr(cluster, name, RetryPolicy())


# -- attributes of subclasses ------------------------------------------------------------------------------------------


class Own(Cluster):
    protocol_version = 4
    reconnection_policy = ConstantReconnectionPolicy(7)
    load_balancing_policy = RoundRobinPolicy()
    default_retry_policy = FallthroughRetryPolicy()


def test_attributes_of_subclasses(node: FakeNode) -> None:
    with Own([node.host], port=node.port) as cluster:
        session = cluster.connect()
        assert {r.version for r in node.requests} == {4} and cluster.protocol_version == 4
        profile = session.get_execution_profile(EXEC_PROFILE_DEFAULT)
        assert profile.load_balancing_policy is Own.load_balancing_policy
        assert profile.retry_policy is Own.default_retry_policy
        assert cluster.reconnection_policy is Own.reconnection_policy
    with Own([node.host], port=node.port, protocol_version=5, reconnection_policy=ConstantReconnectionPolicy(8)) as cluster:
        cluster.connect()
        assert cluster.protocol_version == 5 and cluster.reconnection_policy is not Own.reconnection_policy
    profiles = {"other": ExecutionProfile()}
    assert Own(execution_profiles=profiles).profile_manager.default.load_balancing_policy is Own.load_balancing_policy


# -- classes for instances ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("load_balancing_policy", RoundRobinPolicy),
        ("default_retry_policy", RetryPolicy),
        ("reconnection_policy", ConstantReconnectionPolicy),
        ("address_translator", IdentityTranslator),
        ("timestamp_generator", MonotonicTimestampGenerator),
    ],
)
def test_a_class_where_an_instance_is_wanted(name: str, value: type) -> None:
    with pytest.raises(TypeError, match="should not be a class, it should be an instance"):
        Cluster(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("load_balancing_policy", RoundRobinPolicy),
        ("retry_policy", RetryPolicy),
        ("speculative_execution_policy", NoSpeculativeExecutionPolicy),
    ],
)
def test_a_class_in_a_profile(name: str, value: type) -> None:
    with pytest.raises(TypeError, match=f"{name} should not be a class"):
        ExecutionProfile(**{name: value})


def test_limits_that_are_set_later(node: FakeNode) -> None:
    with cluster_of(node) as cluster:
        cluster.connections_per_host, cluster.max_requests_waiting, cluster.max_requests_in_flight = 3, 7, 5
        session = cluster.connect()
        eventually(lambda: len(pooled(session)) == 3)
        assert session._admission.limit == 7 and pooled(session)[0].table.limit == 5
    with cluster_of(node) as cluster:
        cluster.connections_per_host = 0
        with pytest.raises(ValueError, match="connections_per_host"):
            cluster.connect()


def test_a_policy_of_a_subclass_can_be_replaced() -> None:
    class Mine(Cluster):
        load_balancing_policy = RoundRobinPolicy()
        default_retry_policy = FallthroughRetryPolicy()

    assert isinstance(Mine.load_balancing_policy, RoundRobinPolicy) and Cluster.load_balancing_policy is None
    cluster = Mine()
    assert cluster.load_balancing_policy is Mine.load_balancing_policy
    assert cluster.default_retry_policy is Mine.default_retry_policy
    cluster.load_balancing_policy, cluster.default_retry_policy = other = (RoundRobinPolicy(), RetryPolicy())
    default = cluster.profile_manager.default
    assert (default.load_balancing_policy, default.retry_policy) == other


@pytest.mark.parametrize(
    "options",
    [
        {"port": 99_999},
        {"contact_points": [("127.0.0.1", 0)]},
        {"timestamp_generator": 1},
        {"conviction_policy_factory": 1},
    ],
)
def test_values_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Cluster(**options)


def test_one_pair_is_no_list_of_contact_points() -> None:
    with pytest.raises(TypeError, match="pairs"):
        Cluster(("127.0.0.1", 9042))


def test_no_version_is_any_version() -> None:
    with FakeNode(versions=(3, 4)) as node, Cluster([node.host], node.port, protocol_version=None) as cluster:
        cluster.connect("")
        assert cluster.protocol_version == 4


def test_options_beside_a_context_that_ask_for_more_than_it_does() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for options in ({"check_hostname": True}, {"cert_reqs": ssl.CERT_REQUIRED}):
        with pytest.raises(ValueError, match="ssl_context"):
            Cluster(ssl_context=context, ssl_options=options)
