"""What the tests of net/ share: targets that write down what they are told, and connections to fake nodes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.event import Event

from geventcql.cython.wire import Frame, Page, RequestTemplate
from geventcql.host import DefaultEndPoint
from geventcql.net.connection import Connection
from geventcql.net.opening import ConnectionSettings, open_connection
from geventcql.protocol import requests
from geventcql.protocol.constants import ConsistencyLevel
from tests.support import wire
from tests.support.native import Socket, Thread, block
from tests.support.waits import eventually
from tests.support.wire import Envelope, Opcode

NEVER = float("inf")


class Recorder:
    """A target: `told` has what it was told, (event, argument), which must be one thing; `done` is set then."""

    def __init__(self, name: object = None) -> None:
        self.name = name
        self.told: list[tuple[str, Any]] = []
        self.at: float | None = None
        self.done = Event()

    def _tell(self, event: str, argument: Any) -> None:
        self.told.append((event, argument))
        self.at = time.monotonic()
        self.done.set()

    def on_page(self, page: Page) -> None:
        self._tell("page", page)

    def on_frame(self, frame: Frame, connection: Connection) -> None:
        self._tell("frame", frame)

    def on_timeout(self, connection: Connection) -> None:
        self._tell("timeout", connection)

    def on_lost(self, connection: Connection, cause: BaseException) -> None:
        self._tell("lost", cause)

    @property
    def event(self) -> str | None:
        """What it was told; None so far."""
        assert len(self.told) <= 1, f"{self.name!r} was told more than once: {self.told}"
        return self.told[0][0] if self.told else None

    @property
    def argument(self) -> Any:
        assert self.event is not None
        return self.told[0][1]

    def __repr__(self) -> str:
        return f"<Recorder {self.name!r} {self.told}>"


def template(text: str, version: int) -> RequestTemplate:
    """A QUERY without values."""
    parts = requests.query_parts(version, text, ConsistencyLevel.ONE, has_values=False)
    return RequestTemplate(version, parts.opcode, 0, parts.prefix, parts.suffix, parts.timestamp_at)


def send(connection: Connection, text: str = "q", timeout: float | None = 5.0, name: object = None) -> Recorder:
    """Send a query, which must find room."""
    recorder = Recorder(text if name is None else name)
    recorder.stream = connection.send(  # type: ignore[attr-defined]
        recorder,
        template(text, connection.version),
        b"",
        0,
        None,
        NEVER if timeout is None else time.monotonic() + timeout,
    )
    assert recorder.stream >= 0, f"no room on {connection!r}"  # type: ignore[attr-defined]
    return recorder


def wait_all(recorders: list[Recorder], timeout: float = 5.0) -> list[str | None]:
    """Wait until each was told something; what each was told."""
    with gevent.Timeout(timeout, AssertionError(f"some were told nothing within {timeout} s")):
        for recorder in recorders:
            recorder.done.wait()
    return [recorder.event for recorder in recorders]


def settle_turns(turns: int = 5) -> None:
    """Let callbacks and greenlets that are due run."""
    for _ in range(turns):
        gevent.sleep(0)


def connect(server: Any, version: int = 4, **settings: Any) -> Connection:
    """A connection to a fake node or bad server; the caller closes it."""
    return open_connection(DefaultEndPoint(server.host, server.port), version, ConnectionSettings(**settings))


@contextmanager
def connected(server: Any, version: int = 4, **settings: Any) -> Iterator[Connection]:
    """A connection that is closed at the end."""
    connection = connect(server, version, **settings)
    try:
        yield connection
    finally:
        connection.close()


class ThreadNode:
    """A v4 node in real threads, which do not wait for the test's hub. It answers everything: OPTIONS with nothing special,
    STARTUP with READY, the rest with `answer(envelope)`: bytes for the wire, by default a void result. `delay`: seconds
    before what came at once is answered.
    """

    def __init__(self, answer: Callable[[Envelope], bytes] | None = None, delay: float = 0.0) -> None:
        self._delay = delay
        self.host = "127.0.0.1"
        self._answer = answer or _void
        self._listener = Socket.listening(self.host)
        self.port = self._listener.getsockname()[1]
        self._threads = [Thread(target=self._accept)]

    def __enter__(self) -> ThreadNode:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # not join: gevent closes the clients' sockets in the hub
        eventually(lambda: not any(thread.is_alive() for thread in self._threads), 10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # the test is over
            thread = Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: Socket) -> None:
        decoder = wire.Decoder()
        with sock:
            try:
                while data := sock.recv(65536):
                    decoder.feed(data)
                    replies = [self._reply(request) for request in iter(decoder.next, None)]
                    block(self._delay)
                    sock.sendall(b"".join(replies))
            except OSError:
                return  # the client has closed

    def _reply(self, request: Envelope) -> bytes:
        if request.opcode == Opcode.STARTUP:
            return wire.encode_envelope(Envelope(4, 0, request.stream, Opcode.READY, b"", True))
        if request.opcode == Opcode.OPTIONS:
            return wire.encode_envelope(Envelope(4, 0, request.stream, Opcode.SUPPORTED, wire.short(0), True))
        return self._answer(request)


def _void(request: Envelope) -> bytes:
    return wire.encode_envelope(Envelope(4, 0, request.stream, Opcode.RESULT, wire.int_(1), True))
