"""What the end of a request is told to (layer: driver). Nothing in here switches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gevent
from gevent.event import AsyncResult

from geventcql.errors import ConnectionShutdown

__all__ = ["Cancelled", "Fetch", "Sink", "all_told", "as_outcome", "told"]


class Cancelled(ConnectionShutdown):
    """Whoever waited for the request has gone, by a kill or a Timeout."""


class Sink(Protocol):
    """What a request's end is told to; neither method may switch."""

    def finish(self, page: Any) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class Fetch(AsyncResult):  # type: ignore[misc]
    """A sink for the driver's own requests: its value is the Page or message."""

    __slots__ = ()

    def finish(self, page: Any) -> None:
        self.set(page)

    def fail(self, error: BaseException) -> None:
        self.set_exception(error)


def as_outcome(error: BaseException, host: Any) -> BaseException:
    """``error`` as those get it who wait for a request. The kill of the greenlet that had to go on with it is no error of
    theirs: raised in them, it would end them, too.

    :param host: that was being asked
    """
    if isinstance(error, (Exception, gevent.Timeout)):
        return error
    ended = ConnectionShutdown(f"the request was given up: {error!r} ended the greenlet that had to go on with it", host)
    ended.__cause__ = error
    return ended


def told(error: BaseException, how: Callable[[BaseException], str] = repr) -> str:
    """``how(error)``; of an application's own error that cannot be told, as of an authenticator's, its class."""
    try:
        return how(error)
    except Exception:
        return f"<{type(error).__name__}>"


def all_told(errors: Mapping[Any, BaseException]) -> str:
    """What became of each host or end point, for the text of a NoHostAvailable."""
    return "; ".join(f"{where}: {told(error, str)}" for where, error in errors.items())
