"""The connections to one host (layer: net).

A pool holds open connections and gives out the least loaded one. It opens none itself: it reports that it is below its size
to its owner, which supervises it (design: the supervisor in :mod:`geventcql.supervisor`). Nothing in here waits or switches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geventcql.cython.wire import least_loaded
from geventcql.net.connection import Connection

__all__ = ["HostPool"]

# A connection with this many orphans is replaced: its server may never answer them.
MAX_ORPHANS = 1024


class HostPool:
    """Open connections to one host, in one keyspace below protocol v5.

    :param host: the Host they lead to
    :param keyspace: the keyspace that each connection has set; None on v5, where requests name theirs
    :param size: how many connections it should have
    :param on_below_size: called with the pool when a connection is missing; must not switch
    :param on_room: called with the pool when a connection of it may take requests again; must not switch
    """

    def __init__(
        self,
        host: Any,
        keyspace: str | None,
        size: int,
        on_below_size: Callable[[HostPool], object],
        on_room: Callable[[HostPool], object],
    ) -> None:
        self.host = host
        self.keyspace = keyspace
        self.size = size
        self.connections: list[Connection] = []
        self.is_shutdown = False
        self.last_error: BaseException | None = None
        """Why the last connection was lost or could not be opened."""
        self.opening = True
        """Its owner is opening a connection if one is missing, and has not failed: requests may wait for it."""
        self._on_below_size = on_below_size
        self._on_room = on_room
        self._draining: set[Connection] = set()
        self._leaving: set[Connection] = set()  # in use until a successor is there

    @property
    def open_connections(self) -> list[Connection]:
        """All of them, those too that are being drained."""
        return [*self.connections, *self._draining]

    @property
    def in_flight(self) -> int:
        """Requests in flight on all connections."""
        return sum(c.table.in_flight for c in self.connections)

    @property
    def missing(self) -> int:
        """Connections that are to be opened."""
        staying = len(self.connections) - len(self._leaving)
        return 0 if self.is_shutdown else max(0, self.size - staying)

    def pick(self) -> Connection | None:
        """The least loaded usable connection, or None; never waits. Suspect ones only if there is no other."""
        return least_loaded(self.connections)

    def add(self, connection: Connection) -> None:
        """Take a fresh connection in; it is the pool's from now on."""
        if self.is_shutdown:
            connection.close()
            return
        connection.on_close = self._closed
        connection.on_room = self._room
        self.connections.append(connection)
        self.last_error = None
        self.opening = True
        if connection.closed:  # it broke before it got here
            self._closed(connection, connection.cause)
            return
        if self._leaving:
            self._retire(next(iter(self._leaving)))
        self._on_room(self)

    def replace(self, connection: Connection) -> None:
        """Use a connection no more: it finishes what it has and closes; another is to be opened."""
        if connection in self.connections:
            self._retire(connection)
            self._on_below_size(self)

    def resize(self, size: int) -> None:
        """Have ``size`` connections from now on; what is too much finishes what it has and closes."""
        if size == self.size:
            return
        self.size = size
        for connection in self.connections[size:]:
            self._retire(connection)
        if self.missing:
            self._on_below_size(self)

    def drain(self) -> None:
        """Take no more requests; each connection closes when its last answer has come. Nothing is reported any more."""
        self.is_shutdown = True
        self.opening = False
        for connection in list(self.connections):
            self._retire(connection)

    def succeed(self, connection: Connection) -> None:
        """As :meth:`replace`, but the connection is used until the other one is there."""
        if connection in self.connections and connection not in self._leaving:
            self._leaving.add(connection)
            self._on_below_size(self)

    def _retire(self, connection: Connection) -> None:
        self._leaving.discard(connection)
        self.connections.remove(connection)
        self._draining.add(connection)
        connection.drain()

    def _room(self, connection: Connection) -> None:
        if connection.table.orphaned >= MAX_ORPHANS and not connection.draining:
            self.succeed(connection)
        self._on_room(self)

    def _closed(self, connection: Connection, cause: BaseException | None) -> None:
        self._draining.discard(connection)
        self._leaving.discard(connection)
        if connection in self.connections:
            self.connections.remove(connection)
        if self.is_shutdown:
            return
        if cause is not None:
            self.last_error = cause
        self._on_below_size(self)

    def shutdown(self) -> None:
        """Close every connection; nothing is reported any more."""
        self.is_shutdown = True
        self.opening = False
        for connection in self.open_connections:
            connection.close()
        self.connections.clear()
        self._draining.clear()
        self._leaving.clear()

    def __repr__(self) -> str:
        ks = f" keyspace={self.keyspace}" if self.keyspace else ""
        return f"<HostPool {self.host}{ks} {len(self.connections)}/{self.size} connections, {self.in_flight} in flight>"
