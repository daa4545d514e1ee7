"""The hosts of a Cluster and their pools (layer: driver): one supervisor greenlet per host.

A supervisor is level-triggered: it compares how many connections each pool of its host should have with how many it has,
opens what is missing, and waits for the next report. It never ends while the host is known. Host state (``is_up``) is
written here only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult, Event

from geventcql.cython.wire import Route
from geventcql.errors import AuthenticationFailed, ConnectionShutdown, NoHostAvailable
from geventcql.host import Host
from geventcql.net.connection import Connection
from geventcql.net.pool import HostPool
from geventcql.policies import HostDistance

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["HostRegistry", "HostSupervisor"]

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Between attempts to reach a host, seconds, where the reconnection policy gives none."""
SHORTEST_PAUSE = 0.01
"""Seconds; attempts that are refused at once must not follow one another faster, whatever the policy says."""
STABLE = 1.0
"""Seconds that a pool's latest connection must have lasted for a loss to say nothing about the next one."""

IDLE = 30.0
"""Seconds between looks for pools of keyspaces that are not used; the second look in a row closes them."""


class _Backoff:
    """When a pool may open a connection: at once, or after the reconnection policy's pauses if the last came to nothing."""

    def __init__(self, cluster: Cluster) -> None:
        self.due = 0.0
        """Monotonic seconds; in the past: at once."""
        self._cluster = cluster
        self._pauses: Iterator[float] | None = None
        self._opened = 0.0
        self._early_losses = 0

    def opened(self) -> None:
        """A connection was opened; whether the host keeps it is to be seen."""
        self._opened = monotonic()

    def lost(self) -> None:
        """A connection was lost; in readers and in the hub."""
        if monotonic() - self._opened < STABLE:
            self._early_losses += 1
        else:
            self._early_losses = 0
            self._pauses = None

    def failed(self) -> None:
        """No connection could be opened."""
        if self._pauses is None:
            self._pauses = self._schedule()
        self.due = monotonic() + next(self._pauses)

    def is_due(self) -> bool:
        """Whether to try now. A host that takes connections only to drop them is left alone as one that takes none."""
        if self._early_losses > 1:
            self._early_losses = 1
            self.failed()
        return self.due <= monotonic()

    def _schedule(self) -> Iterator[float]:
        """What the reconnection policy says, seconds; a policy that ends or fails must not lose the host."""
        while True:
            given = False
            try:
                for pause in self._cluster.reconnection_policy.new_schedule():
                    seconds = max(SHORTEST_PAUSE, float(pause))
                    given = True
                    yield seconds
            except (Exception, gevent.Timeout):
                log.exception("%r failed", self._cluster.reconnection_policy)
            if not given:
                yield PAUSE


class HostSupervisor:
    """Keeps the pools of one host at their size.

    :param cluster: whose host it is
    :param host: the host
    """

    def __init__(self, cluster: Cluster, host: Host) -> None:
        self.host = host
        self.pools: dict[str | None, HostPool] = {}
        self._cluster = cluster
        self._below_size = Event()
        self._ended = False
        self._backoffs: dict[str | None, _Backoff] = {}
        self._tried: dict[str | None, AsyncResult] = {}
        self._sent: dict[str, int] = {}
        """How many requests had gone over the pools of keyspaces that nobody was in when last looked at."""
        self._look_at = monotonic() + IDLE
        self._greenlet = gevent.spawn(self._run)

    def pool(self, keyspace: str | None) -> HostPool:
        """The pool of a keyspace (None on v5), made at first use."""
        pool = self.pools.get(keyspace)
        if pool is None:
            size = self._cluster._connections_per_host(self.host)
            pool = HostPool(self.host, keyspace, size, self._report, self._cluster._on_room)
            self.pools[keyspace] = pool
            self._backoffs[keyspace] = _Backoff(self._cluster)
            self._tried[keyspace] = AsyncResult()
            self._below_size.set()
        return pool

    def first_try(self, keyspace: str | None) -> AsyncResult:
        """Set once a connection for ``keyspace`` has been opened, to True, or once that has failed, to the error."""
        return self._tried[keyspace]

    def _report(self, pool: HostPool) -> None:
        if pool.last_error is not None:  # else it was we who replaced or closed one: no fault of the host
            self._backoffs[pool.keyspace].lost()
        self._below_size.set()
        self._cluster._registry.changed()

    def _run(self) -> None:
        """The supervisor greenlet."""
        while not self._ended:
            due = [backoff.due for keyspace, backoff in self._backoffs.items() if self.pools[keyspace].missing]
            if len(self.pools) > 1:
                due.append(self._look_at)
            self._below_size.wait(max(0.0, min(due) - monotonic()) if due else None)
            self._below_size.clear()
            for pool in list(self.pools.values()):  # each on its own: one that cannot be filled keeps no other waiting
                if pool.missing and self._backoffs[pool.keyspace].is_due():
                    self._fill(pool)
                elif pool.missing and pool.opening:  # left alone for a while: nobody is to wait for it meanwhile
                    pool.opening = False
                    self._cluster._on_unreachable()
            if monotonic() >= self._look_at:
                self._look_at = monotonic() + IDLE
                self._close_unused()

    def _close_unused(self) -> None:
        """Close the pools of keyspaces (below v5) that no Session is in and nothing was sent in since the last look.
        What needs one all the same, a prepared statement, has it opened again.
        """
        entered = {session.keyspace for session in self._cluster.sessions}
        sent = {
            keyspace: sum(connection.sent for connection in pool.open_connections)
            for keyspace, pool in self.pools.items()
            if keyspace is not None
            and keyspace not in entered
            and not any(connection.in_flight for connection in pool.open_connections)
            and not (pool.missing and pool.opening)
        }
        for keyspace in [keyspace for keyspace, count in sent.items() if self._sent.get(keyspace) == count]:
            self.pools.pop(keyspace).shutdown()
            del self._backoffs[keyspace], self._tried[keyspace], sent[keyspace]
            self._cluster._registry.changed()
        self._sent = sent

    def _fill(self, pool: HostPool) -> None:
        """Open what is missing, up to the first failure."""
        backoff = self._backoffs[pool.keyspace]
        while pool.missing and not self._ended:
            try:
                connection = self._cluster._open_pooled(self.host, pool.keyspace)
            except (Exception, gevent.Timeout) as error:  # an application's authenticator may raise either
                backoff.failed()
                self._failed(pool, error)
                return
            backoff.opened()
            pool.add(connection)
            self._up()
            self._tried[pool.keyspace].set(True)

    def _failed(self, pool: HostPool, error: BaseException) -> None:
        pool.last_error = error
        pool.opening = False
        level = logging.ERROR if isinstance(error, AuthenticationFailed) else logging.WARNING
        log.log(level, "cannot open a connection to %s: %s", self.host, error)
        self._tried[pool.keyspace].set(error)
        if not any(p.open_connections for p in self.pools.values()) and self.host.is_up is not False:
            self.host.set_down()
            self._cluster._registry.changed()
            self._cluster._tell_listeners("on_down", self.host)
            self._cluster._registry.changed()  # policies may see hosts differently now
        self._cluster._on_unreachable()

    def _up(self) -> None:
        was = self.host.is_up
        self.host.set_up()
        self._cluster._registry.changed()
        if was is False:
            self._cluster._tell_listeners("on_up", self.host)
            self._cluster._registry.changed()

    def shutdown(self) -> None:
        """Close all connections of the host and end."""
        self._ended = True
        for pool in self.pools.values():
            pool.shutdown()
        for tried in self._tried.values():
            if not tried.ready():
                tried.set(ConnectionShutdown("the Cluster was shut down", self.host.endpoint))
        if self._greenlet is not gevent.getcurrent():
            self._greenlet.kill(block=False)

    def __repr__(self) -> str:
        return f"<HostSupervisor {self.host} {list(self.pools.values())}>"


class HostRegistry:
    """All hosts that a Cluster knows, with their supervisors."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._supervisors: dict[Host, HostSupervisor] = {}
        self.routes: dict[Any, Route] = {}
        """Where requests go first, by kind of request; see :meth:`geventcql.routing.Router.route`."""
        cluster.metadata.on_token_map = self.changed

    def add(self, host: Host) -> HostSupervisor:
        """Supervise ``host`` from now on."""
        supervisor = self._supervisors.get(host)
        if supervisor is None:
            supervisor = self._supervisors[host] = HostSupervisor(self._cluster, host)
            self.changed()
        return supervisor

    def open_pools(self, keyspace: str | None) -> list[HostSupervisor]:
        """Have a pool for ``keyspace`` on every host that some policy uses.

        :returns: the supervisors of those hosts
        """
        used = []
        for host, supervisor in self._supervisors.items():
            if self._cluster._distance(host) != HostDistance.IGNORED:
                supervisor.pool(keyspace)
                used.append(supervisor)
        self.changed()
        return used

    def wait_for_pools(self, keyspace: str | None, all_of_them: bool = False) -> None:
        """Wait until a pool for ``keyspace`` has a connection.

        :param all_of_them: wait until connecting to each host has been tried
        :raises NoHostAvailable: no host could be connected to
        """
        supervisors = self.open_pools(keyspace)
        tries = [supervisor.first_try(keyspace) for supervisor in supervisors]
        for tried in tries if all_of_them else gevent.iwait(tries):
            tried.wait()
            if tried.value is True and not all_of_them:
                return
        if any(tried.value is True for tried in tries):
            return
        errors = {str(s.host): t.value for s, t in zip(supervisors, tries, strict=True)}
        told = "; ".join(f"{host}: {error}" for host, error in errors.items())
        raise NoHostAvailable(f"no host could be connected to: {told or 'the policies use none'}", errors)

    def pool(self, host: Host, keyspace: str | None) -> HostPool | None:
        """The pool for ``keyspace`` on ``host``; None if there is none (yet)."""
        supervisor = self._supervisors.get(host)
        return None if supervisor is None else supervisor.pools.get(keyspace)

    def usable_pool(self, host: Host, keyspace: str | None) -> HostPool | None:
        """As :meth:`pool`; if the host is used at all, one that was closed because it was not used is made again."""
        supervisor = self._supervisors.get(host)
        return None if supervisor is None or None not in supervisor.pools else supervisor.pool(keyspace)

    def only_pool(self, keyspace: str | None) -> HostPool | None:
        """The pool of the one host that there is; None if there are more, or none."""
        if len(self._supervisors) != 1:
            return None
        (supervisor,) = self._supervisors.values()
        return supervisor.pools.get(keyspace)

    def changed(self) -> None:
        """Something about hosts, pools or tokens is no longer as it was."""
        for route in self.routes.values():
            route.stale = True
        self.routes.clear()

    def pools(self) -> list[HostPool]:
        """All pools, host by host."""
        return [pool for supervisor in self._supervisors.values() for pool in supervisor.pools.values()]

    def connections(self) -> list[Connection]:
        """All open connections of all pools."""
        return [connection for pool in self.pools() for connection in pool.open_connections]

    def shutdown(self) -> None:
        """Close everything."""
        for supervisor in self._supervisors.values():
            supervisor.shutdown()
        self._supervisors.clear()
        self.changed()
