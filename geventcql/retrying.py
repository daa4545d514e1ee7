"""What to do about a failed attempt (layer: driver): asks the statement's or the profile's retry policy.

Runs in the greenlet that owns the failed request.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

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
from geventcql.protocol.constants import WriteType

if TYPE_CHECKING:
    from geventcql.resolve import Resolved

__all__ = ["Verdict", "judge"]


class Verdict(Enum):
    """What becomes of the request."""

    SAME_HOST = RetryPolicy.RETRY
    RETHROW = RetryPolicy.RETHROW
    IGNORE = RetryPolicy.IGNORE
    NEXT_HOST = RetryPolicy.RETRY_NEXT_HOST


# Such an answer leaves open whether a write was applied; the others say that nothing was.
AMBIGUOUS = (ServerError, TruncateError, ConnectionException)
NODE_ERRORS = (OverloadedErrorMessage, IsBootstrappingErrorMessage, ServerError, TruncateError)


def judge(error: Exception, resolved: Resolved, statement: Any, retries: int) -> tuple[Verdict, int | None]:
    """Ask the retry policy.

    A statement that is not idempotent is not sent again after a failure that leaves open whether it was applied, except
    for a write that timed out with only the batch log to write.

    :param error: the server's answer, or how the connection ended
    :param statement: as the policy gets it
    :param retries: how often the request has been sent again so far
    :returns: the verdict, and the consistency level of the next attempt (None: the same)
    """
    decision, consistency = _ask(error, resolved, statement, retries)
    verdict = Verdict(decision)
    if verdict in (Verdict.SAME_HOST, Verdict.NEXT_HOST) and not resolved.is_idempotent and _may_have_applied(error):
        return Verdict.RETHROW, None
    return verdict, consistency


def _may_have_applied(error: Exception) -> bool:
    if isinstance(error, WriteTimeoutErrorMessage):
        return bool(error.info["write_type"] != WriteType.BATCH_LOG)
    return isinstance(error, AMBIGUOUS)


def _ask(error: Exception, resolved: Resolved, statement: Any, retries: int) -> tuple[int, int | None]:
    policy = resolved.retry_policy
    info: dict[str, Any] = error.info if isinstance(error, ErrorMessage) and isinstance(error.info, dict) else {}
    answer: tuple[int, int | None]
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

