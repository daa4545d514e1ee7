"""The replaying server: it compiles, speaks v3 to v5, and asks the real server once for each different request.

Clients that send nonsense get an error or lose their connection; the server goes on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import frames, replay
from benchmarks.errors import BenchmarkError
from tests.benchmarks.canned import (
    BATCH,
    ERROR,
    EXECUTE,
    OPTIONS,
    PREPARE,
    QUERY,
    READY,
    REGISTER,
    RESULT,
    STARTUP,
    STARTUP_BODY,
    SUPPORTED,
    Answer,
    Client,
    Server,
    error_text,
    execute,
    query,
)

VERSIONS = (3, 4, 5)
LONG = bytes(range(256)) * 1600  # several v5 segments
VALUES, SKIP_METADATA, PAGE_SIZE, PAGING_STATE, SERIAL, TIMESTAMP, NAMES, KEYSPACE = (1 << bit for bit in range(8))


def answer(opcode: int, body: bytes) -> Answer:
    """What the canned server says: an error, a long result, or the request again."""
    if b"wrong" in body:
        return ERROR, struct.pack(">I", 0x2000) + frames.string("wrong indeed")
    return RESULT, LONG if b"long" in body else b"result of " + body


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return replay.build(tmp_path_factory.mktemp("replay"))


@pytest.fixture
def upstream() -> Iterator[Server]:
    with Server(answer) as server:
        yield server


@pytest.fixture
def address(program: Path, upstream: Server) -> Iterator[tuple[str, int]]:
    with replay.running(program, upstream.address, ("127.0.0.1", 0)) as listening:
        yield listening


@pytest.mark.parametrize("version", VERSIONS)
def test_handshake_and_register_without_the_real_server(
    address: tuple[str, int], upstream: Server, version: int
) -> None:
    with Client(address, version) as client:
        opcode, body = client.ask(OPTIONS, b"", stream=7)
        assert opcode == SUPPORTED
        assert body.endswith(b"\x00\x11PROTOCOL_VERSIONS\x00\x03\x00\x043/v3\x00\x044/v4\x00\x045/v5")
        client.start()
        assert client.ask(OPTIONS, b"")[0] == SUPPORTED
        assert client.ask(REGISTER, b"\x00\x00") == (READY, b"")
    assert upstream.asked == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_query_is_asked_once_and_replayed_to_any_connection(
    address: tuple[str, int], upstream: Server, version: int
) -> None:
    body = query("SELECT a", version)
    for _ in range(2):
        with Client(address, version) as client:
            client.start()
            for stream in (1, 2, 32767):
                assert client.ask(QUERY, body, stream) == (RESULT, b"result of " + body)
    assert upstream.asked == [(version, QUERY, body)]


@pytest.mark.parametrize("version", VERSIONS)
def test_long_bodies_both_ways(address: tuple[str, int], upstream: Server, version: int) -> None:
    body = query("SELECT long " + "x" * 300_000, version)
    with Client(address, version) as client:
        client.start()
        for _ in range(2):
            assert client.ask(QUERY, body) == (RESULT, LONG)
    assert upstream.asked == [(version, QUERY, body)]


@pytest.mark.parametrize("version", VERSIONS)
def test_prepare_execute_and_batch(address: tuple[str, int], upstream: Server, version: int) -> None:
    text = struct.pack(">I", 8) + b"SELECT b" + (b"\x00\x00\x00\x00" if version >= 5 else b"")
    requests = [(PREPARE, text), (EXECUTE, execute(b"id", version)), (BATCH, b"\x00\x00\x00\x00\x01\x00")]
    with Client(address, version) as client:
        client.start()
        for opcode, body in requests * 2:
            assert client.ask(opcode, body) == (RESULT, b"result of " + body)
    assert upstream.asked == [(version, opcode, body) for opcode, body in requests]


def same(version: int) -> list[bytes]:
    """EXECUTEs that differ in what does not count only."""
    values = [b"\x00\x02" + frames.value(first) + struct.pack(">i", -1) for first in (b"", b"one", b"other")]
    bodies = [execute(b"id", version, VALUES | PAGE_SIZE, value + struct.pack(">i", 100)) for value in values]
    late = values[0] + struct.pack(">iHq", 100, 8, 12345)
    return [*bodies, execute(b"id", version, VALUES | PAGE_SIZE | SERIAL | TIMESTAMP, late)]


def different(version: int) -> list[bytes]:
    """EXECUTEs of which no two are the same."""
    state, one_value = struct.pack(">i", 2) + b"at", b"\x00\x01" + frames.string("n") + frames.value(b"v")
    bodies = [
        execute(b"id", version),
        execute(b"i", version),
        execute(b"id", version, SKIP_METADATA),
        execute(b"id", version, PAGE_SIZE, struct.pack(">i", 100)),
        execute(b"id", version, PAGE_SIZE, struct.pack(">i", 200)),
        execute(b"id", version, PAGE_SIZE | PAGING_STATE, struct.pack(">i", 100) + state),
        execute(b"id", version, VALUES | NAMES | PAGING_STATE, one_value + state),
    ]
    if version >= 5:
        bodies.append(execute(b"id", version, metadata_id=b"other"))
        bodies += [execute(b"id", version, KEYSPACE, frames.string(name)) for name in ("one", "two")]
    return bodies


@pytest.mark.parametrize("version", VERSIONS)
def test_bound_values_and_timestamps_do_not_count(address: tuple[str, int], upstream: Server, version: int) -> None:
    with Client(address, version) as client:
        client.start()
        first, *others = same(version)
        for body in (first, *others):
            assert client.ask(EXECUTE, body) == (RESULT, b"result of " + first)
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_what_makes_two_requests_different(address: tuple[str, int], upstream: Server, version: int) -> None:
    bodies = different(version)
    with Client(address, version) as client:
        client.start()
        for body in bodies * 2:
            assert client.ask(EXECUTE, body) == (RESULT, b"result of " + body)
        assert client.ask(EXECUTE, bodies[0], flags=0x02)[0] == RESULT  # tracing: another answer
    assert [body for _, _, body in upstream.asked] == [*bodies, bodies[0]]


def test_versions_do_not_share_answers(address: tuple[str, int], upstream: Server) -> None:
    for version in VERSIONS:
        with Client(address, version) as client:
            client.start()
            assert client.ask(PREPARE, b"\x00\x00\x00\x01x")[0] == RESULT
    assert [version for version, _, _ in upstream.asked] == list(VERSIONS)


def test_errors_are_passed_on_and_not_kept(address: tuple[str, int], upstream: Server) -> None:
    with Client(address, 4) as client:
        client.start()
        for _ in range(2):
            opcode, body = client.ask(QUERY, query("wrong", 4))
            assert (opcode, error_text(body)) == (ERROR, "wrong indeed")
    assert len(upstream.asked) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_one_at_a_time_and_many_requests_at_once(address: tuple[str, int], version: int) -> None:
    body = query("SELECT c", version)
    with Client(address, version) as client:
        client.start()
        for byte in client.envelope(QUERY, body, 5):
            client.sock.sendall(bytes((byte,)))
        assert client.receive() == (0x80 | version, 5, RESULT, b"result of " + body)
        client.sock.sendall(b"".join(client.envelope(QUERY, body, stream) for stream in range(200)))
        for stream in range(200):
            assert client.receive() == (0x80 | version, stream, RESULT, b"result of " + body)


def test_startup_and_the_first_segment_in_one_packet(address: tuple[str, int]) -> None:
    with Client(address, 5) as client:
        startup = client.envelope(STARTUP, STARTUP_BODY)
        client.segmented = True
        client.sock.sendall(startup + client.envelope(OPTIONS, b"", 3))
        client.segmented = False
        assert client.receive() == (0x85, 0, READY, b"")
        client.segmented = True
        assert client.receive()[1:3] == (3, SUPPORTED)


def test_several_envelopes_in_one_segment_and_one_across_two(address: tuple[str, int]) -> None:
    body = query("SELECT d", 5)
    with Client(address, 5) as client:
        client.start()
        client.segmented = False
        plain = b"".join(client.envelope(QUERY, body, stream) for stream in (1, 2, 3))
        client.segmented = True
        cut = frames.segment(plain[:50], False) + frames.segment(plain[50:], False)
        client.sock.sendall(frames.segment(plain) + cut)
        assert [client.receive()[1] for _ in range(6)] == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(("asked", "highest"), [(6, 5), (2, 5), (5, 4)])
def test_other_versions_are_refused_in_the_highest_one(
    program: Path, upstream: Server, asked: int, highest: int
) -> None:
    with (
        replay.running(program, upstream.address, ("127.0.0.1", 0), max_version=highest) as listening,
        Client(listening, asked) as client,
    ):
        client.sock.sendall(client.envelope(STARTUP, STARTUP_BODY, 9))
        version, stream, opcode, body = client.receive()
        assert (version, stream, opcode) == (0x80 | highest, 9, ERROR)
        assert body[:4] == b"\x00\x00\x00\x0a"
        assert "unsupported protocol version" in error_text(body)


def test_compression_is_refused(address: tuple[str, int]) -> None:
    body = b"\x00\x02\x00\x0bCQL_VERSION\x00\x053.0.0\x00\x0bCOMPRESSION\x00\x03lz4"
    with Client(address, 4) as client:
        opcode, answered = client.ask(STARTUP, body)
        assert (opcode, error_text(answered)) == (ERROR, "replay speaks no compression")


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (QUERY, b""),
        (QUERY, b"\x7f\xff\xff\xffshort"),
        (QUERY, query("SELECT e", 4, VALUES, b"\xff\xff\x00\x00\x00\x01v")),
        (QUERY, query("SELECT e", 4, PAGING_STATE, b"\x7f\xff\xff\xff")),
        (EXECUTE, b"\xff\xffid"),
        (EXECUTE, b"\x00\x02id\x00"),
        (99, b"what"),
    ],
)
def test_lying_bodies_get_an_error_and_the_connection_lives(
    address: tuple[str, int], upstream: Server, opcode: int, body: bytes
) -> None:
    with Client(address, 4) as client:
        client.start()
        assert client.ask(opcode, body)[0] == ERROR
        assert client.ask(OPTIONS, b"")[0] == SUPPORTED
    assert upstream.asked == []


@pytest.mark.parametrize("damaged", [0, 4, 6, -1])
def test_a_wrong_checksum_ends_the_connection(address: tuple[str, int], damaged: int) -> None:
    with Client(address, 5) as client:
        client.start()
        data = bytearray(client.envelope(QUERY, query("SELECT f", 5)))
        data[damaged] ^= 1
        client.sock.sendall(data + bytes(64))
        with pytest.raises((EOFError, ConnectionResetError)):
            client.receive()
    with Client(address, 5) as client:
        client.start()


@pytest.mark.parametrize(
    "nonsense",
    [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x84" + bytes(8), b"\x04\x00\x00\x00\x07" + b"\xff" * 64],
)
def test_what_is_not_cql_ends_the_connection(address: tuple[str, int], nonsense: bytes) -> None:
    with Client(address, 4) as client:
        client.sock.sendall(nonsense)
        with pytest.raises((EOFError, ConnectionResetError)):
            while True:
                client.receive()
    with Client(address, 4) as client:
        client.start()


def test_without_the_real_server_requests_get_an_error(program: Path) -> None:
    with Server(answer) as gone:
        nobody = gone.address
    with replay.running(program, nobody, ("127.0.0.1", 0)) as listening, Client(listening, 4) as client:
        client.start()
        opcode, body = client.ask(QUERY, query("SELECT g", 4))
        assert (opcode, error_text(body)) == (ERROR, "the real server behind replay did not answer")


def test_build_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(BenchmarkError, match="zlib1g-dev"):
        replay.build(tmp_path)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match=r"no C compiler.*zlib1g-dev"):
        replay.build(tmp_path)


def test_build_only_when_the_source_is_newer(program: Path) -> None:
    made = program.stat().st_mtime_ns
    assert replay.build(program.parent) == program
    assert program.stat().st_mtime_ns == made


def test_an_address_that_is_taken(program: Path, address: tuple[str, int]) -> None:
    with pytest.raises(BenchmarkError, match="did not start"), replay.running(program, address, address):
        pass
