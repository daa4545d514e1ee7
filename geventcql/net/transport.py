"""Sockets and TLS (layer: net): the only module that opens sockets.

A transport is a connected stream. Its reader blocks in :meth:`Transport.recv_into`, in the connection's reader greenlet;
its sender never blocks: :meth:`Transport.send` runs in the hub. TLS is in :mod:`geventcql.net.tls`.
"""

from __future__ import annotations

import errno
import os
import socket as std_socket
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket

from geventcql.errors import ConnectionException
from geventcql.net.forking import inherit

if TYPE_CHECKING:
    import ssl

__all__ = ["Resolver", "Traffic", "Transport", "is_numeric", "open_transport", "resolve"]

# After this long without an acknowledgement of sent data the kernel gives the peer up; milliseconds.
TCP_USER_TIMEOUT_MS = 30_000
RESOLVE_TIMEOUT = 10.0
"""Seconds for a question about a name or an address, asked for a policy."""
WOULD_BLOCK = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR))

Address = tuple[Any, ...]


def is_numeric(host: str) -> bool:
    """Whether ``host`` is an IP address rather than a name."""
    for family in (std_socket.AF_INET, std_socket.AF_INET6):
        try:
            std_socket.inet_pton(family, host.split("%", 1)[0])
        except OSError:
            continue
        return True
    return False


def resolve(host: str, port: int, family: int = 0) -> list[tuple[int, Address]]:
    """The addresses of a host, through gevent's resolver; a numeric one never passes the resolver.

    :param family: the address family to look for; 0 for any
    :returns: pairs (address family, socket address)
    :raises OSError: the name is not known
    """
    if is_numeric(host):
        return [(std_socket.AF_INET6 if ":" in host else std_socket.AF_INET, (host, port))]
    found = socket.getaddrinfo(host, port, family, std_socket.SOCK_STREAM)
    return list(dict.fromkeys((found_family, tuple(address[:2])) for found_family, _, _, _, address in found))


class Resolver:
    """Name resolution for the layers that know no gevent."""

    def addresses(self, host: str) -> list[str]:
        """The numeric addresses of a host; waits.

        :raises OSError: the name is not known, or its server has not answered within :data:`RESOLVE_TIMEOUT`
        """
        with gevent.Timeout(RESOLVE_TIMEOUT, TimeoutError(f"no answer within {RESOLVE_TIMEOUT} s to who {host} is")):
            return [str(address[0]) for _, address in resolve(host, 0)]

    def name(self, address: str) -> str:
        """The fully qualified name of a numeric address, or the address itself if it has none; waits.

        :raises OSError: no answer within :data:`RESOLVE_TIMEOUT`
        """
        with gevent.Timeout(RESOLVE_TIMEOUT, TimeoutError(f"no answer within {RESOLVE_TIMEOUT} s to the name of {address}")):
            return str(socket.getfqdn(address))


class Traffic:
    """Counts the bytes of any number of connections, one after the other or at once."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


class _Socket(socket.socket):  # type: ignore[misc]
    """A socket that the child of a fork gets, and closes."""

    def __init__(self, family: int) -> None:
        super().__init__(family, std_socket.SOCK_STREAM)
        inherit(self)

    def _forget(self) -> object:
        """Close it for this process alone: without ``shutdown``, and without waking who waits for it, as gevent's does."""
        for name in ("_read_event", "_write_event"):
            watcher = getattr(self, name)
            setattr(self, name, None)
            if watcher is not None:
                watcher.stop()
                watcher.close()
        descriptor = self._sock.detach()
        if descriptor >= 0:
            os.close(descriptor)
        return self


class Transport:
    """A plain TCP stream.

    :param sock: a connected gevent socket, owned from now on
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.recv_into: Callable[[Any], int] = sock.recv_into
        """Receive into a writable buffer, waiting in the calling greenlet; 0 at the end of the stream."""
        self.on_output: Callable[[], object] = lambda: None
        """Called by ``recv_into`` when there is output to be taken, or :meth:`wrap` may work again; must not switch."""

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def wrap(self, data: bytes) -> bytes | None:
        """What goes on the wire for ``data``; None: nothing can now, try again after ``on_output``."""
        return data

    def take_output(self) -> bytes:
        """What the transport itself wants to send (TLS answers to the peer); usually nothing."""
        return b""

    def send(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes now, without waiting.

        :returns: how many bytes it took, 0 if none
        """
        try:
            return int(self._sock.send(data, 0, 0.0))
        except OSError as error:
            if error.errno in WOULD_BLOCK:
                return 0
            raise

    def pending(self) -> bool:
        """Whether bytes have arrived that nobody has read yet."""
        try:
            return bool(self._sock._sock.recv(1, std_socket.MSG_PEEK | std_socket.MSG_DONTWAIT))
        except OSError as error:
            return error.errno not in WOULD_BLOCK

    def close(self) -> None:
        """Close at once; a greenlet that waits in ``recv_into`` gets an ``OSError``."""
        self._sock.close()


def open_transport(
    addresses: Sequence[tuple[int, Address]],
    *,
    timeout: float | None,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    sockopts: Iterable[tuple[Any, ...]] = (),
) -> Transport:
    """Connect to the first of ``addresses`` that answers, TLS handshake included, waiting in the calling greenlet.

    Each address has an equal part of the time that is left, so one that is silent does not take it from the others.

    :param addresses: pairs (address family, socket address) as :func:`resolve` gives them
    :param timeout: seconds for all of it; None waits for the kernel's own
    :param sockopts: arguments of ``setsockopt`` calls
    :raises OSError: nobody answered; the last address's error
    :raises ConnectionException: the time ran out
    """
    deadline = None if timeout is None else monotonic() + timeout
    limit = ConnectionException(
        f"no connection within {timeout or 0:.3g} s: tried {', '.join(str(address) for _, address in addresses)}"
        + ("; does the server speak TLS on this port?" if ssl_context is not None else "")
    )
    last: OSError | ConnectionException | None = None
    for index, (family, address) in enumerate(addresses):
        part = None if deadline is None else max(0.001, (deadline - monotonic()) / (len(addresses) - index))
        try:
            with gevent.Timeout(part, limit):
                return _open(family, address, ssl_context, server_hostname, sockopts)
        except (OSError, ConnectionException) as error:
            last = error
    raise last or OSError(errno.EADDRNOTAVAIL, "there is no address to connect to")


def _open(
    family: int, address: Address, context: ssl.SSLContext | None, hostname: str | None, sockopts: Iterable[tuple[Any, ...]]
) -> Transport:
    sock = _Socket(family)
    try:
        sock.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
        sock.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_KEEPALIVE, 1)
        if hasattr(std_socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        for option in sockopts:
            sock.setsockopt(*option)
        sock.connect(address)
        if context is None:
            return Transport(sock)
        from geventcql.net.tls import TlsTransport  # here: importing ssl takes a quarter of the package's import time

        transport = TlsTransport(sock, context, hostname)
        transport.handshake()
        return transport
    except BaseException:
        sock.close()
        raise
