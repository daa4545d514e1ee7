"""The command line: which runs are complete, so that they may stand in the documentation and have to meet the targets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.__main__ import PARTS, REPEATS, ROUNDS, SECONDS, Options
from benchmarks.plan import GREENLETS, WORKLOADS
from benchmarks.runner import DRIVERS

COMPLETE = Options(PARTS, ROUNDS, SECONDS, REPEATS, False, WORKLOADS, GREENLETS, DRIVERS, (4, 5), None, None)


def test_the_default_is_complete() -> None:
    assert COMPLETE.complete


@pytest.mark.parametrize(
    "change",
    [
        {"parts": PARTS[:2]}, {"rounds": ROUNDS - 1}, {"seconds": SECONDS / 2}, {"repeats": 1}, {"quick": True},
        {"workloads": WORKLOADS[1:]}, {"greenlets": (256,)}, {"drivers": DRIVERS[:2]}, {"protocols": (4,)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_less_is_not(change: dict[str, object]) -> None:
    assert not replace(COMPLETE, **change).complete  # type: ignore[arg-type]
