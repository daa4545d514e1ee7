"""A process that ends without having shut anything down: run by test_processes as `python leaving.py STATE PORT CA_FILE`.

STATE: what is under way then, one of the functions. CA_FILE: an authority's certificate if the node speaks TLS, else empty.
Imports nothing of the tests.
"""

import ssl
import sys

import gevent

import geventcql
from geventcql.cluster import Cluster

STATE, PORT, CA_FILE = sys.argv[1], int(sys.argv[2]), sys.argv[3]

context = ssl.create_default_context(cafile=CA_FILE) if CA_FILE else None
options = {"port": PORT, "ssl_context": context}
kept = []


def connect():
    session = geventcql.connect("127.0.0.1", **options)
    kept.append(session)
    return session


def connected():
    """The Session is held by a global."""
    connect()


def dropped():
    """Nobody holds the Session any more."""
    connect()
    kept.clear()


def held_by_the_cluster_only():
    cluster = Cluster(["127.0.0.1"], **options)
    cluster.connect()


def connecting():
    kept.append(gevent.spawn(connect))
    gevent.sleep(0.001)


def in_flight():
    session = connect()
    kept.extend(session.execute_async("SELECT never") for _ in range(100))
    gevent.sleep(0.01)


def not_sent():
    """The hub never gets to send it."""
    kept.append(connect().execute_async("SELECT never"))


def others_wait():
    session = connect()
    kept.extend(gevent.spawn(session.execute, "SELECT never") for _ in range(10))
    gevent.sleep(0.01)


def iterating():
    rows = iter(connect().execute("SELECT pages"))
    kept.append((next(rows), rows))


def iterating_parameters():
    results = connect().imap("SELECT v", ((),) * 1000)
    kept.append((next(results), results))


def iterating_parameters_unordered():
    results = connect().imap_unordered("SELECT v", ((),) * 1000)
    kept.append((next(results), results))


def with_callbacks():
    connect().execute_async("SELECT never").add_callback(kept.append)


def in_with():
    with Cluster(["127.0.0.1"], **options) as cluster:
        kept.append(cluster.connect().execute_async("SELECT never"))
        sys.exit(3)


def in_a_greenlet():
    session = connect()

    def leave():
        session.execute("SELECT v")
        sys.exit(3)

    gevent.spawn(leave)
    session.execute("SELECT never")


def in_a_callback():
    session = connect()
    session.execute_async("SELECT v").add_callback(lambda rows: sys.exit(3))
    session.execute("SELECT never")


def with_an_error():
    session = connect()
    kept.append(session.execute_async("SELECT never"))
    session.execute("SELECT wrong")


try:
    globals()[STATE]()
finally:
    print('"leaving"', flush=True)
