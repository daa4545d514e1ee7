"""A client without driver: sockets and the fake node's codec, for tests that look at single bytes and messages.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import gevent
from gevent import socket

from . import wire
from .wire import Decoder, Envelope, Opcode


class RawClient:
    """One connection to a node; every call blocks its greenlet for at most `timeout` seconds."""

    def __init__(
        self,
        address: tuple[str, int],
        version: int = 4,
        *,
        compression: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        timeout: float = 5.0,
    ) -> None:
        self.version = version
        self.compression = compression
        self.segmented = False
        self.decoder = Decoder()
        self.timeout = timeout
        sock = socket.create_connection(address, timeout)
        if ssl_context is not None:
            sock = _Tls(sock, ssl_context, address[0])
        self.sock = sock

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        self.sock.close()

    def start(self, options: Mapping[str, str] | None = None) -> Envelope:
        """STARTUP; the answer. On v5 everything after it is segmented."""
        startup = {"CQL_VERSION": "3.0.0", **(options or {})}
        if self.compression:
            startup["COMPRESSION"] = self.compression
        self.send(Opcode.STARTUP, wire.string_map(startup))
        self.decoder.compression = self.compression
        answer = self.receive()
        if answer.opcode in (Opcode.READY, Opcode.AUTHENTICATE) and self.version >= 5:
            self.segmented = self.decoder.segmented = True
        return answer

    def encode(self, opcode: int, body: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
        """The bytes of one request as this connection sends it."""
        if self.compression and self.version < 5 and opcode != Opcode.STARTUP and body:
            body = wire.BODY_COMPRESSORS[self.compression][0](body)
            flags |= wire.FLAG_COMPRESSION
        raw = wire.encode_envelope(Envelope(self.version, flags, stream, opcode, body))
        return b"".join(wire.encode_segments([raw], self.compression is not None)) if self.segmented else raw

    def send(self, opcode: int, body: bytes = b"", stream: int = 0, flags: int = 0) -> None:
        self.sock.sendall(self.encode(opcode, body, stream, flags))

    def query(self, text: str, stream: int = 0) -> None:
        """Send a QUERY with consistency ONE and no options."""
        flags = wire.int_(0) if self.version >= 5 else wire.byte(0)
        self.send(Opcode.QUERY, wire.long_string(text) + wire.short(1) + flags, stream)

    def receive(self) -> Envelope:
        """The next response; EOFError when the node has closed."""
        with gevent.Timeout(self.timeout):
            while (envelope := self.decoder.next()) is None:
                data = self.sock.recv(65536)
                if not data:
                    raise EOFError(f"closed by the node with {self.decoder.pending} bytes of a message")
                self.decoder.feed(data)
        return envelope

    def receive_bytes(self) -> bytes:
        """All bytes until the node closes."""
        pieces = []
        with gevent.Timeout(self.timeout):
            while data := self.sock.recv(65536):
                pieces.append(data)
        return b"".join(pieces)


class _Tls:
    """The client's side of TLS over memory BIOs."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        try:
            while not self._try_handshake():
                self._fill()
        except ssl.SSLError:
            sock.close()
            raise

    def _try_handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            if data := self._outgoing.read():
                self._sock.sendall(data)
        return True

    def _fill(self) -> None:
        data = self._sock.recv(65536)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def sendall(self, data: bytes) -> None:
        self._tls.write(data)
        self._sock.sendall(self._outgoing.read())

    def recv(self, size: int) -> bytes:
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._fill()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    def close(self) -> None:
        self._sock.close()
