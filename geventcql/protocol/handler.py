"""The seam where an application replaces the decoding of results (layer: protocol).

Called in the greenlet that looks at the rows, once for each page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from geventcql.cython.codecs import RowDecoder
from geventcql.cython.wire import Page
from geventcql.errors import UnsupportedOperation

__all__ = ["LazyProtocolHandler", "NumpyProtocolHandler", "ProtocolHandler", "cython_protocol_handler"]

_SLICE = 1000


class ProtocolHandler:
    """Makes the rows of a page. Subclass it and give the class, or an instance, to ``session.client_protocol_handler``.

    (cassandra-driver's ``cassandra.protocol.ProtocolHandler`` encodes and decodes whole messages instead; this one is asked
    for rows only, so that errors, paging and prepared statements work as ever. A subclass that overrides what is only there
    is refused.)

    :raises UnsupportedOperation: the subclass has ``encode_message``, ``decode_message`` or ``message_types_by_opcode``
    """

    def __init__(self) -> None:
        for name in ("encode_message", "decode_message", "message_types_by_opcode"):
            if hasattr(self, name):
                raise UnsupportedOperation(
                    f"{type(self).__name__}.{name} would never be asked: geventcql encodes and decodes messages compiled, and "
                    "asks a ProtocolHandler for the rows of a page only. Override rows(page, decoder, row_factory), subclass "
                    "geventcql.cqltypes.CassandraType for values, or add a request-init listener to watch requests"
                )

    def rows(
        self, page: Page, decoder: RowDecoder, row_factory: Callable[[Sequence[str], Sequence[tuple[Any, ...]]], Any]
    ) -> Any:
        """What ``ResultSet.current_rows`` is for this page, and what iteration goes through.

        :param page: ``body`` are the bytes of the answer; ``row_count`` rows begin at ``rows_offset``, each a cell
            (``[bytes]``, protocol section 3) for each column
        :param decoder: of this page: ``columns``, ``names``, ``decode_rows(body, offset, count, row_class)``
        :param row_factory: the one that the profile or Session has
        """
        tuples, _ = decoder.decode_rows(page.body, page.rows_offset, page.row_count, None)
        return row_factory(decoder.names, tuples)


class LazyProtocolHandler(ProtocolHandler):
    """Gives the row factory an iterator, which decodes rows when they are asked for (``cassandra.protocol``).

    There is little to gain: rows are decoded when they are looked at, in slices, without it, too.
    """

    def rows(self, page: Page, decoder: RowDecoder, row_factory: Callable[..., Any]) -> Any:
        """What ``row_factory`` makes of an iterator of tuples."""
        return row_factory(decoder.names, self._decoded(page, decoder))

    def _decoded(self, page: Page, decoder: RowDecoder) -> Iterator[tuple[Any, ...]]:
        offset, left = page.rows_offset, page.row_count
        while left:
            tuples, offset = decoder.decode_rows(page.body, offset, min(left, _SLICE), None)
            left -= len(tuples)
            yield from tuples


class NumpyProtocolHandler(ProtocolHandler):
    """Results as a dict of numpy arrays (``cassandra.protocol``): not there yet.

    :raises UnsupportedOperation: always
    """

    def __init__(self) -> NoReturn:
        raise UnsupportedOperation(
            "NumpyProtocolHandler is not supported by geventcql yet. Until then a row factory makes a frame of a page: "
            "session.row_factory = lambda names, rows: pandas.DataFrame(rows, columns=names)"
        )


def cython_protocol_handler(colparser: Any) -> NoReturn:
    """Makes a handler of a parser of cassandra-driver's own: UnsupportedOperation."""
    raise UnsupportedOperation(
        "cython_protocol_handler takes a parser of cassandra-driver's inside; subclass geventcql.protocol.ProtocolHandler"
    )
