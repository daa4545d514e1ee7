"""A process that forks: run by test_forks as `python forks.py ACT KIND PLACE PORT OPTIONS`.

ACT: what is done; see the functions. KIND: how it is forked: `os` (os.fork), `gevent` (gevent.os.fork), `libc` (in C, so that
no hook of Python's runs). PLACE: where: `main`, `greenlet`, `thread` (a real one), `hub` (a callback), `submit` (work given to
a Session), `callback` (of a future). OPTIONS: of the Cluster, as JSON. Parent and child print lines of JSON. Imports nothing
of the tests.
"""

import ctypes
import gc
import json
import os
import select
import sys
import threading
import warnings

import gevent
import gevent.os

import geventcql
from geventcql.cluster import Cluster, ExecutionProfile
from geventcql.concurrent import execute_concurrent_with_args
from geventcql.net.connection import Connection
from geventcql.policies import HostStateListener, RoundRobinPolicy

# From Python 3.12 on it warns of what is tested here.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

ACT, KIND, PLACE, PORT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
OPTIONS = {"contact_points": ["127.0.0.1"], **json.loads(sys.argv[5])}
if "ca_file" in OPTIONS:
    OPTIONS["ssl_options"] = {"ca_certs": OPTIONS.pop("ca_file"), "check_hostname": True}

BY_KEY = "SELECT k FROM t WHERE k = ?"
GATED = "SELECT k FROM gated WHERE k = ?"
FUTURES, ASKING = 1000, 100
CALLED_LATER = []

FORKS = {"os": os.fork, "gevent": gevent.os.fork, "libc": ctypes.PyDLL(None).fork}


def tell(**value):
    os.write(1, json.dumps(value).encode() + b"\n")


def cluster_of(**options):
    """A Cluster that is not disturbed by a machine that has much else to do."""
    patient = {"connect_timeout": 30, "control_connection_timeout": 30}
    cluster = Cluster(port=PORT, **{**patient, **OPTIONS, **options})
    for profile in cluster.profile_manager.profiles.values():
        profile.request_timeout = 60
    return cluster


def right(session, prepared, keys=range(100)):
    """Whether each key's row is its own."""
    return all(session.execute(prepared, (key,)).one().k == key for key in keys)


def run_child(child):
    try:
        child()
    except Exception as error:
        tell(who="child", error=repr(error))
        raise
    finally:
        if PLACE != "main":
            os._exit(0)


def fork(child, session=None):
    """Run `child` in a child process; its id. In some places it takes a Session."""
    pids = []

    def here():
        pid = FORKS[KIND]()
        if pid:
            pids.append(pid)
        elif PLACE == "hub":
            gevent.spawn(run_child, child)
        else:
            run_child(child)
            sys.exit(0)  # by the interpreter's end, without a shutdown

    if PLACE == "main":
        here()
    elif PLACE == "greenlet":
        gevent.spawn(here)
    elif PLACE == "thread":
        threading.Thread(target=here).start()
    elif PLACE == "submit":
        session.submit(here)
    elif PLACE == "callback":
        future = session.execute_async("SELECT pages")
        future.add_callback(lambda rows: here()).add_callback(CALLED_LATER.append)
    else:
        gevent.get_hub().loop.run_callback(here)
    while not pids:
        gevent.sleep(0.001)
    return pids[0]


def ended(pid):
    """Wait for a child: how it ended."""
    wait = gevent.os.waitpid if KIND == "gevent" else os.waitpid
    while True:
        found, status = wait(pid, os.WNOHANG)
        if found:
            return status
        gevent.sleep(0.005)


def name_of(call, *args):
    """What a call raises, or returns."""
    try:
        return repr(call(*args))
    except BaseException as error:
        return type(error).__name__


def until_readable(descriptor):
    """Wait for a line, or the end, of a pipe; others go on meanwhile."""
    while not select.select([descriptor], [], [], 0)[0]:
        gevent.sleep(0.005)


def in_flight():
    """A thousand requests in flight in the parent: it gets their answers; the child has its own and hears nothing of those."""
    cluster = cluster_of()
    session = cluster.connect()
    prepared, gated = session.prepare(BY_KEY), session.prepare(GATED)
    session_id = session.session_id
    futures = [session.execute_async(gated, (key,)) for key in range(FUTURES)]
    answered, called = [], []

    def ask(key):
        answered.append(session.execute(gated, (key,)).one().k == key)

    asking = [gevent.spawn(ask, key) for key in range(ASKING)]
    futures[0].add_callback(called.append)
    while sum(session.get_pool_state().popitem()[1]["in_flights"]) < FUTURES + ASKING:
        gevent.sleep(0.001)
    parent_lives, write_end = os.pipe()

    def child():
        os.close(write_end)
        gevent.sleep(0.01)  # what of the parent's could run in here has its chance to
        is_right = right(session, prepared)
        waits = (
            futures[0].result, futures[0].get, futures[0].wait, lambda: futures[0].add_callback(print),
            lambda: gevent.wait([futures[0]]), lambda: futures[0].link(print), lambda: futures[0].has_more_pages,
            futures[0].start_fetching_next_page, lambda: futures[0].result(timeout=0.1),
        )  # fmt: skip
        waited = sorted({name_of(wait) for wait in waits})
        tell(who="child", right=is_right, waited=waited, new_id=session.session_id != session_id, repr=repr(session))
        until_readable(parent_lives)
        gc.collect()
        gevent.sleep(0.05)
        woken = len(answered) + len(called) + len(CALLED_LATER)
        tell(who="child", ready=sum(future.ready() for future in futures), woken=woken)
        if PLACE == "greenlet":
            cluster.shutdown()

    pid = fork(child, session)
    os.close(parent_lives)
    tell(who="parent", forked=True)
    rows = [future.result().one().k for future in futures]
    gevent.joinall(asking)
    gevent.sleep(0)
    is_called = len(called) == 1 and len(CALLED_LATER) == (PLACE == "callback")
    tell(who="parent", right=rows == list(range(FUTURES)) and answered == [True] * ASKING and is_called)
    os.close(write_end)
    tell(who="parent", ended=ended(pid), after=right(session, prepared))
    cluster.shutdown()


def woken():
    """Greenlets that are woken together, of which the first forks: in the child none of the others is."""
    cluster = cluster_of()
    session = cluster.connect()
    prepared, gated = session.prepare(BY_KEY), session.prepare(GATED)
    awake, pids = [], []

    def child():
        is_right = right(session, prepared)
        gevent.sleep(0.05)
        tell(who="child", right=is_right, woken=len(awake))

    def ask(key):
        session.execute(gated, (key,))
        awake.append(key)
        if len(awake) == 1:
            pids.append(FORKS[KIND]())
            if not pids[0]:
                run_child(child)

    asking = [gevent.spawn(ask, key) for key in range(ASKING)]
    gevent.sleep(0.02)
    tell(who="parent", asked=True)
    gevent.joinall(asking)
    tell(who="parent", woken=len(awake), ended=ended(pids[0]))
    cluster.shutdown()


def interrupted():
    """A signal's handler raises while the child lets go of what the parent has: it goes on with that the next time."""
    cluster = cluster_of()
    session = cluster.connect()
    prepared = session.prepare(BY_KEY)
    forget = Connection._forget

    def forget_late(connection):
        Connection._forget = forget
        raise KeyboardInterrupt

    def child():
        first = name_of(session.execute, prepared, (1,))
        tell(who="child", first=first, right=right(session, prepared))

    Connection._forget = forget_late
    pid = fork(child)
    Connection._forget = forget
    sys.stdin.readline()
    tell(who="parent", ended=ended(pid), right=right(session, prepared))
    cluster.shutdown()


def connecting():
    """A fork while the Cluster connects: the child connects for itself."""
    cluster = cluster_of()

    def connect_here():
        session = cluster.connect()
        return right(session, session.prepare(BY_KEY))

    connects = gevent.spawn(connect_here)
    until_readable(0)  # the node has got the first request

    def child():
        tell(who="child", right=connect_here(), parents=repr(connects.ready()))

    pid = fork(child)
    tell(who="parent", ended=ended(pid))
    tell(who="parent", right=connects.get())
    cluster.shutdown()


class Counting(RoundRobinPolicy):
    populated = 0

    def populate(self, cluster, hosts):
        self.populated += 1
        super().populate(cluster, hosts)


class Listener(HostStateListener):
    told = 0

    def on_add(self, host):
        self.told += 1


def everything():
    """What was made before the fork goes on in the child, and what cannot says so."""
    listener = Listener()
    policies = [Counting(), Counting()]
    profiles = {"default": ExecutionProfile(policies[0]), "other": ExecutionProfile(policies[1])}
    cluster = cluster_of(execution_profiles=profiles, metrics_enabled=True)
    cluster.register_listener(listener)
    session = cluster.connect("ks")
    second = cluster.connect()
    second.max_requests_per_second = 20
    prepared = session.prepare(BY_KEY)
    gated = session.prepare(GATED)
    assert right(session, prepared)
    at_end, half_way, fetched = (session.execute("SELECT pages") for _ in range(3))
    first_rows = [next(iter(half_way)).v, half_way.next().v]
    ordered, unordered = (imap(gated, ((key,) for key in range(9)), 3) for imap in (session.imap, session.imap_unordered))
    gevent.spawn(next, ordered)
    gevent.spawn(next, unordered)
    concurrent = session.execute_concurrent_async([(gated, (1,))])
    submitted = session.submit(lambda: session.execute(gated, (1,)).one().k)
    throttled = [second.execute_async(prepared, (key,)) for key in range(60)]
    ids = {session.session_id, second.session_id}
    gevent.sleep(0.02)

    def child():
        session.execute(prepared, (0,))
        found = {
            "counted": cluster.metrics.request_timer["count"],
            "right": right(session, prepared) and right(second, prepared, range(3)),
            "keyspace": session.keyspace,
            "pages": [row.v for row in at_end],
            "half way": [*first_rows, *[row.v for row in half_way._iterator]],
            "page": [row.v for row in fetched.current_rows],
            "imap": name_of(next, ordered),
            "imap_unordered": name_of(next, unordered),
            "concurrent": name_of(concurrent.get),
            "submitted": [name_of(submitted.result), name_of(submitted.join), name_of(gevent.wait, [submitted])],
            "throttled": name_of(throttled[-1].result),
            "throttle": second.max_requests_per_second,
            "populated": [policy.populated for policy in policies],
            "told": listener.told,
            "profile": session.execute(prepared, (7,), execution_profile="other").one().k,
            "prepare": right(session, session.prepare(BY_KEY)),
            "tables": sorted(cluster.metadata.keyspaces),
            "imap again": [row.one().k for row in session.imap(prepared, [(1,), (2,)])],
            "all": [result.success for result in execute_concurrent_with_args(session, prepared, [(1,), (2,)])],
            "submit": session.submit(lambda: session.execute(prepared, (3,)).one().k).result(),
            "ids": len({*ids, session.session_id, second.session_id}),
        }
        tell(who="child", **found)
        cluster.shutdown()
        tell(who="child", after=[name_of(session.execute, prepared, (1,)), name_of(cluster.connect)])

    pid = fork(child)
    tell(who="parent", ended=ended(pid))
    sys.stdin.readline()
    tell(
        who="parent", right=right(session, prepared), submitted=submitted.result(), concurrent=concurrent.result()[0].success,
        ordered=len(list(ordered)), unordered=len(list(unordered)),
        throttled=[future.result().one().k for future in throttled] == list(range(60)),
        populated=[policy.populated for policy in policies], told=listener.told,
    )  # fmt: skip
    cluster.shutdown()


def first_use():
    """Each way to use a Cluster first in a child, which has the parent's connections no more."""
    cluster = cluster_of()
    session = cluster.connect()
    prepared = session.prepare(BY_KEY)
    rows = session.execute("SELECT pages")
    uses = {
        "execute": lambda: session.execute(prepared, (1,)).one().k,
        "execute text": lambda: session.execute("SELECT pages").one().v,
        "execute_async": lambda: session.execute_async(prepared, (1,)).result().one().k,
        "prepare": lambda: session.prepare("SELECT pages").query_string,
        "set_keyspace": lambda: session.set_keyspace("ks"),
        "USE": lambda: session.execute("USE ks").one(),
        "connect": lambda: cluster.connect().execute(prepared, (1,)).one().k,
        "metadata": lambda: sorted(cluster.metadata.keyspaces),
        "refresh_nodes": cluster.refresh_nodes,
        "next page": lambda: [row.v for row in rows],
        "imap": lambda: [result.one().k for result in session.imap(prepared, [(1,)])],
        "execute_concurrent_async": lambda: len(session.execute_concurrent_async([(prepared, (1,))]).get()),
        "submit": lambda: session.submit(lambda: session.execute(prepared, (1,)).one().k).result(),
        "in the hub": lambda: in_hub(lambda: session.execute_async(prepared, (1,))),
        "state": lambda: (len(session.get_pools()), session.get_pool_state(), cluster.get_control_connection_host()),
        "repr": lambda: len(f"{session!r}{cluster!r}") > 20,
        "shutdown": cluster.shutdown,
        "session.shutdown": session.shutdown,
        "nothing": lambda: None,
    }

    def in_hub(call):
        outcome = gevent.event.AsyncResult()
        gevent.get_hub().loop.run_callback(lambda: outcome.set(name_of(call)))
        return outcome.get()

    for name, use in uses.items():

        def child(name=name, use=use):
            tell(who="child", use=name, found=name_of(use))
            if name == "shutdown":
                tell(who="child", use="after shutdown", found=name_of(session.execute, prepared, (1,)))

        status = ended(fork(child))
        if status:
            tell(who="parent", use=name, status=status)
    tell(who="parent", right=right(session, prepared), open=len(session.get_pools()[0].connections))
    cluster.shutdown()


def generations():
    """Forks in a row, and children that fork."""
    cluster = cluster_of()
    session = cluster.connect()
    prepared = session.prepare(BY_KEY)

    def grandchild():
        tell(who="grandchild", right=right(session, prepared, range(10)))

    def used():
        is_right = right(session, prepared, range(10))
        pids = [fork(grandchild), fork(grandchild)]
        tell(who="child", right=is_right and right(session, prepared, range(10)), ended=[ended(pid) for pid in pids])

    def not_used():
        tell(who="child", right=True, ended=[ended(fork(grandchild))])

    pids = [fork(used), fork(not_used)]
    is_right = right(session, prepared)
    tell(who="parent", right=is_right, ended=[ended(pid) for pid in pids])
    cluster.shutdown()


def never_connected():
    """A Cluster made before the fork and connected behind it; the parent has used the resolver."""
    cluster_of().connect().cluster.shutdown()
    cluster = cluster_of()

    def child():
        session = cluster.connect()
        tell(who="child", right=right(session, session.prepare(BY_KEY)))

    tell(who="parent", ended=ended(fork(child)))


def dropped():
    """geventcql.connect's Session closes its connections behind itself, in the child as in the parent."""
    session = geventcql.connect(OPTIONS["contact_points"], port=PORT)
    prepared = session.prepare(BY_KEY)
    kept = [session]
    del session

    def child():
        is_right = right(kept[0], prepared)
        during = len(os.listdir("/proc/self/fd"))
        kept.clear()
        gc.collect()
        gevent.sleep(0.05)
        tell(who="child", right=is_right, closed=during - len(os.listdir("/proc/self/fd")))

    status = ended(fork(child))
    tell(who="parent", ended=status, right=right(kept[0], prepared))
    kept[0].shutdown()


def shutting_down():
    """A fork while the Cluster is being shut down: in the child it is."""
    cluster = cluster_of()
    session = cluster.connect()
    prepared, gated = session.prepare(BY_KEY), session.prepare(GATED)
    future = session.execute_async(gated, (5,))
    ending = gevent.spawn(cluster.shutdown, 10)
    gevent.sleep(0.02)

    def child():
        tell(who="child", found=[name_of(session.execute, prepared, (1,)), name_of(cluster.connect), name_of(future.get)])

    pid = fork(child)
    tell(who="parent", ended=ended(pid))
    sys.stdin.readline()
    ending.get()
    tell(who="parent", row=future.result().one().k)


{
    act.__name__: act
    for act in (
        in_flight, woken, interrupted, connecting, everything, first_use, generations, never_connected, dropped, shutting_down,
    )
}[ACT]()
