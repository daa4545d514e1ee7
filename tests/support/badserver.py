"""Servers that are no Cassandra at all, for the errors of connecting.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import errno
import random
from typing import Literal

import gevent
from gevent import socket
from gevent.event import Event
from gevent.pool import Group

from .wire import HEADER, Opcode

Behaviour = Literal["http", "silent", "garbage", "huge_frame", "closes", "closes_on_request", "unreachable"]


class BadServer:
    """Listens on `host`:`port` while in its `with` block and behaves badly.

    `http`: answers with an HTTP error and closes. `silent`: accepts and never sends. `garbage`: sends random bytes.
    `huge_frame`: its first answer's header claims a body of 2 GiB. `closes`: at once. `closes_on_request`: closes
    when the first bytes have come. `unreachable`: does not accept and its queue is full, so connecting takes for ever.
    Attributes: `accepted`, how many connections there were; `left`, set once a silent one's client has closed one.
    """

    def __init__(self, behaviour: Behaviour, host: str = "127.0.0.1", seed: int = 0) -> None:
        self.behaviour = behaviour
        self.host = host
        self.port = 0
        self.accepted = 0
        self.left = Event()
        self._random = random.Random(seed)
        self._group = Group()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> BadServer:
        listener = self._keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.bind((self.host, self.port))
        listener.listen(0 if self.behaviour == "unreachable" else 128)
        self.port = listener.getsockname()[1]
        if self.behaviour == "unreachable":
            for _ in range(3):
                filler = self._keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                filler.setblocking(False)
                filler.connect_ex((self.host, self.port))
        else:
            self._group.spawn(self._accept_loop, listener)
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        self._group.kill()
        for sock in self._sockets:
            sock.close()

    def _keep(self, sock: socket.socket) -> socket.socket:
        self._sockets.append(sock)
        return sock

    def _accept_loop(self, listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            self.accepted += 1
            self._group.spawn(self._serve, self._keep(sock))

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.behaviour == "closes":
                return
            first = sock.recv(65536)
            if self.behaviour == "http":
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nno\n")
            elif self.behaviour == "garbage":
                sock.sendall(self._random.randbytes(4096))
                self._swallow(sock)
            elif self.behaviour == "huge_frame":
                version, _, stream, _, _ = HEADER.unpack_from(first)
                sock.sendall(HEADER.pack(version | 0x80, 0, stream, Opcode.SUPPORTED, 0x7FFFFFFF) + bytes(100))
                self._swallow(sock)
            elif self.behaviour == "silent":
                self._swallow(sock)
                self.left.set()
        except OSError as e:
            if e.errno not in _GONE:
                raise
        finally:
            sock.close()

    @staticmethod
    def _swallow(sock: socket.socket) -> None:
        while sock.recv(65536):
            gevent.sleep(0)


_GONE = (errno.ECONNRESET, errno.EPIPE)
