"""Keyspaces: what is in one, and all that there are.

Layer: model. Names and replication are known from connecting on; everything else is read when it is looked at
(`geventcql.metadata.lazy`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from geventcql.metadata import reading
from geventcql.metadata.cqltext import commented, type_names
from geventcql.metadata.functions import Aggregate, Function, UserType
from geventcql.metadata.lazy import NOT_CONNECTED, Part, SchemaSource, Snapshot, Tables, ViewsOfTable, read_nothing
from geventcql.metadata.names import protect_name
from geventcql.metadata.reading import Ask, Row
from geventcql.metadata.replication import ReplicationStrategy
from geventcql.metadata.tables import IndexMetadata, MaterializedViewMetadata, TableMetadata
from geventcql.protocol.constants import SchemaChangeType, SchemaTargetType
from geventcql.protocol.responses import SchemaChange

__all__ = ["KeyspaceMetadata", "Keyspaces"]

KEYSPACES = "SELECT keyspace_name, durable_writes, replication FROM system_schema.keyspaces"


MOST_STALE = 1000
"""Names of keyspaces that have changed; of more, all are read anew."""
_PARTS = ("tables", "views", "indexes", "user_types", "functions", "aggregates")


class Contents:
    """The mappings of one keyspace, under the names that KeyspaceMetadata has: each is made when it is first looked at, since
    there may be thousands of keyspaces.
    """

    def __init__(self, source: SchemaSource, keyspace: str, virtual: bool) -> None:
        self._source = source
        self._keyspace = keyspace
        self._virtual = virtual
        self._made: list[Part[Any]] = []

    def _part(self, what: str, read: Callable[[Ask, str], dict[str, Any]]) -> Part[Any]:
        every = read_nothing if self._virtual else lambda ask: read(ask, self._keyspace)
        part: Part[Any] = Part(self._source, f"{what} of {self._keyspace}", every)
        self._made.append(part)
        return part

    @cached_property
    def tables(self) -> Tables:
        tables = Tables(self._source, f"tables of {self._keyspace}", self._read)
        self._made.append(tables)
        return tables

    @cached_property
    def views(self) -> Part[MaterializedViewMetadata]:
        return self._part("views", reading.read_views)

    @cached_property
    def indexes(self) -> Part[IndexMetadata]:
        return self._part("indexes", reading.read_indexes)

    @cached_property
    def user_types(self) -> Part[UserType]:
        return self._part("user types", reading.read_user_types)

    @cached_property
    def functions(self) -> Part[Function]:
        return self._part("functions", reading.read_functions)

    @cached_property
    def aggregates(self) -> Part[Aggregate]:
        return self._part("aggregates", reading.read_aggregates)

    @property
    def parts(self) -> list[Part[Any]]:
        """All of them."""
        return [getattr(self, name) for name in _PARTS]

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled or deep copy has dicts of all there is, which is read for it, and waited for."""
        return SimpleNamespace, (), {name: part.copy() for name, part in zip(_PARTS, self.parts, strict=True)}

    def _read(self, ask: Ask, names: Collection[str] | None) -> dict[str, TableMetadata]:
        read = reading.read_virtual_tables if self._virtual else reading.read_tables
        tables = read(ask, self._keyspace, names)
        for table in tables.values():
            table.views = ViewsOfTable(self.views, table.name)
        return tables

    def forget(self) -> None:
        """All of it may have changed."""
        for part in self._made:
            part.forget()

    def changed(self, change: SchemaChange) -> None:
        """Forget what a change is about."""
        if change.target == SchemaTargetType.TABLE and change.name is not None:
            # It may be a view; and what changes in a table may change in its views.
            self.tables.forget_one(change.name)
            self.views.forget()
            self.indexes.forget()
        elif change.target == SchemaTargetType.TYPE:
            self.user_types.forget()
        elif change.target == SchemaTargetType.FUNCTION:
            self.functions.forget()
        elif change.target == SchemaTargetType.AGGREGATE:
            self.aggregates.forget()
        else:
            self.forget()


class KeyspaceMetadata:
    """A keyspace (`cassandra.metadata.KeyspaceMetadata`).

    Attributes:
        name.
        durable_writes: whether writes pass the commit log; None for a virtual keyspace.
        replication_strategy: made of the class name and its options; None if those are not understood, and for a
            virtual keyspace.
        virtual: whether it is a virtual keyspace, which shows what the server knows of itself.
        graph_engine: None; is_graph_enabled: False: DataStax's graphs are not known.
        tables, views, indexes, user_types: read-only mappings by name of TableMetadata, MaterializedViewMetadata,
            IndexMetadata and UserType.
        functions, aggregates: read-only mappings by signature, as in 'sum(int,int)', of Function and Aggregate.

    The mappings read from the server when they are looked at, and wait for it: `tables["t"]` reads that table, any other
    look all objects of that kind. What has been read is kept until it changes. Where reading fails, the error is raised
    to whoever looks: `NoHostAvailable`, `OperationTimedOut`, or what the server answered.
    """

    graph_engine = None
    is_graph_enabled = False

    def __init__(
        self, name: str, durable_writes: bool | None, strategy_class: str | None, strategy_options: Mapping[str, str]
    ) -> None:
        self.name = name
        self.durable_writes = durable_writes
        self.replication_strategy = ReplicationStrategy.create(strategy_class, strategy_options)
        self.virtual = False
        self._row: Mapping[str, Any] | None = None
        """What it was made from."""
        self._contents = Contents(NOT_CONNECTED, name, virtual=False)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> KeyspaceMetadata:
        """From a row of system_schema.keyspaces."""
        options = dict(row["replication"])
        keyspace = cls(row["keyspace_name"], row["durable_writes"], options.pop("class", None), options)
        keyspace._row = row
        return keyspace

    @classmethod
    def of_virtual(cls, name: str, source: SchemaSource) -> KeyspaceMetadata:
        """A virtual keyspace, of which nothing but the name is told."""
        keyspace = cls(name, None, None, {})
        keyspace.virtual = True
        keyspace._contents = Contents(source, name, virtual=True)
        return keyspace

    @property
    def tables(self) -> Snapshot[TableMetadata]:
        """The tables by name."""
        return self._contents.tables

    @property
    def views(self) -> Snapshot[MaterializedViewMetadata]:
        """The materialized views by name."""
        return self._contents.views

    @property
    def indexes(self) -> Snapshot[IndexMetadata]:
        """The indexes of all tables by name."""
        return self._contents.indexes

    @property
    def user_types(self) -> Snapshot[UserType]:
        """The user types by name."""
        return self._contents.user_types

    @property
    def functions(self) -> Snapshot[Function]:
        """The functions by signature, as in 'sum(int,int)'."""
        return self._contents.functions

    @property
    def aggregates(self) -> Snapshot[Aggregate]:
        """The aggregates by signature."""
        return self._contents.aggregates

    def as_cql_query(self) -> str:
        """The CREATE KEYSPACE statement; for a virtual keyspace a comment."""
        if self.virtual:
            return f"// VIRTUAL KEYSPACE {' '.join(protect_name(self.name).splitlines())}"
        strategy = self.replication_strategy
        replication = "{}" if strategy is None else strategy.export_for_schema()
        return (
            f"CREATE KEYSPACE {protect_name(self.name)} WITH replication = {replication} "
            f" AND durable_writes = {str(self.durable_writes).lower()}"
        )

    def export_as_string(self) -> str:
        """The statements that make the keyspace and all that is in it, in an order in which they can be executed; of a
        virtual keyspace in comments. Reads what has not been read, and waits.
        """
        parts = [self.as_cql_query() + ";", *self.user_type_strings()]
        parts += [function.export_as_string() for function in self.functions.values()]
        parts += [aggregate.export_as_string() for aggregate in self.aggregates.values()]
        parts += [table.export_as_string() for table in self.tables.values()]
        text = "\n\n".join(parts)
        if not self.virtual:
            return text
        return (
            f"/*\nWarning: Keyspace {commented(self.name)} is a virtual keyspace and cannot be recreated with CQL.\n"
            f"Structure, for reference:*/\n{text}\n"
        )

    def user_type_strings(self) -> list[str]:
        """The statements that make the user types, those first that others are made of. Reads if need be, and waits."""
        types = dict(self.user_types)
        strings: list[str] = []
        for name in sorted(types):
            if name in types:
                self.resolve_user_types(name, types, strings)
        return strings

    def resolve_user_types(self, key: str, user_types: dict[str, UserType], user_type_strings: list[str]) -> None:
        """Move a type from `user_types` to `user_type_strings`, behind those that it is made of."""
        user_type = user_types.pop(key)
        for field_type in user_type.field_types:
            for name in type_names(field_type):
                if name in user_types:
                    self.resolve_user_types(name, user_types, user_type_strings)
        user_type_strings.append(user_type.export_as_string())

    def __repr__(self) -> str:
        return f"<KeyspaceMetadata: {self.name} {self.replication_strategy}>"


class Keyspaces(Snapshot[KeyspaceMetadata]):
    """All keyspaces by name. Those of data are known from connecting on; those that have changed, and the virtual ones,
    are read when looked at.

    Parameters:
        source: where to read from.
        on_replication: called when the keyspaces have been replaced; must not switch.
    """

    def __init__(self, source: SchemaSource, on_replication: Callable[[], object]) -> None:
        self._source = source
        self._on_replication = on_replication
        self.known: Mapping[str, KeyspaceMetadata] = {}
        """Those of data, as far as they have been read; looking at it does not wait."""
        self._is_read = False
        self._stale: frozenset[str] = frozenset()
        """Names of those that have changed since they were read, or have come since."""
        self._virtual: Mapping[str, KeyspaceMetadata] | None = None
        self._version = 0
        self._begun = self._taken = self._forgotten = 0
        """How many readings were begun; the numbers of the last one that was taken, and of the last one that may have begun
        before something changed unheard.
        """

    @classmethod
    def of(cls, found: Mapping[str, KeyspaceMetadata], on_replication: Callable[[], object]) -> Keyspaces:
        """These, and nowhere to read others from."""
        keyspaces = cls(NOT_CONNECTED, on_replication)
        virtual = {name for name, keyspace in found.items() if keyspace.virtual}
        keyspaces.known = {name: keyspace for name, keyspace in found.items() if name not in virtual}
        keyspaces._virtual = {name: found[name] for name in virtual}
        return keyspaces

    def made_of(self, rows: Iterable[Mapping[str, Any]], give_way: Callable[[], object]) -> list[KeyspaceMetadata]:
        """The keyspaces of rows of system_schema.keyspaces; those of which nothing has changed are the objects that there are.

        :param give_way: called after each
        """
        made = []
        for row in rows:
            known = self.known.get(row["keyspace_name"])
            made.append(known if known is not None and known._row == row else KeyspaceMetadata.from_row(row))
            give_way()
        return made

    def replace(self, keyspaces: Iterable[KeyspaceMetadata]) -> None:
        """These are all keyspaces of data; does not wait. What was read of their contents is kept."""
        known = {keyspace.name: keyspace for keyspace in keyspaces}
        for name, keyspace in known.items():
            before = self.known.get(name)
            if keyspace is not before:
                keyspace._contents = Contents(self._source, name, virtual=False) if before is None else before._contents
        for name, gone in self.known.items():
            if name not in known:
                gone._contents.forget()
        self._is_read, self._stale = True, frozenset()
        self._set(known)

    def _set(self, known: Mapping[str, KeyspaceMetadata]) -> None:
        self.known = known
        self._on_replication()

    def refresh(self) -> None:
        """Read the names and the replication of all; waits."""
        self._source.load((id(self), self._version), lambda ask: self.read(lambda query: ask(query)[0], ask.give_way))

    def read(self, rows_of: Callable[[str], list[Row]], give_way: Callable[[], object]) -> None:
        """Read the names and the replication of all; in a driver greenlet, which waits.

        Two readings may overtake each other: the one that was begun last counts. Of what is told meanwhile the rows may be
        from before; it is read again when it is next looked at.

        :param rows_of: what the server answers to a query
        :param give_way: called after each keyspace
        """
        self._begun += 1
        number, version = self._begun, self._version
        keyspaces = self.made_of(rows_of(KEYSPACES), give_way)
        if number < self._taken:
            return
        self._taken = number
        stale: frozenset[str] = frozenset()
        if version != self._version:
            unknown = {keyspace.name for keyspace in keyspaces} - set(self.known)
            stale = self._stale | unknown
            if self._is_read:  # they may have been dropped
                keyspaces = [keyspace for keyspace in keyspaces if keyspace.name not in unknown]
        self.replace(keyspaces)
        self._is_read, self._stale = number > self._forgotten, stale

    def forget(self, names_too: bool = False) -> None:
        """Anything may have changed; does not wait.

        :param names_too: names and replication, too, unless whoever calls this has read them himself
        """
        if names_too:
            self._version += 1
            self._is_read, self._forgotten = False, self._begun
        self._virtual = None
        for keyspace in self.known.values():
            keyspace._contents.forget()

    def changed(self, change: SchemaChange) -> None:
        """Forget what a change is about; does not wait."""
        name = change.keyspace
        keyspace = self.known.get(name)
        if keyspace is not None and change.target != SchemaTargetType.KEYSPACE:
            keyspace._contents.changed(change)
            return
        self._version += 1
        if change.target == SchemaTargetType.KEYSPACE and change.change_type == SchemaChangeType.DROPPED:
            self._stale -= {name}
            self._set({other: known for other, known in self.known.items() if other != name})
        elif len(self._stale) < MOST_STALE:
            self._stale |= {name}
        else:  # a server may tell of any number
            self.forget(names_too=True)
        if keyspace is None:
            return
        if change.change_type == SchemaChangeType.UPDATED:
            keyspace._contents.functions.forget()  # on protocol v3 their changes are told as the keyspace's
            keyspace._contents.aggregates.forget()
        else:
            keyspace._contents.forget()

    def __getitem__(self, name: str) -> KeyspaceMetadata:
        if self._source.enabled and (not self._is_read or name in self._stale):
            self.refresh()
        return self.known[name] if name in self.known else self._virtuals()[name]

    def _all(self) -> Mapping[str, KeyspaceMetadata]:
        if self._source.enabled and (not self._is_read or self._stale):
            self.refresh()
        return {**self.known, **self._virtuals()}

    def _virtuals(self) -> Mapping[str, KeyspaceMetadata]:
        if self._virtual is None and self._source.enabled:
            self._virtual = self._source.load((id(self), "virtual"), self._read_virtual)
        return self._virtual or {}

    def _read_virtual(self, ask: Ask) -> Mapping[str, KeyspaceMetadata]:
        return {name: KeyspaceMetadata.of_virtual(name, self._source) for name in reading.read_virtual_keyspaces(ask)}

    def __repr__(self) -> str:
        return f"<keyspaces: {', '.join(self.known)}>"
