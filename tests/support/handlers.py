"""Handlers for rules of a fake node that more than one test wants.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .replies import Column, Handler, Reply, Rows
from .requests import Request

if TYPE_CHECKING:
    from .fakenode import ServerConnection


def in_turn(*replies: Reply | Sequence[Reply] | None) -> Handler:
    """A handler that gives the first reply to the first request, and so on; the last one to all that follow."""
    remaining = list(replies)

    def handler(request: Request, connection: ServerConnection) -> Reply | Sequence[Reply] | None:
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return handler


def paged(columns: Sequence[Column], data: Sequence[Sequence[Any]], page_size: int | None = None) -> Handler:
    """A handler that serves `data` in pages of `page_size` (None: what the request asks for, or all)."""

    def handler(request: Request, connection: ServerConnection) -> Reply:
        start = int(request.paging_state or b"0")
        end = start + (page_size or request.page_size or len(data))
        return Rows(columns, data[start:end], paging_state=b"%d" % end if end < len(data) else None)

    return handler
