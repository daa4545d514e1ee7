"""What could lose a host or the control connection, keep somebody waiting, or tell what is not so."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.exceptions import BlockingSwitchOutError

from geventcql.cluster import Cluster
from geventcql.errors import ConnectionShutdown
from geventcql.host import Host
from geventcql.net.pool import HostPool
from geventcql.policies import (
    AddressTranslator,
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    HostDistance,
    ReconnectionPolicy,
    RoundRobinPolicy,
    SimpleConvictionPolicy,
)
from tests.driver.hostlife import AT_ONCE, Told, connected, control_node, other_node, reachable, settle
from tests.driver.support import BY_KEY, cluster_of, eventually, have_keyspaces, outcome, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Ready, Rows
from tests.support.logs import UNREACHABLE
from tests.support.replies import schema_event, topology_change

pytestmark = pytest.mark.logs(UNREACHABLE)

CUT = OSError("made up")


def defunct_after(monkeypatch: pytest.MonkeyPatch, address: str, seconds: float) -> None:
    """The peer at ``address`` takes connections to pools and closes each after ``seconds``."""
    add = HostPool.add

    def add_for_a_while(pool: HostPool, connection: Any) -> None:
        add(pool, connection)
        if pool.host.address == address:
            gevent.spawn_later(seconds, connection.defunct, CUT)

    monkeypatch.setattr(HostPool, "add", add_for_a_while)


# -- the control connection --------------------------------------------------------------------------------------------


def test_a_silent_control_connection_that_nothing_can_replace_costs_nothing(node: FakeNode) -> None:
    with cluster_of(node, idle_heartbeat_interval=1, **AT_ONCE) as cluster:
        cluster.connect()
        rounds = [0]
        look_after = cluster._control._look_after

        def count() -> Any:
            rounds[0] += 1
            return look_after()

        cluster._control._look_after = count  # type: ignore[method-assign]
        node.mute = True
        eventually(lambda: cluster._control.connection.suspect, 10)
        rounds[0] = 0
        gevent.sleep(0.5)
        assert rounds[0] < 10


def test_whoever_asks_while_a_lost_connection_is_being_replaced_is_answered() -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, _session, _told):
        control, old, other = cluster._control, control_node(cluster, nodes), other_node(cluster, nodes)
        other.on(Opcode.REGISTER, Ready().after(0.3))
        control.connection.suspect = True
        control.reconsider()
        other.wait_for(lambda n: n.count(Opcode.REGISTER))
        old.drop_connections()
        eventually(lambda: control.connection is None)
        gevent.spawn(cluster.refresh_nodes).get(timeout=5)


@pytest.mark.logs("WARNING the keyspaces could not be read")
def test_the_control_greenlet_does_not_wait_for_itself() -> None:
    class Hooked(logging.Handler):
        """A log call that switches, while which the connection is lost."""

        lost: Any = None

        def emit(self, record: logging.LogRecord) -> None:
            if self.lost is not None and "event:" in record.getMessage():
                lost, self.lost = self.lost, None
                gevent.sleep(0.05)
                lost.defunct(CUT)

    handler, logger = Hooked(), logging.getLogger("geventcql.events")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with FakeCluster(2) as nodes, connected(nodes) as (cluster, _session, _told):
            handler.lost = lost = cluster._control.connection
            nodes.push(schema_event("CREATED", "KEYSPACE", "x"))
            eventually(lambda: cluster._control.connection not in (None, lost))
            gevent.spawn(cluster.refresh_nodes).get(timeout=5)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_a_refresh_that_the_control_greenlet_would_wait_for_itself() -> None:
    class Refreshing(AddressTranslator):
        """Wants another reading while it is asked in one."""

        def translate(self, addr: str) -> str:
            if cluster.metadata.all_hosts():
                with gevent.Timeout(2):
                    found.append(outcome(cluster.refresh_nodes))
            return addr

    found: list[Any] = []
    with FakeCluster(2) as nodes, cluster_of(nodes, address_translator=Refreshing(), **AT_ONCE) as cluster:
        cluster.connect()
        gevent.spawn(cluster.refresh_nodes).get(timeout=10)
        assert found and all(isinstance(error, BlockingSwitchOutError) for error in found)


def test_a_refresh_that_the_shutdown_cuts_short_ends() -> None:
    class Slow(AddressTranslator):
        pause = 0.0

        def translate(self, addr: str) -> str:
            gevent.sleep(self.pause)
            return addr

    slow = Slow()
    with FakeCluster(2) as nodes:
        cluster = cluster_of(nodes, address_translator=slow, **AT_ONCE)
        cluster.connect()
        slow.pause = 30
        refreshing = gevent.spawn(outcome, cluster.refresh_nodes)
        gevent.sleep(0.05)
        cluster.shutdown()
        assert isinstance(refreshing.get(timeout=5), ConnectionShutdown)


def test_names_that_are_not_resolved_or_are_none(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, hub_errors: list[Any]
) -> None:
    found = socket.getaddrinfo

    def look_up(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "hangs.example":
            gevent.sleep(1000)
        return found(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for name in ("hangs.example", "no..name"):
        with Cluster([name, node.host], port=node.port, connect_timeout=0.3) as cluster, gevent.Timeout(5):
            cluster.connect()
    gevent.get_hub().threadpool.kill()
    assert {error.type for error in hub_errors} <= {UnicodeError}  # gevent reports what its threads raise, too
    hub_errors.clear()


def test_answers_to_prepare_do_not_outlive_a_time_without_events() -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, _told):
        assert session.prepare(BY_KEY).bind_columns[0].type.name == "int"
        lost = cluster._control.connection
        nodes.prepare(BY_KEY, [("k", "bigint")], [("k", "bigint")], [0])
        lost.defunct(CUT)
        eventually(lambda: cluster._control.connection not in (None, lost))
        assert session.prepare(BY_KEY).bind_columns[0].type.name == "bigint"


def test_each_node_is_asked_for_the_peers_as_it_knows_them() -> None:
    with FakeCluster(2) as nodes:
        nodes[0].system.with_peers_v2 = False
        with cluster_of(nodes[0], **AT_ONCE) as cluster:
            cluster.connect(wait_for_all_pools=True)
            nodes[0].stop()
            eventually(lambda: cluster.get_control_connection_host() == nodes[1].host)
            assert any("peers_v2" in (request.text or "") for request in nodes[1].requests)


# -- hosts that must not be lost ---------------------------------------------------------------------------------------


def test_a_remote_host_that_its_policy_leaves_out_while_it_is_down_comes_back() -> None:
    policy = DCAwareRoundRobinPolicy("dc1", used_hosts_per_remote_dc=1)
    with FakeCluster({"dc1": 1, "dc2": 1}) as nodes, connected(nodes, load_balancing_policy=policy) as (_, session, told):
        remote = nodes[1]
        remote.stop()
        settle(lambda: told.news == [("down", remote.host)])
        remote.start()
        settle(lambda: told.news[1:] == [("up", remote.host)])
        settle(lambda: reachable(session) == set(nodes.addresses))


def test_the_last_connection_is_replaced_at_once_whatever_became_of_the_others(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geventcql.reconnecting.STABLE", 0.0)
    late = {**AT_ONCE, "reconnection_policy": ConstantReconnectionPolicy(600)}
    with cluster_of(node, connections_per_host=2, **late) as cluster:
        session = cluster.connect()
        eventually(lambda: len(pooled(session)) == 2)
        supervisor = next(iter(cluster._registry._supervisors.values()))
        node.refuse()
        pooled(session)[0].defunct(CUT)
        eventually(lambda: supervisor.due() is not None and supervisor.due() > time.monotonic() + 60)
        node.listen()
        pooled(session)[0].defunct(CUT)
        eventually(lambda: pooled(session))


def test_a_host_that_drops_what_it_takes_is_left_alone_and_can_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    late = ConstantReconnectionPolicy(60)
    with (
        FakeCluster(2) as nodes,
        connected(nodes, connections_per_host=4, reconnection_policy=late) as (cluster, _session, told),
    ):
        bad, staying = other_node(cluster, nodes), control_node(cluster, nodes)
        bad.on(Opcode.STARTUP, Ready().after(0.02))
        defunct_after(monkeypatch, bad.host, 0.01)
        before = bad.accepted
        bad.drop_connections()
        gevent.sleep(1)
        assert bad.accepted - before < 10
        staying.system.peers = []
        nodes.push(topology_change("REMOVED_NODE", bad.host, nodes.port))
        settle(lambda: told.news[-1:] == [("remove", bad.host)])


def test_a_host_that_loses_its_last_connection_while_it_is_left_alone_is_down() -> None:
    """It drops each connection after it has taken the next one, so there was one when it came to be left alone."""
    late = ConstantReconnectionPolicy(600)
    with (
        FakeCluster(2) as nodes,
        connected(nodes, connections_per_host=4, reconnection_policy=late) as (cluster, session, told),
    ):
        bad, staying = other_node(cluster, nodes), control_node(cluster, nodes)

        def take_and_drop(request: Any, connection: Any) -> Any:
            gevent.spawn_later(0.07, connection.close)
            return Ready().after(0.05)

        bad.on(Opcode.STARTUP, take_and_drop)
        bad.drop_connections()
        settle(lambda: told.news == [("down", bad.host)])
        assert reachable(session) == {staying.host}


def test_connections_that_are_lost_together_are_one_loss(node: FakeNode) -> None:
    """The host takes the next ones and keeps them: nothing says that it drops what it takes."""
    late = {**AT_ONCE, "reconnection_policy": ConstantReconnectionPolicy(600)}
    with cluster_of(node, connections_per_host=4, **late) as cluster:
        session = cluster.connect()
        eventually(lambda: len(pooled(session)) == 4)
        for connection in pooled(session):
            connection.defunct(CUT)
        eventually(lambda: len(pooled(session)) == 4)


@pytest.mark.parametrize("pause", [float("inf"), float("nan"), 1e12])
def test_pauses_that_are_no_pauses(node: FakeNode, pause: float) -> None:
    class Odd(ReconnectionPolicy):
        def new_schedule(self) -> Iterable[float]:
            return [pause]

    with cluster_of(node, **{**AT_ONCE, "reconnection_policy": Odd()}) as cluster:
        session = cluster.connect()
        supervisor = next(iter(cluster._registry._supervisors.values()))
        node.stop()
        eventually(lambda: not session.hosts[0].is_up)
        assert supervisor.due() < time.monotonic() + 3601


def test_what_brings_the_control_connection_back_brings_the_pools_back_and_the_other_way_round() -> None:
    class SlowOnce(ReconnectionPolicy):
        """The ``slow``-th schedule has a pause that is too long to wait for."""

        def __init__(self, slow: int) -> None:
            self.slow, self.made = slow, 0

        def new_schedule(self) -> Iterable[float]:
            self.made += 1
            return [600.0] if self.made == self.slow else [0.05]

    for slow in (1, 2):
        policy = SlowOnce(slow)
        with FakeNode() as node, cluster_of(node, **{**AT_ONCE, "reconnection_policy": policy}) as cluster:
            session = cluster.connect()
            node.stop()
            eventually(lambda policy=policy: policy.made >= 2)  # type: ignore[misc]
            node.start()
            eventually(lambda cluster=cluster, session=session: cluster._control.connection and pooled(session))  # type: ignore[misc]


# -- application code that raises or switches --------------------------------------------------------------------------


@pytest.mark.logs(r"KeyError .* failed to say how near")
def test_a_policy_that_raises_for_one_host_is_a_policy_that_does_not_use_it(caplog: pytest.LogCaptureFixture) -> None:
    class Puzzled(RoundRobinPolicy):
        at: str | None = None

        def distance(self, host: Any) -> int:
            if host.address == self.at:
                raise KeyError(host.rack)
            return HostDistance.LOCAL

    policy = Puzzled()
    with FakeCluster(3) as nodes, connected(nodes, load_balancing_policy=policy) as (cluster, session, _told):
        lost = cluster._control.connection
        policy.at = other_node(cluster, nodes).host
        lost.defunct(CUT)
        eventually(lambda: cluster._control.connection not in (None, lost))
        cluster.connect()
        settle(lambda: reachable(session) == set(nodes.addresses) - {policy.at})
    assert caplog.text.count("failed to say how near") == 1


@pytest.mark.parametrize("version", [4, 5])
def test_a_policy_that_switches_when_it_is_asked(version: int) -> None:
    class Switching(RoundRobinPolicy):
        def distance(self, host: Any) -> int:
            gevent.sleep(0.01)
            return HostDistance.LOCAL

    with FakeCluster(1) as nodes:
        have_keyspaces(nodes[0], "ks")
        with cluster_of(nodes, load_balancing_policy=Switching(), protocol_version=version, **AT_ONCE) as cluster:
            sessions = [cluster.connect() for _ in range(2)]
            entering = [gevent.spawn(session.set_keyspace, "ks") for session in sessions]
            gevent.joinall(entering, timeout=5, raise_error=True)
            assert all(greenlet.successful() for greenlet in entering)
            # Whoever asked for the same pool got the same one: no connection is in one that nobody knows.
            eventually(lambda: len(nodes[0].connections) == len(pooled(sessions[0])) + 1)


@pytest.mark.logs(r"ValueError <Host: .*> failed in set_up\(\)$")
def test_a_conviction_policy_that_raises(node: FakeNode) -> None:
    class Odd(SimpleConvictionPolicy):
        def reset(self) -> None:
            raise ValueError("mine")

    with cluster_of(node, conviction_policy_factory=Odd, **AT_ONCE) as cluster, gevent.Timeout(5):
        assert pooled(cluster.connect())


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_host_that_does_not_know_a_keyspace_yet_is_not_down() -> None:
    with FakeCluster(1) as nodes:
        have_keyspaces(nodes[0], "ks")
        told = Told()
        with cluster_of(nodes, protocol_version=4, **AT_ONCE) as cluster:
            cluster.register_listener(told)
            session = cluster.connect("ks")
            joined = nodes.add()
            refusing = joined.on(re.compile("^USE"), Error(ErrorCode.INVALID))
            settle(lambda: len(told.news) == 1)
            told.clear()
            nodes.push(topology_change("NEW_NODE", joined.host, nodes.port))
            joined.wait_for(lambda n: refusing.hits > 1)
            assert told.news == [("add", joined.host)]
            refusing.remove()
            eventually(lambda: {c.keyspace for c in pooled(session) if c.endpoint.address == joined.host} == {None, "ks"})
            assert told.news == [("add", joined.host)]


def test_a_node_that_takes_the_address_of_another_comes_behind_its_end() -> None:
    with FakeCluster(2) as nodes, connected(nodes, connect_timeout=2) as (cluster, _session, told):
        node = other_node(cluster, nodes)
        node.mute = True  # its supervisor will be in a handshake that nobody answers
        node.drop_connections()
        node.wait_for(lambda n: n.connections)
        node.system.local.host_id = uuid.uuid4()
        node.mute = False
        told.clear()
        nodes.push(topology_change("NEW_NODE", node.host, nodes.port))
        settle(lambda: told.news == [("remove", node.host), ("add", node.host)])


def test_a_host_that_is_removed_while_it_is_being_connected_to_is_removed_at_once() -> None:
    with FakeCluster(2) as nodes, connected(nodes, connect_timeout=60) as (cluster, _session, told):
        node, staying = other_node(cluster, nodes), control_node(cluster, nodes)
        node.mute = True
        node.drop_connections()
        node.wait_for(lambda n: n.connections)
        peers, staying.system.peers = staying.system.peers, []
        nodes.push(topology_change("REMOVED_NODE", node.host, nodes.port))
        settle(lambda: told.news == [("remove", node.host)])
        staying.system.peers = peers
        nodes.push(topology_change("NEW_NODE", node.host, nodes.port))
        settle(lambda: told.news[1:] == [("add", node.host)])
        cluster.shutdown()  # while the second supervisor connects
        eventually(lambda: not node.connections)


def test_a_host_that_is_removed_while_many_pools_of_it_are_empty_is_removed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below v5 each keyspace has one, and none of them can be filled."""
    monkeypatch.setattr("geventcql.reconnecting.STABLE", 0.0)
    with FakeCluster(2) as nodes:
        for node in nodes:
            have_keyspaces(node, *"abcde")
        with connected(nodes, protocol_version=4, connect_timeout=60) as (cluster, _session, told):
            for keyspace in "abcde":
                cluster.connect(keyspace, wait_for_all_pools=True)
            silent, staying = other_node(cluster, nodes), control_node(cluster, nodes)
            silent.mute = True
            silent.drop_connections()
            silent.wait_for(lambda n: n.connections)
            staying.system.peers = []
            nodes.push(topology_change("REMOVED_NODE", silent.host, nodes.port))
            settle(lambda: told.news == [("remove", silent.host)])
            eventually(lambda: not silent.connections)


def test_a_host_that_leaves_while_a_policy_is_populated() -> None:
    gate = gevent.event.Event()

    class Waits(RoundRobinPolicy):
        def populate(self, cluster: Any, hosts: Any) -> None:
            super().populate(cluster, hosts)
            gate.wait(10)

    policy = Waits()
    with FakeCluster(3) as nodes, cluster_of(nodes, load_balancing_policy=policy, **AT_ONCE) as cluster:
        connecting = gevent.spawn(cluster.connect)
        eventually(lambda: policy._live_hosts)
        gone = other_node(cluster, nodes)
        nodes.remove(gone)
        nodes.push(topology_change("REMOVED_NODE", gone.host, nodes.port))
        eventually(lambda: len(cluster.metadata.all_hosts()) == 2)
        gate.set()
        session = connecting.get(timeout=5)
        assert session is not None
        settle(lambda: {host.address for host in policy._live_hosts} == set(nodes.addresses))


class Odd(RoundRobinPolicy):
    """Does as it is told when it hears of a host that is down."""

    def __init__(self, on_down: Callable[[], Any]) -> None:
        self._on_down = on_down

    def on_down(self, host: Any) -> None:
        super().on_down(host)
        self._on_down()


def leave_once() -> Callable[[], Any]:
    """What ends the greenlet that calls it, once."""
    left: list[bool] = []

    def leave() -> None:
        if not left:
            left.append(True)
            raise gevent.GreenletExit

    return leave


@pytest.mark.logs(r"GreenletExit .* (could not be looked after|failed in on_(up|down|add|remove))")
def test_policies_translators_and_listeners_that_end_the_greenlet_that_asks_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.02)
    leave = [lambda: None, leave_once(), leave_once()]

    class Leaves(AddressTranslator):
        def translate(self, addr: str) -> str:
            leave[0]()
            return addr

    class LeavesToo(Told):
        def on_down(self, host: Any) -> None:
            leave[2]()

    options = {"load_balancing_policy": Odd(leave[1]), "address_translator": Leaves()}
    with FakeCluster(2) as nodes, connected(nodes, **options) as (cluster, session, told):
        first, last = LeavesToo(), Told()
        cluster.unregister_listener(told)
        for listener in (first, told, last):
            cluster.register_listener(listener)
        leave[0] = leave_once()
        refreshing = gevent.spawn(outcome, cluster.refresh_nodes)
        assert isinstance(refreshing.get(timeout=5), ConnectionShutdown)
        cluster.refresh_nodes()
        node = other_node(cluster, nodes)
        node.stop()
        settle(lambda: last.news == told.news == [("down", node.host)])
        node.start()
        settle(lambda: reachable(session) == set(nodes.addresses))
        settle(lambda: last.news == told.news == [("down", node.host), ("up", node.host)])
    assert caplog.text.count("could not be looked after") == 2  # the control connection, and a supervisor
    assert caplog.text.count("failed in on_down") == 2


@pytest.mark.logs("WARNING the topology could not be read")
def test_a_policy_that_shuts_the_cluster_down() -> None:
    class Ends(RoundRobinPolicy):
        def on_add(self, host: Any) -> None:
            cluster.shutdown()

    with FakeCluster(1) as nodes, connected(nodes, load_balancing_policy=Ends()) as (cluster, _session, _told):
        node = nodes.add()
        nodes.push(topology_change("NEW_NODE", node.host, nodes.port))
        eventually(lambda: cluster.is_shutdown)
        gevent.sleep(0.05)
        assert node.accepted == 0


@pytest.mark.logs("WARNING the topology could not be read")
def test_a_host_that_leaves_while_a_policy_is_asked_how_near_it_is() -> None:
    class Slow(RoundRobinPolicy):
        gate = gevent.event.Event()

        def distance(self, host: Any) -> int:
            self.gate.wait(10)
            return HostDistance.LOCAL

    policy = Slow()
    policy.gate.set()
    with FakeCluster(2) as nodes, connected(nodes, load_balancing_policy=policy) as (cluster, _session, told):
        policy.gate.clear()
        connecting = gevent.spawn(cluster.connect, wait_for_all_pools=True)
        gevent.sleep(0.02)
        node, staying = other_node(cluster, nodes), control_node(cluster, nodes)
        staying.system.peers = []
        nodes.push(topology_change("REMOVED_NODE", node.host, nodes.port))
        eventually(lambda: told.news == [("remove", node.host)])
        policy.gate.set()
        assert connecting.get(timeout=5)


def test_a_node_that_comes_back_at_the_address_of_another_comes_behind_both_ends() -> None:
    """Its own, and the other's; a policy takes its time with either."""
    for slow_one in (0, 1):
        gate, order = gevent.event.Event(), []

        class Slow(RoundRobinPolicy):
            def on_remove(self, host: Any) -> None:
                if host == ids[slow_one]:  # noqa: B023
                    gate.wait(10)  # noqa: B023
                order.append(("remove", host.host_id))  # noqa: B023

            def on_add(self, host: Any) -> None:
                order.append(("add", host.host_id))  # noqa: B023

        with FakeCluster(1) as nodes, connected(nodes, load_balancing_policy=Slow()) as (cluster, _session, _told):
            registry = cluster._registry
            ids = [
                Host(f"127.0.0.{n}", SimpleConvictionPolicy, "dc1", "r", uuid.uuid4()) for n in (1, 2)
            ]
            for host in ids:
                registry.add(host)
            eventually(lambda: len(order) == 2)  # noqa: B023
            order.clear()
            registry.remove(ids[0])
            registry.add(Host("127.0.0.2", SimpleConvictionPolicy, "dc1", "r", ids[0].host_id), instead_of=ids[1])
            gevent.sleep(0.02)
            assert ("add", ids[0].host_id) not in order
            gate.set()
            eventually(lambda: len(order) == 3)  # noqa: B023
            assert order[-1] == ("add", ids[0].host_id)


# -- schema agreement --------------------------------------------------------------------------------------------------


def test_agreement_with_a_node_that_has_no_version_yet() -> None:
    with FakeCluster(2) as nodes, connected(nodes, max_schema_agreement_wait=10) as (cluster, session, _told):
        other_node(cluster, nodes).system.local.overrides = {"schema_version": None}
        started = time.monotonic()
        future = session.execute_async("CREATE TABLE ks.t (k int PRIMARY KEY)", host=cluster.get_control_connection_host())
        future.result()
        assert future.is_schema_agreed and time.monotonic() - started < 5


def test_agreement_is_looked_at_again_when_a_look_takes_too_long() -> None:
    options = {"max_schema_agreement_wait": 10, "control_connection_timeout": 0.2}
    with FakeCluster(2) as nodes, connected(nodes, **options) as (_cluster, session, _told):
        slow = [1]
        version = nodes[0].system.local.schema_version

        def answer(request: Any, connection: Any) -> Any:
            return Rows([("schema_version", "uuid")], [(version,)]).after(1.0 if slow and slow.pop() else 0)

        nodes.on(re.compile("SELECT schema_version"), answer)
        future = session.execute_async("CREATE TABLE ks.t (k int PRIMARY KEY)")
        future.result()
        assert future.is_schema_agreed and not slow


@pytest.mark.logs(r"GreenletExit the control connection could not be looked after")
@pytest.mark.parametrize("what", ["topology", "keyspaces"])
def test_what_the_control_greenlet_was_reading_when_it_was_killed_is_read_again(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.02)
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, _session, _told):
        control = cluster._control
        asking = gevent.event.Event()

        def never(*args: Any) -> Any:
            asking.set()
            gevent.sleep(30)

        monkeypatch.setattr(control, "query_on", never)
        joined = nodes.add() if what == "topology" else None
        for node in nodes:
            have_keyspaces(node, "new")
        event = schema_event("CREATED", "KEYSPACE", "new")
        nodes.push(event if joined is None else topology_change("NEW_NODE", joined.host, nodes.port))
        assert asking.wait(5)
        monkeypatch.undo()
        monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.02)
        gevent.kill(control._reconciler.greenlet)
        settle(lambda: "new" in cluster.metadata.keyspaces.known)
        assert len(cluster.metadata.all_hosts()) == len(nodes)


@pytest.mark.logs(r"GreenletExit .* could not be looked after")
def test_the_killed_greenlets_of_a_cluster_are_followed_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends all greenlets that there are does not wait for ever, and what lives on is looked after."""
    monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.02)
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, told):
        for _ in range(2):
            node = other_node(cluster, nodes)
            keepers = [supervisor._reconciler for supervisor in cluster._registry._supervisors.values()]
            keepers.append(cluster._control._reconciler)
            with gevent.Timeout(5):
                gevent.killall([keeper.greenlet for keeper in keepers])
            told.news.clear()
            node.stop()
            settle(lambda at=node.host: told.news == [("down", at)])
            node.start()
            settle(lambda at=node.host: told.news[1:] == [("up", at)])
            control_node(cluster, nodes).drop_connections()
            gevent.sleep(0.05)
            settle(lambda: cluster._control.connection and reachable(session) == set(nodes.addresses))
            cluster._registry.check_invariants()
