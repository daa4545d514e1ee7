"""Hundreds of greenlets on three nodes while everything goes wrong: nothing is lost, nothing done twice, nothing left behind.

It goes on for GEVENTCQL_SOAK_SECONDS, 60 by default; `make soak` has it go on for 600. GEVENTCQL_SOAK_SEED repeats what was
drawn.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gevent
import pytest

from geventcql.cluster import Cluster
from geventcql.policies import ExponentialReconnectionPolicy
from geventcql.testing import CassandraCluster
from tests.integration.faults import in_full_use, wait_until
from tests.integration.mishaps import MISHAPS, Mishaps
from tests.integration.relays import Relays
from tests.integration.soak import Books, Statements, TaggedProxy, Tags, Worker, make_tables
from tests.integration.support import DDL_TIMEOUT, connect
from tests.support.invariants import descriptors
from tests.support.memory import resident

SECONDS = float(os.environ.get("GEVENTCQL_SOAK_SECONDS", "60"))
SEED = int(os.environ.get("GEVENTCQL_SOAK_SEED", "0")) or random.randrange(1, 1 << 32)
GREENLETS = 300
CONNECTIONS = 2
GROWTH = 8.0  # MB, in the second half; what a process has at a moment goes up and down by some
MOST_TOLD = 0.5  # of all requests; more would mean that the load does not get through

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SECONDS + 600)]


class Sizes:
    """How large this process is, every other second: memory in MB, descriptors, greenlets.

    Garbage, and what malloc keeps for later, is not counted: connections that come and go, and the proxies that are part of
    this process, have malloc keep ever more.
    """

    def __init__(self) -> None:
        self.memory: list[float] = []
        self.most_descriptors = 0
        self.most_greenlets = 0

    def run(self) -> None:
        while True:
            self.memory.append(resident())
            self.most_descriptors = max(self.most_descriptors, len(descriptors()))
            self.most_greenlets = max(self.most_greenlets, greenlets())
            gevent.sleep(2)

    def growth(self) -> float:
        """From the middle of the time to its end: medians of a tenth each."""
        n = len(self.memory)
        middle, end = self.memory[n // 2 : n // 2 + n // 10 + 1], self.memory[-(n // 10) - 1 :]
        return statistics.median(end) - statistics.median(middle)


class Logged(logging.Handler):
    """Counts what the driver logs, by level and module."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[f"{record.levelname} {record.name}"] += 1


@pytest.fixture
def logged() -> Iterator[Counter[str]]:
    logger, handler = logging.getLogger("geventcql"), Logged()
    logger.addHandler(handler)
    yield handler.counts
    logger.removeHandler(handler)


def greenlets() -> int:
    return sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())


@pytest.fixture(scope="module")
def servers() -> Iterator[CassandraCluster]:
    """Whatever they acknowledge survives their being killed. They may take their time: the machine is busy."""
    yaml = {f"{kind}_request_timeout": "5s" for kind in ("read", "write", "counter_write")}
    yaml |= {"commitlog_sync": "group", "commitlog_sync_group_window": "15ms", "commitlog_sync_period": None}
    with CassandraCluster(3, heap="400m", yaml=yaml) as servers:
        yield servers


class Soak:
    """The Clusters, one for each protocol version, and the workers, half of them on each."""

    def __init__(self, clusters: list[Cluster], keyspace: str, tags: Tags) -> None:
        self.books = Books(GREENLETS, tags)
        self.sessions = [cluster.connect(wait_for_all_pools=True) for cluster in clusters]
        self._statements = [Statements(session, keyspace) for session in self.sessions]
        self._running: list[gevent.Greenlet] = []

    def all_well(self) -> bool:
        """Whether every host has all its connections, and none is doubted."""
        return all(
            in_full_use(session, pool.host.address, CONNECTIONS)
            for session in self.sessions
            for pool in session.get_pools()
        ) and all(len(session.get_pools()) == 3 and session.cluster._control.connection for session in self.sessions)

    @contextmanager
    def working(self) -> Iterator[None]:
        self._running = [self._spawn(n, 0) for n in range(GREENLETS)]
        try:
            yield
        finally:
            gevent.killall(self._running, timeout=30)
            for greenlet in self._running:
                greenlet.get()

    def replace(self, drawn: int) -> None:
        """Kill a worker and have another one go on with what it had."""
        number = drawn % GREENLETS
        self._running[number].kill()
        self._running[number].get()
        self._running[number] = self._spawn(number, drawn)

    def failed(self) -> bool:
        return any(greenlet.ready() and greenlet.exception is not None for greenlet in self._running)

    def _spawn(self, number: int, drawn: int) -> gevent.Greenlet:
        return gevent.spawn(Worker(number, self._statements[number % 2], self.books, SEED + drawn).run)


def report(soak: Soak, mishaps: Mishaps, sizes: Sizes, logged: Counter[str]) -> None:
    books, memory = soak.books, sizes.memory
    print(f"\nsoak of {SECONDS:g} s, GEVENTCQL_SOAK_SEED={SEED}")
    print(f"answers: {books.done.total()} {dict(books.done)}")
    print(f"errors: {books.told.total()} {dict(books.told)}; gave up: {books.gave_up}; new texts: {books.texts}")
    print(f"mishaps: {mishaps.made.total()} {dict(mishaps.made)}")
    print(f"added to counters: {books.tally.acked.total()}, perhaps: {books.tally.unknown.total()}")
    print(f"logged: {dict(logged)}")
    quarters = [round(memory[(len(memory) - 1) * n // 4], 1) for n in range(5)]
    print(f"memory at each quarter: {quarters} MB, growth in the second half {sizes.growth():.1f} MB")
    print(f"at most {sizes.most_descriptors} descriptors, {sizes.most_greenlets} greenlets")


def test_soak(servers: CassandraCluster, logged: Counter[str]) -> None:
    options: dict[str, Any] = {
        "connections_per_host": CONNECTIONS,
        "reconnection_policy": ExponentialReconnectionPolicy(1, 10),
        "idle_heartbeat_interval": 2,
        "idle_heartbeat_timeout": 4,
        "max_schema_agreement_wait": DDL_TIMEOUT,
        "prepared_cache_size": 100,  # full soon: what grows behind that is not to grow
    }
    tags = Tags()
    with (
        Relays(servers.contact_points, servers.port, partial(TaggedProxy, tags)) as proxies,
        connect(proxies, 4, address_translator=proxies, **options) as four,
        connect(proxies, 5, address_translator=proxies, **options) as five,
    ):
        make_tables(four.connect(), "soak")
        soak = Soak([four, five], "soak", tags)
        wait_until(soak.all_well, 30)
        before = len(descriptors()), greenlets()
        sizes = Sizes()
        measuring = gevent.spawn(sizes.run)
        try:
            with soak.working(), Mishaps(servers, proxies, soak.replace, soak.all_well, SEED) as mishaps:
                end = time.monotonic() + SECONDS
                while time.monotonic() < end and not soak.failed():
                    gevent.sleep(0.5)
        finally:
            measuring.kill()
        report(soak, mishaps, sizes, logged)
        wait_until(soak.all_well, 60)
        soak.books.check(soak.sessions[1], "soak")
        wait_until(lambda: (len(descriptors()), greenlets()) == before, 30)
        books = soak.books
        assert books.told.total() < MOST_TOLD * books.done.total()
        assert all(books.done[kind] for kind in ("read", "write", "count", "batch", "count_batch", "pages", "prepare", "swap"))
        assert all(mishaps.made[kind] for kind in ("node killed", "node silent", "worker killed"))
        assert sum(mishaps.made[kind] > 0 for kind in MISHAPS) > len(MISHAPS) * (0.5 if SECONDS < 600 else 0.9)
        assert not any(line.startswith(("ERROR", "CRITICAL")) for line in logged)
        assert sizes.growth() < GROWTH
