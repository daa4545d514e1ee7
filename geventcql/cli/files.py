"""Which files a command looks at (layer: facade)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["is_settings", "relevant_files"]

_NOT_SOURCES = {"__pycache__", "node_modules", "site-packages"}
_SETTINGS = (
    "*requirements*.txt", "*requirements*.in", "*constraints*.txt", "*.cfg", "*.conf", "*.ini", "*.toml", "*.yaml", "*.yml",
    "Pipfile", "Dockerfile*",
)  # fmt: skip


def is_settings(path: Path) -> bool:
    """Whether it is no source, but may say what a program needs, or how it logs."""
    return any(fnmatch(path.name, pattern) for pattern in _SETTINGS) or (
        path.parent.name == "requirements" and path.suffix in (".txt", ".in")
    )


def relevant_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The Python files and the settings among `paths` and below the directories among them, each once, sorted.

    A file that is named counts whatever its name; below a directory, hidden ones, virtual environments and caches are left
    out.
    """
    seen: set[Path] = set()
    for path in paths:
        for found in sorted(_below(path)) if path.is_dir() else [path]:
            if found.resolve() not in seen:
                seen.add(found.resolve())
                yield found


def _below(directory: Path) -> Iterator[Path]:
    for name, directories, files in os.walk(directory):
        directories[:] = [
            d
            for d in directories
            if not d.startswith(".") and d not in _NOT_SOURCES and not Path(name, d, "pyvenv.cfg").exists()
        ]
        for path in (Path(name, file) for file in files):
            if path.suffix in (".py", ".pyi") or is_settings(path):
                yield path
