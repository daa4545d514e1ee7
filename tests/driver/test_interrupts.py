"""What is no error but ends a program (KeyboardInterrupt, SystemExit), raised by an application's code in a greenlet of the
driver's: the main greenlet gets it, as from any greenlet, and the driver goes on for whoever goes on.

The test's own greenlet is the main one. Real signals are in test_signals.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from geventcql.auth import AuthProvider, PlainTextAuthenticator
from geventcql.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile
from geventcql.coldpath import Decisions
from geventcql.errors import ConnectionShutdown
from geventcql.policies import (
    ConstantReconnectionPolicy,
    ConstantSpeculativeExecutionPolicy,
    IdentityTranslator,
    RetryPolicy,
    RoundRobinPolicy,
    SimpleConvictionPolicy,
)
from geventcql.query import SimpleStatement
from geventcql.response import ResponseFuture
from geventcql.session import Session
from tests.driver.hostlife import Told, answers, connected, control_node, other_node, reachable, settle
from tests.driver.support import eventually, outcome
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import NEVER, Close, Error, ErrorCode, Rows, Void, topology_change
from tests.support.invariants import HubError
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)

MAIN = gevent.getcurrent()
ONE = Rows([("v", "int")], [(1,)])


class Own(BaseException):
    """An application's, which does not end programs."""


ENDS = (KeyboardInterrupt, SystemExit)


class Fault:
    """Raises once, when it has been armed, in any greenlet but the main one."""

    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind
        self.armed = False
        self.raised = False

    def __call__(self, *_: Any) -> None:
        if self.armed and gevent.getcurrent() is not MAIN:
            self.armed, self.raised = False, True
            raise self._kind("of the application")

    def after(self, base: type[Any], method: str) -> type[Any]:
        """A class whose method raises when it has done its work."""

        def run(this: Any, *args: Any, **kwargs: Any) -> Any:
            value = getattr(base, method)(this, *args, **kwargs)
            self()
            return value

        return type(f"Failing{base.__name__}", (base,), {method: run})


class Provider(AuthProvider):
    def new_authenticator(self, host: Any) -> Any:
        return PlainTextAuthenticator("name", "password")


class Speculation(ConstantSpeculativeExecutionPolicy):
    """Tries another host after 10 ms; its plans fail."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(0.01, 1)
        self._fault = fault

    def new_plan(self, keyspace: Any, statement: Any) -> Any:
        plan: Any = super().new_plan(keyspace, statement)
        plan.__class__ = self._fault.after(plan.__class__, "next_execution")
        return plan


# -- what is done -------------------------------------------------------------------------------------------------------


def lose_and_find(session: Session, nodes: FakeCluster, fault: Fault) -> None:
    """A node goes and comes back."""
    node = other_node(session.cluster, nodes)
    try:
        node.stop()
        eventually(lambda: any(host.is_up is False for host in session.hosts))
    finally:
        node.start()


def find_another(session: Session, nodes: FakeCluster, fault: Fault) -> None:
    new = nodes.add()
    control_node(session.cluster, nodes).push(topology_change("NEW_NODE", new.host, new.port))


def ask(session: Session, nodes: FakeCluster, bad: Any) -> None:
    """A request that the first node answers badly; it ends all the same."""
    replies = [bad]
    nodes.on("SELECT v", lambda request, connection: replies.pop() if replies else ONE)
    future = session.execute_async(SimpleStatement("SELECT v", is_idempotent=True), timeout=5)
    try:
        eventually(future.ready)
    finally:
        eventually(future.ready)
        assert future.exception is None or isinstance(future.exception, ConnectionShutdown), future.exception
        assert "shut down" not in str(future.exception)


def fail(session: Session, nodes: FakeCluster, fault: Fault) -> None:
    ask(session, nodes, Error(ErrorCode.OVERLOADED))


def be_silent(session: Session, nodes: FakeCluster, fault: Fault) -> None:
    ask(session, nodes, NEVER)


def use_profile(session: Session, nodes: FakeCluster, fault: Fault) -> None:
    """A request meets a new policy."""
    profile = ExecutionProfile(fault.after(RoundRobinPolicy, "populate")())
    with pytest.raises((ConnectionShutdown, Own, *ENDS)) as raised:
        session.execute("SELECT v", execution_profile=profile)
    assert "shut down" not in str(raised.value)
    if isinstance(raised.value, ENDS):
        raise raised.value


def call_back(session: Session, nodes: FakeCluster, fault: Fault) -> None:
    called: list[Any] = []
    session.execute_async("SELECT v").add_callback(fault).add_callback(called.append)
    try:
        eventually(lambda: called)
    finally:
        eventually(lambda: called)


def submit(session: Session, nodes: FakeCluster, fault: Fault) -> None:
    session.submit(fault)


Act = Callable[[Session, FakeCluster, Fault], None]


def profile(**options: Any) -> dict[str, Any]:
    return {"execution_profiles": {EXEC_PROFILE_DEFAULT: ExecutionProfile(**options)}}


WHERE: dict[str, tuple[Callable[[Fault], dict[str, Any]], Act]] = {
    "callback": (lambda fault: {}, call_back),
    "submitted": (lambda fault: {}, submit),
    "on_down": (lambda fault: profile(load_balancing_policy=fault.after(RoundRobinPolicy, "on_down")()), lose_and_find),
    "on_up": (lambda fault: profile(load_balancing_policy=fault.after(RoundRobinPolicy, "on_up")()), lose_and_find),
    "on_add": (lambda fault: profile(load_balancing_policy=fault.after(RoundRobinPolicy, "on_add")()), find_another),
    "distance": (lambda fault: profile(load_balancing_policy=fault.after(RoundRobinPolicy, "distance")()), lose_and_find),
    "populate": (lambda fault: profile(), use_profile),
    "retry policy": (lambda fault: profile(retry_policy=fault.after(RetryPolicy, "on_request_error")()), fail),
    "speculation": (lambda fault: profile(speculative_execution_policy=Speculation(fault)), be_silent),
    "add_failure": (
        lambda fault: {"conviction_policy_factory": fault.after(SimpleConvictionPolicy, "add_failure")},
        lose_and_find,
    ),
    "reset": (lambda fault: {"conviction_policy_factory": fault.after(SimpleConvictionPolicy, "reset")}, lose_and_find),
    "reconnection policy": (
        lambda fault: {"reconnection_policy": fault.after(ConstantReconnectionPolicy, "new_schedule")(0.02)},
        lose_and_find,
    ),
    "authenticator": (lambda fault: {"auth_provider": fault.after(Provider, "new_authenticator")()}, lose_and_find),
    "translator": (lambda fault: {"address_translator": fault.after(IdentityTranslator, "translate")()}, find_another),
}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    monkeypatch.setattr("geventcql.reconnecting.PAUSE", 0.02)
    with FakeCluster(2, auth={"name": "password"}) as started:
        started.on("SELECT v", ONE)
        yield started


def interrupted(act: Callable[[], object], fault: Fault) -> BaseException | None:
    """What the main greenlet gets while it does that, and waits for what comes of it."""
    fault.armed = True
    try:
        act()
        eventually(lambda: fault.raised)
        gevent.sleep(0.05)
    except ENDS as error:
        return error
    return None


def as_reported(errors: list[HubError], kind: type[BaseException]) -> bool:
    """Whether the hub has told of it once; of SystemExit it never does."""
    told = [error.type for error in errors]
    errors.clear()
    return told == ([] if kind is SystemExit else [kind])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Own])
@pytest.mark.parametrize("where", WHERE)
def test_raised_in_a_greenlet_of_the_driver(
    where: str, kind: type[BaseException], nodes: FakeCluster, hub_errors: list[HubError]
) -> None:
    fault = Fault(kind)
    options, act = WHERE[where]
    with connected(nodes, **{"auth_provider": Provider(), **options(fault)}) as (_, session, _):
        came = interrupted(lambda: act(session, nodes, fault), fault)
        assert fault.raised
        assert came is None if kind is Own else type(came) is kind
        settle(lambda: reachable(session) == set(nodes.addresses) and all(host.is_up for host in session.hosts))
        answers(session, nodes)
    assert as_reported(hub_errors, kind)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Own])
def test_all_others_are_told(nodes: FakeCluster, kind: type[BaseException], hub_errors: list[HubError]) -> None:
    """Policies and listeners behind the one that raises."""

    class Policy(RoundRobinPolicy):
        told = 0

        def on_down(self, host: Any) -> None:
            self.told += 1
            super().on_down(host)

    for failing in ("policy", "listener"):
        fault = Fault(kind)
        other = Policy()
        first = fault.after(RoundRobinPolicy, "on_down")() if failing == "policy" else RoundRobinPolicy()
        profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(first), "other": ExecutionProfile(other)}
        with connected(nodes, auth_provider=Provider(), execution_profiles=profiles) as (cluster, _, _):
            last = Told()
            if failing == "listener":
                cluster.register_listener(fault.after(Told, "on_down")())
            cluster.register_listener(last)
            node = other_node(cluster, nodes)
            came = interrupted(node.stop, fault)
            assert came is None if kind is Own else type(came) is kind
            settle(lambda last=last, node=node: last.news == [("down", node.host)])  # type: ignore[misc]
            assert other.told == 1
            node.start()
        assert as_reported(hub_errors, kind)


@pytest.mark.parametrize("behind", [None, "set", "set_exception"])
def test_before_a_future_is_ended(
    behind: str | None, nodes: FakeCluster, hub_errors: list[HubError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or between that and the waking of who waits for it."""
    ends = ["finish", "fail"] if behind is None else [behind]
    interrupts: list[type[BaseException]] = []

    def interrupted_end(method: str) -> Callable[..., None]:
        end = getattr(ResponseFuture, method)

        def interrupted_end(future: ResponseFuture, outcome: Any) -> None:
            if behind is not None:
                end(future, outcome)
            if interrupts:
                raise interrupts.pop()
            if behind is None:
                end(future, outcome)

        return interrupted_end

    for method in ends:
        monkeypatch.setattr(ResponseFuture, method, interrupted_end(method))
    nodes.on("SELECT wrong", Error(ErrorCode.INVALID, "no such table"))
    with connected(nodes, auth_provider=Provider()) as (_, session, _):
        for text in ("SELECT v", "SELECT wrong"):
            if behind == ("set_exception" if text == "SELECT v" else "set"):
                continue
            waiter = gevent.spawn(outcome, session.execute, text, None, 5)
            interrupts.append(KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                waiter.join(1)
            waiter.join(1)
            assert waiter.ready() and ("no such table" in str(waiter.value)) == (text == "SELECT wrong")
            assert as_reported(hub_errors, KeyboardInterrupt)
            settle(lambda: reachable(session) == set(nodes.addresses))


def test_while_the_rows_for_callbacks_are_made(nodes: FakeCluster, hub_errors: list[HubError]) -> None:
    called: list[Any] = []
    interrupts: list[type[BaseException]] = [KeyboardInterrupt]

    def factory(names: Any, rows: Any) -> Any:
        if interrupts:
            raise interrupts.pop()
        return rows

    with connected(nodes, auth_provider=Provider()) as (_, session, _):
        session.row_factory = factory
        session.execute_async("SELECT v").add_callbacks(called.append, called.append)
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(1)
        eventually(lambda: called == [[(1,)]])
    assert as_reported(hub_errors, KeyboardInterrupt)


def test_before_callbacks_are_called(nodes: FakeCluster, hub_errors: list[HubError]) -> None:
    called: list[Any] = []
    with connected(nodes, auth_provider=Provider()) as (_, session, _):
        future = session.execute_async("SELECT v")
        future.result()
        gevent.get_hub().loop.run_callback(_thread.interrupt_main)
        future.add_callback(called.append)
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(1)
        eventually(lambda: called == [[(1,)]])
    assert as_reported(hub_errors, KeyboardInterrupt)


def test_between_two_callbacks(nodes: FakeCluster, hub_errors: list[HubError]) -> None:
    called: list[Any] = []
    with connected(nodes, auth_provider=Provider()) as (_, session, _):
        future = session.execute_async("SELECT v")
        future.add_callback(lambda rows: gevent.getcurrent().throw(KeyboardInterrupt))
        for _ in range(2):
            future.add_callback(called.append)
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(1)
        eventually(lambda: called == [[(1,)], [(1,)]])
    assert as_reported(hub_errors, KeyboardInterrupt)


@pytest.mark.parametrize("end", ["refused", "lost"])
def test_behind_the_beginning_of_a_decision(
    end: str, nodes: FakeCluster, hub_errors: list[HubError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader tells of the answer, or the end, again: what may be sent once more is sent once more."""
    interrupts: list[type[BaseException]] = [KeyboardInterrupt]
    begin = Decisions._begin

    def interrupted_begin(*args: Any) -> None:
        begin(*args)
        if interrupts:
            raise interrupts.pop()

    class Next(RetryPolicy):
        def on_unavailable(self, *args: Any, **kwargs: Any) -> Any:
            return self.RETRY_NEXT_HOST, None

    update = "UPDATE c SET n = n + 1"
    answers = iter([Error(ErrorCode.UNAVAILABLE, consistency=1, required=1, alive=0) if end == "refused" else Close()])
    nodes.on(update, lambda request, connection: next(answers, Void()))
    monkeypatch.setattr(Decisions, "_begin", interrupted_begin)
    with connected(nodes, auth_provider=Provider(), default_retry_policy=Next()) as (_, session, _):
        future = session.execute_async(SimpleStatement(update, is_idempotent=end == "lost"))
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(1)
        future.result()
        gevent.sleep(0.05)
        assert sum(node.count(update) for node in nodes.nodes) == 2 == future._execution.attempts
    assert as_reported(hub_errors, KeyboardInterrupt)
