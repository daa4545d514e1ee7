"""How rows are read for each kind of row factory (layer: driver). Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from geventcql.cython.wire import RowReader
from geventcql.protocol.handler import ProtocolHandler
from geventcql.rows import dict_factory, named_tuple_class, named_tuple_factory, tuple_factory

__all__ = ["row_reader"]


def row_reader(
    factory: Callable[..., Any], cache: Callable[..., Any], decoder: Any = None, handler: ProtocolHandler | None = None
) -> RowReader:
    """The reader for a row factory: plain and named tuples are made by the decoder itself, an application's own factory
    gets whole pages.

    :param cache: finds decoders by metadata (:class:`geventcql.decoders.DecoderCache`)
    :param decoder: for pages without metadata
    :param handler: an application's own decoding
    """
    if handler is not None:
        return RowReader(partial(handler.rows, row_factory=factory), "handler", cache, decoder)
    if factory is named_tuple_factory:
        return RowReader(named_tuple_class, "class", cache, decoder)
    if factory is tuple_factory:
        return RowReader(factory, "tuples", cache, decoder)
    return RowReader(factory, "slices" if factory is dict_factory else "page", cache, decoder)
