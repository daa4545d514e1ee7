"""How long the hub is kept from looking at its sockets and timers, in CPU seconds: what else the machine does counts nothing.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import time
from typing import Any

import gevent


class HubTurns:
    """Within its ``with`` block: the turns of the hub, each from one look at its sockets to the next.

    Attributes: `held`, the CPU seconds of each turn; `longest` of them. What runs without ever coming to the hub ends with the
    next turn.
    """

    def __init__(self) -> None:
        self.held: list[float] = []
        self._watcher: Any = None
        self._last = 0.0

    @property
    def longest(self) -> float:
        return max(self.held)

    def __enter__(self) -> HubTurns:
        self._watcher = gevent.get_hub().loop.check()
        self._watcher.start(self._looked)
        gevent.sleep(0.001)
        self.held.clear()
        self._last = time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        gevent.sleep(0.001)
        self._watcher.stop()
        self._watcher.close()

    def _looked(self) -> None:
        now = time.thread_time()
        self.held.append(now - self._last)
        self._last = now
