"""The inputs that fuzzing kept, on the build that is tested: those that found something and were mended are among them."""

from __future__ import annotations

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
