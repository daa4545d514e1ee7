"""Stream ids: none is given out twice, none is lost, in whatever order things happen."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from geventcql.cython.wire import MAX_STREAM_IDS, InFlight
from geventcql.errors import FrameError

NEVER = float("inf")
ORPHAN = object()


class Target:
    """Compared by identity, as the table must do: equal targets are different requests."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target)

    __hash__ = None  # type: ignore[assignment]


class InFlightMachine(RuleBasedStateMachine):
    """The model: what each taken id holds, and its deadline."""

    @initialize(limit=st.sampled_from([1, 2, 5, 64, 65, 200]))
    def start(self, limit: int) -> None:
        self.limit = limit
        self.table = InFlight(limit)
        self.taken: dict[int, object] = {}
        self.deadlines: dict[int, float] = {}
        self.late = 0

    def waiting(self) -> list[object]:
        return [target for _, target in sorted(self.taken.items()) if target is not ORPHAN]

    @rule(count=st.integers(1, 40), deadlines=st.lists(st.integers(0, 20), min_size=1, max_size=3))
    def acquire(self, count: int, deadlines: list[int]) -> None:
        for n in range(count):
            deadline = float(deadlines[n % len(deadlines)]) or NEVER
            target = Target()
            full = len(self.waiting()) >= self.limit
            stream = self.table.acquire(target, None, deadline)
            assert (stream == -1) == full
            if not full:
                assert 0 <= stream < MAX_STREAM_IDS
                assert stream not in self.taken, "an id was given out twice"
                self.taken[stream] = target
                self.deadlines[stream] = deadline

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def reply(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(sorted(self.taken)))
        target = self.taken.pop(stream)
        self.deadlines.pop(stream, None)
        got = self.table.pop(stream)
        if target is ORPHAN:
            self.late += 1
            assert got is None
        else:
            assert got is target
        with pytest.raises(FrameError, match="no request is open"):  # the same reply once more
            self.table.pop(stream)

    @rule(stream=st.integers(-40000, 70000))
    def reply_on_any_stream(self, stream: int) -> None:
        if stream not in self.taken:
            with pytest.raises(FrameError, match=str(stream)):
                self.table.pop(stream)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def orphan(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(sorted(self.taken)))
        target = self.taken[stream]
        assert not self.table.orphan(stream, Target()), "a request that holds the id no longer gave it up"
        if target is ORPHAN:
            return
        assert self.table.orphan(stream, target)
        assert not self.table.orphan(stream, target), "orphaned twice"
        self.taken[stream] = ORPHAN
        self.deadlines.pop(stream)

    @rule(now=st.integers(0, 21))
    def expire(self, now: int) -> None:
        due = [stream for stream, deadline in sorted(self.deadlines.items()) if deadline <= now]
        got = self.table.expire(float(now))
        assert [id(target) for target in got] == [id(self.taken[stream]) for stream in due]
        for stream in due:
            self.taken[stream] = ORPHAN
            del self.deadlines[stream]
        assert self.table.earliest == min(self.deadlines.values(), default=NEVER), "exact after expire"

    @rule()
    def drain(self) -> None:
        got = self.table.drain()
        assert [id(target) for target in got] == [id(target) for target in self.waiting()]
        self.taken.clear()
        self.deadlines.clear()

    @invariant()
    def agrees(self) -> None:
        table = self.table
        table.check()
        waiting = self.waiting()
        assert [id(target) for target in table.waiting()] == [id(target) for target in waiting]
        assert table.in_flight == len(waiting)
        assert table.orphaned == len(self.taken) - len(waiting)
        assert table.late_replies == self.late
        assert table.room == self.limit - len(waiting)
        assert repr(table) == f"<InFlight in_flight={len(waiting)} orphaned={table.orphaned} limit={self.limit}>"


TestInFlightModel = InFlightMachine.TestCase
TestInFlightModel.settings = settings(max_examples=60, stateful_step_count=40)


def test_all_ids_are_given_out_once_then_none() -> None:
    table = InFlight(MAX_STREAM_IDS)
    assert sorted(table.acquire(n) for n in range(MAX_STREAM_IDS)) == list(range(MAX_STREAM_IDS))
    assert table.acquire("one more") == -1
    assert table.room == 0
    order = list(range(MAX_STREAM_IDS))
    random.Random(1).shuffle(order)
    assert sorted(table.pop(stream) for stream in order) == list(range(MAX_STREAM_IDS))
    assert sorted(table.acquire(n) for n in range(MAX_STREAM_IDS)) == list(range(MAX_STREAM_IDS))
    table.check()


def test_low_ids_are_taken_first() -> None:
    """Servers and proxies keep tables by stream id: high ones only under load."""
    table = InFlight(MAX_STREAM_IDS)
    assert [table.acquire(n) for n in range(200)] == list(range(200))
    table.pop(7)
    assert table.acquire("x") == 7


def test_orphans_do_not_count_for_the_limit_but_take_ids() -> None:
    table = InFlight(MAX_STREAM_IDS)
    for n in range(MAX_STREAM_IDS):
        target = object()
        stream = table.acquire(target)
        if n < 30_000:
            assert table.orphan(stream, target)
    assert (table.in_flight, table.orphaned, table.room) == (2768, 30_000, 0)
    assert table.acquire("none left") == -1
    assert table.pop(5) is None
    assert table.late_replies == 1
    assert table.acquire("the id of the late reply") == 5
    table.check()

    limited = InFlight(2)
    first = object()
    stream = limited.acquire(first)
    limited.acquire("b")
    assert limited.acquire("c") == -1
    limited.orphan(stream, first)
    assert limited.room == 1
    assert limited.acquire("c") not in (-1, stream)


@pytest.mark.parametrize("limit", [0, -1, MAX_STREAM_IDS + 1])
def test_limits_that_the_protocol_does_not_have(limit: int) -> None:
    with pytest.raises(ValueError, match=str(limit)):
        InFlight(limit)


@pytest.mark.parametrize("stream", [-1, 64, 32767, 32768, -(1 << 31), (1 << 31) - 1])
def test_replies_on_streams_that_never_were(stream: int) -> None:
    table = InFlight()
    table.acquire("a")
    with pytest.raises(FrameError, match="nothing was ever sent"):
        table.pop(stream)
    assert not table.orphan(stream, "a")
    table.check()
    assert table.in_flight == 1


def test_expire_finds_the_earliest_of_those_it_leaves() -> None:
    table = InFlight()
    assert table.earliest == NEVER
    table.acquire("a", None, 5.0)
    stream = table.acquire("b", None, 3.0)
    assert table.expire(2.0) == []
    assert table.earliest == 3.0
    table.pop(stream)
    assert table.expire(4.0) == []
    assert table.earliest == 5.0
    assert table.expire(5.0) == ["a"], "due at its deadline, not behind it"
    assert table.earliest == NEVER
    assert table.expire(1e18) == []


def test_a_request_that_was_given_up_does_not_expire() -> None:
    table = InFlight()
    target = object()
    assert table.orphan(table.acquire(target, None, 1.0), target)
    assert table.expire(2.0) == [] and (table.in_flight, table.orphaned) == (0, 1)


def test_expire_leaves_what_is_beyond_its_limit() -> None:
    table = InFlight()
    for deadline in (1.0, 5.0, 2.0, 1.0):
        table.acquire(deadline, None, deadline)
    assert table.expire(3.0, 2) == [1.0, 2.0]
    assert table.earliest == 1.0 and table.orphaned == 2
    table.check()
    assert table.expire(3.0, 2) == [1.0] and table.earliest == 5.0


def test_a_freed_id_forgets_its_deadline() -> None:
    table = InFlight()
    table.pop(table.acquire("a", None, 1.0))
    assert table.acquire("b") == 0
    assert table.expire(2.0) == []
    assert table.waiting() == ["b"]


def test_references_go_with_the_request() -> None:
    """Neither targets nor readers are held on to by a free or an orphaned id."""
    import sys

    class Marker:
        pass

    target, reader = Marker(), Marker()
    before = sys.getrefcount(target), sys.getrefcount(reader)
    table = InFlight()
    table.pop(table.acquire(target, reader))
    table.orphan(table.acquire(target, reader), target)
    table.acquire(target, reader, 1.0)
    table.expire(1.0)
    table.acquire(target, reader)
    table.drain()
    assert (sys.getrefcount(target), sys.getrefcount(reader)) == before
