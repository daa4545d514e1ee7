"""Prepared, bound and batch statements; and the names of cassandra.query that live in statement, rows and trace.

Layer: model. Plain objects without I/O. Statements are made and bound in the caller's greenlet; the driver reads them
wherever the request runs, and of a PreparedStatement replaces only `result`, as a whole.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from geventcql.cqltypes import class_of
from geventcql.cython.codecs import UNSET, BindEncoder, ColumnSpec, RowDecoder
from geventcql.encoder import Encoder, ValueSequence, bind_params
from geventcql.errors import TraceUnavailable
from geventcql.handed_on import handing_on
from geventcql.protocol.constants import BatchType
from geventcql.rows import (
    PseudoNamedTupleRow,
    dict_factory,
    named_tuple_class,
    named_tuple_factory,
    ordered_dict_factory,
    pseudo_namedtuple_factory,
    tuple_factory,
)
from geventcql.showing import shown_cql
from geventcql.statement import (
    FETCH_SIZE_UNSET,
    SimpleStatement,
    Statement,
    copied,
    is_conditional,
    level_name,
    packed_key,
)
from geventcql.trace import QueryTrace, TraceEvent

if TYPE_CHECKING:
    from geventcql.policies.retry import RetryPolicy
    from geventcql.protocol.responses import Prepared

__all__ = [
    "FETCH_SIZE_UNSET",
    "UNSET_VALUE",
    "BatchStatement",
    "BatchType",
    "BoundStatement",
    "HostTargetingStatement",
    "PreparedStatement",
    "PseudoNamedTupleRow",
    "QueryTrace",
    "SimpleStatement",
    "Statement",
    "TraceEvent",
    "TraceUnavailable",
    "ValueSequence",
    "bind_params",
    "dict_factory",
    "named_tuple_class",
    "named_tuple_factory",
    "ordered_dict_factory",
    "pseudo_namedtuple_factory",
    "tuple_factory",
]

UNSET_VALUE = UNSET
"""Bound instead of a value: the server leaves that column as it is (protocol v4 and later)."""

_NO_VALUES: Final = b"\x00\x00"
_MAX_BATCH: Final = 0xFFFF  # the count of a BATCH body is a [short]


class PreparedStatement:
    """A statement that the cluster has parsed; made by Session.prepare, bound with `bind`
    (`cassandra.query.PreparedStatement`).

    The options of Statement may be set on it and are taken over by every BoundStatement made afterwards. Besides:
        query_string, query_id: the CQL text and the server's id of it (bytes).
        keyspace: the keyspace named at prepare time, or None.
        protocol_version: that of the connection it was prepared on; decides about UNSET_VALUE.
        bind_columns: ColumnSpecs of its markers. routing_key_indexes: which of them make up the partition key, in
            order, or None.
        encoder: the compiled BindEncoder of these columns.
        result: (result metadata id, RowDecoder or None), one pair that is only ever replaced as a whole, so that no
            request can see the id of one schema with the decoder of another.
    """

    __slots__ = (
        "__weakref__", "_is_lwt", "_templates", "_variants", "bind_columns", "consistency_level", "custom_payload",
        "encoder", "fetch_size", "is_idempotent", "keyspace", "protocol_version", "query_id", "query_string", "result",
        "retry_policy", "routing_key_indexes", "serial_consistency_level",
    )  # fmt: skip

    def __init__(
        self,
        column_metadata: Sequence[ColumnSpec] | None,
        query_id: bytes,
        routing_key_indexes: Sequence[int] | None,
        query: str,
        keyspace: str | None,
        protocol_version: int,
        result_metadata: RowDecoder | None,
        result_metadata_id: bytes | None,
    ) -> None:
        self.bind_columns: tuple[ColumnSpec, ...] = tuple(column_metadata or ())
        self.query_id = query_id
        self.routing_key_indexes: tuple[int, ...] | None = tuple(routing_key_indexes or ()) or None
        self.query_string = query
        self.keyspace = keyspace
        self.protocol_version = protocol_version
        self.encoder = BindEncoder(self.bind_columns, self.routing_key_indexes or (), protocol_version)
        self.result: tuple[bytes | None, RowDecoder | None] = (result_metadata_id, result_metadata)
        self.retry_policy: RetryPolicy | None = None
        self.consistency_level: int | None = None
        self.serial_consistency_level: int | None = None
        self.fetch_size: int | None = FETCH_SIZE_UNSET
        self.custom_payload: dict[str, bytes] | None = None
        self.is_idempotent = False
        self._is_lwt = is_conditional(query)
        # The driver's: what requests are made of, by the settings that it depends on; and what those are made of that name a
        # profile or execute a bound statement, by the settings and then by profile and options.
        self._templates: dict[Any, Any] = {}
        self._variants: dict[Any, dict[Any, Any]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        object.__setattr__(self, "_templates", {})  # they depend on all that can be set here
        object.__setattr__(self, "_variants", {})

    @classmethod
    def from_response(
        cls, prepared: Prepared, query_string: str, keyspace: str | None, protocol_version: int
    ) -> PreparedStatement:
        """The statement that a PREPARE answer describes."""
        # The decoder's raw bytes begin with the flag that they were read under; see wire.Page.start.
        raw = bytes((prepared.result_flags & 1,)) + prepared.result_raw
        decoder = RowDecoder(prepared.result_columns, raw) if prepared.result_columns else None
        return cls(
            prepared.bind_columns, prepared.query_id, prepared.pk_indexes, query_string, keyspace, protocol_version,
            decoder, prepared.result_metadata_id,
        )  # fmt: skip

    @property
    def column_metadata(self) -> list[ColumnSpec]:
        """`bind_columns`, their types as classes of `geventcql.cqltypes`, for applications that serialize keys by hand."""
        return _with_type_classes(self.bind_columns)

    @property
    def result_metadata(self) -> list[ColumnSpec] | None:
        """The columns of the result as last known, or None; their types as classes of `geventcql.cqltypes`."""
        decoder = self.result[1]
        return _with_type_classes(decoder.columns) if decoder is not None else None

    @property
    def result_metadata_id(self) -> bytes | None:
        """The server's id of those columns (protocol v5), or None."""
        return self.result[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedStatement:
        made = copy.copy(self)  # what is compiled is never changed
        made.custom_payload = copy.copy(self.custom_payload)
        return made

    def is_routing_key_index(self, i: int) -> bool:
        """Whether marker `i` is part of the partition key."""
        return i in (self.routing_key_indexes or ())

    def is_lwt(self) -> bool:
        """Whether it is a conditional statement, a lightweight transaction, by its text."""
        return self._is_lwt

    def bind(self, values: Sequence[Any] | Mapping[str, Any] | None) -> BoundStatement:
        """A new BoundStatement with these values; see BoundStatement.bind."""
        return BoundStatement(self).bind(values)

    def __repr__(self) -> str:
        return f'<PreparedStatement query="{shown_cql(self.query_string)}", consistency={level_name(self)}>'


class BoundStatement(Statement):
    """A prepared statement with its values, ready to be executed (`cassandra.query.BoundStatement`).

    `prepared_statement` is what it was made from, `payload` the encoded values as the protocol's
    `<n><value_1>...<value_n>`.
    """

    __slots__ = ("_given", "payload", "prepared_statement")

    def __init__(
        self,
        prepared_statement: PreparedStatement,
        retry_policy: RetryPolicy | None = None,
        consistency_level: int | None = None,
        routing_key: bytes | Sequence[bytes] | None = None,
        serial_consistency_level: int | None = None,
        fetch_size: int | None = FETCH_SIZE_UNSET,
        keyspace: str | None = None,
        custom_payload: dict[str, bytes] | None = None,
    ) -> None:
        self.prepared_statement = prepared_statement
        self.payload: bytes = _NO_VALUES
        self._given: Sequence[Any] | Mapping[str, Any] | None = None
        options = prepared_statement
        columns = options.bind_columns
        super().__init__(
            options.retry_policy if retry_policy is None else retry_policy,
            options.consistency_level if consistency_level is None else consistency_level,
            routing_key,
            options.serial_consistency_level if serial_consistency_level is None else serial_consistency_level,
            options.fetch_size if fetch_size is FETCH_SIZE_UNSET else fetch_size,
            columns[0].keyspace_name if keyspace is None and columns else keyspace,
            options.custom_payload if custom_payload is None else custom_payload,
            options.is_idempotent,
        )

    def bind(self, values: Sequence[Any] | Mapping[str, Any] | None) -> BoundStatement:
        """Encodes the values and returns this statement.

        `values` is a sequence in the order of the markers, or a mapping by column name, whose other keys are ignored.
        What is missing is bound as UNSET_VALUE on protocol v4 and later. Raises ValueError (too many values;
        UNSET_VALUE in the partition key, or below v4), KeyError (a name missing below v4) and EncodeError, which is a
        TypeError too, for a value that does not fit its column.
        """
        if values is None:
            values = ()
        self.payload = self.prepared_statement.encoder.encode(values)
        self._given = values
        return self

    def is_lwt(self) -> bool:
        """That of the prepared statement."""
        return self.prepared_statement.is_lwt()

    @property
    def values(self) -> list[Any]:
        """The encoded values, each bytes, None or UNSET_VALUE."""
        return _split_values(self.payload)

    @property
    def raw_values(self) -> list[Any]:
        """The values as the application gave them, in the order of the columns; in a statement that the driver made for a
        policy, what their bytes are read as.
        """
        given, columns = self._given, self.prepared_statement.bind_columns
        if isinstance(given, Mapping):
            return [given.get(column.name, UNSET_VALUE) for column in columns]
        if given is not None:
            return list(given)
        pairs = zip(columns, self.values)  # noqa: B905  not bound yet: none
        return [c.type.decode(value) if isinstance(value, bytes) else value for c, value in pairs]

    @property
    def routing_key(self) -> Any:
        """The serialized partition key as set, else as bound; None if the markers do not cover the partition key."""
        if self._routing_key is not None:
            return self._routing_key
        prepared = self.prepared_statement
        return prepared.encoder.routing_key(self.payload) if prepared.routing_key_indexes else None

    @routing_key.setter
    def routing_key(self, key: bytes | Sequence[bytes] | None) -> None:
        self._routing_key = packed_key(key)

    def __repr__(self) -> str:
        """Without the values: they may be secrets. `raw_values` has them."""
        query = shown_cql(self.prepared_statement.query_string)
        return f'<BoundStatement query="{query}", values={len(self.values)}, consistency={level_name(self)}>'


class BatchStatement(Statement):
    """Several statements that the server applies together (`cassandra.query.BatchStatement`).

    Parameters:
        batch_type: BatchType.LOGGED (all or nothing), UNLOGGED or COUNTER.
        retry_policy, consistency_level, serial_consistency_level, custom_payload: as in Statement, for the batch as a
            whole.
        session: its encoder writes the parameters of statements that are not prepared; a default Encoder does if None.

    The first statement that knows both its keyspace and its routing key gives the batch its own; of prepared ones, whose
    names are complete, for token awareness alone. `queries` holds what was added, each as (is prepared, query id or CQL
    as bytes, encoded values), `prepared_statements` the PreparedStatements among them by id.
    """

    _named_keyspace: str | None = None
    """Where unqualified names in it are (protocol v5)."""
    _routing_keyspace: str | None = None

    def __init__(
        self,
        batch_type: BatchType = BatchType.LOGGED,
        retry_policy: RetryPolicy | None = None,
        consistency_level: int | None = None,
        serial_consistency_level: int | None = None,
        session: Any = None,
        custom_payload: dict[str, bytes] | None = None,
    ) -> None:
        super().__init__(
            retry_policy,
            consistency_level,
            serial_consistency_level=serial_consistency_level,
            custom_payload=custom_payload,
        )
        self.batch_type = batch_type
        self.queries: list[tuple[bool, bytes, bytes]] = []
        self.prepared_statements: dict[bytes, PreparedStatement] = {}
        self._session = session

    @property
    def keyspace(self) -> str | None:
        """As set, else that of the first statement that has a routing key."""
        return self._named_keyspace or self._routing_keyspace

    @keyspace.setter
    def keyspace(self, keyspace: str | None) -> None:
        self._named_keyspace = keyspace

    def add(
        self,
        statement: str | SimpleStatement | PreparedStatement | BoundStatement,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    ) -> BatchStatement:
        """Adds a statement with its parameters and returns the batch.

        Raises ValueError for parameters next to a BoundStatement and for more than 65,535 statements, TypeError for
        what is no statement, and what BoundStatement.bind raises.
        """
        if len(self.queries) >= _MAX_BATCH:
            raise ValueError(f"a batch cannot hold more than {_MAX_BATCH} statements")
        if isinstance(statement, PreparedStatement):
            if not self._takes_over(statement):
                self._add_prepared(statement, statement.encoder.encode(() if parameters is None else parameters))
                return self
            statement = statement.bind(parameters)
        elif isinstance(statement, BoundStatement):
            if parameters:
                raise ValueError("a BoundStatement has its values already: BatchStatement.add takes no others with it")
        elif isinstance(statement, (str, SimpleStatement)):
            text = statement if isinstance(statement, str) else statement.query_string
            if parameters:
                text = bind_params(text, parameters, Encoder() if self._session is None else self._session.encoder)
            self.queries.append((False, text.encode(), _NO_VALUES))
        else:
            raise TypeError(f"a batch takes str, simple, prepared and bound statements, not {type(statement).__name__}")
        if isinstance(statement, BoundStatement):
            self._add_prepared(statement.prepared_statement, statement.payload)
        if isinstance(statement, Statement) and self._takes_over(statement):
            self._take_over(statement)
        return self

    def _add_prepared(self, prepared: PreparedStatement, payload: bytes) -> None:
        self.prepared_statements[prepared.query_id] = prepared
        self.queries.append((True, prepared.query_id, payload))

    def add_all(
        self, statements: Iterable[Any], parameters: Iterable[Sequence[Any] | Mapping[str, Any] | None]
    ) -> None:
        """Adds statements with their parameters, pair by pair, up to the end of the shorter sequence."""
        for statement, values in zip(statements, parameters):  # noqa: B905
            self.add(statement, values)

    def is_lwt(self) -> bool:
        """Whether a statement in it is conditional: the whole batch is then."""
        return any(prepared.is_lwt() for prepared in self.prepared_statements.values()) or any(
            is_conditional(text.decode()) for is_prepared, text, _ in self.queries if not is_prepared
        )

    def clear(self) -> None:
        """Empties the batch for another use; not while a request that executes it is under way."""
        self.queries = []
        self.prepared_statements = {}
        self._named_keyspace = self._routing_keyspace = None
        self.routing_key = None
        self.custom_payload = None

    def _takes_over(self, statement: Statement | PreparedStatement) -> bool:
        """Whether it may have what the batch lacks."""
        return self._routing_key is None or bool(statement.custom_payload)

    def _take_over(self, statement: Statement) -> None:
        if self.routing_key is None and statement.keyspace and statement.routing_key:
            self.routing_key = statement.routing_key
            self._routing_keyspace = statement.keyspace
            if not isinstance(statement, BoundStatement):
                self._named_keyspace = self._named_keyspace or statement.keyspace
        if statement.custom_payload:
            self.custom_payload = {**(self.custom_payload or {}), **statement.custom_payload}

    def __len__(self) -> int:
        return len(self.queries)

    def __repr__(self) -> str:
        return f"<BatchStatement type={self.batch_type}, statements={len(self)}, consistency={level_name(self)}>"


class HostTargetingStatement:
    """A copy of any statement that DefaultLoadBalancingPolicy sends to `target_host` first; still an instance of the
    statement's class.

    (`cassandra.query.HostTargetingStatement`; the `host` argument of Session.execute serves most needs better.)
    """

    target_host: Any

    def __new__(cls, inner_statement: Any, target_host: Any) -> HostTargetingStatement:
        kind = type(inner_statement)
        targeted: HostTargetingStatement = copied(inner_statement, type(kind.__name__, (cls, kind), {}))
        return targeted

    def __init__(self, inner_statement: Any, target_host: Any) -> None:
        self.target_host = target_host


def _with_type_classes(columns: Iterable[ColumnSpec]) -> list[ColumnSpec]:
    return [column._replace(type=class_of(column.type, of_column=True)) for column in columns]


def _split_values(payload: bytes) -> list[Any]:
    """The values of `<n:short>` and n times [value] (native_protocol_v4.spec section 3)."""
    (count,) = struct.unpack_from(">H", payload)
    values: list[Any] = []
    position = 2
    for _ in range(count):
        (length,) = struct.unpack_from(">i", payload, position)
        position += 4
        if length < 0:
            values.append(None if length == -1 else UNSET_VALUE)
        else:
            values.append(payload[position : position + length])
            position += length
    return values

if not TYPE_CHECKING:
    __getattr__ = handing_on(__name__)
