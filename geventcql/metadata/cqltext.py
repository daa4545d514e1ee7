"""Pieces of CQL: the names in the text of a type, maps of options, and statements on one line or several.

Layer: model. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from geventcql.metadata.names import protect_value

__all__ = ["braced", "commented", "map_literal", "separator", "type_names", "unfrozen"]

_NAME = re.compile(r"""'(?:[^']|'')*' | "(?P<quoted>(?:[^"]|"")+)" | (?P<word>\w+)""", re.VERBOSE)


def unfrozen(cql_type: str) -> str:
    """The type without `frozen<...>` around the whole: how arguments of functions are written, which are frozen anyway.
    Within, it has to stay.
    """
    return cql_type[len("frozen<") : -1] if cql_type.startswith("frozen<") else cql_type


def type_names(cql_type: str) -> list[str]:
    """The names of all types in the text of a type, without quotes: of user types, and of those that CQL knows."""
    found = []
    for match in _NAME.finditer(cql_type):  # single quotes are around Java classes
        if match["quoted"]:
            found.append(match["quoted"].replace('""', '"'))
        elif match["word"]:
            found.append(match["word"])
    return found


def map_literal(options: Mapping[str, str]) -> str:
    """The CQL literal of a map of texts, in its own order."""
    return "{" + ", ".join(f"{protect_value(key)}: {protect_value(value)}" for key, value in options.items()) + "}"


def commented(text: str) -> str:
    """What may stand between `/*` and `*/`: names may have any characters."""
    return text.replace("*/", "* /")


def separator(formatted: bool) -> str:
    """What stands between the clauses of a statement: a new line and an indent, or a space."""
    return "\n    " if formatted else " "


def braced(parts: Iterable[str], formatted: bool) -> str:
    """`(part, part)`, each on a line of its own if `formatted`."""
    if formatted:
        return "(\n" + ",\n".join(f"    {part}" for part in parts) + "\n)"
    return f"({', '.join(parts)})"
