"""The hosts of a Cluster (layer: driver): the registry, which owns a supervisor for each, and routes made of them.

Hosts are known by their id; their addresses may change. What happens to a host is decided by its supervisor
(:mod:`geventcql.supervisor`); what is in the cluster, by the control connection's greenlet (:mod:`geventcql.topology`).
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult

from geventcql.cython.wire import Route
from geventcql.errors import NoHostAvailable
from geventcql.host import EndPoint, Host
from geventcql.introducing import Introductions, tell
from geventcql.net.connection import Connection
from geventcql.net.pool import HostPool
from geventcql.policies import HostDistance
from geventcql.sinks import all_told
from geventcql.supervisor import HostSupervisor, Place

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["HostRegistry"]


class HostRegistry:
    """All hosts that a Cluster knows, with their supervisors. Nothing in here switches unless it says so."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._supervisors: dict[Host, HostSupervisor] = {}
        self._living: set[HostSupervisor] = set()
        """All that have not ended, those of hosts that have left, too."""
        self._started = False
        self._drained: set[HostPool] = set()
        """Pools that are not used any more and have requests in flight."""
        self._news: deque[tuple[Any, str, Host]] = deque()
        """What each listener that was registered when it happened is to be told: listener, method, host."""
        self._telling = False
        self.introductions = Introductions(cluster, self._policy_known)
        """The policies that know the hosts."""
        self.routes: dict[Any, Route] = {}
        """Where requests go first, by kind of request; see :meth:`geventcql.routing.Router.route`."""
        cluster.metadata.on_token_map = self.changed

    # -- what is in the cluster -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Supervise all hosts from now on."""
        self._started = True
        hosts = self._cluster.metadata.all_hosts()
        self.introductions.begin_with(hosts)
        for host in hosts:
            self._tell_listeners("on_add", host)
            self._supervise(host, is_new=False)

    def add(self, host: Host, instead_of: Host | None = None) -> None:
        """A node has joined, or is seen for the first time.

        :param instead_of: the node that was at its address before
        """
        if instead_of is not None:
            self.remove(instead_of)
        self._cluster.metadata.add_or_return_host(host)
        if self._started:
            self._supervise(host, is_new=True, instead_of=instead_of)

    def _supervise(self, host: Host, is_new: bool, instead_of: Host | None = None) -> None:
        predecessors = [s for s in self._living if s.host in (host, instead_of)]
        supervisor = self._supervisors[host] = HostSupervisor(self._cluster, self, host, is_new, predecessors)
        self._living.add(supervisor)
        supervisor.ended.rawlink(lambda _: self._living.discard(supervisor))
        self.changed()

    def remove(self, host: Host) -> None:
        """A node has left."""
        self._cluster.metadata.remove_host(host)
        supervisor = self._supervisors.pop(host, None)
        if supervisor is not None:
            supervisor.remove()
        self.changed()

    def place(self, host: Host, place: Place) -> None:
        """Where a node is seen to be."""
        supervisor = self._supervisors.get(host)
        if supervisor is not None:
            supervisor.move(place)
        else:
            endpoint, datacenter, rack = place
            host.set_location_info(datacenter, rack)
            self.move(host, endpoint)
            self.rebuild_tokens()

    def endpoint(self, host: Host) -> EndPoint:
        """Where a host is, or is about to be."""
        supervisor = self._supervisors.get(host)
        return host.endpoint if supervisor is None else supervisor.place[0]

    def move(self, host: Host, endpoint: EndPoint) -> None:
        """A host's address is another one; in its supervisor."""
        host.endpoint = endpoint
        self._cluster.metadata.host_moved()

    def rebuild_tokens(self) -> None:
        """Who owns which tokens, or in which rack, has changed."""
        self._cluster._control.topology.rebuild_tokens()

    def rumour(self, host: Host, is_up: bool) -> None:
        """The server says that a host is up or down."""
        supervisor = self._supervisors.get(host)
        if supervisor is not None:
            supervisor.rumour(is_up)

    def look_again(self, host: Host) -> None:
        """That a host is up again may have been told, and not heard."""
        supervisor = self._supervisors.get(host)
        if supervisor is not None:
            supervisor.look_again()

    def doubt(self, connection: Connection) -> None:
        """A connection has fallen silent; in the hub."""
        for supervisor in self._supervisors.values():
            if any(connection in pool.open_connections for pool in supervisor.pools):
                supervisor.doubt(connection)

    # -- telling --------------------------------------------------------------------------------------------------------

    def tell_all(self, method: str, host: Host) -> gevent.GreenletExit | None:
        """Tell policies, then listeners, what has become of a host; in its supervisor. Policies may switch.

        :returns: as :meth:`tell_policies`
        """
        killed = self.tell_policies(method, host)
        self._tell_listeners(method, host)
        return killed

    def tell_policies(self, method: str, host: Host) -> gevent.GreenletExit | None:
        """Tell policies what has become of a host, in its supervisor; they may switch, and see other hosts differently.

        :returns: what should have ended the greenlet meanwhile
        """
        self.changed()
        killed = self.introductions.tell(method, host)
        self.reconsider()
        return killed

    def _policy_known(self) -> None:
        """There is another policy that knows the hosts, and may use some that none has used; it may switch."""
        self.open_pools(None)
        self.reconsider()

    def _tell_listeners(self, method: str, host: Host) -> None:
        listeners = self._cluster.listeners
        if listeners:
            told = copy(host) if method == "on_remove" else host  # it may be elsewhere by the time they hear of it
            self._news.extend((listener, method, told) for listener in listeners)
            if not self._telling:
                self._begin_telling()

    def _tell_news(self) -> None:
        """Tell listeners, in order; a greenlet that ends when there are no news, so that a slow one delays nobody else."""
        while self._news:
            tell(*self._news.popleft())

    def _begin_telling(self) -> None:
        self._telling = True
        self._cluster._greenlets.spawn(self._tell_news).rawlink(self._told)

    def _told(self, greenlet: Any) -> None:
        """That greenlet has ended, be it by a kill."""
        self._telling = False
        if self._news and self._started:
            self._begin_telling()

    # -- pools ------------------------------------------------------------------------------------------------------------

    def keyspaces_in_use(self) -> set[str | None]:
        """The keyspaces that every host has a pool for: None, and below v5 those that Sessions are in."""
        pool_keyspace = self._cluster._pool_keyspace
        return {None, *(pool_keyspace(session.keyspace) for session in self._cluster.sessions)}

    def open_pools(self, keyspace: str | None) -> dict[Host, AsyncResult]:
        """Have a pool for ``keyspace`` on every host that some policy uses.

        :returns: what becomes of trying to connect to each of them now, or before if there are connections
        """
        tries = {}
        for host, supervisor in list(self._supervisors.items()):
            size = self._cluster._connections_for(host)
            if self._supervisors.get(host) is not supervisor:  # it has left while policies were asked
                continue
            supervisor.use(size)
            if size:
                supervisor.pool(keyspace)
                tries[host] = supervisor.next_try(keyspace)
        self.changed()
        return tries

    def wait_for_pools(self, keyspace: str | None, all_of_them: bool = False) -> None:
        """Wait until a pool for ``keyspace`` has a connection.

        :param all_of_them: wait until connecting to each host has been tried
        :raises NoHostAvailable: no host could be connected to
        """
        tries = self.open_pools(keyspace)
        for tried in tries.values() if all_of_them else gevent.iwait(tries.values()):
            tried.wait()
            if tried.value is True and not all_of_them:
                return
        if any(tried.value is True for tried in tries.values()):
            return
        errors = {str(host): tried.value for host, tried in tries.items()}
        raise NoHostAvailable(f"Unable to connect to any servers: {all_told(errors) or 'the policies use none'}", errors)

    def pool(self, host: Host, keyspace: str | None) -> HostPool | None:
        """The pool for ``keyspace`` on ``host``; None if there is none (yet)."""
        supervisor = self._supervisors.get(host)
        return None if supervisor is None else supervisor.known_pool(keyspace)

    def usable_pool(self, host: Host, keyspace: str | None) -> HostPool | None:
        """As :meth:`pool`; if the host is used at all, one that was closed because it was not used is made again."""
        supervisor = self._supervisors.get(host)
        return supervisor.pool(keyspace) if supervisor is not None and supervisor.size else None

    def only_pool(self, keyspace: str | None) -> HostPool | None:
        """The pool of the one host that there is; None if there are more, or none."""
        if len(self._supervisors) != 1:
            return None
        (supervisor,) = self._supervisors.values()
        return supervisor.known_pool(keyspace)

    def drain(self, pool: HostPool) -> None:
        """Use a pool no more: its connections close when the last answer has come."""
        pool.drain()
        self._drained = {drained for drained in (*self._drained, pool) if drained.open_connections}
        self.changed()

    def reconsider(self) -> None:
        """How near policies see hosts, or how many connections are wanted, may have changed."""
        self.changed()
        for supervisor in self._supervisors.values():
            supervisor.reconsider()

    def hurry(self) -> None:
        """What kept connections from being opened may be over: try at once."""
        for supervisor in self._supervisors.values():
            supervisor.hurry()

    def changed(self) -> None:
        """Something about hosts, pools or tokens is no longer as it was."""
        for route in self.routes.values():
            route.stale = True
        self.routes.clear()

    def is_connected(self, host: Host) -> bool:
        """Whether a pool has a connection to the host."""
        return any(pool.open_connections for pool in self.pools_of(host))

    def is_responsive(self, host: Host) -> bool:
        """Whether a pool has a connection to the host that has not fallen silent."""
        return any(not connection.suspect for pool in self.pools_of(host) for connection in pool.connections)

    def is_far(self, host: Host) -> bool:
        """Whether policies would not use the host before others; they may switch."""
        return self._cluster._distance(host) != HostDistance.LOCAL

    def pools(self) -> list[HostPool]:
        """All pools, host by host."""
        return [pool for supervisor in self._supervisors.values() for pool in supervisor.pools]

    def pools_of(self, host: Host) -> list[HostPool]:
        """All pools of a host."""
        supervisor = self._supervisors.get(host)
        return [] if supervisor is None else supervisor.pools

    def all_pools(self) -> list[HostPool]:
        """All pools, those too that are being drained; in any thread."""
        pools = [pool for supervisor in tuple(self._supervisors.values()) for pool in supervisor.pools]
        return [*pools, *self._drained]

    def connections(self) -> list[Connection]:
        """All open connections of all pools, those too that are being drained."""
        self._drained = {pool for pool in self._drained if pool.open_connections}
        leaving = [pool for s in self._living if self._supervisors.get(s.host) is not s for pool in s.pools]
        return [connection for pool in (*self.pools(), *leaving, *self._drained) for connection in pool.open_connections]

    def shutdown(self) -> None:
        """Close everything."""
        self._started = False
        for supervisor in tuple(self._living):
            supervisor.shutdown()
        for pool in self._drained:
            pool.shutdown()
        self._supervisors.clear()
        self._drained.clear()
        self.changed()

    def check_invariants(self) -> None:
        """Assert that every host, and the control connection, is connected or about to be (for tests); at any switch point."""
        if not self._started or self._cluster.is_shutdown:
            return
        hosts = self._cluster.metadata.all_hosts()
        assert set(self._supervisors) == set(hosts), f"hosts {hosts} have supervisors {self._supervisors}"
        for supervisor in self._supervisors.values():
            supervisor.check_invariants()
        control = self._cluster._control
        if control._reconciler is not None:
            control._reconciler.check_invariants(None if control.connection is not None else control._backoff.due)

