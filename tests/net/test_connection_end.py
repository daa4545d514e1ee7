"""The end of a connection, however it comes: closed once, every target told exactly once, within a second, nothing left."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from copy import copy
from typing import Any

import gevent
import pytest

from geventcql.errors import (
    ConnectionException,
    ConnectionShutdown,
    CrcMismatchException,
    FrameError,
    OperationTimedOut,
    ProtocolException,
)
from geventcql.net.connection import Connection
from geventcql.net.targets import Call
from geventcql.protocol.constants import Opcode as Op
from tests.net.peers import NEVER, Recorder, connect, connected, send, settle_turns, template, wait_all
from tests.support.fakenode import NEVER as SILENCE
from tests.support.fakenode import Close, Error, ErrorCode, FakeNode, Opcode, Raw, Void, status_change
from tests.support.invariants import HubError
from tests.support.tls import Tls
from tests.support.waits import eventually

VERSIONS = pytest.mark.parametrize("version", [4, 5])


class Closings:
    """Writes down the calls of `on_close`, and what held when it was called."""

    def __init__(self, connection: Connection) -> None:
        self.causes: list[BaseException | None] = []
        connection.on_close = self

    def __call__(self, connection: Connection, cause: BaseException | None) -> None:
        assert connection.closed and connection.cause is cause and not connection.usable
        assert connection.table.in_flight == 0
        self.causes.append(cause)


def _ends(connection: Connection, closings: Closings, waiting: list[Recorder], began: float) -> BaseException | None:
    """What must hold at the end of any connection; its cause."""
    assert wait_all(waiting, 1.0) == ["lost"] * len(waiting)
    assert all(recorder.at is not None and recorder.at - began < 1 for recorder in waiting)
    settle_turns()
    assert [recorder.event for recorder in waiting] == ["lost"] * len(waiting), "told twice"
    assert connection.closed and not connection.usable
    assert len(closings.causes) == 1
    connection.close()
    connection.defunct(ValueError("once more"))
    assert len(closings.causes) == 1 and connection.cause is closings.causes[0]
    connection.check_invariants()
    assert connection.send(Recorder(), template("q", connection.version), b"") == -1
    with pytest.raises(ConnectionShutdown):
        connection.call(Op.OPTIONS, b"", 1.0)
    return closings.causes[0]


def _silent(node: FakeNode) -> None:
    node.on(Opcode.QUERY, SILENCE)


@VERSIONS
@pytest.mark.parametrize("rst", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_the_server_closes(version: int, rst: bool, secure: bool, tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server if secure else None) as node:
        _silent(node)
        connection = connect(node, version, ssl_context=tls.client if secure else None)
        closings = Closings(connection)
        waiting = [send(connection) for _ in range(100)]
        node.wait_for(lambda n: n.count(Opcode.QUERY) == 100)
        began = time.monotonic()
        node.drop_connections(rst)
        cause = _ends(connection, closings, waiting, began)
        assert isinstance(cause, ConnectionException)
        assert str(connection.endpoint) in str(cause)
        assert ("ConnectionResetError" if rst else "closed the connection") in str(cause)
        assert "closed because" in repr(connection)
        assert all(recorder.argument is cause for recorder in waiting)


@VERSIONS
def test_half_of_a_reply_then_the_end(version: int) -> None:
    """Cut at any place: the request is lost with a name, never answered with what there is."""
    for rst in (False, True):
        for at in (0, 1, 5, 8, 9, 12, 20):
            with FakeNode() as node:
                node.on("q", Void().with_trailing(bytes(50)).cut(at, rst))
                connection = connect(node, version)
                closings = Closings(connection)
                _ends(connection, closings, [send(connection)], time.monotonic())


def test_close() -> None:
    """An orderly close has no cause, but who waits is told all the same."""
    with FakeNode() as node:
        _silent(node)
        connection = connect(node)
        closings = Closings(connection)
        waiting = [send(connection) for _ in range(10)]
        began = time.monotonic()
        connection.close()
        assert _ends(connection, closings, waiting, began) is None
        assert isinstance(waiting[0].argument, ConnectionShutdown)
        assert "was closed" in str(waiting[0].argument)


def test_close_with_a_request_that_never_left() -> None:
    with FakeNode() as node:
        connection = connect(node)
        closings = Closings(connection)
        recorder = send(connection)
        connection.close()  # before the flush
        _ends(connection, closings, [recorder], time.monotonic())
        gevent.sleep(0.01)
        assert node.count(Opcode.QUERY) == 0


class Injected(BaseException):
    """Neither an Exception nor one of gevent's: the hub hears of it, too."""


def passed_on(errors: list[HubError], error: BaseException) -> bool:
    """Whether the hub has heard of it, if it should have."""
    gevent.sleep(0.01)
    told = [each.type for each in errors]
    errors.clear()
    return told == ([Injected] if isinstance(error, Injected) else [])


@pytest.mark.parametrize("error", [Injected("x"), OSError(104, "reset"), AssertionError("y"), gevent.GreenletExit()])
def test_anything_that_ends_the_reader(error: BaseException, hub_errors: list[HubError]) -> None:
    """The reader and the connection end together; otherwise it looks open and is mute (pitfall A3)."""
    error = copy(error)  # the parameter outlives the test
    with FakeNode() as node:
        _silent(node)
        connection = connect(node)
        closings = Closings(connection)
        waiting = [send(connection) for _ in range(10)]
        gevent.sleep(0.01)
        began = time.monotonic()
        connection._reader.kill(error, block=False)
        cause = _ends(connection, closings, waiting, began)
        assert isinstance(cause, ConnectionException) and type(error).__name__ in str(cause)
        assert cause.__cause__ is error
        assert passed_on(hub_errors, error)


@pytest.mark.parametrize("error", [Injected("x"), OSError(32, "broken pipe"), ValueError("y"), gevent.GreenletExit()])
@pytest.mark.parametrize("where", ["send", "wrap"])
@VERSIONS
def test_anything_that_ends_a_flush(
    error: BaseException, where: str, version: int, monkeypatch: pytest.MonkeyPatch, hub_errors: list[HubError]
) -> None:
    """A flush runs in the hub: nobody else would ever hear of its error."""
    error = copy(error)  # the parameter outlives the test
    with FakeNode() as node:
        _silent(node)
        connection = connect(node, version)
        closings = Closings(connection)
        waiting = [send(connection) for _ in range(10)]
        gevent.sleep(0.01)

        def fail(data: Any) -> Any:
            raise error

        monkeypatch.setattr(connection._transport, where, fail)
        waiting.append(send(connection))
        cause = _ends(connection, closings, waiting, time.monotonic())
        assert isinstance(cause, ConnectionException) and cause.__cause__ is error
        assert passed_on(hub_errors, error)


def test_anything_that_ends_a_resumed_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write watcher's callback runs in the hub too."""
    with FakeNode(receive_buffer=4096) as node:
        connection = connect(node, sockopts=((1, 7, 4096),))  # SOL_SOCKET, SO_SNDBUF
        closings = Closings(connection)
        node.pause()
        waiting = [send(connection, "x" * 1_000_000) for _ in range(2)]
        eventually(lambda: connection._write_watcher is not None)

        def fail(data: Any) -> int:
            raise OSError(104, "on purpose")

        monkeypatch.setattr(connection._transport, "send", fail)
        began = time.monotonic()
        node.resume()
        assert isinstance(_ends(connection, closings, waiting, began), ConnectionException)
        node.tolerate_violations = True


def test_a_write_error_before_the_reader_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses to send (the peer has reset), with the reader still waiting."""
    with FakeNode() as node:
        _silent(node)
        connection = connect(node)
        closings = Closings(connection)
        waiting = [send(connection)]
        gevent.sleep(0.01)
        connection._transport._sock._sock.shutdown(1)  # SHUT_WR: the next send gets EPIPE
        waiting.append(send(connection))
        cause = _ends(connection, closings, waiting, time.monotonic())
        assert isinstance(cause, ConnectionException) and "BrokenPipeError" in str(cause)


# --- targets that misbehave ------------------------------------------------------------------------------------------


class Raising(Recorder):
    """Breaks the rule that targets do not raise."""

    def _tell(self, event: str, argument: Any) -> None:
        super()._tell(event, argument)
        raise ZeroDivisionError(f"on {event}")


def _send_to(connection: Connection, targets: list[Recorder], timeout: float | None = None) -> None:
    deadline = NEVER if timeout is None else time.monotonic() + timeout
    for target in targets:
        assert connection.send(target, template("q", connection.version), b"", 0, None, deadline) >= 0


def _mixed() -> list[Recorder]:
    return [Recorder(0), Raising(1), Recorder(2), Raising(3), Recorder(4)]


def test_a_target_that_raises_on_its_reply() -> None:
    """The others of its batch get theirs, and the connection ends with that cause: its state cannot be trusted."""
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void())
        connection = connect(node)
        closings = Closings(connection)
        targets = _mixed()
        _send_to(connection, targets)
        wait_all(targets)
        settle_turns()
        assert [target.event for target in targets] == ["page"] * 5
        assert connection.closed and len(closings.causes) == 1
        assert "ZeroDivisionError" in str(connection.cause)


def test_a_target_that_raises_when_the_connection_is_lost(hub_errors: list[HubError]) -> None:
    with FakeNode() as node:
        _silent(node)
        connection = connect(node)
        closings = Closings(connection)
        targets = _mixed()
        _send_to(connection, targets)
        gevent.sleep(0.01)
        began = time.monotonic()
        node.drop_connections()
        _ends(connection, closings, targets, began)
        assert [error.text for error in hub_errors] == ["ZeroDivisionError: on lost"] * 2
        hub_errors.clear()


def test_a_target_that_raises_on_its_timeout(hub_errors: list[HubError]) -> None:
    with FakeNode() as node:
        _silent(node)
        with connected(node) as connection:
            targets = _mixed()
            _send_to(connection, targets, 0.05)
            assert wait_all(targets, 1.0) == ["timeout"] * 5
            assert not connection.closed and connection.orphaned == 5
            assert [error.text for error in hub_errors] == ["ZeroDivisionError: on timeout"] * 2
            hub_errors.clear()
            later = send(connection, timeout=0.05)
            assert wait_all([later], 1.0) == ["timeout"], "deadlines go on"


@pytest.mark.parametrize("where", ["on_frame", "on_lost", "on_timeout"])
def test_a_target_that_closes_the_connection(where: str) -> None:
    """Targets may call close: everybody is told once all the same."""
    closer_calls: list[str] = []

    class Closer(Recorder):
        def on_page(self, page: Any) -> None:
            super().on_page(page)
            closer_calls.append("page")
            connection.close()

        def on_timeout(self, connection: Connection) -> None:
            super().on_timeout(connection)
            connection.close()

        def on_lost(self, connection: Connection, cause: BaseException) -> None:
            super().on_lost(connection, cause)
            connection.close()

    with FakeNode() as node:
        node.on(Opcode.QUERY, Void() if where == "on_frame" else SILENCE)
        connection = connect(node)
        closings = Closings(connection)
        targets = [Recorder(n) if n != 3 else Closer(n) for n in range(500)]
        _send_to(connection, targets, 0.05 if where == "on_timeout" else None)
        if where == "on_lost":
            gevent.sleep(0.02)
            node.drop_connections()
        wait_all(targets)
        settle_turns()
        told = [target.event for target in targets]
        first = "page" if where == "on_frame" else where.removeprefix("on_")
        assert set(told) <= {first, "lost"}  # lost: those of later turns
        assert connection.closed and len(closings.causes) == 1
        connection.check_invariants()


# --- what the server sends that it should not ------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("kind", ["twice", "unknown stream", "other version", "garbage", "2 GiB", "-1 B"])
def test_replies_that_answer_nothing(version: int, kind: str) -> None:
    """The connection ends with a FrameError; replies that came before, in the same bytes, reach their targets."""
    bad = {
        "twice": Void().times(2),
        "unknown stream": Void().on_stream(1000),
        "other version": Void().in_version(3),
        "garbage": Raw(b"\x15\x03\x03" + bytes(40)),
        "2 GiB": Void().claiming((1 << 31) - 1),
        "-1 B": Void().claiming(-1),
    }[kind]
    with FakeNode() as node:
        connection = connect(node, version)
        closings = Closings(connection)
        node.on("good", SILENCE)
        node.on("bad", lambda request, server: (_answer_good(server), bad)[1])
        node.on("never", SILENCE)

        def _answer_good(server: Any) -> None:
            for request in list(server.in_flight.values()):
                if request.text == "good":
                    server.reply(request, Void())

        good = [send(connection, "good") for _ in range(5)]
        offender = send(connection, "bad")
        never = send(connection, "never")
        began = time.monotonic()
        wait_all([*good, offender, never], 1.0)
        settle_turns()
        assert [recorder.event for recorder in good] == ["page"] * 5
        assert never.event == "lost" and never.at is not None and never.at - began < 1
        assert offender.event == ("page" if kind == "twice" else "lost")
        expected = CrcMismatchException if version == 5 and kind == "garbage" else FrameError
        assert type(connection.cause) is expected, connection.cause
        assert closings.causes == [connection.cause]
        assert isinstance(never.argument, expected)


@pytest.mark.parametrize("what", ["header", "header_crc", "payload", "payload_crc"])
@pytest.mark.parametrize("compression", [(), ("lz4",)])
def test_damaged_segments(what: str, compression: tuple[str, ...]) -> None:
    with FakeNode(compression=("lz4",)) as node:
        node.on("q", Void().corrupt(what))
        connection = connect(node, 5, compression=compression)
        closings = Closings(connection)
        cause = _ends(connection, closings, [send(connection)], time.monotonic())
        assert type(cause) is CrcMismatchException


def test_an_error_that_belongs_to_no_request() -> None:
    """A server that cannot read the header answers on stream -1 with a protocol error: that is the cause to tell."""
    with FakeNode() as node:
        node.on("q", Error(ErrorCode.PROTOCOL_ERROR, "did not like that").on_stream(-1))
        connection = connect(node)
        closings = Closings(connection)
        cause = _ends(connection, closings, [send(connection)], time.monotonic())
        assert isinstance(cause, ProtocolException) and "did not like that" in str(cause)


def test_pushed_replies_that_are_no_events() -> None:
    with FakeNode() as node:
        node.on("q", Void().on_stream(-1))
        connection = connect(node)
        closings = Closings(connection)
        cause = _ends(connection, closings, [send(connection)], time.monotonic())
        assert isinstance(cause, FrameError) and "not an event" in str(cause)


def test_events() -> None:
    """They reach `on_event`, or nobody; they are no reason to end."""
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void())
        with connected(node) as connection:
            event = status_change("UP", "127.0.0.9", 9042)
            node.connections[0].push(event)
            assert wait_all([send(connection)]) == ["page"]
            seen: list[Any] = []
            connection.on_event = lambda connection, frame: seen.append(frame)
            node.connections[0].push(event)
            assert wait_all([send(connection)]) == ["page"]
            assert [frame.opcode for frame in seen] == [Op.EVENT]


# --- draining --------------------------------------------------------------------------------------------------------


def test_drain_closes_with_the_last_reply() -> None:
    gate = gevent.event.Event()
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void().when(gate))
        connection = connect(node)
        closings = Closings(connection)
        waiting = [send(connection) for _ in range(3)]
        connection.drain()
        assert not connection.usable and not connection.closed and "draining" in repr(connection)
        assert connection.send(Recorder(), template("q", 4), b"") == -1
        control = Call()
        connection.start_call(control, Op.OPTIONS, b"", 5.0)  # the driver's own requests still pass
        control.get(timeout=5)
        assert not connection.closed
        gate.set()
        assert wait_all(waiting) == ["page"] * 3
        eventually(lambda: connection.closed, 1)
        assert closings.causes == [None]


def test_drain_of_an_idle_connection_closes_it() -> None:
    with FakeNode() as node:
        connection = connect(node)
        connection.drain()
        assert connection.closed and connection.cause is None


@pytest.mark.parametrize("way", ["timeout", "orphan"])
def test_drain_ends_though_the_server_never_answers(way: str) -> None:
    """The last request in flight may end without a reply: nothing else would ever close the connection."""
    with FakeNode() as node:
        _silent(node)
        connection = connect(node)
        closings = Closings(connection)
        recorder = send(connection, timeout=0.05 if way == "timeout" else None)
        connection.drain()
        gevent.sleep(0.01)
        assert not connection.closed
        if way == "timeout":
            assert wait_all([recorder], 1.0) == ["timeout"]
        else:
            assert connection.orphan(recorder.stream, recorder)  # type: ignore[attr-defined]
        eventually(lambda: connection.closed, 1)
        assert closings.causes == [None]


def test_drain_ends_though_the_server_reads_nothing() -> None:
    with FakeNode(receive_buffer=4096) as node:
        connection = connect(node)
        node.pause()
        recorder = send(connection, "x" * 5_000_000, timeout=0.05)
        connection.drain()
        assert wait_all([recorder], 1.0) == ["timeout"]
        eventually(lambda: connection.closed, 1)
        node.resume()
        node.tolerate_violations = True


# --- calls -----------------------------------------------------------------------------------------------------------


def test_call_reads_the_reply() -> None:
    with FakeNode() as node:
        node.on("bad", Error(ErrorCode.SERVER_ERROR, "no"))
        node.on("silent", SILENCE)
        node.on("close", Close())
        connection = connect(node)

        def call(text: str, timeout: float = 5.0) -> Any:
            return connection.call(Op.QUERY, template(text, 4).prefix + template(text, 4).suffix, timeout)

        assert connection.call(Op.OPTIONS, b"", 5.0).options["CQL_VERSION"]
        assert call("INSERT").kind == 1
        with pytest.raises(Exception, match="no") as caught:
            call("bad")
        assert type(caught.value).__name__ == "ServerError"
        with pytest.raises(OperationTimedOut):
            call("silent", 0.05)
        assert connection.orphaned == 1
        with pytest.raises(ConnectionShutdown, match="was lost"):
            call("close")
        with pytest.raises(ConnectionShutdown, match="is closed"):
            call("INSERT")


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_call_that_is_abandoned_is_an_orphan(timeout: float | None) -> None:
    """Killed or timed out from outside: its stream id waits for the late reply, the connection can still drain."""
    with FakeNode() as node:
        _silent(node)
        connection = connect(node)
        body = template("q", 4).prefix + template("q", 4).suffix
        greenlet = gevent.spawn(connection.call, Op.QUERY, body, timeout)
        gevent.sleep(0.01)
        assert connection.in_flight == 1
        greenlet.kill()
        assert (connection.in_flight, connection.orphaned) == (0, 1)
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            connection.call(Op.QUERY, body, timeout)
        assert (connection.in_flight, connection.orphaned) == (0, 2)
        connection.drain()
        assert connection.closed


def test_calls_pass_when_the_limit_is_reached() -> None:
    """The driver's own questions, heartbeats first of all, must not wait behind requests."""
    with FakeNode() as node:
        _silent(node)
        with connected(node, max_in_flight=2) as connection:
            for _ in range(2):
                send(connection)
            assert connection.send(Recorder(), template("q", 4), b"") == -1
            connection.call(Op.OPTIONS, b"", 1.0)
            assert connection.table.room == 0


def test_no_stream_id_left_for_a_call() -> None:
    with FakeNode(record=False) as node, connected(node, max_in_flight=32768) as connection:
        target, q = Recorder(), template("q", 4)
        for _ in range(32768):
            assert connection.send(target, q, b"") >= 0
        with pytest.raises(ConnectionShutdown, match="no free stream id"):
            connection.call(Op.OPTIONS, b"", 1.0)
        for stream in range(32768):
            connection.table.orphan(stream, target)
        assert connection.in_flight == 0 and not connection.usable
        connection.table.drain()
        assert connection.usable


def test_a_request_that_cannot_be_made_leaves_nothing_behind() -> None:
    """40,000 of them, more than there are stream ids; then a good one (pitfall B3)."""
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void())
        with connected(node, max_in_flight=32768) as connection:

            def refuse(frame: bytes) -> bytes:
                raise ValueError("cannot be compressed")

            connection.compress_frame = refuse
            target, q = Recorder(), template("q", 4)
            for _ in range(40_000):
                with pytest.raises(ValueError, match="compressed"):
                    connection.send(target, q, b"")
            connection.compress_frame = None
            assert connection.in_flight == 0 and connection.unsent_bytes == 0 and target.event is None
            assert wait_all([send(connection)]) == ["page"]


def test_a_connection_is_collected() -> None:
    """Nothing of the hub, the scheduler or the targets holds on to a closed one."""
    held: list[Callable[[], Any]] = []
    with FakeNode() as node:
        _silent(node)
        for ending in ("close", "drop"):
            connection = connect(node)
            recorder = send(connection, timeout=60)
            held.append(weakref.ref(connection))
            connection.close() if ending == "close" else node.drop_connections()
            wait_all([recorder])
            del connection, recorder
    settle_turns()
    gc.collect()
    assert [reference() for reference in held] == [None, None]
