"""Runs the shop once through all that it can do, and prints what it answered."""

from gevent import monkey

monkey.patch_all()

import datetime  # noqa: E402
import decimal  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import uuid  # noqa: E402

import cassandra.query  # noqa: E402
from cassandra import AlreadyExists, InvalidRequest, Unavailable  # noqa: E402
from cassandra.cluster import UserTypeDoesNotExist  # noqa: E402
from cassandra.encoder import Encoder  # noqa: E402
from cassandra.protocol import SyntaxException  # noqa: E402
from cassandra.util import Date, SortedSet, Time  # noqa: E402
from gevent.pool import Pool  # noqa: E402
from shop.store import Store, legacy  # noqa: E402
from shop.types import Address  # noqa: E402
from shop.views import CUSTOMER, make_app  # noqa: E402


def described(value):
    """A value as JSON can hold it, its class named where it matters."""
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, (set, frozenset, SortedSet)):
        return {"set": sorted(map(described, value), key=str)}
    if hasattr(value, "items"):
        return {"map": [[described(key), described(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        name = type(value).__name__ if isinstance(value, tuple) else "list"
        return {name: [described(item) for item in value], "fields": list(getattr(value, "_fields", ()))}
    return f"{type(value).__name__} {value!r}"


def error_of(call):
    try:
        return "no error", described(call())
    except Exception as error:
        return next(kind.__name__ for kind in KNOWN if isinstance(error, kind))


KNOWN = (
    AlreadyExists, InvalidRequest, Unavailable, SyntaxException, UserTypeDoesNotExist, TypeError, ValueError,
)  # fmt: skip


def values(store):
    """All kinds of values, bound and as literals, with an Encoder of our own."""

    class Shouting(Encoder):
        def __init__(self):
            super().__init__()
            self.mapping[str] = self.shout

        def shout(self, text):
            return self.cql_encode_str(text.upper())

    session = store.session
    row = {
        "id": CUSTOMER, "name": "O'Hara", "home": Address("Elm", 5, {"b", "a"}), "others": {"work": Address("Oak")},
        "since": datetime.datetime(2024, 2, 29, 12, 30, 15, 250000), "birthday": Date("1990-05-01"),
        "wakes": Time("06:30:00.5"), "credit": decimal.Decimal("-12.5"), "code": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    }  # fmt: skip
    session.execute(store.add_customer, row)
    read = session.execute(store.get_customer.bind([CUSTOMER])).one()
    other = uuid.UUID(int=2)
    session.execute(
        "INSERT INTO customers (id, name, home, others, since, credit) VALUES (%s, %s, %s, %s, %s, %s)",
        (other, "It's", Address("Ash", None, {"x"}), {"a": Address("Fir")}, row["since"], row["credit"]),
    )
    written = session.execute("SELECT * FROM customers WHERE id = %(id)s", {"id": other}, execution_profile="dicts").one()
    session.encoder = Shouting()
    shouted = session.execute("SELECT name FROM customers WHERE name = %s ALLOW FILTERING", ("it's",)).all()
    session.encoder = Encoder()
    return list(read), sorted(written.items()), shouted, store.get_customer.column_metadata[0].type.typename


def errors(store):
    session = store.session
    return [
        error_of(lambda: session.execute("SELEC")),
        error_of(lambda: session.execute("SELECT nothing FROM orders")),
        error_of(lambda: session.execute("CREATE TABLE stock (article text PRIMARY KEY)")),
        error_of(lambda: session.execute(cassandra.query.SimpleStatement("SELECT n FROM orders", consistency_level=3))),
        error_of(lambda: session.execute(store.get_order, ("no uuid", 1))),
        error_of(lambda: session.execute(store.get_order, (CUSTOMER, 1, 2))),
        error_of(lambda: session.execute("SELECT n FROM orders", execution_profile="unknown")),
        error_of(lambda: setattr(session, "row_factory", None)),
        error_of(lambda: store.cluster.register_user_type(session.keyspace, "nothing", Address)),
        store.retrying.asked,
    ]


def futures(store):
    session = store.session
    cql = "BEGIN UNLOGGED BATCH " + "".join(f"INSERT INTO stock (article, amount) VALUES ('w{i}', 1);" for i in range(40))
    warned = session.execute_async(cql + " APPLY BATCH", custom_payload={"key": b"value"}, trace=True)
    rows = warned.result()
    trace = warned.get_query_trace(max_wait=10)
    (host,) = store.cluster.metadata.all_hosts()
    directed = session.execute_async("SELECT key FROM system.local", host=host)
    targeted = cassandra.query.HostTargetingStatement(cassandra.query.SimpleStatement("SELECT key FROM system.local"), host)
    return [
        list(rows), ["partitions" in warning for warning in warned.warnings], warned.custom_payload,
        type(trace).__name__, trace.request_type, len(trace.events) > 0, trace.duration.total_seconds() > 0,
        directed.result().one(), directed.coordinator_host == host, session.execute(targeted).one(),
        store.cluster.metadata.get_replicas(session.keyspace, b"key") == [host],
        (host.datacenter, host.rack, host.is_up),
    ]  # fmt: skip


def views(store):
    client = make_app(store).test_client()
    lines = [{"article": f"a{i}", "price": f"{i}.50"} for i in range(12)]
    path = f"/customers/{CUSTOMER}"
    answers = [client.post(f"{path}/orders", json=lines), client.get(path), client.get(f"/customers/{uuid.UUID(int=99)}")]
    answers += [client.get("/query", query_string={"cql": cql, "level": level}) for cql, level in (
        ("SELECT article, price FROM orders LIMIT 2", 1), ("SELEC", 1), ("SELECT no FROM orders", 1),
        ("SELECT n FROM orders", 3),
    )]  # fmt: skip
    pool = Pool(10)
    answers += pool.map(lambda _: make_app(store).test_client().get(f"{path}/orders"), range(50))
    return [(answer.status_code, answer.get_json()) for answer in answers]


def main(host, port, keyspace):
    store = Store(host, int(port), keyspace)
    try:
        answers = {
            "values": values(store),
            "views": views(store),
            "orders": store.pages(CUSTOMER, 5),
            "many": store.many(CUSTOMER, 20),
            "visits": store.count(["a", "b", "a"]),
            "taken": [store.take("plain", 1), store.take("plain", 1)],
            "factories": store.factories(),
            "listened": store.listen(),
            "schema": store.schema(),
            "futures": futures(store),
            "errors": errors(store),
            "heard": [what for what, _ in store.listener.heard if what != "add"],
            "legacy": legacy(host, int(port), keyspace),
        }
    finally:
        store.shutdown()
    print(json.dumps({name: described(answer) for name, answer in answers.items()}, indent=1, sort_keys=True))


main(*sys.argv[1:])
