"""``USE`` statements (layer: driver): recognised by the client, since a pooled connection must never be sent one. Pure."""

from __future__ import annotations

import re

__all__ = ["is_use", "used"]

_USE = re.compile(
    r"""\A (?: \s | --[^\n]*\n | //[^\n]*\n | /\*.*?\*/ )*
        USE (?: \s | /\*.*?\*/ )+
        (?: "(?P<quoted>(?:[^"]|"")+)" | (?P<plain>\w+) )
        \s* ;? \s* \Z""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def is_use(query: str) -> bool:
    """Whether ``query`` is a USE statement."""
    return _USE.match(query) is not None


def used(query: str) -> str:
    """The keyspace that a USE statement names: as it is in quotes, in lower case without.

    :raises ValueError: it is no USE statement
    """
    match = _USE.match(query)
    if match is None:
        raise ValueError(f"not a USE statement: {query!r}")
    quoted: str | None = match["quoted"]
    return quoted.replace('""', '"') if quoted is not None else match["plain"].lower()
