"""A process with nothing but the driver in it: run by test_processes as `python child.py PATCH ACT PORT`.

PATCH: when gevent's monkey-patching is done (`never`, `first`, `after`). ACT: what is done; see the functions. Each prints
its outcome as JSON on one line. Imports nothing of the tests but the list of public calls, which needs the installed package
only.
"""

import json
import sys

PATCH, ACT, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])

if PATCH == "first":
    from gevent import monkey

    monkey.patch_all()

import gevent  # noqa: E402

import geventcql  # noqa: E402
from geventcql.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile  # noqa: E402
from geventcql.policies import ConstantReconnectionPolicy  # noqa: E402
from tests.driver import publiccalls  # noqa: E402

if PATCH == "after":
    from gevent import monkey

    monkey.patch_all()


def tell(value):
    print(json.dumps(value), flush=True)


def error_of(call):
    """The name of what a call raises; None if it goes well."""
    try:
        call()
    except BaseException as error:
        return f"{type(error).__module__}.{type(error).__name__}"


def work():
    """A bit of everything; the exit is left to the interpreter when ACT is work_and_leave."""
    cluster = Cluster(["127.0.0.1"], port=PORT)
    session = cluster.connect()
    prepared = session.prepare(publiccalls.BY_KEY)
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
    """No greenlet but this one, and a server that dies: the error that each public call ends with, and after how long."""
    import logging
    import time

    logging.disable(logging.CRITICAL)
    gevent.get_hub().NOT_ERROR = (Exception,)  # what is given to Session.submit fails as the other calls do
    profile = ExecutionProfile(request_timeout=0.3)
    options = {
        "port": PORT, "connect_timeout": 0.3, "control_connection_timeout": 0.3, "max_schema_agreement_wait": 0.3,
        "idle_heartbeat_interval": 0, "reconnection_policy": ConstantReconnectionPolicy(60),
        "execution_profiles": {EXEC_PROFILE_DEFAULT: profile},
    }  # fmt: skip
    owned, closed = (publiccalls.Owned(Cluster(["127.0.0.1"], **options).connect()) for _ in range(2))
    tell("ready")
    sys.stdin.readline()

    def note(name, call):
        began = time.monotonic()
        error = error_of(call)
        tell([name, error, time.monotonic() - began])

    profile.request_timeout = None
    closed.begin()
    profile.request_timeout = 0.05
    note("another cluster", lambda: Cluster(["127.0.0.1"], **options).connect())
    note("geventcql.connect", lambda: geventcql.connect(["127.0.0.1"], **options))
    note("connection_factory", lambda: owned.cluster.connection_factory("127.0.0.1"))
    for kind, names in publiccalls.calls(owned).items():
        for name in names:
            owned.begin()
            whose = closed if name.startswith("shutdown") else owned
            note(f"{kind.__name__}.{name}", publiccalls.calls(whose)[kind][name])
    note("open at the shutdown", closed.pending.result)
    tell(None)
    owned.cluster.shutdown()


def destroyed_hub():
    """Each public call in the thread of a hub that has been destroyed: the error that it ends with."""
    owned = publiccalls.Owned(Cluster(["127.0.0.1"], port=PORT).connect())
    owned.begin()
    named = publiccalls.calls(owned)
    gevent.get_hub().destroy(destroy_loop=True)
    for kind, calls in named.items():
        for name, call in calls.items():
            tell([f"{kind.__name__}.{name}", error_of(call)])
    tell(None)


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
elif ACT == "destroyed_hub":
    destroyed_hub()
else:
    dead_server()
