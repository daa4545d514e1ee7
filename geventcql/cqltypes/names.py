"""CQL type names as nested Python lists, and back (layer: model). Pure functions on text."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["cql_types_from_string", "cqltype_to_python", "python_to_cqltype", "strip_frozen"]

_TOKEN = re.compile(r'"(?:[^"]|"")*"|[A-Za-z0-9_]+|[<>]')


def cql_types_from_string(cql_type: str) -> list[str]:
    """The names in a CQL type from left to right, `frozen` left out (`cassandra.cqltypes.cql_types_from_string`)."""
    return [name for name in re.findall(r"[A-Za-z0-9_]+", cql_type) if name != "frozen"]


def cqltype_to_python(cql_string: str) -> list[Any]:
    """A CQL type as a list, the parameters of a type in a list behind it: `frozen<tuple<text, int>>` is
    `['frozen', ['tuple', ['text', 'int']]]` (`cassandra.cqltypes.cqltype_to_python`).

    ValueError if its angle brackets do not match.
    """
    levels: list[list[Any]] = [[]]
    for token in _TOKEN.findall(cql_string):
        if token == "<":
            levels.append([])
        elif token != ">":
            levels[-1].append(token)
        elif len(levels) > 1:
            inner = levels.pop()
            levels[-1].append(inner)
        else:
            raise ValueError(f"'>' without '<' in the CQL type {cql_string!r}")
    if len(levels) > 1:
        raise ValueError(f"'<' without '>' in the CQL type {cql_string!r}")
    return levels[0]


def python_to_cqltype(types: list[Any]) -> str:
    """The CQL type that :func:`cqltype_to_python` gives `types` for (`cassandra.cqltypes.python_to_cqltype`)."""
    written = ""
    for item in types:
        if isinstance(item, list):
            written += f"<{python_to_cqltype(item)}>"
        else:
            written += f", {item}" if written else item
    return written


def strip_frozen(cql: str) -> str:
    """A CQL type without its `frozen<...>`: `frozen<tuple<int>>` is `tuple<int>` (`cassandra.cqltypes.strip_frozen`)."""
    return python_to_cqltype(_without_frozen(cqltype_to_python(cql)))


def _without_frozen(types: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for i, item in enumerate(types):
        if item == "frozen" and i + 1 < len(types) and isinstance(types[i + 1], list):
            continue
        if not isinstance(item, list):
            kept.append(item)
        elif i and types[i - 1] == "frozen":
            kept.extend(_without_frozen(item))
        else:
            kept.append(_without_frozen(item))
    return kept
