"""The short way to a Session (layer: driver)."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

from geventcql.cluster import Cluster
from geventcql.net.forking import notice
from geventcql.profiles import NOT_SET
from geventcql.session import Session

__all__ = ["connect"]


class _OwningSession(Session):
    """A Session whose Cluster is its own and ends with it."""

    def shutdown(self) -> None:
        super().shutdown()
        self.cluster.shutdown()


def _dropped(cluster: Cluster) -> None:
    """Nobody holds the Session any more. The collector may find out anywhere; the hub is where to close the connections."""
    notice()
    hub = cluster._hub
    if hub is not None and (loop := hub.loop) is not None:
        with suppress(ValueError):  # the loop has gone, and all connections with it
            loop.run_callback_threadsafe(_close, cluster)


def _close(cluster: Cluster) -> None:
    if not list(cluster.sessions):  # not its length, which may count the one that is just going
        cluster.shutdown()


def connect(contact_points: Any = NOT_SET, keyspace: str | None = None, **options: Any) -> Session:
    """Connect and give a Session, whose Cluster is made, owned and shut down behind it; waits.

    Whoever drops the Session without having shut it down closes everything, too, as soon as no request is under way and no
    other Session of its Cluster is held; what was given to :meth:`Session.submit` ends with it.
    A context manager: ``with geventcql.connect(["10.0.0.1"], "shop") as session: ...``

    :param contact_points: addresses or names of nodes; one may be given as a string; 127.0.0.1 by default
    :param keyspace: where unqualified names are
    :param options: further arguments of :class:`~geventcql.cluster.Cluster`
    :raises NoHostAvailable: no node could be used; see :meth:`geventcql.cluster.Cluster.connect`
    """
    if isinstance(contact_points, str):
        contact_points = [contact_points]
    cluster = Cluster(contact_points, **options)
    try:
        session = cluster._connect_session(_OwningSession, keyspace, wait_for_all_pools=False)
        weakref.finalize(session, _dropped, cluster).atexit = False
        return session
    except BaseException:
        cluster.shutdown()
        raise
