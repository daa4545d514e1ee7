"""What all statements have in common, and the statement that is plain CQL text.

Layer: model. Plain objects without I/O, made in the caller's greenlet and read wherever the request runs.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from geventcql.protocol.constants import ConsistencyLevel
from geventcql.showing import shown_cql

if TYPE_CHECKING:
    from geventcql.policies.retry import RetryPolicy

__all__ = [
    "FETCH_SIZE_UNSET", "SimpleStatement", "Statement", "at_consistency", "copied", "is_conditional", "level_name",
    "packed_key", "words",
]  # fmt: skip

FETCH_SIZE_UNSET: Final[Any] = object()
"""A statement with this `fetch_size` takes the Session's default page size; None there means no paging."""


class Statement:
    """What all statements share (`cassandra.query.Statement`). Whatever is None, or FETCH_SIZE_UNSET, comes from the
    execution profile.

    Parameters, which are attributes too:
        retry_policy: a RetryPolicy for this statement.
        consistency_level: a ConsistencyLevel.
        routing_key: the serialized partition key, bytes; a list or tuple of serialized components is packed into one.
        serial_consistency_level: SERIAL or LOCAL_SERIAL, for the Paxos phase of conditional statements.
        fetch_size: rows per page; None for no paging.
        keyspace: the keyspace of the statement; also what token awareness looks replicas up in.
        custom_payload: dict of str to bytes for the server's query handler (protocol v4 and later).
        is_idempotent: whether running it twice does no harm; only then it is retried after a lost answer, or
            speculated.
    """

    retry_policy: RetryPolicy | None = None
    consistency_level: int | None = None
    fetch_size: int | None = FETCH_SIZE_UNSET
    keyspace: str | None = None
    custom_payload: dict[str, bytes] | None = None
    is_idempotent: bool = False
    # The defaults stand on the class so that a subclass can set its own there, as cassandra-driver lets it.
    _routing_key: bytes | None = None
    _serial_consistency_level: int | None = None

    def __init__(
        self,
        retry_policy: RetryPolicy | None = None,
        consistency_level: int | None = None,
        routing_key: bytes | Sequence[bytes] | None = None,
        serial_consistency_level: int | None = None,
        fetch_size: int | None = FETCH_SIZE_UNSET,
        keyspace: str | None = None,
        custom_payload: dict[str, bytes] | None = None,
        is_idempotent: bool = False,
    ) -> None:
        if retry_policy is not None:
            if not hasattr(retry_policy, "on_read_timeout"):
                raise ValueError(f"retry_policy must be a RetryPolicy, not {retry_policy!r}")
            self.retry_policy = retry_policy
        if consistency_level is not None:
            self.consistency_level = consistency_level
        if routing_key is not None:
            self.routing_key = routing_key
        if serial_consistency_level is not None:
            self.serial_consistency_level = serial_consistency_level
        if fetch_size is not FETCH_SIZE_UNSET:
            self.fetch_size = fetch_size
        if keyspace is not None:
            self.keyspace = keyspace
        if custom_payload is not None:
            self.custom_payload = custom_payload
        self.is_idempotent = is_idempotent

    @property
    def routing_key(self) -> Any:
        """The serialized partition key as bytes, or None if it is not known. Setting a list or tuple packs its
        components into one.
        """
        return self._routing_key

    @routing_key.setter
    def routing_key(self, key: bytes | Sequence[bytes] | None) -> None:
        self._routing_key = packed_key(key)

    @routing_key.deleter
    def routing_key(self) -> None:
        self._routing_key = None

    @property
    def serial_consistency_level(self) -> int | None:
        """SERIAL or LOCAL_SERIAL; setting another level is a ValueError."""
        return self._serial_consistency_level

    @serial_consistency_level.setter
    def serial_consistency_level(self, level: int | None) -> None:
        if level is not None and not ConsistencyLevel.is_serial(level):
            raise ValueError(f"serial_consistency_level must be SERIAL or LOCAL_SERIAL, not {level!r}")
        self._serial_consistency_level = level

    @serial_consistency_level.deleter
    def serial_consistency_level(self) -> None:
        self._serial_consistency_level = None

    def is_lwt(self) -> bool:
        """Whether it is a conditional statement, a lightweight transaction (as in scylla-driver)."""
        return False


class SimpleStatement(Statement):
    """CQL text that is sent as it is; `%s` and `%(name)s` in it are filled in by the client from execute's parameters.

    `query_string` is the CQL; the other parameters are Statement's.
    """

    def __init__(
        self,
        query_string: str,
        retry_policy: RetryPolicy | None = None,
        consistency_level: int | None = None,
        routing_key: bytes | Sequence[bytes] | None = None,
        serial_consistency_level: int | None = None,
        fetch_size: int | None = FETCH_SIZE_UNSET,
        keyspace: str | None = None,
        custom_payload: dict[str, bytes] | None = None,
        is_idempotent: bool = False,
    ) -> None:
        super().__init__(
            retry_policy, consistency_level, routing_key, serial_consistency_level, fetch_size, keyspace,
            custom_payload, is_idempotent,
        )  # fmt: skip
        self._query_string = query_string

    @property
    def query_string(self) -> str:
        """The CQL text."""
        return self._query_string

    def is_lwt(self) -> bool:
        """Whether its text is that of a conditional statement."""
        return is_conditional(self.query_string)

    def __repr__(self) -> str:
        return f'<SimpleStatement query="{shown_cql(self.query_string)}", consistency={level_name(self)}>'


def copied(statement: Any, kind: type) -> Any:
    """A copy that is an instance of `kind`, a statement's own class or one below it, whatever that takes to be made."""
    made: Any = object.__new__(kind)
    made.__dict__.update(getattr(statement, "__dict__", {}))
    for base in type(statement).__mro__:
        for slot in getattr(base, "__slots__", ()):
            if slot != "__weakref__" and hasattr(statement, slot):
                setattr(made, slot, getattr(statement, slot))
    return made


def at_consistency(statement: Any, level: int) -> Any:
    """A copy that says of itself at which consistency level its profile has it executed."""
    made = copied(statement, type(statement))
    made.consistency_level = level
    return made


def packed_key(key: bytes | Sequence[bytes] | None) -> bytes | None:
    """One serialized key. Several components make Cassandra's composite: each after its length, a zero after it."""
    if key is None or isinstance(key, bytes):
        return key
    if isinstance(key, (bytearray, memoryview)):
        return bytes(key)
    return key[0] if len(key) == 1 else b"".join(struct.pack(f">H{len(p)}sB", len(p), p, 0) for p in key)


def level_name(statement: Any) -> str:
    """The name of a statement's consistency level, for its repr."""
    return ConsistencyLevel.value_to_name.get(statement.consistency_level, "Not Set")


# Strings, quoted names and comments, which are no words; or a word.
_TOKENS = re.compile(
    r"""'[^']*'|"[^"]*"|\$\$.*?\$\$|--[^\n]*|//[^\n]*|/\*.*?\*/|(\w+)""", re.DOTALL
)  # fmt: skip
_CONDITIONAL = frozenset(("insert", "update", "delete", "begin"))


def is_conditional(text: str) -> bool:
    """Whether CQL text is that of a conditional statement: an INSERT, UPDATE, DELETE or batch with an IF.

    Servers do not tell (ScyllaDB has an extension for it); IF is a reserved word, so it stands for nothing else there.
    """
    its = words(text)
    return next(its, "") in _CONDITIONAL and "if" in its


def words(text: str) -> Iterator[str]:
    """The words of CQL text, in lower case, without quoted names, strings and comments."""
    return (match[1].lower() for match in _TOKENS.finditer(text) if match[1])
