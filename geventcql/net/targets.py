"""What the reply to a request belongs to (layer: net).

A *target* is an object with ``on_page(page)``, ``on_frame(frame, connection)``, ``on_timeout(connection)`` and
``on_lost(connection, cause)``. Exactly one of them is called, once. They run in the reader or in the hub and must neither
block nor switch nor run user code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gevent.event import AsyncResult

from geventcql.cython.wire import Frame, Page
from geventcql.errors import ConnectionShutdown, OperationTimedOut

if TYPE_CHECKING:
    from geventcql.net.connection import Connection

__all__ = ["Call", "Target"]


class Target(Protocol):
    """What waits for a reply; see the module's text for the rules."""

    def on_page(self, page: Page) -> None: ...

    def on_frame(self, frame: Frame, connection: Connection) -> None: ...

    def on_timeout(self, connection: Connection) -> None: ...

    def on_lost(self, connection: Connection, cause: BaseException) -> None: ...


class Call(AsyncResult):  # type: ignore[misc]
    """A target that one greenlet waits for: handshakes, heartbeats, control queries. Its value is the Page or Frame."""

    __slots__ = ()

    def on_page(self, page: Page) -> None:
        self.set(page)

    def on_frame(self, frame: Frame, connection: Connection) -> None:
        self.set(frame)

    def on_timeout(self, connection: Connection) -> None:
        self.set_exception(OperationTimedOut({}, connection.endpoint))

    def on_lost(self, connection: Connection, cause: BaseException) -> None:
        self.set_exception(ConnectionShutdown(f"connection to {connection.endpoint} was lost: {cause}", connection.endpoint))
