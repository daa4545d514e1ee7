"""Many requests at once: in order or as they come, lazily, errors at their place."""

from __future__ import annotations

import itertools
import resource
import sys
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventcql.concurrent import execute_concurrent, execute_concurrent_with_args
from geventcql.errors import ConnectionShutdown, EncodeError, InvalidRequest, NoHostAvailable, OperationTimedOut
from geventcql.policies import ConstantReconnectionPolicy
from geventcql.session import Session
from tests.driver.support import BY_KEY, INSERT, cluster_of, eventually, outcome, own_key, serve_keys, settled
from tests.support.fakenode import Error, ErrorCode, FakeNode, Request
from tests.support.logs import UNREACHABLE

pytestmark = pytest.mark.logs(UNREACHABLE)


def sometimes_wrong(request: Request, connection: Any) -> Any:
    """Every tenth key is an error; replies overtake one another."""
    key = request.params[0]
    reply: Any = Error(ErrorCode.INVALID, f"key {key}") if key % 10 == 0 else own_key(request)
    return reply.after(0.001 * (key % 3))


def keys(results: Any) -> list[Any]:
    return [result.one().k for result in results]


@pytest.mark.patching
def test_imap(session: Session, node: FakeNode) -> None:
    serve_keys(node, lambda request, c: own_key(request).after(0.001 * (request.params[0] % 5)))
    prepared = session.prepare(BY_KEY)
    assert keys(session.imap(prepared, ((key,) for key in range(500)), concurrency=50)) == list(range(500))
    seen = keys(session.imap_unordered(prepared, ((key,) for key in range(500)), concurrency=50))
    assert seen != list(range(500)) and sorted(seen) == list(range(500))
    assert list(session.imap(prepared, [])) == list(session.imap_unordered(prepared, [])) == []


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_errors_are_at_their_place_and_end_nothing(session: Session, node: FakeNode, way: str) -> None:
    serve_keys(node, sometimes_wrong)
    prepared = session.prepare(BY_KEY)
    parameters: list[Any] = [(key,) for key in range(50)]
    parameters[7] = ("not a number",)
    results = getattr(session, way)(prepared, parameters, concurrency=8)
    seen: list[Any] = []
    while True:
        try:
            seen.append(next(results).one().k)
        except InvalidRequest as error:
            seen.append(str(error))
        except EncodeError:
            seen.append("encode")
        except StopIteration:
            break
    assert len(seen) == 50 and seen.count("encode") == 1
    expected = ["encode" if k == 7 else k for k in range(50)]
    if way == "imap":
        assert [k if isinstance(s, str) and f"key {k}" in s else s for k, s in zip(range(50), seen, strict=True)] == expected
    else:
        assert sorted(s for s in seen if isinstance(s, int)) == [k for k in range(50) if k % 10 and k != 7]


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_leaving_early_stops_the_sending(session: Session, node: FakeNode, way: str) -> None:
    prepared = session.prepare(BY_KEY)
    pulled = itertools.count()
    for number, _ in enumerate(getattr(session, way)(prepared, ((next(pulled),) for _ in itertools.count()), concurrency=20)):
        if number == 100:
            break
    after = next(pulled)
    assert 100 <= after <= 130
    gevent.sleep(0.02)
    assert next(pulled) == after + 1
    eventually(lambda: settled(session))
    assert node.count(BY_KEY) <= after


@pytest.mark.parametrize("way", ["imap", "imap_unordered", "execute_concurrent"])
def test_an_iterator_that_is_closed_sends_nothing_more(session: Session, node: FakeNode, way: str) -> None:
    prepared = session.prepare(BY_KEY)
    pulled = itertools.count()
    values = ((next(pulled),) for _ in itertools.count())
    if way == "execute_concurrent":
        results = session.execute_concurrent(((prepared, each) for each in values), 20, results_generator=True)
    else:
        results = getattr(session, way)(prepared, values, concurrency=20)
    next(results)
    results.close()
    assert list(results) == []
    assert next(pulled) <= 22
    eventually(lambda: settled(session))


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_no_more_than_asked_for_at_once(session: Session, node: FakeNode, way: str) -> None:
    most = [0]

    def answer(request: Request, connection: Any) -> Any:
        most[0] = max(most[0], len(connection.in_flight))
        return own_key(request).after(0.002)

    serve_keys(node, answer)
    prepared = session.prepare(BY_KEY)
    results = getattr(session, way)(prepared, ((key,) for key in range(200)), concurrency=7)
    next(results)
    gevent.sleep(0.05)
    assert node.count(BY_KEY) <= 8  # those that ended and were not taken count too
    list(results)
    assert most[0] <= 7


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_a_source_that_raises(session: Session, node: FakeNode, way: str) -> None:
    prepared = session.prepare(BY_KEY)

    def source() -> Iterator[tuple[int]]:
        yield from ((key,) for key in range(5))
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        list(getattr(session, way)(prepared, source(), concurrency=3))
    eventually(lambda: settled(session))


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_killed_in_the_middle(session: Session, node: FakeNode, way: str) -> None:
    serve_keys(node, lambda request, c: own_key(request).after(0.01))
    prepared = session.prepare(BY_KEY)
    running = gevent.spawn(lambda: list(getattr(session, way)(prepared, ((k,) for k in itertools.count()), concurrency=20)))
    node.wait_for(lambda n: n.count(BY_KEY) > 30)
    running.kill()
    del running
    eventually(lambda: settled(session))
    before = node.count(BY_KEY)
    gevent.sleep(0.03)
    assert node.count(BY_KEY) == before


def test_another_wait_in_the_middle(session: Session) -> None:
    """A Timeout in the loop's body or in its next() leaves the rest in order."""
    prepared = session.prepare(BY_KEY)
    results = session.imap(prepared, ((key,) for key in range(50)), concurrency=5)
    seen = []
    for result in results:
        seen.append(result.one().k)
        assert session.execute(prepared, (1000,)).one().k == 1000
    assert seen == list(range(50))


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_memory_is_flat(session: Session, node: FakeNode, way: str) -> None:
    node.record = False
    prepared = session.prepare(INSERT)
    results = getattr(session, way)(prepared, ((key,) for key in range(20_000)), concurrency=100)
    for _ in itertools.islice(results, 2000):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in results:
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # KiB


def test_a_hundred_thousand_that_fail_at_once(session: Session) -> None:
    """pitfalls: recursion. And the hub gets its turns."""
    prepared = session.prepare(INSERT)
    ticks = [0]

    def tick() -> None:
        while True:
            ticks[0] += 1
            gevent.sleep(0.001)

    ticker = gevent.spawn(tick)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        results = session.execute_concurrent(
            ((prepared, ("no",)) for _ in range(100_000)), raise_on_first_error=False, results_generator=True
        )
        assert sum(type(result.result_or_exc) is EncodeError for result in results) == 100_000
        listed = session.execute_concurrent_with_args(prepared, [("no",)] * 3000, raise_on_first_error=False)
        assert [type(result.result_or_exc) for result in listed] == [EncodeError] * 3000
    finally:
        sys.setrecursionlimit(limit)
    with pytest.raises(EncodeError):
        next(iter(session.imap(prepared, (("no",) for _ in range(100_000)))))
    ticker.kill()
    assert ticks[0] > 20


def test_execute_concurrent(session: Session, node: FakeNode) -> None:
    serve_keys(node, sometimes_wrong)
    prepared = session.prepare(BY_KEY)
    pairs = [(prepared, (key,)) for key in range(60)]
    for results in (
        session.execute_concurrent(pairs, concurrency=9, raise_on_first_error=False),
        execute_concurrent(session, pairs, raise_on_first_error=False),
        list(session.execute_concurrent(iter(pairs), 9, False, results_generator=True)),
        execute_concurrent_with_args(session, prepared, [(key,) for key in range(60)], raise_on_first_error=False),
        session.execute_concurrent_async(pairs).result(),
    ):
        assert [result.success for result in results] == [key % 10 != 0 for key in range(60)]
        for key, (success, value) in enumerate(results):
            assert (value.one().k if success else type(value)) == (key if success else InvalidRequest)


def test_execute_concurrent_raises_the_first_error(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    serve_keys(node, sometimes_wrong)
    with pytest.raises(InvalidRequest, match="key 0"):
        session.execute_concurrent([(prepared, (key,)) for key in range(1000)], concurrency=5)
    with pytest.raises(InvalidRequest):
        list(session.execute_concurrent([(prepared, (key,)) for key in range(1000)], 5, True, True))
    eventually(lambda: settled(session))
    assert node.count(BY_KEY) < 100


@pytest.mark.patching
def test_execute_concurrent_async(session: Session, node: FakeNode) -> None:
    prepared = session.prepare(BY_KEY)
    running = session.execute_concurrent_async([(prepared, (key,)) for key in range(20)])
    assert not running.done()
    assert [result.result_or_exc.one().k for result in running.result()] == list(range(20))
    assert running.done()
    node.on(BY_KEY)
    waiting = session.execute_concurrent_async([(prepared, (1,))])
    with pytest.raises(gevent.Timeout):
        waiting.result(timeout=0.01)
    session.cluster.shutdown()
    with pytest.raises(ConnectionShutdown):
        waiting.result(timeout=1)


@pytest.mark.parametrize("raising", [True, False])
def test_execute_concurrent_async_that_fails(session: Session, node: FakeNode, raising: bool) -> None:
    serve_keys(node, sometimes_wrong)
    prepared = session.prepare(BY_KEY)
    running = session.execute_concurrent_async([(prepared, (10,))], raise_on_first_error=raising)
    if raising:
        with pytest.raises(InvalidRequest):
            running.result()
    else:
        assert not running.result()[0].success


def test_timeouts_are_results_too(session: Session, node: FakeNode) -> None:
    node.on(BY_KEY)
    session.default_timeout = 0.02
    prepared = session.prepare(BY_KEY)
    results = session.execute_concurrent_with_args(prepared, [(1,), (2,)], raise_on_first_error=False)
    assert [type(result.result_or_exc) for result in results] == [OperationTimedOut] * 2


def test_concurrency_is_checked(session: Session) -> None:
    for call in (session.imap, session.imap_unordered):
        with pytest.raises(ValueError, match="concurrency"):
            call("SELECT 1", [], concurrency=0)
    with pytest.raises(ValueError, match="concurrency"):
        session.execute_concurrent([], concurrency=0)


@pytest.mark.parametrize("way", ["generator", "imap", "imap_unordered"])
def test_others_have_their_turn_while_no_host_can_be_asked(node: FakeNode, way: str) -> None:
    """The driver among them, which connects again."""
    with cluster_of(node, reconnection_policy=ConstantReconnectionPolicy(60)) as cluster:
        session = cluster.connect()
        prepared = session.prepare(BY_KEY)
        node.stop()
        eventually(lambda: isinstance(outcome(session.execute, prepared, (1,)), NoHostAvailable))
        turns = [0]

        def tick() -> None:
            while True:
                gevent.sleep(0.0001)
                turns[0] += 1

        ticking = gevent.spawn(tick)
        parameters = [(key,) for key in range(500)]
        if way == "generator":
            results = execute_concurrent_with_args(
                session, prepared, parameters, raise_on_first_error=False, results_generator=True
            )
            assert sum(not success for success, _ in results) == 500
        else:
            results = getattr(session, way)(prepared, parameters)
            for _ in parameters:
                assert isinstance(outcome(next, results), NoHostAvailable)
        assert turns[0] >= 50
        ticking.kill()
