"""Pieces of CQL: the names in the text of a type, maps of options, and statements on one line or several.

Layer: model. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from geventcql.metadata.names import protect_value

__all__ = ["braced", "map_literal", "separator", "strip_frozen", "type_names"]

_TOKEN = re.compile(r"""(?P<quoted>"(?:[^"]|"")+") | '(?:[^']|'')*' | (?P<word>\w+) | [<>,] | \s+ | .""", re.VERBOSE)


def strip_frozen(cql_type: str) -> str:
    """The type without `frozen<...>` around any part of it: how the arguments of functions are written."""
    parts: list[str] = []
    closing: list[str] = []  # what stands for each ">" to come
    for token in (match[0] for match in _TOKEN.finditer(cql_type)):
        if token == "<" and parts[-1:] == ["frozen"]:
            parts.pop()
            closing.append("")
        elif token == "<":
            parts.append(token)
            closing.append(">")
        elif token == ">" and closing:
            parts.append(closing.pop())
        else:
            parts.append(token)
    return "".join(parts)


def type_names(cql_type: str) -> list[str]:
    """The names of all types in the text of a type, without quotes: of user types, and of those that CQL knows."""
    found = []
    for match in _TOKEN.finditer(cql_type):
        if match["quoted"]:
            found.append(match["quoted"][1:-1].replace('""', '"'))
        elif match["word"]:
            found.append(match["word"])
    return found


def map_literal(options: Mapping[str, str]) -> str:
    """The CQL literal of a map of texts, in its own order."""
    return "{" + ", ".join(f"{protect_value(key)}: {protect_value(value)}" for key, value in options.items()) + "}"


def separator(formatted: bool) -> str:
    """What stands between the clauses of a statement: a new line and an indent, or a space."""
    return "\n    " if formatted else " "


def braced(parts: Iterable[str], formatted: bool) -> str:
    """`(part, part)`, each on a line of its own if `formatted`."""
    if formatted:
        return "(\n" + ",\n".join(f"    {part}" for part in parts) + "\n)"
    return f"({', '.join(parts)})"
