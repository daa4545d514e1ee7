"""What gevent itself costs: the same frames through a plain client of gevent, with no CQL work.

Each greenlet puts a recorded EXECUTE frame on a list that one greenlet sends once per turn of the hub, and waits on an
AsyncResult; a reader greenlet cuts frames by their length and hands bodies over undecoded. Protocol v4, no timeouts,
no policies, no errors: what is left is sockets, switches and events. Only select, insert and sync1 have a floor.
"""

from gevent import monkey

monkey.patch_all()

import socket  # noqa: E402
import struct  # noqa: E402
from collections.abc import Callable  # noqa: E402

import gevent  # noqa: E402
from gevent.event import AsyncResult, Event  # noqa: E402

from benchmarks import schema  # noqa: E402
from benchmarks.drivers.measure import Recorder, read_plan  # noqa: E402
from benchmarks.plan import Cell  # noqa: E402

HEADER = struct.Struct(">BBHBI")  # version, flags, stream, opcode, length
ERROR, STARTUP, READY, RESULT, PREPARE, EXECUTE = 0, 1, 2, 8, 9, 10
ROWS_OR_VOID = {"select": 2, "insert": 1}  # the RESULT kind each request must be answered with


class Floor:
    """One connection and the least that many greenlets need to share it."""

    def __init__(self, host: str, port: int) -> None:
        self._sock = socket.create_connection((host, port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waiting: dict[int, AsyncResult[bytes]] = {}
        self._free = list(range(2048))
        self._unsent: list[bytes] = []
        self._wake = Event()
        self.running = False
        if self._call(STARTUP, b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0")[0] != READY:
            raise ValueError("the server did not answer STARTUP with READY")
        self.bodies = {
            "select": self._recorded(schema.SELECT, [struct.pack(">i", value) for value in schema.SELECT_VALUES]),
            "insert": self._recorded(schema.INSERT, _insert_values()),
        }
        self.bodies["sync1"] = self.bodies["select"]
        gevent.spawn(self._read)
        gevent.spawn(self._write)

    def _call(self, opcode: int, body: bytes) -> tuple[int, bytes]:
        """One request on a connection that has no other."""
        self._sock.sendall(HEADER.pack(4, 0, 0, opcode, len(body)) + body)
        _, _, _, opcode, length = HEADER.unpack(self._exactly(HEADER.size))
        return opcode, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            data = self._sock.recv(count - len(received))
            if not data:
                raise ConnectionError("the server closed the connection")
            received += data
        return received

    def _recorded(self, query: str, values: list[bytes]) -> bytes:
        """The body of an EXECUTE of `query`, tried once."""
        text = query.encode()
        opcode, body = self._call(PREPARE, struct.pack(">I", len(text)) + text)
        if opcode != RESULT:
            raise ValueError(f"PREPARE was answered with opcode {opcode}: {body!r}")
        prepared_id = body[4 : 6 + struct.unpack_from(">H", body, 4)[0]]  # with its length before it
        cells = b"".join(struct.pack(">i", len(value)) + value for value in values)
        execute = prepared_id + struct.pack(">HBH", 1, 3, len(values)) + cells  # ONE; values, skip metadata
        opcode, body = self._call(EXECUTE, execute)
        if opcode != RESULT or struct.unpack_from(">I", body)[0] not in ROWS_OR_VOID.values():
            raise ValueError(f"EXECUTE was answered with opcode {opcode}: {body!r}")
        return execute

    def _read(self) -> None:
        facts, waiting, free, rest = struct.Struct(">xxHxI").unpack_from, self._waiting, self._free, b""
        while data := self._sock.recv(262144):
            rest = rest + data if rest else data
            at, end = 0, len(rest)
            while end - at >= 9:
                stream, length = facts(rest, at)
                if end - at < 9 + length:
                    break
                waiting.pop(stream).set(rest[at + 9 : at + 9 + length])
                free.append(stream)
                at += 9 + length
            rest = rest[at:]

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            data = b"".join(self._unsent)
            self._unsent.clear()
            self._sock.sendall(data)

    def loop(self, body: bytes) -> int:
        """One greenlet's closed loop until `running` is over: how many requests it made."""
        pack, waiting, free, unsent, wake, done = HEADER.pack, self._waiting, self._free, self._unsent, self._wake, 0
        while self.running:
            stream, answer = free.pop(), AsyncResult()
            waiting[stream] = answer
            unsent.append(pack(4, 0, stream, EXECUTE, len(body)))
            unsent.append(body)
            if not wake.is_set():
                wake.set()
            answer.get()
            done += 1
        return done

    def work(self, cell: Cell, seconds: float) -> int:
        """What `cell` asks for, for about `seconds`: how many requests that were."""
        self.running = True
        stop: Callable[[], None] = lambda: setattr(self, "running", False)  # noqa: E731
        timer = gevent.spawn_later(seconds, stop)
        try:
            workers = [gevent.spawn(self.loop, self.bodies[cell.workload]) for _ in range(cell.greenlets)]
            gevent.joinall(workers, raise_error=True)
            return sum(worker.value for worker in workers)
        finally:
            timer.kill()


def _insert_values() -> list[bytes]:
    """schema.INSERT_VALUES as CQL encodes them."""
    ident, name, age, score, ok, _, uid, tags = schema.INSERT_VALUES
    listed = struct.pack(">i", len(tags)) + b"".join(struct.pack(">i", len(tag)) + tag.encode() for tag in tags)
    return [
        ident.encode(),
        name.encode(),
        struct.pack(">i", age),
        struct.pack(">d", score),
        bytes([ok]),
        struct.pack(">q", 1_767_323_045_000),  # 2026-01-02 03:04:05 UTC, in milliseconds
        uid.bytes,
        listed,
    ]


def main() -> None:
    """Measure the cells of the plan on the command line that have a floor."""
    plan = read_plan()
    floor = Floor(plan.host, plan.port)
    recorder = Recorder(plan)
    for cell in plan.cells:
        if cell.workload in floor.bodies:
            recorder.measure(cell, lambda cell=cell: floor.work(cell, plan.seconds))  # type: ignore[misc]
    recorder.finish()


if __name__ == "__main__":
    main()
