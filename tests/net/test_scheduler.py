"""The scheduler: order, cancelling, a heap that stays small, callbacks that raise, a hub that is not kept busy."""

from __future__ import annotations

import gc
import random
import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.net.scheduler import MAX_TURN, REBUILD_FLOOR, Scheduler, Turn
from tests.support.invariants import HubError
from tests.support.waits import eventually


@pytest.fixture
def scheduler() -> Any:
    """A scheduler of its own, so that other tests' timers do not count."""
    scheduler = Scheduler(gevent.get_hub())
    yield scheduler
    assert len(scheduler) == 0, "a test left a timer"


def test_one_for_each_hub() -> None:
    assert Scheduler.for_hub() is Scheduler.for_hub(gevent.get_hub())


def test_order_of_time_then_of_registration(scheduler: Scheduler) -> None:
    now = time.monotonic() + 0.01
    whens = [random.Random(1).randrange(5) * 0.005 for _ in range(200)]
    seen: list[tuple[float, int]] = []
    done = Event()
    for index, offset in enumerate(whens):
        scheduler.call_at(now + offset, lambda *item: seen.append(item), offset, index)
    scheduler.call_at(now + 0.03, done.set)
    assert len(scheduler) == 201
    assert done.wait(5)
    assert seen == sorted(seen) and len(seen) == 200


def test_runs_in_the_hub_and_not_early(scheduler: Scheduler) -> None:
    seen: list[tuple[Any, float]] = []
    done = Event()

    def note(when: float) -> None:
        seen.append((gevent.getcurrent(), time.monotonic() - when))

    start = time.monotonic()
    for n in range(20):
        scheduler.call_at(start + n * 0.005, note, start + n * 0.005)
    scheduler.call_later(0.11, done.set)
    assert done.wait(5)
    assert all(greenlet is gevent.get_hub() for greenlet, _ in seen)
    late = sorted(late for _, late in seen)
    assert late[0] >= 0 and late[10] < 0.02 and late[-1] < 1, late  # the machine may be busy with other things


def test_an_earlier_one_added_later(scheduler: Scheduler) -> None:
    late, early = Event(), Event()
    timer = scheduler.call_later(1.5, late.set)
    gevent.sleep(0.01)
    start = time.monotonic()
    scheduler.call_later(0.01, early.set)
    assert early.wait(5) and time.monotonic() - start < 1 and not late.is_set()
    assert late.wait(5) and not timer.pending


def test_times_that_have_passed_run_soon(scheduler: Scheduler) -> None:
    done = Event()
    scheduler.call_at(time.monotonic() - 100, done.set)
    assert not done.is_set(), "not in the caller: it may hold things together that must not be seen yet"
    assert done.wait(1)


def test_cancel(scheduler: Scheduler) -> None:
    seen: list[int] = []
    payload = Event()  # stands for what a request holds
    references = len(gc.get_referrers(payload))
    timers = [scheduler.call_later(0.01, seen.append, n) for n in range(3)]
    held = scheduler.call_later(100, payload.wait, payload)
    assert held.pending and len(scheduler) == 4
    held.cancel()
    assert len(gc.get_referrers(payload)) == references, "a cancelled timer holds on to nothing"
    timers[1].cancel()
    timers[1].cancel()
    assert not timers[1].pending and len(scheduler) == 2
    gevent.sleep(0.03)
    assert seen == [0, 2] and not any(timer.pending for timer in timers)
    timers[0].cancel()  # has run: harmless
    assert len(scheduler) == 0


def test_cancelling_from_a_callback(scheduler: Scheduler) -> None:
    """One that is due in the same pass, one of the future, and itself."""
    seen: list[str] = []
    when = time.monotonic() + 0.01
    timers: dict[str, Any] = {}

    def first() -> None:
        seen.append("first")
        for timer in timers.values():
            timer.cancel()

    timers["first"] = scheduler.call_at(when, first)
    timers["second"] = scheduler.call_at(when, seen.append, "second")
    timers["third"] = scheduler.call_at(when + 0.005, seen.append, "third")
    for n in range(3 * REBUILD_FLOOR):  # so that the heap is made anew while it is gone through
        timers[str(n)] = scheduler.call_at(when + n * 1e-5, seen.append, str(n))
    last = Event()
    scheduler.call_at(when + 0.02, last.set)
    assert last.wait(5)
    assert seen == ["first"]


def test_the_heap_does_not_grow_with_cancelled_timers(scheduler: Scheduler) -> None:
    """A request that is answered cancels a timer that is ten seconds away; a million of those must not pile up."""
    kept = [scheduler.call_later(50, int) for _ in range(10)]
    largest = 0
    for _ in range(100_000):
        scheduler.call_later(10, int).cancel()
        largest = max(largest, len(scheduler._heap))
    assert largest <= 2 * REBUILD_FLOOR + len(kept)
    assert len(scheduler) == 10
    many = [scheduler.call_later(10 + n * 1e-4, int) for n in range(20_000)]
    assert len(scheduler) == 20_010
    random.Random(2).shuffle(many)
    start = time.process_time()
    for timer in many:
        timer.cancel()
        assert len(scheduler._heap) <= 2 * len(scheduler) + 2 * REBUILD_FLOOR
    assert time.process_time() - start < 2, "cancelling is not quadratic"
    for timer in kept:
        timer.cancel()
    assert len(scheduler._heap) <= REBUILD_FLOOR


def test_a_callback_that_raises(scheduler: Scheduler, hub_errors: list[HubError]) -> None:
    """Reported once; it does not run again, and the others and everybody else go on (pitfall A2)."""
    runs: list[str] = []
    ticks: list[float] = []

    def bad() -> None:
        runs.append("bad")
        raise ZeroDivisionError("on purpose")

    def tick() -> None:
        while True:
            gevent.sleep(0.001)
            ticks.append(time.monotonic())

    ticker = gevent.spawn(tick)
    when = time.monotonic() + 0.02
    scheduler.call_at(when, runs.append, "before")
    scheduler.call_at(when, bad)
    scheduler.call_at(when, runs.append, "after")
    done = Event()
    scheduler.call_at(when + 0.02, done.set)
    assert done.wait(5)
    eventually(lambda: sum(at > when + 0.02 for at in ticks) > 10)
    ticker.kill()
    assert runs == ["before", "bad", "after"]
    assert [error.text for error in hub_errors] == ["ZeroDivisionError: on purpose"]
    hub_errors.clear()


def test_the_hub_sleeps_between_timers(scheduler: Scheduler) -> None:
    """No busy loop: neither before a timer is due nor because of cancelled ones at the head of the heap."""
    loop = gevent.get_hub().loop
    done = Event()
    scheduler.call_later(0.3, done.set)
    for n in range(20):
        scheduler.call_later(0.05 + n * 0.001, int).cancel()
    gevent.sleep(0)
    turns, cpu = loop.iteration, time.thread_time()
    assert done.wait(5)
    assert loop.iteration - turns < 15, "the loop turned without anything to do"
    assert time.thread_time() - cpu < 0.05


def test_an_idle_scheduler_has_no_watcher(scheduler: Scheduler) -> None:
    done = Event()
    scheduler.call_later(0.001, done.set)
    assert done.wait(5)
    gevent.sleep(0)
    assert len(scheduler) == 0 and scheduler._watcher is None
    timers = [scheduler.call_later(5, int) for _ in range(REBUILD_FLOOR + 1)]  # as few as the heap is rebuilt for
    for timer in timers:
        timer.cancel()
    assert not scheduler._heap and scheduler._watcher is None


def test_timers_that_come_back_at_once_starve_nobody(scheduler: Scheduler) -> None:
    """A callback that asks for a time that has passed runs again, but others get their turn between."""
    left = [100]
    ticks: list[int] = []

    def again() -> None:
        left[0] -= 1
        if left[0]:
            scheduler.call_at(0.0, again)

    def tick() -> None:
        while left[0]:
            ticks.append(left[0])
            gevent.sleep(0)

    scheduler.call_at(0.0, again)
    ticker = gevent.spawn(tick)
    with gevent.Timeout(5):
        ticker.join()
    assert len(set(ticks)) > 20, "all ran in one pass of the hub"


def test_a_callback_after_the_hub_was_busy(scheduler: Scheduler) -> None:
    """The loop's own notion of time is old then: nothing may run early because of that."""
    early: list[float] = []
    done = Event()

    def note(when: float) -> None:
        early.append(time.monotonic() - when)
        done.set()

    stop = time.monotonic() + 0.2
    while time.monotonic() < stop:
        pass
    when = time.monotonic() + 0.1
    scheduler.call_at(when, note, when)
    assert done.wait(5)
    assert 0 <= early[0] < 1


def test_wall_clock_steps_do_not_matter(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Event()
    start = time.monotonic()
    scheduler.call_later(0.1, done.set)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    gevent.sleep(0.02)
    assert not done.is_set()
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert done.wait(5)
    assert 0.1 <= time.monotonic() - start < 3


def test_who_works_long_gives_way() -> None:
    ran: list[int] = []
    turn = Turn()
    turn._ends = time.monotonic() + 60
    other = gevent.spawn(ran.append, 1)
    turn.give_way()
    assert ran == []
    turn._ends = time.monotonic() - MAX_TURN
    turn.give_way()
    assert ran == [1] and turn._ends > time.monotonic() - MAX_TURN
    other.join()
