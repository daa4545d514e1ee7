"""cassandra-driver, in a process of its own, works against the fake node: v3, v4, v5, LZ4, TLS, authentication."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.driverprocess import Child
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import (
    Error,
    ErrorCode,
    FakeNode,
    Opcode,
    Rows,
    Void,
    paged,
    schema_event,
    status_change,
    topology_change,
)
from tests.support.tls import Tls


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    started = Child()
    yield started
    started.stop()


WIRES = [(3, False), (4, False), (5, False), (3, "lz4"), (4, "lz4"), (4, "snappy"), (5, "lz4")]


@pytest.mark.parametrize(("version", "compression"), WIRES)
def test_queries(child: Child, version: int, compression: Any) -> None:
    with FakeNode(compression=("lz4", "snappy"), max_segment=1000) as node:
        node.on("SELECT v FROM t", rows=[("v", "int")], data=[(1,), (2,)])
        node.on("SELECT big FROM t", rows=[("big", "text")], data=[(chr(97 + n % 26) * 999,) for n in range(400)])
        node.prepare("SELECT v FROM t WHERE k = ? AND c = ?", [("k", "int"), ("c", "text")], [("v", "text")], [0])
        node.on("SELECT v FROM t WHERE k = ? AND c = ?", lambda r, c: Rows(None, [(f"{r.params}",)]))
        node.on("SELECT n FROM t", paged([("n", "int")], [(n,) for n in range(25)]))
        result = child.run(
            node.port,
            """
from cassandra.query import SimpleStatement, BatchStatement
select = session.prepare("SELECT v FROM t WHERE k = ? AND c = ?")
batch = BatchStatement()
batch.add(SimpleStatement("INSERT INTO t (k) VALUES (1)"))
batch.add(select, (1, "x"))
futures = [session.execute_async(select, (n, "é" * n)) for n in range(100)]
result = [
    [tuple(row) for row in session.execute("SELECT v FROM t")],
    [future.result().one().v for future in futures],
    sum(len(row.big) for row in session.execute("SELECT big FROM t")),
    [row.n for row in session.execute(SimpleStatement("SELECT n FROM t", fetch_size=10))],
    list(session.execute(batch)),
    session.execute("USE ks2") and session.keyspace or session.keyspace,
]
""",
            version,
            compression=compression,
        )
        assert result == [
            [(1,), (2,)],
            [str([n, "é" * n]) for n in range(100)],
            400 * 999,
            list(range(25)),
            [],
            "ks2",
        ]
        assert {request.version for request in node.requests} == {version}
        connections = {request.connection for request in node.queries}
        assert {connection.compression for connection in connections if connection} == {compression or None}
        assert {connection.segmented for connection in connections if connection} == {version == 5}
        assert node.count(Opcode.BATCH) == 1 and node.count("SELECT n FROM t") == 3


def test_version_is_negotiated_downwards(child: Child) -> None:
    for options in ({"versions": (3, 4)}, {"versions": (3, 4), "beta_versions": (5,)}, {"versions": (3,)}):
        with FakeNode(**options) as node:  # type: ignore[arg-type]
            assert child.run(node.port, "result = cluster.protocol_version") == max(options["versions"])


def test_tls_and_authentication(child: Child, tls: Tls) -> None:
    with FakeNode(ssl_context=tls.server, auth={"cassandra": "secret"}) as node:
        node.on("SELECT v FROM t", rows=[("v", "text")], data=[("x" * 100_000,)])
        code = "result = len(session.execute('SELECT v FROM t').one().v)"
        user = ("cassandra", "secret")
        assert child.run(node.port, code, 5, ca_file=str(tls.ca_file), user=user) == 100_000
        assert all(request.connection and request.connection.user == "cassandra" for request in node.queries)
        with pytest.raises(AssertionError, match="AuthenticationFailed"):
            child.run(node.port, code, 5, ca_file=str(tls.ca_file), user=("cassandra", "wrong"))


@pytest.mark.parametrize("version", [4, 5])
def test_unprepared_is_recovered_and_metadata_changes(child: Child, version: int) -> None:
    with FakeNode() as node:
        text = "SELECT * FROM t WHERE k = ?"
        node.prepare(text, [("k", "int")], [("a", "int")], [0])
        node.on(text, Rows(None, [(1,)]), times=2)
        node.on("CHANGE", lambda request, connection: _alter(node, text))
        code = f"""
select = session.prepare({text!r})
result = [tuple(session.execute(select, (1,)).one()._asdict().items())]
cluster_nodes = session.execute("FORGET")
result.append(tuple(session.execute(select, (1,)).one()._asdict().items()))
session.execute("CHANGE")
result.append(tuple(session.execute(select, (1,)).one()._asdict().items()))
"""
        node.on("FORGET", lambda request, connection: node.unprepare_all() or Void())
        assert child.run(node.port, code, version) == [(("a", 1),), (("a", 1),), (("a", 1), ("b", "two"))]
        assert node.count(Opcode.PREPARE) == 2


def _alter(node: FakeNode, text: str) -> Void:
    node.prepare(text, [("k", "int")], [("a", "int"), ("b", "text")], [0])
    node.on(text, Rows(None, [(1, "two")]))
    return Void()


def test_errors_reach_the_driver(child: Child) -> None:
    with FakeNode() as node:
        for code in ErrorCode:
            if code != ErrorCode.UNPREPARED:
                node.on(code.name, Error(code, f"this is {code.name}"))
        found = child.run(
            node.port,
            """
from cassandra.policies import FallthroughRetryPolicy
from cassandra.query import SimpleStatement
result = {}
for name in ("UNAVAILABLE", "WRITE_TIMEOUT", "READ_TIMEOUT", "INVALID", "SYNTAX_ERROR", "ALREADY_EXISTS"):
    try:
        session.execute(SimpleStatement(name, retry_policy=FallthroughRetryPolicy()))
    except Exception as e:
        result[name] = type(e).__name__
""",
        )
        assert found == {
            "UNAVAILABLE": "Unavailable",
            "WRITE_TIMEOUT": "WriteTimeout",
            "READ_TIMEOUT": "ReadTimeout",
            "INVALID": "InvalidRequest",
            "SYNTAX_ERROR": "SyntaxException",
            "ALREADY_EXISTS": "AlreadyExists",
        }


def test_a_cluster_is_discovered_with_its_tokens_and_events(child: Child) -> None:
    with FakeCluster({"dc1": 2, "dc2": 1}) as cluster:
        cluster[0].system.keyspaces["ks"] = {"class": "SimpleStrategy", "replication_factor": "2"}
        port = cluster.port

        def announce(request: Any, connection: Any) -> Void:
            new = cluster.add("dc2")
            cluster.push(topology_change("NEW_NODE", new.host, port))
            cluster.push(status_change("UP", new.host, port))
            cluster.push(schema_event("CREATED", "KEYSPACE", "ks"))
            return Void()

        cluster.on("GROW", announce)
        code = """
import time
def hosts():
    return sorted((h.address, h.datacenter) for h in cluster.metadata.all_hosts())
result = [hosts(), len(cluster.metadata.token_map.ring), sorted(cluster.metadata.keyspaces)]
session.execute("GROW")
deadline = time.monotonic() + 10
while len(hosts()) < 4 and time.monotonic() < deadline:
    time.sleep(0.02)
result.append(len(hosts()))
"""
        before = cluster.addresses
        result = child.run(port, code, contact_points=[before[0]])
        assert result[0] == sorted(zip(before, ["dc1", "dc1", "dc2"], strict=True))
        assert result[1:] == [3, ["ks"], 4]
        cluster.wait_for(lambda c: not any(node.connections for node in c))
