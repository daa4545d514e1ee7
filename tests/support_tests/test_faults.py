"""What the fake node does on purpose: cuts, bad CRCs, drips, delays, silence; and what it notices about its clients."""

from __future__ import annotations

import ssl
import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from tests.support import wire
from tests.support.fakenode import (
    NEVER,
    AuthChallenge,
    AuthSuccess,
    Close,
    Error,
    ErrorCode,
    FakeNode,
    Opcode,
    Raw,
    Ready,
    Rows,
    Void,
    status_change,
)
from tests.support.rawclient import RawClient
from tests.support.tls import Tls
from tests.support.wire import WireError

ROWS = Rows([("v", "int")], [(1,), (2,)])


def _client(node: FakeNode, version: int = 4, **options: Any) -> RawClient:
    client = RawClient((node.host, node.port), version, **options)
    assert client.start().opcode == Opcode.READY
    return client


def _whole_answer(version: int, stream: int = 0) -> bytes:
    """What the node puts on the wire for ROWS."""
    with FakeNode() as node:
        node.on("q", [ROWS, Close()])
        with _client(node, version) as client:
            client.query("q", stream)
            return client.receive_bytes()


@pytest.mark.parametrize("version", [4, 5])
def test_cut_sends_exactly_the_first_bytes_then_fin(version: int) -> None:
    whole = _whole_answer(version)
    for at in (0, 1, 8, len(whole) - 1):
        with FakeNode() as node:
            node.on("q", ROWS.cut(at))
            with _client(node, version) as client:
                client.query("q")
                assert client.receive_bytes() == whole[:at]
            node.wait_for(lambda n: not n.connections)


def test_cut_with_rst() -> None:
    with FakeNode() as node:
        node.on("q", ROWS.cut(5, rst=True))
        with _client(node) as client:
            client.query("q")
            with pytest.raises(ConnectionResetError):
                client.receive_bytes()


@pytest.mark.parametrize("rst", [False, True])
def test_close_instead_of_an_answer(rst: bool) -> None:
    with FakeNode() as node:
        node.on("q", Close(rst=rst))
        with _client(node) as client:
            client.query("q")
            with pytest.raises(ConnectionResetError if rst else EOFError):
                client.receive()


@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("what", ["header", "header_crc", "payload", "payload_crc"])
def test_corrupt(what: str, compression: str | None) -> None:
    with FakeNode(compression=("lz4",)) as node:
        node.on("q", ROWS.corrupt(what))
        with _client(node, 5, compression=compression) as client:
            client.query("q")
            with pytest.raises(WireError, match="CRC mismatch"):
                client.receive()


def test_corrupt_below_v5_is_the_tests_mistake() -> None:
    with pytest.raises(ValueError, match="CRC"), FakeNode() as node:
        node.on("q", ROWS.corrupt())
        with _client(node, 4) as client:
            client.query("q")
            assert client.receive().opcode == Opcode.ERROR


@pytest.mark.parametrize("version", [4, 5])
def test_drip_gives_the_same_bytes_in_the_pieces_asked_for(version: int) -> None:
    whole = _whole_answer(version)
    with FakeNode() as node:
        node.on("q", ROWS.drip(3, 9, pause=0.05))
        node.on("bytes", ROWS.drip())
        with _client(node, version) as client:
            client.query("q")
            pieces = [client.sock.recv(65536) for _ in range(3)]
            assert pieces == [whole[:3], whole[3:9], whole[9:]]
            client.query("bytes")
            assert client.receive().opcode == Opcode.RESULT


@pytest.mark.parametrize("chunk", [1, 7])
@pytest.mark.parametrize("secure", [False, True])
def test_everything_in_small_pieces(tls: Tls, chunk: int, secure: bool) -> None:
    with FakeNode(send_chunk=chunk, ssl_context=tls.server if secure else None) as node:
        node.on("q", ROWS)
        with _client(node, 5, ssl_context=tls.client if secure else None) as client:
            client.query("q")
            assert client.receive().opcode == Opcode.RESULT


def test_rules_for_batches_and_predicates() -> None:
    entry = wire.byte(0) + wire.long_string("INSERT 1") + wire.short(0)
    body = wire.byte(1) + wire.short(1) + entry + wire.short(1) + wire.byte(0)
    with FakeNode() as node, _client(node) as client:
        outcomes = []
        for rule in (
            lambda: node.on("INSERT 1", ROWS),
            lambda: node.on("INSERT 1", Error(ErrorCode.OVERLOADED), opcode=Opcode.BATCH),
            lambda: node.on(lambda request: request.batch_type == 1, ROWS),
        ):
            made = rule()
            client.send(Opcode.BATCH, body)
            outcomes.append((client.receive().opcode, made.hits))
        assert outcomes == [(Opcode.RESULT, 0), (Opcode.ERROR, 1), (Opcode.RESULT, 1)]
        client.send(Opcode.BATCH, body.replace(entry, wire.byte(1) + wire.short_bytes(b"id") + wire.short(0)))
        assert client.receive().body.startswith(wire.int_(ErrorCode.UNPREPARED))


def test_delayed_and_gated_replies_are_overtaken() -> None:
    gate = Event()
    with FakeNode() as node:
        node.on("gated", ROWS.when(gate))
        node.on("late", ROWS.after(0.05))
        node.on("now", ROWS)
        with _client(node) as client:
            for stream, text in enumerate(("gated", "late", "now")):
                client.query(text, stream)
            assert [client.receive().stream for _ in range(2)] == [2, 1]
            gate.set()
            assert client.receive().stream == 0


def test_never_then_answered_by_hand() -> None:
    with FakeNode() as node:
        node.on("q", NEVER)
        with _client(node) as client:
            client.query("q", 77)
            request = node.wait_for(lambda n: n.queries)[0]
            assert not request.answered and request.connection is not None
            assert list(request.connection.in_flight) == [77]
            request.answer(ROWS, ROWS)
            assert [client.receive().stream for _ in range(2)] == [77, 77]
            assert request.answered and not request.connection.in_flight


def test_wrong_stream_duplicates_several_and_wrong_version() -> None:
    with FakeNode() as node:
        node.on("stream", ROWS.on_stream(1234))
        node.on("twice", ROWS.times(2))
        node.on("several", [ROWS, Void(), ROWS.in_version(3)])
        with _client(node) as client:
            client.query("stream", 1)
            assert client.receive().stream == 1234
            assert list(node.queries[0].connection.in_flight) == [1]  # type: ignore[union-attr]
            client.query("twice", 2)
            assert [client.receive().stream for _ in range(2)] == [2, 2]
            client.query("several", 3)
            assert [client.receive().version for _ in range(3)] == [4, 4, 3]


def test_raw_bytes_and_rules_that_end() -> None:
    with FakeNode() as node:
        node.on("q", ROWS)
        rule = node.on("q", Raw(b"junk"), times=1)
        with _client(node) as client:
            client.query("q")
            assert client.sock.recv(100) == b"junk"
            client.query("q")
            assert client.receive().opcode == Opcode.RESULT
            assert rule.hits == 1 and not rule.active


def test_negotiation_of_versions() -> None:
    with FakeNode(versions=(3, 4), beta_versions=(5,)) as node:
        with RawClient((node.host, node.port), 5) as client:
            answer = client.start()
            assert (answer.opcode, answer.version) == (Opcode.ERROR, 5) and b"USE_BETA flag is unset" in answer.body
        with RawClient((node.host, node.port), 6) as client:
            answer = client.start()
            assert answer.version == 4 and b"unsupported protocol version (6)" in answer.body
            assert client.receive_bytes() == b""


def test_compression_that_is_not_offered_is_refused() -> None:
    with FakeNode(compression=("lz4", "snappy")) as node, RawClient(
        (node.host, node.port), 5, compression="snappy"
    ) as client:
        assert client.start().opcode == Opcode.ERROR


@pytest.mark.parametrize("version", [4, 5])
def test_startup_may_be_answered_by_rules(version: int) -> None:
    with FakeNode() as node:
        node.on(Opcode.STARTUP, Error(ErrorCode.OVERLOADED), times=1)
        node.on(Opcode.OPTIONS, Ready().after(0.01))
        with RawClient((node.host, node.port), version) as client:
            assert client.start().opcode == Opcode.ERROR
        with _client(node, version) as client:
            client.send(Opcode.OPTIONS)
            assert client.receive().opcode == Opcode.READY


def test_challenges_of_authentication() -> None:
    def authenticate(request: Any, connection: Any) -> Any:
        return AuthChallenge(b"more?") if request.token == b"first" else AuthSuccess(b"done")

    with FakeNode(auth=authenticate) as node, RawClient((node.host, node.port), 5) as client:
        assert client.start().opcode == Opcode.AUTHENTICATE
        for token, expected in ((b"first", Opcode.AUTH_CHALLENGE), (b"second", Opcode.AUTH_SUCCESS)):
            client.send(Opcode.AUTH_RESPONSE, wire.bytes_(token))
            assert client.receive().opcode == expected
        client.query("SELECT key FROM system.local")
        assert client.receive().opcode == Opcode.RESULT


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("length", [0, 1, 1 << 31, -1])
def test_a_header_that_tells_another_length(version: int, length: int) -> None:
    whole = _whole_answer(version)
    envelope = slice(6 if version == 5 else 0, len(whole) - (4 if version == 5 else 0))
    with FakeNode() as node:
        node.on("q", [ROWS.claiming(length), Close()])
        with _client(node, version) as client:
            client.query("q")
            received = client.receive_bytes()[envelope]
    claimed = length.to_bytes(4, "big", signed=length < 0)
    assert received == whole[envelope][:5] + claimed + whole[envelope][9:]


def test_false_lengths_in_a_body() -> None:
    """Of the number of rows, in front of two rows of one int each, and of the last value."""
    with FakeNode() as node:
        node.on("q", ROWS.overwrite(-20, wire.int_(-7)).overwrite(-8, wire.int_(1 << 30)))
        with _client(node) as client:
            client.query("q")
            body = client.receive().body
    assert body == ROWS.message(node.queries[0])[1][:-20] + bytes.fromhex("fffffff9 00000004 00000001 40000000 00000002")


def test_connections_are_accepted_one_after_the_other() -> None:
    with FakeNode() as node:
        node.accept_delay = 0.1
        began = time.monotonic()
        starting = [gevent.spawn(_client, node) for _ in range(3)]
        gevent.joinall(starting, raise_error=True)
        assert 0.3 <= time.monotonic() - began < 2
        for greenlet in starting:
            greenlet.value.sock.close()


def test_pause_and_resume() -> None:
    with FakeNode() as node:
        node.on("q", ROWS)
        with _client(node) as client:
            node.pause()
            client.query("q")
            assert gevent.with_timeout(0.1, client.sock.recv, 1, timeout_value=b"nothing") == b"nothing"
            node.resume()
            assert client.receive().opcode == Opcode.RESULT


def test_a_black_hole_reads_nothing() -> None:
    with FakeNode(receive_buffer=4096) as node, _client(node) as client:
        node.connections[0].stop_reading()
        client.query("USE a")
        gevent.sleep(0.02)
        sent = gevent.with_timeout(0.2, client.sock.sendall, bytes(32 << 20), timeout_value="full")
        assert sent == "full" and node.connections[0].bytes_received < 100_000


def test_mute_reads_and_never_answers() -> None:
    with FakeNode(mute=True) as node, RawClient((node.host, node.port)) as client:
        client.send(Opcode.OPTIONS)
        node.wait_for(lambda n: n.count(Opcode.OPTIONS))
        assert gevent.with_timeout(0.05, client.sock.recv, 1, timeout_value=b"nothing") == b"nothing"


def test_stop_refuse_drop_and_start_again() -> None:
    with FakeNode() as node:
        node.on("q", ROWS)
        with _client(node) as client:
            node.refuse()
            with pytest.raises(ConnectionRefusedError):
                RawClient((node.host, node.port))
            client.query("q")
            assert client.receive().opcode == Opcode.RESULT
            node.drop_connections()
            with pytest.raises(EOFError):
                client.receive()
        node.stop()
        node.start()
        with _client(node) as client:
            node.drop_connections(rst=True)
            with pytest.raises(ConnectionResetError):
                client.receive()
        assert node.accepted == 2


def test_a_handler_may_stop_its_node() -> None:
    with FakeNode() as node:
        node.on("q", lambda request, connection: node.stop())
        with _client(node) as client:
            client.query("q")
            with pytest.raises((EOFError, ConnectionResetError)):
                client.receive()
        node.wait_for(lambda n: not n.connections)


def test_events_go_to_those_who_registered() -> None:
    with FakeNode() as node, _client(node) as client, _client(node, 5) as other:
        client.send(Opcode.REGISTER, wire.string_list(["STATUS_CHANGE"]))
        assert client.receive().opcode == Opcode.READY
        assert node.push(status_change("DOWN", "127.0.0.9", 9042)) == 1
        event = client.receive()
        assert (event.opcode, event.stream, event.version) == (Opcode.EVENT, -1, 4)
        node.connections[1].push(status_change("UP", "127.0.0.9", 9042))
        assert other.receive().opcode == Opcode.EVENT


def test_a_keyspace_sticks_to_its_connection() -> None:
    with FakeNode() as node, _client(node) as client:
        client.query('USE "Ks"')
        assert client.receive().opcode == Opcode.RESULT
        client.query("INSERT INTO t (k) VALUES (1)")
        client.receive()
        assert node.queries[-1].effective_keyspace == "Ks" == node.connections[0].keyspace


def _column_names(client: RawClient, text: str) -> list[str]:
    client.query(text)
    reader = wire.Reader(client.receive().body)
    assert reader.int_() == 2, "no rows"
    reader.int_()
    count = reader.int_()
    assert (reader.string(), reader.string())[0] == "system"
    names = []
    for _ in range(count):
        names.append(reader.string())
        if reader.short() == 0x22:
            reader.short()
    return names


def test_system_tables_give_the_columns_asked_for() -> None:
    with FakeNode() as node, _client(node) as client:
        assert _column_names(client, "SELECT host_id , tokens FROM system.local WHERE key='local'") == [
            "host_id",
            "tokens",
        ]
        everything = _column_names(client, "select * from system.local where key = 'local'")
        assert {"cluster_name", "partitioner", "rpc_address", "schema_version", "release_version"} < set(everything)
        assert "native_address" in _column_names(client, "SELECT * FROM system.peers_v2")
        node.system.with_peers_v2 = False
        for wrong in ("SELECT * FROM system.peers_v2", "SELECT nonsense FROM system.local"):
            client.query(wrong)
            assert client.receive().opcode == Opcode.ERROR


def test_statements_without_declaration_are_refused_by_name() -> None:
    with FakeNode() as node, _client(node) as client:
        client.query("SELECT v FROM unknown_table")
        assert b"unknown_table" in client.receive().body
        client.send(Opcode.PREPARE, wire.long_string("INSERT INTO t (k) VALUES (?)"))
        assert b"not declared" in client.receive().body


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (wire.encode_envelope(wire.Envelope(4, 0, 0, Opcode.REGISTER, b"\0\0")), "before the connection was ready"),
        (wire.encode_envelope(wire.Envelope(4, 0, 0, Opcode.STARTUP, b"\0\1")), "bytes wanted"),
        (wire.encode_envelope(wire.Envelope(4, 1, 0, Opcode.OPTIONS, b"x")), "without agreed compression"),
    ],
)
def test_violations_are_answered_and_raised(data: bytes, match: str) -> None:
    with pytest.raises(AssertionError, match=match), FakeNode() as node, RawClient((node.host, node.port)) as client:
        client.sock.sendall(data)
        assert client.receive().opcode == Opcode.ERROR
        with pytest.raises(EOFError):
            client.receive()


def test_a_stream_used_twice_is_a_violation() -> None:
    with FakeNode() as node, _client(node) as client:
        node.on("q", NEVER)
        client.query("q", 5)
        client.query("q", 5)
        node.wait_for(lambda n: len(n.queries) == 2)
        assert "stream 5 sent again" in node.violations[0]
        node.tolerate_violations = True


def test_bad_crc_of_a_client_is_a_violation() -> None:
    with FakeNode() as node, _client(node, 5) as client:
        raw = client.encode(Opcode.OPTIONS)
        client.sock.sendall(wire.corrupt_segment(raw, "payload_crc"))
        assert client.receive().opcode == Opcode.ERROR
        assert "CRC mismatch" in node.violations[0]
        node.tolerate_violations = True


def test_an_error_of_a_handler_is_raised_at_the_end() -> None:
    with pytest.raises(ZeroDivisionError), FakeNode() as node:
        node.on("q", lambda request, connection: 1 / 0)  # type: ignore[arg-type,return-value]
        with _client(node) as client:
            client.query("q")
            assert client.receive().opcode == Opcode.ERROR


def test_wait_for_says_what_it_saw() -> None:
    with FakeNode() as node, _client(node):
        start = time.monotonic()
        with pytest.raises(AssertionError, match="STARTUP"):
            node.wait_for(lambda n: False, timeout=0.05)
        assert time.monotonic() - start < 1


def test_tls(tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server) as node:
        node.on("q", ROWS)
        node.on("cut", ROWS.cut(20))
        with _client(node, 5, ssl_context=tls.client) as client:
            client.query("q")
            assert client.receive().opcode == Opcode.RESULT
            client.query("cut")
            with pytest.raises(EOFError):
                client.receive()
        with pytest.raises(ssl.SSLCertVerificationError):
            RawClient((node.host, node.port), ssl_context=tls.stranger)
        node.wait_for(lambda n: not n.connections)
