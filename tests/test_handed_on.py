"""Names that applications import from modules of cassandra-driver's that only use them."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from geventcql.handed_on import HANDED_ON

HOMES = (
    "geventcql", "geventcql.query", "geventcql.policies", "geventcql.auth", "geventcql.util", "geventcql.encoder",
    "geventcql.cqltypes", "geventcql.marshal", "geventcql.metadata", "geventcql.timestamps", "geventcql.connection",
    "geventcql.pool", "geventcql.protocol", "geventcql.cluster",
)  # fmt: skip


@pytest.mark.parametrize("module", HANDED_ON)
def test_each_name_that_is_somewhere(module: str) -> None:
    """What their module has from another one of theirs, and what has a place here, is in our module, too: the same."""
    theirs = importlib.import_module(f"cassandra.{module}")
    ours = importlib.import_module(f"geventcql.{module}")
    looked_at = 0
    for name, thing in vars(theirs).items():
        home = str(getattr(thing, "__module__", None))
        is_own = home == theirs.__name__ or not home.startswith("cassandra")
        if is_own or name.startswith("_") or isinstance(thing, ModuleType):
            continue
        for ours_at_home in map(importlib.import_module, HOMES):
            if name in getattr(ours_at_home, "__all__", ()):
                assert getattr(ours, name) is not None, f"from geventcql.{module} import {name}"
                looked_at += 1
                break
    assert looked_at


@pytest.mark.parametrize("module", HANDED_ON)
def test_they_are_the_same_as_at_home(module: str) -> None:
    for home, names in HANDED_ON[module].items():
        for name in names.split():
            ours = getattr(importlib.import_module(f"geventcql.{module}"), name)
            assert ours is getattr(importlib.import_module(home), name)


def test_what_nobody_has_is_not_there() -> None:
    with pytest.raises(ImportError, match="cannot import name 'SimpelStatement'"):
        from geventcql.cluster import SimpelStatement  # noqa: F401
