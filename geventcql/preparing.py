"""PREPARE, for the first time and again (layer: driver).

Preparing again is single-flight: one PREPARE per node and statement, whichever Sessions and connections need it. It runs in
a greenlet of the Cluster's, never in the one that asked first, since that one may be killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent.event import AsyncResult

from geventcql.cython.codecs import ColumnSpec, CqlType, UserType
from geventcql.errors import DriverException, ErrorMessage, OperationTimedOut
from geventcql.net.connection import Connection
from geventcql.protocol import requests
from geventcql.protocol.constants import Opcode, ProtocolVersion
from geventcql.protocol.responses import Prepared
from geventcql.query import PreparedStatement

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.resolve import Resolved

__all__ = ["Preparer"]

REPREPARE_TIMEOUT = 10.0
REMEMBERED = 60.0
"""Seconds for which it is known that a statement was prepared again: longer than its refusal can be under way."""

_Key = tuple[Any, "str | None", bytes]
"""End point, keyspace of its connections (below v5), id of the statement."""


def _own(error: Exception) -> Exception:
    """A copy for one of the requests that end by the same error: each error tells of its own request."""
    own = copy(error)
    own.__cause__ = error
    return own


class Preparer:
    """Prepares statements again for the requests of one Cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._flights: dict[_Key, AsyncResult] = {}
        self._done: dict[_Key, float] = {}
        """When statements were last prepared again, monotonic seconds, oldest first."""

    def prepare_again(
        self, resolved: Resolved, query_id: bytes, connection: Connection, deadline: float, since: float | None = None
    ) -> None:
        """Make the node at the other end of ``connection`` know the statement again; waits in the calling greenlet.

        :param since: nothing is done if that has been done since then (monotonic seconds): the refusal may be older
        :raises DriverException: the statement has become another one
        :raises OperationTimedOut: not before ``deadline``
        """
        statement = resolved.prepared_by_id(query_id)
        assert statement is not None
        key = (connection.endpoint, connection.keyspace, query_id)
        flight = self._flights.get(key)
        if flight is None and since is not None and self._done.get(key, 0.0) > since:
            return
        if flight is None:
            flight = self._flights[key] = AsyncResult()
            self._cluster._greenlets.spawn(self._run, key, flight, connection, statement)
        limit = None if deadline == float("inf") else max(0.0, deadline - monotonic())
        if not flight.wait(limit) and not flight.ready():
            endpoint = connection.endpoint
            raise OperationTimedOut({str(endpoint): "the statement was still being prepared again"}, endpoint)
        if flight.exception is not None:
            raise _own(flight.exception)

    def _run(self, key: _Key, flight: AsyncResult, connection: Connection, statement: PreparedStatement) -> None:
        try:
            prepared = self._ask(connection, statement)
            self._check(statement, prepared)
            fresh = PreparedStatement.from_response(
                prepared, statement.query_string, statement.keyspace, connection.version
            )
            statement.result = fresh.result
            self._remember(key)
            flight.set(True)
        except ErrorMessage as error:
            flight.set_exception(error.to_exception())
        except Exception as error:
            flight.set_exception(error)
        finally:
            self._flights.pop(key, None)

    def _remember(self, key: _Key) -> None:
        now = monotonic()
        self._done.pop(key, None)
        self._done[key] = now
        while (oldest := next(iter(self._done))) != key and self._done[oldest] < now - REMEMBERED:
            del self._done[oldest]

    def _ask(self, connection: Connection, statement: PreparedStatement) -> Prepared:
        keyspace = statement.keyspace if connection.version >= ProtocolVersion.V5 else None
        body = requests.prepare(statement.query_string, connection.version, keyspace)
        message = connection.call(Opcode.PREPARE, body, REPREPARE_TIMEOUT, self._cluster._user_types)
        if not isinstance(message, Prepared):
            raise DriverException(f"{connection.endpoint} answered PREPARE with {type(message).__name__}")
        return message

    @staticmethod
    def _check(statement: PreparedStatement, prepared: Prepared) -> None:
        if prepared.query_id != statement.query_id:
            raise DriverException(
                f"the server gave another id to a statement when it was prepared again: {statement.query_string!r} in "
                f"keyspace {statement.keyspace!r}; prepare it anew"
            )
        was, now = statement.bind_columns, prepared.bind_columns
        if [c.name for c in now] != [c.name for c in was] or not all(
            _takes(n.type, w.type) for n, w in zip(now, was, strict=True)
        ):
            raise DriverException(
                f"the parameters of a prepared statement have changed from {_spelt(was)} to {_spelt(now)}: "
                f"{statement.query_string!r}; its values were encoded for the former; prepare it anew"
            )


def _takes(now: CqlType, was: CqlType) -> bool:
    """Whether values encoded for ``was`` mean the same in ``now``: the same type, but its user types may have more fields."""
    if now == was or type(now) is not type(was) or not was.subtypes:
        return now == was
    if isinstance(now, UserType) and isinstance(was, UserType):
        known = now.field_names[: len(was.field_names)]
        alike = (now.keyspace, now.type_name, known) == (was.keyspace, was.type_name, was.field_names)
    else:
        alike = len(now.subtypes) == len(was.subtypes)
        alike = alike and getattr(now, "dimension", None) == getattr(was, "dimension", None)
    return alike and all(map(_takes, now.subtypes, was.subtypes))


def _spelt(columns: Iterable[ColumnSpec]) -> str:
    return ", ".join(f"{c.name} {_name_with_fields(c.type)}" for c in columns)


def _name_with_fields(cql_type: CqlType) -> str:
    """The CQL name, user types in it spelt as "type(field type, ...)"."""
    if isinstance(cql_type, UserType):
        fields = zip(cql_type.field_names, cql_type.subtypes, strict=True)
        return f"{cql_type.type_name}({', '.join(f'{name} {_name_with_fields(t)}' for name, t in fields)})"
    name = cql_type.name
    for subtype in cql_type.subtypes:
        name = name.replace(subtype.name, _name_with_fields(subtype))
    return name
