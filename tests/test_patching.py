"""The driver behaves the same whenever gevent's monkey-patching is done, and with whatever of it: the tests that are marked
`patching`, in a process for each way. The whole suite runs unpatched (`make test`) and patched first (`make patched`).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import gevent
import pytest
from gevent.pool import Pool

from tests.support.children import Popen

ROOT = Path(__file__).parents[1]
WAYS = {
    "without threads": ["gevent.monkey", "--no-thread", "--module", "pytest"],
    "after imports": ["pytest", "-p", "tests.support.patching", "--patch=after"],
    "after contexts": ["pytest", "-p", "no:geventcql.testing.plugin", "-p", "tests.support.patching", "--patch=contexts"],
}
MARKED = 20


def run(way: str) -> tuple[str, int | None, str]:
    """Run the marked tests: the way, the exit status, and all that was said."""
    command = [sys.executable, "-m", *WAYS[way], "-v", "-m", "patching", "-p", "no:cacheprovider", "tests/driver", "tests/net"]
    process = Popen(command, cwd=ROOT)
    try:
        with gevent.Timeout(430):
            out, errors = process.communicate()
    finally:
        if process.poll() is None:
            process.kill()
    return way, process.returncode, (out + errors).decode()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_patched() -> None:
    """pitfalls A8. Two at a time, as they mostly wait."""
    for way, status, text in Pool(2).map(run, WAYS):
        assert status == 0, f"patched {way}: {text[-4000:]}"
        assert len(set(re.findall(r"::(\w+).* PASSED", text))) == MARKED, f"patched {way}: {text}"
