"""The command: puts one bug after the other into a copy of the tree, and sees whether a test finds it (`make mutants`).

What has been caught passes without the bug and fails with it: first all the tests run once on the tree as it is. A test that
hangs is ended by its watchdog, and has failed; what no watchdog ends has not been caught. The bugs of the compiled core are in
one build, which is made at the beginning; one of them is switched on.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

import click

from tests.mutation.bugs import MUTANTS
from tests.mutation.mutant import Mutant
from tests.mutation.trees import Outcome, Tree, is_core


def selected(words: Sequence[str]) -> list[Mutant]:
    """The mutants whose text or file has one of the words; all, if there are none."""
    return [mutant for mutant in MUTANTS if not words or any(word in f"{mutant.path} {mutant.bug}" for word in words)]


def outcomes(mutants: Sequence[Mutant], first: Tree, jobs: int) -> Iterator[Outcome]:
    """What becomes of each, as it comes; `jobs` at a time."""
    trees: SimpleQueue[Tree] = SimpleQueue()
    trees.put(first)
    for number in range(1, jobs):
        trees.put(Tree(first.root.with_name(str(number)), first))

    def judge(mutant: Mutant) -> Outcome:
        tree = trees.get()
        try:
            return tree.judge(mutant)
        finally:
            trees.put(tree)

    with ThreadPoolExecutor(jobs) as pool:
        for judged in as_completed([pool.submit(judge, mutant) for mutant in mutants]):
            yield judged.result()


@click.command()
@click.argument("words", nargs=-1)
@click.option("--jobs", default=2, show_default=True, help="How many at a time, each in a copy of the tree.")
def main(words: tuple[str, ...], jobs: int) -> None:
    """Put each bug into a copy of the driver, and see whether the tests find it.

    WORDS: only bugs whose text or file has one of these.
    """
    began = time.monotonic()
    mutants = selected(words)
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        first = Tree(Path(directory) / "0")
        first.build([mutant for mutant in mutants if is_core(mutant)])
        tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
        status, said = first.run_tests(tests)
        if status != 0:
            click.echo(f"{said}\nwithout any bug the tests do not pass (status {status})")
            sys.exit(2)
        click.echo(f"without a bug all pass, after {time.monotonic() - began:.0f} s")
        verdicts: Counter[str] = Counter()
        for mutant, verdict, by, seconds in outcomes(mutants, first, jobs):
            verdicts[verdict] += 1
            click.echo(f"{verdict:8} {seconds:5.1f} s  {mutant.path.removeprefix('geventcql/')}: {mutant.bug}")
            click.echo(f"{'':18}{by}")
    click.echo(f"{dict(verdicts)} of {len(mutants)}, {time.monotonic() - began:.0f} s")
    sys.exit(0 if verdicts["caught"] == len(mutants) else 1)


if __name__ == "__main__":
    main()
