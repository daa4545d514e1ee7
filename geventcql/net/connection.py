"""One connection to one node (layer: net).

A reader greenlet receives, cuts and hands each reply to its target; requests are appended to a list that one flush per turn
of the hub sends. Nothing here knows of hosts or policies. Who waits for a reply is a target (:mod:`geventcql.net.targets`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from time import monotonic
from traceback import clear_frames
from typing import Any

import gevent

from geventcql.cython.wire import Frame, FrameSplitter, InFlight, Page, RequestTemplate, Sender, pack_segments, process_number
from geventcql.errors import (
    ConnectionException,
    ConnectionShutdown,
    DriverException,
    ErrorMessage,
    ForkedError,
    FrameError,
)
from geventcql.net.forking import inherit, notice, spawn
from geventcql.net.interrupts import is_interrupt, report
from geventcql.net.outcomes import outcome
from geventcql.net.scheduler import A_TURN, MAX_TURN_ENDED, Scheduler, Timer
from geventcql.net.targets import Call, Target
from geventcql.net.transport import Traffic, Transport
from geventcql.protocol import compression, responses
from geventcql.protocol import constants as C

__all__ = ["Connection"]

log = logging.getLogger(__name__)

MAX_TURN_FRAMES = 256
MAX_TURN_BYTES = 1024 * 1024
MAX_TURN_SECONDS = 0.002
MAX_UNSENT_BYTES = 8 * 1024 * 1024
# Timers of requests are not armed closer together than this: one pass ends all that are due.
DEADLINE_GRAIN = 0.001
# So often a pass is put off, by a grain each, for the reader to come to answers that are here already.
MAX_POSTPONED = 10
# Shorter frames are not worth a compressor's call, bytes.
COMPRESS_FROM = 128
NEVER = float("inf")


class Connection(Sender):
    """A connection: stream ids, coalesced writes, one reader greenlet.

    Made by :func:`geventcql.net.opening.open_connection`; usable until :attr:`closed`.

    :param endpoint: what it is connected to, for messages
    :param transport: the connected stream, owned from now on
    :param version: protocol version
    :param max_in_flight: requests in flight at once, 1 to 32,768
    :param traffic: counts its bytes
    """

    in_buffer_size = 256 * 1024
    out_buffer_size = MAX_UNSENT_BYTES

    def __init__(
        self,
        endpoint: Any,
        transport: Transport,
        version: int,
        *,
        max_in_flight: int = 2048,
        max_frame: int = C.MAX_BODY_SIZE,
        traffic: Traffic | None = None,
    ) -> None:
        hub = gevent.get_hub()
        super().__init__(InFlight(max_in_flight), hub.loop.run_callback, MAX_UNSENT_BYTES)
        self.endpoint = endpoint
        self.version = version
        self.cause: BaseException | None = None
        """Why it was closed; None while it is open and after an orderly :meth:`close`."""
        self.keyspace: str | None = None
        self.compression: str | None = None
        self.last_received = monotonic()
        self.probe: Any = None
        """The heartbeat's question that is in flight, if any."""
        self.on_close: Callable[[Connection, BaseException | None], object] | None = None
        """Called once, from wherever the connection ends; must not switch."""
        self.on_room: Callable[[Connection], object] | None = None
        """Called when there is room again: behind a batch of replies, expired or given-up requests, and when a blocked socket
        has taken data. Must not switch."""
        self.on_event: Callable[[Connection, Frame], object] | None = None
        """Called with each EVENT frame; must not switch."""
        self._process = process_number()
        self._traffic = traffic
        self._transport = transport
        transport.on_output = self.flush_soon
        self._splitter = FrameSplitter(self.table, version, max_frame)
        self._unsent: memoryview | None = None
        self._segmented = False
        self._compress_segment: Callable[[bytes], bytes] | None = None
        self._loop = hub.loop
        self._scheduler = Scheduler.for_hub(hub)
        self._deadline_timer: Timer | None = None
        self._postponed = 0
        self._write_watcher: Any = None
        self._reader = spawn(self._read)
        inherit(self)

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests whose reply is awaited."""
        return self.table.in_flight

    @property
    def orphaned(self) -> int:
        """Stream ids of requests that nobody waits for any more and that the server has not answered."""
        return self.table.orphaned

    def check_invariants(self) -> None:
        """Assert what must hold at any switch point (for tests)."""
        self.table.check()
        if self.closed:
            assert self.table.in_flight == 0, f"{self!r} is closed and has requests in flight"
            assert not self.pending, f"{self!r} is closed and has unsent frames"
            assert self._write_watcher is None, f"{self!r} is closed and watches its socket"

    def __repr__(self) -> str:
        state = "closed" if self.closed else "draining" if self.draining else "suspect" if self.suspect else "open"
        cause = f" because {self.cause!r}" if self.cause is not None else ""
        return (
            f"<Connection {self.endpoint} v{self.version} {state}{cause} in_flight={self.table.in_flight} "
            f"orphaned={self.table.orphaned}>"
        )

    # -- sending ------------------------------------------------------------------------------------------------------

    def call(self, opcode: int, body: bytes, timeout: float | None, user_types: responses.UserTypes | None = None) -> Any:
        """Send one request and wait for its reply in the calling greenlet.

        :param timeout: seconds; None waits for ever, which only a caller with a deadline of its own may do
        :param user_types: the classes of user types in columns that the reply describes
        :returns: the message, read (:func:`geventcql.protocol.responses.decode`), or a Page for rows and void
        :raises ErrorMessage: the server's error, as it came
        :raises OperationTimedOut: no answer in time
        :raises ConnectionShutdown: the connection was lost meanwhile
        """
        call = Call()
        stream = self.start_call(call, opcode, body, timeout)
        try:
            reply = outcome(call)
        finally:  # whoever is killed here waits no longer; after a reply this does nothing
            self.orphan(stream, call)
            del call  # its error leads here, and is not to lead back to it
        if type(reply) is Page:
            return reply
        message = responses.decode(reply.opcode, reply.flags, reply.body, reply.version, user_types)
        if isinstance(message, ErrorMessage):
            raise message
        return message

    def start_call(self, target: Target, opcode: int, body: bytes, timeout: float | None) -> int:
        """Send a control request; as :meth:`send`, but a draining connection takes it too.

        :raises ConnectionShutdown: the connection is closed, or has no stream id left
        """
        if self.closed:
            raise ConnectionShutdown(f"connection to {self.endpoint} is closed: {self.cause or 'shut down'}", self.endpoint)
        deadline = NEVER if timeout is None else monotonic() + timeout
        stream = self.submit(target, RequestTemplate(self.version, opcode, 0, body, b""), b"", 0, None, deadline)
        if stream < 0:
            raise ConnectionShutdown(f"connection to {self.endpoint} has no free stream id", self.endpoint)
        return stream

    def orphan(self, stream: int, target: Target) -> bool:
        """Nobody waits for this request any more; its stream id is kept until the reply comes.

        :returns: False if the request has ended already
        """
        done = self.table.orphan(stream, target)
        if done and self.draining:
            self.close_if_drained()
        elif done:
            self._tell_room()  # at once: who gave up may ask again, and would come before those who wait
        return done

    def _tell_room(self) -> None:
        if self.on_room is not None and not self.draining:
            self.on_room(self)

    def _flush(self) -> None:
        """Send all that is pending; in the hub, never blocks."""
        if self.closed or self._is_of_parent():
            return
        if self._unsent is not None:
            return  # the write watcher goes on with what is there, in order
        frames, self.pending = self.pending, []
        try:
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            if self._segmented:
                data = pack_segments(data, [len(f) for f in frames], self._compress_segment)
            wire = self._transport.wrap(data) if data else self._transport.take_output()
            if wire is None:
                self.pending = frames
                wire = self._transport.take_output()
            self._send_now(memoryview(wire))
        except BaseException as error:
            self._broken_by(error)

    def _send_now(self, data: memoryview) -> None:
        sent = self._transport.send(data) if data else 0
        if self._traffic is not None:
            self._traffic.sent += sent
        if sent < len(data):
            self._unsent = data[sent:]
            self.unsent_bytes = len(self._unsent) + sum(map(len, self.pending))
            if self._write_watcher is None:
                self._write_watcher = self._loop.io(self._transport.fileno(), 2)
                self._write_watcher.start(self._on_writable)
            return
        self._unsent = None
        self.unsent_bytes = sum(map(len, self.pending))
        self._stop_write_watcher()

    def _on_writable(self) -> None:
        if self._unsent is None or self._is_of_parent():
            return
        try:
            self._send_now(self._unsent)
            if self._unsent is None:
                self._flush()
                if self.on_room is not None and not self.closed:
                    self.on_room(self)
        except BaseException as error:
            self._broken_by(error)

    def _stop_write_watcher(self) -> None:
        if self._write_watcher is not None:
            self._write_watcher.stop()
            self._write_watcher.close()
            self._write_watcher = None

    # -- receiving ----------------------------------------------------------------------------------------------------

    def expect_compression(self, name: str) -> None:
        """STARTUP asks for it: replies may be compressed from its answer on, requests once :meth:`settle` was called."""
        self.compression = name
        if self.version < 5:
            self._splitter.decompress = compression.compressor(name).decompress

    def switch_framing(self) -> None:
        """READY or AUTHENTICATE has come: from here on, v5 segments in both directions."""
        self._segmented = True
        if self.compression is None:
            self._splitter.enable_segments()
        else:
            self._splitter.enable_segments(compression.lz4_decompress_block)
            self._compress_segment = compression.lz4_compress_block

    def settle(self) -> None:
        """The handshake is over: requests may be compressed, replies of other protocol versions are refused."""
        self._splitter.negotiating = False
        if self.compression is not None and not self._segmented:
            self.compress_frame = partial(_compressed, compress=compression.compressor(self.compression).compress)

    def _read(self) -> None:
        """The reader greenlet: receives until the connection ends."""
        try:
            self._read_loop()
        except BaseException as error:  # a kill from outside too: without its reader a connection would look open and be mute
            self._broken_by(error)
            clear_frames(error.__traceback__)  # the cause leads there, and is not to lead back to what it is the cause of
            del self

    def _read_loop(self) -> None:
        splitter = self._splitter
        transport = self._transport
        recv_into = transport.recv_into
        traffic = self._traffic
        loop = self._loop
        turn = -1
        frames = received = 0
        started = 0.0
        while True:
            n = recv_into(splitter)
            if not n:
                raise ConnectionShutdown(f"{self.endpoint} closed the connection", self.endpoint)
            if traffic is not None:
                traffic.received += n
            now = monotonic()
            if loop.iteration != turn:  # recv_into waited: this is a new turn of the hub
                turn, frames, received, started = loop.iteration, 0, 0, now
            self.last_received = now
            if self.suspect:
                self.suspect = False
            splitter.received(n)
            received += n
            while splitter.more:
                frames += self._hand_out()
                if (
                    frames >= MAX_TURN_FRAMES
                    or received >= MAX_TURN_BYTES
                    or monotonic() - started >= MAX_TURN_SECONDS
                ):
                    gevent.sleep(A_TURN)
                    turn, frames, received, started = loop.iteration, 0, 0, monotonic()

    def _hand_out(self) -> int:
        """Cut a batch of replies and hand it out; kept by nobody then, while the reader waits for more."""
        batch: list[tuple[Any, Any]] = []
        try:
            self._splitter.take(MAX_TURN_FRAMES, batch)
        finally:  # what was cut before an error has left the table and must reach its targets
            self._deliver(batch)
        return len(batch)

    def _take_frame(self, target: Target | None, frame: Frame) -> None:
        """What has come is no page; called by ``_deliver``."""
        if target is not None:
            target.on_frame(frame, self)
        elif frame.opcode != C.Opcode.EVENT:
            self._refuse_push(frame)
        elif self.on_event is not None:
            self.on_event(self, frame)

    def _delivered(self) -> None:
        """A batch has been handed out."""
        if self.draining:
            self.close_if_drained()
        elif self.on_room is not None:
            self.on_room(self)

    def _refuse_push(self, frame: Frame) -> None:
        message = responses.decode(frame.opcode, frame.flags, frame.body, frame.version)
        if isinstance(message, ErrorMessage):
            raise message  # a protocol error that the server could not pin to a request
        raise FrameError(f"{self.endpoint} pushed {message!r}, which is not an event")

    # -- deadlines ----------------------------------------------------------------------------------------------------

    def _arm(self, deadline: float) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._deadline_timer = self._scheduler.call_at(deadline, self._on_deadline)
        self.armed = deadline

    def _on_deadline(self) -> None:
        """End what is due; in the hub."""
        self._deadline_timer = None
        self.armed = NEVER
        now = monotonic()
        if self._postponed < MAX_POSTPONED and (self._splitter.more or self.drain_socket()):
            self._postponed += 1  # the hub was busy, or the reader is behind: what has come is no timeout
            self._arm(now + DEADLINE_GRAIN)
            return
        self._postponed = 0
        errors: list[tuple[Any, BaseException]] = []
        ended = self._expire(now, MAX_TURN_ENDED, errors)
        if self.table.earliest < self.armed and not self.closed:
            self._arm(max(self.table.earliest, now + DEADLINE_GRAIN))
        if self.draining:
            self.close_if_drained()
        elif ended and self.on_room is not None and not self.closed:
            self.on_room(self)
        _raise_interrupt(errors)

    # -- the end ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no new requests and close when the last reply has come."""
        self.draining = True
        self.close_if_drained()

    def close_if_drained(self) -> None:
        if self.draining and not self.table.in_flight:
            self.close()

    def drain_socket(self) -> bool:
        """Whether the peer has sent something that the reader has not come to yet: a busy hub is not a dead peer."""
        return not self.closed and self._transport.pending()

    def defunct(self, cause: BaseException) -> None:
        """The connection is broken: close it and tell every target why."""
        if not isinstance(cause, (ConnectionException, DriverException, ErrorMessage, FrameError)):
            cause = _named(cause, self.endpoint)
        self._end(cause)

    def _broken_by(self, error: BaseException) -> None:
        """As :meth:`defunct`. What a signal's handler has raised here is passed on, and may have cut short anything."""
        self.defunct(error)
        if is_interrupt(error):
            raise error

    def close(self) -> None:
        """Close it; requests in flight end with :class:`~geventcql.errors.ConnectionShutdown`. Twice is harmless."""
        self._end(None)

    def _is_of_parent(self) -> bool:
        """Whether this is the child of a fork, which must not write into its parent's stream."""
        if self._process == process_number():
            return False
        notice()
        return True

    def _forget(self) -> object:
        """In the child of a fork it is closed, and who waits for replies, in the parent, is told nothing."""
        self.closed = True
        self.cause = ForkedError("it belongs to the process that this one was forked from")
        self._stop_write_watcher()
        return self

    def _end(self, cause: BaseException | None) -> None:
        if self.closed:
            return
        lost = cause or ConnectionShutdown(f"connection to {self.endpoint} was closed", self.endpoint)
        on_close, self.on_close, self.on_room, self.on_event = self.on_close, None, None, None
        errors: list[tuple[Any, BaseException]] = []
        self.closed = True
        self.cause = cause
        try:
            self._let_go()
        finally:  # whatever a signal's handler has raised there
            self._lose(lost, on_close, cause, errors)
            _raise_interrupt(errors)

    def _let_go(self) -> None:
        """It has ended: free what it has, but for its targets."""
        self._stop_write_watcher()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        self.pending.clear()
        self._unsent = None
        self.unsent_bytes = 0
        self._transport.close()
        self._transport.on_output = lambda: None  # it led back here
        if self._reader is not gevent.getcurrent():
            self._reader.kill(block=False)


def _raise_interrupt(errors: list[tuple[Any, BaseException]]) -> None:
    """All have been told; now raise the first interrupt among what they have raised, and report what is none."""
    for event, error in errors:
        if not is_interrupt(error):
            report(event, error)
    for _, error in errors:
        if is_interrupt(error):
            raise error


def _named(cause: BaseException, endpoint: Any) -> ConnectionException:
    named = ConnectionException(f"connection to {endpoint} broke: {type(cause).__name__}: {cause}", endpoint)
    named.__cause__ = cause
    return named


def _compressed(frame: bytes, compress: Callable[[bytes], bytes]) -> bytes:
    """A v3 or v4 frame with its body compressed, where that makes it shorter (protocol section 5)."""
    if len(frame) < COMPRESS_FROM:
        return frame
    body = compress(frame[9:])
    if len(body) + 9 >= len(frame):
        return frame
    return b"".join((frame[:1], bytes((frame[1] | C.FLAG_COMPRESSED,)), frame[2:5], len(body).to_bytes(4, "big"), body))
