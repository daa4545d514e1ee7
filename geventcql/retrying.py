"""What to do about a failed attempt (layer: driver): asks the statement's or the profile's retry policy.

Runs in the greenlet that owns the failed request.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from geventcql.errors import (
    ConnectionException,
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ReadTimeoutErrorMessage,
    ServerError,
    TruncateError,
    UnavailableErrorMessage,
    WriteTimeoutErrorMessage,
)
from geventcql.policies import RetryPolicy
from geventcql.policies.retry import Decision
from geventcql.query import BatchStatement, BatchType, BoundStatement
from geventcql.statement import words

if TYPE_CHECKING:
    from geventcql.resolve import Resolved

__all__ = ["Judgement", "Verdict", "judge"]


class Verdict(Enum):
    """What becomes of the request."""

    SAME_HOST = RetryPolicy.RETRY
    RETHROW = RetryPolicy.RETHROW
    IGNORE = RetryPolicy.IGNORE
    NEXT_HOST = RetryPolicy.RETRY_NEXT_HOST


class Judgement(NamedTuple):
    """What a retry policy says, as far as it is allowed."""

    verdict: Verdict
    consistency: int | None = None
    """Of the next attempt; None: the same."""
    pause: float = 0.0
    """Seconds before the next attempt."""


# Such an answer leaves open whether a write was applied. Others say that nothing was, but for writes of several partitions.
AMBIGUOUS = (ServerError, TruncateError, WriteTimeoutErrorMessage, ConnectionException)
NODE_ERRORS = (OverloadedErrorMessage, IsBootstrappingErrorMessage, ServerError, TruncateError)


def judge(error: Exception, resolved: Resolved, statement: Any, retries: int) -> Judgement:
    """Ask the retry policy.

    A statement that is not idempotent is not sent again after a failure that leaves open whether it was applied, not even
    behind a timeout of the batch log's write: what that one wrote, or writes later, is replayed.

    :param error: the server's answer, or how the connection ended
    :param statement: as the policy gets it
    :param retries: how often the request has been sent again so far
    """
    decision, consistency, *pause = _ask(error, resolved, statement, retries)
    verdict = Verdict(decision)
    again = verdict in (Verdict.SAME_HOST, Verdict.NEXT_HOST)
    if again and not resolved.is_idempotent and _may_have_applied(error, statement):
        return Judgement(Verdict.RETHROW)
    return Judgement(verdict, consistency, (pause[0] or 0.0) if pause else 0.0)


def _may_have_applied(error: Exception, statement: Any) -> bool:
    if isinstance(error, AMBIGUOUS):
        return True
    # StorageProxy sends a write partition by partition: it may have sent some when it finds that it lacks replicas for the
    # next one, or cannot keep more hints. Of a logged batch it looks at all replicas first; its log may be written by then.
    if isinstance(error, OverloadedErrorMessage):
        return _batch_type(statement) is not None
    return isinstance(error, UnavailableErrorMessage) and _batch_type(statement) in (BatchType.UNLOGGED, BatchType.COUNTER)


def _batch_type(statement: Any) -> BatchType | None:
    """As what a batch several partitions may be written; None for one partition, or none."""
    if isinstance(statement, BatchStatement):
        return statement.batch_type
    if isinstance(statement, BoundStatement):
        statement = statement.prepared_statement
    first, second, *others = (*words(getattr(statement, "query_string", "")), "", "")
    if first in ("update", "delete"):
        return BatchType.UNLOGGED if "in" in others else None  # the partitions that an IN names
    if first != "begin":
        return None
    return BatchType[second.upper()] if second in ("unlogged", "counter") else BatchType.LOGGED


def _ask(error: Exception, resolved: Resolved, statement: Any, retries: int) -> Decision:
    policy = resolved.retry_policy
    info: dict[str, Any] = error.info if isinstance(error, ErrorMessage) and isinstance(error.info, dict) else {}
    answer: Decision
    if isinstance(error, ReadTimeoutErrorMessage):
        answer = policy.on_read_timeout(statement, retry_num=retries, **info)
    elif isinstance(error, WriteTimeoutErrorMessage):
        answer = policy.on_write_timeout(statement, retry_num=retries, **info)
    elif isinstance(error, UnavailableErrorMessage):
        answer = policy.on_unavailable(statement, retry_num=retries, **info)
    elif isinstance(error, (ConnectionException, *NODE_ERRORS)):
        answer = policy.on_request_error(statement, resolved.consistency, error=error, retry_num=retries)
    else:
        answer = (RetryPolicy.RETHROW, None)
    return answer

