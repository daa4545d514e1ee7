"""Medians over rounds, and medians of each round's own ratios."""

from __future__ import annotations

from benchmarks import stats
from benchmarks.plan import Cell, Sample
from benchmarks.stats import Spread

SELECT, SYNC = Cell("select", 256), Cell("sync1")


def one_round(**rates: float) -> dict[str, list[Sample]]:
    """A round in which each entry measured SELECT at this rate, with 1e6 / rate microseconds of CPU."""
    return {name: [Sample("select", 256, rate, 1e6 / rate)] for name, rate in rates.items()}


def test_spread_of_odd_and_even_numbers_of_values() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    assert Spread.of([4.0, 1.0, 2.0, 3.0]) == Spread(2.5, 1.0, 4.0, 4)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert Spread.of([]) is None


def test_spread_of_an_entry_over_the_rounds() -> None:
    rounds = [one_round(ours=rate) for rate in (100.0, 400.0, 200.0)]
    assert stats.spread(rounds, "ours", SELECT, "rate") == Spread(200.0, 100.0, 400.0, 3)
    assert stats.spread(rounds, "ours", SELECT, "cpu_us") == Spread(5000.0, 2500.0, 10000.0, 3)


def test_ratio_is_the_median_of_the_ratios_not_the_ratio_of_the_medians() -> None:
    """The machine was four times as fast in the second round and slow for one entry in the third."""
    measured = ((200.0, 100.0), (840.0, 400.0), (40.0, 200.0))
    rounds = [one_round(ours=ours, theirs=theirs) for ours, theirs in measured]
    found = stats.ratio(rounds, "ours", "theirs", SELECT, "rate")
    assert found is not None
    assert found == Spread(2.0, 0.2, 2.1, 3)
    by_medians = 200.0 / 200.0
    assert found.median != by_medians


def test_ratio_of_cpu_times() -> None:
    rounds = [one_round(ours=200.0, theirs=100.0)]
    assert stats.ratio(rounds, "ours", "theirs", SELECT, "cpu_us") == Spread(0.5, 0.5, 0.5, 1)


def test_rounds_without_both_entries_are_left_out() -> None:
    rounds = [one_round(ours=200.0, theirs=100.0), one_round(ours=1.0), one_round(theirs=1.0)]
    assert stats.values(rounds, "theirs", SELECT, "rate") == [100.0, None, 1.0]
    assert stats.ratio(rounds, "ours", "theirs", SELECT, "rate") == Spread(2.0, 2.0, 2.0, 1)
    assert stats.ratio(rounds, "ours", "nobody", SELECT, "rate") is None


def test_cells_do_not_mix() -> None:
    samples = [Sample("select", 256, 10.0, 1.0), Sample("select", 1, 20.0, 1.0), Sample("sync1", 1, 30.0, 1.0)]
    rounds = [{"ours": samples}]
    assert stats.values(rounds, "ours", SELECT, "rate") == [10.0]
    assert stats.values(rounds, "ours", SYNC, "rate") == [30.0]
    assert stats.values(rounds, "ours", Cell("insert", 256), "rate") == [None]


def test_a_rate_of_nothing_gives_no_ratio() -> None:
    rounds = [{"ours": [Sample("select", 256, 5.0, 1.0)], "theirs": [Sample("select", 256, 0.0, 1.0)]}]
    assert stats.ratio(rounds, "ours", "theirs", SELECT, "rate") is None
