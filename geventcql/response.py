"""The handle of a request (layer: driver): a true ``gevent.event.AsyncResult`` with the driver's conveniences.

It is ended by the reader or by the greenlet that owns the request's cold path, exactly once. What it holds is the page that
came, as bytes; ``get``, ``result``, ``value``, ``wait`` and links see a ResultSet around it. Callbacks run in a greenlet of
their own, never in the reader or the hub.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult
from gevent.greenlet import SpawnedLink
from greenlet import getcurrent

from geventcql.cython.wire import Page, process_number
from geventcql.errors import ForkedError, QueryExhausted
from geventcql.net.forking import ApplicationGreenlet
from geventcql.net.interrupts import report
from geventcql.net.outcomes import outcome
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.resultset import ResultSet, decoded
from geventcql.waiting import park, thread_id

if TYPE_CHECKING:
    from geventcql.execution import Execution
    from geventcql.query import PreparedStatement
    from geventcql.session import Session

__all__ = ["ResponseFuture", "ResultSet"]


class ResponseFuture(AsyncResult):  # type: ignore[misc]
    """The result of a request that is under way (``cassandra.cluster.ResponseFuture``).

    Made by :meth:`Session.execute_async`. Besides the methods here it has all of AsyncResult's: ``get``, ``wait``, ``ready``,
    ``successful``, ``link``, ``rawlink``; ``gevent.wait`` and ``iwait`` take it.
    """

    # There is no __init__: one in Python would double the price of a future. `of` says what is set.
    _execution: Execution
    _waiter: Any = None
    """The greenlet that is parked on this future; see :mod:`geventcql.waiting`."""
    _callbacks: list[_Callback] | None = None
    _runner: Any = None
    """The greenlet that calls them, if any are due."""
    _number = 0
    """Of the page that is asked for, or has come."""
    _failed = False
    """Whether ``exception`` is to be raised: by us, since gevent's frames, which the error leads to, would lead back to it."""
    _traceback: TracebackType | None = None
    """Where it came from; each raising starts from there, or it would lengthen what the one before has left."""

    @classmethod
    def of(cls, execution: Execution) -> ResponseFuture:
        """The future of a request that is going to be started."""
        future = cls()
        future._execution = execution
        return future

    @property
    def session(self) -> Session:
        """The Session whose request it is."""
        session: Session = self._execution.session
        return session

    # -- ended by the execution (reader, hub or cold path); nothing here switches ---------------------------------------

    def finish(self, page: Page) -> None:
        """The answer has come. Called again if a signal's handler has raised in here; so is :meth:`fail`."""
        self.set(page)
        if self._waiter is not None:
            self._execution.session._waker.wake(self)
        if self._callbacks is not None:
            self._call_back()

    def fail(self, error: BaseException) -> None:
        """The request has failed."""
        if not self.ready():
            self._failed = True
            self._traceback = error.__traceback__
            self.set_exception(error)
        if self._waiter is not None:
            self.session._waker.wake(self)
        if self._callbacks is not None:
            self._call_back()

    # -- results ------------------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> ResultSet:
        """Wait for the answer.

        :param timeout: seconds for this wait alone; the request itself ends at its own timeout in any case
        :returns: its rows
        :raises gevent.Timeout: ``timeout`` passed
        :raises DriverException: the request failed; the class says how
        """
        try:
            if not self.ready():
                session = self._execution.session
                self._check_wait()
                if timeout is not None or self._waiter is not None:
                    return self.get(True, timeout)
                park(self, session._hub)
            if self._failed:
                raise self.exception.with_traceback(self._traceback)
            return ResultSet(self, AsyncResult.get(self))
        except BaseException:
            del self  # the error leads here, and is not to lead back to its future
            raise

    def get(self, block: bool = True, timeout: float | None = None) -> ResultSet:
        """As AsyncResult.get: the rows, or the error raised."""
        try:
            if self._failed:
                raise self.exception.with_traceback(self._traceback)
            if block and not self.ready():
                self._check_wait()
                rows: ResultSet = AsyncResult.get(self, True, timeout)  # which in the end calls this method again
                return rows
            return ResultSet(self, AsyncResult.get(self, block, timeout))
        except BaseException:
            del self  # as in result()
            raise

    def wait(self, timeout: float | None = None) -> ResultSet | None:
        """As AsyncResult.wait: the rows; None if the request failed, or ``timeout`` seconds passed."""
        if not self.ready():
            self._check_wait()
        rows: ResultSet | None = AsyncResult.wait(self, timeout)
        return rows

    @property
    def value(self) -> ResultSet | None:
        """The rows, if the request has succeeded, else None."""
        page = AsyncResult.value.__get__(self)
        return None if page is None else ResultSet(self, page)

    def rawlink(self, callback: Callable[[ResponseFuture], Any]) -> None:
        """As AsyncResult.rawlink: call ``callback(future)`` in the hub when the request has ended."""
        if not self.ready():
            self._check_thread()
        AsyncResult.rawlink(self, callback)

    def link(self, callback: Callable[[ResponseFuture], Any]) -> None:
        """Call ``callback(future)`` in a greenlet of its own when the request has ended, as Greenlet.link does."""
        self.rawlink(SpawnedLink(callback))

    def _check_wait(self) -> None:
        """Refuse to wait where that cannot work."""
        execution = self._execution
        session = execution.session
        hub = session._hub
        if thread_id() != session._owner or getcurrent() is hub or hub.loop is None or execution.is_of_parent:
            self._check_thread()
            session._check_wait()

    def _check_thread(self) -> None:
        """Refuse what would touch the hub of another thread, or wait for what only the parent process gets."""
        if self._execution.is_of_parent and not self.ready():
            raise ForkedError()
        if thread_id() != self.session._owner or self.session._hub.loop is None:
            self.session.cluster._check_thread()

    # -- pages --------------------------------------------------------------------------------------------------------

    def fetch_after(self, page: Page) -> AsyncResult:
        """Ask for the page behind ``page``; the answer is for :meth:`page_of`. Does not touch this future."""
        self.session._check_thread()
        return self._execution.next_page(page.paging_state)

    def page_of(self, fetched: AsyncResult) -> Page:
        """Wait for a page that :meth:`fetch_after` asked for."""
        self.session._check_wait()
        try:
            page: Page = outcome(fetched)
        except BaseException:
            del fetched  # as in result()
            raise
        return page

    @property
    def has_more_pages(self) -> bool:
        """Whether there is a page behind the one that came.

        :raises DriverException: the request has failed
        """
        return self.get().has_more_pages

    def start_fetching_next_page(self) -> None:
        """Ask for the next page; :meth:`result` and the callbacks get it. Others who wait for the current one are told first.

        :raises QueryExhausted: there is none
        :raises RuntimeError: the current one has not come yet, or somebody else has asked for the next
        """
        self._check_wait()
        gevent.sleep(0)  # an AsyncResult forgets its links when it starts anew: they are to be told before
        if not self.ready():
            raise RuntimeError("the current page has not come yet")
        page = AsyncResult.get(self, False)
        if page.paging_state is None:
            raise QueryExhausted("there is no page behind this one")
        self._restart(page.paging_state)

    def _restart(self, paging_state: bytes) -> None:
        AsyncResult.__init__(self)
        self._failed = False
        self._number += 1
        self._execution = self._execution.restart(self, paging_state)

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def add_callback(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> ResponseFuture:
        """Call ``fn(rows, *args, **kwargs)`` with each page that comes: a list of rows, None for a result without rows.

        Callbacks run in order of registration in a greenlet of their own, with this call's context variables.
        """
        return self._add(_Callback(fn, args, kwargs, False))

    def add_errback(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> ResponseFuture:
        """Call ``fn(error, *args, **kwargs)`` if the request fails; as :meth:`add_callback`."""
        return self._add(_Callback(fn, args, kwargs, True))

    def add_callbacks(
        self,
        callback: Callable[..., Any],
        errback: Callable[..., Any],
        callback_args: Sequence[Any] = (),
        callback_kwargs: Mapping[str, Any] | None = None,
        errback_args: Sequence[Any] = (),
        errback_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Both :meth:`add_callback` and :meth:`add_errback`."""
        self.add_callback(callback, *callback_args, **(callback_kwargs or {}))
        self.add_errback(errback, *errback_args, **(errback_kwargs or {}))

    def clear_callbacks(self) -> None:
        """Forget all callbacks and errbacks."""
        self._callbacks = None

    def _add(self, callback: _Callback) -> ResponseFuture:
        self._check_thread()
        if self._runner is not None and self._runner.is_of_parent:  # those that it has are called there
            self._callbacks = self._runner = None
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)
        if self.ready():
            self._call_back()
        return self

    def _call_back(self) -> None:
        if self._runner is None:
            # Not the Cluster's: its shutdown is one of the things they are to be told.
            self._runner = ApplicationGreenlet.spawn(self._run_callbacks)
            self._runner.rawlink(self._called_back)

    def _called_back(self, greenlet: Any) -> None:
        if greenlet.exception is not None or greenlet.value is not None:  # a signal's handler raised in it, or it was killed
            if self._runner is greenlet:  # before it began
                self._runner = None
            self._call_back()

    def _run_callbacks(self) -> None:
        """Call what has not been called for this page yet, in order; in a greenlet of its own."""
        process = process_number()
        try:
            while self.ready():
                number = self._number
                due = [callback for callback in self._callbacks or () if callback.called_for != number]
                if not due:
                    return
                error, rows = self._outcome()  # before any callback asks for the next page
                for callback in due:
                    callback.called_for = number
                    if callback.on_error == (error is not None):
                        callback.run(rows if error is None else error)
                    if process_number() != process:  # it has forked: the others are called in the parent
                        process = process_number()
                        self._callbacks = [other for other in self._callbacks or () if other not in due]
                        break
        finally:
            if self._runner is getcurrent():
                self._runner = None

    def _outcome(self) -> tuple[BaseException | None, Any]:
        """The error, or the page's rows as callbacks get them; what the rows cannot be made from is an error too."""
        if self.exception is not None:
            return self.exception, None
        try:
            page = AsyncResult.get(self, False)
            if not page.has_rows:
                return None, None
            return None, decoded(page)  # in slices: a long page must not hold up the hub
        except Exception as error:
            return error, None

    # -- about the request --------------------------------------------------------------------------------------------

    @property
    def query(self) -> Any:
        """The statement, a prepared one with its values."""
        return self._execution.statement

    @property
    def prepared_statement(self) -> PreparedStatement | None:
        """What was prepared before, if that is what the request executes."""
        prepared: PreparedStatement | None = self._execution.resolved.prepared
        return prepared

    @property
    def timeout(self) -> float | None:
        """Seconds for the request as a whole; None for no limit."""
        return self._execution.timeout

    @property
    def row_factory(self) -> Callable[..., Any]:
        """What rows become; set it in a request-init listener, or for the pages to come."""
        factory: Callable[..., Any] = self._execution.resolved.reading[0]
        return factory

    @row_factory.setter
    def row_factory(self, factory: Callable[..., Any]) -> None:
        self._execution.resolved = self._execution.resolved.read_by(factory)

    @property
    def message(self) -> Any:
        """What does not change from one attempt to the next (the request's template)."""
        return self._execution.resolved.template

    @property
    def request_encoded_size(self) -> int:
        """The length of the request's body, bytes."""
        return self._execution.encoded_size

    @property
    def coordinator_host(self) -> Any:
        """The host that answered, or that is being asked."""
        return self._execution.host

    @property
    def attempted_hosts(self) -> list[Any]:
        """The hosts the request was sent to, in order."""
        return self._execution.attempted_hosts

    @property
    def warnings(self) -> list[str] | None:
        """The server's warnings; waits for the answer."""
        return self._answer().warnings

    @property
    def custom_payload(self) -> dict[str, bytes | None] | None:
        """The payload that came with the answer; waits for it."""
        return self._answer().custom_payload

    def _answer(self) -> Page:
        self.result()
        page: Page = AsyncResult.get(self, False)
        return page

    @property
    def is_schema_agreed(self) -> bool:
        """Whether all nodes were seen to have the schema that the statement made; True if it does not change any."""
        return self._execution.schema_agreed

    def get_query_trace_ids(self) -> list[Any]:
        """The ids of the traces of this request's pages, if tracing was asked for."""
        self.result()
        return self._execution.trace_ids

    def get_query_trace(self, max_wait: float | None = None, query_cl: int = ConsistencyLevel.LOCAL_ONE) -> Any:
        """The trace of the last page's request, read from the server.

        :param max_wait: seconds to wait for the server to finish it; None: as long as the Session says
        :param query_cl: consistency of the queries that read it
        :returns: a QueryTrace, or None if the request was not traced
        :raises TraceUnavailable: it is not complete by then
        """
        ids = self.get_query_trace_ids()
        return self.session._read_trace(ids[-1], max_wait, query_cl) if ids else None

    def get_all_query_traces(self, max_wait_per: float | None = None, query_cl: int = ConsistencyLevel.LOCAL_ONE) -> list[Any]:
        """The traces of all pages' requests; as :meth:`get_query_trace`."""
        return [self.session._read_trace(i, max_wait_per, query_cl) for i in self.get_query_trace_ids()]

    def __repr__(self) -> str:
        state = "failed" if self.exception is not None else "done" if self.ready() else "pending"
        return f"<ResponseFuture {state} query={self.query!r} host={self.coordinator_host}>"

    __str__ = __repr__


class _Callback:
    """One registered callback or errback with the context it was registered in."""

    __slots__ = ("_args", "_context", "_fn", "_kwargs", "called_for", "on_error")

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], on_error: bool) -> None:
        self._fn = fn
        self._args = args
        self._kwargs = kwargs
        self._context = contextvars.copy_context()
        self.on_error = on_error
        self.called_for = -1
        """The number of the page that it has been called with last."""

    def run(self, argument: Any) -> None:
        try:
            self._context.run(self._fn, argument, *self._args, **self._kwargs)
        except gevent.GreenletExit:
            raise
        except BaseException as error:  # the next callbacks run all the same; the application's error is reported
            report(self._fn, error)
