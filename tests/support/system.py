"""The system tables as a fake node shows them: system.local, system.peers, system.peers_v2, system_schema.*.

Test support; imports nothing of geventcql. Column names and types as in Cassandra 4 and 5.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .replies import Error, ErrorCode, Reply, Rows

_SHARED = {
    "data_center": "text",
    "host_id": "uuid",
    "rack": "text",
    "release_version": "text",
    "schema_version": "uuid",
    "tokens": "set<text>",
}
LOCAL_COLUMNS = _SHARED | {
    "key": "text",
    "bootstrapped": "text",
    "broadcast_address": "inet",
    "broadcast_port": "int",
    "cluster_name": "text",
    "cql_version": "text",
    "listen_address": "inet",
    "listen_port": "int",
    "native_protocol_version": "text",
    "partitioner": "text",
    "rpc_address": "inet",
    "rpc_port": "int",
}
PEERS_COLUMNS = _SHARED | {"peer": "inet", "preferred_ip": "inet", "rpc_address": "inet"}
PEERS_V2_COLUMNS = _SHARED | {
    "peer": "inet",
    "peer_port": "int",
    "native_address": "inet",
    "native_port": "int",
    "preferred_ip": "inet",
    "preferred_port": "int",
}
_SCHEMA_COLUMNS = {
    "keyspaces": {"keyspace_name": "text", "durable_writes": "boolean", "replication": "map<text, text>"},
}
_SELECT = re.compile(
    r"select\s+(?P<columns>.+?)\s+from\s+(?P<table>system\w*\.\w+)(?:\s+where\s+(?P<where>.+?))?"
    r"(?:\s+allow\s+filtering)?\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_PEER = re.compile(r"\bpeer\s*=\s*'([^']+)'", re.IGNORECASE)
_KEYSPACE = re.compile(r"\bkeyspace_name\s*=\s*'([^']+)'", re.IGNORECASE)


_SCHEMA_VERSION = uuid.UUID("11111111-2222-3333-4444-555555555555")


@dataclass
class NodeInfo:
    """What a node says about itself and others say about it."""

    address: str
    port: int
    host_id: uuid.UUID
    data_center: str = "dc1"
    rack: str = "rack1"
    release_version: str = "5.0.6"
    tokens: Sequence[str] = ("0",)
    cluster_name: str = "fake"
    schema_version: uuid.UUID = _SCHEMA_VERSION
    rpc_address: str | None = None
    """The address for clients when it differs from `address` (broadcast_rpc_address)."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Columns of this node's row in whatever table shows it, replacing the above (None: null)."""

    def row(self, table: str, protocol: int) -> dict[str, Any]:
        """This node's row in 'local', 'peers' or 'peers_v2'."""
        rpc = self.rpc_address or self.address
        row: dict[str, Any] = {name: getattr(self, name) for name in _SHARED}
        if table == "local":
            row |= {
                "key": "local",
                "bootstrapped": "COMPLETED",
                "broadcast_address": self.address,
                "broadcast_port": 7000,
                "cluster_name": self.cluster_name,
                "cql_version": "3.4.7",
                "listen_address": self.address,
                "listen_port": 7000,
                "native_protocol_version": str(protocol),
                "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
                "rpc_address": rpc,
                "rpc_port": self.port,
            }
        elif table == "peers":
            row |= {"peer": self.address, "preferred_ip": None, "rpc_address": rpc}
        else:
            row |= {"peer": self.address, "peer_port": 7000, "native_address": rpc, "native_port": self.port}
            row |= {"preferred_ip": None, "preferred_port": None}
        return row | {name: value for name, value in self.overrides.items() if name in row}


class SystemTables:
    """Answers queries of system tables.

    `local`: this node. `peers`: the others. `keyspaces`: name to replication, for system_schema.keyspaces.
    `with_peers_v2`: False makes system.peers_v2 an unknown table, as it is before Cassandra 4.
    """

    def __init__(self, local: NodeInfo) -> None:
        self.local = local
        self.peers: list[NodeInfo] = []
        self.keyspaces: dict[str, Mapping[str, str]] = {}
        self.with_peers_v2 = True

    def answer(self, text: str, protocol: int) -> Reply | None:
        """The reply to a SELECT from a system table, or None if the text is something else."""
        match = _SELECT.match(text.strip())
        if match is None:
            return None
        keyspace, _, table = match["table"].lower().partition(".")
        where = match["where"] or ""
        if keyspace == "system":
            if table == "local":
                return _select(match, LOCAL_COLUMNS, [self.local.row(table, protocol)])
            if table == "peers" or (table == "peers_v2" and self.with_peers_v2):
                wanted = _PEER.search(where)
                peers = [peer for peer in self.peers if wanted is None or peer.address == wanted[1]]
                columns = PEERS_COLUMNS if table == "peers" else PEERS_V2_COLUMNS
                return _select(match, columns, [peer.row(table, protocol) for peer in peers])
            return Error(ErrorCode.INVALID, f"table {table} does not exist")
        rows: list[dict[str, Any]] = []
        if (keyspace, table) == ("system_schema", "keyspaces"):
            wanted = _KEYSPACE.search(where)
            rows = [
                {"keyspace_name": name, "durable_writes": True, "replication": replication}
                for name, replication in self.keyspaces.items()
                if wanted is None or wanted[1] == name
            ]
        return _select(match, _SCHEMA_COLUMNS.get(table, {"keyspace_name": "text"}), rows)


def _select(match: re.Match[str], columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Reply:
    names = list(columns)
    if match["columns"].strip() != "*":
        names = [name.strip().lower() for name in match["columns"].split(",")]
    keyspace, _, table = match["table"].lower().partition(".")
    unknown = [name for name in names if name not in columns]
    if unknown and keyspace == "system":
        return Error(ErrorCode.INVALID, f"Undefined column name {unknown[0]} in table {keyspace}.{table}")
    specs = [(name, columns.get(name, "text")) for name in names]
    return Rows(specs, [[row[name] for name in names] for row in rows], keyspace=keyspace, table=table)
