"""Fuzz targets of the codecs: types, metadata, rows, parameters, tokens.

A target takes any bytes. It returns if what the core made of them is right: the reference codec's value, or one of the
errors that are documented. All else it raises.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from geventcql.cython import codecs
from geventcql.cython.codecs import (
    UNSET,
    BindEncoder,
    ColumnSpec,
    CqlType,
    RowDecoder,
    murmur3_token,
    parse_cql_type,
    parse_type_class,
    read_columns,
    skip_columns,
)
from geventcql.errors import DecodeError, EncodeError, FrameError
from tests.cython import codecvalues as cv
from tests.fuzz.oddities import odd
from tests.fuzz.source import Source
from tests.support import refcodec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from cassandra.murmur3 import _murmur3

NOT_TO_BE_HIDDEN = (MemoryError, RecursionError, SystemError)
COMPOSED = {
    codecs.ListType: "list", codecs.SetType: "set", codecs.MapType: "map", codecs.TupleType: "tuple",
}


def expected(error: Exception) -> None:
    """An error of ours must not stand for one that nobody should see."""
    if isinstance(error.__cause__, NOT_TO_BE_HIDDEN):
        raise error


def notation(cql_type: CqlType) -> Any:
    """A type as the oracle writes it; None if it does not know such."""
    if type(cql_type) in (codecs.CustomType, codecs.FrozenType, codecs.ReversedType, codecs.CompositeType):
        return None
    elements = [notation(element) for element in cql_type.subtypes]
    if None in elements:
        return None
    if isinstance(cql_type, codecs.VectorType):
        return "vector", elements[0], cql_type.dimension
    if isinstance(cql_type, codecs.UserType):
        fields = tuple(zip(cql_type.field_names, elements, strict=True))
        return "udt", cql_type.keyspace, cql_type.type_name, fields
    return (COMPOSED[type(cql_type)], *elements) if elements or type(cql_type) in COMPOSED else cql_type.name


def agree(cql_type: Any, value: Any, cell: bytes | None) -> None:
    """A value is the oracle's."""
    if "set" in repr(cql_type) or "map" in repr(cql_type):  # duplicates collapse in those
        refcodec.decode(cql_type, cell)
        cv.plain(cql_type, value)
    else:
        ours, theirs = repr(cv.plain(cql_type, value)), repr(refcodec.decode(cql_type, cell))
        assert ours == theirs, (cql_type, cell, ours, theirs)


def cells(data: bytes) -> None:
    """One cell of any type."""
    source = Source(data)
    cql_type = source.cql_type()
    cell = source.rest()
    try:
        value = cv.compiled(cql_type).decode(cell)
    except DecodeError as error:
        expected(error)
        try:
            theirs = refcodec.decode(cql_type, cell)
        except refcodec.Malformed:
            return
        raise AssertionError(f"{cql_type} {cell!r}: the oracle reads {theirs!r}") from error
    agree(cql_type, value, cell)


def rows(data: bytes) -> None:
    """Column metadata, and rows behind it."""
    source = Source(data)
    flags, width, count = source.below(4), source.below(300), source.below(300)
    body = source.rest()
    try:
        columns, end = read_columns(body, 0, flags, width)
    except FrameError as error:
        expected(error)
        try:
            skip_columns(body, 0, flags, width)
        except FrameError as same:
            expected(same)
        return
    assert skip_columns(body, 0, flags, width) == end
    try:
        decoded, after = RowDecoder(columns).decode_rows(body, end, count)
    except DecodeError as error:
        expected(error)
        decoded, after = [], end
    assert end <= after <= len(body)
    types = [notation(column.type) for column in columns]
    reader = refcodec.Reader(body[end:after])
    for row in decoded:
        for cql_type, value in zip(types, row, strict=True):
            cell = reader.cell()
            if cql_type is not None:
                agree(cql_type, value, cell)
    reader.end()


def names(data: bytes) -> None:
    """A type's class name, or its name in CQL."""
    source = Source(data)
    parse = source.choice((parse_type_class, parse_cql_type))
    text = source.rest().decode("utf-8", "surrogateescape")
    try:
        cql_type = parse(text)
    except ValueError:
        return
    repr(cql_type)
    if parse is parse_type_class and not re.search("[\"']", text):  # what stands between quotes is not taken apart
        assert parse_type_class(cql_type.cass_name) == cql_type, text


def tokens(data: bytes) -> None:
    """A partition key's token."""
    assert murmur3_token(data) == _murmur3(data), data


def parameters(data: bytes) -> None:
    """The values of a statement's parameters, good ones and odd ones among them."""
    source = Source(data)
    version = 3 + source.below(3)
    types = [source.cql_type() for _ in range(1 + source.below(3))]
    routing = [source.below(len(types)) for _ in range(source.below(3))]
    columns = tuple(ColumnSpec("ks", "t", f"c{i}", cv.compiled(cql_type)) for i, cql_type in enumerate(types))
    encoder = BindEncoder(columns, routing, version)
    bound: list[Any] = []
    good = []  # what the values are by the oracle; fewer if some are odd
    for cql_type in types:
        kind = source.below(8)
        if kind < 5:
            plain = source.value(cql_type)
            bound.append(cv.bindable(cql_type, plain))
            good.append(refcodec.cell(refcodec.encode(cql_type, plain)))
        else:
            bound.append((None, UNSET)[kind - 5] if kind < 7 else odd(source, bound))
    by_name = {column.name: value for column, value in zip(columns, bound, strict=False)}
    try:
        payload = encoder.encode(source.choice((bound, tuple(bound), by_name)))
    except (EncodeError, ValueError) as error:
        assert len(good) < len(types), error
        expected(error)
        return
    if len(good) == len(types) and "map" not in repr(types):  # alike keys are one to Python
        assert payload[2:] == b"".join(good), (types, bound, payload)
    well_formed(types, payload)
    token_of(encoder, payload)


def well_formed(types: list[Any], payload: bytes) -> None:
    """Whatever was bound, what comes out are values of the types."""
    reader = refcodec.Reader(payload)
    assert int.from_bytes(reader.take(2), "big") == len(types)
    for cql_type in types:
        refcodec.decode(cql_type, reader.cell())
    reader.end()


def token_of(encoder: BindEncoder, payload: bytes) -> None:
    """The partition key and its token, from the encoded values."""
    reader = refcodec.Reader(payload[2:])
    values = [reader.cell() for _ in range(encoder.n)]
    parts = [values[index] for index in encoder.routing_indexes]
    assert None not in parts, "null in a partition key"
    if not parts:
        assert encoder.routing_key(payload) is None and encoder.token(payload) is None
        return
    long = [part for part in parts if part is not None and len(part) > 0xFFFF]
    if len(parts) > 1 and long:
        return
    composed = b"".join(len(part).to_bytes(2, "big") + part + b"\0" for part in parts if part is not None)
    key = parts[0] if len(parts) == 1 else composed
    assert encoder.routing_key(payload) == key
    assert encoder.token(payload) == _murmur3(key)


def single(data: bytes) -> None:
    """One value, good or odd, of one type."""
    source = Source(data)
    cql_type = source.cql_type()
    value = odd(source)
    try:
        encoded = cv.compiled(cql_type).encode(value)
    except EncodeError as error:
        expected(error)
        return
    refcodec.decode(cql_type, encoded)


