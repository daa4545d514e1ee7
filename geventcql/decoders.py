"""Row decoders by the metadata they were compiled from (layer: driver).

Simple statements carry their column metadata in every answer; the decoder compiled from it is kept and found again by the
raw bytes. Runs in the greenlet that looks at the rows; one call never switches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geventcql.cython.wire import decoder_from, metadata_end

__all__ = ["DecoderCache"]

MOST_BYTES = 8 * 1024 * 1024
"""Of metadata whose decoders are kept, which take several times as much: wide tables have kilobytes of it."""


class DecoderCache:
    """A bounded cache: ``cache(body, offset, flags, columns)`` gives (decoder, offset behind the metadata).

    :param user_types: classes registered for user types, by (keyspace, name)
    :param size: how many decoders are kept
    """

    def __init__(self, user_types: Mapping[tuple[str, str], type] | None = None, size: int = 1024) -> None:
        self._user_types = user_types
        self._size = size
        self._bytes = 0
        self._decoders: dict[tuple[int, int, bytes], Any] = {}

    def __call__(self, body: bytes, pos: int, flags: int, count: int) -> tuple[Any, int]:
        end = metadata_end(body, pos, flags & 1, count)
        key = (flags & 1, count, body[pos:end])
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder, end = decoder_from(body, pos, flags & 1, count, self._user_types)
            self._decoders[key] = decoder
            self._bytes += end - pos
            while len(self._decoders) > self._size or self._bytes > MOST_BYTES:
                _, _, raw = oldest = next(iter(self._decoders))
                del self._decoders[oldest]
                self._bytes -= len(raw)
        return decoder, end

    def clear(self) -> None:
        """Forget all, because a user type's class has changed."""
        self._decoders.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._decoders)
