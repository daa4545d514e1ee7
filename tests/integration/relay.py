"""TCP relays between a driver and real nodes: they count, read along, and cut connections. Test support."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Group
from gevent.server import StreamServer

from geventcql.policies import AddressTranslator
from tests.support.wire import Decoder, Envelope, Opcode, Reader

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

    def __init__(self, client: Any, server: Any) -> None:
        self.opcodes: Counter[Opcode] = Counter()
        self.prepared: Counter[str] = Counter()
        self.is_control = False
        self._client = client
        self._server = server
        self._decoder = Decoder()

    def cut(self, rst: bool = False) -> None:
        """End both halves, towards the driver by FIN or by RST."""
        if rst:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._client.close()
        else:
            shut(self._client)
        shut(self._server)

    def read(self, data: bytes) -> None:
        """Read along what the driver sends."""
        self._decoder.feed(data)
        while (envelope := self._decoder.next()) is not None:
            self.opcodes[Opcode(envelope.opcode)] += 1
            self._note(envelope)

    def _note(self, envelope: Envelope) -> None:
        if envelope.opcode == Opcode.STARTUP:
            self._decoder.segmented = envelope.version >= 5
        elif envelope.opcode == Opcode.PREPARE:
            self.prepared[Reader(envelope.body).long_string()] += 1
        elif envelope.opcode == Opcode.REGISTER or b"FROM system.local" in envelope.body:
            self.is_control = True


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
        self.links: list[Link] = []
        self._ended: list[Link] = []
        self._target = target
        self._reads_along = reads_along
        self._group = Group()
        self._server = StreamServer((address, port), self._serve, spawn=self._group.spawn)

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

    @property
    def opcodes(self) -> Counter[Opcode]:
        return sum((link.opcodes for link in self.links + self._ended), Counter())

    @property
    def prepared(self) -> Counter[str]:
        return sum((link.prepared for link in self.links + self._ended), Counter())

    def cut(self, links: Iterable[Link] | None = None, rst: bool = False) -> None:
        """End some connections, all by default."""
        for link in list(self.links if links is None else links):
            link.cut(rst)

    def _serve(self, client: Any, _: Any) -> None:
        self.accepted += 1
        try:
            server = socket.create_connection(self._target)
        except OSError:
            return  # the target is not there: the client sees its connection end at once
        with server:
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(client, server)
            self.links.append(link)
            back = gevent.spawn(self._copy, server, client, "received", None)
            try:
                self._copy(client, server, "sent", link if self._reads_along else None)
            finally:
                back.kill()
                self.links.remove(link)
                self._ended.append(link)

    def _copy(self, source: Any, sink: Any, counter: str, link: Link | None) -> None:
        try:
            while data := source.recv(CHUNK):
                setattr(self, counter, getattr(self, counter) + len(data))
                if link is not None:
                    link.read(data)
                sink.sendall(data)
        except OSError:
            return  # one end has gone
        finally:
            shut(sink)  # the other end is told, whichever way the first one went


class Relays(AddressTranslator):
    """A relay before each node of a cluster, and the translator that has a Cluster go through them. A context manager.

    The relays listen on the nodes' port, on addresses of the nodes' own subnet or, if that is not this machine's, on others.
    Attributes: `contact_points`, `port`.
    """

    def __init__(self, addresses: Iterable[str], port: int, *, reads_along: bool = True) -> None:
        self.port = port
        self._relays = {}
        for target in addresses:
            net, _, last = target.rpartition(".")
            address = f"{net if net.startswith('127.') else '127.0.99'}.{100 + int(last) % 100}"
            self._relays[target] = address, Relay((target, port), address, port=port, reads_along=reads_along)

    def __enter__(self) -> Relays:
        for relay in self:
            relay.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        for relay in self:
            relay.__exit__()

    def __iter__(self) -> Any:
        return (relay for _, relay in self._relays.values())

    def __getitem__(self, address: str) -> Relay:
        """The relay before the node on `address`."""
        return self._relays[address][1]

    @property
    def contact_points(self) -> list[str]:
        return [address for address, _ in self._relays.values()]

    def translate(self, addr: str) -> str:
        """The relay's address for a node's."""
        return self._relays[addr][0] if addr in self._relays else addr
