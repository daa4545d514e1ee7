"""TLS (layer: net): an ``SSLObject`` over two memory BIOs, handshake included.

So cipher text takes the same path as plain text: the reader receives it, the hub's flush sends it, and neither side ever
waits on the other's watcher. The handshake runs in the greenlet that opens the connection.
"""

from __future__ import annotations

import errno
import ssl
from typing import Any

from geventcql.net.transport import Transport

__all__ = ["TlsTransport"]

TLS_CHUNK = 64 * 1024


class TlsTransport(Transport):
    """A TLS stream.

    :param sock: a connected gevent socket
    :param context: an ``ssl.SSLContext``, made before or after monkey-patching
    :param server_hostname: for SNI and for the check of the certificate, if the context asks for that
    """

    def __init__(self, sock: Any, context: ssl.SSLContext, server_hostname: str | None) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._scratch = bytearray(TLS_CHUNK)
        self._held_up = False
        """The peer renegotiates (up to TLS 1.2), and nothing else can be written before its answer has come."""
        self.recv_into = self._recv_into

    def handshake(self) -> None:
        """Shake hands, waiting in the calling greenlet.

        :raises ssl.SSLError: the peer is not trusted, or does not speak TLS
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush_blocking()
                if not self._receive():
                    told = "the peer closed the connection in the TLS handshake"
                    raise ConnectionResetError(errno.ECONNRESET, told) from None
            except ssl.SSLError:
                self._flush_blocking()  # the alert tells the peer why
                raise
            else:
                self._flush_blocking()
                return

    def _flush_blocking(self) -> None:
        data = self._outgoing.read()
        if data:
            self._sock.sendall(data)

    def _receive(self) -> int:
        n = int(self._sock.recv_into(self._scratch))
        if n:
            self._incoming.write(memoryview(self._scratch)[:n])
        return n

    def _recv_into(self, buffer: Any) -> int:
        with memoryview(buffer) as view:
            while True:
                n = self._read(view)
                if self._outgoing.pending or self._held_up:
                    self.on_output()
                if n is not None:
                    return n
                if not self._receive():
                    return 0

    def _read(self, view: memoryview) -> int | None:
        try:
            return int(self._tls.read(len(view), view))
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return 0

    def wrap(self, data: bytes) -> bytes | None:
        try:
            self._tls.write(data)
        except ssl.SSLWantReadError:
            self._held_up = True
            return None
        self._held_up = False
        return self._outgoing.read()

    def take_output(self) -> bytes:
        return self._outgoing.read() if self._outgoing.pending else b""

    def pending(self) -> bool:
        return bool(self._incoming.pending or self._tls.pending()) or super().pending()
