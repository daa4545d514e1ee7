"""Waiting for what has an end, a value or an error (layer: net). Runs in the calling greenlet, which it may switch."""

from __future__ import annotations

from typing import Any

from gevent.event import AsyncResult

__all__ = ["outcome"]


def outcome(result: AsyncResult) -> Any:
    """Wait for ``result``, as its ``get``, whose error leads in a circle: by its traceback to gevent's frames, and from
    there back to itself, so that only the garbage collector would find it.

    :returns: its value
    :raises BaseException: its error
    """
    result.wait()
    try:
        if result.exception is not None:
            raise result.exception.with_traceback(None)  # there may be others who wait: each raising would lengthen it
        return result.value
    finally:
        del result
