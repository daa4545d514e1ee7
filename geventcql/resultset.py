"""Rows of a request (layer: driver): decoded at first access, page after page, in the greenlet that looks at them.

Nothing here runs in the reader or the hub. Decoding goes in slices, between which only iteration and ``all()`` let other
greenlets run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gevent

from geventcql.cython.wire import Page
from geventcql.errors import DecodeError, QueryExhausted
from geventcql.rows import dict_factory, named_tuple_class, named_tuple_factory, tuple_factory

if TYPE_CHECKING:
    from geventcql.response import ResponseFuture

__all__ = ["PageRows", "ResultSet", "RowReader"]

SLICE_ROWS = 1000
DIRECT = {tuple_factory: None, named_tuple_factory: named_tuple_class}
"""Factories that the decoder does itself: no class (plain tuples), or the class made from the column names."""


class RowReader:
    """How the rows of one statement are read: the row factory, and where decoders of unknown metadata come from.

    :param factory: ``factory(column_names, rows)``
    :param cache: finds or compiles the decoder for metadata in a body (:class:`geventcql.decoders.DecoderCache`)
    """

    __slots__ = ("_cache", "_class", "_decoder", "factory")

    def __init__(self, factory: Callable[[Sequence[str], list[Any]], Any], cache: Callable[..., Any]) -> None:
        self.factory = factory
        self._cache = cache
        self._decoder: Any = None
        self._class: type | None = None

    def start(self, page: Page) -> Any:
        """The decoder of a page."""
        return page.start(self._cache)

    def slice(self, page: Page, decoder: Any, most: int) -> Any:
        """The next rows of a page, at most ``most``."""
        factory = self.factory
        if factory is named_tuple_factory:
            if decoder is not self._decoder:
                self._decoder, self._class = decoder, named_tuple_class(decoder.names)
            return page.rows(most, self._class)
        rows = page.rows(most)
        if factory is tuple_factory:
            return rows
        return factory(decoder.names, rows)

    @property
    def by_slices(self) -> bool:
        """Whether the factory may be given a page in parts; an application's own gets it whole."""
        return self.factory in (named_tuple_factory, tuple_factory, dict_factory)


VOID_COLUMNS: tuple[str, ...] = ()


class PageRows:
    """The rows of one page, decoded as far as somebody has looked. Shared by every ResultSet of the same answer.

    :param page: what came
    :param reader: how to read it
    :param host: for errors
    """

    __slots__ = ("_error", "_rows", "decoder", "host", "page", "reader")

    def __init__(self, page: Page, reader: RowReader, host: Any) -> None:
        self.page = page
        self.reader = reader
        self.host = host
        self.decoder: Any = None
        self._rows: Any = None
        self._error: DecodeError | None = None

    def _decode(self, most: int) -> Any:
        if self._error is not None:
            raise self._error
        try:
            if self.decoder is None:
                self.decoder = self.reader.start(self.page)
            return self.reader.slice(self.page, self.decoder, most)
        except DecodeError as error:
            if self.host is not None:
                error.host = self.host
            self._error = error
            raise

    @property
    def _left(self) -> int:
        return 1 if self.decoder is None else self.page.rows_left

    def columns(self) -> tuple[Any, ...]:
        """The page's column specs."""
        if self.page.kind != 2:
            return ()
        if self.decoder is None:
            self._rows = self._decode(0) if self.reader.by_slices else None
        return tuple(self.decoder.columns) if self.decoder is not None else tuple(self.reader.start(self.page).columns)

    def first(self) -> Any:
        """The first row, or None."""
        if self.page.kind != 2:
            return None
        rows = self._rows
        if not rows:
            rows = self._fill(1) if self.reader.by_slices else self.all()
        return rows[0] if len(rows) else None

    def _fill(self, most: int) -> Any:
        rows = self._decode(most)
        if self._rows is None:
            self._rows = rows
        else:
            self._rows.extend(rows)
        return self._rows

    def all(self) -> Any:
        """All rows: a list, or whatever an application's own row factory returns."""
        if self.page.kind != 2:
            return []
        if self.reader.by_slices:
            while self._rows is None or self._left:
                self._fill(1 << 30)
        elif self._rows is None:
            self._rows = self._decode(1 << 30)
        return self._rows

    def slices(self) -> Iterator[Any]:
        """The rows in slices; other greenlets get a turn between them."""
        if self.page.kind != 2:
            return
        if not self.reader.by_slices:
            yield self.all()
            return
        given = 0
        while True:
            rows = self._rows if self._rows is not None else self._fill(SLICE_ROWS)
            if given < len(rows):
                yield rows if given == 0 else rows[given:]
                given = len(rows)
            elif self._left:
                gevent.sleep(0)
                if len(self._rows) == given:
                    self._fill(SLICE_ROWS)
            else:
                return


class ResultSet:
    """The rows of a request: those of the page that came, then of the pages after it (``cassandra.cluster.ResultSet``).

    Iteration asks for each next page while the one before is being read. Iterating again begins with the current page.
    """

    __slots__ = ("_iterator", "_listed", "_rows", "response_future")

    def __init__(self, response_future: ResponseFuture, rows: PageRows) -> None:
        self.response_future = response_future
        self._rows = rows
        self._iterator: Iterator[Any] | None = None
        self._listed: list[Any] | None = None

    # -- the current page ---------------------------------------------------------------------------------------------

    @property
    def current_rows(self) -> Any:
        """The rows of the current page."""
        return self._listed if self._listed is not None else self._rows.all()

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order; empty if the request gave no rows."""
        return [c.name for c in self._rows.columns()]

    @property
    def column_types(self) -> list[Any]:
        """The CQL types of the columns, in order."""
        return [c.type for c in self._rows.columns()]

    @property
    def has_more_pages(self) -> bool:
        """Whether there is a page behind the current one."""
        return self._rows.page.paging_state is not None

    @property
    def paging_state(self) -> bytes | None:
        """Opaque bytes that a later ``execute(..., paging_state=...)`` goes on from; None behind the last page."""
        return self._rows.page.paging_state

    def one(self) -> Any:
        """The first row of the current page, or None; never asks for another page."""
        if self._listed is not None:
            return self._listed[0] if self._listed else None
        return self._rows.first()

    def all(self) -> list[Any]:
        """All rows of this page and of those behind it, as a list."""
        return list(self)

    # -- all pages ----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        if self._listed is not None:
            return iter(self._listed)
        self._iterator = itertools.chain.from_iterable(self._slices())
        return self._iterator

    def next(self) -> Any:
        """The next row.

        :raises StopIteration: there is none
        """
        if self._iterator is None:
            iter(self)
        return next(self._iterator)  # type: ignore[arg-type]

    __next__ = next

    def _slices(self) -> Iterator[Any]:
        while True:
            rows = self._rows
            following = self.response_future.fetch_after(rows) if rows.page.paging_state is not None else None
            yield from rows.slices()
            if following is None:
                return
            self._rows = self.response_future.page_of(following)

    def fetch_next_page(self) -> None:
        """Replace the current page by the next one; by an empty one behind the last.

        :raises QueryExhausted: there is none
        """
        if not self.has_more_pages:
            raise QueryExhausted("there is no page behind this one")
        self._rows = self.response_future.page_of(self.response_future.fetch_after(self._rows))
        self._iterator = None
        self._listed = None

    def _list(self) -> list[Any]:
        if self._listed is None:
            self._listed = list(self)
        return self._listed

    def __getitem__(self, index: Any) -> Any:
        if index == 0 and self._listed is None:
            row = self._rows.first()
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
        return self._rows.first() is not None if self._listed is None else bool(self._listed)

    def __repr__(self) -> str:
        return f"<ResultSet {self._rows.page!r} of {self.response_future!r}>"

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
