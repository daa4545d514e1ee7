"""Where a Cluster and its Sessions belong (layer: driver): to the thread that connects it, in one process. They inherit it.

The child of a fork gets a Cluster that looks connected and is not: it forgets the connections, and whoever uses the Cluster
first connects it anew, in his thread; its Sessions go on then. How the parent's connections are let go of is in
:mod:`geventcql.net.forking`.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import gevent
from gevent.event import AsyncResult
from gevent.exceptions import BlockingSwitchOutError
from greenlet import getcurrent

from geventcql.admission import Admission
from geventcql.errors import ConnectionShutdown, DriverException, OperationTimedOut, WrongHubError
from geventcql.hosts import HostRegistry
from geventcql.net.forking import notice
from geventcql.routing import Router
from geventcql.settings import SessionSettings
from geventcql.throttle import Throttle
from geventcql.waiting import Waker, thread_id

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.coldpath import Decisions
    from geventcql.control import ControlConnection
    from geventcql.metrics import Metrics
    from geventcql.net.forking import Greenlets
    from geventcql.net.pool import HostPool
    from geventcql.preparing import Preparer
    from geventcql.schema import SchemaReader
    from geventcql.session import Session

__all__ = ["ClusterBelonging", "Connecting", "SessionBelonging"]

log = logging.getLogger(__name__)

MANY_CLUSTERS = 16
"""One more is warned of: a Cluster for each call, or for each request of a web application, is a common mistake."""

_connected: WeakSet[ClusterBelonging] = WeakSet()
_warned = False


class Connecting(AsyncResult):  # type: ignore[misc]
    """What those wait for who want a Cluster connected: set, or an error, once that is done."""

    def __init__(self) -> None:
        super().__init__()
        self.waiters = 0
        """Greenlets that wait for a Session, or for theirs to go on."""
        self.in_use = False
        """Whether there are Sessions that it was done for."""


class ClusterBelonging:
    """Which thread of which process a Cluster belongs to."""

    is_shutdown: bool
    sessions: WeakSet[Session]
    _metrics: Metrics | None
    _registry: HostRegistry
    _control: ControlConnection
    _greenlets: Greenlets
    _decisions: Decisions
    _schema: SchemaReader
    _preparer: Preparer
    _waiting: set[Admission]
    _with_room: deque[HostPool]
    _connecting: Connecting | None = None
    _thread: int | None = None
    """The thread that connected it; None while it is not connected."""
    _hub: Any = None
    """That thread's."""
    _is_forked = False
    """Whether its Sessions were connected in the process that this one was forked from, and not here yet."""

    def _reconnect(self) -> None:
        raise NotImplementedError

    def _belong(self) -> None:
        """Belong to this thread, from the beginning of connecting on; until :meth:`_belong_nowhere`."""
        global _warned
        self._thread = thread_id()
        self._hub = gevent.get_hub()
        _connected.add(self)
        count = sum(cluster._thread == self._thread for cluster in list(_connected))
        if count > MANY_CLUSTERS and not _warned:
            _warned = True
            log.warning(
                "%s Clusters are connected in this thread, each over connections of its own: make one and share it, and shut "
                "down those that nobody needs", count
            )  # fmt: skip

    def _belong_nowhere(self) -> None:
        self._thread = self._hub = None
        _connected.discard(self)

    def _check_thread(self) -> None:
        """Refuse what would touch the hub of another thread.

        :raises WrongHubError: it belongs to one, or its hub has been destroyed
        """
        notice()
        if self._thread not in (None, thread_id()):
            raise WrongHubError()
        if self._hub is not None and self._hub.loop is None:
            raise WrongHubError("the hub that the Cluster was connected in has been destroyed: make a new Cluster")

    def _go_on(self, limit: float | None) -> None:
        """Refuse other threads; in the child of a fork, be connected, which waits the first time.

        :param limit: seconds to wait; None for no limit
        :raises WrongHubError: it belongs to another thread
        :raises NoHostAvailable: no node could be used
        :raises OperationTimedOut: it was not connected within ``limit``
        :raises DriverException: it has been shut down
        """
        self._check_thread()
        if not self._is_forked:
            return
        if self.is_shutdown:
            raise DriverException("the Cluster has been shut down: make a new one")
        if getcurrent() is gevent.get_hub():
            raise BlockingSwitchOutError("the first use in the child of a fork connects, which waits: spawn a greenlet for it")
        with gevent.Timeout(limit, OperationTimedOut({"(not sent)": f"not connected within {limit} s of the fork"}, None)):
            self._reconnect()

    def _forget(self) -> object:
        """In the child of a fork: it is not connected, and who waits for anything, in the parent, is told nothing."""
        if self._metrics is not None:
            self._metrics.begin_anew()
        connecting = self._connecting
        if connecting is None:
            return None
        kept = [
            connecting, self._registry, self._control, self._greenlets, self._decisions, self._waiting, self._with_room,
            self._schema.forget(), self._preparer.forget(),
        ]  # fmt: skip
        self._registry.changed()
        self._registry = HostRegistry(cast("Cluster", self))
        self._waiting, self._with_room = set(), deque()
        kept += [session._begin_anew() for session in list(self.sessions)]
        self._is_forked = self._is_forked or connecting.in_use
        self._connecting = None
        self._belong_nowhere()
        return kept


class SessionBelonging(SessionSettings):
    """Which thread of which process a Session belongs to."""

    is_shutdown: bool
    _admission: Admission

    def _settle(self) -> None:
        """Belong to the hub that the Cluster has just been connected in."""
        self.session_id = uuid.uuid4()
        self._hub = gevent.get_hub()
        self._owner = self._thread = thread_id()
        """The thread it belongs to, and the one that may execute on it: none once it is shut down."""
        self._waker = Waker.for_hub(self._hub)
        metrics = self.cluster.metrics
        self._request_timer = None if metrics is None else metrics.request_timer.histogram
        self._begin_anew()
        self._reshape()

    def _begin_anew(self) -> object:
        """Nobody waits for room, or for his turn. What those wait in who did."""
        waited_in = (self.__dict__.get("_admission"), self._throttle)
        cluster = self.cluster
        this = cast("Session", self)
        self._router = Router(this)
        self._admission = Admission(cluster._scheduler, cluster.max_requests_waiting, cluster._waiting)
        if self._throttle is not None:
            self._throttle = Throttle(this, self._throttle.rate)
        return waited_in

    def _check_wait(self) -> None:
        """Refuse to wait where that cannot work."""
        self._check_thread()
        if getcurrent() is self._hub:
            raise BlockingSwitchOutError("a call that waits was made in the hub: spawn a greenlet for it")

    def _check_thread(self) -> None:
        """Refuse what would touch the hub of another thread; in the child of a fork, connect, which waits the first time."""
        if thread_id() != self._owner:
            if self.is_shutdown or self.cluster.is_shutdown:
                raise self._closed()
            self.cluster._go_on(self.default_timeout)
        elif self._hub.loop is None:
            self.cluster._check_thread()

    def _check_open(self) -> None:
        """Refuse what would begin anything in a Session that has been shut down, or is about to be."""
        if thread_id() != self._thread:
            raise self._closed()

    def _closed(self) -> Exception:
        return ConnectionShutdown("the Session has been shut down: nothing can be executed on it any more")
