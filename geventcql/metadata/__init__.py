"""Metadata of the cluster: hosts, tokens, replication, schema, names; under the names of `cassandra.metadata`.

Layer: model.
"""

from typing import TYPE_CHECKING

from geventcql.handed_on import handing_on
from geventcql.metadata.cluster import Metadata
from geventcql.metadata.functions import Aggregate, Function, UserType
from geventcql.metadata.grouping import NO_VALID_REPLICA, group_keys_by_replica
from geventcql.metadata.keyspaces import KeyspaceMetadata
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
from geventcql.metadata.tables import (
    ColumnMetadata,
    IndexMetadata,
    MaterializedViewMetadata,
    RegisteredTableExtension,
    TableExtensionInterface,
    TableMetadata,
    TableMetadataV3,
    TriggerMetadata,
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
    "NO_VALID_REPLICA",
    "Aggregate",
    "BytesToken",
    "ColumnMetadata",
    "EverywhereStrategy",
    "Function",
    "HashToken",
    "IndexMetadata",
    "KeyspaceMetadata",
    "LocalStrategy",
    "MD5Token",
    "MaterializedViewMetadata",
    "Metadata",
    "Murmur3Token",
    "NetworkTopologyStrategy",
    "RegisteredTableExtension",
    "ReplicationFactor",
    "ReplicationStrategy",
    "SimpleStrategy",
    "TableExtensionInterface",
    "TableMetadata",
    "TableMetadataV3",
    "Token",
    "TokenMap",
    "TriggerMetadata",
    "UserType",
    "cql_keywords",
    "cql_keywords_reserved",
    "cql_keywords_unreserved",
    "escape_name",
    "group_keys_by_replica",
    "is_valid_name",
    "maybe_escape_name",
    "protect_name",
    "protect_names",
    "protect_value",
]

if not TYPE_CHECKING:
    __getattr__ = handing_on(__name__)
