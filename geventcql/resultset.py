"""Rows of a request (layer: driver): decoded at first access, page after page, in the greenlet that looks at them.

Nothing here runs in the reader or the hub. Decoding goes in slices, between which only iteration and ``all()`` let other
greenlets run.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gevent

from geventcql.cqltypes import class_of
from geventcql.cython.wire import Page, PageView, RowIterator
from geventcql.net.scheduler import A_TURN
from geventcql.waiting import thread_id

if TYPE_CHECKING:
    from gevent.event import AsyncResult

    from geventcql.response import ResponseFuture

__all__ = ["ResultSet", "decoded"]

SLICE_ROWS = 1000


class ResultSet(PageView):
    """The rows of a request: those of the page that came, then of the pages after it (``cassandra.cluster.ResultSet``).

    Iteration asks for each next page while the one before is being read. Iterating again begins with the current page.
    """

    response_future: ResponseFuture
    _listed: list[Any] | None
    _iterator: Iterator[Any] | None = None

    # -- the current page ---------------------------------------------------------------------------------------------

    @property
    def current_rows(self) -> Any:
        """The rows of the current page."""
        return self._listed if self._listed is not None else self._page.all()

    _current_rows = current_rows
    """As many programs call it that make a DataFrame in their row factory."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order; empty if the request gave no rows."""
        return [c.name for c in self._columns()]

    @property
    def column_types(self) -> list[Any]:
        """The CQL types of the columns, in order, as classes of :mod:`geventcql.cqltypes`."""
        return [class_of(c.type, of_column=True) for c in self._columns()]

    def _columns(self) -> tuple[Any, ...]:
        return self._page.decoder().columns if self._page.has_rows else ()

    @property
    def has_more_pages(self) -> bool:
        """Whether there is a page behind the current one."""
        return self._page.paging_state is not None

    @property
    def paging_state(self) -> bytes | None:
        """Opaque bytes that a later ``execute(..., paging_state=...)`` goes on from; None behind the last page."""
        return self._page.paging_state

    def all(self) -> list[Any]:
        """All rows of this page and of those behind it, as a list."""
        return list(self)

    # -- all pages ----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        rows = self._page.whole(SLICE_ROWS) if self._listed is None else self._listed
        self._iterator = Rows(self) if rows is None else iter(rows)
        return self._iterator

    def next(self) -> Any:
        """The next row; with several greenlets each row goes to one of them.

        :raises StopIteration: there is none
        :raises DriverException: what it is in could not be had, or does not decode; the same until iteration begins anew
        """
        return next(iter(self) if self._iterator is None else self._iterator)

    __next__ = next

    def fetch_next_page(self) -> None:
        """Replace the current page by the next one; waits. Behind the last one there are no rows."""
        if self.has_more_pages:
            self._page = self.response_future.page_of(self.response_future.fetch_after(self._page))
            self._listed = None
        else:
            self._listed = []
        self._iterator = None

    def _list(self) -> list[Any]:
        if self._listed is None:
            self._listed = list(self)
        return self._listed

    def __getitem__(self, index: Any) -> Any:
        if index == 0 and self._listed is None:
            row = self._page.first()
            if row is None:
                raise IndexError("the result has no rows")
            return row
        return self._list()[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return self._list() == other._list()
        return self._list() == other

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return self._page.first() is not None if self._listed is None else bool(self._listed)

    def __repr__(self) -> str:
        return f"<ResultSet {self._page!r} of {self.response_future!r}>"

    # -- about the request --------------------------------------------------------------------------------------------

    @property
    def was_applied(self) -> bool:
        """Whether a conditional statement was applied.

        :raises RuntimeError: the result is not that of a conditional statement
        """
        names = self.column_names
        row = self.one()
        if "[applied]" not in names or row is None:
            raise RuntimeError(f"was_applied is for conditional statements; the result has the columns {names}")
        if isinstance(row, dict):
            return bool(row["[applied]"])
        if isinstance(row, tuple):
            return bool(row[names.index("[applied]")])
        raise RuntimeError(f"was_applied needs rows that are tuples or dicts, not {type(row).__name__}")

    def get_query_trace(self, max_wait_sec: float | None = None) -> Any:
        """The trace of the last page's request; see :meth:`ResponseFuture.get_query_trace`."""
        return self.response_future.get_query_trace(max_wait_sec)

    def get_all_query_traces(self, max_wait_sec_per: float | None = None) -> list[Any]:
        """The traces of all requests of this result."""
        return self.response_future.get_all_query_traces(max_wait_sec_per)

    def cancel_continuous_paging(self) -> None:
        """Continuous paging is a feature of DSE that geventcql does not have.

        :raises NotImplementedError: always
        """
        raise NotImplementedError("continuous paging is a feature of DSE that geventcql does not have")


class Rows(RowIterator):
    """An iteration over the rows of a result, from its current page on.

    A page is decoded in slices, and the next one asked for when the first slice is. What a greenlet waits for in here may
    have come about by another's doing, or may never come about for it, by a kill or Timeout; so nothing changes before the
    wait, and it is looked at anew after it.
    """

    def __init__(self, result: ResultSet) -> None:
        super().__init__()
        self._future = result.response_future
        self._result = weakref.ref(result)  # which knows its iteration
        self._page: Page | None = result._page
        self._following: AsyncResult | None = None
        self._begun = False
        self._asked_in = 0
        """The thread, of this process or its parent, that asked for the page that follows."""

    def advance(self) -> bool:
        page = self._page
        if page is None:
            return False
        if not self._begun:
            self._following = self._ask_behind(page)
            self._begun = True
        if not page.finished:
            if self.at:
                gevent.sleep(A_TURN)
            if page is self._page and self.at >= len(page.decoded or ()):
                page.more_rows(SLICE_ROWS)
        if page is not self._page:
            return True
        made = page.all() if page.finished else page.decoded
        self.rows = made if type(made) is list else list(made)
        return self.at < len(self.rows) or not page.finished or self._turn_page()

    def _ask_behind(self, page: Page) -> AsyncResult | None:
        if page.paging_state is None:
            return None
        following = self._future.fetch_after(page)
        self._asked_in = thread_id()
        return following

    def _turn_page(self) -> bool:
        following = self._following
        if following is not None and self._asked_in != thread_id() and not following.ready():
            assert self._page is not None
            following = self._following = self._ask_behind(self._page)  # that answer goes to the parent
        page = None if following is None else self._future.page_of(following)
        if following is self._following:
            self._page, self._following, self._begun = page, None, False
            self.rows, self.at = [], 0
            result = self._result()
            if page is not None and result is not None and result._iterator is self:
                result._page = page
        return self._page is not None


def decoded(page: Page) -> Any:
    """The rows of a page; other greenlets get a turn between slices."""
    while page.by_slices and not page.finished:
        page.more_rows(SLICE_ROWS)
        if not page.finished:
            gevent.sleep(A_TURN)
    return page.all()
