"""The way of one request (layer: driver): attempts on hosts until it ends, once.

The hot path has no greenlet: the caller sends the first attempt, the reader ends it. Whatever needs a decision (an error, a
lost connection, a re-prepare) goes to a spawned greenlet that owns the rest of the request. Deadlines end it in the hub.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from geventcql.cython.wire import Frame, Page
from geventcql.errors import (
    ConnectionException,
    ConnectionShutdown,
    ErrorMessage,
    NoHostAvailable,
    OperationTimedOut,
    PreparedQueryNotFound,
)
from geventcql.metrics import count, count_error, count_verdict
from geventcql.net.connection import Connection
from geventcql.net.scheduler import Timer
from geventcql.protocol import responses
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.requeststate import RequestState
from geventcql.retrying import Verdict, judge
from geventcql.sinks import Cancelled, Fetch, all_told, as_outcome, told

if TYPE_CHECKING:
    from geventcql.net.pool import HostPool

__all__ = ["Execution"]

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 32
NEVER = float("inf")


class Execution(RequestState):
    """One request under way; a target of :class:`~geventcql.net.connection.Connection`. The hot half is compiled."""

    _plan: Iterator[Any]
    schema_agreed = True
    """Whether all nodes have the schema that the statement made."""
    stage = "no answer"
    """What its deadline finds missing."""
    _forgiven: frozenset[Any] = frozenset()
    """Hosts that are to be asked again although they answered with an error."""
    _left: tuple[Any, ...] = ()
    """Hosts that are asked behind those of the plan: they had no room, or were silent, when it came to them, or have lost one
    connection."""
    _lost_once: frozenset[Any] = frozenset()
    """Hosts that have lost one."""
    _pausing: Event | None = None
    """Ends the pause before the next attempt."""
    race: Any = None
    """The :class:`~geventcql.attempts.Race` of a request that may have several attempts in flight at once."""
    _decided_on: object = None
    """The answer, or the lost connection, of the last decision: whoever tells of it does so again if a signal's handler has
    raised meanwhile."""
    _limit: Timer | None = None
    """Ends the cold path at the deadline: no connection knows of the request meanwhile."""

    # -- starting -----------------------------------------------------------------------------------------------------

    def abandon(self, error: BaseException) -> None:
        self._orphan()
        self._fail(error)  # listeners may have got hold of the future

    def try_plan(self) -> None:
        if self._over():
            return
        if self.attempts >= MAX_ATTEMPTS and self.attempts - self.prepared_again.total() >= MAX_ATTEMPTS:
            self._fail(NoHostAvailable(f"gave up after {self.attempts} attempts", self.errors))
            return
        plan = getattr(self, "_plan", None)
        if plan is None:
            plan = self._plan = self.session._router.plan(self)
        full: list[HostPool] = []
        silent = []
        passed: tuple[Any, ...] = ()
        answered = self._answered()
        looked_at = set()
        for host in chain(plan, self._take_left()):
            if self._over():  # while the policy let others run
                return
            if host in answered or host in looked_at or host in self._left:
                continue
            looked_at.add(host)
            pool = self.session._router.pool_of(host, self.resolved)
            if pool is None or not (pool.connections or pool.opening):
                error = pool.last_error if pool is not None else None
                self.errors.setdefault(host, error or ConnectionException("there is no open connection", host))
                continue
            connection = pool.pick()
            if connection is not None and connection.suspect:
                silent.append((connection, host))
            elif connection is not None and self.send_on(connection, host):
                self._left = (*passed, *self._left)
                return
            else:
                full.append(pool)
            passed = (*passed, host)
        self._left = passed
        if self._over():
            return
        if full:
            self._wait(full)
            return
        if not any(self.send_on(connection, host) for connection, host in silent):  # better than no host at all
            self._fail(self._no_host())

    def _take_left(self) -> Iterator[Any]:
        while self._left:
            host, *others = self._left
            self._left = tuple(others)
            yield host

    def _answered(self) -> set[Any]:
        """The hosts that have answered with an error, and are not asked again."""
        return {host for host, error in self.errors.items() if not isinstance(error, ConnectionException)} - self._forgiven

    def _wait(self, pools: list[HostPool]) -> None:
        """Queue up for one of these; nothing switches between the look at them and the queue."""
        if any(self.try_pool(pool) for pool in pools):  # there has been room since the policy gave that host
            return
        if any(pool.connections or pool.opening for pool in pools):
            self.session._admission.wait(self, pools)
        else:
            self.unreachable(pools)

    def _over(self) -> bool:
        """Whether it has ended, or its time has, while application code was running."""
        if not self.done and self.session.is_shutdown:
            self._fail(self._no_host())
        elif not self.done and monotonic() >= self.deadline:
            self.expire()
        return self.done

    def unreachable(self, pools: list[HostPool]) -> None:
        """The hosts that it waited for have no connection, and none can be opened."""
        for pool in pools:
            self.errors.setdefault(pool.host, pool.last_error or ConnectionException("there is no open connection", pool.host))
        self._fail(self._no_host())

    def _no_host(self) -> Exception:
        if self.session.is_shutdown:
            closed: Exception = self.session._closed()
            return closed
        if not self.errors:  # the policy gave no host: because they are down, as a rule
            for pool in self.session.get_pools():
                if pool.last_error is not None:
                    self.errors[pool.host] = pool.last_error
        if not self.errors:
            return NoHostAvailable("the load-balancing policy gave no host to ask", {})
        return NoHostAvailable(
            f"Unable to complete the operation against any hosts: {all_told(self.errors)}", self.errors
        )

    # -- a target of connections: reader and hub, nothing switches --------------------------------------------------------

    def on_announcement(self, page: Page) -> None:
        if page.new_metadata_id is not None:
            self.resolved.metadata_changed(page)
        if page.tracing_id is not None:
            self.trace_ids.append(page.tracing_id)
        if page.warnings is not None:
            self.session._log_warnings(page.warnings)

    def on_frame(self, frame: Frame, connection: Connection) -> None:
        """Another answer has come: an error, a prepared statement, a schema change."""
        if not self.done:
            self._decide(self._handle, frame, connection)

    def on_timeout(self, connection: Connection) -> None:
        """No answer within the request's time."""
        self.expire()

    def on_lost(self, connection: Connection, cause: BaseException) -> None:
        """The connection ended before the answer came."""
        if self.done:
            return
        if self.session.is_shutdown:
            self._fail(self._lost(cause))
        else:
            self._decide(self._handle_loss, connection, cause)

    def on_suspect(self, connection: Connection, others: Mapping[str | None, list[Any]]) -> None:
        """The host has fallen silent: what may be sent twice goes to one of the others at once; in the hub.

        :param others: by the keyspace of a pool, the hosts that have a usable connection
        """
        if self.only_host is not None or not self.resolved.is_idempotent:
            return
        asked = {self.host, *self.errors} | self._answered()
        is_other = any(host not in asked for host in others.get(self.resolved.pool_keyspace, ()))
        if is_other and connection.orphan(self.stream, self):
            self._decide(self._move_on)

    def expire(self) -> None:
        """The deadline has passed: in flight, waiting for room, or while a decision was made."""
        if self.done:
            return
        errors: dict[Any, Any] = {str(h): told(e) for h, e in self.errors.items()}
        if self.waiting:
            again = " again" if self.attempts else ""
            errors["(not sent)"] = f"waited {self.timeout} s for {self.queue.waits_for}; the request was not sent{again}"
        elif self.host is None:
            errors["(not sent)"] = f"no host was chosen within {self.timeout} s; the request was not sent"
        else:
            errors[str(self.host)] = f"{self.stage} within {self.timeout} s"
        self._fail(OperationTimedOut(errors, self.host))

    def cancel(self) -> None:
        """Whoever waited has gone: let the answer, if it still comes, be dropped."""
        if self.done or self.is_of_parent:
            return
        self._orphan()
        self._fail(Cancelled("the request was cancelled: the greenlet that waited for it is gone"))
        self._wait_no_more()

    def _wait_no_more(self) -> None:
        """It has ended: a queue that it waits in has one less, and its pause is over."""
        if self.waiting:
            self.queue.cancelled()
        if self._pausing is not None:
            self._pausing.set()

    def _orphan(self) -> None:
        if self.race is not None:
            self.race.stop()
        if self.connection is not None and not self.connection.closed:
            self.connection.orphan(self.stream, self)

    def _finish(self, value: Any) -> None:
        if self.end(value, None):
            self._measure()

    def _fail(self, error: BaseException) -> None:
        if self.done:
            return
        error = as_outcome(error, self.host)
        try:
            with suppress(Exception):  # an application's error may take no attributes
                self._explain(error)
        finally:
            if self.end(None, error):
                self._measure(error)

    def _measure(self, error: BaseException | None = None) -> None:
        """The request has ended, otherwise than by a page; with ``error``, if any."""
        self.record_time()
        if error is not None:
            count(self.session.cluster, "request_errors", type(error).__name__)

    def _explain(self, error: Any) -> None:
        """Leave on the error what an application needs to understand it."""
        error.host = getattr(error, "host", None) or self.host
        if getattr(error, "waited", None) is None:
            error.waited = self.waited
        error.elapsed = monotonic() - self.started
        error.attempts = self.attempts
        if getattr(error, "in_flight", None) is None:
            error.in_flight = self.connection.in_flight if self.connection is not None else 0
        error.hub_lag = self.session.cluster._scheduler.recent_lag()

    # -- the cold path: a greenlet of the request's own ----------------------------------------------------------------

    def _decide(self, work: Callable[..., None], *args: Any) -> None:
        """Go on in a greenlet of the request's own; whatever becomes of that greenlet, the request ends."""
        self.stage = "no decision about another attempt"
        if self.deadline < NEVER:
            if self._limit is not None:
                self._limit.cancel()
            self._limit = self.session.cluster._scheduler.call_at(self.deadline, self.expire)
        self.session.cluster._decisions.add(self, work, args)

    def decide(self, work: Callable[..., object], args: tuple[Any, ...]) -> None:
        """What that greenlet runs."""
        if args:
            if args[0] is self._decided_on:
                return
            self._decided_on = args[0]
        try:
            work(*args)
        except (Exception, gevent.Timeout) as error:  # policies may raise either
            self._fail(error)
        finally:
            self.leave_cold_path()

    def leave_cold_path(self) -> None:
        """It has ended, or waits again for what has a deadline of its own."""
        self.stage = Execution.stage
        if self._limit is not None:
            self._limit.cancel()

    def decided(self, greenlet: Any) -> None:
        """That greenlet has ended."""
        if greenlet.exception is not None:  # which the main greenlet gets
            self._fail(greenlet.exception)
        elif greenlet.value is not None:  # killed, perhaps before it began
            self.given_up()

    def given_up(self) -> None:
        """There will be no decision."""
        self.leave_cold_path()
        self._fail(ConnectionShutdown("the driver was shut down while the request was being tried again", self.host))

    def _handle(self, frame: Frame, connection: Connection) -> None:
        message = responses.decode(
            frame.opcode, frame.flags, frame.body, frame.version, self.session.cluster._user_types
        )
        if isinstance(message, ErrorMessage):
            self._handle_error(message, connection)
            return
        if message.trace_id is not None:
            self.trace_ids.append(message.trace_id)
        if message.warnings:
            self.session._log_warnings(message.warnings)
        self._finish(self.session._message_received(self, message))

    def _handle_error(self, error: ErrorMessage, connection: Connection) -> None:
        count_error(self.session.cluster, error, self.host)
        if self.retries >= MAX_ATTEMPTS:
            self._fail(_application_error(error))
            return
        if isinstance(error, PreparedQueryNotFound) and self.resolved.prepares(error.info):
            self._prepare_again(error, connection)
            return
        verdict, consistency, pause = judge(error, self.resolved, self.statement, self.retries)
        count_verdict(self.session.cluster, verdict, self.host)
        self.retries += 1
        if verdict is Verdict.IGNORE:
            self._finish(Page.void())
            return
        if verdict is Verdict.RETHROW:
            self._fail(_application_error(error))
            return
        self.errors[self.host] = _application_error(error)
        if pause > 0 and not self._pause(pause, _application_error(error)):
            return
        self._go_to(consistency)
        if verdict is Verdict.NEXT_HOST or not self._ask_again(connection):
            self.try_plan()

    def _prepare_again(self, error: ErrorMessage, connection: Connection) -> None:
        if self.prepared_again[error.info] >= MAX_ATTEMPTS:
            self._fail(_application_error(error))
            return
        since = None if error.info in self.prepared_again else self.started
        self.prepared_again[error.info] += 1
        self.stage = "the statement was not prepared again"
        try:
            self.session.cluster._preparer.prepare_again(self.resolved, error.info, connection, self.deadline, since)
        except ConnectionException as lost:  # the request itself was refused: any host may be asked
            self.errors[self.host] = lost
            self._leave_lost()
            self.try_plan()
            return
        if not self._ask_again(connection):
            self.try_plan()

    def _ask_again(self, connection: Connection) -> bool:
        """Send on the same host: over the same connection, or another one that has room.

        :returns: False if there is none; then the host is left
        """
        if self._over():
            return True
        self.resolved = self.resolved.current()
        if not connection.closed and self.send_on(connection, self.host):
            return True
        pool = self.session._router.pool_of(self.host, self.resolved)
        if pool is not None and self.try_pool(pool):
            return True
        self._forgiven |= {self.host}
        self._left = (*self._left, self.host)
        return False

    def _leave_lost(self) -> None:
        """The host may be asked over another connection, once, behind all others."""
        if self.host not in self._lost_once:
            self._lost_once |= {self.host}
            self._left = (*self._left, self.host)

    def _lost(self, cause: BaseException) -> ConnectionShutdown:
        text = f"connection to {self.host} was lost while the request was in flight: {cause}. It may have been applied"
        if not self.resolved.is_idempotent:
            text += "; only statements marked is_idempotent=True are sent again"
        lost = ConnectionShutdown(text, self.host)
        lost.__cause__ = cause
        return lost

    def _handle_loss(self, connection: Connection, cause: BaseException) -> None:
        lost = self._lost(cause)
        self.errors[self.host] = lost
        count_error(self.session.cluster, lost, self.host)
        if self.retries >= MAX_ATTEMPTS:
            self._fail(lost)
            return
        verdict, consistency, pause = judge(lost, self.resolved, self.statement, self.retries)
        count_verdict(self.session.cluster, verdict, self.host)
        self.retries += 1
        if verdict is Verdict.RETHROW:
            self._fail(lost)
        elif verdict is Verdict.IGNORE:
            self._finish(Page.void())
        elif pause <= 0 or self._pause(pause, lost):
            self._go_to(consistency)
            self._leave_lost()
            self.try_plan()

    def _go_to(self, consistency: int | None) -> None:
        """The retry policy names a level. What a Paxos read was at is none that a write could be at."""
        serial = ConsistencyLevel.is_serial
        if consistency is not None and (serial(self.resolved.consistency) or not serial(consistency)):
            self.resolved = self.resolved.at_consistency(consistency)

    def _pause(self, seconds: float, error: Exception) -> bool:
        """Wait as the retry policy says, and let hosts be asked anew where none is left that has not been.

        :param error: ends the request at once if its deadline comes first: it says more than that deadline
        :returns: False if the request has ended
        """
        if monotonic() + seconds >= self.deadline:
            self._fail(error)
            return False
        self.stage = f"no other attempt, since the retry policy wanted a pause of {seconds:.3f} s,"
        self._pausing = Event()
        self._pausing.wait(seconds)
        if self._over():
            return False
        router = self.session._router
        answered = self._answered()
        left = [host for host in getattr(self, "_plan", None) or router.plan(self) if host not in answered]
        if not left:
            self._forgiven = frozenset(self.errors)
            left = sorted(router.plan(self), key=lambda host: bool(host == self.host))  # the next one, if there is another
        self._plan, self._left = iter(left), ()
        return not self._over()

    def _move_on(self) -> None:
        self.errors[self.host] = ConnectionException(f"{self.host} has fallen silent", self.host)
        count_error(self.session.cluster, self.errors[self.host], self.host)
        self._left = ()
        self._plan = self.session._router.plan(self)  # anew: who had no room, or was silent, may be well by now
        self.try_plan()

    # -- further pages ------------------------------------------------------------------------------------------------

    def next_page(self, paging_state: bytes | None) -> Fetch:
        """Ask for the page behind ``paging_state`` with a request of its own."""
        fetch = Fetch()
        self.restart(fetch, paging_state)
        return fetch

    def restart(self, sink: Any, paging_state: bytes | None) -> Execution:
        """The same request from ``paging_state`` on, started."""
        resolved = self.resolved.from_page(paging_state)
        make = self.session._execution_class
        following: Execution = make(self.session, resolved, self.values, self.timestamp, self.timeout, self.only_host)
        following._trace_ids = self.trace_ids
        if hasattr(self, "_statement"):
            following._statement = self._statement
        with suppress(Exception):  # whoever waits for the page gets it
            following.start(sink)
        return following


def _application_error(error: ErrorMessage) -> Exception:
    """The exception that an application sees for a server's error."""
    return error.to_exception()
