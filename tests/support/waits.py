"""Waiting until something is so.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent


def eventually(predicate: Callable[[], Any], timeout: float = 5.0) -> Any:
    """Wait until ``predicate()`` is true and give its value; AssertionError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"not seen within {timeout} s: {predicate}"
        gevent.sleep(0.002)
    return value
