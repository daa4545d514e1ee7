"""Rewrites a Python file of an application of cassandra-driver's (layer: facade). Comments and formatting stay.

Changed are imports, uses of the names that they bind, and strings where they are known to name modules or loggers: in calls of
`unittest.mock.patch`, `logging.getLogger` and a few others, whatever they are imported as, and below `loggers` in a logging
configuration. What has no counterpart, and what only may be meant, stays as it is and is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import (
    ClassScope,
    ImportAssignment,
    MetadataWrapper,
    PositionProvider,
    QualifiedNameProvider,
    QualifiedNameSource,
    Scope,
    ScopeProvider,
)

from geventcql.cli.importlists import statement_for
from geventcql.cli.mapping import DEPENDS, MODULES, Found, find, module_of

__all__ = ["migrated"]

_GEVENTCQL: Any = m.MatchIfTrue(lambda name: name is not None and (_dotted(name) or "").split(".")[0] == "geventcql")
_OURS = re.compile(r"cassandra(?:\.\w+)*")
_WITHIN_TYPE = re.compile(r"(?<![\w.])cassandra\.\w")
_ELSEWHERE = re.compile(r"(\w+(?:\.\w+)*)\.(cassandra(?:\.\w+)+)")
"""What another module imports from cassandra-driver, say: that module, and the part of it."""
_EXPORTS = (
    m.Assign([m.ZeroOrMore(), m.AssignTarget(m.Name("__all__")), m.ZeroOrMore()])
    | m.AnnAssign(m.Name("__all__"))
    | m.AugAssign(m.Name("__all__"))
)
_LEFT = "a string that may name {} of cassandra-driver, left as it is"
_REQUIREMENT = re.compile(r"\s*cassandra[-_.]driver\s*(\[[\w\s,-]*\]\s*)?([<>=!~;@].*)?", re.IGNORECASE)
_TAKE_PATHS = {
    "builtins.__import__", "importlib.import_module", "importlib.util.find_spec", "mock.patch", "mock.patch.dict",
    "mock.patch.multiple", "pkgutil.resolve_name", "pytest.importorskip", "unittest.mock.patch", "unittest.mock.patch.dict",
    "unittest.mock.patch.multiple",
}  # fmt: skip
"""Functions whose first argument names a module, or something in one."""
_FIXTURES_TAKE_PATHS = re.compile(
    r"monkeypatch\.(setattr|delattr)|((class|module|package|session)_)?mocker\.patch(\.dict|\.multiple)?"
)
"""As they are called by convention: tests get them as arguments."""
_TAKE_LOGGERS = {"logging.getLogger"}
_MAY_TAKE_LOGGERS = {"getLogger", "get_logger"}
"""Methods of what else there is for logging."""


def migrated(source: bytes) -> tuple[bytes, list[tuple[int, str]]]:
    """The file with geventcql in place of cassandra-driver, and what has no counterpart, as (line, what and why).

    :raises libcst.ParserSyntaxError: it is no Python
    """
    wrapper = MetadataWrapper(cst.parse_module(source))
    rewriter = _Rewriter(_rebinds(wrapper))
    return wrapper.visit(rewriter).bytes, sorted(set(rewriter.problems))


def _rebinds(wrapper: MetadataWrapper) -> bool:
    """Whether the name cassandra is made to mean something where scopes do not tell it: it has to stay then."""
    declared = m.findall(wrapper.module, m.NameItem(m.Name("cassandra")))
    exported = {text.evaluated_value for each in m.findall(wrapper.module, _EXPORTS) for text in _strings_in(each)}
    return bool(declared) or "cassandra" in exported or any(map(_is_mixed, set(wrapper.resolve(ScopeProvider).values())))


def _strings_in(node: cst.CSTNode) -> list[cst.SimpleString]:
    return [cst.ensure_type(found, cst.SimpleString) for found in m.findall(node, m.SimpleString())]


def _is_mixed(scope: Scope | None) -> bool:
    """Whether a class has cassandra as an attribute that is the package, or is named where the package is used, too."""
    if not isinstance(scope, ClassScope) or "cassandra" not in scope.assignments:
        return False
    if any(isinstance(assignment, ImportAssignment) for assignment in scope.assignments["cassandra"]):
        return True
    return any(_is_ours(_dotted(access.node) or "") for access in scope.accesses)


def _is_of_geventcql(node: cst.CSTNode) -> bool:
    """Whether geventcql is imported somewhere below."""
    return bool(m.findall(node, m.ImportFrom(module=_GEVENTCQL) | m.ImportAlias(name=_GEVENTCQL)))


def _dotted(node: cst.BaseExpression) -> str | None:
    """`a.b.c` as text; None for other expressions."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        before = _dotted(node.value)
        return None if before is None else f"{before}.{node.attr.value}"
    return None


def _expression(dotted: str) -> Any:
    return cst.parse_expression(dotted)


def _is_ours(dotted: str) -> bool:
    return dotted == "cassandra" or dotted.startswith("cassandra.")


def _split(path: str) -> tuple[str, str | None]:
    """The module that a path begins with, and the name behind it, if there is more."""
    parts = path.split(".")
    length = next(n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in MODULES)
    return ".".join(parts[:length]), parts[length] if length < len(parts) else None


def _counterpart(path: str) -> tuple[str, Found]:
    """The module that a path begins with, and what that module or the name behind it is here."""
    module, name = _split(path)
    return module, module_of(module) if name is None else find(module, name)


class _Rewriter(cst.CSTTransformer):
    METADATA_DEPENDENCIES = (PositionProvider, QualifiedNameProvider, ScopeProvider)

    def __init__(self, keeps_name: bool) -> None:
        """``keeps_name``: the name cassandra is to go on meaning the package."""
        super().__init__()
        self._keeps_name = keeps_name
        self._kept: set[cst.CSTNode] = set()
        """Imports that stand in for one of geventcql."""
        self.problems: list[tuple[int, str]] = []
        self._replacements: dict[cst.CSTNode, cst.BaseExpression] = {}
        self._strings: dict[cst.CSTNode, bool] = {}
        """Strings that name something, and whether that is a logger."""
        self._doubtful: dict[cst.CSTNode, str] = {}
        """Strings that may name something, and what."""
        self._inner: set[cst.CSTNode] = set()
        """Beginnings of attribute chains that have been looked at as a whole."""
        self._more: dict[cst.CSTNode, list[cst.ImportFrom]] = {}
        """Imports that a statement falls into besides itself."""

    def _report(self, node: cst.CSTNode, what: str, why: str) -> None:
        line = self.get_metadata(PositionProvider, node).start.line
        self.problems.append((line, f"{what}: {why}"))

    # -- imports ------------------------------------------------------------------------------------------------------

    def visit_Module(self, node: cst.Module) -> None:
        for each in m.findall(node, m.Try() | m.If()):  # uses may come before their imports
            if isinstance(each, cst.Try):
                self._keep_beside_geventcql([each.body, *each.handlers, each.orelse, each.finalbody])
            elif isinstance(each, cst.If):
                self._keep_beside_geventcql([each.body, each.orelse])

    def _keep_beside_geventcql(self, branches: Sequence[cst.CSTNode | None]) -> None:
        """Where one branch imports geventcql, another one's import of cassandra is meant."""
        there = [branch for branch in branches if branch is not None]
        if any(map(_is_of_geventcql, there)):
            for branch in there:
                self._kept.update(m.findall(branch, m.Import() | m.ImportFrom()))

    def visit_Import(self, node: cst.Import) -> bool:
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False

    def leave_Import(self, original_node: cst.Import, updated_node: cst.Import) -> cst.Import:
        if original_node in self._kept:
            self._keep(original_node, [_dotted(alias.name) for alias in original_node.names])
            return updated_node
        return updated_node.with_changes(names=[self._imported(alias) for alias in original_node.names])

    def _keep(self, node: cst.CSTNode, modules: Sequence[str | None]) -> None:
        for module in modules:
            if module is not None and _is_ours(module):
                self._report(node, module, "imported where geventcql is not; left as it is")

    def _imported(self, alias: cst.ImportAlias) -> cst.ImportAlias:
        path = _dotted(alias.name)
        if path is None or not _is_ours(path):
            return alias
        found = module_of(path)
        if found.module is None:
            self._report(alias, path, found.reason)
            return alias
        if alias.asname is None and self._is_bound_otherwise(alias):
            if path != "cassandra":
                self._report(alias, path, "the name cassandra is bound otherwise, too, or in __all__; import it under another")
                return alias
            alias = alias.with_changes(
                asname=cst.AsName(cst.Name("cassandra"), cst.SimpleWhitespace(" "), cst.SimpleWhitespace(" "))
            )
        return alias.with_changes(name=_expression(found.module))

    def _is_renamed(self, node: cst.Import) -> bool:
        """Whether an import that binds the name cassandra is to bind geventcql instead."""
        paths = [_dotted(alias.name) or "" for alias in node.names if alias.asname is None]
        return node not in self._kept and any(_is_ours(path) and module_of(path).module is not None for path in paths)

    def _is_bound_otherwise(self, node: cst.CSTNode) -> bool:
        scope = self.get_metadata(ScopeProvider, node, None)
        if self._keeps_name:
            return True
        return scope is not None and any(not isinstance(a, ImportAssignment) for a in scope["cassandra"])

    def leave_ImportFrom(self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom) -> cst.ImportFrom:
        module = _dotted(original_node.module) if original_node.module is not None else None
        if module is None or original_node.relative or not _is_ours(module):
            return updated_node
        if original_node in self._kept:
            self._keep(original_node, [module])
            return updated_node
        if isinstance(original_node.names, cst.ImportStar):
            found = module_of(module)
            if found.module is None:
                self._report(original_node, module, found.reason)
                return updated_node
            self._report(original_node, f"{module}.*", "what it imports here may be less: import the names that are used")
            return updated_node.with_changes(module=_expression(found.module))
        groups: dict[str, list[cst.ImportAlias]] = {}
        for alias in original_node.names:
            name = _dotted(alias.name) or ""
            found = find(module, name)
            if found.reason:
                self._report(alias, f"{module}.{name}", found.reason)
            groups.setdefault(found.module or module, []).append(alias)
        first, *others = groups.items()
        if not others:
            return updated_node.with_changes(module=_expression(first[0]))
        made, *self._more[original_node] = [
            statement_for(where, aliases, original_node) for where, aliases in groups.items()
        ]
        return made

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> Any:
        if len(original_node.body) > 1:
            return updated_node.with_changes(body=self._with_more(original_node.body, updated_node.body))
        more = self._more.get(original_node.body[0], [])
        if not more:
            return updated_node
        return cst.FlattenSentinel([updated_node, *(cst.SimpleStatementLine([statement]) for statement in more)])

    def leave_SimpleStatementSuite(
        self, original_node: cst.SimpleStatementSuite, updated_node: cst.SimpleStatementSuite
    ) -> cst.SimpleStatementSuite:
        return updated_node.with_changes(body=self._with_more(original_node.body, updated_node.body))

    def _with_more(
        self, before: Sequence[cst.BaseSmallStatement], after: Sequence[cst.BaseSmallStatement]
    ) -> list[cst.BaseSmallStatement]:
        """The statements of one line, each with the imports that it falls into behind it."""
        made: list[cst.BaseSmallStatement] = []
        for original, updated in zip(before, after, strict=True):
            statements = [updated, *self._more.get(original, [])]
            if len(statements) > 1:  # the semicolon, if there is one, comes behind the last of them
                statements[-1] = statements[-1].with_changes(semicolon=updated.semicolon)
                statements[0] = updated.with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
            made += statements
        return made

    # -- uses ---------------------------------------------------------------------------------------------------------

    def _import_path(self, node: cst.BaseExpression) -> str | None:
        """What cassandra-driver calls what this expression stands for; None if it is not imported from there."""
        root = node
        while isinstance(root, cst.Attribute):
            root = root.value
        scope = self.get_metadata(ScopeProvider, root, None)
        if not isinstance(root, cst.Name) or scope is None:
            return None
        if any(not isinstance(assignment, ImportAssignment) for assignment in scope[root.value]):
            return None  # a parameter, say, of the same name
        names: Any = self.get_metadata(QualifiedNameProvider, node, set())
        paths = {n.name for n in names if n.source is QualifiedNameSource.IMPORT and _is_ours(n.name)}
        return paths.pop() if len(paths) == len(names) == 1 else None

    def visit_Attribute(self, node: cst.Attribute) -> None:
        path, written = self._import_path(node), _dotted(node)
        if node in self._inner or path is None or written is None:
            return
        chain: list[cst.BaseExpression] = [node]
        while isinstance(chain[-1], cst.Attribute):
            chain.append(chain[-1].value)
        self._inner.update(chain)
        module, found = _counterpart(path)
        if path != written or not _is_ours(written) or self._is_aliased(chain[-1]):  # the import says where it is
            self._look_through(node, path, written, found)
            return
        if found.reason:
            self._report(node, path, found.reason)
        if found.module is not None and not self._stays(node, chain[-1], path):
            start = next(part for part in chain if _dotted(part) == module)
            self._replacements[start] = _expression(found.module)

    def _is_aliased(self, root: cst.BaseExpression) -> bool:
        """Whether the name cassandra goes on meaning the package, as in `import cassandra as cassandra`."""
        names = [alias for node in self._imports_of(root) for alias in node.names]
        return self._keeps_name or any(alias.evaluated_alias == "cassandra" for alias in names)

    def _imports_of(self, root: cst.BaseExpression) -> list[cst.Import]:
        """The imports that bind the name cassandra where it is used."""
        scope = self.get_metadata(ScopeProvider, root, None)
        found = [getattr(assignment, "node", None) for assignment in scope["cassandra"]] if scope is not None else []
        return [node for node in found if isinstance(node, cst.Import)]

    def _stays(self, node: cst.BaseExpression, root: cst.BaseExpression, path: str) -> bool:
        """Whether a use has to stay, since all imports that it may come from do. Told, unless they stand in for geventcql."""
        imports = self._imports_of(root)
        if any(map(self._is_renamed, imports)):
            return False
        if not self._kept.issuperset(imports):
            module, found = _counterpart(path)
            self._report(node, path, f"it is {found.module}{path[len(module) :]} here, but its import stays")
        return True

    def _look_through(self, node: cst.Attribute, path: str, written: str, found: Found) -> None:
        module, name = _split(path)
        behind_root = written.count(".")
        if name is None or path.count(".") - behind_root > module.count("."):
            return  # of a class, say, that the import itself was looked at for
        path = f"{module}.{name}"
        if found.reason:
            self._report(node, path, found.reason)
        elif found.module != module_of(module).module:
            self._report(node, path, f"it is {found.module}.{name} here")

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        return self._replacements.get(original_node, updated_node)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        if original_node.value == "cassandra" and original_node not in self._inner:
            bound = self._import_path(original_node)
            if bound != "cassandra" or self._is_aliased(original_node) or self._stays(original_node, original_node, bound):
                return updated_node
            return updated_node.with_changes(value="geventcql")
        return self._replacements.get(original_node, updated_node)

    # -- strings ------------------------------------------------------------------------------------------------------

    def visit_Annotation(self, node: cst.Annotation) -> None:
        for string in _strings_in(node):
            text = string.evaluated_value
            if isinstance(text, str) and _WITHIN_TYPE.search(text) and not _OURS.fullmatch(text):
                self._report(string, repr(text), _LEFT.format("a part"))

    def visit_Subscript(self, node: cst.Subscript) -> None:
        self._note_modules(node, [node.value])

    def visit_Comparison(self, node: cst.Comparison) -> None:
        self._note_modules(node, [each.comparator for each in node.comparisons])

    def _note_modules(self, node: cst.CSTNode, parts: Sequence[cst.BaseExpression]) -> None:
        """Strings in an expression, if one of these parts of it is sys.modules."""
        for part in parts:
            names = {each.name for each in self.get_metadata(QualifiedNameProvider, part, set())}
            if "sys.modules" in names or (isinstance(part, cst.SimpleString) and part.evaluated_value == "sys.modules"):
                self._doubtful.update(dict.fromkeys(_strings_in(node), "a module"))

    def visit_Call(self, node: cst.Call) -> None:
        owner = [node.func.value] if isinstance(node.func, cst.Attribute) else []
        self._note_modules(node, [*owner, *(arg.value for arg in node.args)])
        names = {each.name for each in self.get_metadata(QualifiedNameProvider, node.func, set())}
        written = _dotted(node.func) or ""
        if names & {"builtins.dict"}:
            for arg in node.args:
                if arg.keyword is not None and arg.keyword.value == "loggers":
                    self._note_loggers(arg.value)
        elif not node.args:
            return
        elif names & _TAKE_LOGGERS:
            self._strings[node.args[0].value] = True
        elif names & _TAKE_PATHS or (_FIXTURES_TAKE_PATHS.fullmatch(written) and not self._is_imported(node.func)):
            self._strings[node.args[0].value] = False
        elif written.split(".")[-1] in _MAY_TAKE_LOGGERS:
            self._doubtful[node.args[0].value] = "a logger"

    def _is_imported(self, node: cst.BaseExpression) -> bool:
        names = self.get_metadata(QualifiedNameProvider, node, set())
        return any(name.source is QualifiedNameSource.IMPORT for name in names)

    def _note_loggers(self, node: cst.BaseExpression) -> None:
        """A dict whose keys are names of loggers."""
        if isinstance(node, cst.Dict):
            self._strings.update({element.key: True for element in node.elements if isinstance(element, cst.DictElement)})

    def visit_DictElement(self, node: cst.DictElement) -> None:
        key = node.key.evaluated_value if isinstance(node.key, cst.SimpleString) else None
        if key == "loggers":
            self._note_loggers(node.value)

    def leave_SimpleString(self, original_node: cst.SimpleString, updated_node: cst.SimpleString) -> cst.SimpleString:
        path = original_node.evaluated_value
        if not isinstance(path, str):
            return updated_node
        if _REQUIREMENT.fullmatch(path):
            self._report(original_node, repr(path), DEPENDS)
        is_logger = self._strings.get(original_node)
        if not _OURS.fullmatch(path):
            elsewhere = _ELSEWHERE.fullmatch(path) if is_logger is False else None
            if elsewhere and _split(elsewhere[2])[0] != "cassandra":
                self._report(original_node, repr(path), f"may name a part of cassandra-driver that {elsewhere[1]} imports")
            return updated_node
        if is_logger is None:
            self._report_doubtful(original_node, path)
            return updated_node
        module, found = _counterpart(path)
        if is_logger:  # what is behind the module is only a name
            found = module_of(module)
        if found.module is None:
            self._report(original_node, path, found.reason)
            return updated_node
        return _with_text(updated_node, path, found.module + path[len(module) :])

    def _report_doubtful(self, node: cst.SimpleString, path: str) -> None:
        if node in self._doubtful:
            self._report(node, repr(path), _LEFT.format(self._doubtful[node]))
        elif _split(path)[0] != "cassandra":
            self._report(node, repr(path), _LEFT.format("a part"))


def _with_text(node: cst.SimpleString, old: str, new: str) -> cst.SimpleString:
    return node.with_changes(value=node.value.replace(old, new, 1))
