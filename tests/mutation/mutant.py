"""What a mutant is, and where it goes (test support)."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A deliberate bug."""

    bug: str
    """What is wrong, in one line."""
    path: str
    """The file it is in, from the root of the tree."""
    old: str
    """What it takes the place of; occurs once in the file."""
    new: str
    tests: tuple[str, ...]
    """The tests that find it, as pytest takes them."""


def place(text: str, mutant: Mutant) -> int:
    """Where in the text of its file a mutant goes.

    :raises ValueError: the code has moved on: what the mutant takes the place of does not occur once
    """
    if (times := text.count(mutant.old)) != 1:
        raise ValueError(f"{mutant.path} has {times} times what {mutant.bug!r} takes the place of, not once:\n{mutant.old}")
    return text.index(mutant.old)
