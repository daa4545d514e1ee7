"""Row factories: what becomes of the plain tuples that a page of rows decodes to; `factory(column_names, rows)`.

Layer: model. They run in the greenlet that looks at the rows. The driver decodes straight into `named_tuple_class`
where it can.
"""

from __future__ import annotations

import keyword
import logging
import re
import reprlib
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

__all__ = [
    "PseudoNamedTupleRow",
    "RowFactory",
    "dict_factory",
    "named_tuple_class",
    "named_tuple_factory",
    "ordered_dict_factory",
    "pseudo_namedtuple_factory",
    "tuple_factory",
]

log = logging.getLogger(__name__)

RowFactory = Callable[[Sequence[str], Sequence[tuple[Any, ...]]], Sequence[Any]]

_EDGES = re.compile(r"\A[^a-zA-Z0-9]+|[^a-zA-Z0-9_]+\Z")
_ODD = re.compile(r"[^a-zA-Z0-9]")
_MOST_FIELDS = 16_384
_FEW_FIELDS = 128
_MANY_FIELDS = 1024


def tuple_factory(colnames: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """Rows as plain tuples."""
    return rows


class _PlainRow(tuple):  # type: ignore[type-arg]
    """A row without names."""

    @classmethod
    def _make(cls, values: Sequence[Any]) -> _PlainRow:
        return cls(values)


def named_tuple_class(names: tuple[str, ...]) -> type[tuple[Any, ...]]:
    """The `Row` class for columns of these names; the same class as long as it is in use often enough to stay cached.

    Names are cleaned as cassandra-driver does: what is not a letter or digit goes at both ends (trailing underscores
    stay) and becomes an underscore inside. If that leaves a name Python refuses, or two alike, a warning is logged,
    once per class, and positional names (`field_0_`) or a trailing underscore take their place. Rows of more than
    16,384 columns are plain tuples: making a class takes longer the more fields it has.
    """
    return (_narrow if len(names) <= _FEW_FIELDS else _wide if len(names) <= _MANY_FIELDS else _widest)(names)


def _make_class(names: tuple[str, ...]) -> type[tuple[Any, ...]]:
    if len(names) > _MOST_FIELDS:
        log.warning(
            "The rows have %d columns, too many for named tuples: they are plain. dict_factory has their names.", len(names)
        )  # fmt: skip
        return _PlainRow
    clean = [_ODD.sub("_", _EDGES.sub("", name)) for name in names]
    fields: dict[str, None] = {}
    again: dict[str, int] = {}
    for index, name in enumerate(clean):
        wanted = name if name.isidentifier() and not keyword.iskeyword(name) else f"field_{index}_"
        field = wanted + "_" * again.get(wanted, 0)
        while field in fields:
            field += "_"
        again[wanted] = len(field) - len(wanted)
        fields[field] = None
    if list(fields) != clean:
        changed = {name: field for name, field, tidy in zip(names, fields, clean, strict=True) if field != tidy}
        log.warning(
            "Not all columns give valid and distinct names for a named tuple; of these the fields have other names: %s. "
            'Aliases (SELECT "<column>" AS name) or another row_factory avoid this.',
            reprlib.repr(changed),
        )
    return namedtuple("Row", fields)


# A class takes some 300 bytes for each field: all that are kept of each kind are no more than 40 MB.
_narrow = lru_cache(maxsize=1024)(_make_class)
_wide = lru_cache(maxsize=128)(_make_class)
_widest = lru_cache(maxsize=8)(_make_class)


def named_tuple_factory(colnames: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """Rows as named tuples of `named_tuple_class`: the default. (The driver decodes straight into that class
    instead.)
    """
    make = named_tuple_class(tuple(colnames))._make  # type: ignore[attr-defined]
    return list(map(make, rows))


class PseudoNamedTupleRow:
    """A row whose columns are attributes under their own names, whatever those are; items by position; iterable."""

    __slots__ = ("_columns", "_values")

    def __init__(self, ordered_dict: Mapping[str, Any]) -> None:
        self._columns = ordered_dict
        self._values = tuple(ordered_dict.values())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle look for these before the slots are filled
            raise AttributeError(name)
        try:
            return self._columns[name]
        except KeyError:
            raise AttributeError(f"the row has no column {name!r}") from None

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self._columns)!r})"


def pseudo_namedtuple_factory(colnames: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[PseudoNamedTupleRow]:
    """Rows with the columns as attributes, without making a class for them."""
    return [PseudoNamedTupleRow(row) for row in ordered_dict_factory(colnames, rows)]


def dict_factory(colnames: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Rows as dicts, in the order of the columns."""
    return [dict(zip(colnames, row)) for row in rows]  # noqa: B905  a row has exactly the columns


def ordered_dict_factory(colnames: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[OrderedDict[str, Any]]:
    """Rows as OrderedDicts, whose equality respects the order of the columns."""
    return [OrderedDict(zip(colnames, row)) for row in rows]  # noqa: B905
