"""Nodes that mean harm, to a whole Cluster: what they say without end is not listened to without end, and others are asked."""

from __future__ import annotations

import gc
import uuid
import weakref
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import Event

from geventcql import control, events, ownqueries
from geventcql.cluster import Cluster
from geventcql.cython.codecs import parse_type_class
from geventcql.cython.wire import decoder_from
from geventcql.decoders import MOST_BYTES, DecoderCache
from geventcql.errors import FrameError, NoHostAvailable
from geventcql.query import SimpleStatement
from geventcql.rows import named_tuple_class
from geventcql.session import Session
from tests.driver.support import cluster_of, eventually, have_keyspaces, outcome
from tests.net.test_hostile_server import claims
from tests.support import wire
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import (
    Error,
    ErrorCode,
    FakeNode,
    Opcode,
    Rows,
    Void,
    schema_event,
    status_change,
    topology_change,
)
from tests.support.memory import resident
from tests.support.system import PEERS_V2_COLUMNS, NodeInfo

pytestmark = pytest.mark.logs("WARNING ")

PEERS = "SELECT * FROM system.peers_v2"
LOCAL = "SELECT * FROM system.local WHERE key='local'"
MIB = 1024 * 1024


@pytest.fixture
def nodes() -> Iterator[FakeCluster]:
    with FakeCluster(2) as started:
        yield started


def asks_the_other(nodes: FakeCluster, caplog: pytest.LogCaptureFixture, words: str) -> None:
    """A Cluster whose first contact point is the bad node connects by the second one."""
    with cluster_of(nodes) as cluster:
        session = cluster.connect()
        host = cluster.get_control_connection_host()
        assert host is not None and host.address == nodes[1].host
        assert session.execute("SELECT key FROM system.local").one() == ("local",)
    assert words in caplog.text


def test_more_nodes_than_there_can_be(
    nodes: FakeCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MOST_NODES", 50)
    infos = [NodeInfo(f"127.9.0.{index}", 9042, uuid.uuid4()) for index in range(1, 52)]
    rows = [list(info.row("peers_v2", 5).values()) for info in infos]
    columns = [(name, PEERS_V2_COLUMNS[name]) for name in infos[0].row("peers_v2", 5)]
    nodes[0].on(PEERS, Rows(columns, rows))
    asks_the_other(nodes, caplog, "tells of 51 nodes: 50 are the most")
    nodes[1].on(PEERS, Rows(columns, rows))
    with cluster_of(nodes) as cluster, pytest.raises(NoHostAvailable, match="tells of 51 nodes"):
        cluster.connect()


@pytest.mark.parametrize("rows", [0, 3])
def test_pages_without_end(
    rows: int, nodes: FakeCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownqueries, "MOST_READ", 30 * ownqueries.LEAST_PAGE)
    nodes[0].on(PEERS, Rows([("c", "int")], [(1,)] * rows, paging_state=b"more"))
    asks_the_other(nodes, caplog, f"answers '{PEERS}' without end: given up after {31 * rows} rows")


def test_an_answer_that_is_too_long_is_that_hosts_alone(nodes: FakeCluster) -> None:
    nodes[0].on("SELECT v FROM t", claims(Opcode.RESULT, 16 * MIB + 1))
    nodes[1].on("SELECT v FROM t", rows=[("v", "int")], data=[(7,)])
    with cluster_of(nodes, max_frame_size=16 * MIB) as cluster:
        session = cluster.connect(wait_for_all_pools=True)
        statement = SimpleStatement("SELECT v FROM t", is_idempotent=True)
        for _ in range(4):
            assert session.execute(statement).one() == (7,)
        [bad] = [host for host in session.hosts if host.address == nodes[0].host]
        eventually(lambda: session.get_pools()[0].connections and session.get_pools()[1].connections)
        error = outcome(lambda: session.execute(SimpleStatement("SELECT v FROM t"), host=bad))
        assert "claims a body of 16777217 bytes; the limit is 16777216" in str(error)
        assert isinstance(error, Exception) and "FrameError" in repr(chain(error))
    for size in (16 * MIB - 1, 256 * MIB + 1):
        with pytest.raises(ValueError, match="max_frame_size must be 16777216 to 268435456 bytes"):
            Cluster(max_frame_size=size)


def chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        errors = getattr(error, "errors", None)
        error = error.__cause__ or (next(iter(errors.values()), None) if errors else None)
    return found


def test_a_storm_of_events(node: FakeNode) -> None:
    """While the node does not answer, which keeps the control greenlet from taking them."""
    have_keyspaces(node, "alpha")
    windows = {f"{kind}_event_refresh_window": 0 for kind in ("topology", "status", "schema")}
    with cluster_of(node, control_connection_timeout=30, **windows) as cluster:
        cluster.connect()
        assert "alpha" in cluster.metadata.keyspaces
        gate = Event()
        asked = node.count(LOCAL)
        node.on(LOCAL, lambda request, c: node.system.answer(request.text or "", request.version).when(gate), times=1)
        reading = gevent.spawn(cluster.refresh_nodes)
        eventually(lambda: node.count(LOCAL) > asked)
        came = cluster._control.events._came
        have_keyspaces(node, "beta")
        for index in range(1500):
            address = f"10.{index >> 8}.{index & 255}.1"
            node.push(topology_change("REMOVED_NODE", address, 9042))
            node.push(status_change("UP", address, 9042))
            node.push(schema_event("CREATED", "KEYSPACE", f"ks{index}"))
            if index % 100 == 0:
                gevent.sleep(0)
                assert len(came) <= events.MOST_WAITING
        eventually(lambda: cluster._control.events._missed)
        gevent.sleep(0.01)
        assert len(came) <= events.MOST_WAITING
        gate.set()
        reading.get(timeout=10)
        eventually(lambda: not came and not cluster._control.events._missed)
        assert "beta" in cluster.metadata.keyspaces and "ks7" not in cluster.metadata.keyspaces
        assert len(cluster.metadata.all_hosts()) == 1


def test_names_of_keyspaces_without_end(node: FakeNode) -> None:
    """Where nothing reads them but somebody who looks."""
    have_keyspaces(node, "alpha")
    with cluster_of(node, token_metadata_enabled=False) as cluster:
        cluster.connect()
        keyspaces = cluster.metadata.keyspaces
        assert "alpha" in keyspaces
        have_keyspaces(node, "beta")
        for index in range(3000):
            node.push(schema_event("CREATED", "KEYSPACE", f"ks{index}"))
            if index % 500 == 499:
                eventually(lambda: not cluster._control.events._came)
        eventually(lambda: "beta" in keyspaces)
        assert len(keyspaces._stale) <= 1000


def test_warnings_are_logged_in_short_on_one_line(session: Session, node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    forged = "slow\n2026-11-26 00:00:00 root logged in\x1b[2J\u2028"
    node.on("INSERT INTO t (v) VALUES (1)", Void().with_warnings(forged, *["x" * 60_000] * 60))
    future = session.execute_async("INSERT INTO t (v) VALUES (1)")
    assert future.warnings[0] == forged and len(future.warnings) == 61
    [line] = eventually(lambda: [record.getMessage() for record in caplog.records if "Server warning" in record.getMessage()])
    assert line.isprintable() and len(line) < 11_000 and line.endswith("; and 51 more")
    assert r"slow\n2026-11-26 00:00:00 root logged in\x1b[2J\u2028; xxx" in line


def test_errors_of_the_drivers_own_requests_are_logged_in_short_on_one_line(
    session: Session, node: FakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    forged = "bad\n2026-11-26 00:00:00 root logged in\x1b[2J" + "x" * 60_000
    for request in (Opcode.REGISTER, Opcode.OPTIONS, "USE"):
        node.on(request, Error(ErrorCode.SERVER_ERROR, forged))
    node.drop_connections()
    lines = eventually(lambda: [record.getMessage() for record in caplog.records if "root logged in" in record.getMessage()])
    assert all(line.isprintable() and len(line) < 1200 for line in lines)


def test_empty_pages_without_end_can_be_left(session: Session, node: FakeNode) -> None:
    node.on("SELECT v FROM t", Rows([("v", "int")], [], paging_state=b"more"))
    with gevent.Timeout(0.3, False):
        for _ in session.execute("SELECT v FROM t"):
            raise AssertionError("there is no row")
    asked = len(node.queries)
    gevent.sleep(0.05)
    assert asked > 3 and len(node.queries) <= asked + 1


# -- names of columns, and many of them ----------------------------------------------------------------------------------


def test_rows_too_wide_for_a_class(session: Session, node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    columns = [(f"c{index}", "int") for index in range(16_385)]
    node.on("SELECT v FROM t", rows=columns, data=[[1] * 16_385, [2] * 16_385])
    rows = session.execute("SELECT v FROM t").all()
    assert rows == [(1,) * 16_385, (2,) * 16_385] and not hasattr(rows[0], "_fields")
    assert "16385 columns, too many for named tuples" in caplog.text


def test_many_columns_of_one_name(caplog: pytest.LogCaptureFixture) -> None:
    """Each look for a free name among those that are taken was a pass over all of them."""
    with gevent.Timeout(20):
        fields = named_tuple_class(("c",) * 4096)._fields  # type: ignore[attr-defined]
    assert fields[:3] == ("c", "c_", "c__") and len(set(fields)) == 4096
    assert named_tuple_class(("c", "c_", "c", "c"))._fields == ("c", "c_", "c__", "c___")  # type: ignore[attr-defined]
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


def test_classes_of_rows_are_kept_up_to_a_number_of_fields() -> None:
    for columns, most in ((1000, 128), (1100, 8)):
        names = (tuple(f"c{answer}_{index}" for index in range(columns)) for answer in range(most + 10))
        kept = [weakref.ref(named_tuple_class(each)) for each in names]
        gc.collect()
        assert sum(each() is not None for each in kept) == most


def test_classes_of_user_types_are_kept_up_to_a_number_of_fields() -> None:
    def use(number: int) -> None:
        fields = "".join(f",{f'f{index}'.encode().hex()}:Int32Type" for index in range(4096))
        parse_type_class(f"UserType(ks,{f'wide{number}'.encode().hex()}{fields})").decode(b"\0\0\0\4" * 2)

    use(0)
    before = resident()
    for number in range(1, 101):
        use(number)
    assert resident() - before < 20


def test_decoders_are_kept_up_to_a_number_of_bytes() -> None:
    cache = DecoderCache()

    def metadata(name: str) -> bytes:
        return wire.string("ks") + wire.string("t") + wire.string(name) + b"\0\x09"

    for index in range(300):
        body = metadata(f"{index:060000d}")
        decoder, end = cache(body, 0, 1, 1)
        assert end == len(body) and decoder.names[0].endswith(str(index))
    assert len(cache) == MOST_BYTES // len(body)
    assert cache(body, 0, 1, 1)[0] is decoder
    cache.clear()
    cache(body, 0, 1, 1)
    assert len(cache) == 1 and decoder_from(body, 0, 1, 1)[1] == end


def test_every_error_of_a_hostile_answer_is_a_named_one(session: Session, node: FakeNode) -> None:
    node.on("SELECT v FROM t", claims(Opcode.RESULT, 2**31 - 1))
    error = outcome(lambda: session.execute("SELECT v FROM t"))
    assert any(isinstance(each, FrameError) for each in chain(error)), chain(error)
