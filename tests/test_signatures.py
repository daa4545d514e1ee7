"""Whatever cassandra-driver's public functions, classes and methods can be called with, geventcql's can be, too; where they
cannot, docs/migration.md says so, and nowhere else.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.test_migration import CLASSES, MODULES, PAGE

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
BY_POSITION = {"serialize", "deserialize"}  # whose parameters have another name in each of theirs
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def module_of(package: str, module: str) -> Any:
    return importlib.import_module(f"{package}.{module}".rstrip("."))


def signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # compiled without one
        return None


def alike(theirs: Any, ours: Any) -> bool:
    """Whether two defaults mean the same: equal, of the same class or name, or both a mark for "left out"."""
    if theirs is inspect.Parameter.empty or ours is inspect.Parameter.empty:
        return theirs is ours
    if type(theirs) is object or isinstance(theirs, (list, tuple)):
        return type(ours).__module__.startswith("geventcql") or type(ours) is object or list(theirs) == list(ours)
    if callable(theirs) or type(theirs).__module__.startswith("cassandra"):
        return getattr(theirs, "__name__", type(theirs).__name__) == getattr(ours, "__name__", type(ours).__name__)
    return bool(theirs == ours or theirs != theirs != ours != ours)


def difference(theirs: inspect.Signature, ours: inspect.Signature) -> str:
    """What a call that theirs takes might meet in ours; '' if nothing."""
    mine = list(ours.parameters.values())
    if any(p.kind in VARIABLE for p in theirs.parameters.values()):
        return ""  # handed on to whatever it wraps
    by_position = [p for p in mine if p.kind in POSITIONAL]
    takes_any = {p.kind for p in mine if p.kind in VARIABLE}
    for i, parameter in enumerate(theirs.parameters.values()):
        found = by_position[i] if i < len(by_position) else None
        if found is None:
            if not takes_any:
                return f"no {parameter.name}"
        elif found.name != parameter.name:
            return f"{found.name} where {parameter.name} is"
        elif parameter.default is not inspect.Parameter.empty and not alike(parameter.default, found.default):
            return f"{parameter.name}={found.default!r}, not {parameter.default!r}"
    more = [
        p.name
        for p in mine
        if p.name not in theirs.parameters and p.default is inspect.Parameter.empty and p.kind not in VARIABLE
    ]
    return f"{more[0]} besides" if more else ""


def differences(module: str) -> Iterator[tuple[str, str]]:
    theirs, ours = module_of("cassandra", module), module_of("geventcql", module)
    for name, value in vars(theirs).items():
        mine = getattr(ours, name, None)
        if name.startswith("_") or mine is None or getattr(value, "__module__", None) != theirs.__name__:
            continue
        where = f"{module}.{name}".lstrip(".")
        if inspect.isclass(value):
            if where in CLASSES:
                yield from differences_of_class(where, value, mine)
        elif callable(value):
            yield from compared(where, value, mine)


def differences_of_class(where: str, theirs: type, ours: Any) -> Iterator[tuple[str, str]]:
    if not (issubclass(theirs, BaseException) and "__init__" not in vars(theirs)):
        yield from compared(where, theirs, ours)
    for name, value in vars(theirs).items():
        mine = getattr(ours, name, None)
        if name.startswith("_") or name in BY_POSITION or not callable(mine) or isinstance(value, (property, type)):
            continue
        if callable(getattr(theirs, name)):
            yield from compared(f"{where}.{name}", getattr(theirs, name), mine)


def compared(where: str, theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    signatures = signature(theirs), signature(ours)
    if signatures[0] is not None and signatures[1] is not None:
        found = difference(*signatures)
        if found:
            yield where, found


def documented() -> dict[str, str]:
    section = PAGE.read_text().partition("## Signatures that differ")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `geventcql\.([\w.]+)` \| (.*) \|$", section, re.MULTILINE))


def test_what_differs_is_documented() -> None:
    importable = [module for module in MODULES if module != "metrics"]  # cassandra-driver's needs a package that is no more
    found = {where: how for module in importable for where, how in differences(module)}
    undocumented = {where: how for where, how in found.items() if where not in documented()}
    assert not undocumented, "differs, and not in docs/migration.md"
    assert not documented().keys() - found.keys(), "in docs/migration.md, and the same"


def test_much_is_compared() -> None:
    compared = [where for where in CLASSES if signature(resolve("geventcql", where)) is not None]
    assert len(compared) > 40


def resolve(package: str, where: str) -> Any:
    module, _, name = where.rpartition(".")
    return getattr(module_of(package, module), name)


def as_signature(text: str) -> inspect.Signature:
    namespace: dict[str, Any] = {}
    exec(f"def f({text}): ...", namespace)
    return inspect.signature(namespace["f"])


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ("a, b=1", "a, b=1, *, c=2", ""),
        ("a, b=1", "a, b=1, c=2", ""),
        ("a", "a=None", ""),
        ("a, b", "a, *args", ""),
        ("*args, **kwargs", "host", ""),
        ("a, b=1", "a", "no b"),
        ("a, b=1", "b=1, a=2", "b where a is"),
        ("a, b=1", "a, b=2", "b=2, not 1"),
        ("a, b=1", "a, b", "b=<class 'inspect._empty'>, not 1"),
        ("a", "a, b", "b besides"),
    ],
)
def test_differences_are_found(theirs: str, ours: str, expected: str) -> None:
    assert difference(as_signature(theirs), as_signature(ours)) == expected
