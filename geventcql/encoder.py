"""CQL literals from Python values, for the `%s` and `%(name)s` parameters of statements that are not prepared.

Layer: model. Pure functions without I/O; they run in the greenlet that calls execute, or that adds to a batch.
"""

from __future__ import annotations

import calendar
import datetime
import math
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from geventcql.metadata.names import protect_name
from geventcql.util import (
    Date,
    Duration,
    LineString,
    OrderedMap,
    OrderedMapSerializedKey,
    Point,
    Polygon,
    SortedSet,
    Time,
    Timestamp,
)

__all__ = ["Encoder", "ValueSequence", "bind_params", "cql_quote"]


def cql_quote(term: object) -> str:
    """The text of `term`; a str comes as a CQL string literal, its single quotes doubled
    (`cassandra.encoder.cql_quote`).
    """
    if isinstance(term, str):
        return "'" + term.replace("'", "''") + "'"
    return str(term)


class ValueSequence(list):  # type: ignore[type-arg]  # cassandra-driver's is a bare list too, and may hold anything
    """A sequence written as `(a, b, c)`, for the right side of IN, rather than as a collection
    (`cassandra.query.ValueSequence`).
    """


class Encoder:
    """Writes Python values as CQL literals (`cassandra.encoder.Encoder`).

    `mapping` goes from a Python type to the function that writes its values; applications may change it. A type that is
    not in it is written as its nearest base class that is, so that a subclass of str is still quoted; failing that, by
    `cql_encode_object`.
    """

    mapping: dict[type, Callable[[Any], str]]

    def __init__(self) -> None:
        self.mapping = {
            type(None): self.cql_encode_none,
            str: self.cql_encode_str,
            int: self.cql_encode_object,
            float: self.cql_encode_float,
            Decimal: self.cql_encode_decimal,
            bytes: self.cql_encode_bytes,
            bytearray: self.cql_encode_bytes,
            memoryview: self.cql_encode_bytes,
            UUID: self.cql_encode_object,
            datetime.datetime: self.cql_encode_datetime,
            datetime.date: self.cql_encode_date,
            datetime.time: self.cql_encode_time,
            Date: self.cql_encode_date_ext,
            Time: self.cql_encode_time,
            Timestamp: self.cql_encode_timestamp,
            Duration: self.cql_encode_object,
            Point: self.cql_encode_str_quoted,
            LineString: self.cql_encode_str_quoted,
            Polygon: self.cql_encode_str_quoted,
            IPv4Address: self.cql_encode_ipaddress,
            IPv6Address: self.cql_encode_ipaddress,
            dict: self.cql_encode_map_collection,
            OrderedDict: self.cql_encode_map_collection,
            OrderedMap: self.cql_encode_map_collection,
            OrderedMapSerializedKey: self.cql_encode_map_collection,
            list: self.cql_encode_list_collection,
            tuple: self.cql_encode_list_collection,
            types.GeneratorType: self.cql_encode_list_collection,
            set: self.cql_encode_set_collection,
            frozenset: self.cql_encode_set_collection,
            SortedSet: self.cql_encode_set_collection,
            ValueSequence: self.cql_encode_sequence,
        }

    def cql_encode_all_types(self, val: Any, as_text_type: bool = False) -> str:
        """The CQL literal of any value, through `mapping`.

        `as_text_type` is taken for familiarity: the result is always str.
        """
        kind = type(val)
        write = self.mapping.get(kind)
        if write is None:
            write = next((self.mapping[base] for base in kind.__mro__ if base in self.mapping), self.cql_encode_object)
        return write(val)

    def cql_encode_none(self, val: None) -> str:
        """NULL."""
        return "NULL"

    def cql_encode_object(self, val: object) -> str:
        """What str() makes of the value: right for int, bool, UUID and Duration."""
        return str(val)

    def cql_encode_str(self, val: str) -> str:
        """A string literal, its quotes doubled."""
        return cql_quote(val)

    cql_encode_unicode = cql_encode_str

    def cql_encode_str_quoted(self, val: str) -> str:
        """The text of a value that is no str, as a string literal. cassandra-driver leaves quotes in it as they are."""
        return cql_quote(str(val))

    def cql_encode_bytes(self, val: bytes | bytearray | memoryview) -> str:
        """A blob literal: 0x and hexadecimal digits."""
        return "0x" + bytes(val).hex()

    def cql_encode_float(self, val: float) -> str:
        """The shortest digits that give the same float back; NaN, Infinity and -Infinity are CQL keywords."""
        if math.isnan(val):
            return "NaN"
        if math.isinf(val):
            return "Infinity" if val > 0 else "-Infinity"
        return float.__repr__(val)  # numpy.float64 is a float whose own repr is not a number

    def cql_encode_decimal(self, val: Decimal) -> str:
        """All digits of the value. cassandra-driver goes through float here, which loses those after the sixteenth."""
        return str(val) if val.is_finite() else self.cql_encode_float(float(val))

    def cql_encode_datetime(self, val: datetime.datetime) -> str:
        """Milliseconds since 1970 UTC; a naive datetime is taken as UTC, what is below a millisecond is cut off."""
        micros = calendar.timegm(val.utctimetuple()) * 1_000_000 + val.microsecond
        return str(micros // 1000 if micros >= 0 else -(-micros // 1000))

    def cql_encode_date(self, val: datetime.date) -> str:
        """A quoted YYYY-MM-DD."""
        return f"'{val.isoformat()}'"

    def cql_encode_time(self, val: datetime.time | Time) -> str:
        """A quoted HH:MM:SS with the fraction that the value has."""
        return f"'{val}'"

    def cql_encode_date_ext(self, val: Date) -> str:
        """The unsigned day number of CQL's date type, whose middle is 1970-01-01: it reaches years that datetime.date
        does not.
        """
        return str(val.days_from_epoch + 2**31)

    def cql_encode_timestamp(self, val: Timestamp) -> str:
        """Milliseconds since 1970 UTC, of years that datetime does not reach."""
        return str(val.milliseconds)

    def cql_encode_ipaddress(self, val: IPv4Address | IPv6Address) -> str:
        """A quoted address in its shortest form."""
        return f"'{val.compressed}'"

    def cql_encode_sequence(self, val: Iterable[Any]) -> str:
        """`(a, b)`: the right side of IN, or a tuple."""
        return f"({self._join(val)})"

    cql_encode_tuple = cql_encode_sequence

    def cql_encode_list_collection(self, val: Iterable[Any]) -> str:
        """`[a, b]`."""
        return f"[{self._join(val)}]"

    def cql_encode_set_collection(self, val: Iterable[Any]) -> str:
        """`{a, b}`."""
        return f"{{{self._join(val)}}}"

    def cql_encode_map_collection(self, val: Mapping[Any, Any]) -> str:
        """`{a: b, c: d}`."""
        encode = self.cql_encode_all_types
        return "{" + ", ".join(f"{encode(k)}: {encode(v)}" for k, v in val.items()) + "}"

    def user_type_writer(self, field_names: Sequence[str]) -> Callable[[Any], str]:
        """A function for `mapping` that writes objects as values of a user type, `{field: a, ...}`: their attributes of
        the names of its fields, NULL for those they lack.
        """
        encode = self.cql_encode_all_types
        fields = [(name, protect_name(name)) for name in field_names]

        def write(val: Any) -> str:
            return "{" + ", ".join(f"{cql}: {encode(getattr(val, name, None))}" for name, cql in fields) + "}"

        return write

    def _join(self, values: Iterable[Any]) -> str:
        return ", ".join(map(self.cql_encode_all_types, values))


def bind_params(query: str, params: Sequence[Any] | Mapping[str, Any], encoder: Encoder) -> str:
    """`query` with its `%s` or `%(name)s` replaced by the CQL literals of `params`; a literal percent sign in it is
    written `%%`.
    """
    encode = encoder.cql_encode_all_types
    if isinstance(params, Mapping):
        return query % {name: encode(value) for name, value in params.items()}
    return query % tuple(map(encode, params))
