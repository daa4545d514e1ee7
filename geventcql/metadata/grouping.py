"""Keys by the host that holds them, for applications that send each host its own batch.

Layer: model. Runs in the application's greenlet.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from geventcql.cython.codecs import CqlType, UserType, parse_cql_type
from geventcql.metadata.cqltext import type_names
from geventcql.metadata.keyspaces import KeyspaceMetadata
from geventcql.policies.load_balancing import HostDistance
from geventcql.statement import packed_key

__all__ = ["NO_VALID_REPLICA", "group_keys_by_replica"]

NO_VALID_REPLICA = object()
"""The group of keys of which no replica is known that is up."""


def group_keys_by_replica(
    session: Any, keyspace: str, table: str, keys: Iterable[Sequence[Any]]
) -> dict[Any, list[Sequence[Any]]]:
    """Partition keys by a host that holds each (`cassandra.metadata.group_keys_by_replica`).

    Parameters:
        session: a Session; its Cluster's default policy says which hosts are local.
        keyspace, table: names.
        keys: partition keys, each a sequence of the values of its columns.

    The group of a key is one of its replicas that are up, by chance, a local one if there is one, or
    NO_VALID_REPLICA. Reads the description of the table if that has not been read, and waits for it. KeyError: there is
    no such keyspace or table.
    """
    cluster = session.cluster
    described: KeyspaceMetadata = cluster.metadata.keyspaces[keyspace]
    kinds = [_codec(described, column.cql_type) for column in described.tables[table].partition_key]
    distance = cluster.load_balancing_policy.distance
    groups: dict[Any, list[Sequence[Any]]] = defaultdict(list)
    for key in keys:
        serialized = packed_key([kind.encode(value) or b"" for kind, value in zip(kinds, key, strict=True)])
        up = [host for host in cluster.metadata.get_replicas(keyspace, serialized) if host.is_up]
        local = [host for host in up if distance(host) == HostDistance.LOCAL]
        groups[random.choice(local or up) if up else NO_VALID_REPLICA].append(key)
    return dict(groups)


def _codec(keyspace: KeyspaceMetadata, cql_type: str) -> CqlType:
    user_types: dict[str, CqlType] = {}
    if "frozen" in cql_type:  # only then may a key be of a user type
        for name in type_names(cql_type):
            described = keyspace.user_types.get(name)
            if described is not None:
                fields = tuple(_codec(keyspace, kind) for kind in described.field_types)
                user_types[name] = UserType(fields, keyspace.name, name, tuple(described.field_names))
    return parse_cql_type(cql_type, user_types)
