"""Supervisors (layer: driver): one greenlet per host, which keeps its connections as they should be.

A supervisor is level-triggered: whatever has happened, it compares what should be (where the host is, how near the policies
see it, how many connections each pool has) with what is, mends the difference, and waits for the next report or the next
attempt that is due. Connections are opened one at a time in a greenlet beside it, so that it is never waiting for a host. It
ends when the host has left the cluster. Everything that befalls the host (up, down, another place) is told by this greenlet,
so in order, and once.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent.event import AsyncResult, Event

from geventcql.errors import AuthenticationFailed, ConnectionException, ConnectionShutdown, ErrorMessage
from geventcql.host import EndPoint, Host
from geventcql.introducing import tell
from geventcql.keeping import Attempt, Kept
from geventcql.metrics import count
from geventcql.net.connection import Connection
from geventcql.net.pool import HostPool
from geventcql.reconciling import Reconciler
from geventcql.reconnecting import Backoff
from geventcql.showing import shown_words

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
    :param predecessors: the supervisors of what was there before: the same node, which left and has come back, and another one
        at its address
    """

    def __init__(
        self,
        cluster: Cluster,
        registry: HostRegistry,
        host: Host,
        is_new: bool,
        predecessors: list[HostSupervisor],
    ) -> None:
        self.host = host
        self.place: Place = (host.endpoint, host.datacenter, host.rack)
        """Where the host should be known to be; that it is, is this greenlet's work."""
        self.size = 0
        """How many connections each pool should have, as the policies last saw the host; 0: it is not used."""
        self.backoff = Backoff(cluster)
        """When to connect."""
        self.said_down = False
        """Whether the server's last word was that the host is down."""
        self._kept: dict[str | None, Kept] = {}
        self._cluster = cluster
        self._registry = registry
        self._is_new = is_new
        self._predecessors = predecessors
        self._wake = Event()
        self._removed = False
        self._ended = False
        self._rumour: bool | None = None
        """What the server last said of the host, up or down, if that has not been looked at."""
        self._attempt: Attempt | None = None
        self._moved: str | None = None
        """Where the host is now, until all have been told: by the greenlet that follows, if this one is killed."""
        self._killed: gevent.GreenletExit | None = None
        """What should have ended the greenlet while policies were told: it ends behind that."""
        self._has_failed = False
        """Whether it was we who found the host down."""
        self._is_word_old = False
        """Whether the server may have said since that the host is up, and we did not hear it."""
        self._look_at = monotonic() + IDLE
        self._reconciler = Reconciler(host, self._wake, self._reconcile, lambda: self._ended)
        self.ended = self._reconciler.ended
        """Set when it has ended, and told all that it had to."""

    # -- reports: from any greenlet and the hub; nothing in here switches or runs user code --------------------------------

    def reconsider(self) -> None:
        """Something may have changed: look at everything again."""
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

    def look_again(self) -> None:
        """What the server last said of the host may not be its last word."""
        self._is_word_old = True
        self.said_down = False
        self.hurry()

    def hurry(self) -> None:
        """What kept connections from being opened may be over: try again at once."""
        self.backoff.hurry()
        for kept in self._kept.values():
            kept.refusals.hurry()
        self._wake.set()

    def use(self, size: int) -> None:
        """Policies see the host so that its pools should have ``size`` connections."""
        if size != self.size:
            self.size = size
            self._wake.set()

    def pool(self, keyspace: str | None) -> HostPool:
        """The pool of a keyspace (None on v5), made at first use."""
        kept = self._kept.get(keyspace)
        if kept is None:
            pool = HostPool(self.host, keyspace, self.size, self._report, self._cluster._on_room)
            kept = self._kept[keyspace] = Kept(pool, self._cluster)
            self._wake.set()
        return kept.pool

    def next_try(self, keyspace: str | None) -> AsyncResult:
        """Have a connection for ``keyspace`` tried now, if there is none, whatever pause it is: set once it has been opened,
        to True, or once that has failed, to the error.
        """
        kept = self._kept[keyspace]
        if kept.next_try.ready() and not kept.pool.connections:
            kept.next_try = AsyncResult()
            self._wake.set()
        return kept.next_try

    def known_pool(self, keyspace: str | None) -> HostPool | None:
        """The pool of a keyspace, if there is one."""
        kept = self._kept.get(keyspace)
        return None if kept is None else kept.pool

    @property
    def pools(self) -> list[HostPool]:
        """All pools."""
        return [kept.pool for kept in self._kept.values()]

    def _report(self, pool: HostPool) -> None:
        if pool.last_error is not None:  # else it was we who replaced or closed one
            self.backoff.lost()
        self._wake.set()
        self._registry.changed()

    @property
    def is_connected(self) -> bool:
        """Whether any connection to the host is open."""
        return any(pool.open_connections for pool in self.pools)

    def doubt(self, connection: Connection) -> None:
        """Whom both the server calls down and we have heard nothing from is down; in the hub, too."""
        if self.said_down and connection.suspect:
            connection.defunct(
                ConnectionException(f"{self.host} has fallen silent, and the cluster says that it is down", self.host.endpoint)
            )

    # -- the supervisor greenlet ------------------------------------------------------------------------------------------

    def due(self) -> float | None:
        """When there is something to do unless a report comes before, monotonic seconds; None: nothing is missing."""
        due = [] if self._attempt is not None else [self._due_of(kept) for kept in self._kept.values() if kept.pool.missing]
        if self._attempt is None and self._is_to_be_probed():
            due.append(self.backoff.due)
        if len(self._kept) > 1:
            due.append(self._look_at)
        return min(due) if due else None

    def _due_of(self, kept: Kept) -> float:
        return max(self.backoff.due, kept.refusals.due) if kept.next_try.ready() else 0.0

    def _is_to_be_probed(self) -> bool:
        """A policy may not use a host as long as it is down; nobody else would find out that it is up again."""
        return not self._kept and (self._has_failed or self._is_word_old) and not self.host.is_up

    def _reconcile(self) -> float | None:
        gevent.wait([each.ended for each in self._predecessors])  # what befell them is told before what befalls this one
        self._predecessors = []
        if self._removed:
            self._leave()
            return None
        if self._is_new:
            self._is_new = False
            self._arrive()
        self._settle()
        self._harvest()
        self._size_pools()
        self._look_into_rumour()
        self._try()
        if monotonic() >= self._look_at:
            self._look_at = monotonic() + IDLE
            self._close_unused()
        killed, self._killed = self._killed, None
        if killed is not None:
            raise killed
        return self.due()

    def _arrive(self) -> None:
        self._set_up()
        self._tell("on_add")

    def _leave(self) -> None:
        self._ended = True
        self._cancel_attempt()
        for keyspace in list(self._kept):
            self._drop_pool(keyspace)
        if not self._is_new:  # else nobody has heard of it
            self._tell("on_remove")

    def _settle(self) -> None:
        """Have the host known to be where it is."""
        host, (endpoint, datacenter, rack) = self.host, self.place
        if endpoint != host.endpoint:
            log.info("%s is at %s now", host, endpoint)
            self._tell("on_remove")
            self._moved = "elsewhere"
            host.set_location_info(datacenter, rack)
            self._registry.move(host, endpoint)
            self._cancel_attempt()
            self.hurry()
            for pool in self.pools:
                for connection in list(pool.connections):
                    pool.succeed(connection)
        elif (datacenter, rack) != (host.datacenter, host.rack):
            self._killed = self._registry.tell_policies("on_down", host) or self._killed
            self._moved = "in another rack"
            host.set_location_info(datacenter, rack)
        if self._moved is None:
            return
        self._registry.rebuild_tokens()
        if self._moved == "elsewhere":
            self._arrive()
        elif host.is_up:
            self._killed = self._registry.tell_policies("on_up", host) or self._killed
        self._moved = None

    def _size_pools(self) -> None:
        self.use(self._cluster._connections_for(self.host))
        if not self.size:
            for keyspace in list(self._kept):
                self._drop_pool(keyspace)
            return
        for keyspace in self._registry.keyspaces_in_use():
            self.pool(keyspace)
        for pool in self.pools:
            pool.resize(self.size)

    def _drop_pool(self, keyspace: str | None) -> None:
        """Use a pool no more: what is in flight in it ends by itself."""
        kept = self._kept.pop(keyspace)
        if self._attempt is not None and self._attempt.kept is kept:
            self._cancel_attempt()
        kept.tried(ConnectionShutdown(f"{self.host} is not used any more", self.host.endpoint))
        self._registry.drain(kept.pool)
        self._cluster._on_unreachable()

    def _look_into_rumour(self) -> None:
        is_up, self._rumour = self._rumour, None
        if is_up is None:
            return
        self._is_word_old = False
        if is_up:
            self.hurry()
        if not self._kept:  # nobody has a connection to tell by
            if not is_up:
                self._down()
            elif not self._has_failed:  # else it is to be probed, at once
                self._up()
        elif not is_up:
            for pool in self.pools:
                for connection in pool.open_connections:
                    self._cluster._heartbeat.ask(connection)
                    self.doubt(connection)

    def _close_unused(self) -> None:
        """Close the pools of keyspaces (below v5) that no Session is in and nothing was sent in since the last look.
        What needs one all the same, a prepared statement, has it opened again.
        """
        entered = self._registry.keyspaces_in_use()
        for keyspace, kept in list(self._kept.items()):
            pool = kept.pool
            if (
                keyspace in entered
                or any(connection.in_flight for connection in pool.open_connections)
                or (pool.missing and pool.opening)
            ):
                kept.sent = None
                continue
            sent = sum(connection.sent for connection in pool.open_connections)
            if kept.sent == sent:
                self._drop_pool(keyspace)
            kept.sent = sent

    # -- attempts ---------------------------------------------------------------------------------------------------------

    def _try(self) -> None:
        """Begin to open the next connection that is due, if none is being opened."""
        if self._attempt is not None or self._ended:  # by a policy that has shut the Cluster down
            return
        missing = [kept for kept in self._kept.values() if kept.pool.missing]
        is_due = self.backoff.is_due()
        due = [kept for kept in missing if not kept.next_try.ready() or (is_due and kept.refusals.is_due())]
        if due or (is_due and self._is_to_be_probed()):
            self._attempt = Attempt(self, due[0] if due else None)
        left_alone = [kept for kept in missing if kept not in due and kept.pool.opening and not kept.pool.connections]
        for kept in left_alone:  # nobody is to wait for it meanwhile
            kept.pool.opening = False
        if left_alone:
            self._found_unreachable(left_alone[0].pool.last_error)

    def _cancel_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _harvest(self) -> None:
        """Take what has come of the attempt."""
        attempt = self._attempt
        if attempt is None or attempt.outcome is None:
            return
        self._attempt = None
        kept, outcome = attempt.kept, attempt.outcome
        if isinstance(outcome, Connection):
            self._succeeded(kept, outcome)
        else:
            self._failed(kept, outcome)

    def _succeeded(self, kept: Kept | None, connection: Connection) -> None:
        if self.backoff.again:
            count(self._cluster, "reconnects", self.host)
        self.backoff.opened()
        self.said_down = self._has_failed = self._is_word_old = False
        if kept is None:
            connection.close()
        else:
            kept.pool.add(connection)
            kept.tried(True)
        self._up()

    def _failed(self, kept: Kept | None, error: BaseException) -> None:
        level = logging.ERROR if isinstance(error, AuthenticationFailed) else logging.WARNING
        log.log(level, "cannot open a connection to %s: %s", self.host, shown_words([str(error)]))
        count(self._cluster, "connect_errors", self.host)
        if kept is not None:
            kept.pool.last_error = error
            kept.pool.opening = False
            kept.tried(error)
        if kept is not None and isinstance(error, ErrorMessage):  # the host has answered: it does not know the keyspace yet
            kept.refusals.failed()
        else:
            self.backoff.failed()
        self._found_unreachable(error)

    def _found_unreachable(self, error: BaseException | None) -> None:
        """No connection can be opened, or none is to be opened for a while."""
        self._cluster._on_unreachable()
        answered = isinstance(error, ErrorMessage)
        if not answered and not self.is_connected and self.host.is_up is not False and self._convicts(error):
            self._has_failed = True
            self._down()

    def _convicts(self, error: BaseException | None) -> bool:
        try:
            return self.host.signal_connection_failure(error)
        except (Exception, gevent.Timeout):
            log.exception("%r failed", self.host.conviction_policy)
            return True

    def _set_up(self) -> None:
        try:
            tell(self.host, "set_up")  # and so its conviction policy
        except gevent.GreenletExit as killed:
            self._killed = killed

    def _down(self) -> None:
        if self.host.is_up is not False:
            self.host.set_down()
            self._tell("on_down")

    def _tell(self, method: str) -> None:
        self._killed = self._registry.tell_all(method, self.host) or self._killed

    def _up(self) -> None:
        was = self.host.is_up
        self._set_up()
        self._registry.changed()
        if was is False:
            self._tell("on_up")
            self._cluster._control.look_for_connection()

    def shutdown(self) -> None:
        """Close all connections of the host and end."""
        self._ended = True
        self._cancel_attempt()
        for kept in self._kept.values():
            kept.pool.shutdown()
            kept.tried(ConnectionShutdown("the Cluster was shut down", self.host.endpoint))
        self._reconciler.kill()

    def check_invariants(self) -> None:
        """Assert that the host is connected, or about to be (for tests): at any switch point."""
        if not self._ended:
            self._reconciler.check_invariants(self.due())
        for pool in self.pools:
            for connection in pool.connections:
                assert not connection.closed, f"{pool!r} holds {connection!r}"
        if not self._ended and not self._wake.is_set() and self._attempt is None and any(p.missing for p in self.pools):
            assert self.due() is not None, f"{self!r} is not connected, and waits for nothing"

    def __repr__(self) -> str:
        return f"<HostSupervisor {self.host} {self.pools}>"
