"""The short way to a Session (layer: driver)."""

from __future__ import annotations

from typing import Any

from geventcql.cluster import Cluster
from geventcql.profiles import NOT_SET
from geventcql.session import Session

__all__ = ["connect"]


class _OwningSession(Session):
    """A Session whose Cluster is its own and ends with it."""

    def shutdown(self) -> None:
        super().shutdown()
        self.cluster.shutdown()


def connect(contact_points: Any = NOT_SET, keyspace: str | None = None, **options: Any) -> Session:
    """Connect and give a Session, whose Cluster is made, owned and shut down behind it; waits.

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
        return cluster._connect_session(_OwningSession, keyspace, wait_for_all_pools=False)
    except BaseException:
        cluster.shutdown()
        raise
