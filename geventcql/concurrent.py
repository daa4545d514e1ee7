"""Many requests at once (layer: driver), pulled lazily, never more than ``concurrency`` under way.

No greenlet per request and no callbacks: one loop in the calling greenlet sends as requests end.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent.event import AsyncResult
from gevent.queue import SimpleQueue

from geventcql.flights import cut_short
from geventcql.handed_on import handing_on
from geventcql.net.scheduler import A_TURN
from geventcql.profiles import EXEC_PROFILE_DEFAULT
from geventcql.waiting import Begun, OfItsThread

if TYPE_CHECKING:
    from geventcql.response import ResponseFuture
    from geventcql.session import Session

__all__ = ["ExecutionResult", "execute_concurrent", "execute_concurrent_async", "execute_concurrent_with_args", "imap"]


class ExecutionResult(NamedTuple):
    """How one of many requests ended (``cassandra.concurrent.ExecutionResult``)."""

    success: bool
    result_or_exc: Any


class _Failed:
    """A request that could not even be sent; stands in for its future."""

    def __init__(self, error: Exception) -> None:
        self.exception = error

    def ready(self) -> bool:
        return False

    def wait(self) -> None:
        """A turn for others: many in a row must not keep the hub waiting."""
        gevent.sleep(A_TURN)

    def result(self) -> Any:
        try:
            raise self.exception
        finally:
            del self  # the error leads here, and is not to lead back to its future


def _check(session: Session, concurrency: int) -> None:
    session._check_wait()
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")


def _send(session: Session, statement: Any, parameters: Any, profile: Any) -> Any:
    try:
        future = session.execute_async(statement, parameters, execution_profile=profile)
    except Exception as error:
        return _Failed(error)
    # What failed at once is waited for as well: with no host to ask, all others would wait for the end of the loop.
    return _Failed(future.exception) if future.ready() and future.exception is not None else future


def _cancel(futures: Iterable[Any]) -> None:
    if sys.is_finalizing():
        return  # an iterator that was never finished goes with the interpreter: nobody waits, and modules have gone
    for future in futures:
        if not isinstance(future, _Failed):
            future._execution.cancel()


def _ordered(
    session: Session, requests: Iterator[tuple[Any, Any]], concurrency: int, profile: Any
) -> Generator[ResponseFuture | _Failed, None, None]:
    """Futures in the order of the requests, each ended."""
    window: deque[Any] = deque()
    try:
        for statement, parameters in islice(requests, concurrency):
            window.append(_send(session, statement, parameters, profile))
        while window:
            future = window[0]
            if not future.ready():
                future.wait()
            window.popleft()
            for statement, parameters in islice(requests, 1):
                window.append(_send(session, statement, parameters, profile))
            yield future
    finally:
        _cancel(window)


def _unordered(
    session: Session, requests: Iterator[tuple[Any, Any]], concurrency: int, profile: Any
) -> Generator[tuple[int, ResponseFuture | _Failed], None, None]:
    """(number of the request, future), in the order in which they end."""
    ended: SimpleQueue = SimpleQueue()
    under_way: dict[Any, int] = {}
    numbered = enumerate(requests)

    def send(count: int) -> None:
        for number, (statement, parameters) in islice(numbered, count):
            future = _send(session, statement, parameters, profile)
            under_way[future] = number
            if isinstance(future, _Failed):
                ended.put(future)
            else:
                future.rawlink(ended.put)

    try:
        send(concurrency)
        while under_way:
            future = ended.get()
            if not future.ready():
                future.wait()
            number = under_way.pop(future)
            send(1)
            yield number, future
    finally:
        for future in under_way:
            if not isinstance(future, _Failed):
                future.unlink(ended.put)
        _cancel(under_way)


def imap(
    session: Session,
    statement: Any,
    parameters: Iterable[Any],
    concurrency: int = 100,
    execution_profile: Any = EXEC_PROFILE_DEFAULT,
    *,
    ordered: bool,
) -> Iterator[Any]:
    """See :meth:`Session.imap` and :meth:`Session.imap_unordered`."""
    _check(session, concurrency)
    requests = ((statement, values) for values in parameters)
    if ordered:
        in_order = _ordered(session, requests, concurrency, execution_profile)
        return _Outcomes(in_order, _result, in_order.close)
    unordered = _unordered(session, requests, concurrency, execution_profile)
    return _Outcomes(map(itemgetter(1), unordered), _result, unordered.close)


class _Outcomes:
    """What became of each request. Not a generator: an error ends those, and the results behind it are still wanted; nor is
    whoever waits elsewhere than where it was begun to end it.
    """

    def __init__(self, futures: Iterator[Any], outcome: Callable[[Any], Any], close: Callable[[], None]) -> None:
        self._futures = futures
        self._outcome = outcome
        self._close = close
        self._begun = Begun()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._begun.refuse_elsewhere()
        return self._outcome(next(self._futures))

    def close(self) -> None:
        """Send nothing more, and wait for nothing that is under way, as a generator's ``close``."""
        self._begun.refuse_elsewhere()
        self._close()


def _result(future: ResponseFuture | _Failed) -> Any:
    try:
        return future.result()
    finally:
        del future  # as in _Failed


def _outcome(future: Any, raise_errors: bool) -> ExecutionResult:
    if raise_errors:
        return ExecutionResult(True, future.result())
    try:
        return ExecutionResult(True, future.result())
    except Exception as error:
        return ExecutionResult(False, error)


def execute_concurrent(
    session: Session,
    statements_and_parameters: Iterable[tuple[Any, Any]],
    concurrency: int = 100,
    raise_on_first_error: bool = True,
    results_generator: bool = False,
    execution_profile: Any = EXEC_PROFILE_DEFAULT,
) -> Any:
    """Execute pairs of statement and parameters (``cassandra.concurrent.execute_concurrent``).

    :param concurrency: requests under way at once
    :param raise_on_first_error: raise the first error instead of returning it among the results
    :param results_generator: return an iterator that sends as it is read, instead of a list
    :returns: :class:`ExecutionResult` for each pair, in order
    """
    _check(session, concurrency)
    requests = iter(statements_and_parameters)
    if results_generator:
        in_order = _ordered(session, requests, concurrency, execution_profile)
        return _Outcomes(in_order, partial(_outcome, raise_errors=raise_on_first_error), in_order.close)
    results: dict[int, ExecutionResult] = {}
    for number, future in _unordered(session, requests, concurrency, execution_profile):
        results[number] = _outcome(future, raise_on_first_error)
    return [results[number] for number in range(len(results))]


def execute_concurrent_with_args(
    session: Session, statement: Any, parameters: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """Execute one statement with each of ``parameters``; the rest as :func:`execute_concurrent`."""
    return execute_concurrent(session, ((statement, values) for values in parameters), *args, **kwargs)


class _Results(OfItsThread, AsyncResult):  # type: ignore[misc]
    """The results of many requests, once all of them have ended."""


def execute_concurrent_async(
    session: Session,
    statements_and_parameters: Iterable[tuple[Any, Any]],
    concurrency: int = 100,
    raise_on_first_error: bool = False,
    execution_profile: Any = EXEC_PROFILE_DEFAULT,
) -> Any:
    """:func:`execute_concurrent` in a greenlet of its own.

    :returns: an AsyncResult, whose ``get()`` or ``result()`` gives the results
    """
    session._check_thread()
    results = _Results()

    def run() -> None:
        try:
            results.set(
                execute_concurrent(
                    session, statements_and_parameters, concurrency, raise_on_first_error, False, execution_profile
                )
            )
        except (Exception, gevent.Timeout) as error:
            results.set_exception(error)

    def ended(greenlet: Any) -> None:
        if not results.ready():
            results.set_exception(cut_short(greenlet, "the statements were executed"))

    session._spawn(run).rawlink(ended)
    return results

if not TYPE_CHECKING:
    __getattr__ = handing_on(__name__)
