"""What is known of a request beyond its current attempt (layer: driver); made when it is asked for: few requests need it."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import Any

from geventcql.cython.wire import Request

__all__ = ["RequestState"]


class RequestState(Request):
    """A request with what is made of it at first use."""

    _errors: dict[Any, BaseException]
    _prepared_again: Counter[bytes]
    _trace_ids: list[Any]
    _earlier: list[Any]
    _statement: Any
    asked: list[Any] | None = None
    """The hosts that its attempts were sent to, in order, if several may be in flight at once."""
    waiting = 0
    """The number of its arrival in the queue, while it waits for a connection with room, or for its turn; else 0."""
    queue: Any
    """The Session's Admission or Throttle that it waits, or waited, in."""
    _waits_since = 0.0
    _waited = 0.0

    def begin_waiting(self, queue: Any, number: int) -> None:
        """It waits in a queue from now on, under the ``number`` of its arrival."""
        self.queue, self.waiting, self._waits_since = queue, number, monotonic()

    def end_waiting(self) -> None:
        """It does not any more."""
        self.waiting = 0
        self._waited += monotonic() - self._waits_since

    @property
    def waited(self) -> float:
        """How long it has waited in queues so far, seconds."""
        return self._waited + (monotonic() - self._waits_since if self.waiting else 0.0)

    @property
    def errors(self) -> dict[Any, BaseException]:
        """What attempts before the current one ended with, by host."""
        if not hasattr(self, "_errors"):
            self._errors = {}
        return self._errors

    @property
    def statement(self) -> Any:
        """The statement as policies and listeners get it, a prepared one with its values: one object for all attempts."""
        if not hasattr(self, "_statement"):
            self._statement = self.resolved.policy_statement(self.values)
        return self._statement

    @property
    def prepared_again(self) -> Counter[bytes]:
        """How often each statement of it was prepared again, by id: a batch has many, and no policy is to hear of it."""
        if not hasattr(self, "_prepared_again"):
            self._prepared_again = Counter()
        return self._prepared_again

    @property
    def trace_ids(self) -> list[Any]:
        """The ids of the server's traces of this request and of the pages before it."""
        if not hasattr(self, "_trace_ids"):
            self._trace_ids = []
        return self._trace_ids

    @property
    def attempted_hosts(self) -> list[Any]:
        """The hosts the request was sent to, in order."""
        if self.asked is not None:
            return list(self.asked)
        earlier = getattr(self, "_earlier", [])
        return [*earlier, self.host] if self.attempts else []

    def asked_before(self, host: Any) -> None:
        if not hasattr(self, "_earlier"):
            self._earlier = []
        self._earlier.append(host)

    @property
    def encoded_size(self) -> int:
        """The length of the request's body, bytes."""
        template = self.resolved.template
        return len(template.prefix) + len(self.values) + len(template.suffix) + (8 if template.timestamp_at >= 0 else 0)
