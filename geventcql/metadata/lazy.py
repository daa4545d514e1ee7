"""Mappings that read their contents from the server when these are looked at.

Layer: model. A look that has to read waits in the greenlet that looks; reading and storing happen in a driver greenlet,
through the injected `SchemaSource`. What is stored is a dict that is replaced as a whole, so whoever iterates keeps what
he began with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Protocol, TypeVar

from geventcql.metadata.reading import MOST_NAMES, Ask
from geventcql.metadata.tables import MaterializedViewMetadata, TableMetadata

__all__ = ["NOT_CONNECTED", "NotConnected", "Part", "SchemaSource", "Snapshot", "Tables", "ViewsOfTable", "read_nothing"]

T = TypeVar("T")
R = TypeVar("R")


class SchemaSource(Protocol):
    """Where mappings read from: the driver's side."""

    @property
    def enabled(self) -> bool:
        """Whether looking may read at all; if not, mappings show what they have."""

    def load(self, key: Hashable, read: Callable[[Ask], R]) -> R:
        """What `read` returns. It runs in a driver greenlet, once for all who ask for the same key meanwhile; waits.

        Raises what `read` raises.
        """


class NotConnected:
    """The SchemaSource of a Metadata that belongs to no Cluster: there is nothing to be had."""

    enabled = False

    def load(self, key: Hashable, read: Callable[[Ask], R]) -> R:
        """RuntimeError."""
        raise RuntimeError("this Metadata belongs to no Cluster: there is nobody to read the schema from")


NOT_CONNECTED = NotConnected()


class Snapshot(Mapping[str, T]):
    """A read-only mapping of which each look is at one dict that nobody changes."""

    def _all(self) -> Mapping[str, T]:
        """All there is; may wait."""
        raise NotImplementedError

    def __getitem__(self, name: str) -> T:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def items(self) -> ItemsView[str, T]:
        """Names and objects, as they are now."""
        return self._all().items()

    def values(self) -> ValuesView[T]:
        """The objects, as they are now."""
        return self._all().values()

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.copy())

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def copy(self) -> dict[str, T]:
        """What there is now, in a dict of the caller's own."""
        return dict(self._all())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.copy(),)  # a copy by pickle or `copy` is a dict, too: it belongs to no Cluster


class Part(Snapshot[T]):
    """All objects of one kind in a keyspace, by name: read as a whole, when first looked at and when they have changed.

    Parameters:
        source: where to read from.
        what: for repr.
        read: reads them.
    """

    def __init__(self, source: SchemaSource, what: str, read: Callable[[Ask], dict[str, T]]) -> None:
        self._source = source
        self._what = what
        self._read = read
        self._found: Mapping[str, T] = {}
        self._known = False
        """Whether `_found` is all there is, but for what has been told to have changed."""
        self._version = 0
        """Goes up with each change that is told, so that what was asked for before is not stored after it."""

    def forget(self) -> None:
        """They may have changed: the next look reads."""
        self._known = False
        self._version += 1

    def refresh(self) -> Mapping[str, T]:
        """Read them now; waits."""
        return self._load("all", self._read_all)

    def _load(self, key: Hashable, read: Callable[[Ask, int], R]) -> R:
        """What `read` gives; it is handed the version that it began with."""
        version = self._version
        return self._source.load((id(self), key, version), lambda ask: read(ask, version))

    def _read_all(self, ask: Ask, version: int) -> Mapping[str, T]:
        found = self._read(ask)
        if version == self._version:
            self._found, self._known = found, True
        return found

    def _all(self) -> Mapping[str, T]:
        return self.refresh() if not self._known and self._source.enabled else self._found

    def __repr__(self) -> str:
        return f"<{self._what}: {', '.join(self._found) if self._known else 'not read'}>"


class Tables(Part[TableMetadata]):
    """The tables of a keyspace: one is read by itself when it is asked for by name; all, when the mapping is iterated or
    its length asked for.

    Parameters as Part's; `read` takes the names to read, or None for all.
    """

    def __init__(
        self,
        source: SchemaSource,
        what: str,
        read: Callable[[Ask, Collection[str] | None], dict[str, TableMetadata]],
    ) -> None:
        super().__init__(source, what, lambda ask: read(ask, None))
        self._read_named = read
        self._stale: frozenset[str] = frozenset()
        """Names of tables that have changed since they were read, or have come since."""

    def forget(self) -> None:
        """All may have changed."""
        super().forget()
        self._stale = frozenset(self._found)

    def forget_one(self, name: str) -> None:
        """One has changed, has come or has gone."""
        self._version += 1
        if self._known or name in self._found:
            self._stale |= {name}
        if len(self._stale) > MOST_NAMES:  # all are quicker to read
            self.forget()

    def refresh_one(self, name: str) -> None:
        """Read one now; waits."""
        self._load(name, lambda ask, version: self._read_some(ask, version, {name}))

    def __getitem__(self, name: str) -> TableMetadata:
        found = self._found
        if self._source.enabled and (name in self._stale or not (self._known or name in found)):
            if not isinstance(name, str):
                raise KeyError(name)
            found = self._load(name, lambda ask, version: self._read_some(ask, version, {name}))
        return found[name]

    def _read_some(self, ask: Ask, version: int, names: Collection[str]) -> Mapping[str, TableMetadata]:
        read = self._read_named(ask, sorted(names))
        others = {name: table for name, table in self._found.items() if name not in names}
        found = dict(sorted({**others, **read}.items()))
        if version == self._version:
            self._found = found
            self._stale -= frozenset(names)
        return found

    def _read_all(self, ask: Ask, version: int) -> Mapping[str, TableMetadata]:
        found = super()._read_all(ask, version)
        if version == self._version:
            self._stale = frozenset()
        return found

    def _all(self) -> Mapping[str, TableMetadata]:
        stale = self._stale
        if self._known and stale and self._source.enabled:
            return self._load(stale, lambda ask, version: self._read_some(ask, version, stale))
        return super()._all()


class ViewsOfTable(Snapshot[MaterializedViewMetadata]):
    """The views of one table, among those of its keyspace."""

    def __init__(self, views: Mapping[str, MaterializedViewMetadata], table: str) -> None:
        self._views = views
        self._table = table

    def _all(self) -> Mapping[str, MaterializedViewMetadata]:
        return {name: view for name, view in self._views.items() if view.base_table_name == self._table}

    def __repr__(self) -> str:
        return f"<views of {self._table}>"


def read_nothing(*_: Any) -> dict[str, Any]:
    """There are none, and nobody has to be asked."""
    return {}
