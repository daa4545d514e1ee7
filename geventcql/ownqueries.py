"""The driver's own queries over one connection (layer: driver): what a server answers is taken page by page, up to a limit.

Waits in the calling greenlet.
"""

from __future__ import annotations

from typing import Any

from geventcql.cython.wire import Page
from geventcql.errors import DriverException
from geventcql.net.connection import Connection
from geventcql.protocol import requests
from geventcql.protocol.constants import ConsistencyLevel

__all__ = ["rows_of"]

PAGE_SIZE = 500
"""Rows per page: what is decoded in one go keeps the hub for a few milliseconds at most."""
MOST_READ = 128 * 1024 * 1024
"""Bytes of all pages together."""
LEAST_PAGE = 16 * 1024
"""What a page counts for at least: empty ones may not go on for ever either."""


def rows_of(connection: Connection, text: str, timeout: float | None) -> list[dict[str, Any]]:
    """Run a query.

    :param timeout: seconds for each page
    :returns: the rows as dicts by column name
    :raises ErrorMessage: the server's error
    :raises DriverException: the answer is none, or has no end
    """
    rows: list[dict[str, Any]] = []
    taken = 0
    state: bytes | None = None
    while True:
        parts = requests.query_parts(connection.version, text, ConsistencyLevel.ONE, page_size=PAGE_SIZE, paging_state=state)
        page = connection.call(parts.opcode, parts.body(), timeout)
        if not isinstance(page, Page):
            raise DriverException(f"{connection.endpoint} answered {text!r} with {type(page).__name__}")
        if page.has_rows:
            names = page.decoder().names
            rows += [dict(zip(names, row, strict=True)) for row in page.all()]
        state = page.paging_state
        if state is None:
            return rows
        taken += max(len(page.body), LEAST_PAGE)
        if taken > MOST_READ:
            raise DriverException(f"{connection.endpoint} answers {text!r} without end: given up after {len(rows)} rows")
