"""The soak's books: they see what is lost, what is done twice, and what was refused and therefore done again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geventcql.policies import ConstantReconnectionPolicy
from geventcql.session import Session
from tests.driver.support import BY_KEY, cluster_of, eventually, pooled, serve_keys
from tests.integration.soak import Register, TaggedProxy, Tags, Tally
from tests.support.fakenode import Error, ErrorCode, FakeNode, in_turn
from tests.support.frameproxy import cut


def test_a_value_is_the_last_one_or_one_of_those_behind_it() -> None:
    register = Register(1)
    register.check(None)
    for _ in range(3):
        register.issue()
    register.settle(2)
    for value in (2, 3):
        register.check(value)
    for value in (None, 1, 4):
        with pytest.raises(AssertionError):
            register.check(value)


def test_a_counter_is_between_what_is_sure_and_what_may_be() -> None:
    tally = Tally()
    with tally.adding(1, 2):
        pass
    with pytest.raises(ZeroDivisionError), tally.adding(2):
        raise ZeroDivisionError
    for second in (1, 2):
        tally.check({1: 1, 2: second})
    for values in ({1: 1}, {1: 2, 2: 1}, {1: 1, 2: 3}, {1: 1, 2: 1, 3: 1}):
        with pytest.raises(AssertionError):
            tally.check(values)


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        serve_keys(node)
        yield node


@pytest.fixture
def tags() -> Tags:
    return Tags()


@pytest.fixture
def proxy(node: FakeNode, tags: Tags) -> Iterator[TaggedProxy]:
    with TaggedProxy(tags, (node.host, node.port)) as proxy:
        yield proxy


@pytest.fixture
def session(node: FakeNode, proxy: TaggedProxy) -> Iterator[Session]:
    node.port, port = proxy.port, node.port
    options = {"reconnection_policy": ConstantReconnectionPolicy(0.01, None), "connections_per_host": 2}
    with cluster_of(node, **options) as cluster:
        node.port = port
        session = cluster.connect()
        eventually(lambda: len(pooled(session)) == 2)
        yield session


def test_what_goes_to_a_node_twice_is_seen(session: Session, proxy: TaggedProxy, tags: Tags) -> None:
    statement = session.prepare(BY_KEY)
    statement.is_idempotent = True  # a lie: it may be executed only once
    session.execute(statement, (1,), custom_payload=tags.payload())
    tags.check()
    proxy.responses(BY_KEY, cut(), times=1)
    session.execute(statement, (1,), custom_payload=tags.payload())
    with pytest.raises(AssertionError, match=r"sent to nodes more than once, .*'1': 2"):
        tags.check()


def test_what_a_node_refuses_may_be_sent_again(session: Session, node: FakeNode, tags: Tags) -> None:
    statement = session.prepare(BY_KEY)
    node.unprepare_all()
    session.execute(statement, (1,), custom_payload=tags.payload())
    assert node.count(BY_KEY) == 1  # and one that was not known
    node.on(BY_KEY, in_turn(Error(ErrorCode.OVERLOADED)))
    with pytest.raises(Exception, match="made up"):
        session.execute(statement, (1,), custom_payload=tags.payload())
    tags.check()
