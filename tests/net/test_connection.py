"""A connection at work: requests gathered into few sends, a peer that does not read, deadlines, a reader that gives way."""

from __future__ import annotations

import itertools
import random
import socket as std_socket
import time
from collections import Counter
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventcql.cython.wire import RECEIVE_BUFFER
from geventcql.net.connection import MAX_POSTPONED, MAX_TURN_BYTES, MAX_TURN_FRAMES, MAX_UNSENT_BYTES, Connection
from geventcql.net.scheduler import Scheduler
from tests.net.peers import Recorder, ThreadNode, connected, send, template, wait_all
from tests.support import wire
from tests.support.fakenode import NEVER as SILENCE
from tests.support.fakenode import FakeNode, Message, Opcode, Void
from tests.support.tls import Tls
from tests.support.waits import eventually
from tests.support.wire import Envelope

VERSIONS = pytest.mark.parametrize("version", [4, 5])
SMALL_BUFFER = ((std_socket.SOL_SOCKET, std_socket.SO_SNDBUF, 65536),)


class CountedCalls:
    """The system calls that a connection's socket makes to send and receive, those that find nothing to do among them."""

    def __init__(self, connection: Connection) -> None:
        self.calls: Counter[str] = Counter()
        sock: Any = connection._transport._sock
        self._real = sock._sock
        sock._sock = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("send", "recv")):
            self.calls[name] += 1
        return getattr(self._real, name)


# --- sending ---------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("secure", [False, True])
def test_requests_of_one_turn_share_one_send(version: int, secure: bool, tls: Tls) -> None:
    """1,000 greenlets at once: tens of system calls each way, where one for each message would be a thousand (pitfall A5)."""
    with FakeNode(ssl_context=tls.server if secure else None) as node:
        node.on(Opcode.QUERY, Void())
        with connected(node, version, ssl_context=tls.client if secure else None) as connection:
            counted = CountedCalls(connection)
            told: list[str | None] = []

            def client() -> None:
                recorder = send(connection)
                recorder.done.wait()
                told.append(recorder.event)

            with gevent.Timeout(10):
                gevent.joinall([gevent.spawn(client) for _ in range(1000)], raise_error=True)
            assert told == ["page"] * 1000
            calls = counted.calls
            assert 0 < calls["send"] <= 10 and 0 < calls["recv_into"] + calls["recv"] <= 30, calls
            assert node.count(Opcode.QUERY) == 1000


def test_a_send_neither_blocks_nor_switches() -> None:
    """Also when nothing can be sent: it only puts down."""
    with FakeNode(receive_buffer=4096) as node, connected(node, sockopts=SMALL_BUFFER) as connection:
        node.pause()
        turn = gevent.get_hub().loop.iteration
        for _ in range(50):
            send(connection, "x" * 100_000)
        assert gevent.get_hub().loop.iteration == turn
        node.tolerate_violations = True


def test_requests_arrive_in_order() -> None:
    """Through partial sends too."""
    with FakeNode(receive_buffer=4096) as node:
        node.on(Opcode.QUERY, Void())
        with connected(node, 5, sockopts=SMALL_BUFFER) as connection:
            rng = random.Random(1)
            texts = [f"{n} " + "x" * rng.choice((10, 1000, 70_000, 200_000)) for n in range(100)]
            recorders = []
            for n, text in enumerate(texts):
                recorders.append(send(connection, text, timeout=None))
                if n % 7 == 0:
                    gevent.sleep(0.001)
            assert set(wait_all(recorders, 20)) == {"page"}
            assert [request.text for request in node.requests if request.opcode == Opcode.QUERY] == texts


@VERSIONS
@pytest.mark.parametrize("secure", [False, True])
def test_a_peer_that_does_not_read(version: int, secure: bool, tls: Tls) -> None:
    """Unsent bytes stay near their bound, the connection says that it takes nothing, and goes on once the peer reads."""
    size = 64_000
    with FakeNode(ssl_context=tls.server if secure else None, receive_buffer=65536) as node:
        node.on(Opcode.QUERY, Void())
        context = tls.client if secure else None
        with connected(node, version, ssl_context=context, sockopts=SMALL_BUFFER, max_in_flight=32768) as connection:
            node.connections[0].stop_reading()
            rooms: list[bool] = []
            connection.on_room = lambda connection: rooms.append(connection.usable)
            query = template("x" * size, version)
            accepted: list[Recorder] = []
            refused = largest = 0
            while refused < 20:  # the kernel and the node's last recv still take some after the first refusal
                target = Recorder()
                if connection.send(target, query, b"") >= 0:
                    accepted.append(target)
                    refused = 0
                else:
                    refused += 1
                    gevent.sleep(0.001)
                largest = max(largest, connection.unsent_bytes)
                if len(accepted) % 10 == 0:
                    gevent.sleep(0)
            assert not connection.usable and connection.in_flight == sum(r.event is None for r in accepted)
            assert connection.unsent_bytes == len(connection._unsent or b"") + sum(map(len, connection.pending))
            assert MAX_UNSENT_BYTES <= largest < 1.1 * MAX_UNSENT_BYTES
            assert MAX_UNSENT_BYTES * 0.9 < connection.unsent_bytes < 1.1 * MAX_UNSENT_BYTES
            rooms.clear()
            node.connections[0].resume_reading()
            assert set(wait_all(accepted, 20)) == {"page"}
            assert connection.usable and connection.unsent_bytes == 0 and connection._write_watcher is None
            assert True in rooms, "who waits for room must hear of it"
            assert wait_all([send(connection)]) == ["page"]


def test_who_waits_hears_that_a_full_socket_has_taken_data() -> None:
    """Though nothing is answered."""
    with FakeNode(receive_buffer=65536) as node:
        node.on(Opcode.QUERY, SILENCE)
        with connected(node, sockopts=SMALL_BUFFER, max_in_flight=32768) as connection:
            node.connections[0].stop_reading()
            query = template("x" * 1_000_000, 4)
            while connection.usable:
                connection.send(Recorder(), query, b"")
            rooms: list[bool] = []
            connection.on_room = lambda connection: rooms.append(connection.usable)
            node.connections[0].resume_reading()
            eventually(lambda: True in rooms)


def test_a_full_table() -> None:
    gate = Event()
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void().when(gate))
        with connected(node, max_in_flight=10) as connection:
            rooms: list[int] = []
            connection.on_room = lambda connection: rooms.append(connection.table.room)
            waiting = [send(connection) for _ in range(10)]
            assert not connection.usable and connection.send(Recorder(), template("q", 4), b"") == -1
            gate.set()
            assert wait_all(waiting) == ["page"] * 10
            assert connection.usable and rooms and rooms[-1] == 10


def test_requests_given_up_make_room_at_once() -> None:
    """Who gave up may ask again before others have a turn, and is not to come before those who wait."""
    with FakeNode() as node:
        node.on(Opcode.QUERY, None)
        with connected(node, max_in_flight=10) as connection:
            rooms: list[int] = []
            connection.on_room = lambda connection: rooms.append(connection.table.room)
            for recorder in [send(connection) for _ in range(4)]:
                assert connection.orphan(recorder.stream, recorder)  # type: ignore[attr-defined]
            assert rooms == [7, 8, 9, 10]


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_deadlines_are_kept() -> None:
    """Not early, and late by no more than the hub itself."""
    with FakeNode() as node:
        node.on(Opcode.QUERY, SILENCE)
        with connected(node) as connection:
            rng = random.Random(1)
            began = time.monotonic()
            timeouts = [rng.uniform(0.02, 0.5) for _ in range(200)]
            recorders = [send(connection, timeout=began + timeout - time.monotonic()) for timeout in timeouts]
            assert set(wait_all(recorders)) == {"timeout"}
            late = sorted(
                recorder.at - began - timeout for recorder, timeout in zip(recorders, timeouts, strict=True) if recorder.at
            )
            assert late[0] >= 0 and late[100] < 0.02 and late[-1] < 1, late  # the machine may be busy with other things
            assert connection.orphaned == 200 and connection.in_flight == 0 and not connection.closed


def test_no_timer_for_each_request() -> None:
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void())
        with connected(node) as connection:
            scheduler = Scheduler.for_hub()
            before = len(scheduler)
            for _ in range(20):
                recorders = [send(connection, timeout=10 + n) for n in range(100)]
                assert len(scheduler) - before <= 1
                wait_all(recorders)
            assert len(scheduler._heap) < 100
            assert len(scheduler) - before <= 1


def test_an_earlier_deadline_behind_a_later_one() -> None:
    with FakeNode() as node:
        node.on(Opcode.QUERY, SILENCE)
        with connected(node) as connection:
            long = send(connection, timeout=60)
            gevent.sleep(0.01)
            short = send(connection, timeout=0.05)
            middle = send(connection, timeout=0.1)
            assert wait_all([short], 1) == ["timeout"] and middle.event is None
            assert wait_all([middle], 1) == ["timeout"] and long.event is None


def test_a_deadline_behind_one_that_has_come() -> None:
    """The timer that has fired is set for nothing any more."""
    with FakeNode() as node:
        node.on(Opcode.QUERY, SILENCE)
        with connected(node) as connection:
            for _ in range(2):
                assert wait_all([send(connection, timeout=0.02)], 2) == ["timeout"]


def test_a_late_reply_frees_the_stream_and_reaches_nobody() -> None:
    """The id of a request that timed out is not used again before its reply has come (pitfall B1)."""
    gate = Event()
    with FakeNode() as node:
        node.on("slow", Message(Opcode.SUPPORTED, b"late").when(gate))
        node.on("fast", lambda request, server: Message(Opcode.SUPPORTED, b"fast %d" % request.stream))
        with connected(node, max_in_flight=32768) as connection:
            slow = [send(connection, "slow", timeout=0.05) for _ in range(50)]
            assert set(wait_all(slow)) == {"timeout"}
            assert (connection.orphaned, connection.in_flight) == (50, 0)
            for _ in range(3):
                fast = [send(connection, "fast") for _ in range(200)]
                assert set(wait_all(fast)) == {"frame"}
                assert not {r.stream for r in fast} & {r.stream for r in slow}  # type: ignore[attr-defined]
                assert all(r.argument.body == b"fast %d" % r.stream for r in fast)  # type: ignore[attr-defined]
            gate.set()
            eventually(lambda: connection.orphaned == 0)
            assert connection.table.late_replies == 50
            assert set(wait_all([send(connection, "fast") for _ in range(300)])) == {"frame"}
            assert all(recorder.event == "timeout" for recorder in slow), "told twice"


def test_a_reply_and_its_deadline_in_one_turn() -> None:
    """Whichever comes first is the one; the other finds nothing."""
    told = {"page": 0, "timeout": 0}
    with FakeNode() as node:
        node.on(Opcode.QUERY, Void().after(0.02))
        with connected(node) as connection:
            for _ in range(10):
                recorders = [send(connection, timeout=0.015 + n * 0.0005) for n in range(20)]
                for event in wait_all(recorders):
                    told[event or ""] += 1
                gevent.sleep(0.03)
                assert all(len(recorder.told) == 1 for recorder in recorders)
                assert connection.orphaned == 0
    assert sum(told.values()) == 200


def test_a_busy_hub_is_no_silent_peer() -> None:
    """Answers that came while this process was busy are read before anybody is told that none came, however many they are."""
    with ThreadNode() as node, connected(node, max_in_flight=2048) as connection:
        recorders = [send(connection, timeout=0.3) for _ in range(2048)]
        gevent.sleep(0)
        stop = time.monotonic() + 0.5
        while time.monotonic() < stop:
            pass
        assert set(wait_all(recorders)) == {"page"} and connection.orphaned == 0


def test_deadlines_hold_though_the_socket_is_never_empty() -> None:
    with FakeNode() as node:
        node.on(Opcode.QUERY, SILENCE)
        with connected(node) as connection:
            looks: list[bool] = []
            connection._transport.pending = lambda: not looks.append(True)  # type: ignore[method-assign, func-returns-value]
            for _ in range(2):
                assert wait_all([send(connection, timeout=0.01) for _ in range(20)], 1) == ["timeout"] * 20
                assert len(looks) == MAX_POSTPONED, "put off as often as the ones before"
                looks.clear()


def test_many_deadlines_at_once_do_not_stall_the_hub() -> None:
    turns: list[int] = []
    loop = gevent.get_hub().loop

    class Counts(Recorder):
        def on_timeout(self, connection: Connection) -> None:
            super().on_timeout(connection)
            turns.append(loop.iteration)

    with FakeNode() as node:
        node.on(Opcode.QUERY, SILENCE)
        with connected(node, max_in_flight=2048) as connection:
            due = time.monotonic() + 0.1
            recorders: list[Recorder] = [Counts() for _ in range(2048)]
            for recorder in recorders:
                connection.send(recorder, template("q", 4), b"", 0, None, due)
            assert wait_all(recorders) == ["timeout"] * 2048
            assert max(turns.count(turn) for turn in set(turns)) <= 256


# --- the reader gives way --------------------------------------------------------------------------------------------


def _flooded(size: int, total: int) -> tuple[list[int], int, float]:
    """Receive `total` frames of `size` bytes each, sent as fast as can be, beside a ticker.

    Returns how many frames came in each turn of the loop, how often the ticker ran, and the CPU seconds that the driver
    took between two of its runs, the three worst left out (the machine may be busy with other things).
    """
    frame = wire.encode_envelope(Envelope(4, 0, -1, Opcode.EVENT, bytes(size), True))
    at_once = max(1, 400_000 // len(frame))
    loop = gevent.get_hub().loop
    turns: dict[int, int] = {}
    ticks: list[float] = []

    def on_event(connection: Connection, frame: Any) -> None:
        turns[loop.iteration] = turns.get(loop.iteration, 0) + 1

    def tick() -> None:
        while True:
            gevent.sleep(0.0005)
            ticks.append(time.thread_time())

    with ThreadNode(lambda request: frame * at_once * -(-total // at_once)) as server, connected(server) as connection:
        connection.on_event = on_event
        ticker = gevent.spawn(tick)
        send(connection, timeout=None)
        try:
            eventually(lambda: sum(turns.values()) >= total, 60)
        finally:
            ticker.kill()
    between = sorted(after - before for before, after in itertools.pairwise(ticks))
    return list(turns.values()), len(ticks), between[-4]


def test_a_flood_of_small_frames_does_not_stall_the_hub() -> None:
    """Always more is ready than a turn may take: sockets and timers of others are looked at between."""
    turns, ticks, stall = _flooded(30, 200_000)
    assert max(turns) < 2 * MAX_TURN_FRAMES
    assert ticks > 50 and stall < 0.02


@pytest.mark.parametrize("size", [10_000, 100_000, 1_000_000])
def test_huge_pages_do_not_stall_the_hub(size: int) -> None:
    turns, ticks, stall = _flooded(size, 200_000_000 // size)
    # the end of one body and what a recv brought of the next may be over the bound
    assert max(turns) * size <= MAX_TURN_BYTES + RECEIVE_BUFFER + 2 * size
    assert ticks > 50 and stall < 0.02


def test_a_turn_ends_by_time_too() -> None:
    """Targets that take long, such as those of many errors: 2 ms, and the others have their turn."""
    loop = gevent.get_hub().loop
    turns: dict[int, int] = {}

    def slow(connection: Connection, frame: Any) -> None:
        turns[loop.iteration] = turns.get(loop.iteration, 0) + 1
        stop = time.monotonic() + 0.0005
        while time.monotonic() < stop:
            pass

    frame = wire.encode_envelope(Envelope(4, 0, -1, Opcode.EVENT, bytes(60_000), True))
    with ThreadNode(lambda request: frame * 200) as server, connected(server) as connection:
        connection.on_event = slow
        send(connection, timeout=None)
        eventually(lambda: sum(turns.values()) == 200, 30)
    # what one recv brought is cut at once: at most a buffer's worth, and then as many as fit 2 ms
    assert max(turns.values()) <= RECEIVE_BUFFER // 60_000 + 2 + 4
