"""How much memory this process has.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import gc
import resource
from pathlib import Path

_STATISTICS = Path("/proc/self/statm")
_PAGE_SIZE = resource.getpagesize()


def resident() -> float:
    """The resident memory of this process, without garbage, MB."""
    gc.collect()
    return int(_STATISTICS.read_text().split()[1]) * _PAGE_SIZE / 1e6
