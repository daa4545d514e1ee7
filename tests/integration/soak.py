"""A load of every kind of statement that keeps books: what was acknowledged, and of what that is not known. Test support.

Each worker has keys of its own and writes ever higher values to them, one after the other. So a read must give the value that
was acknowledged last, or one of those after it whose writes ended with an error. Counters are everybody's; they must be
neither below what was acknowledged, nor above that and what ended with an error together. What may not be executed twice
carries a tag, by which the proxies tell how often it went to a node.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import gevent
from gevent.pool import Pool

from geventcql import ConsistencyLevel
from geventcql.errors import ConnectionException as Lost
from geventcql.errors import DriverException, ErrorMessage, NoHostAvailable
from geventcql.query import BatchStatement, BatchType, SimpleStatement
from geventcql.session import Session
from tests.integration.support import DDL_TIMEOUT
from tests.support.frameproxy import FrameProxy, content
from tests.support.replies import ErrorCode
from tests.support.requests import Request
from tests.support.wire import Envelope, Opcode

T = TypeVar("T")

KEYS_EACH = 4
COUNTERS = 50
PARTITIONS = 20
ROWS = 200
PAGE = 37
PACE = 0.5  # the mean pause between a worker's requests: nodes that start are to find some room on the machine
REFUSALS = (ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED, ErrorCode.IS_BOOTSTRAPPING, ErrorCode.UNPREPARED)
TOLD = (DriverException, ErrorMessage, Lost, NoHostAvailable)
"""What an application may be told; anything else ends a worker, and the test."""


class Register:
    """What is known of one value that one worker writes. `acked` is 0 as long as there is none."""

    __slots__ = ("acked", "issued", "key", "open")

    def __init__(self, key: int) -> None:
        self.key = key
        self.issued = 0
        self.acked = 0
        self.open: set[int] = set()
        """Values behind `acked` whose writes may have been, or may still be, applied."""

    def issue(self) -> int:
        self.issued += 1
        self.open.add(self.issued)
        return self.issued

    def settle(self, value: int) -> None:
        """It has been acknowledged, or seen where nothing earlier can come any more."""
        self.acked = value
        self.open = {other for other in self.open if other > value}

    def check(self, value: int | None) -> None:
        """A value that was read, None for no row."""
        found = value or 0
        assert found == self.acked or found in self.open, (
            f"key {self.key} has {found}; {self.acked} was acknowledged, and of {sorted(self.open)} nothing is known"
        )


class Tally:
    """How often a counter was added to: for sure, and perhaps."""

    def __init__(self) -> None:
        self.acked: Counter[int] = Counter()
        self.unknown: Counter[int] = Counter()

    @contextmanager
    def adding(self, *keys: int) -> Iterator[None]:
        try:
            yield
        except BaseException:  # a kill and a Timeout too
            self.unknown.update(keys)
            raise
        self.acked.update(keys)

    def check(self, values: dict[int, int]) -> None:
        for key in range(COUNTERS):
            value, least = values.get(key, 0), self.acked[key]
            assert least <= value <= least + self.unknown[key], (
                f"counter {key} is {value}; {least} were acknowledged, of {self.unknown[key]} nothing is known"
            )


class Tags:
    """Which requests that may be executed only once went on to a node, by a tag that each carries as its payload.

    They are counted to the end: whoever gave up does not see what is sent behind that.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._sent: Counter[bytes] = Counter()

    def payload(self) -> dict[str, bytes]:
        """That of another request."""
        return {"tag": b"%d" % next(self._numbers)}

    def check(self) -> None:
        """None may have been executed twice."""
        twice = {tag: times for tag, times in self._sent.items() if times > 1}
        assert self._sent and not twice, f"sent to nodes more than once, though none had refused them: {twice}"

    def sent(self, request: Request, times: int) -> None:
        if request.payload is not None and (tag := request.payload.get("tag")) is not None:
            self._sent[tag] += times


class TaggedProxy(FrameProxy):
    """Notes the tags of what goes on to its node, and of what the node refuses to execute."""

    def __init__(self, tags: Tags, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tags = tags

    def requested(self, request: Request) -> None:
        self._tags.sent(request, 1)

    def answered(self, request: Request, envelope: Envelope) -> None:
        super().answered(request, envelope)
        if envelope.opcode == Opcode.ERROR and content(envelope).int_() in REFUSALS:
            self._tags.sent(request, -1)


class Books:
    """What all workers know together, beyond their own lives. `done` and `told`: answers and errors by kind."""

    def __init__(self, workers: int, tags: Tags) -> None:
        self.tags = tags
        self.registers = [[Register(n * KEYS_EACH + i) for i in range(KEYS_EACH)] for n in range(workers)]
        self.conditional = [Register(n) for n in range(workers)]
        self.tally = Tally()
        self.done: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.gave_up = 0
        self.texts = 0

    def check(self, session: Session, keyspace: str) -> None:
        """Read all of it back, from all replicas."""
        self.tags.check()

        def read(text: str, level: int) -> dict[int, Any]:
            statement = SimpleStatement(text, consistency_level=level)
            return dict(persistently(lambda: session.execute(statement, timeout=DDL_TIMEOUT).all()))

        def check_conditional(register: Register) -> None:
            text = f"SELECT k, v FROM {keyspace}.l WHERE k = {register.key}"
            register.check(read(text, ConsistencyLevel.SERIAL).get(register.key))

        values = read(f"SELECT k, v FROM {keyspace}.t", ConsistencyLevel.ALL)
        for register in (each for own in self.registers for each in own):
            register.check(values.get(register.key))
        for _ in Pool(20).imap_unordered(check_conditional, self.conditional):
            pass
        self.tally.check(read(f"SELECT k, n FROM {keyspace}.c", ConsistencyLevel.ALL))


def persistently(ask: Callable[[], T], seconds: float = 120.0) -> T:
    """What it returns when it does not raise what nodes and driver may tell: nodes that have just started are slow."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except TOLD:
            if time.monotonic() > end:
                raise
        gevent.sleep(0.5)


def make_tables(session: Session, keyspace: str) -> None:
    """The keyspace with three copies of everything: values, counters, conditional values, and rows to page through."""
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 3}"
    session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {replication}", timeout=DDL_TIMEOUT)
    for table in (
        "t (k int PRIMARY KEY, v int)",
        "c (k int PRIMARY KEY, n counter)",
        "l (k int PRIMARY KEY, v int)",
        "p (k int, i int, v text, PRIMARY KEY (k, i))",
    ):
        session.execute(f"CREATE TABLE {keyspace}.{table}", timeout=DDL_TIMEOUT)
    insert = session.prepare(f"INSERT INTO {keyspace}.p (k, i, v) VALUES (?, ?, ?)")
    for k in range(PARTITIONS):
        for i in range(0, ROWS, 50):
            batch = BatchStatement(BatchType.UNLOGGED, consistency_level=ConsistencyLevel.ALL)
            batch.add_all([insert] * 50, [(k, j, f"{k}:{j}") for j in range(i, i + 50)])
            persistently(lambda batch=batch: session.execute(batch))


class Statements:
    """The statements of a Session, for all its workers."""

    def __init__(self, session: Session, keyspace: str) -> None:
        self.session = session
        self.keyspace = keyspace

        def prepare(text: str, idempotent: bool = True) -> Any:
            statement = session.prepare(text.replace(" @", f" {keyspace}."))
            statement.consistency_level = ConsistencyLevel.QUORUM
            statement.is_idempotent = idempotent
            return statement

        self.insert = prepare("INSERT INTO @t (k, v) VALUES (?, ?)")
        self.select = prepare("SELECT v FROM @t WHERE k = ?")
        self.add = prepare("UPDATE @c SET n = n + 1 WHERE k = ?", idempotent=False)
        self.create = prepare("INSERT INTO @l (k, v) VALUES (?, ?) IF NOT EXISTS", idempotent=False)
        self.swap = prepare("UPDATE @l SET v = ? WHERE k = ? IF v = ?", idempotent=False)
        self.page = prepare("SELECT i, v FROM @p WHERE k = ?")
        self.page.fetch_size = PAGE

    def new(self, number: int) -> Any:
        """A statement that was never prepared before, and does what `select` does."""
        statement = self.session.prepare(f"SELECT v FROM {self.keyspace}.t WHERE k = ? LIMIT {number}")
        statement.consistency_level = ConsistencyLevel.QUORUM
        statement.is_idempotent = True
        return statement


class Worker:
    """Executes one statement after the other, of a kind drawn at random, until it is killed."""

    def __init__(self, number: int, statements: Statements, books: Books, seed: int) -> None:
        self._session = statements.session
        self._statements = statements
        self._books = books
        self._own = books.registers[number]
        self._conditional = books.conditional[number]
        self._drawn = random.Random(f"{seed}:{number}")
        self._kinds: dict[Callable[[], None], int] = {
            self.read: 30,
            self.write: 25,
            self.count: 20,
            self.batch: 6,
            self.count_batch: 4,
            self.pages: 6,
            self.prepare: 3,
            self.swap: 6,
        }

    def run(self) -> None:
        choices, weights = list(self._kinds), list(self._kinds.values())
        while True:
            gevent.sleep(2 * PACE * self._drawn.random())
            [act] = self._drawn.choices(choices, weights)
            patience = 0.02 * self._drawn.random() if self._drawn.random() < 0.05 else None
            try:
                with gevent.Timeout(patience):
                    act()
            except TOLD as error:
                self._books.told[type(error).__name__] += 1
            except gevent.Timeout:
                self._books.gave_up += 1
            else:
                self._books.done[act.__name__] += 1

    def read(self) -> None:
        self._read(self._statements.select)

    def prepare(self) -> None:
        self._books.texts += 1
        self._read(self._statements.new(self._books.texts))

    def _read(self, statement: Any) -> None:
        register = self._drawn.choice(self._own)
        row = self._session.execute(statement, (register.key,)).one()
        register.check(row.v if row else None)

    def write(self) -> None:
        register = self._drawn.choice(self._own)
        value = register.issue()
        self._session.execute(self._statements.insert, (register.key, value))
        register.settle(value)

    def batch(self) -> None:
        """Two values at once."""
        kind = self._drawn.choice([BatchType.LOGGED, BatchType.UNLOGGED])
        batch = BatchStatement(kind, consistency_level=ConsistencyLevel.QUORUM)
        batch.is_idempotent = True
        values = [(register, register.issue()) for register in self._drawn.sample(self._own, 2)]
        for register, value in values:
            batch.add(self._statements.insert, (register.key, value))
        self._session.execute(batch)
        for register, value in values:
            register.settle(value)

    def count(self) -> None:
        key = self._drawn.randrange(COUNTERS)
        with self._books.tally.adding(key):
            self._session.execute(self._statements.add, (key,), custom_payload=self._books.tags.payload())

    def count_batch(self) -> None:
        keys = self._drawn.sample(range(COUNTERS), 3)
        batch = BatchStatement(BatchType.COUNTER, consistency_level=ConsistencyLevel.QUORUM)
        for key in keys:
            batch.add(self._statements.add, (key,))
        with self._books.tally.adding(*keys):
            self._session.execute(batch, custom_payload=self._books.tags.payload())

    def pages(self) -> None:
        key = self._drawn.randrange(PARTITIONS)
        rows = list(self._session.execute(self._statements.page, (key,)))
        assert [tuple(row) for row in rows] == [(i, f"{key}:{i}") for i in range(ROWS)]

    def swap(self) -> None:
        """A conditional write of the next value. If refused it tells which value there is; none earlier comes any more."""
        register = self._conditional
        value = register.issue()
        statement, values = self._statements.create, (register.key, value)
        if register.acked:
            statement, values = self._statements.swap, (value, register.key, register.acked)
        result = self._session.execute(statement, values, custom_payload=self._books.tags.payload())
        if result.was_applied:
            register.settle(value)
        else:
            found = result.one().v
            assert found != value
            register.check(found)
            register.settle(found)
        register.open.clear()
