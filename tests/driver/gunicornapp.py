"""A WSGI application that Gunicorn's workers serve for test_gunicorn: one Session for each worker, on the node at $NODE_PORT.

/row/K asks for a key and answers with it and the worker's process id; /slow asks what the node answers later; /block keeps the
worker's hub for a minute. Imports nothing of the tests.
"""

import os
import time

import geventcql

session = geventcql.connect("127.0.0.1", port=int(os.environ["NODE_PORT"]))
by_key = session.prepare("SELECT k FROM t WHERE k = ?")


def app(environ, start_response):
    _, what, *arguments = environ["PATH_INFO"].split("/")
    if what == "block":
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass
    request = (by_key, (int(arguments[0]),)) if what == "row" else ("SELECT slow",)
    row = session.execute(*request, timeout=60).one()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{row[0]} {os.getpid()}".encode()]
