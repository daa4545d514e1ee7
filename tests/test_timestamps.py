"""Timestamps: monotonic whatever the clock does, warnings as configured."""

from __future__ import annotations

import logging
import time

import cassandra.timestamps
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.cython import wire
from geventcql.timestamps import MonotonicTimestampGenerator


class Clock:
    """Stands in for time_ns; `now` is in microseconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: int) -> None:
        self.now = now
        monkeypatch.setattr(wire, "time_ns", lambda: self.now * 1000 + 999)


def test_follows_the_clock_and_counts_up_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 5_000_000)
    generator = MonotonicTimestampGenerator()
    assert [generator(), generator(), generator()] == [5_000_000, 5_000_001, 5_000_002]
    clock.now = 6_000_000
    assert generator() == generator.last == 6_000_000


def test_the_real_clock() -> None:
    generator = MonotonicTimestampGenerator()
    before = int(time.time() * 1e6) - 1
    stamps = [generator() for _ in range(20_000)]
    assert stamps == sorted(set(stamps))
    assert before <= stamps[0] <= int(time.time() * 1e6) + 20_000


@given(st.lists(st.integers(min_value=0, max_value=10**7), min_size=1))
def test_never_goes_back(ticks: list[int]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock(monkeypatch, 0)
        generator = MonotonicTimestampGenerator(warn_on_drift=False)
        stamps = []
        for clock.now in ticks:
            stamps.append(generator())
            assert stamps[-1] >= clock.now
        assert stamps == sorted(set(stamps))


def warnings_of(generator: MonotonicTimestampGenerator, clock: Clock, caplog: pytest.LogCaptureFixture) -> list[int]:
    """The moments at which the generator warned while the clock, set back by 5 s, ran on for 4 s in steps of 0.5 s."""
    generator()
    caplog.clear()
    moments = []
    start = clock.now - 5_000_000
    with caplog.at_level(logging.WARNING, "geventcql"):
        for step in range(8):
            clock.now = start + step * 500_000
            generator()
            if caplog.records:
                moments.append(step)
            caplog.clear()
    return moments


@pytest.mark.logs("WARNING The clock is")
def test_warns_at_intervals_while_far_ahead(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock(monkeypatch, 10**10)
    assert warnings_of(MonotonicTimestampGenerator(), clock, caplog) == [0, 2, 4, 6]
    assert warnings_of(MonotonicTimestampGenerator(warning_interval=2), clock, caplog) == [0, 4]
    assert warnings_of(MonotonicTimestampGenerator(warning_threshold=4, warning_interval=0), clock, caplog) == [0, 1, 2]
    assert warnings_of(MonotonicTimestampGenerator(warn_on_drift=False), clock, caplog) == []


@given(st.lists(st.sampled_from([-1_000_001, -1_000_000, -999_999, -1, 0, 1, 500_000, 1_000_000, 2_000_000]), max_size=12))
def test_stamps_and_warnings_are_those_of_cassandra_driver(steps: list[int]) -> None:
    theirs = cassandra.timestamps.MonotonicTimestampGenerator()
    warned: list[int] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock(monkeypatch, 10**12)
        ours = MonotonicTimestampGenerator()
        monkeypatch.setattr("geventcql.timestamps.log.warning", lambda *args: warned.append(0))
        monkeypatch.setattr("cassandra.timestamps.log.warning", lambda *args: warned.append(1))
        for step in (0, *steps):
            clock.now += step
            assert ours() == theirs._next_timestamp(clock.now, theirs.last)
            assert warned in ([], [0, 1])
            warned.clear()
