"""The numbers and names of the native protocol, v3 to v5, under the names that cassandra-driver gives them.

Layer: protocol; pure data, for any greenlet.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum

from geventcql.errors import CONSISTENCY_NAMES, WRITE_TYPE_NAMES, consistency_name

HEADER_SIZE = 9
DIRECTION_RESPONSE = 0x80  # protocol section 2.1
VERSION_MASK = 0x7F
MAX_BODY_SIZE = 256 * 1024 * 1024  # section 2.5
MAX_STREAM_ID = 32767


class Opcode(IntEnum):
    """Protocol section 2.4."""

    ERROR = 0x00
    STARTUP = 0x01
    READY = 0x02
    AUTHENTICATE = 0x03
    OPTIONS = 0x05
    SUPPORTED = 0x06
    QUERY = 0x07
    RESULT = 0x08
    PREPARE = 0x09
    EXECUTE = 0x0A
    REGISTER = 0x0B
    EVENT = 0x0C
    BATCH = 0x0D
    AUTH_CHALLENGE = 0x0E
    AUTH_RESPONSE = 0x0F
    AUTH_SUCCESS = 0x10


# Flags of the frame header, section 2.2; the two in the middle from v4 on.
FLAG_COMPRESSED = 0x01
FLAG_TRACING = 0x02
FLAG_CUSTOM_PAYLOAD = 0x04
FLAG_WARNING = 0x08
FLAG_USE_BETA = 0x10

# Flags of QUERY, EXECUTE and BATCH, sections 4.1.4 and 4.1.7: one byte in v3 and v4, an [int] in v5.
QUERY_VALUES = 0x01
QUERY_SKIP_METADATA = 0x02
QUERY_PAGE_SIZE = 0x04
QUERY_PAGING_STATE = 0x08
QUERY_SERIAL_CONSISTENCY = 0x10
QUERY_TIMESTAMP = 0x20
QUERY_NAMES_FOR_VALUES = 0x40
QUERY_KEYSPACE = 0x80
QUERY_NOW_IN_SECONDS = 0x100

PREPARE_KEYSPACE = 0x01  # flags of PREPARE, v5

# Kinds of RESULT, section 4.2.5.
RESULT_KIND_VOID = 0x0001
RESULT_KIND_ROWS = 0x0002
RESULT_KIND_SET_KEYSPACE = 0x0003
RESULT_KIND_PREPARED = 0x0004
RESULT_KIND_SCHEMA_CHANGE = 0x0005

# Flags of the metadata of rows, section 4.2.5.2.
ROWS_GLOBAL_TABLE_SPEC = 0x0001
ROWS_HAS_MORE_PAGES = 0x0002
ROWS_NO_METADATA = 0x0004
ROWS_METADATA_CHANGED = 0x0008  # v5

EVENT_TYPES = ("TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE")

CQL_VERSION = "3.0.0"  # what STARTUP must say; every server since 2.0 takes it


class ConsistencyLevel:
    """How many replicas must answer; section 3, [consistency]."""

    ANY = 0
    ONE = 1
    TWO = 2
    THREE = 3
    QUORUM = 4
    ALL = 5
    LOCAL_QUORUM = 6
    EACH_QUORUM = 7
    SERIAL = 8
    LOCAL_SERIAL = 9
    LOCAL_ONE = 10

    value_to_name: dict[int, str] = dict(enumerate(CONSISTENCY_NAMES))
    name_to_value: dict[str, int] = {name: value for value, name in enumerate(CONSISTENCY_NAMES)}

    @staticmethod
    def is_serial(cl: int | None) -> bool:
        """Whether `cl` is one for the conditional phase of lightweight transactions."""
        return cl in (ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL)


consistency_value_to_name = consistency_name


class ProtocolVersion:
    """Versions of the native protocol. The driver speaks V3, V4 and V5; the other names are there to compare with."""

    V1 = 1
    V2 = 2
    V3 = 3
    V4 = 4
    V5 = 5
    V6 = 6
    DSE_V1 = 0x41
    DSE_V2 = 0x42

    SUPPORTED_VERSIONS = (V5, V4, V3)
    BETA_VERSIONS: tuple[int, ...] = ()
    MIN_SUPPORTED = V3
    MAX_SUPPORTED = V5

    @classmethod
    def get_lower_supported(cls, previous_version: int) -> int:
        """The highest version below `previous_version` that the driver speaks; 0 if there is none."""
        return next((version for version in cls.SUPPORTED_VERSIONS if version < previous_version), 0)

    @staticmethod
    def uses_int_query_flags(version: int) -> bool:
        """Whether the flags of QUERY, EXECUTE and BATCH are an [int] instead of a byte."""
        return version >= ProtocolVersion.V5

    @staticmethod
    def uses_prepare_flags(version: int) -> bool:
        """Whether PREPARE has flags."""
        return version >= ProtocolVersion.V5

    @staticmethod
    def uses_prepared_metadata(version: int) -> bool:
        """Whether prepared results and EXECUTE carry an id of the result metadata."""
        return version >= ProtocolVersion.V5

    @staticmethod
    def uses_error_code_map(version: int) -> bool:
        """Whether failure errors carry a map of reasons instead of a count."""
        return version >= ProtocolVersion.V5

    @staticmethod
    def uses_keyspace_flag(version: int) -> bool:
        """Whether a request may name its keyspace."""
        return version >= ProtocolVersion.V5

    @staticmethod
    def has_continuous_paging_support(version: int) -> bool:
        """False: continuous paging is of DSE's own versions."""
        return version >= ProtocolVersion.DSE_V1

    @staticmethod
    def has_continuous_paging_next_pages(version: int) -> bool:
        """False: see has_continuous_paging_support."""
        return version >= ProtocolVersion.DSE_V2

    @staticmethod
    def has_checksumming_support(version: int) -> bool:
        """Whether frames travel in segments with checksums once the connection is ready."""
        return ProtocolVersion.V5 <= version < ProtocolVersion.DSE_V1


class WriteType:
    """What kind of write timed out or failed; section 9, Write_timeout."""

    SIMPLE = 0
    BATCH = 1
    UNLOGGED_BATCH = 2
    COUNTER = 3
    BATCH_LOG = 4
    CAS = 5
    VIEW = 6
    CDC = 7

    value_to_name: dict[int, str] = dict(enumerate(WRITE_TYPE_NAMES))
    name_to_value: dict[str, int] = {name: value for value, name in enumerate(WRITE_TYPE_NAMES)}


class BatchType(Enum):
    """Section 4.1.7. LOGGED: applied whole or not at all, in time; UNLOGGED: no such promise; COUNTER: counters."""

    LOGGED = 0
    UNLOGGED = 1
    COUNTER = 2

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"BatchType.{self.name}"


class SchemaChangeType:
    """What happened to a part of the schema."""

    DROPPED = "DROPPED"
    CREATED = "CREATED"
    UPDATED = "UPDATED"


class SchemaTargetType:
    """The part of the schema that it happened to."""

    KEYSPACE = "KEYSPACE"
    TABLE = "TABLE"
    TYPE = "TYPE"
    FUNCTION = "FUNCTION"
    AGGREGATE = "AGGREGATE"


class SignatureDescriptor:
    """A function or an aggregate: its `name` and `argument_types`, a list of CQL type names."""

    def __init__(self, name: str, argument_types: Sequence[str]) -> None:
        self.name = name
        self.argument_types = argument_types

    @property
    def signature(self) -> str:
        """'name(type,type)': tells overloads of one keyspace apart."""
        return self.format_signature(self.name, self.argument_types)

    @staticmethod
    def format_signature(name: str, argument_types: Sequence[str]) -> str:
        """'name(type,type)' of the two."""
        return f"{name}({','.join(argument_types)})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.argument_types})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.signature == other.signature

    def __hash__(self) -> int:
        return hash(self.signature)


class UserFunctionDescriptor(SignatureDescriptor):
    """A user defined function."""


class UserAggregateDescriptor(SignatureDescriptor):
    """A user defined aggregate."""
