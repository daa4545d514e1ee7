"""The frame proxy, between a client without driver and a fake node: what each rule does to messages, on every framing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import Event

from tests.support import wire
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Request, Rows, schema_event
from tests.support.frameproxy import (
    Action,
    FrameProxy,
    black_hole,
    cut,
    delay,
    drop,
    duplicate,
    forge,
    forward,
    hold,
    reorder,
)
from tests.support.rawclient import RawClient
from tests.support.wire import Envelope

FRAMINGS = [(3, None), (4, None), (4, "lz4"), (5, None), (5, "lz4")]
NOTHING = Envelope(0, 0, 0, 0, b"")


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode(compression=("lz4",)) as node:
        node.on(re.compile("^q"), lambda request, _: Rows([("v", "text")], [((request.text or "") * 100,)]))
        yield node


@pytest.fixture
def proxy(node: FakeNode) -> Iterator[FrameProxy]:
    with FrameProxy((node.host, node.port)) as proxy:
        yield proxy


@pytest.fixture(params=FRAMINGS, ids=lambda framing: f"v{framing[0]}-{framing[1]}")
def client(request: pytest.FixtureRequest, proxy: FrameProxy) -> Iterator[RawClient]:
    version, compression = request.param
    with RawClient(("127.0.0.1", proxy.port), version, compression=compression) as client:
        assert client.start().opcode == Opcode.READY
        yield client


@pytest.fixture
def v5(proxy: FrameProxy) -> Iterator[RawClient]:
    with RawClient(("127.0.0.1", proxy.port), 5) as client:
        assert client.start().opcode == Opcode.READY
        yield client


def ask(client: RawClient, *texts: str) -> None:
    for stream, text in enumerate(texts):
        client.query(text, stream)


def received(client: RawClient, seconds: float = 0.2) -> list[tuple[int, bytes]]:
    """What comes until nothing has come for a while: stream id and the last 3 bytes, which tell the text of the request."""
    found = []
    while (answer := gevent.with_timeout(seconds, client.receive, timeout_value=NOTHING)) is not NOTHING:
        found.append((answer.stream, answer.body[-3:]))
    return found


def test_messages_pass_as_they_are(client: RawClient, node: FakeNode, proxy: FrameProxy) -> None:
    ask(client, "q00", "q" * 100_000, "q02")
    answers = [client.receive() for _ in range(3)]
    assert [(each.stream, each.body[-3:]) for each in answers] == [(0, b"q00"), (1, b"qqq"), (2, b"q02")]
    assert len(answers[1].body) > 10_000_000
    assert node.violations == [] and proxy.opcodes == {Opcode.STARTUP: 1, Opcode.QUERY: 3} and proxy.accepted == 1


def test_a_request_or_its_response_is_dropped(client: RawClient, node: FakeNode, proxy: FrameProxy) -> None:
    rules = proxy.requests("q00", drop), proxy.responses("q01", drop, times=1)
    ask(client, "q00", "q01", "q02")
    assert received(client) == [(2, b"q02")]
    assert [request.text for request in node.queries] == ["q01", "q02"]
    assert [rule.hits for rule in rules] == [1, 1]
    ask(client, "q00")
    client.query("q01", 3)
    assert received(client) == [(3, b"q01")]
    rules[0].remove()
    client.query("q00", 4)
    assert received(client) == [(4, b"q00")]


@pytest.mark.parametrize("way", ["requests", "responses"])
def test_others_overtake_what_is_delayed(v5: RawClient, proxy: FrameProxy, way: str) -> None:
    gate = Event()
    rule = getattr(proxy, way)
    rule("q00", hold(gate))
    rule("q01", delay(0.02))
    ask(v5, "q00", "q01", "q02")
    assert [v5.receive().stream for _ in range(2)] == [2, 1]
    gate.set()
    assert v5.receive().stream == 0


def test_forged_errors(client: RawClient, node: FakeNode, proxy: FrameProxy) -> None:
    proxy.requests("q00", forge(Error(ErrorCode.OVERLOADED, "made up")))
    proxy.responses("q01", forge(lambda request: Error(ErrorCode.SERVER_ERROR, f"{request.text} too")))
    ask(client, "q00", "q01")
    answers = {answer.stream: answer for answer in (client.receive(), client.receive())}
    assert {answer.opcode for answer in answers.values()} == {Opcode.ERROR}
    assert b"made up" in answers[0].body and b"q01 too" in answers[1].body
    assert [request.text for request in node.queries] == ["q01"]


@pytest.mark.parametrize("rst", [False, True])
def test_cut_in_the_middle(client: RawClient, node: FakeNode, proxy: FrameProxy, rst: bool) -> None:
    proxy.responses("q00", cut(5, rst=rst))
    ask(client, "q00")
    if rst:
        with pytest.raises(ConnectionResetError):
            client.receive_bytes()
    else:
        assert len(client.receive_bytes()) == 5
    node.wait_for(lambda n: not n.connections)
    assert not proxy.links


def test_half_of_a_request(v5: RawClient, node: FakeNode, proxy: FrameProxy) -> None:
    before = node.connections[0].bytes_received
    connection = node.connections[0]
    proxy.requests("q00", cut())
    raw = v5.encode(Opcode.QUERY, wire.long_string("q00") + wire.short(1) + wire.int_(0))
    v5.sock.sendall(raw)
    assert v5.receive_bytes() == b"" and node.queries == []
    node.wait_for(lambda n: not n.connections)
    assert connection.bytes_received - before == len(raw) // 2


def test_duplicates(client: RawClient, node: FakeNode, proxy: FrameProxy) -> None:
    proxy.responses("q00", duplicate(3))
    ask(client, "q00")
    assert received(client) == [(0, b"q00")] * 3
    node.tolerate_violations = True  # it may see the same stream twice in flight
    proxy.requests("q01", duplicate())
    ask(client, "q01")
    assert received(client) == [(0, b"q01")] * 2


@pytest.mark.parametrize("way", ["requests", "responses"])
def test_another_order(v5: RawClient, proxy: FrameProxy, way: str) -> None:
    getattr(proxy, way)(re.compile("q"), reorder(5, seed=1))
    ask(v5, *(f"q{n:02}" for n in range(12)))
    order = [v5.receive().stream for _ in range(10)]
    assert received(v5) == []
    assert sorted(order[:5]) == list(range(5)) and sorted(order[5:]) == list(range(5, 10)) and order != list(range(10))


def test_a_black_hole(client: RawClient, node: FakeNode, proxy: FrameProxy) -> None:
    ask(client, "q00")
    assert received(client) == [(0, b"q00")]
    proxy.requests("q01", black_hole)
    ask(client, "q01", "q02")
    assert received(client) == [] and [request.text for request in node.queries] == ["q00"]
    [link] = proxy.links
    assert link.swallows
    with RawClient(("127.0.0.1", proxy.port)) as other:  # other connections are not concerned
        assert other.start().opcode == Opcode.READY
    link.swallows = False
    ask(client, "q03")
    assert received(client) == [(0, b"q03")]


def test_later_rules_win_and_passing_is_one(v5: RawClient, proxy: FrameProxy) -> None:
    proxy.responses(Opcode.QUERY, drop)
    proxy.responses(re.compile("q0[1-3]"), forward, times=2)
    ask(v5, "q00", "q01", "q02", "q03")
    assert received(v5) == [(1, b"q01"), (2, b"q02")]


def test_prepared_statements_are_known_by_their_texts(client: RawClient, node: FakeNode, proxy: FrameProxy) -> None:
    text = "SELECT v FROM t WHERE k = ?"
    node.prepare(text, [("k", "int")], [("v", "int")])
    client.send(Opcode.PREPARE, wire.long_string(text) + (wire.int_(0) if client.version >= 5 else b""))
    reader = wire.Reader(client.receive().body)
    assert reader.int_() == 4
    statement_id = reader.short_bytes()
    seen: list[Request] = []

    def noted(request: Request) -> bool:
        seen.append(request)
        return False

    proxy.requests(noted, drop)
    execute = wire.short_bytes(statement_id)
    if client.version >= 5:
        execute += wire.short_bytes(reader.short_bytes())
    flags = wire.int_(0) if client.version >= 5 else wire.byte(0)
    client.send(Opcode.EXECUTE, execute + wire.short(1) + flags)
    client.receive()
    entry = wire.byte(1) + wire.short_bytes(statement_id) + wire.short(0)
    client.send(Opcode.BATCH, wire.byte(0) + wire.short(1) + entry + wire.short(1) + flags)
    client.receive()
    assert [request.text for request in seen] == [text, None] and [each.text for each in seen[1].entries] == [text]
    assert proxy.prepared == {text: 1}


def test_events_are_responses_too(v5: RawClient, node: FakeNode, proxy: FrameProxy) -> None:
    v5.send(Opcode.REGISTER, wire.string_list(["SCHEMA_CHANGE"]))
    assert v5.receive().opcode == Opcode.READY
    proxy.responses(Opcode.EVENT, drop, times=1)
    for keyspace in ("a", "b"):
        node.push(schema_event("CREATED", "KEYSPACE", keyspace))
    event = v5.receive()
    assert event.opcode == Opcode.EVENT and event.body.endswith(b"\0\1b")


@pytest.mark.parametrize("action", [delay(0.05), hold(Event()), drop], ids=["delay", "hold", "drop"])
def test_what_waits_ends_with_the_proxy(node: FakeNode, action: Action) -> None:
    with FrameProxy((node.host, node.port)) as proxy, RawClient(("127.0.0.1", proxy.port)) as client:
        client.start()
        rule = proxy.responses("q00", action)
        ask(client, "q00")
        node.wait_for(lambda n: rule.hits)
    node.wait_for(lambda n: not n.connections)
