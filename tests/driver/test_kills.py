"""Driver greenlets that are killed: what they were to do is done all the same, or ends with an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql import supervisor
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from geventcql.errors import DriverException
from geventcql.policies import DCAwareRoundRobinPolicy, LoadBalancingPolicy, RoundRobinPolicy, SimpleConvictionPolicy
from tests.driver.hostlife import AT_ONCE, connected, control_node, other_node, reachable, settle
from tests.driver.support import cluster_of, eventually, outcome, serve_keys
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode
from tests.support.logs import UNREACHABLE
from tests.support.replies import topology_change

pytestmark = pytest.mark.logs(UNREACHABLE)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.02)


@pytest.fixture
def nodes() -> Iterator[FakeCluster]:
    with FakeCluster(2) as started:
        yield started


def supervisor_of(cluster: Cluster, node: FakeNode) -> Any:
    [found] = [each for host, each in cluster._registry._supervisors.items() if host.address == node.host]
    return found


def planned(cluster: Cluster) -> set[str]:
    return {host.address for host in cluster.profile_manager.default.load_balancing_policy.make_query_plan()}


def killed_while_it_makes_tokens(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, node: FakeNode) -> Callable[[], None]:
    """Have the making of tokens wait; what kills the node's supervisor there."""
    topology, keeper = cluster._control.topology, supervisor_of(cluster, node)._reconciler
    rebuild, waiting = topology.rebuild_tokens, Event()

    def slow(*args: Any) -> None:
        if gevent.getcurrent() is keeper.greenlet and not waiting.is_set():
            waiting.set()
            gevent.sleep(10)
        rebuild(*args)

    monkeypatch.setattr(topology, "rebuild_tokens", slow)

    def kill() -> None:
        assert waiting.wait(5)
        gevent.kill(keeper.greenlet)

    return kill


@pytest.mark.logs(r"GreenletExit .* could not be looked after")
def test_while_a_host_is_found_in_another_rack(nodes: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(nodes) as (cluster, session, told):
        node = other_node(cluster, nodes)
        kill = killed_while_it_makes_tokens(monkeypatch, cluster, node)
        node.system.local.overrides = {"rack": "r2"}
        control_node(cluster, nodes).push(topology_change("NEW_NODE", node.host, node.port))
        kill()
        settle(lambda: planned(cluster) == reachable(session) == set(nodes.addresses))
        assert supervisor_of(cluster, node).host.rack == "r2" and told.news == []


@pytest.mark.logs(r"GreenletExit .* could not be looked after")
def test_while_a_host_is_found_elsewhere(nodes: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(nodes) as (cluster, session, told):
        node = other_node(cluster, nodes)
        was = node.host
        kill = killed_while_it_makes_tokens(monkeypatch, cluster, node)
        now = nodes.move(node)
        nodes._introduce()
        control_node(cluster, nodes).push(topology_change("NEW_NODE", now, node.port))
        kill()
        settle(lambda: planned(cluster) == reachable(session) == set(nodes.addresses))
        assert [news for news in told.news if news[0] in ("add", "remove")] == [("remove", was), ("add", now)]


@pytest.mark.logs(r"GreenletExit .* (could not be looked after|failed in on_down)")
def test_while_policies_are_told(nodes: FakeCluster) -> None:
    class Slow(RoundRobinPolicy):
        def on_down(self, host: Any) -> None:
            super().on_down(host)
            telling.set()
            gevent.sleep(0.1)

    telling = Event()
    with connected(nodes, load_balancing_policy=Slow()) as (cluster, session, told):
        node = other_node(cluster, nodes)
        node.stop()
        assert telling.wait(5)
        gevent.kill(supervisor_of(cluster, node)._reconciler.greenlet)
        settle(lambda: told.news == [("down", node.host)] and planned(cluster) == {control_node(cluster, nodes).host})
        node.start()
        settle(lambda: told.news[1:] == [("up", node.host)] and reachable(session) == set(nodes.addresses))


def test_an_attempt_before_it_begins(nodes: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []

    class Killed(supervisor.Attempt):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if not killed:
                killed.append(self._greenlet)
                self._greenlet.kill(block=False)

    with connected(nodes) as (cluster, session, _):
        monkeypatch.setattr(supervisor, "Attempt", Killed)
        other_node(cluster, nodes).drop_connections()
        eventually(lambda: killed)
        settle(lambda: reachable(session) == set(nodes.addresses))


def test_the_greenlet_that_tells_listeners_before_it_begins(nodes: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(nodes) as (cluster, _, told):
        begin = cluster._registry._begin_telling

        def begin_and_kill() -> None:
            before = set(cluster._greenlets)
            begin()
            monkeypatch.undo()
            [begun] = set(cluster._greenlets) - before
            begun.kill(block=False)

        monkeypatch.setattr(cluster._registry, "_begin_telling", begin_and_kill)
        node = other_node(cluster, nodes)
        node.stop()
        settle(lambda: told.news == [("down", node.host)])


def test_the_greenlet_that_connects(node: FakeNode) -> None:
    cluster = cluster_of(node, **AT_ONCE)
    connecting = gevent.spawn(outcome, cluster.connect)
    gevent.sleep(0)
    for greenlet in list(cluster._greenlets):
        greenlet.kill(block=False)
    assert isinstance(connecting.get(timeout=5), DriverException)
    assert cluster.connect()  # it may be tried again
    cluster.shutdown()


@pytest.mark.parametrize("when", ["a host is made", "a policy is populated"])
def test_a_shutdown_in_the_turn_in_which_it_goes_on(node: FakeNode, when: str) -> None:
    """Whoever waits for the same goes first, and closes everything."""
    reached = Event()

    class Convicts(SimpleConvictionPolicy):
        def __init__(self, host: Any) -> None:
            super().__init__(host)
            if when == "a host is made":
                reached.set()

    class Populated(RoundRobinPolicy):
        def populate(self, *args: Any) -> None:
            super().populate(*args)
            if when == "a policy is populated":
                reached.set()

    options = {"load_balancing_policy": Populated(), "conviction_policy_factory": Convicts, "token_metadata_enabled": False}
    cluster = cluster_of(node, **AT_ONCE, **options)
    connecting = gevent.spawn(outcome, cluster.connect)
    assert reached.wait(5)
    cluster.shutdown(0)
    assert isinstance(connecting.get(timeout=5), DriverException)
    eventually(lambda: not node.connections)
    assert cluster._heartbeat._timer is None and not cluster._registry._living


@dataclass
class Plain(RoundRobinPolicy):
    """Equal to others of its name, and without a hash."""

    name: str = "x"


def test_policies_that_are_equal_to_one_another(node: FakeNode) -> None:
    serve_keys(node)
    profiles: dict[Any, ExecutionProfile] = {
        EXEC_PROFILE_DEFAULT: ExecutionProfile(Plain()), "other": ExecutionProfile(Plain())
    }  # fmt: skip
    with cluster_of(node, execution_profiles=profiles) as cluster:
        session = cluster.connect()
        for name in profiles:
            assert session.execute("INSERT", execution_profile=name).one() is None


def test_a_policy_that_sets_what_it_is_set_to(node: FakeNode) -> None:
    class Dynamic(DCAwareRoundRobinPolicy):
        asked = 0

        def distance(self, host: Any) -> int:
            self.local_dc = "dc1"
            self.asked += 1
            return super().distance(host)

    policy: Any = Dynamic("dc1")
    assert isinstance(policy, LoadBalancingPolicy)
    with cluster_of(node, load_balancing_policy=policy) as cluster:
        cluster.connect()
        gevent.sleep(0.05)
        before = policy.asked
        gevent.sleep(0.2)
        assert policy.asked - before < 10
