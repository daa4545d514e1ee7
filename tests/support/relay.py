"""TCP relays between a driver and real nodes: they count, read along, and cut connections.

Test support; imports nothing of geventcql. Each connection has a greenlet for either way; they end with the relay.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Group
from gevent.server import StreamServer

from .wire import Decoder, Envelope, Opcode, Reader

CHUNK = 1 << 16
_NO_LINGER = struct.pack("ii", 1, 0)


def shut(sock: Any) -> None:
    """End both directions of a connection, if the other end has not been first."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class Link:
    """One connection through a relay.

    Attributes: `opcodes`, how many requests of each went through; `prepared`, how often each text was prepared;
    `is_control`: whether it asked about the node, as only a control connection does. All empty unless the relay reads along.
    """

    def __init__(self, relay: Relay, client: Any, server: Any) -> None:
        self.opcodes: Counter[Opcode] = Counter()
        self.prepared: Counter[str] = Counter()
        self.is_control = False
        self._relay = relay
        self._client = client
        self._server = server
        self._decoder = Decoder()

    def run(self) -> None:
        """Hand on what comes, both ways, until an end has gone."""
        back = gevent.spawn(self._copy, self._server, self._client, self.from_server)
        try:
            self._copy(self._client, self._server, self.from_client)
        finally:
            back.kill()

    def cut(self, rst: bool = False) -> None:
        """End both halves, towards the driver by FIN or by RST."""
        if rst:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._client.close()
        else:
            shut(self._client)
        shut(self._server)

    def from_client(self, data: bytes) -> None:
        """Hand on what the driver has sent."""
        self._relay.sent += len(data)
        if self._relay.reads_along:
            self._decoder.feed(data)
            while (envelope := self._decoder.next()) is not None:
                self._note(envelope)
        self._server.sendall(data)

    def from_server(self, data: bytes) -> None:
        """Hand on what the node has sent."""
        self._relay.received += len(data)
        self._client.sendall(data)

    def _note(self, envelope: Envelope) -> None:
        self.opcodes[Opcode(envelope.opcode)] += 1
        if envelope.opcode == Opcode.STARTUP:
            self._decoder.segmented = envelope.version >= 5
        elif envelope.opcode == Opcode.PREPARE:
            self.prepared[Reader(envelope.body).long_string()] += 1
        elif envelope.opcode == Opcode.REGISTER or b"FROM system.local" in envelope.body:
            self.is_control = True

    @staticmethod
    def _copy(source: Any, sink: Any, take: Callable[[bytes], None]) -> None:
        try:
            while data := source.recv(CHUNK):
                take(data)
        except OSError:
            return  # one end has gone
        finally:
            shut(sink)  # the other end is told, whichever way the first one went


class Relay:
    """Listens on `address` and hands what it gets on to `target`. A context manager.

    `reads_along`: look into the requests (without compression). `port`: 0 for any that is free.

    Attributes: `port`; `accepted`, connections so far; `sent` and `received`, bytes to the target and from it; `links`, the
    open connections; `opcodes` and `prepared`, as of a Link, of all that ever were.
    """

    def __init__(
        self, target: tuple[str, int], address: str = "127.0.0.1", *, port: int = 0, reads_along: bool = False
    ) -> None:
        self.accepted = 0
        self.sent = 0
        self.received = 0
        self.reads_along = reads_along
        self.links: list[Any] = []
        self._opcodes: Counter[Opcode] = Counter()
        self._prepared: Counter[str] = Counter()
        self._target = target
        self._group = Group()
        self._server = StreamServer((address, port), self._serve, spawn=self._group.spawn)

    def __enter__(self) -> Any:
        self._server.start()
        self.port: int = self._server.server_port
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop()
        self._group.kill()

    def drop_connections(self) -> None:
        """Close every open connection."""
        self._group.kill()

    @property
    def opcodes(self) -> Counter[Opcode]:
        return sum((link.opcodes for link in self.links), self._opcodes)

    @property
    def prepared(self) -> Counter[str]:
        return sum((link.prepared for link in self.links), self._prepared)

    def cut(self, links: Iterable[Link] | None = None, rst: bool = False) -> None:
        """End some connections, all by default."""
        for link in list(self.links if links is None else links):
            link.cut(rst)

    def _link(self, client: Any, server: Any) -> Link:
        return Link(self, client, server)

    def _serve(self, client: Any, _: Any) -> None:
        self.accepted += 1
        try:
            server = socket.create_connection(self._target)
        except OSError:
            return  # the target is not there: the client sees its connection end at once
        with server:
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = self._link(client, server)
            self.links.append(link)
            try:
                link.run()
            finally:
                self.links.remove(link)
                self._opcodes += link.opcodes
                self._prepared += link.prepared
