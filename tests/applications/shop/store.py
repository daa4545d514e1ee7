"""The shop's data in Cassandra."""

import logging
import os
import uuid

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.concurrent import execute_concurrent, execute_concurrent_with_args
from cassandra.io.geventreactor import GeventConnection
from cassandra.metadata import group_keys_by_replica
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    HostStateListener,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import BatchStatement, BatchType, SimpleStatement, dict_factory, named_tuple_factory, tuple_factory
from shop.types import SCHEMA, Address

log = logging.getLogger(__name__)
VERSION = int(os.environ.get("SHOP_PROTOCOL_VERSION", 4))


class Once(RetryPolicy):
    """Tries unavailable once more."""

    def __init__(self):
        self.asked = []

    def on_unavailable(self, query, consistency, required_replicas, alive_replicas, retry_num):
        self.asked.append((type(query).__name__, consistency, required_replicas, alive_replicas, retry_num))
        return (self.RETRY, consistency) if retry_num == 0 else (self.RETHROW, None)


class Hosts(HostStateListener):
    def __init__(self):
        self.heard = []

    def on_up(self, host):
        self.heard.append(("up", host.address))

    def on_down(self, host):
        self.heard.append(("down", host.address))

    def on_add(self, host):
        self.heard.append(("add", host.address))

    def on_remove(self, host):
        self.heard.append(("remove", host.address))


def lower_rows(names, rows):
    """A row factory of our own: a list of lists, names first."""
    return [[name.lower() for name in names], *[list(row) for row in rows]]


class Store:
    """All that the shop keeps."""

    def __init__(self, host, port, keyspace):
        self.retrying = Once()
        balancing = TokenAwarePolicy(DCAwareRoundRobinPolicy())
        self.cluster = Cluster(
            [host],
            port=port,
            protocol_version=VERSION,
            connection_class=GeventConnection,
            compression=False,
            reconnection_policy=ConstantReconnectionPolicy(1.0),
            execution_profiles={
                EXEC_PROFILE_DEFAULT: ExecutionProfile(balancing, self.retrying, request_timeout=20.0),
                "dicts": ExecutionProfile(balancing, row_factory=dict_factory, consistency_level=ConsistencyLevel.ONE),
                "lists": ExecutionProfile(balancing, row_factory=lower_rows),
            },
        )
        self.listener = Hosts()
        self.cluster.register_listener(self.listener)
        self.session = self.cluster.connect(keyspace)
        self.requests = []
        for statement in SCHEMA:
            self.session.execute(statement, timeout=60)
        self.cluster.register_user_type(keyspace, "address", Address)
        prepare = self.session.prepare
        self.add_customer = prepare("INSERT INTO customers (id, name, home, others, since, birthday, wakes, credit, code) "
                                    "VALUES (:id, :name, :home, :others, :since, :birthday, :wakes, :credit, :code)")
        self.get_customer = prepare("SELECT * FROM customers WHERE id = ?")
        self.get_customer.consistency_level = ConsistencyLevel.LOCAL_QUORUM
        self.get_customer.is_idempotent = True
        self.add_order = prepare("INSERT INTO orders (customer, n, article, price) VALUES (?, ?, ?, ?)")
        self.get_orders = prepare("SELECT n, article, price FROM orders WHERE customer = ?")
        self.get_order = prepare("SELECT article, price FROM orders WHERE customer = ? AND n = ?")

    def order(self, customer, lines):
        """One order after the other, together."""
        batch = BatchStatement(consistency_level=ConsistencyLevel.QUORUM)
        for n, (article, price) in enumerate(lines):
            batch.add(self.add_order, (customer, n, article, price))
        batch.add("INSERT INTO stock (article, amount) VALUES (%s, %s)", ("batched", len(lines)))
        batch.add(SimpleStatement("INSERT INTO stock (article, amount) VALUES ('plain', 1)"))
        self.session.execute(batch)
        return len(batch)

    def count(self, pages):
        batch = BatchStatement(BatchType.COUNTER)
        for page in pages:
            batch.add(SimpleStatement("UPDATE visits SET n = n + 1 WHERE page = %(page)s"), {"page": page})
        self.session.execute(batch)
        return {row.page: row.n for row in self.session.execute("SELECT page, n FROM visits")}

    def take(self, article, amount):
        """Whether there was so much, by a conditional update."""
        result = self.session.execute(
            "UPDATE stock SET amount = %s WHERE article = %s IF amount = %s", (amount - 1, article, amount)
        )
        return result.was_applied, result.one()

    def pages(self, customer, size):
        """The same rows read in four ways, page by page."""
        statement = SimpleStatement("SELECT n FROM orders WHERE customer = %s", fetch_size=size)
        by_iteration = [row.n for row in self.session.execute(statement, (customer,))]
        result, by_page = self.session.execute(statement, (customer,)), []
        while True:
            by_page.append([row.n for row in result.current_rows])
            if not result.has_more_pages:
                break
            result.fetch_next_page()
        state, by_state = None, []
        while True:
            result = self.session.execute(statement, (customer,), paging_state=state)
            by_state.append([row.n for row in result.current_rows])
            state = result.paging_state
            if state is None:
                break
        return by_iteration, by_page, by_state, self.pages_by_callback(statement, customer)

    def pages_by_callback(self, statement, customer):
        from gevent.event import Event

        done, seen = Event(), []
        future = self.session.execute_async(statement, (customer,))

        def on_page(rows):
            seen.extend(row.n for row in rows)
            if future.has_more_pages:
                future.start_fetching_next_page()
            else:
                done.set()

        def on_error(error):
            seen.append(error)
            done.set()

        future.add_callbacks(on_page, on_error)
        assert done.wait(30)
        return seen

    def many(self, customer, n):
        results = execute_concurrent_with_args(self.session, self.get_order, [(customer, i) for i in range(n)], concurrency=7)
        mixed = execute_concurrent(
            self.session,
            [(self.get_orders, (customer,)), ("SELECT nothing FROM orders", None), (self.get_order, [customer, 0])],
            raise_on_first_error=False,
        )
        return (
            [(success, rows.one()) for success, rows in results],
            [(success, [tuple(row) for row in rows] if success else type(rows).__name__) for success, rows in mixed],
        )

    def factories(self):
        query = "SELECT article, amount FROM stock WHERE article = 'plain'"
        profile = self.session.execution_profile_clone_update("dicts", row_factory=tuple_factory)
        return [
            self.session.execute(query).one(),
            self.session.execute(query, execution_profile="dicts").one(),
            self.session.execute(query, execution_profile="lists").all(),
            self.session.execute(query, execution_profile=profile).one(),
            self.session.execute(query).column_names,
            [t.cql_parameterized_type() for t in self.session.execute("SELECT home, others FROM customers").column_types],
        ]

    def listen(self):
        """What a request-init listener sees, which also has the answers of one request watched."""
        seen = []

        def on_request(future, mark):
            seen.append((mark, type(future.query).__name__))
            future.add_callbacks(lambda rows: seen.append(len(rows)), lambda error: seen.append(type(error).__name__))

        self.session.add_request_init_listener(on_request, "mark")
        self.session.execute(self.get_orders, (uuid.UUID(int=0),))
        self.session.remove_request_init_listener(on_request, "mark")
        self.session.execute("SELECT key FROM system.local")
        return seen

    def schema(self):
        """What the driver knows of the tables."""
        known = self.cluster.metadata.keyspaces[self.session.keyspace]
        tables = {
            name: (
                [column.name for column in table.partition_key],
                [column.name for column in table.clustering_key],
                [(column.name, column.cql_type) for column in table.columns.values()],
            )
            for name, table in sorted(known.tables.items())
        }
        address = known.user_types["address"]
        keys = group_keys_by_replica(self.session, self.session.keyspace, "customers", [(uuid.UUID(int=n),) for n in range(3)])
        return tables, list(zip(address.field_names, address.field_types, strict=True)), [len(k) for k in keys.values()]

    def shutdown(self):
        self.cluster.shutdown()


def legacy(host, port, keyspace):
    """A Cluster as before there were profiles."""
    with Cluster(
        [host], port, connection_class=GeventConnection, protocol_version=VERSION, compression=False,
        load_balancing_policy=DCAwareRoundRobinPolicy("datacenter1"), default_retry_policy=RetryPolicy(),
    ) as cluster:  # fmt: skip
        session = cluster.connect()
        session.row_factory = dict_factory
        session.default_timeout = 15.0
        session.default_consistency_level = ConsistencyLevel.ONE
        session.default_fetch_size = 2
        session.set_keyspace(keyspace)
        rows = session.execute("SELECT n FROM orders")
        answers = [rows.has_more_pages, len(list(rows)), session.execute("SELECT article FROM stock").one()]
        for mixing in (
            lambda: cluster.add_execution_profile("p", ExecutionProfile()),
            lambda: session.execute("SELECT n FROM orders", execution_profile=ExecutionProfile()),
        ):
            try:
                mixing()
            except ValueError as error:
                answers.append(type(error).__name__)
        session.row_factory = named_tuple_factory
        return [*answers, session.execute("SELECT article FROM stock").one()]
