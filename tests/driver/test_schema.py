"""Schema metadata over the control connection: when it is read, who waits for it, and what becomes of those who do."""

from __future__ import annotations

import copy
import pickle
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.exceptions import BlockingSwitchOutError

from geventcql import UserAggregateDescriptor, UserFunctionDescriptor
from geventcql.cluster import Cluster
from geventcql.errors import (
    ConnectionShutdown,
    DriverException,
    InvalidRequest,
    NoHostAvailable,
    OperationTimedOut,
    WrongHubError,
)
from geventcql.metadata import NO_VALID_REPLICA, KeyspaceMetadata, TableMetadata, group_keys_by_replica
from geventcql.ownqueries import PAGE_SIZE
from geventcql.policies import AddressTranslator
from geventcql.protocol.responses import SchemaChange
from geventcql.session import Session
from tests.driver.schemanode import SCHEMA, schema_queries, schema_with, serve_schema
from tests.driver.support import cluster_of, eventually, in_hub, outcome
from tests.metadata.schemaserver import SchemaServer
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Error, ErrorCode, FakeNode, Opcode, Rows, schema_event
from tests.support.logs import UNREACHABLE
from tests.support.native import Thread

pytestmark = pytest.mark.logs(UNREACHABLE)

TABLE_KINDS = ["columns", "indexes", "tables", "triggers"]
ONE_TABLE = "SELECT * FROM system_schema.tables WHERE keyspace_name = 'ks' AND table_name = 'a'"


@pytest.fixture
def schema() -> SchemaServer:
    return schema_with("a", "b")


@pytest.fixture
def node(schema: SchemaServer) -> Iterator[FakeNode]:
    with FakeNode() as started:
        serve_schema(started, schema)
        yield started


@pytest.fixture
def cluster(node: FakeNode) -> Iterator[Cluster]:
    with cluster_of(node) as cluster:
        cluster.connect()
        yield cluster


@pytest.fixture
def ks(cluster: Cluster) -> KeyspaceMetadata:
    return cluster.metadata.keyspaces["ks"]


@pytest.mark.parametrize("size", [2, 5000])
def test_connecting_and_a_query_ask_nothing_about_tables(size: int) -> None:
    with FakeNode() as node:
        serve_schema(node, schema_with(*(f"t{number}" for number in range(size))))
        node.on("SELECT v FROM t", Rows([("v", "int")], [(1,)]))
        with cluster_of(node) as cluster:
            session = cluster.connect("ks")
            assert session.execute("SELECT v FROM t").one().v == 1
            assert schema_queries(node) == []
            assert node.count(Opcode.QUERY) == 5  # local, peers_v2, keyspaces; whether there is a "ks"; the query
            assert cluster.metadata.keyspaces["ks"].tables["t1"].name == "t1"
            assert sorted(schema_queries(node)) == TABLE_KINDS


def test_many_tables_are_read_in_pages() -> None:
    size = 2 * PAGE_SIZE + 10
    with FakeNode() as node:
        serve_schema(node, schema_with(*(f"t{number:05}" for number in range(size))))
        with cluster_of(node) as cluster:
            cluster.connect()
            tables = cluster.metadata.keyspaces["ks"].tables
            assert len(tables) == size and all(len(table.columns) == 2 for table in tables.values())
            asked = schema_queries(node)
            assert asked.count("tables") == 3 and asked.count("columns") == 5
            assert asked.count("indexes") == asked.count("triggers") == 1
            assert len(tables) == size and schema_queries(node) == asked


# -- who reads, and who waits


def test_one_reading_for_all_who_look(node: FakeNode, ks: KeyspaceMetadata) -> None:
    looking = [gevent.spawn(ks.tables.__getitem__, "a") for _ in range(20)]
    looking += [gevent.spawn(len, ks.views) for _ in range(20)]
    gevent.joinall(looking, raise_error=True)
    assert len({id(greenlet.value) for greenlet in looking[:20]}) == 1
    assert sorted(schema_queries(node)) == [*TABLE_KINDS, "views"]


def test_who_asked_first_may_be_killed(node: FakeNode, ks: KeyspaceMetadata) -> None:
    gate = Event()
    rule = node.on(ONE_TABLE, Rows([("table_name", "text")], [("a",)]).when(gate))
    first, second = (gevent.spawn(ks.tables.__getitem__, "a") for _ in range(2))
    eventually(lambda: rule.hits)
    first.kill()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        ks.tables["a"]
    gate.set()
    assert second.get().name == "a"
    assert ks.tables["a"] is second.value
    assert sorted(schema_queries(node)) == TABLE_KINDS


def test_what_all_gave_up_is_read_all_the_same(node: FakeNode, ks: KeyspaceMetadata) -> None:
    gate = Event()
    node.on(ONE_TABLE, Rows([("table_name", "text")], [("a",)]).when(gate))
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        ks.tables["a"]
    gate.set()
    eventually(lambda: "a" in ks.tables._found)  # type: ignore[attr-defined]
    assert isinstance(ks.tables["a"], TableMetadata)
    assert sorted(schema_queries(node)) == TABLE_KINDS


def test_a_node_that_does_not_answer(node: FakeNode) -> None:
    with cluster_of(node, control_connection_timeout=0.05) as cluster:
        cluster.connect()
        ks = cluster.metadata.keyspaces["ks"]
        rule = node.on(ONE_TABLE)
        errors = [greenlet.get() for greenlet in [gevent.spawn(outcome, ks.tables.__getitem__, "a") for _ in range(2)]]
        assert all(isinstance(error, OperationTimedOut) for error in errors)
        assert errors[0] is not errors[1]
        rule.remove()
        assert ks.tables["a"].name == "a"


def test_the_server_s_error_is_told(node: FakeNode, ks: KeyspaceMetadata) -> None:
    node.on(SCHEMA, Error(ErrorCode.INVALID, "not today"), times=4)
    with pytest.raises(InvalidRequest, match="not today"):
        ks.tables["a"]
    node.on(SCHEMA, Error(ErrorCode.OVERLOADED), times=1)
    with pytest.raises(Exception, match="overloaded"):
        len(ks.views)
    assert ks.tables["a"].name == "a" and len(ks.views) == 0


def test_the_control_connection_is_lost_meanwhile(node: FakeNode, cluster: Cluster, ks: KeyspaceMetadata) -> None:
    rule = node.on(ONE_TABLE)
    looking = gevent.spawn(ks.tables.__getitem__, "a")
    eventually(lambda: rule.hits)
    rule.remove()
    node.drop_connections()
    assert looking.get().name == "a"


def test_nobody_answers_any_more(schema: SchemaServer) -> None:
    """Whoever looks waits for two nodes at most, however many there are; the search goes on without him."""
    with FakeCluster(20) as nodes:
        serve_schema(nodes, schema)
        with cluster_of(nodes, connect_timeout=0.3) as cluster:
            cluster.connect()
            ks = cluster.metadata.keyspaces["ks"]
            rules = [node.on(Opcode.STARTUP) for node in nodes]
            for node in nodes:
                node.drop_connections()
            begin = time.monotonic()
            looks = [gevent.spawn(outcome, look) for look in (lambda: ks.tables["a"], lambda: len(ks.views))]
            first, second = (look.get(timeout=10) for look in looks)
            assert time.monotonic() - begin < 4  # all of them take 6 s
            assert isinstance(first, NoHostAvailable) and isinstance(second, NoHostAvailable) and first is not second
            assert "no server could be asked within 0.6 s" in str(first) and "being tried: 127." in str(first)
            assert 1 <= len(first.errors) < 20 and next(iter(first.errors)) in str(first)
            with pytest.raises(NoHostAvailable):
                cluster.connect("ks")
            for rule in rules:
                rule.remove()
            assert ks.tables["a"].name == "a"


def test_what_changed_without_a_control_connection(
    node: FakeNode, schema: SchemaServer, cluster: Cluster, ks: KeyspaceMetadata
) -> None:
    assert list(ks.tables) == ["a", "b"]
    schema.table("ks", "c")
    before = cluster._control.connection
    node.drop_connections()
    eventually(lambda: cluster._control.connection not in (None, before))
    assert list(ks.tables) == ["a", "b", "c"]
    assert cluster.metadata.keyspaces["ks"].tables is ks.tables


def test_keyspaces_that_changed_without_a_control_connection_where_connecting_reads_none(
    node: FakeNode, schema: SchemaServer
) -> None:
    with cluster_of(node, token_metadata_enabled=False) as cluster:
        cluster.connect()
        assert "ks" in cluster.metadata.keyspaces and "new" not in cluster.metadata.keyspaces
        schema.keyspace("new")
        before = cluster._control.connection
        node.drop_connections()
        eventually(lambda: cluster._control.connection not in (None, before))
        assert "new" in cluster.metadata.keyspaces


def test_a_shutdown_while_others_wait(node: FakeNode, cluster: Cluster, ks: KeyspaceMetadata) -> None:
    assert ks.tables["b"].name == "b"
    rule = node.on(ONE_TABLE)
    waiting = gevent.spawn(outcome, ks.tables.__getitem__, "a")
    eventually(lambda: rule.hits)
    late = gevent.spawn(outcome, len, ks.views)
    gevent.sleep(0)  # its reading has been asked for, and has not begun
    cluster.shutdown(0)
    assert isinstance(waiting.get(timeout=5), ConnectionShutdown)
    assert isinstance(late.get(timeout=5), ConnectionShutdown)
    with pytest.raises(DriverException, match="shut down"):
        cluster.refresh_table_metadata("ks", "a")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda what: pickle.loads(pickle.dumps(what))])
def test_all_that_a_cluster_knows_is_copied(cluster: Cluster, copied: Callable[[Any], Any]) -> None:
    cluster.connect()
    twin = copied(cluster.metadata)
    assert twin.export_schema_as_string() == cluster.metadata.export_schema_as_string()
    assert "CREATE TABLE ks.a" in twin.export_schema_as_string()
    (host,), (original,) = twin.all_hosts(), cluster.metadata.all_hosts()
    assert host == original and host is not original and host.is_up and host.endpoint == original.endpoint
    assert twin.get_replicas("ks", b"k") == [host] and copied(original) == host
    cluster.shutdown()
    assert list(twin.keyspaces["ks"].tables) == ["a", "b"] and twin.cluster_name == "fake"


def test_after_the_shutdown(cluster: Cluster, schema: SchemaServer, ks: KeyspaceMetadata) -> None:
    """What was read is there; what was not does not look as if there were none."""
    schema.keyspace("other")
    schema.table("other", "t")
    cluster.metadata.schema_changed(SchemaChange("CREATED", "KEYSPACE", "other", None, None))
    other = cluster.metadata.keyspaces["other"]
    assert ks.tables["b"].name == "b" and len(ks.functions) == 0 and list(other.tables) == ["t"] and len(other.views) == 0
    twin = copy.deepcopy(other)
    cluster.metadata.schema_changed(SchemaChange("UPDATED", "TABLE", "other", "t", None))
    cluster.shutdown()
    assert ks.tables["b"].name == "b" and len(ks.functions) == 0 and cluster.metadata.keyspaces["ks"].tables is ks.tables
    assert list(twin.tables) == ["t"] and cluster.metadata.get_replicas("ks", b"k")
    looks: list[Callable[[], Any]] = [
        lambda: ks.tables["a"], lambda: "a" in ks.tables, lambda: list(ks.tables), lambda: ks.tables.get("a"),
        lambda: len(ks.views), lambda: other.tables["t"], lambda: list(other.views), lambda: list(cluster.metadata.keyspaces),
        lambda: "nope" in cluster.metadata.keyspaces, ks.export_as_string, lambda: copy.deepcopy(ks),
    ]  # fmt: skip
    for look in looks:
        with pytest.raises(DriverException, match="the Cluster was shut down, and this part of its schema was not read"):
            look()


def test_after_the_shutdown_where_looking_reads_nothing(node: FakeNode) -> None:
    with cluster_of(node, schema_metadata_enabled=False) as cluster:
        cluster.connect()
    assert len(cluster.metadata.keyspaces["ks"].tables) == 0


def test_before_the_cluster_is_connected(node: FakeNode) -> None:
    cluster = cluster_of(node)
    assert len(cluster.metadata.keyspaces) == 0
    with pytest.raises(DriverException, match="not connected"):
        cluster.refresh_schema_metadata()


def test_where_nobody_can_wait(ks: KeyspaceMetadata) -> None:
    found: list[Any] = []
    in_hub(lambda: found.append(outcome(ks.tables.__getitem__, "a")))
    assert isinstance(found.pop(), BlockingSwitchOutError)
    thread = Thread(target=lambda: found.append(outcome(ks.tables.__getitem__, "a")))
    thread.start()
    thread.join()
    assert isinstance(found.pop(), WrongHubError)
    assert ks.tables["a"].name == "a"
    in_hub(lambda: found.append(ks.tables["a"]))
    assert found == [ks.tables["a"]]


@pytest.mark.logs(r"WARNING the row of .* (gives no end point|is not complete)")
def test_a_translator_that_looks_while_the_control_connection_waits(schema: SchemaServer) -> None:
    """It would wait for a control connection that may be waiting for it."""
    found: list[Any] = []

    class Looking(AddressTranslator):
        def translate(self, addr: str) -> str:
            found.append(outcome(cluster.metadata.keyspaces["ks"].tables.__getitem__, "a"))
            return addr

    with FakeCluster(2) as nodes:
        serve_schema(nodes, schema)
        with cluster_of(nodes, address_translator=Looking()) as cluster:
            cluster.connect()
            found.clear()
            cluster.refresh_nodes()
            assert found and all(isinstance(error, BlockingSwitchOutError) for error in found)
            assert cluster.metadata.keyspaces["ks"].tables["a"].name == "a"


# -- changes


@pytest.mark.patching
def test_changes_that_servers_tell_of(node: FakeNode, schema: SchemaServer, cluster: Cluster, ks: KeyspaceMetadata) -> None:
    assert list(ks.tables) == ["a", "b"] and len(ks.user_types) == 0
    schema.table("ks", "c")
    schema.user_type("ks", "ty", x="int")
    assert node.push(schema_event("CREATED", "TABLE", "ks", "c")) == 1
    eventually(lambda: "c" in ks.tables)
    assert len(ks.user_types) == 0
    node.push(schema_event("CREATED", "TYPE", "ks", "ty"))
    eventually(lambda: "ty" in ks.user_types)


def test_our_own_changes_are_seen(node: FakeNode, schema: SchemaServer, cluster: Cluster, ks: KeyspaceMetadata) -> None:
    session = cluster.connect()
    assert list(ks.tables) == ["a", "b"] and len(ks.user_types) == 0
    schema.table("ks", "c")
    schema.drop("tables", table_name="a")
    schema.user_type("ks", "ty", x="int")
    for text in ("CREATE TABLE ks.c (k int PRIMARY KEY)", "DROP TABLE ks.a", "CREATE TYPE ks.ty (x int)"):
        session.execute(text)
    asked = len(schema_queries(node))
    assert list(ks.tables) == ["b", "c"] and list(ks.user_types) == ["ty"]
    assert sorted(schema_queries(node)[asked:]) == [*TABLE_KINDS, "types"]


def test_a_keyspace_s_replication_reaches_the_token_map(schema: SchemaServer) -> None:
    with FakeCluster(3) as nodes:
        serve_schema(nodes, schema)
        with cluster_of(nodes) as cluster:
            session = cluster.connect()
            assert len(cluster.metadata.get_replicas("ks", b"k")) == 1
            table = cluster.metadata.keyspaces["ks"].tables["a"]
            schema.keyspace("ks", 3)
            schema.keyspace("new", 2)
            session.execute("ALTER KEYSPACE ks WITH replication = ...")
            assert len(cluster.metadata.get_replicas("ks", b"k")) == 3
            session.execute("CREATE KEYSPACE new WITH replication = ...")
            assert len(cluster.metadata.get_replicas("new", b"k")) == 2
            assert cluster.metadata.keyspaces["ks"].tables["a"] is table
            schema.drop("keyspaces", keyspace_name="new")
            session.execute("DROP KEYSPACE new")
            assert cluster.metadata.get_replicas("new", b"k") == [] and "new" not in cluster.metadata.keyspaces


def test_a_token_map_whose_keyspaces_are_the_same_is_kept(cluster: Cluster) -> None:
    before = cluster.metadata.token_map
    cluster._control.refresh_keyspaces()
    assert cluster.metadata.token_map is before


# -- refreshing


def test_refreshing(node: FakeNode, schema: SchemaServer, cluster: Cluster, ks: KeyspaceMetadata) -> None:
    before = ks.tables["a"]
    assert len(ks.views) == len(ks.user_types) == len(ks.functions) == len(ks.aggregates) == len(ks.indexes) == 0
    asked = len(schema_queries(node))
    cluster.refresh_table_metadata("ks", "a")
    cluster.refresh_materialized_view_metadata("ks", "v")
    cluster.refresh_user_type_metadata("ks", "ty")
    cluster.refresh_user_function_metadata("ks", UserFunctionDescriptor("f", ["int"]))
    cluster.refresh_user_aggregate_metadata("ks", UserAggregateDescriptor("f", ["int"]))
    now = schema_queries(node)[asked:]
    assert sorted(now[:4]) == TABLE_KINDS and now[4:] == ["views", "types", "functions", "aggregates"]
    assert ks.tables["a"] is not before and len(ks.views) == 0 and len(schema_queries(node)) == asked + len(now)
    assert len(ks.indexes) == 0 and schema_queries(node)[-1] == "indexes"
    schema.keyspace("new")
    cluster.refresh_keyspace_metadata("new")
    assert "new" in cluster.metadata.keyspaces.known
    schema.keyspace("newer")
    schema.table("ks", "c")
    cluster.refresh_schema_metadata()
    assert "newer" in cluster.metadata.keyspaces.known and "c" in ks.tables
    cluster.refresh_table_metadata("nope", "t")  # as cassandra-driver: there is nothing to be refreshed


def test_a_table_that_came_unheard_of(schema: SchemaServer, cluster: Cluster, ks: KeyspaceMetadata) -> None:
    assert len(ks.tables) == 2
    schema.table("ks", "c")
    assert "c" not in ks.tables
    cluster.refresh_table_metadata("ks", "c")
    assert "c" in ks.tables
    schema.keyspace("new")
    schema.table("new", "t")
    cluster.refresh_table_metadata("new", "t")
    assert list(cluster.metadata.keyspaces["new"].tables) == ["t"]


@pytest.mark.logs("WARNING the nodes have not agreed on a schema")
def test_refreshing_waits_for_the_nodes_to_agree(schema: SchemaServer) -> None:
    with FakeCluster(2) as nodes:
        serve_schema(nodes, schema)
        with cluster_of(nodes, max_schema_agreement_wait=0.05) as cluster:
            cluster.connect()
            nodes[1].system.local.schema_version = uuid.uuid4()
            with pytest.raises(DriverException, match=r"not agreed on a schema within 0\.05 s"):
                cluster.refresh_table_metadata("ks", "a")
            with pytest.raises(DriverException, match=r"within 0\.01 s"):
                cluster.refresh_schema_metadata(0.01)
            schema.keyspace("new")
            cluster.refresh_keyspace_metadata("new", max_schema_agreement_wait=0)
            cluster.refresh_user_type_metadata("ks", "t", -1)
            assert "new" in cluster.metadata.keyspaces.known
            gevent.spawn_later(0.05, setattr, nodes[0].system.local, "schema_version",
                               nodes[1].system.local.schema_version)  # fmt: skip
            cluster.refresh_table_metadata("ks", "a", 5)


def test_schema_metadata_switched_off(node: FakeNode, schema: SchemaServer) -> None:
    with cluster_of(node, schema_metadata_enabled=False) as cluster:
        session = cluster.connect()
        ks = cluster.metadata.keyspaces["ks"]  # names and replication are for token awareness
        assert len(ks.tables) == 0 and "a" not in ks.tables and len(ks.views) == 0
        session.execute("CREATE TABLE ks.a (k int PRIMARY KEY)")
        assert len(ks.tables) == 0 and schema_queries(node) == []
        assert len(cluster.metadata.get_replicas("ks", b"k")) == 1
        cluster.refresh_table_metadata("ks", "a")
        assert list(ks.tables) == ["a"] and sorted(schema_queries(node)) == TABLE_KINDS
        cluster.refresh_schema_metadata()
        schema.table("ks", "c")
        assert list(ks.tables) == ["a", "b"] and len(ks.user_types) == 0
        cluster.schema_metadata_enabled = True
        cluster.refresh_schema_metadata()
        assert list(ks.tables) == ["a", "b", "c"]


def test_token_metadata_switched_off(node: FakeNode) -> None:
    with cluster_of(node, token_metadata_enabled=False) as cluster:
        cluster.connect()
        assert cluster.metadata.get_replicas("ks", b"k") == [] and not cluster.metadata.keyspaces.known
        assert list(cluster.metadata.keyspaces["ks"].tables) == ["a", "b"]
    with cluster_of(node, token_metadata_enabled=False, schema_metadata_enabled=False) as cluster:
        cluster.connect()
        assert len(cluster.metadata.keyspaces) == 0


def test_the_deprecated_switch(cluster: Cluster) -> None:
    with pytest.warns(DeprecationWarning, match="schema_metadata_enabled"):
        cluster.set_meta_refresh_enabled(False)
    assert cluster.schema_metadata_enabled is cluster.token_metadata_enabled is False


# -- what it is good for


COMPOSITE = "SELECT v FROM c WHERE b = ? AND a = ? AND c = ?"


@pytest.fixture
def three(schema: SchemaServer) -> Iterator[FakeCluster]:
    schema.table("ks", "c", "b partition_key 1 none text", "a partition_key 0 none int", "c clustering 0 asc int")
    with FakeCluster(3, versions=(3,)) as nodes:
        serve_schema(nodes, schema)
        nodes.on(COMPOSITE, Rows([("v", "int")], [(1,)]))
        nodes.prepare(COMPOSITE, [("b", "text"), ("a", "int"), ("c", "int")], [("v", "int")], table="c")
        nodes.prepare("SELECT v FROM c WHERE a = ?", [("a", "int")], [("v", "int")], table="c")
        nodes.prepare("SELECT v FROM gone WHERE a = ?", [("a", "int")], [("v", "int")], table="gone")
        nodes.prepare("INSERT INTO mv", [("k", "int")], None, table="mv")
        yield nodes


@pytest.fixture
def session(three: FakeCluster) -> Iterator[Session]:
    with cluster_of(three) as cluster:
        yield cluster.connect("ks", wait_for_all_pools=True)


def test_token_awareness_below_v4(three: FakeCluster, session: Session) -> None:
    prepared = session.prepare(COMPOSITE)
    assert prepared.routing_key_indexes == (1, 0)
    assert sorted(schema_queries(three)) == TABLE_KINDS
    assert session.prepare(COMPOSITE).routing_key_indexes == (1, 0) and len(schema_queries(three)) == 4
    for number in range(20):
        bound = prepared.bind(("x", number, 1))
        [replica] = session.cluster.metadata.get_replicas("ks", bound.routing_key)
        assert session.execute(bound).response_future.coordinator_host is replica


def test_no_token_awareness_below_v4_without_the_whole_key(session: Session, schema: SchemaServer) -> None:
    assert session.prepare("SELECT v FROM c WHERE a = ?").routing_key_indexes is None
    assert session.prepare("SELECT v FROM gone WHERE a = ?").routing_key_indexes is None
    assert session.prepare("INSERT INTO mv").routing_key_indexes is None
    schema.view("ks", "mv", "c")
    session.execute("CREATE MATERIALIZED VIEW ks.mv AS SELECT")
    assert session.prepare("INSERT INTO mv").routing_key_indexes == (0,)


@pytest.mark.logs("WARNING the partition key of c could not be read")
def test_a_statement_is_prepared_though_its_table_cannot_be_read(
    three: FakeCluster, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    three.on(SCHEMA, Error(ErrorCode.UNAUTHORIZED, "secret"))
    assert session.prepare(COMPOSITE).routing_key_indexes is None
    assert "not token-aware" in caplog.text and "secret" in caplog.text


def test_keys_are_grouped_by_replica(session: Session, schema: SchemaServer) -> None:
    keys = [(number, f"x{number}") for number in range(30)]
    groups = group_keys_by_replica(session, "ks", "c", keys)
    assert sorted(key for group in groups.values() for key in group) == keys and len(groups) == 3
    statement = session.prepare(COMPOSITE)
    for host, group in groups.items():
        for a, b in group:
            assert session.execute(statement.bind((b, a, 1))).response_future.coordinator_host is host
    schema.user_type("ks", "inner", x="int")
    schema.user_type("ks", "My ty", a="int", b="frozen<inner>")
    schema.table("ks", "u", 'k partition_key 0 none frozen<"My ty">')
    assert sum(map(len, group_keys_by_replica(session, "ks", "u", [((1, (2,)),), ((2, (3,)),)]).values())) == 2
    for host in session.hosts:
        host.set_down()
    assert group_keys_by_replica(session, "ks", "c", keys) == {NO_VALID_REPLICA: keys}
    with pytest.raises(KeyError):
        group_keys_by_replica(session, "ks", "nope", keys)
