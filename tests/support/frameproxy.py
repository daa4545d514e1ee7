"""A proxy of whole messages between a driver and a real node: rules say what becomes of each on its way.

Test support; imports nothing of geventcql. Messages are decoded both ways (v3 to v5, LZ4 too) and encoded again, in the
greenlets of their connection. Typical use:

    with FrameProxy((address, port)) as proxy:
        proxy.responses("SELECT v FROM t WHERE k = ?", drop, times=1)
        proxy.requests(Opcode.EXECUTE, forge(Error(ErrorCode.OVERLOADED)), times=2)
        proxy.responses(re.compile("INSERT"), cut(rst=True))
        proxy.requests(lambda request: request.consistency == 1, delay(0.5))

Later rules win over earlier ones; without a rule a message goes on. A rule for responses looks at the request that is
answered. The ids of prepared statements are known by their texts, of those that were prepared through any proxy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from . import wire
from .relay import Link, Relay
from .replies import Reply
from .requests import Request, decode_request
from .rules import Match, Matching
from .wire import Decoder, Envelope, Opcode, Reader

Action = Callable[["Frame"], object]

_PREPARED = 4


class Frame:
    """A message on its way. `request`: it, or the one that it answers (an EVENT: itself)."""

    def __init__(self, link: FrameLink, envelope: Envelope, request: Request) -> None:
        self.link = link
        self.envelope = envelope
        self.request = request
        self.segmented = link.segmented  # the answer to STARTUP may wait until the connection is, and is not

    def forward(self) -> None:
        """Send it on, now."""
        if not self.envelope.response:
            self.link.requested(self.request)
        self.link.send(self.raw(), self.envelope.response)

    def answer(self, reply: Reply) -> None:
        """Send the driver a reply to the request, now."""
        envelope = reply.envelope(self.request, self.envelope.version)
        self.link.send(self.link.encode(envelope, self.segmented), True)

    def raw(self) -> bytes:
        """The bytes that it goes on as."""
        return self.link.encode(self.envelope, self.segmented)


def content(envelope: Envelope) -> Reader:
    """The body of a response, behind what its flags announce."""
    reader = Reader(envelope.body)
    if envelope.flags & wire.FLAG_TRACING:
        reader.uuid_()
    if envelope.flags & wire.FLAG_WARNING:
        reader.string_list()
    if envelope.flags & wire.FLAG_CUSTOM_PAYLOAD:
        reader.bytes_map()
    return reader


class FrameRule(Matching):
    """One `proxy.requests(...)` or `proxy.responses(...)`. `hits`: how many messages it was for; `remove()` ends it."""

    def __init__(self, match: Match, action: Action, opcode: Opcode | None, times: int | None) -> None:
        super().__init__(match, opcode, times)
        self.action = action


# --- what may become of a message ------------------------------------------------------------------------------------


def forward(frame: Frame) -> None:
    """It goes on, whatever earlier rules say."""
    frame.forward()


def drop(frame: Frame) -> None:
    """It is lost."""


def delay(seconds: float) -> Action:
    """It goes on that much later; others overtake it."""
    return lambda frame: frame.link.spawn(_later, frame, partial(gevent.sleep, seconds))


def hold(gate: Event) -> Action:
    """It goes on once the event is set; others overtake it."""
    return lambda frame: frame.link.spawn(_later, frame, gate.wait)


def forge(reply: Reply | Callable[[Request], Reply]) -> Action:
    """The driver gets `reply`, or what it makes of the request: a request never reaches the node, a response is replaced."""
    return lambda frame: frame.answer(reply if isinstance(reply, Reply) else reply(frame.request))


def cut(at: int | None = None, rst: bool = False) -> Action:
    """Its first `at` bytes go on, half of it by default, and then the connection ends: towards the driver by FIN or RST."""

    def action(frame: Frame) -> None:
        raw = frame.raw()
        frame.link.send(raw[: len(raw) // 2 if at is None else at], frame.envelope.response)
        frame.link.cut(rst)

    return action


def duplicate(copies: int = 2) -> Action:
    """It goes on that many times."""

    def action(frame: Frame) -> None:
        for _ in range(copies):
            frame.forward()

    return action


def reorder(count: int, seed: int = 0) -> Action:
    """Each `count` of them wait for one another, and go on in an order drawn at random."""
    waiting: list[Frame] = []
    drawn = random.Random(seed)

    def action(frame: Frame) -> None:
        waiting.append(frame)
        if len(waiting) == count:
            together, waiting[:] = drawn.sample(waiting, count), []
            for each in together:
                each.forward()

    return action


def black_hole(frame: Frame) -> None:
    """From it on nothing goes on, either way, and the connection stays open."""
    frame.link.swallows = True


def _later(frame: Frame, wait: Callable[[], object]) -> None:
    wait()
    with suppress(OSError):  # the connection may have ended meanwhile
        frame.forward()


# --- the proxy -------------------------------------------------------------------------------------------------------


class FrameLink(Link):
    """One connection through a FrameProxy.

    Attributes, besides those of a Link: `swallows`, whether nothing goes on any more, though it is read (may be set);
    `requests`, those that the node has not answered, by their stream ids; `segmented`, as of v5 once it is set up.
    """

    def __init__(self, proxy: FrameProxy, client: Any, server: Any) -> None:
        super().__init__(proxy, client, server)
        self.swallows = False
        self.segmented = False
        self.requests: dict[int, Request] = {}
        self._proxy = proxy
        self._answers = Decoder()
        self._sending = {True: BoundedSemaphore(), False: BoundedSemaphore()}

    def from_client(self, data: bytes) -> None:
        self._relay.sent += len(data)
        self._decoder.feed(data)
        while (envelope := self._decoder.next()) is not None:
            self._note(envelope)
            request = decode_request(envelope)
            if request.opcode == Opcode.STARTUP:
                self._decoder.compression = self._answers.compression = request.options.get("COMPRESSION")
            self._proxy.resolve(request)
            self._take(self._proxy.request_rules, Frame(self, envelope, request))

    def from_server(self, data: bytes) -> None:
        self._relay.received += len(data)
        self._answers.feed(data)
        while (envelope := self._answers.next()) is not None:
            if envelope.opcode == Opcode.EVENT:
                request = Request(Opcode.EVENT, envelope.version, envelope.flags, envelope.stream, envelope.body)
            elif (found := self.requests.pop(envelope.stream, None)) is not None:
                request = found
            else:  # the second answer to a request that went on twice
                Frame(self, envelope, Request(Opcode.OPTIONS, envelope.version, 0, envelope.stream, b"")).forward()
                continue
            self._proxy.answered(request, envelope)
            frame = Frame(self, envelope, request)
            if envelope.version >= 5 and envelope.opcode in (Opcode.READY, Opcode.AUTHENTICATE):
                self.segmented = self._answers.segmented = True
            self._take(self._proxy.response_rules, frame)

    def requested(self, request: Request) -> None:
        """Note a request that goes on."""
        self.requests[request.stream] = request
        self._proxy.requested(request)

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        """A greenlet that ends with the proxy."""
        self._proxy.spawn(function, *args)

    def encode(self, envelope: Envelope, segmented: bool) -> bytes:
        """The bytes of a message: not compressed below v5, where each says for itself whether it is."""
        raw = wire.encode_envelope(replace(envelope, flags=envelope.flags & ~wire.FLAG_COMPRESSION))
        return b"".join(wire.encode_segments([raw], self._decoder.compression is not None)) if segmented else raw

    def send(self, raw: bytes, to_client: bool) -> None:
        """Send bytes to one of the ends."""
        if not self.swallows:
            with self._sending[to_client]:
                (self._client if to_client else self._server).sendall(raw)

    def _take(self, rules: list[FrameRule], frame: Frame) -> None:
        rules[:] = [rule for rule in rules if rule.active]
        rule = next((rule for rule in reversed(rules) if rule.matches(frame.request)), None)
        if rule is None:
            frame.forward()
        else:
            rule.hit()
            rule.action(frame)


class FrameProxy(Relay):
    """A Relay that takes messages apart and has rules for them. Its `links` are FrameLinks."""

    texts: ClassVar[dict[bytes, str]] = {}
    """The texts of prepared statements by their ids, which are digests of them: every node gives the same."""

    def __init__(self, target: tuple[str, int], address: str = "127.0.0.1", *, port: int = 0) -> None:
        super().__init__(target, address, port=port)
        self.request_rules: list[FrameRule] = []
        self.response_rules: list[FrameRule] = []

    def requests(self, match: Match, action: Action, *, opcode: Opcode | None = None, times: int | None = None) -> FrameRule:
        """Have `action` done to requests that match, `times` of them; later calls win over earlier ones.

        `match` and `opcode` are as of FakeNode.on: a text, a pattern, an Opcode, or a predicate of the Request.
        """
        self.request_rules.append(rule := FrameRule(match, action, opcode, times))
        return rule

    def responses(self, match: Match, action: Action, *, opcode: Opcode | None = None, times: int | None = None) -> FrameRule:
        """As `requests`, but to what answers such requests; Opcode.EVENT matches events."""
        self.response_rules.append(rule := FrameRule(match, action, opcode, times))
        return rule

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        """A greenlet that ends with the proxy."""
        self._group.spawn(function, *args)

    def resolve(self, request: Request) -> None:
        """Fill in the texts of prepared statements that are known."""
        if request.id is not None:
            request.text = self.texts.get(request.id)
        for entry in request.entries:
            if entry.id is not None:
                entry.text = self.texts.get(entry.id)

    def requested(self, request: Request) -> None:
        """Called with each request that goes on to the node."""

    def answered(self, request: Request, envelope: Envelope) -> None:
        """Called with each answer of the node, before rules are looked at: notes the id that it gives to a text."""
        if request.opcode == Opcode.PREPARE and envelope.opcode == Opcode.RESULT:
            reader = content(envelope)
            if reader.int_() == _PREPARED and request.text is not None:
                self.texts[reader.short_bytes()] = request.text

    def _link(self, client: Any, server: Any) -> Link:
        return FrameLink(self, client, server)
