"""What files that are no sources say of cassandra-driver (layer: facade): told, and left as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from geventcql.cli.mapping import DEPENDS, MODULES

__all__ = ["mentions"]

_KINDS = (
    (re.compile(r"(?<![\w.-])cassandra[-_.]driver(?![\w-])", re.IGNORECASE), DEPENDS),
    (
        re.compile(r"(?<![\w.-])(?:{})(?:\.[A-Z]\w*)?(?![\w.-])".format("|".join(re.escape(m) for m in MODULES if "." in m))),
        "names a part of cassandra-driver, left as it is",
    ),
    (
        re.compile(r"(?<=qualname)\s*[=:]\s*cassandra\b(?![-.])"),
        "names a logger of cassandra-driver, left as it is; here it is geventcql",
    ),
)


def mentions(text: str) -> Iterator[tuple[int, str]]:
    """Lines of settings that name the package, its modules, or in a logging configuration its logger, as (line, what)."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, what in _KINDS:
            if pattern.search(line):
                yield number, f"{line.strip()!r}: {what}"
