"""PREPARE, for the first time and again (layer: driver).

Preparing again is single-flight: one PREPARE per connection and statement, whoever waits for it. It runs in a greenlet of
the Session's, never in the one that asked first, since that one may be killed.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent.event import AsyncResult

from geventcql.errors import DriverException, ErrorMessage, OperationTimedOut
from geventcql.net.connection import Connection
from geventcql.protocol import requests
from geventcql.protocol.constants import Opcode, ProtocolVersion
from geventcql.protocol.responses import Prepared
from geventcql.query import PreparedStatement

if TYPE_CHECKING:
    from geventcql.resolve import Resolved
    from geventcql.session import Session

__all__ = ["Preparer"]

REPREPARE_TIMEOUT = 10.0


def _own(error: Exception) -> Exception:
    """A copy for one of the requests that end by the same error: each error tells of its own request."""
    own = type(error).__new__(type(error), *error.args)
    vars(own).update(vars(error))
    own.__cause__ = error
    return own


class Preparer:
    """Prepares statements again for the requests of one Session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._flights: dict[tuple[Connection, bytes], AsyncResult] = {}

    def prepare_again(self, resolved: Resolved, query_id: bytes, connection: Connection, deadline: float) -> None:
        """Make the node at the other end of ``connection`` know the statement again; waits in the calling greenlet.

        :raises DriverException: the statement has become another one
        :raises OperationTimedOut: not before ``deadline``
        """
        statement = resolved.prepared_by_id(query_id)
        assert statement is not None
        key = (connection, query_id)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = AsyncResult()
            self._session._spawn(self._run, key, flight, statement)
        limit = None if deadline == float("inf") else max(0.0, deadline - monotonic())
        if not flight.wait(limit) and not flight.ready():
            endpoint = connection.endpoint
            raise OperationTimedOut({str(endpoint): "the statement was still being prepared again"}, endpoint)
        if flight.exception is not None:
            raise _own(flight.exception)

    def _run(self, key: tuple[Connection, bytes], flight: AsyncResult, statement: PreparedStatement) -> None:
        connection, _ = key
        try:
            prepared = self._ask(connection, statement)
            self._check(statement, prepared)
            fresh = PreparedStatement.from_response(
                prepared, statement.query_string, statement.keyspace, connection.version
            )
            statement.result = fresh.result
            flight.set(True)
        except ErrorMessage as error:
            flight.set_exception(error.to_exception())
        except Exception as error:
            flight.set_exception(error)
        finally:
            self._flights.pop(key, None)

    def _ask(self, connection: Connection, statement: PreparedStatement) -> Prepared:
        keyspace = statement.keyspace if connection.version >= ProtocolVersion.V5 else None
        body = requests.prepare(statement.query_string, connection.version, keyspace)
        message = connection.call(Opcode.PREPARE, body, REPREPARE_TIMEOUT, self._session.cluster._user_types)
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
        was = [(c.name, str(c.type)) for c in statement.bind_columns]
        now: list[Any] = [(c.name, str(c.type)) for c in prepared.bind_columns]
        if was != now:
            raise DriverException(
                f"the parameters of a prepared statement have changed from {was} to {now}: {statement.query_string!r}; "
                "its values were encoded for the former; prepare it anew"
            )
