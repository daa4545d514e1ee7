"""A statement and a profile, resolved into what a request is made of (layer: driver).

Done once per prepared statement and profile, and kept until either changes; done anew for each simple statement. Runs in
the greenlet that executes the statement; nothing in here switches.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from geventcql.attempts import watch
from geventcql.cython.codecs import murmur3_token
from geventcql.cython.wire import Page, Recipe, RequestTemplate
from geventcql.errors import DecodeError, UnsupportedOperation
from geventcql.policies import (
    DCAwareRoundRobinPolicy,
    NoSpeculativeExecutionPolicy,
    RackAwareRoundRobinPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)
from geventcql.protocol import requests
from geventcql.protocol.constants import FLAG_CUSTOM_PAYLOAD, FLAG_TRACING, ConsistencyLevel, Opcode, ProtocolVersion
from geventcql.protocol.notation import long_string
from geventcql.query import (
    FETCH_SIZE_UNSET,
    BatchStatement,
    BoundStatement,
    PreparedStatement,
    SimpleStatement,
    Statement,
    bind_params,
)
from geventcql.readers import row_reader

if TYPE_CHECKING:
    from geventcql.profiles import ExecutionProfile
    from geventcql.session import Session


__all__ = ["RequestOptions", "Resolved", "ResolvedPrepare", "resolve", "with_parameters"]


_OVERRIDDEN = {"distance", "make_query_plan"}
"""What an application may have set on a policy."""


def _is_plain(policy: Any) -> bool:
    """Whether it is a built-in policy, whose plan begins where :meth:`geventcql.routing.Router.route` says."""
    if type(policy) is TokenAwarePolicy and not _OVERRIDDEN & policy.__dict__.keys():
        policy = policy._child_policy
    is_ours = type(policy) in (DCAwareRoundRobinPolicy, RackAwareRoundRobinPolicy, RoundRobinPolicy)
    return is_ours and not _OVERRIDDEN & policy.__dict__.keys()


class RequestOptions(NamedTuple):
    """The options of one request that its bytes depend on."""

    version: int
    consistency: int
    serial_consistency: int | None = None
    page_size: int | None = None
    paging_state: bytes | None = None
    timestamped: bool = False
    timestamp: int | None = None
    """Of a batch; other requests get theirs with their values."""
    keyspace: str | None = None
    """Where unqualified names are, from the first page to the last, whatever the Session is set to meanwhile. On v5 requests
    name it, below that their connections have it set."""
    tracing: bool = False
    custom_payload: Mapping[str, bytes | None] | None = None
    text: str | None = None
    """The CQL to be prepared."""
    batch: tuple[Any, list[tuple[bool, bytes, bytes]], dict[bytes, PreparedStatement]] | None = None
    """Type, statements and prepared statements of a batch, which the application may fill anew while this is under way."""


class Resolved(Recipe):
    """Everything about a request but its values.

    :param session: whose settings it follows
    :param statement: what the application executes
    :param profile: the execution profile
    :param options: what its bytes depend on
    :param reading: row factory and protocol handler; the Session's if left out
    """

    __slots__ = (
        "_session", "consistency", "is_idempotent", "options", "policy", "pool_keyspace",
        "prepared", "profile", "reading", "retry_policy", "rotates", "routing_keyspace", "statement", "timeout",
        "timestamped", "token_aware", "working_keyspace",
    )  # fmt: skip

    is_timed = True

    def __init__(
        self,
        session: Session,
        statement: Any,
        profile: ExecutionProfile,
        options: RequestOptions,
        timeout: float | None,
        reading: tuple[Any, Any] | None = None,
    ) -> None:
        self._session = weakref.ref(session)  # prepared statements keep this, and may outlive the Session
        self.statement = statement
        self.profile = profile
        self.options = options
        self.timeout = timeout
        self.consistency = options.consistency
        self.timestamped = options.timestamped
        self.prepared: PreparedStatement | None = None
        if isinstance(statement, PreparedStatement):
            self.prepared = statement
        elif isinstance(statement, BoundStatement):
            self.prepared = statement.prepared_statement
        self.encoder = self._encoder()
        self.is_idempotent = bool(statement.is_idempotent)
        self.retry_policy = statement.retry_policy or profile.retry_policy
        self.watch = self._watch()
        self.policy = profile.load_balancing_policy
        self.timer = session._request_timer if self.is_timed else None
        self.plain_policy = _is_plain(self.policy)
        self.token_aware = self.plain_policy and isinstance(self.policy, TokenAwarePolicy) and self._has_token()
        self.rotates = self.plain_policy and not (isinstance(self.policy, TokenAwarePolicy) and self._has_key())
        """Whether any local host may come first."""
        self.working_keyspace = session.keyspace
        self.routing_keyspace = self._routing_keyspace()
        self.pool_keyspace = self._pool_keyspace()
        metadata_id, decoder = (None, None) if self.prepared is None else self.prepared.result
        self.template = self._build(metadata_id, decoder is not None)  # id and decoder: one pair, pinned with the frame
        self.reading = reading or (session._row_factory(profile), session.client_protocol_handler)
        factory, handler = self.reading
        self.reader = row_reader(factory, session.cluster._decoders, decoder, handler)

    def _watch(self) -> Callable[[Any], None] | None:
        """What starts it if its profile wants other hosts to be asked before the first has answered."""
        policy = self.profile.speculative_execution_policy
        wanted = self.profile.attempt_timeout is not None or type(policy) is not NoSpeculativeExecutionPolicy
        return watch if self.is_idempotent and wanted else None

    @property
    def in_ring_order(self) -> bool:
        """Whether it is to find the replicas in the order of the ring: Paxos rounds are better begun at the same one."""
        return ConsistencyLevel.is_serial(self.consistency) or bool(self.statement.is_lwt())

    def _encoder(self) -> Any:
        return None if self.prepared is None else self.prepared.encoder

    def _has_token(self) -> bool:
        """Whether the encoder can tell the token of the values."""
        return (
            self.prepared is not None
            and self.prepared.routing_key_indexes is not None
            and getattr(self.statement, "_routing_key", None) is None
        )

    def _has_key(self) -> bool:
        """Whether replicas can be looked up for it, be it by the policy."""
        if self.prepared is not None and self.prepared.routing_key_indexes is not None:
            return True
        return not isinstance(self.statement, PreparedStatement) and self.statement.routing_key is not None

    def _routing_keyspace(self) -> str | None:
        """Where token awareness looks the replicas up."""
        if self.prepared is not None and self.prepared.bind_columns:
            return str(self.prepared.bind_columns[0].keyspace_name)
        return self.statement.keyspace or self.options.keyspace

    def _pool_keyspace(self) -> str | None:
        """The keyspace that the connections must have set: below v5 requests cannot name theirs."""
        if self.options.version >= ProtocolVersion.V5:
            return None
        return self.prepared.keyspace if self.prepared is not None else self.options.keyspace

    def _named_keyspace(self) -> str | None:
        """The keyspace that the request itself names."""
        return self.options.keyspace if self.options.version >= ProtocolVersion.V5 else None

    def _head(self) -> tuple[int, bytes]:
        """The header's flags and what they put before the message."""
        options = self.options
        flags = FLAG_TRACING if options.tracing else 0
        if not options.custom_payload:
            return flags, b""
        return flags | FLAG_CUSTOM_PAYLOAD, requests.custom_payload(options.custom_payload, options.version)

    def _build(self, metadata_id: bytes | None, has_decoder: bool) -> RequestTemplate:
        options = self.options
        flags, head = self._head()
        common: dict[str, Any] = {
            "page_size": options.page_size,
            "paging_state": options.paging_state,
            "serial_consistency": options.serial_consistency,
            "with_timestamp": options.timestamped,
        }
        if self.prepared is not None:
            parts = requests.execute_parts(
                options.version,
                self.prepared.query_id,
                metadata_id,
                options.consistency,
                has_values=True,
                skip_metadata=options.version >= ProtocolVersion.V5 and has_decoder,
                **common,
            )
        else:
            parts = requests.query_parts(
                options.version, None, options.consistency, keyspace=self._named_keyspace(), **common
            )
        return RequestTemplate(
            options.version, parts.opcode, flags, head + parts.prefix, parts.suffix, parts.timestamp_at
        )

    def _changed(self, **changes: Any) -> Resolved:
        return self._again(self.options._replace(**changes), self.reading)

    def _again(self, options: RequestOptions, reading: tuple[Any, Any]) -> Resolved:
        session = self._session()
        assert session is not None, "whoever executes this holds its Session"
        return type(self)(session, self.statement, self.profile, options, self.timeout, reading)

    def read_by(self, factory: Any) -> Resolved:
        """The same with another row factory."""
        return self._again(self.options, (factory, self.reading[1]))

    def from_page(self, paging_state: bytes | None) -> Resolved:
        """The same for the page behind ``paging_state``."""
        return self._changed(paging_state=paging_state)

    def at_consistency(self, consistency: int) -> Resolved:
        """The same at ``consistency``."""
        return self if consistency == self.consistency else self._changed(consistency=consistency)

    def current(self) -> Resolved:
        """The same with the prepared statement's ids and decoder as they are now."""
        return self if self.prepared is None else self._changed()

    def prepares(self, query_id: bytes) -> bool:
        """Whether ``query_id`` is of a statement in here, so that it can be prepared again."""
        return self.prepared_by_id(query_id) is not None

    def prepared_by_id(self, query_id: bytes) -> PreparedStatement | None:
        """The prepared statement of that id in here."""
        if self.prepared is not None and self.prepared.query_id == query_id:
            return self.prepared
        return None

    def metadata_changed(self, page: Page) -> None:
        """The server says that the columns have changed: later requests use the new pair of id and decoder (v5)."""
        if self.prepared is None:
            return
        try:
            decoder = page.decoder()
        except DecodeError:
            return  # whoever looks at the rows meets the error; the pair stays as it is
        self.prepared.result = (page.new_metadata_id, decoder)

    def policy_statement(self, values: bytes) -> Any:
        """The statement as policies see it: a prepared one with its values, for its routing key."""
        if isinstance(self.statement, PreparedStatement):
            bound = BoundStatement(self.statement)
            bound.payload = values
            return bound
        return self.statement


class _Key:
    """In place of an encoder: tells the token of a batch, which has one key, whatever its statements."""

    def __init__(self, key: bytes) -> None:
        self._token = murmur3_token(key)

    def token(self, values: bytes) -> int:
        return self._token


class ResolvedBatch(Resolved):
    """A batch; its statements and values are part of the template."""

    __slots__ = ()

    def _encoder(self) -> _Key | None:
        key = self.statement.routing_key
        return None if key is None else _Key(key)

    def _has_token(self) -> bool:
        return self.encoder is not None

    def _build(self, metadata_id: bytes | None, has_decoder: bool) -> RequestTemplate:
        options = self.options
        flags, head = self._head()
        assert options.batch is not None
        batch_type, queries, _ = options.batch
        body = requests.batch_body(
            options.version,
            batch_type,
            queries,
            options.consistency,
            options.serial_consistency,
            options.timestamp,
            self._named_keyspace(),
        )
        self.timestamped = False  # it is in the body
        return RequestTemplate(options.version, Opcode.BATCH, flags, head + body, b"")

    def prepared_by_id(self, query_id: bytes) -> PreparedStatement | None:
        assert self.options.batch is not None
        return self.options.batch[2].get(query_id)

    def current(self) -> Resolved:
        return self  # a batch carries ids only


class ResolvedPrepare(Resolved):
    """The PREPARE of a statement's text, whatever a retry changes."""

    __slots__ = ()
    is_timed = False  # as in cassandra-driver: it tells nothing of the application's requests

    def _watch(self) -> None:
        return None  # every node can do it at any time

    def _build(self, metadata_id: bytes | None, has_decoder: bool) -> RequestTemplate:
        version = self.options.version
        flags, head = self._head()
        keyspace = self._named_keyspace() if version >= ProtocolVersion.V5 else self.statement.keyspace  # below: refused
        body = requests.prepare(self.options.text or "", version, keyspace)
        return RequestTemplate(version, Opcode.PREPARE, flags, head + body, b"")


def with_parameters(session: Session, query: Any, parameters: Any) -> tuple[Any, bytes]:
    """What an application gave to ``execute`` as a statement, and what is sent in its place of the values: those of a prepared
    statement, the text of a simple one.

    :raises TypeError: ``query`` is no statement
    :raises ValueError: parameters for a statement that takes none
    """
    if isinstance(query, PreparedStatement):
        return query, query.encoder.encode(() if parameters is None else parameters)
    if isinstance(query, BoundStatement):
        if parameters:
            raise ValueError("a BoundStatement has its values already: execute takes no others with it")
        return query, query.payload
    if isinstance(query, str):
        query = SimpleStatement(query)
    if isinstance(query, SimpleStatement):
        text = query.query_string
        return query, long_string(bind_params(text, parameters, session.encoder) if parameters else text)
    if isinstance(query, BatchStatement):
        if parameters:
            raise ValueError("a BatchStatement has its values already: execute takes no others with it")
        return query, b""
    raise TypeError(f"execute takes CQL text or a statement, not {type(query).__name__}")


def resolve(
    session: Session,
    statement: Any,
    profile: ExecutionProfile,
    timeout: Any,
    *,
    trace: bool = False,
    custom_payload: Mapping[str, bytes | None] | None = None,
    paging_state: bytes | None = None,
    prepare: str | None = None,
) -> Resolved:
    """Resolve a statement for one request or many.

    :param prepare: the CQL, if it is to be prepared, not executed
    :param timeout: seconds, or None for no limit
    :raises UnsupportedOperation: the statement needs a later protocol version than the one in use
    """
    version = session.cluster._protocol_version
    payload = {**(statement.custom_payload or {}), **(custom_payload or {})}
    if payload and version < ProtocolVersion.V4:
        raise UnsupportedOperation(f"custom payloads need protocol v4; the connection speaks v{version}")
    batch = (
        (statement.batch_type, list(statement.queries), dict(statement.prepared_statements))
        if isinstance(statement, BatchStatement)
        else None
    )
    consistency = statement.consistency_level
    serial = statement.serial_consistency_level
    fetch_size = statement.fetch_size
    options = RequestOptions(
        version=version,
        consistency=session._consistency(profile) if consistency is None else consistency,
        serial_consistency=session._serial_consistency(profile) if serial is None else serial,
        page_size=None if batch else session.default_fetch_size if fetch_size is FETCH_SIZE_UNSET else fetch_size,
        paging_state=paging_state,
        timestamped=bool(session.use_client_timestamp),
        timestamp=session._timestamp() if batch and session.use_client_timestamp else None,
        keyspace=_keyspace(session, statement, version),
        tracing=bool(trace),
        custom_payload=payload or None,
        text=prepare,
        batch=batch,
    )
    kind = ResolvedBatch if batch else Resolved if prepare is None else ResolvedPrepare
    return kind(session, statement, profile, options, timeout)


def _keyspace(session: Session, statement: Statement | PreparedStatement, version: int) -> str | None:
    """Where the unqualified names of a statement are; below v5 only connections have a keyspace."""
    if version < ProtocolVersion.V5:
        return session.keyspace
    own = statement._named_keyspace if isinstance(statement, BatchStatement) else statement.keyspace
    return own or session.keyspace
