"""A process that gets signals while it waits for the driver: run by test_signals, as
`python signalled.py PATCH HANDLER PORT MUTE_PORT`.

PATCH: `never` or `first`. HANDLER: who turns signals into exceptions: `python`, the interpreter as it is; `gevent`,
gevent.signal_handler. SIGINT becomes KeyboardInterrupt, SIGTERM SystemExit(3). PORT is that of a node that serves keys,
MUTE_PORT of one that is mute at first. Each line of its input is an act, see `ACTS`. It says "waiting" when the main greenlet
waits, what ended that, and, told to go on, whether all is well. Imports nothing of the tests.
"""

import json
import sys

PATCH, HANDLER, PORT, MUTE = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

if PATCH == "first":
    from gevent import monkey

    monkey.patch_all()

import signal  # noqa: E402

import gevent  # noqa: E402

from geventcql.cluster import Cluster  # noqa: E402

NEVER = "SELECT never"


def tell(value):
    print(json.dumps(value), flush=True)


def interrupt(*_):
    raise KeyboardInterrupt


def leave(*_):
    sys.exit(3)


signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background begins with it ignored
if HANDLER == "gevent":
    handlers = [gevent.signal_handler(signal.SIGINT, interrupt), gevent.signal_handler(signal.SIGTERM, leave)]
else:
    signal.signal(signal.SIGTERM, leave)

cluster = Cluster(["127.0.0.1"], port=PORT)
session = cluster.connect()
prepared = session.prepare("SELECT k FROM t WHERE k = ?")
mute = Cluster(["127.0.0.1"], port=MUTE, connect_timeout=0.5)
ending = Cluster(["127.0.0.1"], port=PORT)
under_way = ending.connect().execute_async(NEVER, timeout=60)
others = []


def beside(wait):
    """The main greenlet waits so, another one for a request, which is answered when the test says so."""
    others.append(gevent.spawn(session.execute, "SELECT gated", timeout=60))
    wait(others[-1])


ACTS = {
    "execute": lambda: session.execute(prepared, (-1,), timeout=60),
    "result": lambda: session.execute_async(NEVER, timeout=60).result(),
    "get": lambda: session.execute_async(NEVER, timeout=60).get(),
    "prepare": lambda: session.prepare("SELECT mute"),
    "pages": lambda: list(session.execute("SELECT stuck", timeout=60)),
    "imap": lambda: list(session.imap(prepared, [(1,), (-1,)])),
    "execute_concurrent": lambda: session.execute_concurrent([(prepared, (-1,))] * 3),
    "connect": mute.connect,
    "shutdown": lambda: ending.shutdown(timeout=60),
    "join": lambda: beside(lambda other: other.join()),
    "sleep": lambda: beside(lambda other: gevent.sleep(60)),
}


def is_well(act):
    right = [session.execute(prepared, (key,)).one().k == key for key in range(20)]
    right += [greenlet.get(timeout=5).one().v == 7 for greenlet in others]
    others.clear()
    if act == "connect":
        right.append(mute.connect().execute("SELECT v").one().v == 7)
    if act == "shutdown":
        right += [ending.is_shutdown, under_way.exception is not None]
    return all(right)


for line in sys.stdin:
    act = line.strip()
    if act == "leave":  # and let nobody catch it
        gevent.spawn(tell, "waiting")
        with cluster:
            session.execute(NEVER, timeout=60)
    gevent.spawn(tell, "waiting")
    try:
        ACTS[act]()
    except (KeyboardInterrupt, SystemExit) as error:
        tell(repr(error))
    sys.stdin.readline()
    tell(is_well(act))
mute.shutdown()
cluster.shutdown()
