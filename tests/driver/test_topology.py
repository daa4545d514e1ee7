"""Nodes that come, go, move, fall silent and are lied about: what hosts there are, and who is told, each change once."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from geventcql.host import DefaultEndPoint
from geventcql.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    HostDistance,
    RoundRobinPolicy,
)
from tests.driver.hostlife import AT_ONCE, Told, addresses, answers, connected, control_node, other_node, reachable, settle
from tests.driver.support import BY_KEY, cluster_of, eventually, outcome, pooled, serve_keys
from tests.support import wire
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode, Message, Reply, Request
from tests.support.logs import UNREACHABLE
from tests.support.replies import Handler, Rows, status_change, topology_change

pytestmark = pytest.mark.logs(UNREACHABLE)


def test_the_hosts_that_are_found_are_told_as_added() -> None:
    told = Told()
    with FakeCluster(3) as nodes, cluster_of(nodes) as cluster:
        cluster.register_listener(told)
        cluster.connect()
        settle(lambda: sorted(told.news) == sorted(("add", node.host) for node in nodes))


@pytest.mark.parametrize("event", ["NEW_NODE", "UP"])
def test_a_node_joins(event: str) -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, told):
        node = nodes.add()
        push = status_change if event == "UP" else topology_change
        nodes.push(push(event, node.host, nodes.port))
        settle(lambda: reachable(session) == set(nodes.addresses))
        assert addresses(cluster) == set(nodes.addresses)
        assert told.news == [("add", node.host)]


def test_a_node_joins_and_cannot_be_reached() -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (_cluster, session, told):
        node = nodes.add()
        node.stop()
        nodes.push(topology_change("NEW_NODE", node.host, nodes.port))
        settle(lambda: told.news == [("add", node.host), ("down", node.host)])
        node.start()
        settle(lambda: told.news[2:] == [("up", node.host)])
        assert reachable(session) == set(nodes.addresses)


def test_a_node_is_removed() -> None:
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, told):
        gone = other_node(cluster, nodes)
        nodes.remove(gone)
        nodes.push(topology_change("REMOVED_NODE", gone.host, nodes.port))
        settle(lambda: addresses(cluster) == set(nodes.addresses))
        settle(lambda: told.news[-1] == ("remove", gone.host))
        assert told.news in ([("down", gone.host), ("remove", gone.host)], [("remove", gone.host)])
        answers(session, nodes)


def test_a_node_that_is_removed_and_shown_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its removal is told before the node that tells it has forgotten it."""
    monkeypatch.setattr("geventcql.control.CONFIRM_AFTER", 0.02)
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, _session, told):
        gone, control = other_node(cluster, nodes), cluster._control
        gone.stop()
        eventually(lambda: told.news == [("down", gone.host)])
        peers = control.peers

        def still_shown(connection: Any) -> Any:
            rows = peers(connection)
            if gone in nodes:
                nodes.remove(gone)
            return rows

        monkeypatch.setattr(control, "peers", still_shown)
        nodes.push(topology_change("REMOVED_NODE", gone.host, nodes.port))
        settle(lambda: told.news[1:] == [("remove", gone.host)])
        assert addresses(cluster) == set(nodes.addresses)
        settle(lambda: control.events.due is None)


def test_a_node_that_is_removed_finishes_what_it_has() -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, told):
        control = cluster.get_control_connection_host().address
        leaving = next(node for node in nodes if node.host != control)
        staying = next(node for node in nodes if node.host == control)
        leaving.on("SELECT slow", Rows([("v", "int")], [(1,)]).after(0.5))
        host = cluster.metadata.get_host(leaving.host)
        future = session.execute_async("SELECT slow", host=host)
        leaving.wait_for(lambda n: n.count("SELECT slow"))
        staying.system.peers = []
        nodes.push(topology_change("REMOVED_NODE", leaving.host, nodes.port))
        settle(lambda: told.news == [("remove", leaving.host)])
        assert not future.ready()
        assert future.result().one().v == 1
        eventually(lambda: not leaving.connections)


def test_a_node_that_leaves_and_comes_back() -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, told):
        control = cluster.get_control_connection_host().address
        node = next(node for node in nodes if node.host != control)
        staying = next(node for node in nodes if node.host == control)
        for _ in range(3):
            peers, staying.system.peers = staying.system.peers, []
            nodes.push(topology_change("REMOVED_NODE", node.host, nodes.port))
            eventually(lambda: addresses(cluster) == {control})
            staying.system.peers = peers
            nodes.push(topology_change("NEW_NODE", node.host, nodes.port))
            settle(lambda: reachable(session) == set(nodes.addresses))
        assert told.news == [("remove", node.host), ("add", node.host)] * 3
        answers(session, nodes)


PEERS = re.compile(r"FROM system\.peers")
PARTS_OF_PEERS = {
    "tokens": ["tokens"],
    "address": ["native_address", "peer"],
    "host_id": ["host_id"],
    "data_center": ["data_center"],
}
HALF_AN_ANSWER = {
    "connection cut": lambda opcode, body: Message(opcode, body).cut(40),
    "rows cut off": lambda opcode, body: Message(opcode, body[:-40]),
    "columns cut off": lambda opcode, body: Message(opcode, body).overwrite(8, wire.int_(1 << 20)),
    "nothing": lambda opcode, body: Message(opcode),
}
"""What becomes of an answer that is a RESULT of rows."""


def of_peers(node: FakeNode, change: Callable[[int, bytes], Reply]) -> Handler:
    """Answers to questions about peers that something becomes of."""

    def handler(request: Request, connection: Any) -> Reply:
        rows = node.system.answer(request.text or "", 5)
        assert rows is not None
        return change(*rows.message(request))

    return handler


@pytest.mark.parametrize("fault", ["empty", "one is missing", *HALF_AN_ANSWER, *(f"no {what}" for what in PARTS_OF_PEERS)])
@pytest.mark.logs(r"WARNING (the row of .* (gives no end point|is not complete)|the topology could not be read)")
def test_peers_that_are_not_told_are_not_forgotten(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventcql.control.CONFIRM_AFTER", 0.02)
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, told):
        for node in nodes:
            if fault == "empty":
                node.system.peers = []
            elif fault == "one is missing":
                node.system.peers = node.system.peers[:1]
            elif fault in HALF_AN_ANSWER:
                node.on(PEERS, of_peers(node, HALF_AN_ANSWER[fault]))
            else:
                node.system.local.overrides = dict.fromkeys(PARTS_OF_PEERS[fault.removeprefix("no ")])
        for _ in range(3):
            outcome(cluster.refresh_nodes)
        gevent.sleep(0.1)
        assert addresses(cluster) == set(nodes.addresses) == reachable(session)
        assert told.news == []


@pytest.mark.parametrize("when", ["at first", "again"])
def test_a_node_that_joins_while_the_peers_are_read(when: str) -> None:
    """Events are asked for before the peers: what that answer does not show yet is heard of (pitfall C4)."""
    gate = Event()
    with FakeCluster(1) as nodes, cluster_of(nodes, **AT_ONCE) as cluster:
        [control] = nodes
        if when == "again":
            cluster.connect(wait_for_all_pools=True)
        held = control.on(PEERS, of_peers(control, lambda opcode, body: Message(opcode, body).when(gate)), times=1)
        control.drop_connections()
        connecting = gevent.spawn(cluster.connect)
        control.wait_for(lambda _: held.hits)
        node = nodes.add()
        assert control.push(topology_change("NEW_NODE", node.host, nodes.port)) == 1  # to the connection that reads
        gate.set()
        session = connecting.get()
        settle(lambda: reachable(session) == set(nodes.addresses) == addresses(cluster))


def test_a_node_that_nobody_shows_and_nothing_is_connected_to_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventcql.control.CONFIRM_AFTER", 0.02)
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, _session, told):
        gone = nodes[2]
        nodes.remove(gone)  # no event tells of it
        eventually(lambda: cluster.get_control_connection_host() is not None)
        eventually(lambda: told.news == [("down", gone.host)])
        cluster.refresh_nodes()
        settle(lambda: told.news == [("down", gone.host), ("remove", gone.host)])
        assert addresses(cluster) == set(nodes.addresses)


def test_another_node_at_the_same_address() -> None:
    """A node is replaced by one that has its address and another id."""
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, told):
        before = {host.address: host for host in cluster.metadata.all_hosts()}
        node = other_node(cluster, nodes)
        node.stop()
        node.system.local.host_id = uuid.uuid4()
        node.start()
        nodes.push(status_change("UP", node.host, nodes.port))
        settle(lambda: cluster.metadata.get_host(node.host) is not before[node.host])
        settle(lambda: reachable(session) == set(nodes.addresses))
        assert len(cluster.metadata.all_hosts()) == 2
        assert [news for news in told.news if news[0] in ("add", "remove")] in (
            [("remove", node.host), ("add", node.host)],
            [("add", node.host), ("remove", node.host)],
        )
        answers(session, nodes)


def test_a_node_that_moves_to_the_address_of_one_that_has_left_unheard() -> None:
    """Connections to that address are to the one that is there now: they say nothing of the other."""
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, told):
        staying = control_node(cluster, nodes)
        gone, moving = [node for node in nodes if node is not staying]
        before = moving.host
        nodes.remove(gone)  # no event tells of it
        moving.stop()
        moving.host = moving.system.local.address = gone.host
        moving.start()
        nodes.push(status_change("UP", moving.host, nodes.port))
        settle(lambda: addresses(cluster) == reachable(session) == {staying.host, moving.host})
        settle(lambda: len(cluster.metadata.all_hosts()) == 2)
        settle(lambda: told.news.count(("remove", gone.host)) == told.news.count(("remove", before)) == 1)
        assert told.news.count(("add", moving.host)) == 1
        answers(session, nodes)


# -- addresses that change ------------------------------------------------------------------------------------------------


def test_nodes_that_move_one_by_one() -> None:
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, _told):
        ids = {host.host_id for host in cluster.metadata.all_hosts()}
        for node in nodes:
            nodes.move(node)
            nodes.push(status_change("UP", node.host, nodes.port))
            settle(lambda: reachable(session) == set(nodes.addresses))
        assert {host.host_id for host in cluster.metadata.all_hosts()} == ids
        answers(session, nodes)
        assert addresses(cluster) == set(nodes.addresses)


def test_all_nodes_move_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCluster(3) as nodes:
        serve_keys(nodes)

        def resolve(name: str, port: int) -> list[Any]:
            found = nodes.addresses if name == "cassandra.example" else [name]
            return [(socket.AF_INET, (address, port)) for address in found]

        monkeypatch.setattr("geventcql.control.resolve", resolve)
        with Cluster(["cassandra.example"], port=nodes.port, **AT_ONCE) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            ids = {host.host_id for host in cluster.metadata.all_hosts()}
            for _ in range(2):
                for node in nodes:
                    nodes.move(node)
                settle(lambda: reachable(session) == set(nodes.addresses))
                assert addresses(cluster) == set(nodes.addresses)
                assert {host.host_id for host in cluster.metadata.all_hosts()} == ids
                answers(session, nodes)


def test_two_nodes_that_exchange_their_addresses() -> None:
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, _told):
        control = cluster.get_control_connection_host().address
        one, other = [node for node in nodes if node.host != control]
        by_id = {one.system.local.host_id: other.host, other.system.local.host_id: one.host}
        one.stop()
        other.stop()
        one.host, other.host = other.host, one.host
        one.system.local.address, other.system.local.address = one.host, other.host
        one.start()
        other.start()
        cluster.refresh_nodes()
        settle(lambda: {h.host_id: h.address for h in cluster.metadata.all_hosts() if h.host_id in by_id} == by_id)
        settle(lambda: reachable(session) == set(nodes.addresses))
        answers(session, nodes)


# -- what is said of nodes that are well ------------------------------------------------------------------------------------


def test_a_node_that_is_said_to_be_down_and_is_not() -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, told):
        before = set(pooled(session))
        for node in nodes:
            nodes.push(status_change("DOWN", node.host, nodes.port))
        gevent.sleep(0.2)
        assert set(pooled(session)) == before
        assert told.news == [] and all(host.is_up for host in cluster.metadata.all_hosts())
        answers(session, nodes)


def test_one_connection_of_several_is_lost() -> None:
    with FakeCluster(2) as nodes, connected(nodes, connections_per_host=3) as (cluster, session, told):
        eventually(lambda: all(len(pool.connections) == 3 for pool in session.get_pools()))
        for pool in session.get_pools():
            pool.connections[0].defunct(ConnectionResetError("made up"))
        cluster._control.connection.defunct(ConnectionResetError("made up"))
        prepared = session.prepare(BY_KEY)
        for key in range(50):
            assert session.execute(prepared, (key,)).one().k == key
        settle(lambda: all(len(pool.connections) == 3 for pool in session.get_pools()) and cluster._control.connection)
        assert told.news == []


def test_a_silent_node_that_is_said_to_be_down_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventcql.net.heartbeat.SUSPECT_AFTER", 0.1)
    monkeypatch.setattr("geventcql.net.heartbeat.TICK", 0.05)
    with FakeCluster(3) as nodes, connected(nodes, connect_timeout=0.2) as (cluster, session, told):
        node = other_node(cluster, nodes)
        node.mute = True
        nodes.push(status_change("DOWN", node.host, nodes.port))
        settle(lambda: told.news == [("down", node.host)])
        node.mute = False
        settle(lambda: told.news[1:] == [("up", node.host)])
        assert reachable(session) == set(nodes.addresses)


def test_word_that_a_node_is_up_shortens_the_wait() -> None:
    late = ConstantReconnectionPolicy(60)
    with FakeCluster(2) as nodes, connected(nodes, reconnection_policy=late) as (cluster, _session, told):
        node = other_node(cluster, nodes)
        node.stop()
        settle(lambda: told.news == [("down", node.host)])
        node.start()
        gevent.sleep(0.05)
        assert told.news == [("down", node.host)]
        nodes.push(status_change("UP", node.host, nodes.port))
        settle(lambda: told.news == [("down", node.host), ("up", node.host)])


def test_events_of_a_kind_that_is_switched_off_are_not_asked_for() -> None:
    with FakeCluster(1) as nodes, connected(nodes, status_event_refresh_window=-1) as (_cluster, _session, _told):
        [kinds] = [connection.registered for connection in nodes[0].connections if connection.registered]
        assert set(kinds) == {"TOPOLOGY_CHANGE", "SCHEMA_CHANGE"}


# -- the control connection -------------------------------------------------------------------------------------------------


def test_the_control_connection_moves_on() -> None:
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, _told):
        for _ in range(3):
            nobody = (None, cluster.get_control_connection_host())
            node = next(n for n in nodes if n.host == nobody[1].address)
            node.stop()
            eventually(lambda nobody=nobody: cluster.get_control_connection_host() not in nobody)
            node.start()
            settle(lambda: reachable(session) == set(nodes.addresses))
        joined = nodes.add()
        nodes.push(topology_change("NEW_NODE", joined.host, nodes.port))
        settle(lambda: reachable(session) == set(nodes.addresses))


def test_what_changed_while_there_was_no_control_connection_is_found() -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, told):
        joined = nodes.add()  # nobody tells
        cluster._control.connection.defunct(ConnectionResetError("made up"))
        settle(lambda: reachable(session) == set(nodes.addresses))
        assert told.news == [("add", joined.host)]


def test_a_silent_control_connection_is_replaced_without_disturbing_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventcql.net.heartbeat.SUSPECT_AFTER", 0.1)
    monkeypatch.setattr("geventcql.net.heartbeat.TICK", 0.05)
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, _told):
        lost = cluster.get_control_connection_host()
        node = next(n for n in nodes if n.host == lost.address)
        node.mute = True
        prepared = session.prepare(BY_KEY)
        prepared.is_idempotent = True
        started = gevent.get_hub().loop.now()
        for key in range(30):
            session.execute(prepared, (key,))
        eventually(lambda: cluster.get_control_connection_host() not in (None, lost))
        assert gevent.get_hub().loop.now() - started < 5
        node.mute = False


# -- distances, data centres, profiles ----------------------------------------------------------------------------------------


def test_a_node_that_changes_its_data_centre() -> None:
    policy = DCAwareRoundRobinPolicy("dc1")
    with FakeCluster({"dc1": 1, "dc2": 1}) as nodes:
        profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(policy)}
        with cluster_of(nodes, execution_profiles=profiles, **AT_ONCE) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            assert reachable(session) == {nodes[0].host}
            nodes[1].system.local.data_center = "dc1"
            cluster.refresh_nodes()
            settle(lambda: reachable(session) == set(nodes.addresses))
            nodes[1].system.local.data_center = "dc2"
            cluster.refresh_nodes()
            settle(lambda: reachable(session) == {nodes[0].host})
            assert {host.address: policy.distance(host) for host in session.hosts} == {
                nodes[0].host: HostDistance.LOCAL,
                nodes[1].host: HostDistance.IGNORED,
            }


def test_remote_hosts_take_each_others_place() -> None:
    policy = DCAwareRoundRobinPolicy("dc1", used_hosts_per_remote_dc=1)
    with FakeCluster({"dc1": 1, "dc2": 2}) as nodes, cluster_of(nodes, load_balancing_policy=policy, **AT_ONCE) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        [remote] = eventually(lambda: reachable(session) - {nodes[0].host})
        used, spare = sorted(nodes.nodes[1:], key=lambda node: node.host != remote)
        used.stop()
        settle(lambda: reachable(session) == {nodes[0].host, spare.host})


def test_remote_hosts_that_are_not_to_be_connected_to() -> None:
    class Here(Cluster):
        connect_to_remote_hosts = False

    with FakeCluster({"dc1": 1, "dc2": 1}) as nodes:
        policy = DCAwareRoundRobinPolicy("dc1", used_hosts_per_remote_dc=1)
        with Here([nodes[0].host], nodes.port, load_balancing_policy=policy) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            assert reachable(session) == {nodes[0].host}


def test_the_state_of_a_host_that_nobody_uses_is_what_is_said_of_it() -> None:
    with FakeCluster({"dc1": 1, "dc2": 1}) as nodes:
        policy = DCAwareRoundRobinPolicy("dc1")
        with connected(nodes, load_balancing_policy=policy) as (cluster, _session, told):
            other = cluster.metadata.get_host(nodes[1].host)
            nodes.push(status_change("DOWN", nodes[1].host, nodes.port))
            settle(lambda: other.is_up is False)
            nodes.push(status_change("UP", nodes[1].host, nodes.port))
            settle(lambda: other.is_up)
            assert told.news == [("down", nodes[1].host), ("up", nodes[1].host)]


def lose_the_control_connection(cluster: Cluster, times: int = 3) -> None:
    for _ in range(times):
        before = cluster._control.connection
        before.defunct(ConnectionResetError("made up"))
        settle(lambda was=before: cluster._control.connection not in (None, was))


class OnlyUp(RoundRobinPolicy):
    """Leaves hosts out as long as they are down."""

    def distance(self, host: Any) -> int:
        return HostDistance.LOCAL if host in self._live_hosts else HostDistance.IGNORED


@pytest.mark.parametrize("policy", [OnlyUp(), DCAwareRoundRobinPolicy("dc1")], ids=["left out while down", "not used"])
def test_a_dead_host_without_pools_is_not_up_because_the_control_connection_is(policy: Any) -> None:
    with FakeCluster({"dc1": 1, "dc2": 1}) as nodes, connected(nodes, load_balancing_policy=policy) as (cluster, _, told):
        dead = nodes[1]
        dead.stop()
        nodes[0].push(status_change("DOWN", dead.host, nodes.port))
        settle(lambda: told.news == [("down", dead.host)])
        lose_the_control_connection(cluster)
        assert told.news == [("down", dead.host)]
        dead.start()
        settle(lambda: told.news[1:] == [("up", dead.host)])


def test_word_that_a_host_is_up_is_looked_into_where_we_have_found_it_down() -> None:
    with FakeCluster(2) as nodes, connected(nodes, load_balancing_policy=OnlyUp()) as (cluster, _session, told):
        dead = other_node(cluster, nodes)
        dead.stop()
        settle(lambda: told.news == [("down", dead.host)])
        nodes.push(status_change("UP", dead.host, nodes.port))
        settle(lambda: told.news == [("down", dead.host)])
        dead.start()
        settle(lambda: told.news[1:] == [("up", dead.host)])


def test_word_that_an_unused_host_is_up_counts_though_other_words_were_missed() -> None:
    """A host that cannot be reached from here, and need not: nobody uses it."""
    policy = DCAwareRoundRobinPolicy("dc1")
    with FakeCluster({"dc1": 1, "dc2": 1}) as nodes, connected(nodes, load_balancing_policy=policy) as (cluster, _, told):
        far = nodes[1]
        far.stop()
        nodes[0].push(status_change("DOWN", far.host, nodes.port))
        settle(lambda: told.news == [("down", far.host)])
        lose_the_control_connection(cluster, times=1)
        nodes[0].push(status_change("UP", far.host, nodes.port))
        settle(lambda: told.news[1:] == [("up", far.host)])


# -- listeners and policies that take their time ----------------------------------------------------------------------------


def test_a_listener_that_waits_and_executes_delays_no_reconnection() -> None:
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, _told):
        gate = gevent.event.Event()

        class Waits(Told):
            def on_down(self, host: Any) -> None:
                session.prepare(BY_KEY)
                gate.wait(10)
                super().on_down(host)

        slow = Waits()
        cluster.register_listener(slow)
        node = other_node(cluster, nodes)
        for _ in range(2):
            node.stop()
            eventually(lambda: not cluster.metadata.get_host(node.host).is_up)
            node.start()
            eventually(lambda: cluster.metadata.get_host(node.host).is_up)
        assert slow.news == []
        gate.set()
        settle(lambda: slow.news == [("down", node.host), ("up", node.host)] * 2)


def test_a_conviction_policy_that_never_convicts() -> None:
    class Lenient:
        def __init__(self, host: Any) -> None:
            self.failures = 0

        def add_failure(self, error: BaseException | None) -> bool:
            self.failures += 1
            return False

        def reset(self) -> None:
            pass

    with FakeCluster(2) as nodes, connected(nodes, conviction_policy_factory=Lenient) as (cluster, session, told):
        node = other_node(cluster, nodes)
        node.stop()
        host = cluster.metadata.get_host(node.host)
        eventually(lambda: host.conviction_policy.failures > 2)
        assert host.is_up and told.news == []
        prepared = session.prepare(BY_KEY)
        for key in range(20):
            assert session.execute(prepared, (key,)).one().k == key


def test_hosts_equal_by_identity_whatever_their_address() -> None:
    with FakeCluster(1) as nodes, connected(nodes, load_balancing_policy=RoundRobinPolicy()) as (cluster, _session, _told):
        [host] = cluster.metadata.all_hosts()
        kept = {host}
        endpoint = host.endpoint
        host.endpoint = DefaultEndPoint("127.9.9.9")
        assert host in kept and host == "127.9.9.9"
        host.endpoint = endpoint


def test_a_single_fake_node_moves(node: FakeNode) -> None:
    """What `refresh_nodes` sees is there when it returns."""
    with cluster_of(node, **AT_ONCE) as cluster:
        cluster.connect()
        node.system.local.release_version = "9.9.9"
        cluster.refresh_nodes()
        assert cluster.metadata.all_hosts()[0].release_version == "9.9.9"
        cluster.refresh_nodes(force_token_rebuild=True)


def test_what_nodes_of_datastax_enterprise_tell(node: FakeNode) -> None:
    columns = [("key", "text"), ("dse_version", "text"), ("workload", "text"), ("workloads", "set<text>")]
    row = Rows(columns, [("local", "6.8.1", "Search", {"Search", "Graph"})])
    node.on(lambda request: "system.local" in (request.text or ""), row)
    with cluster_of(node) as cluster:
        cluster.connect()
        (host,) = cluster.metadata.all_hosts()
        assert (host.dse_version, host.dse_workload, set(host.dse_workloads or ())) == ("6.8.1", "Search", {"Search", "Graph"})


def test_connect_tries_now_whatever_pause_it_is() -> None:
    late = ConstantReconnectionPolicy(60)
    with FakeCluster(1) as nodes, connected(nodes, reconnection_policy=late) as (cluster, session, told):
        nodes[0].stop()
        settle(lambda: told.news == [("down", nodes[0].host)])
        nodes[0].start()
        assert cluster.connect().execute(session.prepare(BY_KEY), (1,)).one().k == 1
        settle(lambda: told.news[1:] == [("up", nodes[0].host)])
        nodes[0].stop()
        settle(lambda: len(told.news) == 3)
        with pytest.raises(NoHostAvailable, match="refused"):
            cluster.connect()
