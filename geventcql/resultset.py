"""Rows of a request (layer: driver): decoded at first access, page after page, in the greenlet that looks at them.

Nothing here runs in the reader or the hub. Decoding goes in slices, between which only iteration and ``all()`` let other
greenlets run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gevent

from geventcql.cython.wire import Page, PageView
from geventcql.errors import QueryExhausted
from geventcql.net.scheduler import A_TURN

if TYPE_CHECKING:
    from geventcql.response import ResponseFuture

__all__ = ["ResultSet", "slices_of"]

SLICE_ROWS = 1000


class ResultSet(PageView):
    """The rows of a request: those of the page that came, then of the pages after it (``cassandra.cluster.ResultSet``).

    Iteration asks for each next page while the one before is being read. Iterating again begins with the current page.
    """

    response_future: ResponseFuture
    _iterator: Iterator[Any] | None
    _listed: list[Any] | None
    _failure: Exception | None = None
    """Why the page behind the current one could not be had; this is not the end of the rows."""

    # -- the current page ---------------------------------------------------------------------------------------------

    @property
    def current_rows(self) -> Any:
        """The rows of the current page."""
        return self._listed if self._listed is not None else self._page.all()

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order; empty if the request gave no rows."""
        return [c.name for c in self._columns()]

    @property
    def column_types(self) -> list[Any]:
        """The CQL types of the columns, in order."""
        return [c.type for c in self._columns()]

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
        if self._listed is not None:
            return iter(self._listed)
        self._failure = None
        self._iterator = itertools.chain.from_iterable(self._slices())
        return self._iterator

    def next(self) -> Any:
        """The next row.

        :raises StopIteration: there is none
        :raises DriverException: the page that it is on could not be had; every time until iteration begins anew
        """
        if self._iterator is None:
            iter(self)
        if self._failure is not None:
            raise self._failure
        return next(self._iterator)  # type: ignore[arg-type]

    __next__ = next

    def _slices(self) -> Iterator[Any]:
        while True:
            page = self._page
            following = self.response_future.fetch_after(page) if page.paging_state is not None else None
            yield from slices_of(page)
            if following is None:
                return
            try:
                self._page = self.response_future.page_of(following)
            except Exception as error:
                self._failure = error
                raise

    def fetch_next_page(self) -> None:
        """Replace the current page by the next one; waits.

        :raises QueryExhausted: there is none
        """
        if not self.has_more_pages:
            raise QueryExhausted("there is no page behind this one")
        self._page = self.response_future.page_of(self.response_future.fetch_after(self._page))
        self._iterator = None
        self._listed = None

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


def slices_of(page: Page) -> Iterator[Any]:
    """The rows of a page in slices; other greenlets get a turn between them."""
    if not page.by_slices or page.finished:
        yield page.all()
        return
    given = 0
    while True:
        rows = page.decoded
        if rows is None or len(rows) == given:
            if page.finished:
                return
            if given:
                gevent.sleep(A_TURN)
            rows = page.more_rows(SLICE_ROWS)
        part = rows if given == 0 and page.finished else rows[given:]
        given += len(part)  # before anybody else gets to look at this page
        yield part
