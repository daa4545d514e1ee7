"""Client-side timestamps of writes.

Layer: model. A generator is called once per request, in the greenlet that executes it.
"""

from __future__ import annotations

import logging

from geventcql.cython.wire import MicrosecondClock

__all__ = ["MonotonicTimestampGenerator"]

log = logging.getLogger(__name__)


class MonotonicTimestampGenerator(MicrosecondClock):
    """Gives microseconds since 1970, each greater than the one before (`cassandra.timestamps`).

    Where the clock stands still or was set back, it counts up by one microsecond from the last value; then it warns,
    if `warn_on_drift`, once it is `warning_threshold` seconds ahead of the clock and at most every `warning_interval`
    seconds. All three may be changed at any time.

    Nothing between reading and writing `last` can switch greenlets, so it needs no lock within one hub.
    """

    last: int

    def __init__(self, warn_on_drift: bool = True, warning_threshold: float = 1, warning_interval: float = 1) -> None:
        self.warn_on_drift = warn_on_drift
        self.warning_threshold = warning_threshold
        self.warning_interval = warning_interval
        self._last_warn = 0

    def _drift(self, now: int) -> int:
        ahead = self.last - now
        stamp = self.last = self.last + 1
        if (
            self.warn_on_drift
            and ahead >= self.warning_threshold * 1_000_000
            and now - self._last_warn >= self.warning_interval * 1_000_000
        ):
            self._last_warn = now
            log.warning(
                "The clock is %d microseconds behind the last timestamp given (%d): timestamps count up from there.",
                ahead, stamp,
            )  # fmt: skip
        return stamp
