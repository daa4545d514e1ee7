"""``USE`` statements (layer: driver): recognised by the client, since a pooled connection must never be sent one. Pure."""

from __future__ import annotations

import re
from typing import Any

from geventcql.query import SimpleStatement

__all__ = ["used"]

_SPACE = r"(?: \s | --[^\n]*\n | //[^\n]*\n | /\* (?: [^*] | \*(?!/) )* \*/ )"
_USE = re.compile(
    rf"""\A {_SPACE}* USE (?: {_SPACE}+ (?P<plain>\w+) | {_SPACE}* "(?P<quoted>(?:[^"]|"")+)" )
        {_SPACE}* (?: ; {_SPACE}* )? \Z""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def used(query: Any) -> str | None:
    """The keyspace that a USE statement names, as it is in quotes, in lower case without; None for any other statement.

    :param query: CQL text, or any statement
    """
    if isinstance(query, SimpleStatement):
        query = query.query_string
    match = _USE.match(query) if isinstance(query, str) else None
    if match is None:
        return None
    quoted: str | None = match["quoted"]
    return quoted.replace('""', '"') if quoted is not None else match["plain"].lower()
