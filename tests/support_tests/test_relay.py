"""The relays of the integration tests: what one end does, the other end is told."""

from __future__ import annotations

import struct
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import AsyncResult
from gevent.pool import Group
from gevent.server import StreamServer

from tests.support.relay import Relay

RST = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("rst", [False, True])
def test_the_end_of_a_server_reaches_an_idle_client(rst: bool) -> None:
    accepted: AsyncResult = AsyncResult()

    def serve(sock: Any, _: Any) -> None:
        accepted.set(sock)
        gevent.sleep(10)

    serving = Group()
    server = StreamServer(("127.0.0.1", 0), serve, spawn=serving.spawn)
    server.start()
    try:
        with (
            Relay(("127.0.0.1", server.server_port)) as relay,
            socket.create_connection(("127.0.0.1", relay.port)) as client,
            gevent.Timeout(5),
        ):
            end = accepted.get()
            if rst:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                end.close()
            else:
                end.shutdown(socket.SHUT_RDWR)
            assert client.recv(1) == b""
            while relay.links:
                gevent.sleep(0.01)
    finally:
        server.stop()
        serving.kill()
