"""A canned CQL server and a raw CQL client, both small and blocking, for the tests of the replaying server.

The server runs in threads of the test process and answers from a function; neither uses any driver code.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from zlib import crc32

from benchmarks import frames

HEADER = struct.Struct(">BBHBI")
ERROR, STARTUP, READY, OPTIONS, SUPPORTED, QUERY, RESULT, PREPARE, EXECUTE, REGISTER, BATCH = (
    0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 13,
)  # fmt: skip
STARTUP_BODY = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
MOST = 131071
Answer = tuple[int, bytes]


class Channel:
    """One end of a CQL connection on a blocking socket: envelopes, in v5 segments once `segmented` is set."""

    def __init__(self, sock: socket.socket, version: int) -> None:
        self.sock = sock
        self.version = version
        self.segmented = False
        self._payload = b""

    def exactly(self, count: int) -> bytes:
        """`count` bytes of the socket; EOFError at its end."""
        received = b""
        while len(received) < count:
            data = self.sock.recv(count - len(received))
            if not data:
                raise EOFError
            received += data
        return received

    def _envelope_bytes(self, count: int) -> bytes:
        if not self.segmented:
            return self.exactly(count)
        while len(self._payload) < count:
            head = self.exactly(6)
            assert frames.crc24(head[:3]) == int.from_bytes(head[3:], "little")
            length = int.from_bytes(head[:3], "little") & MOST
            payload, crc = self.exactly(length), self.exactly(4)
            assert crc32(payload, crc32(b"\xfa\x2d\x55\xca")) == int.from_bytes(crc, "little")
            self._payload += payload
        taken, self._payload = self._payload[:count], self._payload[count:]
        return taken

    def receive(self) -> tuple[int, int, int, bytes]:
        """The next envelope: (version byte, stream, opcode, body)."""
        version, _, stream, opcode, length = HEADER.unpack(self._envelope_bytes(HEADER.size))
        return version, stream, opcode, self._envelope_bytes(length)

    def envelope(self, opcode: int, body: bytes, stream: int = 0, flags: int = 0, version: int | None = None) -> bytes:
        """The bytes of an envelope as they go onto the socket, segments included."""
        data = HEADER.pack(self.version if version is None else version, flags, stream, opcode, len(body)) + body
        if not self.segmented:
            return data
        if len(data) <= MOST:
            return frames.segment(data)
        return b"".join(frames.segment(data[at : at + MOST], False) for at in range(0, len(data), MOST))


class Server:
    """Accepts CQL connections on a free port of 127.0.0.1; `answer(opcode, body)` gives what requests get.

    `asked` holds (version, opcode, body) of every request but STARTUP, in order of arrival.
    """

    def __init__(self, answer: Callable[[int, bytes], Answer]) -> None:
        self.asked: list[tuple[int, int, bytes]] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # shut down
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            channel = Channel(sock, 0)
            while True:
                try:
                    version, stream, opcode, body = channel.receive()
                except EOFError:
                    return
                channel.version = version
                if opcode == STARTUP:
                    sock.sendall(channel.envelope(READY, b"", stream, version=0x80 | version))
                    channel.segmented = version >= 5
                    continue
                self.asked.append((version, opcode, body))
                reply, content = self._answer(opcode, body)
                sock.sendall(channel.envelope(reply, content, stream, version=0x80 | version))


class Client(Channel):
    """A connection to the server under test."""

    def __init__(self, address: tuple[str, int], version: int) -> None:
        super().__init__(socket.create_connection(address, timeout=10), version)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, opcode: int, body: bytes, stream: int = 0, flags: int = 0) -> Answer:
        """One request and its answer, which must come on the same stream and in the same version."""
        self.sock.sendall(self.envelope(opcode, body, stream, flags))
        version, answered, reply, content = self.receive()
        assert (version, answered) == (0x80 | self.version, stream)
        return reply, content

    def start(self) -> None:
        """The handshake."""
        assert self.ask(STARTUP, STARTUP_BODY) == (READY, b"")
        self.segmented = self.version >= 5


def query(text: str, version: int, flags: int = 0, rest: bytes = b"") -> bytes:
    """The body of a QUERY at consistency ONE; `rest` is what the flags announce."""
    return struct.pack(">I", len(text)) + text.encode() + parameters(version, flags, rest)


def execute(prepared_id: bytes, version: int, flags: int = 0, rest: bytes = b"", metadata_id: bytes = b"m") -> bytes:
    """The body of an EXECUTE at consistency ONE."""
    ids = struct.pack(">H", len(prepared_id)) + prepared_id
    if version >= 5:
        ids += struct.pack(">H", len(metadata_id)) + metadata_id
    return ids + parameters(version, flags, rest)


def parameters(version: int, flags: int, rest: bytes) -> bytes:
    """Consistency ONE, the flags as wide as the version has them, and what they announce."""
    return struct.pack(">HI" if version >= 5 else ">HB", 1, flags) + rest


def error_text(body: bytes) -> str:
    """The message of an ERROR."""
    return body[6:].decode()
