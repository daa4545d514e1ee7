"""A process with nothing but the driver in it: run by test_processes as `python child.py PATCH ACT PORT`.

PATCH: when gevent's monkey-patching is done (`never`, `first`, `after`). ACT: what is done; see the functions. Each prints
its outcome as JSON on one line. Imports nothing of the tests: what it needs is the installed package.
"""

import json
import sys

PATCH, ACT, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])

if PATCH == "first":
    from gevent import monkey

    monkey.patch_all()

import gevent  # noqa: E402

import geventcql  # noqa: E402
from geventcql.cluster import Cluster  # noqa: E402
from geventcql.policies import ConstantReconnectionPolicy  # noqa: E402

if PATCH == "after":
    from gevent import monkey

    monkey.patch_all()

BY_KEY = "SELECT k FROM t WHERE k = ?"


def tell(value):
    print(json.dumps(value), flush=True)


def work():
    """A bit of everything; the exit is left to the interpreter when ACT is work_and_leave."""
    cluster = Cluster(["127.0.0.1"], port=PORT)
    session = cluster.connect()
    prepared = session.prepare(BY_KEY)
    right = [session.execute(prepared, (key,)).one().k == key for key in range(20)]
    asking = [gevent.spawn(lambda key: session.execute(prepared, (key,)).one().k, key) for key in range(300)]
    right += [greenlet.get() == key for key, greenlet in enumerate(asking)]
    right += [row.one().k == key for key, row in enumerate(session.imap(prepared, ((key,) for key in range(100))))]
    right.append([row.v for row in session.execute("SELECT pages")] == list(range(10)))
    called = gevent.event.Event()
    session.execute_async(prepared, (1,)).add_callback(lambda rows: called.set())
    right.append(called.wait(5))
    with gevent.Timeout(0.05, False):
        session.execute("SELECT never")
        right.append(False)
    try:
        session.execute("SELECT never", timeout=0.05)
    except geventcql.OperationTimedOut:
        right.append(True)
    tell([len(right), all(right)])
    return cluster


def in_thread():
    """The whole life of a Cluster in a real thread other than the main one."""
    from gevent.monkey import get_original

    start, done = get_original("_thread", "start_new_thread"), []

    def run():
        work().shutdown()
        done.append(True)

    start(run, ())
    sleep = get_original("time", "sleep")
    while not done:
        sleep(0.01)


def dead_server():
    """No greenlet but this one, and a server that dies: each public call ends with an error of the driver's."""
    import logging

    logging.disable(logging.CRITICAL)
    options = {
        "port": PORT, "connect_timeout": 0.3, "control_connection_timeout": 0.3, "idle_heartbeat_interval": 0,
        "reconnection_policy": ConstantReconnectionPolicy(60),
    }  # fmt: skip
    cluster = Cluster(["127.0.0.1"], **options)
    session = cluster.connect()
    session.default_timeout = 0.3
    prepared = session.prepare(BY_KEY)
    rows = session.execute("SELECT pages")
    tell("ready")
    sys.stdin.readline()
    outcomes = {}
    for name, call in {
        "execute": lambda: session.execute(prepared, (1,)),
        "execute text": lambda: session.execute("SELECT pages"),
        "result": lambda: session.execute_async(prepared, (1,)).result(),
        "get": lambda: session.execute_async(prepared, (1,)).get(),
        "prepare": lambda: session.prepare("SELECT other"),
        "rows": lambda: list(rows),
        "next page": rows.fetch_next_page,
        "imap": lambda: list(session.imap(prepared, [(1,), (2,)])),
        "imap_unordered": lambda: list(session.imap_unordered(prepared, [(1,), (2,)])),
        "execute_concurrent": lambda: session.execute_concurrent([(prepared, (1,))]),
        "execute_concurrent_async": lambda: session.execute_concurrent_async([(prepared, (1,))], 1, True).get(),
        "set_keyspace": lambda: session.set_keyspace("ks"),
        "use": lambda: session.execute("USE ks"),
        "connect with keyspace": lambda: cluster.connect("ks"),
        "another cluster": lambda: Cluster(["127.0.0.1"], **options).connect(),
        "geventcql.connect": lambda: geventcql.connect(["127.0.0.1"], **options),
    }.items():
        try:
            outcomes[name] = repr(call())
        except BaseException as error:
            outcomes[name] = f"{type(error).__module__}.{type(error).__name__}"
    tell(outcomes)
    cluster.shutdown()


if ACT == "work":
    work().shutdown()
elif ACT == "work_and_leave":
    kept = work()
elif ACT == "fail_and_leave":
    try:
        Cluster(["127.0.0.1"], port=1).connect()
    except geventcql.NoHostAvailable:
        tell("failed")
elif ACT == "in_thread":
    in_thread()
else:
    dead_server()
