"""Policies that take their time to get to know the hosts, while these come and go and whoever asked for it is killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.exceptions import BlockingSwitchOutError

from geventcql.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile
from geventcql.errors import ConnectionShutdown, OperationTimedOut
from geventcql.policies import LoadBalancingPolicy, RoundRobinPolicy, WhiteListRoundRobinPolicy
from geventcql.session import Session
from tests.driver.hostlife import connected, other_node, reachable, settle
from tests.driver.support import cluster_of, eventually, in_hub, outcome, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import FakeNode, Rows
from tests.support.logs import UNREACHABLE
from tests.support.replies import topology_change

pytestmark = pytest.mark.logs(UNREACHABLE)

TEXT = "SELECT v FROM t"
ANSWER = Rows([("v", "int")], [(1,)])


class Slow(RoundRobinPolicy):
    """Is populated only when ``gate`` opens, and writes down what it hears, with the address at that time."""

    def __init__(self) -> None:
        self.gate = Event()
        self.populated = 0
        self.known: list[str] = []
        self.news: list[tuple[str, str]] = []
        self.too_early: list[str] = []
        self._is_ready = False

    def populate(self, cluster: Any, hosts: Any) -> None:
        self.populated += 1
        super().populate(cluster, hosts)
        self.known = sorted(host.address for host in hosts)
        self.gate.wait(10)
        self._is_ready = True

    def _hear(self, what: str, host: Any) -> None:
        self.news.append((what, host.address))
        if not self._is_ready:
            self.too_early.append(what)

    def distance(self, host: Any) -> int:
        if not self._is_ready:
            self.too_early.append("distance")
        return super().distance(host)

    def on_up(self, host: Any) -> None:
        self._hear("up", host)
        super().on_up(host)

    def on_down(self, host: Any) -> None:
        self._hear("down", host)
        super().on_down(host)

    def on_add(self, host: Any) -> None:
        self._hear("add", host)
        super().on_add(host)

    def on_remove(self, host: Any) -> None:
        self._hear("remove", host)
        super().on_remove(host)


def by_profile(session: Session, policy: LoadBalancingPolicy) -> Callable[[], Any]:
    """What makes the Session meet the policy: a request with a profile that nobody has added."""
    profile = ExecutionProfile(policy)
    return lambda: session.execute(TEXT, execution_profile=profile)


def added(session: Session, policy: LoadBalancingPolicy) -> Callable[[], Any]:
    """The same by a profile that is added."""

    def add() -> None:
        session.cluster.add_execution_profile("slow", ExecutionProfile(policy))

    return add


def replaced(session: Session, policy: LoadBalancingPolicy) -> Callable[[], Any]:
    """The same by a new policy of the default profile."""
    session.cluster.profile_manager.default.load_balancing_policy = policy
    return lambda: session.execute(TEXT)


MEETING = pytest.mark.parametrize("meet", [by_profile, added, replaced])


@MEETING
def test_hosts_that_come_and_go_while_a_policy_is_populated(meet: Callable[..., Any]) -> None:
    slow = Slow()
    with FakeCluster(3) as nodes, connected(nodes) as (cluster, session, told):
        nodes.on(TEXT, ANSWER)
        asking = gevent.spawn(meet(session, slow))
        eventually(lambda: slow.populated)
        before = sorted(nodes.addresses)
        joined = nodes.add()
        nodes.push(topology_change("NEW_NODE", joined.host, nodes.port))
        eventually(lambda: told.news == [("add", joined.host)])
        gone = other_node(cluster, nodes.nodes[:3])  # type: ignore[arg-type]
        gone.stop()
        eventually(lambda: told.news[1:] == [("down", gone.host)])
        nodes.remove(gone)
        nodes.push(topology_change("REMOVED_NODE", gone.host, nodes.port))
        eventually(lambda: told.news[2:] == [("remove", gone.host)])
        assert slow.news == [] == slow.too_early
        slow.gate.set()
        asking.get(timeout=5)
        assert slow.known == before and slow.populated == 1
        assert slow.news == told.news and not slow.too_early
        settle(lambda: {host.address for host in slow._live_hosts} == set(nodes.addresses) == reachable(session))
        # And it hears of what comes from then on.
        told.clear()
        slow.news.clear()
        joined.stop()
        settle(lambda: slow.news == told.news == [("down", joined.host)])


@MEETING
def test_whoever_asked_first_is_killed(meet: Callable[..., Any]) -> None:
    """What he began goes on for the others."""
    slow = Slow()
    with FakeCluster(2) as nodes, connected(nodes) as (_cluster, session, _told):
        nodes.on(TEXT, ANSWER)
        ask = meet(session, slow)
        first = gevent.spawn(ask)
        eventually(lambda: slow.populated)
        others = [gevent.spawn(by_profile(session, slow)) for _ in range(5)]
        gevent.sleep(0.01)
        first.kill()
        slow.gate.set()
        assert [other.get(timeout=5).one().v for other in others] == [1] * 5
        assert slow.populated == 1 and not slow.too_early


def test_a_host_that_has_been_found_and_not_been_told_of(node: FakeNode) -> None:
    """Its supervisor tells of it a moment later: the policy that is populated in between must not hear of it twice."""

    class Held(RoundRobinPolicy):
        """Holds up the telling of the others: it comes first."""

        gate = Event()

        def on_add(self, host: Any) -> None:
            super().on_add(host)
            self.gate.wait(10)

    held, late = Held(), Slow()
    late.gate.set()
    with FakeCluster(2) as nodes, connected(nodes, load_balancing_policy=held) as (cluster, session, _told):
        cluster._legacy = False  # profiles beside a policy of the Cluster's
        nodes.on(TEXT, ANSWER)
        joined = nodes.add()
        nodes.push(topology_change("NEW_NODE", joined.host, nodes.port))
        eventually(lambda: len(held._live_hosts) == 3)
        by_profile(session, late)()
        held.gate.set()
        settle(lambda: reachable(session) == set(nodes.addresses))
        heard = Counter([*late.known, *(address for what, address in late.news if what == "add")])
        assert heard == Counter(nodes.addresses)


def test_a_host_that_moves_while_a_policy_is_populated() -> None:
    """It is told as gone from where it was."""
    slow = Slow()
    with FakeCluster(2) as nodes, connected(nodes) as (cluster, session, told):
        nodes.on(TEXT, ANSWER)
        asking = gevent.spawn(by_profile(session, slow))
        eventually(lambda: slow.populated)
        moving = other_node(cluster, nodes)
        before, after = moving.host, nodes.move(moving)
        nodes.push(topology_change("NEW_NODE", after, nodes.port))
        eventually(lambda: ("add", after) in told.news)
        slow.gate.set()
        asking.get(timeout=5)
        assert ("remove", before) in slow.news and ("add", after) in slow.news
        settle(lambda: {host.address for host in slow._live_hosts} == set(nodes.addresses))


def test_hosts_that_come_and_go_while_the_cluster_connects() -> None:
    slow, other = Slow(), Slow()
    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(slow), "other": ExecutionProfile(other)}
    other.gate.set()
    windows: dict[str, Any] = {"topology_event_refresh_window": 0, "status_event_refresh_window": 0}
    with FakeCluster(3) as nodes, cluster_of(nodes, execution_profiles=profiles, **windows) as cluster:
        connecting = gevent.spawn(cluster.connect)
        eventually(lambda: slow.populated)
        gone, joined = other_node(cluster, nodes), nodes.add()
        nodes.remove(gone)
        nodes.push(topology_change("REMOVED_NODE", gone.host, nodes.port))
        eventually(lambda: {host.address for host in cluster.metadata.all_hosts()} == set(nodes.addresses))
        slow.gate.set()
        connecting.get(timeout=5)
        for policy in (slow, other):
            assert policy.populated == 1 and not policy.too_early
            assert {host.address for host in policy._live_hosts} == set(nodes.addresses)
        assert sorted(slow.news) == [("add", joined.host), ("remove", gone.host)]


def test_a_host_that_has_left_before_anybody_heard_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCluster(1) as nodes, connected(nodes) as (cluster, _session, told):
        host, _ = cluster.add_host("127.0.0.9")
        cluster.remove_host(host)
        settle(lambda: len(cluster._registry._living) == 1)
        assert told.news == []


def test_a_policy_that_does_not_come_to_an_end() -> None:
    """The request has its timeout; the next one finds the policy where it is."""
    slow = Slow()
    with FakeCluster(1) as nodes, connected(nodes) as (_cluster, session, _told):
        nodes.on(TEXT, ANSWER)
        profile = ExecutionProfile(slow, request_timeout=0.05)
        for _ in range(2):
            with pytest.raises(OperationTimedOut, match=r"populate\(\) of .* has not returned within 0.05 s"):
                session.execute(TEXT, execution_profile=profile)
        slow.gate.set()
        eventually(lambda: session.cluster._registry.introductions.knows(slow))
        assert session.execute(TEXT, execution_profile=profile).one().v == 1
        assert slow.populated == 1


def test_the_cluster_is_shut_down_while_a_policy_is_populated() -> None:
    slow = Slow()
    with FakeCluster(1) as nodes, connected(nodes) as (cluster, session, _told):
        asking = gevent.spawn(outcome, by_profile(session, slow))
        eventually(lambda: slow.populated)
        cluster.shutdown()
        assert isinstance(asking.get(timeout=5), ConnectionShutdown)


def test_a_policy_that_fails_is_populated_again_by_the_next_request(node: FakeNode) -> None:
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:  # cannot be made anew of its arguments
            super().__init__("mine")

    class Fails(RoundRobinPolicy):
        tries = 0

        def populate(self, cluster: Any, hosts: Any) -> None:
            self.tries += 1
            gevent.sleep(0.01)
            if self.tries == 1:
                raise Odd(1, 2)
            super().populate(cluster, hosts)

    node.on(TEXT, ANSWER)
    policy = Fails()
    with cluster_of(node) as cluster:
        session = cluster.connect()
        asking = [gevent.spawn(outcome, by_profile(session, policy)) for _ in range(3)]
        gevent.joinall(asking, timeout=5)
        assert [type(each.value) for each in asking] == [Odd] * 3 and policy.tries == 1
        assert by_profile(session, policy)().one().v == 1


def test_a_policy_is_met_in_the_hub(node: FakeNode) -> None:
    """It would have to be waited for."""
    errors: list[Any] = []
    with cluster_of(node) as cluster:
        session = cluster.connect()
        profile = ExecutionProfile(RoundRobinPolicy())
        in_hub(lambda: errors.append(outcome(lambda: session.execute_async(TEXT, execution_profile=profile))))
        [error] = errors
        assert isinstance(error, BlockingSwitchOutError)


def test_hosts_that_only_a_new_policy_uses_are_connected_to_before_it_is_asked_for_a_plan() -> None:
    with FakeCluster(2) as nodes:
        nodes.on(TEXT, ANSWER)
        default = ExecutionProfile(WhiteListRoundRobinPolicy([nodes[0].host]))
        with cluster_of(nodes, execution_profiles={EXEC_PROFILE_DEFAULT: default}) as cluster:
            session = cluster.connect()
            assert by_profile(session, WhiteListRoundRobinPolicy([nodes[1].host]))().one().v == 1
            assert nodes[1].count(TEXT) == 1 and len(pooled(session)) == 2
