"""The inputs that fuzzing kept, on the build that is tested: those that found something and were mended are among them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from tests.fuzz.campaign import TARGETS, kept
from tests.fuzz.seeds import seeds


@pytest.fixture(autouse=True)
def numbers_of_any_length() -> Iterator[None]:
    """The oracles write them as text."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs(target: str) -> None:
    inputs = [*seeds(target), *kept(target)]
    assert len(inputs) >= 2
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_left_of_them(target: str) -> None:
    """A reference too many, on whatever way out, has each run leave something. What caches keep comes to an end."""
    inputs = [*seeds(target), *kept(target)]

    def left_by_fifty_runs() -> int:
        before = sys.getallocatedblocks()
        for _ in range(50):
            for data in inputs:
                TARGETS[target](data)
        gc.collect()
        return sys.getallocatedblocks() - before

    assert any(left_by_fifty_runs() < 25 for _ in range(60))
