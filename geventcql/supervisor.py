"""Supervisors (layer: driver): one greenlet per host, which keeps its connections as they should be.

A supervisor is level-triggered: whatever has happened, it compares what should be (where the host is, how near the policies
see it, how many connections each pool has) with what is, mends the difference, and waits for the next report or the next
attempt that is due. It ends when the host has left the cluster. Everything that befalls the host (up, down, another place)
is told by this greenlet, so in order, and once.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent.event import AsyncResult, Event

from geventcql import reconnecting
from geventcql.errors import AuthenticationFailed, ConnectionException, ConnectionShutdown
from geventcql.host import EndPoint, Host
from geventcql.metrics import count
from geventcql.net.connection import Connection
from geventcql.net.pool import HostPool
from geventcql.reconnecting import Backoff

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.hosts import HostRegistry

__all__ = ["HostSupervisor"]

log = logging.getLogger(__name__)

IDLE = 30.0
"""Seconds between looks for pools of keyspaces that are not used; the second look in a row closes them."""

Place = tuple[EndPoint, "str | None", "str | None"]
"""Where a host is: end point, data centre, rack."""


class HostSupervisor:
    """Keeps the pools of one host at their size, and the host's state.

    :param registry: whose host it is
    :param host: the host
    :param is_new: whether policies and listeners are to be told of it
    :param predecessor: the supervisor of the same node, which left and has come back
    """

    def __init__(
        self,
        cluster: Cluster,
        registry: HostRegistry,
        host: Host,
        is_new: bool,
        predecessor: HostSupervisor | None = None,
    ) -> None:
        self.host = host
        self.pools: dict[str | None, HostPool] = {}
        self.place: Place = (host.endpoint, host.datacenter, host.rack)
        """Where the host should be known to be; that it is, is this greenlet's work."""
        self._cluster = cluster
        self._registry = registry
        self._is_new = is_new
        self._predecessor = predecessor
        self._wake = Event()
        self._removed = False
        self._ended = False
        self._rumour: bool | None = None
        """What the server last said of the host, up or down, if that has not been looked at."""
        self.said_down = False
        """Whether the server's last word was that the host is down."""
        self._backoffs: dict[str | None, Backoff] = {}
        self._tried: dict[str | None, AsyncResult] = {}
        self._sent: dict[str, int] = {}
        """How many requests had gone over the pools of keyspaces that nobody was in when last looked at."""
        self._look_at = monotonic() + IDLE
        self.greenlet = gevent.spawn(self._run)

    # -- reports: from any greenlet and the hub; nothing in here switches -----------------------------------------------

    def reconsider(self) -> None:
        """Something may have changed: look at everything again."""
        self._wake.set()

    def hurry(self) -> None:
        """What kept connections from being opened may be over: try at once."""
        for backoff in self._backoffs.values():
            backoff.hurry()
        self._wake.set()

    def remove(self) -> None:
        """The host has left the cluster."""
        self._removed = True
        self._wake.set()

    def move(self, place: Place) -> None:
        """The host is elsewhere now."""
        if place != self.place:
            self.place = place
            self._wake.set()

    def rumour(self, is_up: bool) -> None:
        """The server says that the host is up, or down. It may be wrong, or late: it is a reason to look."""
        self._rumour = is_up
        self.said_down = not is_up
        self._wake.set()

    def pool(self, keyspace: str | None) -> HostPool:
        """The pool of a keyspace (None on v5), made at first use."""
        pool = self.pools.get(keyspace)
        if pool is None:
            size = self._cluster._connections_for(self.host)
            pool = HostPool(self.host, keyspace, size, self._report, self._cluster._on_room)
            self.pools[keyspace] = pool
            self._backoffs[keyspace] = Backoff(self._cluster)
            self._tried[keyspace] = AsyncResult()
            self._wake.set()
        return pool

    def first_try(self, keyspace: str | None) -> AsyncResult:
        """Set once a connection for ``keyspace`` has been opened, to True, or once that has failed, to the error."""
        return self._tried[keyspace]

    def _report(self, pool: HostPool) -> None:
        backoff = self._backoffs.get(pool.keyspace)
        if pool.last_error is not None and backoff is not None:  # else it was we who replaced or closed one
            backoff.lost()
        self._wake.set()
        self._registry.changed()

    @property
    def is_connected(self) -> bool:
        """Whether any connection to the host is open."""
        return any(pool.open_connections for pool in self.pools.values())

    # -- the supervisor greenlet ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._predecessor is not None:
            self._predecessor.greenlet.join()  # what befell it is told before what befalls this one
            self._predecessor = None
        while not self._ended:
            self._wake.clear()
            try:
                self._reconcile()
            except (Exception, gevent.Timeout):  # whatever it is, the host must not be lost by it
                log.exception("%s could not be looked after; trying again in %s s", self.host, reconnecting.PAUSE)
                gevent.sleep(reconnecting.PAUSE)
                continue
            if not self._ended:
                due = self.due()
                self._wake.wait(None if due is None else max(0.0, due - monotonic()))

    def due(self) -> float | None:
        """When there is something to do unless a report comes before, monotonic seconds; None: nothing is missing."""
        due = [backoff.due for keyspace, backoff in self._backoffs.items() if self.pools[keyspace].missing]
        if len(self.pools) > 1:
            due.append(self._look_at)
        return min(due) if due else None

    def _reconcile(self) -> None:
        if self._removed:
            self._leave()
            return
        if self._is_new:
            self._is_new = False
            self._arrive()
        self._settle()
        self._size_pools()
        self._look_into_rumour()
        for pool in list(self.pools.values()):  # each on its own: one that cannot be filled keeps no other waiting
            if pool.missing and self._backoffs[pool.keyspace].is_due():
                self._fill(pool)
            elif pool.missing and pool.opening:  # left alone for a while: nobody is to wait for it meanwhile
                pool.opening = False
                self._cluster._on_unreachable()
        if monotonic() >= self._look_at:
            self._look_at = monotonic() + IDLE
            self._close_unused()

    def _arrive(self) -> None:
        self.host.set_up()
        self._registry.tell_all("on_add", self.host)

    def _leave(self) -> None:
        self._ended = True
        for keyspace in list(self.pools):
            self._drop_pool(keyspace)
        self._registry.tell_all("on_remove", self.host)

    def _settle(self) -> None:
        """Have the host known to be where it is."""
        host, (endpoint, datacenter, rack) = self.host, self.place
        if endpoint != host.endpoint:
            log.info("%s is at %s now", host, endpoint)
            self._registry.tell_all("on_remove", host)
            host.set_location_info(datacenter, rack)
            self._registry.move(host, endpoint)
            self._arrive()
            for keyspace, pool in self.pools.items():
                for connection in list(pool.connections):
                    pool.succeed(connection)
                self._backoffs[keyspace].hurry()
        elif (datacenter, rack) != (host.datacenter, host.rack):
            self._registry.tell_policies("on_down", host)
            host.set_location_info(datacenter, rack)
            self._registry.rebuild_tokens()
            if host.is_up:
                self._registry.tell_policies("on_up", host)

    def _size_pools(self) -> None:
        size = self._cluster._connections_for(self.host)
        if not size:
            for keyspace in list(self.pools):
                self._drop_pool(keyspace)
            return
        for keyspace in self._registry.keyspaces_in_use():
            self.pool(keyspace)
        for pool in self.pools.values():
            pool.resize(size)

    def _drop_pool(self, keyspace: str | None) -> None:
        """Use a pool no more: what is in flight in it ends by itself."""
        pool = self.pools.pop(keyspace)
        del self._backoffs[keyspace]
        tried = self._tried.pop(keyspace)
        if not tried.ready():
            tried.set(ConnectionShutdown(f"{self.host} is not used any more", self.host.endpoint))
        self._registry.drain(pool)
        self._cluster._on_unreachable()

    def _look_into_rumour(self) -> None:
        is_up, self._rumour = self._rumour, None
        if is_up is None:
            return
        if is_up:
            for backoff in self._backoffs.values():
                backoff.hurry()
        if not self.pools:  # nobody has a connection to tell by
            self._up() if is_up else self._down()
        elif not is_up:
            for pool in self.pools.values():
                for connection in pool.open_connections:
                    self._cluster._heartbeat.ask(connection)
                    self.doubt(connection)

    def doubt(self, connection: Connection) -> None:
        """Whom both the server calls down and we have heard nothing from is down; in the hub, too."""
        if self.said_down and connection.suspect:
            connection.defunct(
                ConnectionException(f"{self.host} has fallen silent, and the cluster says that it is down", self.host.endpoint)
            )

    def _close_unused(self) -> None:
        """Close the pools of keyspaces (below v5) that no Session is in and nothing was sent in since the last look.
        What needs one all the same, a prepared statement, has it opened again.
        """
        entered = self._registry.keyspaces_in_use()
        sent = {
            keyspace: sum(connection.sent for connection in pool.open_connections)
            for keyspace, pool in self.pools.items()
            if keyspace is not None
            and keyspace not in entered
            and not any(connection.in_flight for connection in pool.open_connections)
            and not (pool.missing and pool.opening)
        }
        for keyspace in [keyspace for keyspace, number in sent.items() if self._sent.get(keyspace) == number]:
            self._drop_pool(keyspace)
            del sent[keyspace]
        self._sent = sent

    def _fill(self, pool: HostPool) -> None:
        """Open what is missing, up to the first failure."""
        backoff = self._backoffs[pool.keyspace]
        while pool.missing and not self._ended:
            try:
                if backoff.again:
                    gevent.sleep(reconnecting.RATE.reserve(self.host.endpoint))
                connection = self._cluster._open_pooled(self.host, pool.keyspace)
            except (Exception, gevent.Timeout) as error:  # an application's authenticator may raise either
                backoff.failed()
                self._failed(pool, error)
                return
            if backoff.again:
                count(self._cluster, "reconnects", self.host)
            backoff.opened()
            pool.add(connection)
            self.said_down = False
            self._up()
            tried = self._tried.get(pool.keyspace)
            if tried is not None:
                tried.set(True)

    def _failed(self, pool: HostPool, error: BaseException) -> None:
        pool.last_error = error
        pool.opening = False
        count(self._cluster, "connect_errors", self.host)
        level = logging.ERROR if isinstance(error, AuthenticationFailed) else logging.WARNING
        log.log(level, "cannot open a connection to %s: %s", self.host, error)
        self._tried[pool.keyspace].set(error)
        if not self.is_connected and self.host.is_up is not False and self.host.signal_connection_failure(error):
            self._down()
        self._cluster._on_unreachable()

    def _down(self) -> None:
        if self.host.is_up is not False:
            self.host.set_down()
            self._registry.tell_all("on_down", self.host)

    def _up(self) -> None:
        was = self.host.is_up
        self.host.set_up()
        self._registry.changed()
        if was is False:
            self._registry.tell_all("on_up", self.host)

    def shutdown(self) -> None:
        """Close all connections of the host and end."""
        self._ended = True
        for pool in self.pools.values():
            pool.shutdown()
        for tried in self._tried.values():
            if not tried.ready():
                tried.set(ConnectionShutdown("the Cluster was shut down", self.host.endpoint))
        if self.greenlet is not gevent.getcurrent():
            self.greenlet.kill(block=False)

    def check_invariants(self) -> None:
        """Assert that the host is connected, or about to be (for tests): at any switch point."""
        assert self._ended or not self.greenlet.dead, f"{self!r} has died"
        for keyspace, pool in self.pools.items():
            assert keyspace in self._backoffs and keyspace in self._tried, f"{pool!r} has no owner"
            for connection in pool.connections:
                assert not connection.closed, f"{pool!r} holds {connection!r}"

    def __repr__(self) -> str:
        return f"<HostSupervisor {self.host} {list(self.pools.values())}>"
