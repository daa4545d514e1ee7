"""How CQL and what servers say are shown in reprs, logs and errors (layer: model).

What stands in a statement's strings may be a password, and what a server sends may be anything: neither goes anywhere that
people read but in a short form. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["shown_cql", "shown_words"]

MOST_CQL = 500
"""Characters of a statement."""
MOST_WORDS = 10
"""Texts of a server, as many at a time."""
MOST_OF_EACH = 1000
"""Characters of each."""

# Quoted names stay; strings and blobs do not, be they cut off, nor do comments, whose quotes are none.
_NAMES_AND_LITERALS = re.compile(
    r"""("[^"]*")|'[^']*(?:'|\Z)|\$\$.*?(?:\$\$|\Z)|\b0[xX][0-9a-fA-F]+|((?:--|//)[^\n]*|/\*.*?(?:\*/|\Z))""", re.DOTALL
)
_LITERAL = "'...'"


def shown_cql(text: str | None) -> str:
    """CQL with ``'...'`` in place of its strings and blobs, ``--`` in place of comments, cut off behind 500 characters."""
    if text is None:
        return ""
    masked = _NAMES_AND_LITERALS.sub(_shown, text[: 4 * MOST_CQL])
    masked = masked.replace(_LITERAL * 2, _LITERAL)  # a doubled quote is no end of a string
    return masked if len(masked) <= MOST_CQL and len(text) <= 4 * MOST_CQL else masked[:MOST_CQL] + "..."


def _shown(found: re.Match[str]) -> str:
    return found[1] or (_LITERAL if found[2] is None else "--")


def shown_words(texts: Sequence[str]) -> str:
    """What a server says, on one line: line breaks and other characters that are not to be seen are written as in Python."""
    told = "; ".join(_printable(text) for text in texts[:MOST_WORDS])
    return told if len(texts) <= MOST_WORDS else f"{told}; and {len(texts) - MOST_WORDS} more"


def _printable(text: str) -> str:
    cut = text[:MOST_OF_EACH]
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)
    return shown if len(text) <= MOST_OF_EACH else shown + "..."
