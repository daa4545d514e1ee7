"""Credentials: refused, rotated, refused by one of several hosts; authenticators that raise, hang or go several rounds."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable
from typing import Any

import cassandra.auth
import gevent
import pytest

from geventcql.auth import Authenticator, AuthProvider, PlainTextAuthProvider, SaslAuthProvider
from geventcql.cluster import Cluster
from geventcql.errors import AuthenticationFailed, ConnectionException, NoHostAvailable
from geventcql.policies import ConstantReconnectionPolicy, HostStateListener
from tests.driver.support import cluster_of, eventually, pooled
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import AuthChallenge, AuthSuccess, Error, ErrorCode, FakeNode, Opcode, Request
from tests.support.logs import REFUSED, UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE, REFUSED)

PAUSE = 0.1
SCHEDULE = ConstantReconnectionPolicy(PAUSE)
MOST = 2 * 6 + 2
"""Attempts within six pauses: the pool's and the control connection's."""
QUERY = "SELECT key FROM system.local"


class Told(HostStateListener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def on_up(self, host: Any) -> None:
        self.events.append(("up", host.address))

    def on_down(self, host: Any) -> None:
        self.events.append(("down", host.address))

    def on_add(self, host: Any) -> None:
        self.events.append(("add", host.address))

    def on_remove(self, host: Any) -> None:
        self.events.append(("remove", host.address))


def attempts_within(node: FakeNode, seconds: float) -> int:
    before = node.accepted
    gevent.sleep(seconds)
    return node.accepted - before


def cause(error: NoHostAvailable) -> Any:
    (only,) = error.errors.values()
    return only


# -- rotation ---------------------------------------------------------------------------------------------------------


def new_provider(cluster: Cluster, provider: PlainTextAuthProvider) -> None:
    cluster.auth_provider = PlainTextAuthProvider("ada", "new-hunter2")


def new_password(cluster: Cluster, provider: PlainTextAuthProvider) -> None:
    provider.password = "new-hunter2"


@pytest.mark.parametrize("rotate", [new_provider, new_password])
def test_a_host_comes_back_by_itself_when_the_credentials_were_rotated(
    rotate: Callable[[Cluster, PlainTextAuthProvider], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    users = {"ada": "old-hunter2"}
    with FakeNode(auth=users) as node:
        provider, told = PlainTextAuthProvider("ada", "old-hunter2"), Told()
        with cluster_of(node, auth_provider=provider, reconnection_policy=SCHEDULE) as cluster:
            session = cluster.connect()
            cluster.register_listener(told)
            users["ada"] = "new-hunter2"
            assert session.execute(QUERY).one() == ("local",)  # connections that are open stay so
            node.drop_connections()
            eventually(lambda: told.events == [("down", node.host)])
            with pytest.raises(NoHostAvailable) as raised:
                session.execute(QUERY)
            assert type(cause(raised.value)) is AuthenticationFailed
            assert attempts_within(node, 6 * PAUSE) <= MOST  # as the reconnection policy says: no storm
            rotate(cluster, provider)
            eventually(lambda: pooled(session), timeout=20 * PAUSE)
            assert session.execute(QUERY).one() == ("local",)
            assert told.events == [("down", node.host), ("up", node.host)]
        for text in (caplog.text, repr(raised.value), str(raised.value), repr(cluster), repr(session), repr(provider)):
            assert "hunter2" not in text
        errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        assert any("refused to authenticate us" in message for message in errors)


def same_provider(cluster: Cluster, provider: PlainTextAuthProvider) -> None:
    provider.password = "new"
    cluster.auth_provider = provider


def other_provider(cluster: Cluster, provider: PlainTextAuthProvider) -> None:
    cluster.auth_provider = PlainTextAuthProvider("ada", "new")


@pytest.mark.parametrize("rotate", [same_provider, other_provider])
def test_a_provider_that_is_set_is_tried_at_once(rotate: Callable[[Cluster, PlainTextAuthProvider], None]) -> None:
    """However long the pause is that is under way."""
    users = {"ada": "old"}
    with FakeNode(auth=users) as node:
        provider = PlainTextAuthProvider("ada", "old")
        cluster = cluster_of(node, auth_provider=provider, reconnection_policy=ConstantReconnectionPolicy(600))
        with cluster:
            session = cluster.connect()
            [host] = session.hosts
            users["ada"] = "new"
            node.drop_connections()
            eventually(lambda: host.is_up is False)
            rotate(cluster, provider)
            eventually(lambda: pooled(session) and cluster.get_control_connection_host() is host)
            assert session.execute(QUERY).one() == ("local",)


def test_a_provider_that_is_set_while_the_old_one_is_being_refused() -> None:
    """What becomes of that attempt says nothing of the new one."""
    gate = gevent.event.Event()
    gate.set()

    def answer(request: Request, connection: Any) -> Any:
        gate.wait(10)
        right = (request.token or b"").endswith(right_password)
        return AuthSuccess() if right else Error(ErrorCode.BAD_CREDENTIALS, "no")

    right_password = b"old"
    with FakeNode(auth=answer) as node:
        late = ConstantReconnectionPolicy(600)
        with cluster_of(node, auth_provider=PlainTextAuthProvider("ada", "old"), reconnection_policy=late) as cluster:
            session = cluster.connect()
            right_password = b"new"
            gate.clear()
            before = node.count(Opcode.AUTH_RESPONSE)
            node.drop_connections()
            node.wait_for(lambda n: n.count(Opcode.STARTUP) and len(n.connections) == 2)
            gevent.sleep(0.05)  # the pool's and the control connection's have been asked who they are
            cluster.auth_provider = PlainTextAuthProvider("ada", "new")
            gate.set()
            eventually(lambda: pooled(session) and cluster.get_control_connection_host() is not None)
            assert node.count(Opcode.AUTH_RESPONSE) - before <= 4


def test_what_is_no_provider_is_refused_when_it_is_set() -> None:
    cluster = Cluster(auth_provider=PlainTextAuthProvider("ada", "old"))
    for wrong in (object(), {"username": "ada"}):
        with pytest.raises(TypeError, match=r"auth_provider must be an AuthProvider"):
            cluster.auth_provider = wrong
    assert cluster.auth_provider.username == "ada"
    cluster.auth_provider = None
    assert cluster.auth_provider is None


# -- several hosts ----------------------------------------------------------------------------------------------------


def test_one_of_several_hosts_refuses() -> None:
    """The others do the work; it is down for one reason that can be looked up, and comes back when it lets us in."""
    with FakeCluster(3, auth={"ada": "secret"}) as nodes:
        stubborn = nodes[1]
        stubborn.auth = {"ada": "another"}
        told = Told()
        cluster = cluster_of(nodes, auth_provider=PlainTextAuthProvider("ada", "secret"), reconnection_policy=SCHEDULE)
        cluster.register_listener(told)
        with cluster:
            session = cluster.connect(wait_for_all_pools=True)
            hosts = {host.address: host for host in session.hosts}
            assert len(pooled(session)) == 2
            for _ in range(30):
                assert session.execute(QUERY).one() == ("local",)
            states = session.get_pool_state()
            error = states[hosts[stubborn.host]]["last_error"]
            assert type(error) is AuthenticationFailed and stubborn.host in str(error)
            assert attempts_within(stubborn, 6 * PAUSE) <= MOST
            with pytest.raises(NoHostAvailable) as raised:
                session.execute(QUERY, host=hosts[stubborn.host])
            assert type(cause(raised.value)) is AuthenticationFailed
            assert [event for event in told.events if event[0] == "down"] == [("down", stubborn.host)]
            stubborn.auth = {"ada": "secret"}
            eventually(lambda: len(pooled(session)) == 3)
            assert session.execute(QUERY, host=hosts[stubborn.host]).one() == ("local",)
            assert [event for event in told.events if event[0] == "up"] == [("up", stubborn.host)]


def test_a_contact_point_that_refuses_is_passed_over() -> None:
    with FakeCluster(2, auth={"ada": "secret"}) as nodes:
        nodes[0].auth = {"ada": "another"}
        with cluster_of(nodes, auth_provider=PlainTextAuthProvider("ada", "secret"), reconnection_policy=SCHEDULE) as cluster:
            assert cluster.connect().execute(QUERY).one() == ("local",)
            assert cluster.get_control_connection_host().address == nodes[1].host  # type: ignore[union-attr]


@pytest.mark.parametrize("versions", [(3, 4, 5), (3, 4), (3,)])
def test_wrong_credentials_everywhere_are_tried_once_at_each_host(versions: tuple[int, ...]) -> None:
    """Below the highest protocol version, too: servers may lock accounts after a few wrong passwords."""
    with FakeCluster(3, auth={"ada": "secret"}, versions=versions) as nodes, cluster_of(
        nodes, auth_provider=PlainTextAuthProvider("ada", "hidden"), reconnection_policy=SCHEDULE
    ) as cluster:
        with pytest.raises(NoHostAvailable) as raised:
            cluster.connect()
        assert {type(error) for error in raised.value.errors.values()} == {AuthenticationFailed}
        assert len(raised.value.errors) == 3 and "hidden" not in f"{raised.value} {raised.value!r} {raised.value.errors}"
        gevent.sleep(3 * PAUSE)
        assert [node.count(Opcode.AUTH_RESPONSE) for node in nodes] == [1, 1, 1]


@pytest.mark.parametrize("code", [ErrorCode.OVERLOADED, ErrorCode.IS_BOOTSTRAPPING, ErrorCode.SERVER_ERROR])
def test_a_node_that_cannot_tell_whether_they_are_right(code: ErrorCode, caplog: pytest.LogCaptureFixture) -> None:
    """It says nothing of the credentials, and nor does the driver."""
    users = {"ada": "secret"}
    with FakeNode(auth=users) as node:
        cannot = node.on(Opcode.AUTH_RESPONSE, Error(code, "not now"))
        provider = PlainTextAuthProvider("ada", "secret")
        with cluster_of(node, auth_provider=provider, reconnection_policy=SCHEDULE) as cluster:
            with pytest.raises(NoHostAvailable) as raised:
                cluster.connect()
            error = cause(raised.value)
            assert type(error) is ConnectionException and error.__cause__.code == code
            assert "not now" in str(error) and not [r for r in caplog.records if r.levelno == logging.ERROR]
            cannot.remove()
            assert cluster.connect().execute(QUERY).one() == ("local",)


# -- authenticators ---------------------------------------------------------------------------------------------------


class Custom(AuthProvider):
    """Gives authenticators of an application's making."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def new_authenticator(self, host: str) -> Any:
        return self.make()


class Rounds(Authenticator):
    """Answers challenges with their number until the server has had enough."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def initial_response(self) -> bytes | None:
        self.seen.append(self.server_authenticator_class)
        return None

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | None:
        gevent.sleep(0.002)  # it may wait
        self.seen.append(challenge)
        return challenge and challenge[::-1]

    def on_authentication_success(self, token: bytes | None) -> None:
        self.seen.append(token)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_several_rounds(version: int) -> None:
    challenges = [b"one", None, b"", b"x" * 200_000]
    answers: list[Any] = []

    def answer(request: Request, connection: Any) -> Any:
        asked = getattr(connection, "asked", 0)
        connection.asked = asked + 1
        answers.append(request.token)
        return AuthChallenge(challenges[asked]) if asked < len(challenges) else AuthSuccess(b"welcome")

    made: list[Rounds] = []

    def make() -> Rounds:
        made.append(Rounds())
        return made[-1]

    with FakeNode(auth=answer) as node, cluster_of(node, auth_provider=Custom(make), protocol_version=version) as cluster:
        assert cluster.connect().execute(QUERY).one() == ("local",)
        assert len(made) == 2  # the control connection's and the pool's
        for each in made:
            assert each.seen == ["org.apache.cassandra.auth.PasswordAuthenticator", *challenges, b"welcome"]
        assert answers[:5] == [b"", b"eno", b"", b"", b"x" * 200_000]


def test_sasl_in_two_rounds() -> None:
    def answer(request: Request, connection: Any) -> Any:
        if not request.token:
            return AuthChallenge(b"<1896.697170952@x>")
        digest = hmac.new(b"secret", b"<1896.697170952@x>", "md5").hexdigest().encode()
        right = request.token == b"ada " + digest
        return AuthSuccess() if right else Error(ErrorCode.BAD_CREDENTIALS, "no")

    def provider(password: str) -> SaslAuthProvider:
        return SaslAuthProvider(service="cassandra", mechanism="CRAM-MD5", username="ada", password=password)

    with FakeNode(auth=answer) as node:
        with cluster_of(node, auth_provider=provider("secret")) as cluster:
            assert cluster.connect().execute(QUERY).one() == ("local",)
        with cluster_of(node, auth_provider=provider("hidden")) as cluster, pytest.raises(NoHostAvailable) as raised:
            cluster.connect()
        assert type(cause(raised.value)) is AuthenticationFailed


def test_the_providers_of_cassandra_driver_itself() -> None:
    """What an application has made of them runs unchanged, by its methods alone."""

    class Own(cassandra.auth.PlainTextAuthenticator):  # type: ignore[misc]
        def initial_response(self) -> Any:
            assert self.server_authenticator_class
            return f"\0{self.username}\0{self.password}"  # a str, as on Python 2

    class OwnProvider(cassandra.auth.AuthProvider):  # type: ignore[misc]
        def new_authenticator(self, host: str) -> Any:
            assert host == "127.0.0.1"
            return Own("ada", "secret")

    with FakeNode(auth={"ada": "secret", "": ""}) as node:
        for provider in (
            OwnProvider(),
            cassandra.auth.PlainTextAuthProvider("ada", "secret"),
            cassandra.auth.TransitionalModePlainTextAuthProvider(),
            cassandra.auth.SaslAuthProvider(service="x", mechanism="PLAIN", username="ada", password="secret"),
        ):
            with cluster_of(node, auth_provider=provider) as cluster:
                assert cluster.connect().execute(QUERY).one() == ("local",)


class Broken(Authenticator):
    """Raises, or waits, in the method of that name."""

    def __init__(self, where: str, what: Callable[[], Any]) -> None:
        self.where = where
        self.what = what

    def _at(self, where: str) -> bytes:
        if self.where == where:
            self.what()
        return b"token"

    def initial_response(self) -> bytes | None:
        return self._at("initial_response")

    def evaluate_challenge(self, challenge: bytes | None) -> bytes | None:
        return self._at("evaluate_challenge")

    def on_authentication_success(self, token: bytes | None) -> None:
        self._at("on_authentication_success")


STEPS = pytest.mark.parametrize(
    "where", ["new_authenticator", "initial_response", "evaluate_challenge", "on_authentication_success"]
)


def one_round(request: Request, connection: Any) -> Any:
    connection.asked = getattr(connection, "asked", 0) + 1
    return AuthChallenge(b"?") if connection.asked == 1 else AuthSuccess()


def broken(where: str, what: Callable[[], Any]) -> Custom:
    def make() -> Broken:
        if where == "new_authenticator":
            what()
        return Broken(where, what)

    return Custom(make)


@STEPS
def test_an_authenticator_that_raises(where: str) -> None:
    failing = True

    def fail() -> None:
        if failing:
            raise ZeroDivisionError("no ticket")

    with FakeNode(auth=one_round) as node:
        with cluster_of(node, auth_provider=broken(where, fail)) as cluster, pytest.raises(NoHostAvailable) as raised:
            cluster.connect()
        assert type(cause(raised.value)) is ZeroDivisionError
        failing = False
        with cluster_of(node, auth_provider=broken(where, fail), reconnection_policy=SCHEDULE) as cluster:
            session = cluster.connect()
            failing = True
            node.drop_connections()
            [host] = session.hosts
            eventually(lambda: host.is_up is False)
            with pytest.raises(NoHostAvailable, match="no ticket"):
                session.execute(QUERY)
            assert attempts_within(node, 6 * PAUSE) <= MOST
            failing = False
            eventually(lambda: pooled(session))
            assert session.execute(QUERY).one() == ("local",)
        node.wait_for(lambda n: not n.connections)


@STEPS
def test_an_authenticator_that_hangs(where: str) -> None:
    """It has the time to connect, as all else."""
    provider = broken(where, lambda: gevent.sleep(30))
    with FakeNode(auth=one_round) as node:
        began = time.monotonic()
        cluster = cluster_of(node, auth_provider=provider, connect_timeout=0.2)
        with cluster, pytest.raises(NoHostAvailable) as raised:
            cluster.connect()
        assert time.monotonic() - began < 2
        error = cause(raised.value)
        assert isinstance(error, ConnectionException)
        assert "the authenticator of auth_provider gave no token in 0.2 s" in str(error)
        node.wait_for(lambda n: not n.connections)


def test_nobody_waits_for_the_authenticator_of_another_host() -> None:
    class HangsFor(PlainTextAuthProvider):
        def new_authenticator(self, host: str) -> Any:
            if host == nodes[1].host:
                gevent.sleep(30)
            return super().new_authenticator(host)

    with FakeCluster(3, auth={"ada": "secret"}) as nodes, cluster_of(
        nodes, auth_provider=HangsFor("ada", "secret"), connect_timeout=10
    ) as cluster:
        session = cluster.connect()
        eventually(lambda: len(pooled(session)) == 2)
        for _ in range(30):
            assert session.execute(QUERY, timeout=5).one() == ("local",)


def test_a_slow_authenticator_is_waited_for() -> None:
    provider = broken("initial_response", lambda: gevent.sleep(0.1))
    with FakeCluster(3, auth=one_round) as nodes, cluster_of(nodes, auth_provider=provider, connect_timeout=2) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        assert len(pooled(session)) == 3
