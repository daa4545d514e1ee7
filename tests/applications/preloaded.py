"""A web application that connects when it is imported, which `gunicorn --preload` does before it forks.

It answers `/<key>` with the id of the process and the row's key. Imports nothing of the tests.
"""

import os

import geventcql

session = geventcql.connect([os.environ["CQL_HOST"]], port=int(os.environ["CQL_PORT"]))
select = session.prepare(os.environ["CQL_SELECT"])


def app(environ, start_response):
    row = session.execute(select, [int(environ["PATH_INFO"].strip("/"))], timeout=60).one()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {row.k}".encode()]
