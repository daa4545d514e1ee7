"""What the driver logs in a test, at WARNING and above, is what the test expects.

Test support, part of the invariant checker. `@pytest.mark.logs(pattern, ...)`, or `pytestmark = pytest.mark.logs(...)` for a
module, says what is expected: a pattern matches from the beginning of "WARNING message" or "ERROR message", and where a
traceback is logged of its exception's class and the message: "ZeroDivisionError message".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

__all__ = ["NAME_UNCHECKED", "REFUSED", "UNREACHABLE"]

UNREACHABLE = r"WARNING (cannot open a connection to|control connection:) "
"""What is logged where nodes are stopped, cut off or bad."""
REFUSED = r"ERROR (cannot open a connection to|control connection:) .*(refused|wants authentication)"
"""What is logged where a server refuses credentials."""
NAME_UNCHECKED = "WARNING ssl_options: any server that has a certificate "
"""What is logged of `ssl_options` without `check_hostname`."""


class _Lines(logging.Handler):
    """The lines logged since the beginning of the test. Runs first, and leaves text in the record instead of what it tells of:
    pytest keeps records beyond the test's end, and would keep all that errors and their tracebacks lead to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._formatter = logging.Formatter()

    def handle(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage(), None
        kind = record.levelname
        if record.exc_info and record.exc_info[0] is not None:
            kind = record.exc_info[0].__name__
            record.exc_text, record.exc_info = self._formatter.formatException(record.exc_info), None
        if record.levelno >= logging.WARNING:
            self.lines.append(f"{kind} {record.msg}")
        return True


_log = _Lines()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "logs(pattern, ...): what the driver may log in the test, at WARNING and above")
    logging.getLogger("geventcql").addHandler(_log)


def begin() -> None:
    """A test begins."""
    _log.lines.clear()


def unexpected(item: pytest.Item) -> Iterator[str]:
    """What was logged in a test that it does not say to expect."""
    patterns = [pattern for marker in item.iter_markers("logs") for pattern in marker.args]
    return (line for line in dict.fromkeys(_log.lines) if not any(re.match(pattern, line) for pattern in patterns))
