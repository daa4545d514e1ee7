"""The fake node's end of a TCP connection, plain or TLS.

Test support; imports nothing of geventcql. TLS runs over memory BIOs, so any SSLContext works, gevent's or the standard
library's, patched or not. One greenlet may read while another writes.
"""

from __future__ import annotations

import socket as stdlib_socket
import ssl
import struct
from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent import socket
from gevent.lock import BoundedSemaphore

T = TypeVar("T")


class PlainStream:
    """Bytes over a gevent socket. `chunk`: send at most that many bytes at a time, a turn of the hub apart."""

    def __init__(self, sock: socket.socket, chunk: int | None = None) -> None:
        self.sock = sock
        self._chunk = chunk
        self.sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)

    def handshake(self) -> None:
        """Nothing to agree on without TLS."""

    def recv(self, size: int) -> bytes:
        """At most `size` bytes; b"" when the client has closed."""
        return bytes(self.sock.recv(size))

    def sendall(self, data: bytes) -> None:
        """Send all of it, blocking as long as the client does not read."""
        self._to_socket(data)

    def _to_socket(self, data: bytes) -> None:
        step = self._chunk or len(data) or 1
        for start in range(0, len(data), step):
            if start:
                gevent.sleep(0)
            self.sock.sendall(data[start : start + step])

    def shutdown_write(self) -> None:
        """Send FIN (with TLS: without close_notify); reading goes on."""
        self.sock.shutdown(stdlib_socket.SHUT_WR)

    def close(self, rst: bool = False) -> None:
        """Close; `rst` makes the kernel send RST and drop what it has not sent."""
        if rst and self.sock.fileno() != -1:
            self.sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class TlsStream(PlainStream):
    """Bytes over TLS, server side; `chunk` cuts the ciphertext, the handshake's too."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, chunk: int | None = None) -> None:
        super().__init__(sock, chunk)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._sending = BoundedSemaphore(1)

    def handshake(self) -> None:
        """Run the TLS handshake; ssl.SSLError or ConnectionError when it fails."""
        try:
            self._drive(self._tls.do_handshake)
        except ssl.SSLError:
            self._flush()  # the alert that tells the client why
            raise

    def recv(self, size: int) -> bytes:
        try:
            return self._drive(lambda: self._tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def sendall(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
            self._flush()

    def _drive(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        with self._sending:
            if data := self._outgoing.read():
                self._to_socket(data)
