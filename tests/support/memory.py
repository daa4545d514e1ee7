"""How much memory this process has.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import ctypes
import gc
import resource
from contextlib import suppress
from pathlib import Path

_STATISTICS = Path("/proc/self/statm")
_PAGE_SIZE = resource.getpagesize()


def resident() -> float:
    """The resident memory of this process, without garbage and what the allocator keeps for later, MB."""
    gc.collect()
    with suppress(AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
    return int(_STATISTICS.read_text().split()[1]) * _PAGE_SIZE / 1e6
