"""The seam where an application replaces the decoding of results (layer: protocol).

Called in the greenlet that looks at the rows, once for each page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from geventcql.cython.codecs import RowDecoder
from geventcql.cython.wire import Page

__all__ = ["ProtocolHandler"]


class ProtocolHandler:
    """Makes the rows of a page. Subclass it and give an instance to ``session.client_protocol_handler``.

    (cassandra-driver's ``cassandra.protocol.ProtocolHandler`` decodes whole messages instead; this one is asked for rows
    only, so that errors, paging and prepared statements work as ever.)
    """

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
