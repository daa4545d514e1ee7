"""Schema agreement (layer: driver): whether all nodes that are up have the same schema.

Runs in the greenlet that needs to know: the cold path of a statement that changed the schema, or an application's.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent

from geventcql.errors import ConnectionException, OperationTimedOut
from geventcql.net.connection import Connection

if TYPE_CHECKING:
    from geventcql.control import ControlConnection

__all__ = ["wait_for_agreement"]

log = logging.getLogger(__name__)

SCHEMA_VERSION = "SELECT schema_version FROM system.local WHERE key='local'"
PAUSE = 0.2
"""Between looks, seconds."""


def wait_for_agreement(
    control: ControlConnection, connection: Connection | None = None, wait: float | None = None
) -> bool:
    """Wait until all nodes that are up have the same schema.

    Nodes that are marked down meanwhile are not waited for any longer.

    :param connection: to the node that has the new schema: others may not have heard of it, and agree on the old one. The
        control connection if left out, or lost
    :param wait: seconds; the Cluster's ``max_schema_agreement_wait`` if left out; 0: it is taken for granted
    :returns: whether they were seen to agree in that time
    :raises DriverException: nobody could be asked
    """
    cluster = control.cluster
    seconds = cluster.max_schema_agreement_wait if wait is None else wait
    if seconds <= 0 or len(cluster.metadata.all_hosts()) == 1:
        return True
    deadline = monotonic() + seconds
    while not _agree(control, connection, deadline):
        if monotonic() > deadline:
            log.warning("the nodes have not agreed on a schema within %s s", seconds)
            return False
        gevent.sleep(PAUSE)
    return True


def _agree(control: ControlConnection, connection: Connection | None, deadline: float) -> bool:
    try:
        if connection is None or connection.closed:
            with gevent.Timeout(max(0.0, deadline - monotonic()), OperationTimedOut({}, None)):
                connection = control.connect()
        return len(_versions(control, connection)) == 1
    except (ConnectionException, OperationTimedOut) as error:  # it broke, or the node has much to do: to be looked at again
        log.debug("the schema versions could not be read: %s", error)
        return False


def _versions(control: ControlConnection, connection: Connection) -> set[Any]:
    versions = {row["schema_version"] for row in control.query_on(connection, SCHEMA_VERSION)}
    for row in control.peers(connection):
        host = control.cluster.metadata.get_host_by_host_id(row["host_id"]) if row.get("host_id") else None
        version = row.get("schema_version")
        if host is not None and host.is_up is not False and version is not None:  # a node that starts has none yet
            versions.add(version)
    return versions
