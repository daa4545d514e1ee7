"""The life of a Cluster: connecting to good and bad servers, shutting down from anywhere, coming back."""

from __future__ import annotations

import socket
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import gevent
import pytest
from gevent.event import Event

import geventcql
from geventcql.auth import PlainTextAuthProvider
from geventcql.cluster import Cluster
from geventcql.errors import (
    ConnectionException,
    ConnectionShutdown,
    DriverException,
    ErrorMessage,
    NoHostAvailable,
    ProtocolError,
    UnresolvableContactPoints,
    WrongHubError,
)
from geventcql.policies import ConstantReconnectionPolicy, ReconnectionPolicy, RetryPolicy, RoundRobinPolicy
from geventcql.session import Session
from tests.driver.support import BY_KEY, INSERT, cluster_of, collected, eventually, outcome, pooled, serve_keys
from tests.support.badserver import BadServer
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Close, Error, ErrorCode, FakeNode, Opcode, Raw, Ready, Rows
from tests.support.logs import UNREACHABLE
from tests.support.native import Thread, block

pytestmark = pytest.mark.logs(UNREACHABLE)

TEXT = "SELECT v FROM t"
GOOD = Rows([("v", "int")], [(1,)])
SOON = ConstantReconnectionPolicy(0.02)


# -- bad servers -------------------------------------------------------------------------------------------------------


def bad_node(kind: str, stack: ExitStack, host: str, port: int = 0) -> int:
    """Start a server of a bad kind; its port."""
    if kind == "nobody":
        with socket.socket() as free:
            free.bind((host, port))
            return int(free.getsockname()[1])
    if kind in ("http", "silent", "garbage", "huge_frame", "closes", "closes_on_request", "unreachable"):
        server = BadServer(kind, host)  # type: ignore[arg-type]
        server.port = port
        return stack.enter_context(server).port
    node = FakeNode(host, port)
    node.tolerate_violations = True
    stack.enter_context(node)
    if kind == "wrong_crc":
        node.on(lambda r: "system.local" in (r.text or ""), Rows([("key", "text")], [("local",)]).corrupt("payload_crc"))
    elif kind == "wrong_header_crc":
        node.on(lambda r: "system.local" in (r.text or ""), Rows([("key", "text")], [("local",)]).corrupt("header_crc"))
    elif kind == "two_gib":
        node.on(lambda r: r.opcode == Opcode.STARTUP, Raw(b"\x85\0\0\0\x02\x7f\xff\xff\xff" + bytes(100)))
    elif kind == "startup_error":
        node.on(lambda r: r.opcode == Opcode.STARTUP, Error(ErrorCode.SERVER_ERROR, "not today"))
    elif kind == "mute_after_handshake":
        node.on(lambda r: r.opcode == Opcode.QUERY)
    elif kind == "no_local_row":
        node.on(lambda r: "system.local" in (r.text or ""), Rows([("key", "text")]))
    elif kind == "error_on_local":
        node.on(lambda r: "system.local" in (r.text or ""), Error(ErrorCode.OVERLOADED))
    elif kind == "wrong_version_in_reply":
        node.on(lambda r: "system.local" in (r.text or ""), Rows([("key", "text")], [("local",)]).in_version(4))
    else:
        assert kind == "closes_after_startup"
        node.on(lambda r: r.opcode == Opcode.STARTUP, Close())
    return node.port


BAD = [
    "nobody", "http", "silent", "garbage", "huge_frame", "closes", "closes_on_request", "unreachable", "wrong_crc",
    "wrong_header_crc", "two_gib", "startup_error", "mute_after_handshake", "no_local_row", "error_on_local",
    "wrong_version_in_reply", "closes_after_startup",
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_server_is_named_in_time_and_passed_over(kind: str) -> None:
    with ExitStack() as stack:
        port = bad_node(kind, stack, "127.0.0.1")
        options: dict[str, Any] = {"connect_timeout": 0.3, "control_connection_timeout": 0.3, "port": port}
        started = time.monotonic()
        with pytest.raises(NoHostAvailable) as raised:
            geventcql.connect(["127.0.0.1"], **options)
        assert time.monotonic() - started < 2
        [(endpoint, error)] = raised.value.errors.items()
        assert endpoint == f"127.0.0.1:{port}" and endpoint in str(raised.value)
        assert isinstance(error, (ConnectionException, DriverException, ErrorMessage, ProtocolError)) and str(error)
        if kind == "http":
            assert "HTTP" in str(error)
        # and behind it is a good one
        with FakeNode("127.0.0.2", port) as node:
            node.on(TEXT, GOOD)
            with Cluster(["127.0.0.1", "127.0.0.2"], **options) as cluster:
                assert cluster.connect().execute(TEXT).one().v == 1


def test_a_wrong_port_of_a_good_host(node: FakeNode) -> None:
    with socket.socket() as free:
        free.bind((node.host, 0))
        port = free.getsockname()[1]
    with pytest.raises(NoHostAvailable, match="refused"):
        Cluster([node.host], port=port).connect()


@pytest.mark.patching
@pytest.mark.parametrize("versions", [(3,), (4,), (5,), (3, 4), (3, 4, 5)])
def test_versions_are_negotiated(versions: tuple[int, ...]) -> None:
    with FakeNode(versions=versions) as node:
        node.on(TEXT, GOOD)
        with cluster_of(node) as cluster:
            assert cluster.connect().execute(TEXT).one().v == 1
            assert cluster.protocol_version == max(versions)


def test_a_version_that_is_asked_for() -> None:
    with FakeNode(versions=[3, 4]) as node, FakeNode("127.0.0.2", node.port, versions=[5]) as good:
        with cluster_of(node, protocol_version=3) as cluster:
            cluster.connect()
            assert cluster.protocol_version == 3
        with pytest.raises(NoHostAvailable):
            cluster_of(node, protocol_version=5).connect()
        with pytest.raises(ValueError, match="protocol_version"):
            Cluster(protocol_version=6)
        assert good.accepted == 0


def test_beta_versions_are_stepped_over() -> None:
    with FakeNode(versions=[3, 4], beta_versions=[5]) as node, cluster_of(node) as cluster:
        cluster.connect()
        assert cluster.protocol_version == 4


def test_credentials() -> None:
    with FakeNode(auth={"cassandra": "secret"}) as node:
        node.on(TEXT, GOOD)
        with cluster_of(node, auth_provider=PlainTextAuthProvider("cassandra", "secret")) as cluster:
            assert cluster.connect().execute(TEXT).one().v == 1


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.patching
def test_names_are_resolved_while_others_run(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    from geventcql.net import transport

    asked = []

    def slow(host: str, port: int, *args: Any) -> Any:
        asked.append(host)
        gevent.get_hub().threadpool.apply(block, (0.1,))
        if host == "gone.example":
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (node.host, port))]

    monkeypatch.setattr(transport.socket, "getaddrinfo", slow)
    node.on(TEXT, GOOD)
    ticks = [0]

    def tick() -> None:
        while True:
            ticks[0] += 1
            gevent.sleep(0.005)

    ticker = gevent.spawn(tick)
    with Cluster(["gone.example", "db.example"], port=node.port) as cluster:
        session = cluster.connect()
        assert session.execute(TEXT).one().v == 1
        assert [endpoint.address for endpoint in cluster.endpoints_resolved] == [node.host]
    assert asked[:2] == ["gone.example", "db.example"] and ticks[0] > 10
    with pytest.raises(UnresolvableContactPoints, match=r"gone\.example"):
        Cluster(["gone.example"]).connect()
    before = len(asked)
    with Cluster([node.host], port=node.port) as cluster:
        cluster.connect()
    assert len(asked) == before  # numbers never pass the resolver
    ticker.kill()
    gevent.get_hub().threadpool.kill()


def test_contact_points() -> None:
    with pytest.raises(TypeError, match="list"):
        Cluster("127.0.0.1")
    with FakeNode() as node:
        node.on(TEXT, GOOD)
        for points in ([(node.host, node.port)], [geventcql.host.DefaultEndPoint(node.host, node.port)]):
            with Cluster(points) as cluster:
                assert cluster.connect().execute(TEXT).one().v == 1
        with geventcql.connect(node.host, port=node.port) as session:
            assert session.execute(TEXT).one().v == 1


# -- connecting --------------------------------------------------------------------------------------------------------


def test_connecting_twice_gives_two_sessions_on_the_same_connections(node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    with cluster_of(node) as cluster:
        first, second = cluster.connect(), cluster.connect()
        assert first is not second and node.accepted == 2  # the control connection and one of the pool
        first.shutdown()
        first.shutdown()
        assert second.execute(TEXT).one().v == 1
        with pytest.raises(ConnectionShutdown):
            first.execute(TEXT)


def test_many_connect_at_once_and_some_are_killed(node: FakeNode) -> None:
    gate = Event()
    node.on(TEXT, GOOD)
    node.on(lambda r: r.opcode == Opcode.STARTUP, Ready().when(gate))
    with cluster_of(node) as cluster:
        connecting = [gevent.spawn(cluster.connect) for _ in range(10)]
        node.wait_for(lambda n: n.count(Opcode.STARTUP))
        gevent.killall(connecting[:5])  # whoever asked first among them
        gate.set()
        for greenlet in connecting[5:]:
            assert greenlet.get(timeout=2).execute(TEXT).one().v == 1
        assert node.accepted == 2 and len(cluster.sessions) == 5


@pytest.mark.parametrize("how", ["kill", "timeout"])
def test_killed_while_connecting(node: FakeNode, how: str) -> None:
    """Nothing is left, and the Cluster may be used again."""
    rule = node.on(lambda r: r.opcode == Opcode.STARTUP)
    node.on(TEXT, GOOD)
    cluster = cluster_of(node)
    if how == "kill":
        connecting = gevent.spawn(cluster.connect)
        node.wait_for(lambda n: n.count(Opcode.STARTUP))
        connecting.kill()
    else:
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.03):
            cluster.connect()
    eventually(lambda: not node.connections)
    rule.remove()
    with cluster:
        assert cluster.connect().execute(TEXT).one().v == 1


def test_a_failed_connect_leaves_nothing_and_may_be_tried_again(node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    rule = node.on(lambda r: r.opcode == Opcode.STARTUP, Error(ErrorCode.IS_BOOTSTRAPPING))
    cluster = cluster_of(node)
    for _ in range(3):
        with pytest.raises(NoHostAvailable):
            cluster.connect()
        eventually(lambda: not node.connections)
    together = [gevent.spawn(outcome, cluster.connect) for _ in range(3)]
    assert [type(greenlet.get()) for greenlet in together] == [NoHostAvailable] * 3
    gone = weakref.ref(cluster)
    rule.remove()
    assert cluster.connect().execute(TEXT).one().v == 1
    cluster.shutdown()
    del cluster, together
    eventually(collected(gone))


def test_a_cluster_whose_connect_failed_is_collected(node: FakeNode) -> None:
    node.on(lambda r: r.opcode == Opcode.STARTUP, Close())

    def attempt() -> Any:
        cluster = cluster_of(node)
        with pytest.raises(NoHostAvailable):
            cluster.connect()
        return weakref.ref(cluster)

    gone = attempt()
    eventually(collected(gone))


def test_connect_after_shutdown(node: FakeNode) -> None:
    cluster = cluster_of(node)
    cluster.shutdown()
    with pytest.raises(DriverException, match="shut down"):
        cluster.connect()


@pytest.mark.patching
def test_connect_from_another_thread(node: FakeNode) -> None:
    with cluster_of(node) as cluster:
        cluster.connect()

        raised: list[Any] = []

        def foreign() -> None:
            try:
                cluster.connect()
            except BaseException as error:
                raised.append(type(error))

        thread = Thread(target=foreign)
        thread.start()
        thread.join()
        assert raised == [WrongHubError]


@pytest.mark.parametrize("state", ["never connected", "shut down"])
def test_shutdown_in_another_thread_where_that_is_harmless(node: FakeNode, state: str) -> None:
    cluster = cluster_of(node)
    session = None
    if state == "shut down":
        session = cluster.connect()
        cluster.shutdown()

    def foreign() -> None:
        with cluster:
            pass
        if session is not None:
            session.shutdown()

    gevent.get_hub().threadpool.apply(foreign)
    gevent.get_hub().threadpool.kill()
    assert cluster.is_shutdown


def test_a_policy_that_cannot_be_populated(node: FakeNode) -> None:
    class Broken(RoundRobinPolicy):
        def populate(self, cluster: Any, hosts: Any) -> None:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        cluster_of(node, load_balancing_policy=Broken()).connect()
    eventually(lambda: not node.connections)


# -- the end -----------------------------------------------------------------------------------------------------------


STATES: dict[str, Callable[[FakeNode], Any]] = {
    "opening": lambda node: node.pause(),
    "STARTUP": lambda node: node.on(lambda r: r.opcode == Opcode.STARTUP),
    "local": lambda node: node.on(lambda r: "system.local" in (r.text or "")),
    "peers": lambda node: node.on(lambda r: "peers" in (r.text or "")),
    "keyspaces": lambda node: node.on(lambda r: "keyspaces" in (r.text or "")),
    "pool": lambda node: node.on(lambda r: r.opcode == Opcode.STARTUP and len(node.connections) > 1),
    "keyspace": lambda node: node.on(lambda r: "keyspace_name =" in (r.text or "")),
}


@pytest.mark.parametrize("state", STATES)
def test_shutdown_while_connecting(state: str) -> None:
    with FakeNode() as node:
        STATES[state](node)
        cluster = cluster_of(node, control_connection_timeout=None)
        connecting = gevent.spawn(outcome, cluster.connect, "ks")
        gevent.sleep(0.03)
        assert not connecting.ready()
        cluster.shutdown()
        cluster.shutdown()
        assert isinstance(connecting.get(timeout=1), (DriverException, NoHostAvailable, ConnectionShutdown))
        node.resume()
        eventually(lambda: not node.connections)


def test_shutdown_at_every_turn_of_connecting() -> None:
    """However far it has come."""
    with FakeNode() as node:
        finished = 0
        for turns in range(60):
            cluster = cluster_of(node)
            connecting = gevent.spawn(outcome, cluster.connect)
            for _ in range(turns):
                gevent.sleep(0)
            finished += connecting.ready()
            cluster.shutdown()
            assert isinstance(connecting.get(timeout=1), (DriverException, NoHostAvailable, ConnectionShutdown, Session))
            eventually(lambda: not node.connections)
        assert finished < 60


@pytest.mark.parametrize("state", ["prepare", "execute", "prepare again", "retry"])
def test_shutdown_while_something_is_under_way(state: str) -> None:
    with FakeNode() as node:
        serve_keys(node)
        cluster = cluster_of(node)
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        if state == "prepare":
            node.on(Opcode.PREPARE)
            running = gevent.spawn(outcome, session.prepare, INSERT)
        else:
            if state == "prepare again":
                node.unprepare_all()
                node.on(Opcode.PREPARE)
            elif state == "execute":
                node.on(BY_KEY)
            else:
                node.on(BY_KEY, [Error(ErrorCode.READ_TIMEOUT)])

                class Slow(RetryPolicy):
                    def on_read_timeout(self, *args: Any, **kwargs: Any) -> Any:
                        gevent.sleep(10)

                prepared.retry_policy = Slow()
            running = gevent.spawn(outcome, session.execute, prepared, (1,))
        gevent.sleep(0.02)
        assert not running.ready()
        cluster.shutdown()
        assert isinstance(running.get(timeout=1), ConnectionShutdown)


def test_shutdown_within_a_listener(node: FakeNode) -> None:
    """In a supervisor's own greenlet."""

    class Listener:
        def on_up(self, host: Any) -> None: ...

        def on_down(self, host: Any) -> None:
            cluster.shutdown()

    cluster = cluster_of(node, reconnection_policy=SOON)
    session = cluster.connect()
    cluster.register_listener(Listener())
    node.refuse()
    node.drop_connections()
    eventually(lambda: cluster.is_shutdown)
    with pytest.raises(ConnectionShutdown):
        session.execute(TEXT)


def test_a_cluster_is_collected_after_shutdown(node: FakeNode) -> None:
    """Also when prepared statements, futures and results of it live on."""
    serve_keys(node)
    cluster = cluster_of(node)
    session = cluster.connect()
    prepared = session.prepare(BY_KEY)
    rows = [tuple(row) for row in session.execute(prepared, (1,))]
    session.add_request_init_listener(print)
    cluster.shutdown()
    gone = weakref.ref(cluster), weakref.ref(session)
    del cluster, session
    eventually(collected(gone[0]))
    eventually(collected(gone[1]))
    assert rows == [(1,)] and prepared.query_string == BY_KEY


def test_context_managers(node: FakeNode) -> None:
    with cluster_of(node) as cluster, cluster.connect() as session:
        assert not session.is_shutdown
    assert session.is_shutdown and cluster.is_shutdown
    with geventcql.connect([node.host], port=node.port) as own:
        assert not own.cluster.is_shutdown
    assert own.cluster.is_shutdown
    with pytest.raises(ZeroDivisionError), geventcql.connect([node.host], port=node.port) as failing:
        raise ZeroDivisionError
    assert failing.cluster.is_shutdown
    eventually(lambda: not node.connections)


# -- losing and finding the server again -------------------------------------------------------------------------------


@pytest.mark.patching
def test_the_server_is_restarted(node: FakeNode) -> None:
    node.on(TEXT, GOOD)
    seen: list[tuple[str, str]] = []

    class Listener:
        def on_up(self, host: Any) -> None:
            seen.append(("up", host.address))

        def on_down(self, host: Any) -> None:
            seen.append(("down", host.address))

    with cluster_of(node, reconnection_policy=SOON) as cluster:
        session = cluster.connect()
        listener = Listener()
        for _ in range(2):
            cluster.register_listener(listener)
        for _ in range(3):
            node.stop()
            eventually(lambda: session.hosts[0].is_up is False)
            with pytest.raises(NoHostAvailable) as raised:
                session.execute(TEXT)
            assert "refused" in str(raised.value) or "closed the connection" in str(raised.value)
            node.start()
            eventually(lambda: session.hosts[0].is_up)
            assert session.execute(TEXT).one().v == 1
        assert seen == [("down", node.host), ("up", node.host)] * 3
        assert len(cluster.listeners) == 1
        cluster.unregister_listener(cluster.listeners[0])
        with pytest.raises(ValueError):
            cluster.unregister_listener(Listener())


def test_a_lost_connection_that_can_be_opened_again_costs_no_request(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geventcql.reconnecting.STABLE", 0.0)  # none is lost so early that the host is left alone
    node.on(TEXT, GOOD)
    with cluster_of(node) as cluster:
        session = cluster.connect()
        for _ in range(3):
            pooled(session)[0].defunct(ConnectionShutdown("made up"))
            assert session.execute(TEXT).one().v == 1  # it waits for the new one
        assert session.hosts[0].is_up


@pytest.mark.logs(r"ZeroDivisionError .*GivesUp .* failed$")
@pytest.mark.parametrize("schedule", ["empty", "short", "raises"])
def test_a_reconnection_policy_that_gives_up_does_not_lose_the_host(
    node: FakeNode, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class GivesUp(ReconnectionPolicy):
        def new_schedule(self) -> Any:
            if schedule == "raises":
                raise ZeroDivisionError("mine")
            return iter([] if schedule == "empty" else [0.005, 0.005])

    monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.01)
    node.on(TEXT, GOOD)
    with cluster_of(node, reconnection_policy=GivesUp()) as cluster:
        session = cluster.connect()
        node.stop()
        eventually(lambda: session.hosts[0].is_up is False)
        gevent.sleep(0.05)
        node.start()
        eventually(lambda: session.hosts[0].is_up)
        assert session.execute(TEXT).one().v == 1


@pytest.mark.logs(r"ZeroDivisionError .*Listener .* failed in on_(up|down)")
def test_a_listener_that_raises(node: FakeNode) -> None:
    class Listener:
        def on_down(self, host: Any) -> None:
            raise ZeroDivisionError("mine")

        on_up = on_down

    node.on(TEXT, GOOD)
    with cluster_of(node, reconnection_policy=SOON) as cluster:
        session = cluster.connect()
        cluster.register_listener(Listener())
        node.stop()
        eventually(lambda: session.hosts[0].is_up is False)
        node.start()
        eventually(lambda: session.hosts[0].is_up)
        assert session.execute(TEXT).one().v == 1


def test_a_server_that_hangs_up_after_each_handshake(node: FakeNode) -> None:
    """No storm: the pauses of the reconnection policy hold although each connection was opened."""
    with cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(0.05)) as cluster:
        session = cluster.connect()
        before = node.accepted
        ended = time.monotonic() + 0.5
        while time.monotonic() < ended:
            node.drop_connections()
            gevent.sleep(0.001)
        assert node.accepted - before <= 30
        eventually(lambda: pooled(session))


def test_two_of_three_nodes_go(node: FakeNode) -> None:
    with FakeCluster(3) as nodes:
        nodes.on(TEXT, GOOD)
        with cluster_of(nodes, load_balancing_policy=RoundRobinPolicy(), reconnection_policy=SOON) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            nodes[0].stop()
            nodes[1].stop()
            eventually(lambda: len(pooled(session)) == 1)
            eventually(lambda: sum(host.is_up is False for host in session.hosts) == 2)
            for _ in range(10):
                assert session.execute(TEXT).one().v == 1
            nodes[0].start()
            nodes[1].start()
            eventually(lambda: len(pooled(session)) == 3)


def test_contact_points_that_are_all_bad_are_all_named() -> None:
    with pytest.raises(NoHostAvailable) as raised:
        Cluster(["127.0.0.1", "127.0.0.2"], port=1).connect()
    assert len(raised.value.errors) == 2
    assert "127.0.0.1" in str(raised.value) and "127.0.0.2" in str(raised.value)


def test_arguments_that_are_refused() -> None:
    for options in (
        {"cloud": {"a": 1}},
        {"compression": "zip"},
        {"connect_timeout": 0},
        {"connections_per_host": 0},
        {"ssl_options": {"a": 1}},
        {"load_balancing_policy": RoundRobinPolicy(), "execution_profiles": {"a": geventcql.cluster.ExecutionProfile()}},
    ):
        with pytest.raises(ValueError):
            Cluster(**options)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Cluster(auth_provider=object())
    with pytest.raises(TypeError):
        Cluster(execution_profiles={"a": 1})  # type: ignore[dict-item]
