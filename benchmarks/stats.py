"""From rounds of samples to figures: medians over the rounds, and medians of the ratios that each round gives.

A ratio is taken within a round, where both drivers met the same machine in the same minute, and the median over the
rounds then forgets the rounds in which the machine was busy with something else. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks.plan import Cell, Sample

Figure = Literal["rate", "cpu_us"]
Round = Mapping[str, Sequence[Sample]]  # what each entry ("geventcql v4") measured in one round


@dataclass(frozen=True)
class Spread:
    """The median of some values and the least and the greatest of them."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """The spread of `values`, None when there are none."""
        found = sorted(values)
        return cls(median(found), found[0], found[-1], len(found)) if found else None


def values(rounds: Sequence[Round], entry: str, cell: Cell, figure: Figure) -> list[float | None]:
    """What `entry` measured of `cell` in each round; None for a round in which it measured no such thing."""
    found = []
    for samples in rounds:
        of_cell = [getattr(sample, figure) for sample in samples.get(entry, ()) if sample.cell == cell]
        found.append(of_cell[0] if of_cell else None)
    return found


def spread(rounds: Sequence[Round], entry: str, cell: Cell, figure: Figure) -> Spread | None:
    """The spread of one entry's figure over the rounds."""
    return Spread.of(value for value in values(rounds, entry, cell, figure) if value is not None)


def ratio(rounds: Sequence[Round], over: str, under: str, cell: Cell, figure: Figure) -> Spread | None:
    """The spread of `over` divided by `under`, each round's own ratio; None when no round measured both."""
    pairs = zip(values(rounds, over, cell, figure), values(rounds, under, cell, figure), strict=True)
    return Spread.of(a / b for a, b in pairs if a is not None and b is not None and b > 0)
