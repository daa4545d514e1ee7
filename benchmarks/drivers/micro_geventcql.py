"""Micro-benchmarks of geventcql's compiled core. Prints JSON: operation -> ns."""

from __future__ import annotations

import json
from collections import namedtuple
from typing import Any

from benchmarks import frames, schema
from benchmarks.drivers import timing
from benchmarks.drivers.timing import best_ns
from geventcql.cython.codecs import BindEncoder, RowDecoder, murmur3_token, read_columns
from geventcql.cython.wire import FrameSplitter, InFlight, RequestTemplate, RowReader, decoder_from, pack_segments

PAGE, BURST = schema.PAGE_ROWS, 256


def columns(table: str, described: frames.Columns) -> tuple[Any, ...]:
    """Column specs from metadata bytes."""
    specs: tuple[Any, ...]
    specs, _ = read_columns(frames.column_specs(table, described), 0, frames.GLOBAL_TABLE, len(described))
    return specs


def encoding() -> dict[str, float]:
    """Values to bytes, and their token."""
    encoder = BindEncoder(columns("sink", frames.SINK), (0,), 4)
    payload = encoder.encode(schema.INSERT_VALUES)
    key = bytes(range(16))
    return {
        timing.ENCODE: best_ns(lambda: encoder.encode(schema.INSERT_VALUES)),
        timing.TOKEN: best_ns(lambda: encoder.token(payload)),
        timing.MURMUR3: best_ns(lambda: murmur3_token(key)),
    }


def decoding() -> dict[str, float]:
    """Pages of rows to Python rows."""
    wide = RowDecoder(columns("wide", frames.WIDE))
    nested = RowDecoder(columns("coll", frames.COLLECTIONS))
    named = namedtuple("Row", [name for name, _ in frames.WIDE])  # type: ignore[misc]
    wide_page = b"".join(map(frames.wide_row, range(PAGE)))
    nested_page = b"".join(map(frames.collection_row, range(PAGE)))
    return {
        timing.TUPLES: best_ns(lambda: wide.decode_rows(wide_page, 0, PAGE, None), PAGE),
        timing.NAMED: best_ns(lambda: wide.decode_rows(wide_page, 0, PAGE, named), PAGE),
        timing.NESTED: best_ns(lambda: nested.decode_rows(nested_page, 0, PAGE, None), PAGE),
    }


def cutting(version: int, data: bytes) -> float:
    """ns for each of the BURST replies in `data`, from bytes to Page, their stream ids taken and freed."""
    reader = RowReader(tuple, "tuples", decoder_from, RowDecoder(columns("wide", frames.WIDE)))
    in_flight, target = InFlight(2048), object()
    splitter = FrameSplitter(in_flight, version)
    splitter.negotiating = False
    if version >= 5:
        splitter.enable_segments()

    def burst() -> None:
        for _ in range(BURST):
            in_flight.acquire(target, reader)
        if len(splitter.feed(data)) != BURST:
            raise ValueError("replies are missing")

    return best_ns(burst, BURST)


def framing() -> dict[str, float]:
    """Requests to frames and segments, and received bytes to pages."""
    encoder = BindEncoder(columns("sink", frames.SINK), (0,), 4)
    values = encoder.encode(schema.INSERT_VALUES)
    template = RequestTemplate(4, 10, 0, bytes(22), bytes(11), 3)
    in_flight, target = InFlight(2048), object()
    body = frames.rows_body(frames.WIDE, [frames.wide_row(1)])
    v4, v5 = ([frames.reply(version, stream, body) for stream in range(BURST)] for version in (4, 5))
    request = template.frame(1, values, 1)
    return {
        timing.REQUEST: best_ns(lambda: template.frame(1, values, 1)),
        timing.PACK_V5: best_ns(lambda: pack_segments(request, [len(request)])),
        timing.STREAM: best_ns(lambda: in_flight.pop(in_flight.acquire(target))),
        timing.CUT_V4: cutting(4, b"".join(v4)),
        timing.CUT_V5: cutting(5, b"".join(map(frames.segment, v5))),
        timing.CUT_SHARED: cutting(5, frames.segment(b"".join(v5))),
    }


if __name__ == "__main__":
    print(json.dumps({**encoding(), **decoding(), **framing()}))
