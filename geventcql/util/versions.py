"""Release versions of Cassandra (layer: foundation)."""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Any


@total_ordering
class Version:
    """A release version of Cassandra: major.minor[.patch[.build]][-prerelease][+build metadata].

    ValueError if the text is none. Ordered by the numbers, then a prerelease before its release; build metadata is
    ignored.
    """

    _TEXT = r"(\d+)\.(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[~\-](\w[.\w]*(?:-\w[.\w]*)*))?(?:\+[.\w]+)?"

    def __init__(self, version: str) -> None:
        match = re.fullmatch(Version._TEXT, version, re.ASCII)
        if match is None:
            raise ValueError(f"Version string {version} did not match expected format")
        self._version = version
        self.major = int(match[1])
        self.minor = int(match[2])
        self.patch = int(match[3] or 0)
        self.build = int(match[4] or 0)
        self.prerelease: str = match[5] or ""

    def _key(self) -> tuple[Any, ...]:
        return self.major, self.minor, self.patch, self.build, not self.prerelease, self.prerelease

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return self._key() == other._key()

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        return self._version

    def __repr__(self) -> str:
        parts = [str(self.major), str(self.minor), str(self.patch)]
        parts += [str(part) for part in (self.build, self.prerelease) if part]
        return f"Version({', '.join(parts)})"
