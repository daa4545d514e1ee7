"""The layers of the package: who may import whom, what stays free of I/O, and how long things may get.

A module imports lower layers, or its own layer without a cycle. What is checked is read from the sources, whatever
modules there are; each rule reports its offenders by name. The second half shows that the rules catch what they should.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "geventcql"

LAYERS = ("foundation", "core", "protocol", "model", "net", "driver", "facade")
DIRECTORIES = {
    "cython": "core",
    "protocol": "protocol",
    "policies": "model",
    "metadata": "model",
    "net": "net",
    "io": "facade",
    "testing": "facade",
    "cli": "facade",
    "column_encryption": "facade",
    "cqltypes": "model",
    "ext": "facade",
    "util": "foundation",
}
MODULES = {
    "": "facade",
    "_version": "foundation",
    "errors": "foundation",
    "handed_on": "foundation",
    "auth": "model",
    "encoder": "model",
    "endpoints": "model",
    "host": "model",
    "query": "model",
    "rows": "model",
    "showing": "model",
    "statement": "model",
    "timestamps": "model",
    "trace": "model",
    "unsupported": "model",
    "connection": "facade",
    "cqlengine": "facade",
    "datastax": "facade",
    "graph": "facade",
    "marshal": "model",
    "murmur3": "facade",
    "pool": "facade",
}
PURE = ("foundation", "core", "protocol", "model")
IMPURE = {"gevent", "greenlet", "socket", "_socket", "ssl", "threading", "_thread", "select", "selectors", "asyncio"}
OPENERS = {"socket", "create_connection", "socketpair", "fromfd", "wrap_socket"}
TRANSPORT = "geventcql.net.transport"
LOCKS = {"Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "allocate_lock"}

LONGEST_MODULE = 500
LONGEST_FUNCTION = 60  # lines of its body, the docstring aside
# A flat list of small classes: cutting it in two helps nobody.
LONG_MODULES = {"geventcql.errors": 740}


@dataclass
class Module:
    """A source file: its dotted name, and what it imports, as (dotted name, line)."""

    name: str
    path: Path
    at_import: list[tuple[str, int]] = field(default_factory=list)  # when the module is imported
    later: list[tuple[str, int]] = field(default_factory=list)  # inside functions, or for type checkers only

    @property
    def layer(self) -> str:
        """The layer by the tables above; modules of the package's own directory belong to the driver by default."""
        first, _, rest = self.name.partition(".")[2].partition(".")
        return DIRECTORIES[first] if rest or first in DIRECTORIES else MODULES.get(first, "driver")

    @property
    def imports(self) -> list[tuple[str, int]]:
        return self.at_import + self.later


def read_package(directory: Path) -> dict[str, Module]:
    """All modules of the package: Python sources, stubs of compiled modules and the Cython sources next to them."""
    modules: dict[str, Module] = {}
    for path in sorted(directory.rglob("*.py*")) + sorted(directory.rglob("*.px[id]")):
        if path.suffix not in (".py", ".pyx", ".pxi", ".pxd"):
            continue
        parts = [directory.name, *path.relative_to(directory).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        module = modules.setdefault(name, Module(name, path))
        if path.suffix == ".py":
            read_imports(module, ast.parse(path.read_text(), str(path)))
        else:
            read_cython_imports(module, path.read_text())
    for module in modules.values():
        module.at_import = [(resolve(target, modules), line) for target, line in module.at_import]
        module.later = [(resolve(target, modules), line) for target, line in module.later]
    return modules


def resolve(target: str, modules: dict[str, Module]) -> str:
    """`package.module.name` is the module if there is one, else what contains it."""
    while target not in modules and target.startswith("geventcql.") and "." in target:
        target = target.rpartition(".")[0]
    return target


def imported(node: ast.AST, module: Module) -> list[str]:
    """What an import statement, or a call of import_module with a literal, imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = module.name.split(".") if module.path.name == "__init__.py" else module.name.split(".")[:-1]
            above = above[: len(above) - node.level + 1]
            base = ".".join([*above, *([base] if base else [])])
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and called_name(node) == "import_module" and node.args:
        target = node.args[0]
        return [target.value] if isinstance(target, ast.Constant) and isinstance(target.value, str) else []
    return []


def called_name(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def read_imports(module: Module, node: ast.AST, late: bool = False) -> None:
    """Files the imports below `node` under `at_import` or `later`."""
    for child in ast.iter_child_nodes(node):
        for target in imported(child, module):
            (module.later if late else module.at_import).append((target, child.lineno))  # type: ignore[attr-defined]
        inner = late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inner = True
        read_imports(module, child, inner)


def read_cython_imports(module: Module, source: str) -> None:
    """The same for Cython, line by line; which greenlet-free code they run when is not told apart."""
    for number, line in enumerate(source.splitlines(), 1):
        found = re.match(r"\s*from\s+([\w.]+)\s+c?import\b", line) or re.match(r"\s*c?import\s+([\w.]+)", line)
        if found:
            module.at_import.append((found[1], number))


def own_imports(modules: dict[str, Module]) -> Iterator[tuple[Module, Module, int]]:
    for module in modules.values():
        for target, line in module.imports:
            if target in modules and target != module.name:
                yield module, modules[target], line


# -- the rules; each returns its offenders


def upward_imports(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.name}:{line} ({module.layer}) imports {target.name} ({target.layer})"
        for module, target, line in own_imports(modules)
        if LAYERS.index(target.layer) > LAYERS.index(module.layer)
    ]


def imports_of_the_foundation(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.name}:{line} imports {target.name}"
        for module, target, line in own_imports(modules)
        if module.layer == "foundation" and not f"{target.name}.".startswith(package_of(module))
    ]


def package_of(module: Module) -> str:
    """`geventcql.util.` for `geventcql.util` and what is below it; a plain module is alone in its own."""
    return ".".join(module.name.split(".")[:2]) + "."


def cycles(modules: dict[str, Module]) -> list[str]:
    graph = {
        module.name: {target for target, _ in module.at_import if target in modules and target != module.name}
        for module in modules.values()
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        ring = error.args[1][:-1]
        start = ring.index(min(ring))
        return [" -> ".join([*ring[start:], *ring[:start], ring[start]])]
    return []


def impure_imports(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.name}:{line} ({module.layer}) imports {target}"
        for module in modules.values()
        if module.layer in PURE
        for target, line in module.imports
        if target.partition(".")[0] in IMPURE
    ]


def openers_of_sockets(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.name}:{node.lineno} calls {called_name(node)}"
        for module in modules.values()
        if module.name != TRANSPORT and module.path.suffix == ".py" and ".testing" not in module.name
        for node in ast.walk(ast.parse(module.path.read_text()))
        if isinstance(node, ast.Call) and called_name(node) in OPENERS
    ]


def long_modules(modules: dict[str, Module]) -> list[str]:
    offenders = []
    for module in modules.values():
        lines = len(module.path.read_text().splitlines())
        if module.layer != "core" and lines > LONG_MODULES.get(module.name, LONGEST_MODULE):
            offenders.append(f"{module.name}: {lines} lines")
    return offenders


def long_functions(modules: dict[str, Module]) -> list[str]:
    offenders = []
    for module in modules.values():
        if module.layer == "core" or module.path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(module.path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > LONGEST_FUNCTION:
                    offenders.append(f"{module.name}:{node.lineno} {node.name}: {lines} lines")
    return offenders


def locks(modules: dict[str, Module]) -> list[str]:
    """What is held across a switch is what others wait for: state has one owner instead (pitfall C8)."""
    return [
        f"{module.name}:{node.lineno} uses {name}"
        for module in modules.values()
        if module.path.suffix == ".py" and module.layer != "facade"
        for node in ast.walk(ast.parse(module.path.read_text()))
        if (name := getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "name", None)) in LOCKS
    ]


RULES = [
    upward_imports,
    imports_of_the_foundation,
    cycles,
    impure_imports,
    openers_of_sockets,
    locks,
    long_modules,
    long_functions,
]


@pytest.fixture(scope="module")
def package() -> dict[str, Module]:
    return read_package(PACKAGE)


def test_the_package_is_read(package: dict[str, Module]) -> None:
    assert {"geventcql.errors", "geventcql.query", "geventcql.cython.codecs"} <= set(package)
    assert ("geventcql.encoder", "model") in {(module.name, module.layer) for module in package.values()}
    assert package["geventcql.query"].at_import and package["geventcql.query"].later


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: object, package: dict[str, Module]) -> None:
    offenders = rule(package)  # type: ignore[operator]
    assert offenders == [], "\n".join(["", *offenders])


# -- and do they catch anything?

LONG = "\n".join(f"    x = {number}" for number in range(61))


OFFENDERS = [
    (upward_imports, {"query.py": "from geventcql import session", "session.py": ""}, "geventcql.query:1 (model)"),
    (upward_imports, {"query.py": "def f():\n import geventcql.session", "session.py": ""}, "geventcql.query:2"),
    (upward_imports, {"protocol/a.py": "from ..query import X", "query.py": ""}, "geventcql.protocol.a:1 (protocol)"),
    (upward_imports, {"cython/w.pyx": "from geventcql.query cimport X", "query.py": ""}, "geventcql.cython.w:1 (core)"),
    (upward_imports, {"net/a.py": "from geventcql import X", "__init__.py": ""}, "geventcql.net.a:1 (net)"),
    (imports_of_the_foundation, {"errors.py": "from geventcql.util import X", "util.py": ""}, "geventcql.errors:1"),
    (cycles, {"a.py": "from geventcql.b import X", "b.py": "import geventcql.a"}, "geventcql.a"),
    (cycles, {"net/a.py": "from .b import X", "net/b.py": "from geventcql.net import a"}, "geventcql.net.a"),
    (impure_imports, {"query.py": "from gevent.event import Event"}, "geventcql.query:1 (model) imports gevent.event"),
    (impure_imports, {"auth.py": "import importlib\nimportlib.import_module('ssl')"}, "geventcql.auth:2 (model)"),
    (impure_imports, {"cython/w.pyx": "\nimport threading"}, "geventcql.cython.w:2 (core) imports threading"),
    (openers_of_sockets, {"net/pool.py": "from gevent import socket\nsocket.socket()"}, "geventcql.net.pool:2 calls"),
    (locks, {"net/pool.py": "from gevent.lock import RLock"}, "geventcql.net.pool:1 uses RLock"),
    (locks, {"session.py": "from gevent import lock\nguard = lock.Semaphore(1)"}, "geventcql.session:2 uses Semaphore"),
    (long_modules, {"query.py": "\n" * 501}, "geventcql.query: 501 lines"),
    (long_functions, {"query.py": f"class A:\n  def f(self):\n{LONG}"}, "geventcql.query:2 f: 61 lines"),
]


@pytest.mark.parametrize(("rule", "files", "expected"), OFFENDERS)
def test_offenders_are_caught(rule: object, files: dict[str, str], expected: str, tmp_path: Path) -> None:
    offenders = rule(make_package(tmp_path, files))  # type: ignore[operator]
    assert len(offenders) == 1 and offenders[0].startswith(expected)


@pytest.mark.parametrize(
    "files",
    [
        {"session.py": "from geventcql import query", "query.py": "from geventcql.errors import X", "errors.py": ""},
        {"a.py": "import typing as t\nif t.TYPE_CHECKING:\n    import geventcql.b", "b.py": "import geventcql.a"},
        {"a.py": "def f():\n    import geventcql.b", "b.py": "import geventcql.a"},
        {"net/transport.py": "import socket\nsocket.socket()", "net/__init__.py": "import gevent"},
        {"query.py": f'def f():\n    """{LONG}"""\n    return 1', "cython/codecs.pyx": "\n" * 501},
    ],
)
def test_what_is_allowed_passes(files: dict[str, str], tmp_path: Path) -> None:
    modules = make_package(tmp_path, files)
    assert [rule(modules) for rule in RULES] == [[]] * len(RULES)  # type: ignore[operator]


def make_package(directory: Path, files: dict[str, str]) -> dict[str, Module]:
    for name, source in files.items():
        path = directory / "geventcql" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return read_package(directory / "geventcql")
