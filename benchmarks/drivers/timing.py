"""Times a small operation: nanoseconds each, the best of several runs. Standard library only.

The garbage collector stays on: what an operation makes it do is part of what the operation costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def best_ns(operation: Callable[[], object], units: int = 1, runs: int = 7, run_s: float = 0.05) -> float:
    """Nanoseconds of wall time for each of the `units` things one call of `operation` does.

    Calls it for about `run_s` seconds in each of `runs` runs; the fastest run counts.
    """
    operation()
    start = time.perf_counter()
    operation()
    calls = max(1, int(run_s / max(time.perf_counter() - start, 1e-7)))
    best = float("inf")
    for _ in range(runs):
        counter = range(calls)
        start = time.perf_counter()
        for _ in counter:
            operation()
        best = min(best, time.perf_counter() - start)
    return round(best / calls / units * 1e9, 1)


ENCODE = "encode an insert of 8 values"
TUPLES = "decode a row of 10 columns into a tuple"
NAMED = "decode a row of 10 columns into a named tuple"
NESTED = "decode a row with list, map, set and tuple"
MURMUR3 = "murmur3 token of a 16-byte key"
TOKEN = "routing token of an encoded insert"
REQUEST = "frame of a request from its template"
STREAM = "stream id taken and freed"
CUT_V4 = "cut a v4 reply of one row"
CUT_V5 = "cut a v5 reply, a segment for each"
CUT_SHARED = "cut a v5 reply, segments shared by 256"
PACK_V5 = "segment around a v5 request"
