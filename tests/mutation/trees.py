"""Copies of the project in which one mutant after the other lives (test support).

The working tree is only read. Each copy is used by one thread; what runs in it is a process of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutation.mutant import Mutant, place
from tests.mutation.switch import VARIABLE, declared, switched

ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns(".*", "build", "dist", "_build", "__pycache__", "*.egg-info", "*.c")
HANGS_AFTER = 30
"""Seconds: a test that takes longer has failed; its watchdog ends it."""
GIVEN_UP_AFTER = 600
"""Seconds: who takes longer is not ended by any watchdog, and has not been caught."""
OPTIONS = ("-q", "-x", "-m", "not slow", f"--timeout={HANGS_AFTER}", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
"""The plugin of Hypothesis, which works without, would take half of the time that it takes to start."""

# One extension, as setup.py has it, but compiled in a third of the time.
BUILD = """
import sys
from Cython.Build import cythonize
from setuptools import Extension, setup
name = sys.argv[1]
sources = ["geventcql/cython/" + name + ".pyx"]
extension = Extension("geventcql.cython." + name, sources, extra_compile_args=["-O0", "-g0", "-w"])
setup(
    ext_modules=cythonize([extension], force=True, quiet=True, compiler_directives={"language_level": "3"}),
    script_args=["-q", "build_ext", "--inplace"],
)
"""


class Outcome(NamedTuple):
    """What became of a mutant."""

    mutant: Mutant
    verdict: str
    """'caught', 'survived', 'broken' (the tests cannot be run with it), or 'hangs'."""
    by: str
    """The test that failed first; what was said where the mutant is broken."""
    seconds: float


def is_core(mutant: Mutant) -> bool:
    """Whether it has to be compiled."""
    return mutant.path.endswith(".pxi")


class Tree:
    """A copy of a tree.

    :param root: where to; not there yet
    :param of: another Tree, which has all that has been built and cached
    """

    def __init__(self, root: Path, of: Tree | None = None) -> None:
        self.root = root
        self._numbers: Mapping[Mutant, int] = {} if of is None else of._numbers
        shutil.copytree(ROOT if of is None else of.root, root, ignore=IGNORED if of is None else None)

    def build(self, mutants: Sequence[Mutant]) -> None:
        """Build the core with all of these in it, each to be switched on.

        :raises RuntimeError: it does not compile
        """
        self._numbers = {mutant: number for number, mutant in enumerate(mutants, 1)}
        names = {Path(mutant.path).stem.partition("_")[0] for mutant in mutants}
        for path in {self.root / mutant.path for mutant in mutants}:
            here = [(number, mutant) for mutant, number in self._numbers.items() if self.root / mutant.path == path]
            path.write_text(switched(path.read_text(), here))
        for name in sorted(names):
            path = self.root / "geventcql/cython" / f"{name}.pyx"
            path.write_text(declared(path.read_text()))
            status, said = self._run("-c", BUILD, name, bound=None)
            if status != 0:
                raise RuntimeError(f"the core does not compile:\n{said}")

    def run_tests(self, tests: Iterable[str], number: int = 0) -> tuple[int | None, str]:
        """Run tests until one fails: pytest's status (None: it had to be killed), and all that it said.

        :param number: of the bug in the core that is switched on
        """
        return self._run("-m", "pytest", *OPTIONS, *tests, number=number)

    def judge(self, mutant: Mutant) -> Outcome:
        """Put a mutant in, run its tests, and take it out again."""
        began = time.monotonic()
        if is_core(mutant):
            status, said = self.run_tests(mutant.tests, self._numbers[mutant])
        else:
            status, said = self._run_mutated(mutant)
        return Outcome(mutant, *_judged(status, said), time.monotonic() - began)

    def _run_mutated(self, mutant: Mutant) -> tuple[int | None, str]:
        path = self.root / mutant.path
        text, times = path.read_text(), path.stat()
        at = place(text, mutant)
        try:
            path.write_text(text[:at] + mutant.new + text[at + len(mutant.old) :])
            return self.run_tests(mutant.tests)
        finally:
            path.write_text(text)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as its bytecode has it

    def _run(self, *arguments: str, number: int = 0, bound: float | None = GIVEN_UP_AFTER) -> tuple[int | None, str]:
        try:
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=self.root,
                env={**os.environ, VARIABLE: str(number)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=bound,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            return None, ""
        return done.returncode, done.stdout


def _judged(status: int | None, said: str) -> tuple[str, str]:
    """The verdict, and by which test, of what pytest has come to."""
    if status is None:
        return "hangs", ""
    if status == 0:
        return "survived", ""
    if status < 0:
        return "caught", f"signal {-status}"
    if status > 1:
        return "broken", said[-1000:]
    failed = re.search(r"^(?:FAILED|ERROR) (\S+::\S+)", said, re.MULTILINE)
    return "caught", failed[1] if failed is not None else "the watchdog"
