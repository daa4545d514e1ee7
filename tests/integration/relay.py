"""A TCP relay that counts the bytes going through it. Test support."""

from __future__ import annotations

from typing import Any

import gevent
from gevent import socket
from gevent.pool import Group
from gevent.server import StreamServer

CHUNK = 1 << 16


class Relay:
    """Listens on `address` and hands what it gets on to `target`. A context manager.

    Attributes: `port`; `accepted`, connections so far; `sent` and `received`, bytes to the target and from it.
    """

    def __init__(self, target: tuple[str, int], address: str = "127.0.0.1") -> None:
        self.accepted = 0
        self.sent = 0
        self.received = 0
        self._target = target
        self._group = Group()
        self._server = StreamServer((address, 0), self._serve, spawn=self._group.spawn)

    def __enter__(self) -> Relay:
        self._server.start()
        self.port: int = self._server.server_port
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop()
        self._group.kill()

    def drop_connections(self) -> None:
        """Close every open connection."""
        self._group.kill()

    def _serve(self, client: Any, _: Any) -> None:
        self.accepted += 1
        with socket.create_connection(self._target) as server:
            back = gevent.spawn(self._copy, server, client, "received")
            try:
                self._copy(client, server, "sent")
            finally:
                back.kill()

    def _copy(self, source: Any, sink: Any, counter: str) -> None:
        try:
            while data := source.recv(CHUNK):
                setattr(self, counter, getattr(self, counter) + len(data))
                sink.sendall(data)
        except OSError:
            return  # the other end has gone
