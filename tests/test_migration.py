"""Every public name of cassandra-driver's modules, and attribute of their classes and instances, that is not there stands in
docs/migration.md, and no other does.
"""

from __future__ import annotations

import ast
import fnmatch
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import cassandra
import pytest

from geventcql.unsupported import Unsupported

PAGE = Path(__file__).parents[1] / "docs" / "migration.md"
MODULES = [
    "", "auth", "cluster", "concurrent", "connection", "cqltypes", "encoder", "io.geventreactor", "marshal", "metadata",
    "metrics", "murmur3", "policies", "pool", "protocol", "query", "timestamps", "util",
]  # fmt: skip
INSIDE = {"cluster.ControlConnection", "connection.Connection", "io.geventreactor.GeventConnection"}
"""Classes of the driver's inside, which only share their names."""
NOT_MEANT = {
    "log", "NullHandler",
    "recv_body", "recv_error_info", "serialize_safe", "deserialize_safe",  # how classes of theirs are cut inside
}  # fmt: skip


def defined(statements: list[ast.stmt]) -> Iterator[str]:
    """What a module's own statements define: compiled or not, without what it imports."""
    for statement in statements:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            yield statement.name
        elif isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
        elif isinstance(statement, (ast.If, ast.Try)):
            yield from defined([*statement.body, *statement.orelse])


@functools.cache
def source(module: str) -> list[ast.stmt]:
    path = Path(cassandra.__file__).parent.joinpath(*(module or "__init__").split(".")).with_suffix(".py")
    return ast.parse(path.read_text()).body


def missing_in_module(module: str) -> set[str]:
    ours = importlib.import_module(f"geventcql.{module}".rstrip("."))
    names = {name for name in defined(source(module)) if not name.startswith("_")}
    return {name for name in names - NOT_MEANT if not hasattr(ours, name)}


def classes() -> list[str]:
    """The classes that both have."""
    return [
        f"{module}.{node.name}".lstrip(".")
        for module in MODULES
        for node in source(module)
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and f"{module}.{node.name}" not in INSIDE
        and is_there(module, node.name)
    ]


def is_there(module: str, name: str) -> bool:
    """Whether we have the class, for use."""
    ours = getattr(importlib.import_module(f"geventcql.{module}".rstrip(".")), name, None)
    return ours is not None and not issubclass(ours, Unsupported)


def is_property(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator) in ("property", f"{function.name}.setter") for decorator in function.decorator_list)


def defined_in_class(node: ast.ClassDef) -> set[str]:
    """Methods, properties, what the class body assigns, and what methods set on `self`."""
    names = {each for each in defined(node.body) if not each.startswith("_")}
    names |= {each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)}
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.args.args:
            names |= set_on(method, method.args.args[0].arg)
    return {each for each in names if not each.startswith("_")}


def class_of(module: str, name: str) -> ast.ClassDef | None:
    """The definition of a class of cassandra-driver's."""
    return next((node for node in source(module) if isinstance(node, ast.ClassDef) and node.name == name), None)


def defined_in_bases(module: str, node: ast.ClassDef) -> set[str]:
    """What it inherits from classes whose own names are private."""
    names: set[str] = set()
    for base in node.bases:
        private = class_of(module, base.id) if isinstance(base, ast.Name) and base.id.startswith("_") else None
        if private is not None:
            names |= defined_in_class(private) | defined_in_bases(module, private)
    return names


def set_on(node: ast.AST, owner: str) -> set[str]:
    """The attributes that are set on the variable of this name."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == owner
    }


def has(ours: Any, name: str) -> bool:
    """Whether the class, or its instances, have an attribute."""
    if issubclass(ours, Enum) and name in ("name", "value"):
        return True
    return hasattr(ours, name) or any(name in attributes(cls) for cls in ours.__mro__)


@functools.cache
def attributes(cls: type) -> set[str]:
    """What a class of ours, without its bases, annotates or sets on `self`; a compiled one has its attributes itself."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return set()
    return {*inspect.get_annotations(cls), *set_on(tree, "self")}


def missing_in_class(path: str) -> set[str]:
    module, _, name = path.rpartition(".")
    theirs = class_of(module, name)
    assert theirs is not None
    ours = getattr(importlib.import_module(f"geventcql.{module}".rstrip(".")), name)
    names = defined_in_class(theirs) | defined_in_bases(module, theirs)
    return {name for name in names - NOT_MEANT if not has(ours, name)}


def documented() -> dict[str, list[str]]:
    """The table of the page: names, or patterns of names, by module or class."""
    section = PAGE.read_text().partition("## Names that are missing")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(?:geventcql\.?)?([\w.]*)`[^|]*\|(.*)\|$", section, re.MULTILINE)
    return {where: re.findall(r"`([^`]+)`", names) for where, names in rows}


CLASSES = classes()


@pytest.mark.parametrize("where", [*MODULES, *CLASSES])
def test_what_is_missing_is_documented(where: str) -> None:
    missing = missing_in_module(where) if where in MODULES else missing_in_class(where)
    patterns = documented().get(where, [])
    undocumented = {name for name in missing if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}
    assert not undocumented, "missing, and not in docs/migration.md"
    stale = [pattern for pattern in patterns if not fnmatch.filter(missing, pattern)]
    assert not stale, "in docs/migration.md, and not missing"


def test_the_table_is_about_what_is_looked_at() -> None:
    assert documented().keys() <= {*MODULES, *CLASSES}
