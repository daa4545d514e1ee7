"""The histogram of durations: against the exact figures of what was recorded."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.cython.wire import Histogram

DURATIONS = st.lists(st.floats(2**-20, 4000.0), min_size=1, max_size=300)
QUANTILES = (0.0, 0.5, 0.75, 0.95, 0.98, 0.99, 0.999, 1.0)
NOW = 1000.0


def filled(durations: list[float], now: float = NOW, period: float = 60.0) -> Histogram:
    histogram = Histogram(period)
    for duration in durations:
        histogram.record(duration, now)
    return histogram


@given(DURATIONS)
def test_statistics_are_those_of_what_was_recorded(durations: list[float]) -> None:
    histogram = filled(durations)
    least, most, mean, deviation, _ = histogram.recent_statistics(())
    assert (least, most) == (min(durations), max(durations))
    assert math.isclose(mean, statistics.fmean(durations))
    exact = statistics.stdev(durations) if len(durations) > 1 else 0.0
    assert math.isclose(deviation, exact, rel_tol=1e-3, abs_tol=1e-6 * most)
    assert histogram.count == len(durations) and math.isclose(histogram.total, math.fsum(durations))


@given(DURATIONS)
def test_quantiles_are_right_to_two_percent(durations: list[float]) -> None:
    found = filled(durations).recent_statistics(QUANTILES)[4]
    ordered = sorted(durations)
    for q, value in zip(QUANTILES, found, strict=True):
        exact = ordered[max(0, math.ceil(q * len(ordered)) - 1)]
        assert math.isclose(value, exact, rel_tol=0.02), q


@given(DURATIONS, st.lists(st.floats(1e-6, 5000.0), max_size=10))
def test_what_is_not_longer_than_a_bound(durations: list[float], bounds: list[float]) -> None:
    bounds = [*sorted(bounds), math.inf]
    counts = filled(durations).cumulative(bounds)
    for bound, count in zip(bounds, counts, strict=True):
        assert sum(d < bound / 1.04 for d in durations) <= count <= sum(d <= bound for d in durations)
    assert counts[-1] == len(durations)


def test_one_that_is_empty() -> None:
    histogram = Histogram()
    assert histogram.recent_statistics((0.5, 0.99)) == (0.0, 0.0, 0.0, 0.0, (0.0, 0.0))
    assert histogram.cumulative([0.1, math.inf]) == [0, 0] and (histogram.count, histogram.total) == (0, 0.0)


@pytest.mark.parametrize("duration", [0.0, 1e-12, 1e9, math.inf])
def test_durations_beyond_the_buckets_are_counted(duration: float) -> None:
    histogram = filled([duration])
    assert histogram.count == 1 and histogram.cumulative([math.inf]) == [1]
    assert histogram.recent_statistics((0.5,))[:2] == (duration, duration)
    assert histogram.recent_statistics((0.5,))[4] == (duration,)


def test_what_is_recent() -> None:
    histogram = filled([1.0], NOW, period=10)
    histogram.record(2.0, NOW + 9)
    assert histogram.recent_statistics(())[:2] == (1.0, 2.0)
    histogram.record(3.0, NOW + 10)  # a new period; the former one still counts
    assert histogram.recent_statistics((1.0,))[:3] == (1.0, 3.0, 2.0)
    histogram.record(4.0, NOW + 20)
    assert histogram.recent_statistics(())[:2] == (3.0, 4.0)
    histogram.record(5.0, NOW + 45)  # in the period between there was nothing
    assert histogram.recent_statistics(())[:2] == (5.0, 5.0)
    assert histogram.count == 5 and histogram.total == 15.0
    assert histogram.cumulative([2.0, 4.5]) == [1, 4]
