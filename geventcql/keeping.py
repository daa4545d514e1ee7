"""A pool that a supervisor keeps at its size, and a connection that it opens for it (layer: driver). Runs in supervisors, an
attempt in a greenlet of its own beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult

from geventcql import reconnecting
from geventcql.errors import ConnectionShutdown
from geventcql.net.connection import Connection
from geventcql.net.forking import spawn
from geventcql.net.pool import HostPool
from geventcql.reconnecting import Backoff

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.supervisor import HostSupervisor

__all__ = ["Attempt", "Kept"]


class Kept:
    """A pool that is kept at its size."""

    def __init__(self, pool: HostPool, cluster: Cluster) -> None:
        self.pool = pool
        self.refusals = Backoff(cluster)
        """When to try again what the host, which can be connected to, has refused: its keyspace."""
        self.next_try = AsyncResult()
        """Set once a connection has been opened, to True, or once that has failed, to the error; not set: somebody waits for
        it to be tried now.
        """
        self.sent: int | None = None
        """How many requests had gone over it when it was last found that nobody needs it."""

    def tried(self, outcome: bool | BaseException) -> None:
        if self.next_try.ready():
            self.next_try = AsyncResult()
        self.next_try.set(outcome)


class Attempt:
    """A connection that is being opened, in a greenlet of its own.

    :param kept: the pool that it is for; None: only to see whether the host can be reached
    """

    def __init__(self, supervisor: HostSupervisor, kept: Kept | None) -> None:
        self.kept = kept
        self.outcome: Connection | BaseException | None = None
        self._supervisor = supervisor
        self._is_cancelled = False
        supervisor.backoff.begin()
        if kept is not None:
            kept.refusals.begin()
        self._greenlet = spawn(self._run)
        self._greenlet.rawlink(self._over)

    def _run(self) -> None:
        supervisor = self._supervisor
        keyspace = None if self.kept is None else self.kept.pool.keyspace
        try:
            if supervisor.backoff.again:
                gevent.sleep(reconnecting.RATE.reserve(supervisor.host.endpoint))
            self.outcome = supervisor._cluster._open_pooled(supervisor.host, keyspace)
        except (Exception, gevent.Timeout, gevent.GreenletExit) as error:  # of an application's authenticator, too
            self.outcome = error
        if self._is_cancelled:
            self.cancel()

    def _over(self, greenlet: Any) -> None:
        if self.outcome is None:  # it was killed before it began, or interrupted
            self.outcome = ConnectionShutdown("the attempt to connect was given up", self._supervisor.host.endpoint)
            self.outcome.__cause__ = greenlet.exception
        self._supervisor.reconsider()

    def cancel(self) -> None:
        """Nobody wants it any more; does not wait."""
        self._is_cancelled = True
        if isinstance(self.outcome, Connection):
            self.outcome.close()
        if self._greenlet is not gevent.getcurrent():
            self._greenlet.kill(block=False)
