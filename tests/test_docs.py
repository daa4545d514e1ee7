"""The examples of README.md and of the pages in docs/ run, page by page, on a real Cassandra.

The python blocks of a page run in order, in one namespace. A text block right behind one is what it prints. A block below
the comment ``<!-- skip: reason -->`` is not run. A function ``test_...`` that a block defines is called with the fixtures
that its parameters name, as pytest does. Of a block's text two things are changed: where the server is, and the name of the
keyspace ``shop``, which is the test's own. Sessions and Clusters that a page leaves open are closed.

Links between pages lead somewhere, and tests that are named exist: the table of pitfalls names many.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from geventcql.cluster import Cluster, Session
from tests.support.logs import UNREACHABLE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVER = '["127.0.0.1"]'
KEYSPACE = re.compile(r"\bshop\b")

FENCE = re.compile(r"^(?:<!-- skip: (?P<skip>.+?) -->\n+)?```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)(?P<path>[^)#\s]+)(?:#[^)]*)?\)")

TEST = re.compile(r"`(?P<path>tests/[\w/]+\.py)::(?P<name>\w+)`")
PITFALL = re.compile(r"^\| (?P<group>[A-E])(?P<number>\d+) \|[^|]+\|(?P<test>[^|]*)\|[^|]*\|$", re.MULTILINE)


@dataclass
class Example:
    """A python block of a page: its text, the line above it, and what it prints, if the page says so."""

    line: int
    text: str
    skip: str | None = None
    output: str | None = None


def examples(page: str) -> list[Example]:
    found: list[Example] = []
    end = -1
    for fence in FENCE.finditer(page):
        if fence["kind"] == "python":
            found.append(Example(page.count("\n", 0, fence.start("text")), fence["text"], fence["skip"]))
        elif fence["kind"] == "text" and found and not page[end : fence.start()].strip():
            found[-1].output = fence["text"]
        end = fence.end() if fence["kind"] == "python" else -1
    return found


@contextlib.contextmanager
def closing_all(namespace: dict[str, Any]) -> Iterator[None]:
    """Closes what the page has opened, in the order in which it may be closed."""
    try:
        yield
    finally:
        for kind in (Session, Cluster):
            for value in list(namespace.values()):
                if isinstance(value, kind):
                    value.shutdown()
        namespace.clear()  # functions and classes of the page lead to it, and to what the driver keeps of them


def run(example: Example, page: Path, namespace: dict[str, Any], request: pytest.FixtureRequest) -> str:
    """Run one block; what it printed."""
    printed = io.StringIO()
    known = set(namespace)
    code = compile("\n" * example.line + example.text, str(page), "exec", dont_inherit=True)
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
        for name in [name for name in namespace if name.startswith("test_") and name not in known]:
            test = namespace[name]
            if isinstance(test, FunctionType):
                test(**{fixture: request.getfixturevalue(fixture) for fixture in inspect.signature(test).parameters})
    return printed.getvalue()


RUNNING = [page for page in PAGES if any(not e.skip for e in examples(page.read_text()))]


@pytest.mark.integration
@pytest.mark.logs("WARNING Server warning: Aggregation query", UNREACHABLE)
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path, request: pytest.FixtureRequest, cassandra: Any, cassandra_keyspace: str) -> None:
    server = repr([(address, cassandra.port) for address in cassandra.contact_points])
    text = KEYSPACE.sub(cassandra_keyspace, page.read_text().replace(SERVER, server))
    namespace: dict[str, Any] = {"__name__": "example"}
    with closing_all(namespace):
        for example in examples(text):
            if not example.skip:
                printed = run(example, page, namespace, request)
                if example.output is not None:
                    assert printed == example.output, f"{page.name}, line {example.line + 1}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.finditer(page.read_text()):
        assert (page.parent / link["path"]).exists(), f"{link['path']} in {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named_exist(page: Path) -> None:
    for named in TEST.finditer(page.read_text()):
        tree = ast.parse((ROOT / named["path"]).read_text())
        assert named["name"] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, named[0]


def test_every_pitfall_has_a_test_or_says_why_not() -> None:
    rows = list(PITFALL.finditer((ROOT / "docs" / "development" / "pitfalls.md").read_text()))
    assert Counter(row["group"] for row in rows) == {"A": 13, "B": 14, "C": 11, "D": 3, "E": 8}
    assert len({(row["group"], row["number"]) for row in rows}) == len(rows)
    without = [row[0] for row in rows if not TEST.search(row["test"]) and "not in this release: " not in row[0]]
    assert not without, without


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_skipped_examples_are_python(page: Path) -> None:
    for example in examples(page.read_text()):
        compile(example.text, str(page), "exec", dont_inherit=True)


def test_the_readme_and_most_pages_have_examples_that_run() -> None:
    names = {page.name for page in RUNNING}
    assert {"README.md", "connecting.md", "statements.md", "results.md", "concurrency.md", "errors.md"} <= names


PAGE = """\
One.

```python
print(1)
```

```text
1
```

<!-- skip: needs two servers -->

```python
print(2)
```

Words in between.

```text
not what it prints
```
"""


def test_blocks_are_found_with_their_lines_and_what_they_print() -> None:
    first, second = examples(PAGE)
    assert (first.line, first.text, first.skip, first.output) == (3, "print(1)\n", None, "1\n")
    assert (second.text, second.skip, second.output) == ("print(2)\n", "needs two servers", None)


def test_an_example_that_fails_tells_its_line(request: pytest.FixtureRequest) -> None:
    (example,) = examples("text\n\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run(example, Path("page.md"), {}, request)
    assert Path(caught.traceback[-1].path).name == "page.md" and caught.traceback[-1].lineno == 3  # counted from 0
