"""The stubs and the module have the same public names."""

from __future__ import annotations

import ast
from pathlib import Path

from geventcql.cython import codecs

STUBS = ast.parse(Path(codecs.__file__).with_name("codecs.pyi").read_text())


def names(body: list[ast.stmt]) -> set[str]:
    found = set()
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def test_every_stub_is_there() -> None:
    for name in names(STUBS.body):
        assert hasattr(codecs, name), name
    for node in STUBS.body:
        if isinstance(node, ast.ClassDef):
            for member in names(node.body):
                assert hasattr(getattr(codecs, node.name), member), f"{node.name}.{member}"


def test_every_class_and_function_has_a_stub() -> None:
    ours = {
        name
        for name, value in vars(codecs).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == codecs.__name__
    }
    assert ours - names(STUBS.body) == {"TypeText"}  # the tokenizer, private
