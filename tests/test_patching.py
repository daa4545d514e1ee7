"""The driver behaves the same whenever gevent's monkey-patching is done, and with whatever of it: the tests that are marked
`patching`, in a process for each way. The whole suite runs unpatched (`make test`) and patched first (`make patched`).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import gevent
import pytest

from tests.support.children import Popen

ROOT = Path(__file__).parents[1]
WAYS = {
    "first": ["gevent.monkey", "--module", "pytest"],
    "without threads": ["gevent.monkey", "--no-thread", "--module", "pytest"],
    "after imports": ["pytest", "-p", "tests.support.patching", "--patch=after"],
    "after contexts": ["pytest", "-p", "tests.support.patching", "--patch=contexts"],
}
MARKED = 20


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
def test_patched(way: str) -> None:
    """pitfalls A8."""
    command = [sys.executable, "-m", *WAYS[way], "-v", "-m", "patching", "-p", "no:cacheprovider", "tests/driver", "tests/net"]
    process = Popen(command, cwd=ROOT)
    with gevent.Timeout(880):
        out, errors = process.communicate()
    assert process.returncode == 0, out.decode()[-4000:] + errors.decode()
    assert len(set(re.findall(r"::(\w+).* PASSED", out.decode()))) == MARKED, out.decode()
