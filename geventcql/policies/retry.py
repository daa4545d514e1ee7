"""Retry policies: what to do about a request that a server or a connection failed.

Layer: model. Asked in the greenlet that owns the failed request. Each method returns (decision, consistency level): the
decision is one of RETRY, RETHROW, IGNORE and RETRY_NEXT_HOST, the level that of the next attempt, None for the same. A third
item, as in scylla-driver, is how long to wait before the next attempt, in seconds, None for not at all.
"""

from __future__ import annotations

import random
import warnings
from typing import Any

from geventcql.protocol.constants import ConsistencyLevel, WriteType

__all__ = [
    "DowngradingConsistencyRetryPolicy",
    "ExponentialBackoffRetryPolicy",
    "FallthroughRetryPolicy",
    "NeverRetryPolicy",
    "RetryPolicy",
]

Decision = tuple[int, "int | None"] | tuple[int, "int | None", "float | None"]


class RetryPolicy:
    """The default: one retry where it is likely to succeed and does no harm (`cassandra.policies.RetryPolicy`).

    `retry_num` counts the retries so far, from 0. `query` is the statement, `consistency` the level it was tried at.
    A statement that is not idempotent is not retried after a failure that leaves open whether it was executed, whatever
    the policy says.
    """

    RETRY = 0
    """Try the same host again."""

    RETHROW = 1
    """Give up: the error goes to the application."""

    IGNORE = 2
    """Give up, and give the application an empty result."""

    RETRY_NEXT_HOST = 3
    """Try the next host of the query plan."""

    def on_read_timeout(
        self,
        query: Any,
        consistency: int,
        required_responses: int,
        received_responses: int,
        data_retrieved: bool,
        retry_num: int,
    ) -> Decision:
        """The coordinator waited in vain for replicas to read from.

        Retries once if enough of them answered but not the one that was asked for the data: the coordinator knows by
        now that it is slow, and asks another.
        """
        if retry_num == 0 and received_responses >= required_responses and not data_retrieved:
            return self.RETRY, consistency
        return self.RETHROW, None

    def on_write_timeout(
        self,
        query: Any,
        consistency: int,
        write_type: int,
        required_responses: int,
        received_responses: int,
        retry_num: int,
    ) -> Decision:
        """The coordinator waited in vain for replicas to confirm a write of `write_type`, a WriteType.

        Retries once if only the batch log was to be written: of a batch that is idempotent, since what did reach the log is
        replayed.
        """
        if retry_num == 0 and write_type == WriteType.BATCH_LOG:
            return self.RETRY, consistency
        return self.RETHROW, None

    def on_unavailable(
        self, query: Any, consistency: int, required_replicas: int, alive_replicas: int, retry_num: int
    ) -> Decision:
        """The coordinator knew too few live replicas and did nothing. Asks one other host, which may know better."""
        return (self.RETRY_NEXT_HOST, None) if retry_num == 0 else (self.RETHROW, None)

    def on_request_error(self, query: Any, consistency: int, error: BaseException, retry_num: int) -> Decision:
        """The connection broke, or the node is overloaded, starting up or faulty. Asks the next host."""
        return self.RETRY_NEXT_HOST, None


class FallthroughRetryPolicy(RetryPolicy):
    """Never retries anything: each error goes to the application."""

    def on_read_timeout(self, *args: Any, **kwargs: Any) -> Decision:
        """RETHROW."""
        return self.RETHROW, None

    def on_write_timeout(self, *args: Any, **kwargs: Any) -> Decision:
        """RETHROW."""
        return self.RETHROW, None

    def on_unavailable(self, *args: Any, **kwargs: Any) -> Decision:
        """RETHROW."""
        return self.RETHROW, None

    def on_request_error(self, *args: Any, **kwargs: Any) -> Decision:
        """RETHROW."""
        return self.RETHROW, None


class NeverRetryPolicy(RetryPolicy):
    """Rethrows what servers time out or refuse as unavailable; other errors go on to the next host, as in
    cassandra-driver.
    """

    def on_read_timeout(self, *args: Any, **kwargs: Any) -> Decision:
        """RETHROW."""
        return self.RETHROW, None

    def on_write_timeout(self, *args: Any, **kwargs: Any) -> Decision:
        """RETHROW."""
        return self.RETHROW, None

    def on_unavailable(self, *args: Any, **kwargs: Any) -> Decision:
        """RETHROW."""
        return self.RETHROW, None


class ExponentialBackoffRetryPolicy(RetryPolicy):
    """As RetryPolicy, but up to `max_num_retries` times, and after a pause that doubles each time (scylla-driver's policy of
    this name).

    The pauses are `min_interval` seconds at first and at most `max_interval`, each half a `min_interval` shorter or longer
    by chance. While it waits a request holds no connection and no greenlet but its own, and its timeout runs; where the
    timeout comes before the end of the pause, the error goes to the application at once. ValueError for negative intervals,
    or a maximum below the minimum.
    """

    def __init__(self, max_num_retries: float, min_interval: float = 0.1, max_interval: float = 10.0) -> None:
        if min_interval < 0 or max_interval < min_interval:
            raise ValueError(f"intervals must be 0 or more, the maximum not below the minimum: {min_interval}, {max_interval}")
        self.max_num_retries = max_num_retries
        self.min_interval = min_interval
        self.max_interval = max_interval

    def _again(self, decision: int, consistency: int | None, retry_num: int, useful: bool = True) -> Decision:
        if retry_num >= self.max_num_retries or not useful:
            return self.RETHROW, None, None
        pause = min(self.max_interval, self.min_interval * 2.0**retry_num)
        return decision, consistency, pause + random.uniform(-0.5, 0.5) * self.min_interval

    def on_read_timeout(
        self,
        query: Any,
        consistency: int,
        required_responses: int,
        received_responses: int,
        data_retrieved: bool,
        retry_num: int,
    ) -> Decision:
        """Retries if enough replicas answered but not the one that was asked for the data."""
        useful = received_responses >= required_responses and not data_retrieved
        return self._again(self.RETRY, consistency, retry_num, useful)

    def on_write_timeout(
        self,
        query: Any,
        consistency: int,
        write_type: int,
        required_responses: int,
        received_responses: int,
        retry_num: int,
    ) -> Decision:
        """Retries if only the batch log was to be written."""
        return self._again(self.RETRY, consistency, retry_num, write_type == WriteType.BATCH_LOG)

    def on_unavailable(
        self, query: Any, consistency: int, required_replicas: int, alive_replicas: int, retry_num: int
    ) -> Decision:
        """Asks the next host."""
        return self._again(self.RETRY_NEXT_HOST, None, retry_num)

    def on_request_error(self, query: Any, consistency: int, error: BaseException, retry_num: int) -> Decision:
        """Asks the next host."""
        return self._again(self.RETRY_NEXT_HOST, None, retry_num)


class DowngradingConsistencyRetryPolicy(RetryPolicy):
    """Retries at a lower consistency level if fewer replicas answered than asked for. Deprecated, as in
    cassandra-driver.

    A read may then miss what a write at the same nominal level wrote, and a write that at least one replica confirmed
    passes for successful. Better let the application choose the level.
    """

    def __init__(self) -> None:
        warnings.warn("DowngradingConsistencyRetryPolicy is deprecated", DeprecationWarning, stacklevel=2)

    def _lower(self, replicas: int) -> Decision:
        for count, level in ((3, ConsistencyLevel.THREE), (2, ConsistencyLevel.TWO), (1, ConsistencyLevel.ONE)):
            if replicas >= count:
                return self.RETRY, level
        return self.RETHROW, None

    def on_read_timeout(
        self,
        query: Any,
        consistency: int,
        required_responses: int,
        received_responses: int,
        data_retrieved: bool,
        retry_num: int,
    ) -> Decision:
        """Once: at the level that the answers received suffice for; as RetryPolicy if only the data is missing."""
        if retry_num != 0 or ConsistencyLevel.is_serial(consistency):
            return self.RETHROW, None
        if received_responses < required_responses:
            return self._lower(received_responses)
        return (self.RETHROW, None) if data_retrieved else (self.RETRY, consistency)

    def on_write_timeout(
        self,
        query: Any,
        consistency: int,
        write_type: int,
        required_responses: int,
        received_responses: int,
        retry_num: int,
    ) -> Decision:
        """Once: IGNORE if a replica has a single write or batch, a lower level for what of an unlogged batch is
        lost.
        """
        if retry_num != 0:
            return self.RETHROW, None
        if write_type in (WriteType.SIMPLE, WriteType.BATCH, WriteType.COUNTER):
            return (self.IGNORE, None) if received_responses > 0 else (self.RETHROW, None)
        if write_type == WriteType.UNLOGGED_BATCH:
            return self._lower(received_responses)
        if write_type == WriteType.BATCH_LOG:
            return self.RETRY, consistency
        return self.RETHROW, None

    def on_unavailable(
        self, query: Any, consistency: int, required_replicas: int, alive_replicas: int, retry_num: int
    ) -> Decision:
        """Once: at the level that the live replicas suffice for; a serial level on the next host."""
        if retry_num != 0:
            return self.RETHROW, None
        if ConsistencyLevel.is_serial(consistency):
            return self.RETRY_NEXT_HOST, None
        return self._lower(alive_replicas)
