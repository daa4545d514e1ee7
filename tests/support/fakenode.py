"""A fake Cassandra node in the test's own process: scripted replies over protocol v3, v4 and v5, with faults.

Test support; imports nothing of geventcql, and its codec is its own. Everything runs in gevent greenlets of the hub
that started the node. Typical use:

    with FakeNode() as node:
        node.on("SELECT v FROM t", rows=[("v", "int")], data=[(1,), (2,)])
        node.on("SELECT v FROM t WHERE k = ?", rows=[("v", "int")], data=[(1,)], binds=[("k", "int")], pk_indexes=[0])
        node.on(re.compile("INSERT"), Error(ErrorCode.OVERLOADED).after(0.1))
        node.on(Opcode.EXECUTE, lambda request, connection: Rows([("v", "int")], [(request.params[0],)]))

Later rules win over earlier ones. Without a rule: system tables, USE, DDL and DML are answered as a node would, PREPARE
by what was declared, EXECUTE of an unknown id with UNPREPARED, any other SELECT with an error that names the text.
When the `with` block ends, the first failed handler or protocol violation of the client is raised.
"""

from __future__ import annotations

import itertools
import ssl
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import gevent
from gevent import socket
from gevent.event import Event
from gevent.pool import Group

from .handlers import in_turn, paged
from .replies import (
    NEVER,
    AuthChallenge,
    Authenticate,
    AuthSuccess,
    Close,
    Column,
    Error,
    ErrorCode,
    Handler,
    Message,
    Prepared,
    PushedEvent,
    Raw,
    Ready,
    Reply,
    Rows,
    SchemaChange,
    SetKeyspace,
    Supported,
    Void,
    schema_event,
    status_change,
    topology_change,
)
from .requests import BatchEntry, Request, Statement
from .rules import Answer, Match, Rule, Statements, default_answer, normal
from .server_connection import ServerConnection
from .system import NodeInfo, SystemTables
from .values import Type, custom, parse, udt
from .wire import MAX_SEGMENT_PAYLOAD, UNSET, Opcode

__all__ = [
    "NEVER",
    "UNSET",
    "AuthChallenge",
    "AuthSuccess",
    "Authenticate",
    "BatchEntry",
    "Close",
    "Error",
    "ErrorCode",
    "FakeNode",
    "Message",
    "NodeInfo",
    "Opcode",
    "Prepared",
    "PushedEvent",
    "Raw",
    "Ready",
    "Reply",
    "Request",
    "Rows",
    "Rule",
    "SchemaChange",
    "ServerConnection",
    "SetKeyspace",
    "Statement",
    "Supported",
    "Type",
    "Void",
    "custom",
    "in_turn",
    "paged",
    "schema_event",
    "status_change",
    "topology_change",
    "udt",
]

T = TypeVar("T")
Auth = Mapping[str, str] | Handler

_host_ids = itertools.count(1)


class FakeNode:
    """A node that listens on `host`:`port` (0: any free port) from `start()` or `with` on.

    `versions`: the protocol versions it speaks; `beta_versions`: those it knows but calls beta (3.11 does so with v5).
    `compression`: what SUPPORTED offers, of 'lz4' and 'snappy'. `ssl_context`: for TLS. `auth`: {user: password}, or a
    handler that answers each AUTH_RESPONSE. `mute`: accept, read and never answer (may be changed at any time).
    `max_segment`: v5 payload bytes per segment sent. `send_chunk`: everything leaves in pieces of that many bytes,
    below TLS. `receive_buffer`: SO_RCVBUF of its connections, bytes. `record`: keep every request in `requests`.
    `info`: what the system tables say of it.

    Attributes for tests: `accept_delay`, seconds that it takes to accept each connection, one after the other (0, may be
    changed at any time), `port`, `requests`, `connections` (open ones), `accepted` (all that ever were, a number),
    `violations`, `errors` (of handlers), `system`, `statements`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        versions: Sequence[int] = (3, 4, 5),
        beta_versions: Sequence[int] = (),
        compression: Sequence[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        auth: Auth | None = None,
        mute: bool = False,
        max_segment: int = MAX_SEGMENT_PAYLOAD,
        send_chunk: int | None = None,
        receive_buffer: int | None = None,
        record: bool = True,
        info: NodeInfo | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.versions = tuple(versions)
        self.beta_versions = tuple(beta_versions)
        self.compression = tuple(compression)
        self.ssl_context = ssl_context
        self.auth = auth
        self.mute = mute
        self.accept_delay = 0.0
        self.max_segment = max_segment
        self.send_chunk = send_chunk
        self.receive_buffer = receive_buffer
        self.record = record
        self.system = SystemTables(info or NodeInfo(host, port, uuid.UUID(int=next(_host_ids))))
        self.statements = Statements()
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self.connections: list[ServerConnection] = []
        self.accepted = 0
        self.violations: list[str] = []
        self.tolerate_violations = False
        self.errors: list[Exception] = []
        self.running = Event()
        self.running.set()
        self._counts: Counter[Opcode] = Counter()
        self._group = Group()
        self._listener: socket.socket | None = None

    def __repr__(self) -> str:
        state = "listening" if self._listener else "not listening"
        return f"<FakeNode {self.host}:{self.port} {state} connections {len(self.connections)} {dict(self._counts)}>"

    # --- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> FakeNode:
        self.start()
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        self.stop()
        if exc is None:
            self.check()

    def start(self) -> None:
        """Listen (again); connections are accepted from the next turn of the hub on."""
        self.listen()
        self.running.set()

    def stop(self) -> None:
        """Close the listener and every connection and end all greenlets, except one that calls this from a handler."""
        self.refuse()
        current = gevent.getcurrent()
        if current in self._group:
            self._group.discard(current)
        self._group.kill()
        for connection in list(self.connections):
            connection.close()

    def check(self) -> None:
        """Raise what went wrong so far: an error of a handler, or AssertionError for violations of the protocol."""
        if self.errors:
            raise self.errors[0]
        if self.violations and not self.tolerate_violations:
            raise AssertionError(f"the client violated the protocol: {self.violations}")

    def listen(self) -> None:
        """Accept connections."""
        if self._listener is not None:
            return
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.receive_buffer is not None:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
            listener.bind((self.host, self.port))
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self.port = listener.getsockname()[1]
        self.system.local.port = self.port
        self.spawn(self._accept_loop, listener)

    def refuse(self) -> None:
        """Stop listening: new connections are refused, open ones stay."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.close()

    def pause(self) -> None:
        """Read, accept and send nothing until `resume`, as under SIGSTOP (the kernel still completes TCP connects)."""
        self.running.clear()

    def resume(self) -> None:
        self.running.set()

    def drop_connections(self, rst: bool = False) -> None:
        """Close every open connection at once."""
        for connection in list(self.connections):
            connection.close(rst)

    # --- scripting ---------------------------------------------------------------------------------------------------

    def on(
        self,
        match: Match,
        answer: Answer = NEVER,
        *,
        rows: Sequence[Column] | None = None,
        data: Iterable[Sequence[Any]] = (),
        binds: Sequence[Column] | None = None,
        pk_indexes: Sequence[int] = (),
        opcode: Opcode | None = None,
        times: int | None = None,
    ) -> Rule:
        """Answer requests that match; later calls win over earlier ones.

        `match`: a text (compared without regard to white space), a pattern to search for, an Opcode, or a predicate of
        the Request. `answer`: a Reply, several, a handler, or NEVER; without one, `rows` and `data` stand for
        Rows(rows, data). `binds`, `rows` and `pk_indexes` declare the text for PREPARE too (as `prepare` does; a text
        without bind markers needs no declaration if its answer is a Reply). `opcode` restricts a text to that kind of
        request (default QUERY and EXECUTE). `times`: how many requests it answers before it ends.
        """
        if rows is not None and answer is NEVER:
            answer = Rows(rows, data)
        if isinstance(match, str) and binds is not None:
            self.prepare(match, binds, rows, pk_indexes)
        rule = Rule(match, answer, opcode, times)
        self.rules.append(rule)
        return rule

    def prepare(
        self,
        text: str,
        binds: Sequence[Column] = (),
        columns: Sequence[Column] | None = None,
        pk_indexes: Sequence[int] = (),
        *,
        keyspace: str = "ks",
        table: str = "t",
    ) -> Statement:
        """Declare a statement for PREPARE: bind markers, result columns, positions of the partition key's markers.

        Declared again, it changes for those who hold its id already, as after an ALTER TABLE.
        """
        statement = Statement(
            text,
            [(name, parse(t)) for name, t in binds],
            None if columns is None else [(name, parse(t)) for name, t in columns],
            list(pk_indexes),
            keyspace,
            table,
        )
        self.statements.declare(statement)
        return statement

    def unprepare_all(self) -> None:
        """Forget every prepared id, as a restart does; declarations stay."""
        self.statements.by_id.clear()

    def push(self, event: PushedEvent) -> int:
        """Send an event to the connections that registered for its kind; their number."""
        targets = [connection for connection in self.connections if event.kind in connection.registered]
        for connection in targets:
            connection.push(event)
        return len(targets)

    # --- observing ---------------------------------------------------------------------------------------------------

    @property
    def queries(self) -> list[Request]:
        """The QUERY, EXECUTE and BATCH requests so far, without those that read system tables."""
        return [
            request
            for request in self.requests
            if request.opcode in (Opcode.QUERY, Opcode.EXECUTE, Opcode.BATCH) and not _is_system(request)
        ]

    def count(self, what: Opcode | str) -> int:
        """How many requests of an opcode, or with a text (QUERY and EXECUTE), have arrived."""
        if isinstance(what, Opcode):
            return self._counts[what]
        text = normal(what)
        return sum(
            request.text is not None and normal(request.text) == text
            for request in self.requests
            if request.opcode in (Opcode.QUERY, Opcode.EXECUTE)
        )

    def wait_for(self, predicate: Callable[[FakeNode], T], timeout: float = 5.0) -> T:
        """Wait until predicate(node) is true and return its value; AssertionError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not (value := predicate(self)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen within {timeout} s by {self!r}; last requests {self.requests[-5:]}")
            gevent.sleep(0.002)
        return value

    # --- what connections call ---------------------------------------------------------------------------------------

    def spawn(self, function: Callable[..., object], *args: Any) -> gevent.Greenlet:
        """A greenlet that ends with the node."""
        return self._group.spawn(function, *args)

    def violation(self, text: str) -> None:
        """Note something that a correct client does not do."""
        self.violations.append(text)

    def failed(self, error: Exception) -> None:
        """Note an error of a handler or of a canned reply."""
        self.errors.append(error)

    def connection_ended(self, connection: ServerConnection) -> None:
        """Forget an open connection."""
        self.connections.remove(connection)

    def supported_compression(self, version: int) -> Sequence[str]:
        """v5 knows no snappy."""
        return [name for name in self.compression if version < 5 or name == "lz4"]

    def received(self, request: Request, connection: ServerConnection) -> Reply | Sequence[Reply] | None:
        """The replies to a request."""
        self._counts[request.opcode] += 1
        if self.record:
            self.requests.append(request)
        unknown = self.statements.resolve(request)
        if self.mute:
            return NEVER
        if unknown is not None:
            return unknown
        try:
            rule = self._rule_for(request)
            return rule.apply(request, connection) if rule else self._answer(request, connection)
        except Exception as e:  # a handler is the test's code: shown when the node ends, the client gets an answer
            self.failed(e)
            return Error(ErrorCode.SERVER_ERROR, f"fake node: {e!r}")

    def _accept_loop(self, listener: socket.socket) -> None:
        while True:
            self.running.wait()
            try:
                sock, address = listener.accept()
            except OSError:
                if self._listener is not listener:
                    return
                raise
            try:
                gevent.sleep(self.accept_delay)
                self.running.wait()
            except BaseException:  # the node is stopped
                sock.close()
                raise
            self.accepted += 1
            connection = ServerConnection(self, sock, address)
            self.connections.append(connection)
            self.spawn(connection.run)

    def _rule_for(self, request: Request) -> Rule | None:
        self.rules = [rule for rule in self.rules if rule.active]
        return next((rule for rule in reversed(self.rules) if rule.matches(request)), None)

    def _answer(self, request: Request, connection: ServerConnection) -> Reply | Sequence[Reply] | None:
        opcode = request.opcode
        if opcode == Opcode.OPTIONS:
            known = sorted({*self.versions, *self.beta_versions})
            names = [f"{v}/v{v}" + ("-beta" if v in self.beta_versions else "") for v in known]
            options = {"CQL_VERSION": ["3.4.7"], "COMPRESSION": self.compression, "PROTOCOL_VERSIONS": names}
            return Supported(options)
        if opcode == Opcode.STARTUP:
            return Authenticate() if self.auth is not None else Ready()
        if opcode == Opcode.AUTH_RESPONSE:
            return self._authenticate(request, connection)
        if opcode == Opcode.REGISTER:
            connection.registered.update(request.events)
            return Ready()
        if opcode == Opcode.PREPARE:
            return self.statements.prepare(request, self._sample)
        return self.system.answer(request.text or "", max(self.versions)) or default_answer(request)

    def _sample(self, request: Request) -> Reply | None:
        """What executing the text of a PREPARE would be answered: it tells the result's columns."""
        execute = Request(Opcode.EXECUTE, request.version, 0, request.stream, b"", request.connection, request.text)
        rule = self._rule_for(execute)
        if rule is None:
            return self.system.answer(request.text or "", max(self.versions)) or default_answer(execute)
        return rule.answer if isinstance(rule.answer, Reply) else None

    def _authenticate(self, request: Request, connection: ServerConnection) -> Reply | Sequence[Reply] | None:
        if callable(self.auth):
            return self.auth(request, connection)
        _, _, credentials = (request.token or b"").decode().partition("\0")
        user, _, password = credentials.partition("\0")
        if (self.auth or {}).get(user) != password:
            return Error(ErrorCode.BAD_CREDENTIALS, "Provided username and/or password are incorrect")
        connection.user = user
        return AuthSuccess()


def _is_system(request: Request) -> bool:
    return request.text is not None and " from system" in normal(request.text).lower()
