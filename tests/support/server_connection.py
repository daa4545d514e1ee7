"""One client's connection to a fake node: handshake state, decoding, answers in order, faults on the way out.

Test support; imports nothing of geventcql. A reader greenlet decodes requests and runs their handlers, a writer
greenlet sends; both belong to the node's group and end with it.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.queue import SimpleQueue

from . import wire
from .replies import Close, Error, ErrorCode, PushedEvent, Raw, Reply, SetKeyspace
from .requests import Request, decode_request
from .streams import PlainStream, TlsStream
from .wire import FLAG_COMPRESSION, FLAG_USE_BETA, Envelope, Opcode, WireError

if TYPE_CHECKING:
    from .fakenode import FakeNode

_TURN = 64  # requests decoded before other greenlets of the test get their turn
_BEFORE_READY = (Opcode.STARTUP, Opcode.OPTIONS, Opcode.AUTH_RESPONSE)


@dataclass
class _Outgoing:
    """Something for the writer: envelopes (or raw bytes) and the reply that they come from."""

    data: bytes
    segmented: bool
    reply: Reply

    @property
    def plain(self) -> bool:
        """Whether it may be joined with its neighbours into one send."""
        reply = self.reply
        return reply.cut_at is None and reply.corrupted is None and reply.drips is None and not isinstance(reply, Close)


class ServerConnection:
    """The node's end of a connection.

    Attributes for tests: `version`, `keyspace`, `compression`, `startup_options`, `user`, `registered` event types,
    `ready`, `requests`, `in_flight` (stream id to unanswered Request), `closed`, `closed_by` ('client', 'node'),
    `error`, `bytes_received`, `segmented`.
    """

    def __init__(self, node: FakeNode, sock: socket.socket, address: Any) -> None:
        self.node = node
        self.address = address
        chunk, context = node.send_chunk, node.ssl_context
        self.stream = TlsStream(sock, context, chunk) if context else PlainStream(sock, chunk)
        self.version: int | None = None
        self.keyspace: str | None = None
        self.compression: str | None = None
        self.startup_options: dict[str, str] = {}
        self.user: str | None = None
        self.registered: set[str] = set()
        self.ready = False
        self.requests: list[Request] = []
        self.in_flight: dict[int, Request] = {}
        self.closed = False
        self.closed_by: str | None = None
        self.error: Exception | None = None
        self.segmented = False
        self.bytes_received = 0
        self._decoder = wire.Decoder()
        self._queue: SimpleQueue[_Outgoing] = SimpleQueue()
        self._reading = Event()
        self._reading.set()
        self._discarding = False
        self._writer: gevent.Greenlet | None = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "ready" if self.ready else "new"
        return f"<ServerConnection {self.address} v{self.version} {state} in flight {len(self.in_flight)}>"

    # --- what tests call ---------------------------------------------------------------------------------------------

    def reply(self, request: Request, reply: Reply) -> None:
        """Send a reply to a request, now or when its delay or gate says."""
        if reply.delay or reply.gate is not None:
            self.node.spawn(self._reply_later, request, reply)
        else:
            self._send(request, reply)

    def push(self, event: PushedEvent) -> None:
        """Send an EVENT, whether the client registered for it or not."""
        version = self.version or max(self.node.versions)
        self._enqueue(Request(Opcode.REGISTER, version, 0, -1, b""), event)

    def send_raw(self, data: bytes) -> None:
        """Put bytes on the wire, after what is queued already (inside TLS, outside segments)."""
        self._queue.put(_Outgoing(data, False, Raw(data)))

    def stop_reading(self) -> None:
        """Become a black hole: nothing more is read (what has been read already is still answered)."""
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def close(self, rst: bool = False) -> None:
        """Close at once, dropping what is queued."""
        if not self.closed:
            self.closed = True
            self.closed_by = self.closed_by or "node"
            self.stream.close(rst)
            if self._writer is not None and self._writer is not gevent.getcurrent():
                self._writer.kill(block=False)
            self.node.connection_ended(self)

    def finish(self) -> None:
        """Send FIN after what is queued already; the connection goes when the client closes too."""
        self._queue.put(_Outgoing(b"", False, Close()))

    # --- reading -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The reader greenlet."""
        try:
            self.stream.handshake()
            self._writer = self.node.spawn(self._write_loop)
            while True:
                self._reading.wait()
                self.node.running.wait()
                data = self.stream.recv(65536)
                if not data:
                    self.closed_by = self.closed_by or "client"
                    break
                self.bytes_received += len(data)
                if not self._discarding:
                    self._decoder.feed(data)
                    self._decode()
        except (OSError, ssl.SSLError) as e:
            self.error = e
            self.closed_by = self.closed_by or "client"
        finally:
            self.close()

    def _decode(self) -> None:
        try:
            count = 0
            while not (self._discarding or self.closed) and (envelope := self._decoder.next()) is not None:
                self._received(envelope)
                count += 1
                if count % _TURN == 0:
                    gevent.sleep(0)
        except WireError as e:
            self.node.violation(f"{self!r}: {e}")
            self._refuse(Error(ErrorCode.PROTOCOL_ERROR, str(e)), self.version or max(self.node.versions), 0)

    def _received(self, envelope: Envelope) -> None:
        if self.version is None and not self._version_accepted(envelope):
            return
        if self.version is not None and envelope.version != self.version:
            raise WireError(f"an envelope of v{envelope.version} on a connection of v{self.version}")
        request = decode_request(envelope)
        request.connection = self
        if request.stream in self.in_flight:
            self.node.violation(f"{self!r}: stream {request.stream} sent again while in flight")
        self.in_flight[request.stream] = request
        if request.opcode == Opcode.STARTUP and not self._startup(request):
            return
        if not self.ready and request.opcode not in _BEFORE_READY:
            raise WireError(f"{request.opcode.name} before the connection was ready")
        if self.node.record:
            self.requests.append(request)
        self._deliver(request, self.node.received(request, self))

    def _deliver(self, request: Request, replies: Reply | Sequence[Reply] | None) -> None:
        if replies is None:
            return
        for reply in [replies] if isinstance(replies, Reply) else replies:
            self.reply(request, reply)

    def _version_accepted(self, envelope: Envelope) -> bool:
        """Answer an unsupported or a beta version as Cassandra does, and say whether to go on."""
        node, version = self.node, envelope.version
        if version in node.beta_versions and not envelope.flags & FLAG_USE_BETA:
            text = f"Beta version of the protocol used ({version}/v{version}-beta), but USE_BETA flag is unset"
            self._refuse(Error(ErrorCode.PROTOCOL_ERROR, text), version, envelope.stream)
            return False
        if version in node.versions:
            return True
        names = ", ".join(f"{v}/v{v}" for v in node.versions)
        text = f"Invalid or unsupported protocol version ({version}); supported versions are ({names})"
        self._refuse(Error(ErrorCode.PROTOCOL_ERROR, text), max(node.versions), envelope.stream)
        return False

    def _refuse(self, error: Error, version: int, stream: int) -> None:
        self._discarding = True
        self._enqueue(Request(Opcode.OPTIONS, version, 0, stream, b""), error.in_version(version))
        self.finish()

    def _startup(self, request: Request) -> bool:
        if self.startup_options:
            raise WireError("a second STARTUP")
        self.version = request.version
        self.startup_options = request.options
        compression = request.options.get("COMPRESSION")
        if compression is not None:
            if compression not in self.node.supported_compression(request.version):
                self._refuse(
                    Error(ErrorCode.PROTOCOL_ERROR, f"Unknown compression algorithm: {compression}"),
                    request.version,
                    request.stream,
                )
                return False
            self.compression = compression
            self._decoder.compression = compression
        return True

    # --- writing -----------------------------------------------------------------------------------------------------

    def _reply_later(self, request: Request, reply: Reply) -> None:
        if reply.gate is not None:
            reply.gate.wait()
        if reply.delay:
            gevent.sleep(reply.delay)
        self._send(request, reply)

    def _send(self, request: Request, reply: Reply) -> None:
        if self.closed:
            return
        request.answered = True
        if isinstance(reply, SetKeyspace):
            self.keyspace = reply.keyspace
        self.in_flight.pop(request.stream if reply.stream is None else reply.stream, None)
        try:
            self._enqueue(request, reply)
        except Exception as e:  # a canned reply that cannot be encoded: the test's mistake, shown when the node ends
            self.node.failed(e)
            self._enqueue(request, Error(ErrorCode.SERVER_ERROR, f"fake node: {e!r}"))

    def _enqueue(self, request: Request, reply: Reply) -> None:
        if isinstance(reply, Close):
            self._queue.put(_Outgoing(b"", False, reply))
            return
        if isinstance(reply, Raw):
            self._queue.put(_Outgoing(reply.data, False, reply))
            return
        if reply.corrupted is not None and not self.segmented:
            raise ValueError("only a v5 connection that is set up has CRCs to corrupt")
        envelope = reply.envelope(request, self.version or request.version)
        if self.compression and not self.segmented and envelope.version < 5 and envelope.body:
            body = wire.BODY_COMPRESSORS[self.compression][0](envelope.body)
            flags = envelope.flags | FLAG_COMPRESSION
            envelope = replace(envelope, flags=flags, body=body)
        raw = wire.encode_envelope(envelope)
        for _ in range(reply.copies):
            self._queue.put(_Outgoing(raw, self.segmented, reply))
        self._state_after(request, envelope)

    def _state_after(self, request: Request, envelope: Envelope) -> None:
        if request.opcode == Opcode.STARTUP and envelope.opcode in (Opcode.READY, Opcode.AUTHENTICATE):
            self.ready = envelope.opcode == Opcode.READY
            if request.version >= 5:
                self.segmented = self._decoder.segmented = True
        elif envelope.opcode == Opcode.AUTH_SUCCESS:
            self.ready = True

    def _write_loop(self) -> None:
        """The writer greenlet."""
        try:
            while not self.closed:
                item = self._queue.get()
                batch = [item]
                while item.plain and not self._queue.empty():
                    following = self._queue.peek()
                    if not following.plain or following.segmented != item.segmented:
                        break
                    batch.append(self._queue.get())
                self.node.running.wait()
                data = self._on_the_wire(batch)
                if item.plain:
                    self.stream.sendall(data)
                else:
                    self._send_faulty(data, item.reply)
        except (OSError, ssl.SSLError) as e:
            self.error = self.error or e

    def _on_the_wire(self, batch: Sequence[_Outgoing]) -> bytes:
        compressed = self.compression is not None
        reply = batch[0].reply
        if batch[0].segmented:
            data = b"".join(wire.encode_segments([out.data for out in batch], compressed, self.node.max_segment))
        else:
            data = b"".join([out.data for out in batch])
        if reply.corrupted is not None:
            data = wire.corrupt_segment(data, reply.corrupted, compressed)
        return data

    def _send_faulty(self, data: bytes, reply: Reply) -> None:
        end = len(data) if reply.cut_at is None else min(reply.cut_at, len(data))
        cuts = range(1, end) if reply.drips == () else sorted(c for c in reply.drips or () if c < end)
        start = 0
        for cut in (*cuts, end):
            if start:
                gevent.sleep(reply.pause)
            self.stream.sendall(data[start:cut])
            start = cut
        if reply.cut_at is not None or isinstance(reply, Close):
            self.closed_by = "node"
            self._discarding = True
            if reply.rst:
                self.close(rst=True)
            else:
                self.stream.shutdown_write()
