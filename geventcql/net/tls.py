"""TLS (layer: net): an ``SSLObject`` over two memory BIOs, handshake included.

So cipher text takes the same path as plain text: the reader receives it, the hub's flush sends it, and neither side ever
waits on the other's watcher. The handshake runs in the greenlet that opens the connection.
"""

from __future__ import annotations

import errno
import logging
import os
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from geventcql.net.transport import Transport

__all__ = ["TlsTransport", "make_context"]

log = logging.getLogger(__name__)

TLS_CHUNK = 64 * 1024

_MAKES_CONTEXT = ("ca_certs", "certfile", "keyfile", "cert_reqs", "check_hostname", "ciphers", "ssl_version")
_FILES = ("ca_certs", "certfile", "keyfile")
_OF_WRAPPING = ("server_hostname", "server_side", "do_handshake_on_connect", "suppress_ragged_eofs")


def make_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """The context that cassandra-driver's ``ssl_options`` describe, which were once the arguments of ``ssl.wrap_socket``.

    The server's certificate is checked against ``ca_certs`` unless ``cert_reqs`` says otherwise; the name in it only with
    ``check_hostname``, which a warning says if it is left out. The files are read again when they have changed.

    :raises ValueError: an option is not known, or there is nothing to check the certificate against
    :raises OSError: a file cannot be read, or is not what it should be
    """
    unknown = [name for name in options if name not in (*_MAKES_CONTEXT, *_OF_WRAPPING)]
    if unknown:
        raise ValueError(f"ssl_options has no {', '.join(unknown)}; there are {', '.join((*_MAKES_CONTEXT, *_OF_WRAPPING))}")
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("server_side"):
        raise ValueError("ssl_options: a driver is not the server_side")
    if given.get("cert_reqs") != ssl.CERT_NONE and "ca_certs" not in given:
        raise ValueError(
            "ssl_options need ca_certs, a file with the certificates to check the server's against, or "
            "cert_reqs=ssl.CERT_NONE not to check it"
        )
    making = {name: given[name] for name in _MAKES_CONTEXT if name in given}
    return _context(tuple(making.items()), tuple(_stamp(name, making[name]) for name in _FILES if name in making))


def _stamp(option: str, path: Any) -> tuple[int, ...]:
    """What is another number when the file is another one, or has been written again."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise OSError(f"ssl_options: {option} {path!r} cannot be used: {error}") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=32)  # a system's bundle of authorities takes 20 ms to read, which every other greenlet would wait for
def _context(options: tuple[tuple[str, Any], ...], stamps: tuple[tuple[int, ...], ...]) -> ssl.SSLContext:
    given = dict(options)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    version = given.get("ssl_version", ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if version == ssl.PROTOCOL_TLSv1_2:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    elif version not in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS):
        raise ValueError(f"ssl_options: ssl_version {version!r} is not one of a client, or older than TLS 1.2")
    context.check_hostname = bool(given.get("check_hostname", False))
    context.verify_mode = ssl.VerifyMode(given.get("cert_reqs", ssl.CERT_REQUIRED))
    if "certfile" in given:
        _load("certfile", context.load_cert_chain, given["certfile"], given.get("keyfile"), _no_password)
    if "ca_certs" in given:
        _load("ca_certs", context.load_verify_locations, given["ca_certs"])
    if "ciphers" in given:
        context.set_ciphers(given["ciphers"])
    if "check_hostname" not in given and context.verify_mode != ssl.CERT_NONE:
        log.warning(
            "ssl_options: any server that has a certificate of an authority in %r is trusted; check_hostname=True has the "
            "name or address in it compared, check_hostname=False says that you know",
            given["ca_certs"],
        )
    return context


def _no_password() -> str:
    """Asked for where a key is encrypted; without it OpenSSL would ask at the terminal, and everybody would wait."""
    raise ValueError("ssl_options: the key is encrypted: give an ssl_context that has loaded it with its password")


def _load(option: str, load: Callable[..., object], *paths: Any) -> None:
    """Have the context read files; the error of ``ssl`` does not name them."""
    try:
        load(*paths)
    except OSError as error:  # ssl.SSLError is one
        raise OSError(f"ssl_options: {option} {paths[0]!r} cannot be used: {error}") from error


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
