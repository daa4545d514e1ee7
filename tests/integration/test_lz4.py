"""Compression, both ways, with requests and results of all sizes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from geventcql.cluster import Cluster
from geventcql.query import BatchStatement, BatchType, SimpleStatement
from geventcql.session import Session
from tests.integration.support import DDL_TIMEOUT, connect
from tests.support.relay import Relay

pytest_plugins = "tests.integration.fixtures"

KINDS = pytest.mark.parametrize(("version", "kind"), [(3, "lz4"), (4, "lz4"), (5, "lz4"), (4, "snappy"), (4, True), (5, True)])
# Around the ends of segments (131,071 bytes of payload) and up to what the server takes at once (4 MiB).
SIZES = [0, 1, 15, 300, 4096, 65_535, 130_900, 131_000, 131_071, 131_072, 262_142, 400_000, 1_000_000, 4_000_000]
NOISE = random.Random(5).randbytes(max(SIZES))


@pytest.fixture(scope="module")
def table(sessions: dict[int, Session], ks: str) -> str:
    name = f"{ks}.packed"
    sessions[5].execute(f"CREATE TABLE {name} (k int, c int, v blob, PRIMARY KEY (k, c))", timeout=DDL_TIMEOUT)
    return name


def blobs() -> list[bytes]:
    """Blobs of each size: such that cannot be compressed, that can very well, and halves of both."""
    return [made for n in SIZES for made in (NOISE[:n], bytes(n), NOISE[: n // 2] + b"ab" * (n // 4))]


@KINDS
def test_values_of_all_sizes(cassandra: Any, table: str, version: int, kind: str | bool) -> None:
    with connect(cassandra, version, compression=kind) as cluster:
        session = cluster.connect()
        (connection,) = session.get_pools()[0].connections
        assert connection.compression == ("lz4" if kind is True else kind)
        insert = session.prepare(f"INSERT INTO {table} (k, c, v) VALUES (?, ?, ?)")
        select = session.prepare(f"SELECT v FROM {table} WHERE k = ? AND c = ?")
        for c, blob in enumerate(blobs()):
            session.execute(insert, (version, c, blob))
            assert session.execute(select, (version, c)).one().v == blob


@KINDS
def test_pages_and_batches(cassandra: Any, table: str, version: int, kind: str | bool) -> None:
    k = 100 + version
    with connect(cassandra, version, compression=kind) as cluster:
        session = cluster.connect()
        insert = session.prepare(f"INSERT INTO {table} (k, c, v) VALUES (?, ?, ?)")
        expected = [(c, (b"row %d " % c) * (c % 60)) for c in range(2000)]
        for start in range(0, len(expected), 500):
            batch = BatchStatement(BatchType.UNLOGGED)
            for c, v in expected[start : start + 500]:
                batch.add(insert, (k, c, v))
            session.execute(batch)
        query = f"SELECT c, v FROM {table} WHERE k = {k}"
        for page_size in (11, 700, 5000):
            assert list(session.execute(SimpleStatement(query, fetch_size=page_size))) == expected
        text = "x" * 60_000
        assert session.execute(SimpleStatement(f"SELECT c FROM {table} WHERE k = {k} AND c = 1 /* {text} */")).one() == (1,)


@pytest.mark.parametrize(("version", "kind"), [(4, "lz4"), (5, "lz4"), (4, "snappy")])
def test_fewer_bytes_both_ways(cassandra: Any, table: str, version: int, kind: str) -> None:
    size = 1_000_000
    target = (cassandra.contact_points[0], cassandra.port)
    options: dict[str, Any] = {"protocol_version": version, "compression": kind}
    with Relay(target) as relay, Cluster(["127.0.0.1"], port=relay.port, **options) as cluster:
        session = cluster.connect()
        insert = session.prepare(f"INSERT INTO {table} (k, c, v) VALUES (?, 0, ?)")
        select = session.prepare(f"SELECT v FROM {table} WHERE k = ?")
        counts = []
        for blob in (b"compress " * (size // 9), NOISE[:size]):
            before = relay.sent, relay.received
            session.execute(insert, (200 + version, blob))
            assert session.execute(select, [200 + version]).one().v == blob
            counts.append((relay.sent - before[0], relay.received - before[1]))
    packed, noise = counts
    assert all(count < size // 10 for count in packed)
    assert all(size < count < size * 1.02 for count in noise)


def test_what_the_server_does_not_have(cassandra: Any) -> None:
    """Protocol v5 knows no snappy; the connection goes without, as in cassandra-driver."""
    with connect(cassandra, 5, compression="snappy") as cluster:
        session = cluster.connect()
        assert session.get_pools()[0].connections[0].compression is None
        assert session.execute("SELECT key FROM system.local").one() == ("local",)
    with pytest.raises(ValueError, match="zstd"):
        connect(cassandra, 5, compression="zstd")
