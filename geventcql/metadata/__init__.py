"""Metadata of the cluster: hosts, tokens, replication, names; under the names of `cassandra.metadata`.

Layer: model.
"""

from geventcql.metadata.cluster import KeyspaceMetadata, Metadata
from geventcql.metadata.names import (
    cql_keywords,
    cql_keywords_reserved,
    cql_keywords_unreserved,
    escape_name,
    is_valid_name,
    maybe_escape_name,
    protect_name,
    protect_names,
    protect_value,
)
from geventcql.metadata.replication import (
    EverywhereStrategy,
    LocalStrategy,
    NetworkTopologyStrategy,
    ReplicationFactor,
    ReplicationStrategy,
    SimpleStrategy,
)
from geventcql.metadata.tokens import (
    MAX_LONG,
    MIN_LONG,
    BytesToken,
    HashToken,
    MD5Token,
    Murmur3Token,
    Token,
    TokenMap,
)

__all__ = [
    "MAX_LONG",
    "MIN_LONG",
    "BytesToken",
    "EverywhereStrategy",
    "HashToken",
    "KeyspaceMetadata",
    "LocalStrategy",
    "MD5Token",
    "Metadata",
    "Murmur3Token",
    "NetworkTopologyStrategy",
    "ReplicationFactor",
    "ReplicationStrategy",
    "SimpleStrategy",
    "Token",
    "TokenMap",
    "cql_keywords",
    "cql_keywords_reserved",
    "cql_keywords_unreserved",
    "escape_name",
    "is_valid_name",
    "maybe_escape_name",
    "protect_name",
    "protect_names",
    "protect_value",
]
