"""Several attempts for one request (layer: driver): speculative execution and attempt timeouts.

Only idempotent requests whose profile asks for one of them come here; others have a single attempt at any time, which is the
Execution itself. Here the Execution that the future knows sends nothing: it is the head of a Race, whose Attempts are
Executions of their own. The first result ends the request and whatever else is under way for it; an error ends it only when no
other attempt is left, or when every host would say the same.

Attempts end in readers, in the hub and in their cold paths, as Executions do; nothing of that may switch. A timer of the
scheduler says when another host is to be asked; policies are asked in a greenlet of the driver's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent

from geventcql.cython.wire import Frame
from geventcql.errors import NoHostAvailable, OperationTimedOut, RequestValidationException, SyntaxException
from geventcql.execution import MAX_ATTEMPTS, Execution
from geventcql.metrics import count
from geventcql.net.connection import Connection
from geventcql.net.scheduler import Timer
from geventcql.policies import PercentileSpeculativeExecutionPolicy
from geventcql.protocol.constants import Opcode

__all__ = ["watch"]

log = logging.getLogger(__name__)

REFUSALS = (RequestValidationException, SyntaxException)
"""What every host would say."""


def watch(head: Execution) -> None:
    """Start a request whose sink is set; what policies raise, and Busy, reach the caller, too."""
    try:
        race = Race(head)
        if not head._over():  # while the policy let others run
            race.start()
    except BaseException as error:
        head.abandon(error)
        raise


class Attempt(Execution):
    """One of the attempts for a request. It retries by itself, on hosts that none of the others is asking."""

    sent_at = 0.0
    """Monotonic seconds."""
    timer: Timer | None = None
    """Its attempt timeout, while it is in flight."""

    def __init__(self, of: Race) -> None:
        head = of.head
        super().__init__(head.session, head.resolved, head.values, head.timestamp, head.timeout)
        self.started = head.started
        self.deadline = head.deadline
        self._of = of
        self._errors = head.errors
        self._trace_ids = head.trace_ids
        self._statement = head.statement

    @property
    def retries(self) -> int:
        """Those of the whole request: retry policies hear of one request."""
        return self._of.retries

    @retries.setter
    def retries(self, count: int) -> None:
        self._of.retries = count

    def send_on(self, connection: Any, host: Any) -> bool:
        """As Request.send_on, and noted."""
        if not super().send_on(connection, host):
            return False
        self._of.sent(self)
        return True

    def finish(self, page: Any) -> None:
        """As a sink: there is a result."""
        self._of.won(self, page)

    def fail(self, error: BaseException) -> None:
        """As a sink: this attempt has failed."""
        self._of.lost(self, error)

    def _measure(self, error: BaseException | None = None) -> None:
        """Not at all: the head is what ends as a request."""

    def retire(self) -> None:
        """It is not needed any more; whatever still comes for it is dropped."""
        self.stop_timer()
        if self.done:
            return
        self.done = True
        self.sink = None
        self._orphan()
        self._wait_no_more()

    def stop_timer(self) -> None:
        """It has been answered, or will not be."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _answered(self) -> set[Any]:
        return super()._answered() | {other.host for other in self._of.running if other is not self}

    def on_frame(self, frame: Frame, connection: Connection) -> None:
        if frame.opcode != Opcode.ERROR and not self.done:  # a changed schema, say, that others are waited for to agree on
            self._of.settled = True
        super().on_frame(frame, connection)

    def _decide(self, work: Callable[..., None], *args: Any) -> None:
        self.stop_timer()
        super()._decide(work, *args)


class Race:
    """The attempts for one request.

    :param head: the Execution that its future knows
    """

    def __init__(self, head: Execution) -> None:
        resolved = head.resolved
        policy = resolved.profile.speculative_execution_policy
        self.head = head
        self.running: list[Attempt] = []
        """In flight, waiting for room, or deciding."""
        self.asked: list[Any] = []
        """The hosts it was sent to, in order."""
        self.retries = 0
        self.over = head.done
        self.settled = False
        """Whether a server has answered with something else than an error: nobody else is to be asked."""
        head.asked = self.asked
        head.race = self
        self._error: BaseException | None = None
        """What an attempt failed with."""
        self._attempt_timeout: float | None = resolved.profile.attempt_timeout
        self._latencies = policy.latencies if isinstance(policy, PercentileSpeculativeExecutionPolicy) else None
        self._delay = -1.0
        self._timer: Timer | None = None
        self._plan = policy.new_plan(head.statement.keyspace or resolved.working_keyspace, head.statement)

    def start(self) -> None:
        """Send the first attempt, or queue it up."""
        first = Attempt(self)
        self.running.append(first)
        first.begin(first)
        self._schedule()

    # -- from readers, the hub and cold paths; nothing here switches ----------------------------------------------------------

    def sent(self, attempt: Attempt) -> None:
        """An attempt is on its way."""
        self.asked.append(attempt.host)
        self.head.host = attempt.host
        self.head.attempts += 1
        attempt.sent_at = monotonic()
        attempt.stop_timer()
        if self._attempt_timeout is not None:
            attempt.timer = self._after(self._attempt_timeout, self._on_slow, attempt)
        if len(self.asked) == 1 and self._delay >= 0 and self._timer is None:  # its delay passed before it was sent
            self._timer = self._after(self._delay, self._on_delay)

    def won(self, attempt: Attempt, page: Any) -> None:
        """The first result has come."""
        head = self.head
        if self._latencies is not None:
            now = monotonic()
            for each in self.running:  # those that have lost would have taken longer still
                if each.sent_at:
                    self._latencies.add(now - each.sent_at)
        head.host = attempt.host
        head.connection = attempt.connection
        head.resolved = attempt.resolved
        head.schema_agreed = attempt.schema_agreed
        self.stop()
        head._finish(page)

    def lost(self, attempt: Attempt, error: BaseException) -> None:
        """An attempt has failed for good: the request ends if there is no other, or no time."""
        if attempt in self.running:
            self.running.remove(attempt)
        attempt.stop_timer()
        head = self.head
        late = isinstance(error, OperationTimedOut) and monotonic() >= head.deadline
        refused = isinstance(error, REFUSALS)
        if late:
            error = OperationTimedOut({**self._unanswered(), **(getattr(error, "errors", None) or {})}, head.host)
        elif attempt.host is not None:  # whatever becomes of the others, this is not to be lost
            head.errors.setdefault(attempt.host, error)
        if late or refused or self._error is None or isinstance(self._error, NoHostAvailable):
            self._error = error
        self._stop_timer()  # the retry policy has given up: no other host is to be asked as well
        if late or refused or not self.running or head.session.is_shutdown:
            self.stop()
            head._fail(self._error)

    def _unanswered(self) -> dict[str, str]:
        timeout = self.head.timeout
        return {str(attempt.host): f"no answer within {timeout} s" for attempt in self.running if attempt.sent_at}

    def stop(self) -> None:
        """The request has ended: so has every attempt."""
        self.over = True
        self.head.race = None
        self._stop_timer()
        running, self.running = self.running, []
        for attempt in running:
            attempt.retire()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer: Timer = self.head.session.cluster._scheduler.call_later(delay, callback, *args)
        return timer

    def _on_delay(self) -> None:
        self._timer = None
        if self.asked:
            self.head.session._spawn(self._run, self._speculate)

    def _on_slow(self, attempt: Attempt) -> None:
        attempt.timer = None
        self.head.session._spawn(self._run, self._replace, attempt)

    # -- in a greenlet of the driver's, or of whoever starts the request ------------------------------------------------------

    def _run(self, work: Callable[..., None], *args: Any) -> None:
        """Ask another host; whatever goes wrong with that, there is an attempt under way."""
        try:
            if not self.over and not self.settled:
                work(*args)
        except (Exception, gevent.Timeout):  # of policies
            log.exception("no host could be asked beside %s", self.head.host)

    def _schedule(self) -> None:
        """Ask the plan when to try another host as well."""
        if self.over or self.settled:
            return
        self._delay = self._plan.next_execution(self.head.host)
        if self._delay >= 0 and not self.over and not self.settled and monotonic() + self._delay < self.head.deadline:
            self._timer = self._after(self._delay, self._on_delay)

    def _speculate(self) -> None:
        if self._send_elsewhere():
            count(self.head.session.cluster, "speculative_executions", self.head.host)
        self._schedule()  # where nobody could be asked now, somebody may have room by then

    def _replace(self, slow: Attempt) -> None:
        """Give up an attempt that takes too long, if another can be made in its place."""
        host = slow.host
        sent_at = slow.sent_at
        sent = self._send_elsewhere()
        if self.over or slow not in self.running or slow.sent_at != sent_at:
            return
        if sent:
            text = f"no answer to this attempt within {self._attempt_timeout} s"
            self.head.errors[host] = OperationTimedOut({str(host): text}, host)
            self.running.remove(slow)
            slow.retire()
            count(self.head.session.cluster, "attempt_timeouts", host)
        elif self._attempt_timeout is not None and slow.timer is None:
            slow.timer = self._after(self._attempt_timeout, self._on_slow, slow)

    def _send_elsewhere(self) -> bool:
        """Send on a host that this request has not been sent to; only where it need not wait.

        :returns: False if there is none
        """
        attempt = Attempt(self)
        router = attempt.session._router
        if len(self.asked) >= MAX_ATTEMPTS:
            return False
        for host in router.plan(attempt):
            if self.over or self.settled:  # while the policy let others run
                return False
            if host in self.asked:
                continue
            pool = router.pool_of(host, attempt.resolved)
            connection = None if pool is None else pool.pick()
            if connection is None or connection.suspect:
                continue
            attempt.sink = attempt
            if attempt.send_on(connection, host):
                self.running.append(attempt)
                return True
        return False
