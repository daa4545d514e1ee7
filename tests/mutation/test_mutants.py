"""The list of mutants still fits the code and the tests, and whoever judges them tells caught from survived.

All of them are put to the test by `make mutants`, which takes a while.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.mutation import switch, trees
from tests.mutation.bugs import MUTANTS
from tests.mutation.mutant import Mutant, place
from tests.mutation.switch import switched
from tests.mutation.trees import ROOT, Tree, is_core

CLOCK = "geventcql/timestamps.py"
STANDS_STILL = Mutant(
    "a clock that stands still gives the same value again",
    CLOCK,
    "stamp = self.last = self.last + 1",
    "stamp = self.last",
    ("tests/test_timestamps.py::test_follows_the_clock_and_counts_up_where_it_stands",),
)


# -- the list


def test_they_fit_the_code() -> None:
    for mutant in MUTANTS:
        text = (ROOT / mutant.path).read_text()
        at = place(text, mutant)
        if not is_core(mutant):
            compile(text[:at] + mutant.new + text[at + len(mutant.old) :], mutant.path, "exec")
    for path in {mutant.path for mutant in MUTANTS if is_core(mutant)}:
        switched((ROOT / path).read_text(), [(1, mutant) for mutant in MUTANTS if mutant.path == path])


@cache
def marks_in(path: str) -> dict[str, str]:
    """The marks of each test in a file."""
    functions = [node for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
    return {function.name: " ".join(map(ast.unparse, function.decorator_list)) for function in functions}


def test_their_tests_are_there_and_run_in_make_test() -> None:
    for mutant in MUTANTS:
        assert mutant.tests
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert name.partition("[")[0] in marks_in(path), test
            assert "slow" not in marks_in(path)[name.partition("[")[0]] and not path.startswith("tests/integration"), test


def test_there_are_many_and_no_two_are_the_same() -> None:
    assert len({mutant.bug for mutant in MUTANTS}) == len(MUTANTS) >= 45
    assert len({(mutant.path, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("text", ["nowhere", "twice and twice"])
def test_code_that_has_moved_on(text: str) -> None:
    with pytest.raises(ValueError, match=r"file.py has \d times"):
        place(text, Mutant("?", "file.py", "twice", "", ()))


# -- the switch


def test_expressions_and_statements_are_switched() -> None:
    text = "def f(n):\n    if n > 1:\n        n = 1\n    return n\n"
    mutants = [
        (1, Mutant("?", "", "n > 1", "n > 2", ())),
        (2, Mutant("?", "", "        n = 1\n", "", ())),
        (3, Mutant("?", "", "    return n\n", "    n += 1\n    return n\n", ())),
    ]
    results = []
    for mutant in range(4):
        space = {"mutant": mutant}
        exec(switched(text, mutants), space)
        results.append(space["f"](2))  # type: ignore[operator]
    assert results == [1, 2, 2, 2]


def test_no_place_is_taken_twice() -> None:
    mutants = [(1, Mutant("one", "", "ab", "", ())), (2, Mutant("other", "", "bc", "", ()))]
    with pytest.raises(ValueError, match="'one' takes the place of what another one does"):
        switched("abc", mutants)


def test_the_switch_is_declared_before_the_parts() -> None:
    assert switch.declared('cimport x\n\ninclude "a.pxi"\ninclude "b.pxi"\n') == (
        f'cimport x\n\n{switch.DECLARATION}include "a.pxi"\ninclude "b.pxi"\n'
    )


# -- the judge


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("mutants") / "tree")


@pytest.mark.parametrize(
    ("mutant", "verdict"),
    [
        (STANDS_STILL, "caught"),
        (STANDS_STILL._replace(new="stamp = self.last = 1 + self.last"), "survived"),
        (STANDS_STILL._replace(tests=("tests/test_timestamps.py::test_of_old",)), "broken"),
    ],
    ids=["caught", "survived", "broken"],
)
def test_judged(tree: Tree, mutant: Mutant, verdict: str) -> None:
    judged = tree.judge(mutant)
    assert judged.verdict == verdict, judged
    assert (judged.by == mutant.tests[0]) is (verdict == "caught")
    assert (tree.root / CLOCK).read_bytes() == (ROOT / CLOCK).read_bytes()


@pytest.mark.parametrize(
    ("status", "said", "verdict"),
    [
        (None, "", ("hangs", "")),
        (-11, "", ("caught", "signal 11")),
        (1, "tests/a.py::test_b: the hub is blocked", ("caught", "the watchdog")),
        (1, "...\nERROR tests/a.py::test_b[x y] - left behind", ("caught", "tests/a.py::test_b[x")),
        (2, "SyntaxError", ("broken", "SyntaxError")),
    ],
)
def test_ends_of_pytest(status: int | None, said: str, verdict: tuple[str, str]) -> None:
    assert trees._judged(status, said) == verdict


def test_bugs_of_the_core_are_built_once_and_switched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def run(self: Tree, *arguments: str, number: int = 0, bound: float | None = 1.0) -> tuple[int, str]:
        ran.append((arguments[-1], number))
        return 0, ""

    monkeypatch.setattr(Tree, "_run", run)
    core = [mutant for mutant in MUTANTS if is_core(mutant)]
    first = Tree(tmp_path / "0")
    first.build(core)
    assert ran == [("codecs", 0), ("wire", 0)]
    assert "cdef int mutant" in (first.root / "geventcql/cython/wire.pyx").read_text()
    ran.clear()
    other = Tree(tmp_path / "1", first)
    assert other.judge(core[7]).verdict == "survived"
    assert ran == [(core[7].tests[-1], 8)]
