"""The bugs of the compiled core in one build, of which the environment switches on one (test support).

Building the core takes longer than all else that a mutant needs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from tests.mutation.mutant import Mutant, place

VARIABLE = "GEVENTCQL_MUTANT"
"""Holds the number of the bug that is switched on."""
DECLARATION = f"""\
import os
cdef int mutant = int(os.environ.get("{VARIABLE}", "0"))
"""


def declared(text: str) -> str:
    """A .pyx file that knows which bug is on, before it includes its parts."""
    head, include, parts = text.partition('include "')
    return head + DECLARATION + include + parts


def switched(text: str, mutants: Iterable[tuple[int, Mutant]]) -> str:
    """The text of a .pxi file with its bugs in it, each behind its number.

    :raises ValueError: what a bug takes the place of does not occur once, or overlaps that of another
    """
    end = len(text)
    for start, number, mutant in sorted(((place(text, mutant), number, mutant) for number, mutant in mutants), reverse=True):
        behind = start + len(mutant.old)
        if behind > end:
            raise ValueError(f"{mutant.bug!r} takes the place of what another one does")
        text = text[:start] + _either(number, mutant) + text[behind:]
        end = start
    return text


def _either(number: int, mutant: Mutant) -> str:
    if not mutant.old.endswith("\n"):
        return f"(({mutant.new}) if mutant == {number} else ({mutant.old}))"
    indent = " " * (len(mutant.old) - len(mutant.old.lstrip(" ")))
    new = mutant.new or f"{indent}pass\n"
    return (
        f"{indent}if mutant == {number}:\n{textwrap.indent(new, '    ')}"
        f"{indent}else:\n{textwrap.indent(mutant.old, '    ')}"
    )
