"""Supervisors: one connection of several that breaks, hosts that drop what they accept, pools that cannot be filled, and
application code that raises there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import gevent
import pytest

from geventcql.auth import PlainTextAuthProvider
from geventcql.errors import ConnectionException, ConnectionShutdown, NoHostAvailable
from geventcql.policies import ConstantReconnectionPolicy, HostStateListener, ReconnectionPolicy
from tests.driver.hostlife import Told
from tests.driver.support import BY_KEY, cluster_of, eventually, have_keyspaces, pooled, serve_keys
from tests.support.fakenode import NEVER, Close, Error, ErrorCode, FakeNode, Opcode, Ready, ServerConnection
from tests.support.logs import UNREACHABLE
from tests.support.tls import Tls

pytestmark = pytest.mark.logs(UNREACHABLE)

SOON = ConstantReconnectionPolicy(0.02)
LATE = ConstantReconnectionPolicy(30)


def run_out_of_time() -> None:
    with gevent.Timeout(0.01):
        gevent.sleep(5)


FAULTS: dict[str, Callable[[ServerConnection], object]] = {
    "FIN": lambda connection: connection.close(),
    "RST": lambda connection: connection.close(rst=True),
    "a damaged TLS record": lambda connection: connection.stream.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32)),
    "a damaged frame": lambda connection: connection.send_raw(bytes(32)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_host_is_up_as_long_as_a_connection_is(fault: str, tls: Tls) -> None:
    """Each of its three, and the control connection, breaks under load: no request fails, nobody is told (pitfall C1)."""
    with FakeNode(ssl_context=tls.server) as node:
        serve_keys(node)
        told = Told()
        with cluster_of(node, ssl_context=tls.client, connections_per_host=3, reconnection_policy=SOON) as cluster:
            cluster.register_listener(told)
            session = cluster.connect()
            prepared = session.prepare(BY_KEY)
            prepared.is_idempotent = True
            eventually(lambda: len(pooled(session)) == 3 and told.news)
            told.clear()
            stop = gevent.event.Event()

            def ask(first: int) -> int:
                keys = itertools.count(first, 30)
                while not stop.is_set():
                    key = next(keys)
                    assert session.execute(prepared, (key,)).one().k == key
                return next(keys)

            asking = [gevent.spawn(ask, first) for first in range(30)]
            for victim in list(node.connections):
                FAULTS[fault](victim)
                eventually(lambda victim=victim: victim not in node.connections)
                eventually(lambda: len(pooled(session)) == 3 and len(node.connections) == 4)
            stop.set()
            assert all(greenlet.get() > 30 for greenlet in asking)
            assert node.accepted == 8 and told.news == []


def test_a_host_that_drops_what_it_accepts_is_left_alone_for_the_pauses(node: FakeNode) -> None:
    with cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(0.2)) as cluster:
        cluster.connect()
        before = node.accepted
        with gevent.Timeout(1.0, False):
            while True:
                node.drop_connections()
                gevent.sleep(0.001)
        assert 6 <= node.accepted - before <= 16  # of the pool and the control connection


def test_nobody_waits_for_a_host_that_is_left_alone(node: FakeNode) -> None:
    """It takes connections only to drop them: no attempt is under way during the pause."""
    node.on("SELECT poison", Close())
    with cluster_of(node, reconnection_policy=LATE) as cluster:
        session = cluster.connect()
        for _ in range(2):
            eventually(lambda: pooled(session))
            with pytest.raises(ConnectionShutdown):
                session.execute("SELECT poison")
        with gevent.Timeout(5), pytest.raises(NoHostAvailable, match="closed the connection"):
            session.execute("SELECT ok", timeout=20)
        with gevent.Timeout(5), pytest.raises(NoHostAvailable, match="closed the connection"):
            session.execute("SELECT ok", timeout=20)


def test_connections_that_we_replace_are_no_losses(node: FakeNode) -> None:
    with cluster_of(node, reconnection_policy=LATE) as cluster:
        session = cluster.connect()
        for _ in range(4):
            [pool] = session.get_pools()
            pool.replace(pool.connections[0])
            eventually(lambda: pooled(session))


def test_a_pool_that_cannot_be_filled_keeps_no_other_waiting() -> None:
    with FakeNode(versions=(3, 4)) as node, cluster_of(node, reconnection_policy=LATE) as cluster:
        node.on(re.compile('^USE "?bad'), Error(ErrorCode.INVALID))
        have_keyspaces(node, "bad", "good")
        session = cluster.connect()
        with pytest.raises(NoHostAvailable):
            session.set_keyspace("bad")
        session.set_keyspace("good")
        pools = {pool.keyspace: pool for pool in session.get_pools()}
        before = pools["good"].connections + pools[None].connections
        node.drop_connections()
        eventually(lambda: all(connection.closed for connection in before))
        eventually(lambda: pools["good"].connections and pools[None].connections)
        assert not pools["bad"].connections


class Schedules(ReconnectionPolicy):
    """Gives one schedule after the other."""

    def __init__(self, *schedules: Any) -> None:
        self._schedules = iter(schedules)

    def new_schedule(self) -> Iterable[float]:
        schedule: Iterable[float] = next(self._schedules, [0.02])
        if isinstance(schedule, BaseException):
            raise schedule
        return schedule


@pytest.mark.logs(r"(\w+Error|Timeout) .*Schedules .* failed$")
@pytest.mark.parametrize("schedule", [["soon"], [None], None, ValueError("no schedule"), gevent.Timeout()])
def test_schedules_that_make_no_sense(
    node: FakeNode, schedule: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.05)
    with cluster_of(node, reconnection_policy=Schedules(copy(schedule))) as cluster:  # the parameter outlives the test
        session = cluster.connect()
        node.stop()
        eventually(lambda: not next(iter(session.hosts)).is_up)
        node.start()
        eventually(lambda: pooled(session))
    assert "failed" in caplog.text


def test_pauses_of_nothing_leave_the_hub_time(node: FakeNode) -> None:
    with cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(0)) as cluster:
        cluster.connect()
        node.stop()
        attempts = [0]
        opened = cluster._open_pooled

        def count(*args: Any) -> Any:
            attempts[0] += 1
            return opened(*args)

        cluster._open_pooled = count  # type: ignore[method-assign]
        gevent.sleep(0.3)
        assert 3 < attempts[0] < 40


class Provider(PlainTextAuthProvider):
    """Its ``failing``-th authenticator takes too long."""

    def __init__(self, failing: int) -> None:
        super().__init__("user", "secret")
        self.made = 0
        self.failing = failing

    def new_authenticator(self, host: Any) -> Any:
        self.made += 1
        if self.made == self.failing:
            run_out_of_time()
        return super().new_authenticator(host)


def test_an_authenticator_that_runs_out_of_time() -> None:
    with FakeNode(auth={"user": "secret"}) as node:
        first = cluster_of(node, auth_provider=Provider(1), reconnection_policy=SOON)  # the control connection's
        with first, pytest.raises(NoHostAvailable), gevent.Timeout(5):
            first.connect()
        provider = Provider(3)  # after the control connection's and the pool's first
        with cluster_of(node, auth_provider=provider, reconnection_policy=SOON) as cluster:
            session = cluster.connect()
            pooled(session)[0].close()
            eventually(lambda: provider.made == 4 and pooled(session))


class Slow(HostStateListener):
    def on_up(self, host: Any) -> None:
        run_out_of_time()

    on_down = on_up


@pytest.mark.logs(r"Timeout .*Slow .* failed in on_(up|down)")
def test_a_listener_that_runs_out_of_time(node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    with cluster_of(node, reconnection_policy=SOON) as cluster:
        session = cluster.connect()
        cluster.register_listener(Slow())
        node.stop()
        eventually(lambda: "on_down" in caplog.text)
        node.start()
        eventually(lambda: "on_up" in caplog.text and pooled(session))


def test_a_policy_that_runs_out_of_time_when_the_cluster_connects(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_of(node) as cluster:
        policy = cluster.profile_manager.default.load_balancing_policy
        monkeypatch.setattr(policy, "populate", lambda *args: run_out_of_time())
        with pytest.raises(gevent.Timeout) as raised, gevent.Timeout(5):
            cluster.connect()
        assert raised.value.seconds == 0.01


def test_a_silent_peer_is_found_out_on_a_draining_connection(node: FakeNode) -> None:
    node.on("SELECT never", NEVER)
    with cluster_of(node, idle_heartbeat_interval=0.2, idle_heartbeat_timeout=0.3) as cluster:
        session = cluster.connect()
        future = session.execute_async("SELECT never", timeout=None)
        node.wait_for(lambda n: n.count("SELECT never"))
        pool = session.get_pools()[0]
        pool.replace(pool.connections[0])
        node.mute = True
        with pytest.raises(ConnectionException, match="silent"):
            future.get(timeout=10)


def test_a_control_connection_that_opens_during_the_shutdown_is_closed(node: FakeNode) -> None:
    with cluster_of(node) as cluster:
        session = cluster.connect()
        node.on(Opcode.STARTUP, Ready().after(0.1))
        cluster._control.connection.close()

        def enter() -> None:
            with pytest.raises(ConnectionShutdown, match="shut down"):
                session.set_keyspace("other")

        entering = gevent.spawn(enter)
        gevent.sleep(0.05)
    entering.get()
    assert cluster._control.connection is None
    node.wait_for(lambda n: not n.connections)
