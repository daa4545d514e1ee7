"""PREPARE, for the first time and again (layer: driver).

Both are single-flight: one PREPARE per text and Session, and again per node and statement, whichever Sessions and connections
need it. It runs in a greenlet of the Cluster's, never in the one that asked first, since that one may be killed.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from geventcql.cython.codecs import ColumnSpec, CqlType, UserType
from geventcql.errors import DriverException, ErrorMessage, OperationTimedOut
from geventcql.execution import Execution
from geventcql.flights import Flights, landed
from geventcql.metrics import count
from geventcql.net.connection import Connection
from geventcql.preparedcache import PreparedCache
from geventcql.protocol import requests
from geventcql.protocol.constants import Opcode, ProtocolVersion
from geventcql.protocol.responses import Prepared
from geventcql.query import PreparedStatement
from geventcql.showing import shown_cql

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.resolve import Resolved
    from geventcql.session import Session

__all__ = ["Preparer"]

log = logging.getLogger(__name__)

REPREPARE_TIMEOUT = 10.0
REMEMBERED = 60.0
"""Seconds for which it is known that a statement was prepared again: longer than its refusal can be under way."""

_Key = tuple[Any, bytes]
"""End point, id of the statement: below v5 that is another one in each keyspace, unless the statement names its own."""

_Outcome = tuple[float, PreparedStatement, Prepared]
"""When a statement was prepared again (monotonic seconds), which one, and the node's answer."""


class Preparer:
    """Prepares statements for a Cluster, and again for its requests.

    Attributes: ``cache``, the answers that may be used again.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cache = PreparedCache(0)
        self._cluster = cluster
        self._first = Flights(cluster, "a statement was prepared")
        self._again = Flights(cluster, "a statement was prepared again")
        self._done: dict[_Key, _Outcome] = {}
        """What was prepared again lately, oldest first."""

    def forget(self) -> object:
        """As :meth:`Flights.forget`."""
        return self._first.forget(), self._again.forget()

    def prepare(self, session: Session, resolved: Resolved) -> Prepared:
        """Have a node prepare a text, unless the answer is known; waits in the calling greenlet.

        :param session: whose request it is
        :param resolved: the PREPARE
        :raises OperationTimedOut: no answer in time
        :raises DriverException: the server's error
        """
        options = resolved.options
        if options.custom_payload:  # it may mean anything
            return self._prepare_anew(session, resolved)
        key = (options.text, options.keyspace, options.version)
        known = self.cache.get(key)
        if known is not None:
            return known
        limit = resolved.timeout if (session, key) in self._first else None  # else its own deadline is the same one
        flight = self._first.join((session, key), self._prepare_and_keep, session, key, resolved)
        if not flight.wait(limit) and not flight.ready():
            raise OperationTimedOut({"(prepare)": f"the statement was still being prepared after {limit} s"}, None)
        answer: Prepared = landed(flight)
        return answer

    def _prepare_and_keep(self, session: Session, key: Hashable, resolved: Resolved) -> Prepared:
        cache = self.cache
        generation = cache.generation
        answer = self._prepare_anew(session, resolved)
        if cache.put(key, answer, generation):
            log.warning(
                "more than %d different statements have been prepared, the last one %r: values belong into parameters, "
                "not into the text", cache.size, shown_cql(resolved.options.text),
            )  # fmt: skip
        return answer

    def _prepare_anew(self, session: Session, resolved: Resolved) -> Prepared:
        message = session._run(Execution(session, resolved, b"", 0, resolved.timeout))
        if not isinstance(message, Prepared):
            text = shown_cql(resolved.options.text)
            raise DriverException(f"the server answered PREPARE with {type(message).__name__}: {text!r}")
        return message

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
        key = (connection.endpoint, query_id)
        outcome = self._done.get(key)
        if key in self._again or outcome is None or since is None or outcome[0] < since:
            outcome = self._prepare_once(key, connection, statement, deadline)
        _, asked_for, answer = outcome
        if statement is not asked_for:  # another one of the same text, perhaps of an earlier schema
            self._take(statement, answer, connection.version)

    def _prepare_once(self, key: _Key, connection: Connection, statement: PreparedStatement, deadline: float) -> _Outcome:
        flight = self._again.join(key, self._prepare_on, key, connection, statement)
        limit = None if deadline == float("inf") else max(0.0, deadline - monotonic())
        if not flight.wait(limit) and not flight.ready():
            endpoint = connection.endpoint
            raise OperationTimedOut({str(endpoint): "the statement was still being prepared again"}, endpoint)
        outcome: _Outcome = landed(flight)
        return outcome

    def _prepare_on(self, key: _Key, connection: Connection, statement: PreparedStatement) -> _Outcome:
        try:
            prepared = self._ask(connection, statement)
        except ErrorMessage as error:
            raise error.to_exception() from None
        self._take(statement, prepared, connection.version)
        count(self._cluster, "prepared_again", connection.endpoint)
        now = monotonic()
        self._done.pop(key, None)
        outcome = self._done[key] = now, statement, prepared
        while (oldest := next(iter(self._done))) != key and self._done[oldest][0] < now - REMEMBERED:
            del self._done[oldest]
        return outcome

    def _take(self, statement: PreparedStatement, answer: Prepared, version: int) -> None:
        """Have a statement know what the node answered when its text was prepared again."""
        try:
            self._check(statement, answer)
        except DriverException:
            self.cache.clear()  # it is of another schema
            raise
        statement.result = PreparedStatement.from_response(answer, statement.query_string, statement.keyspace, version).result

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
                f"the server gave another id to a statement when it was prepared again: "
                f"{shown_cql(statement.query_string)!r} in keyspace {statement.keyspace!r}; prepare it anew"
            )
        was, now = statement.bind_columns, prepared.bind_columns
        if [c.name for c in now] != [c.name for c in was] or not all(
            _takes(n.type, w.type) for n, w in zip(now, was, strict=True)
        ):
            raise DriverException(
                f"the parameters of a prepared statement have changed from {_spelt(was)} to {_spelt(now)}: "
                f"{shown_cql(statement.query_string)!r}; its values were encoded for the former; prepare it anew"
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
