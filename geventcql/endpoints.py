"""Kinds of end points that cassandra-driver has and that are not there yet: making one says so.

Layer: model. The names are there so that an application's imports and ``isinstance`` go on working.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geventcql.host import EndPoint, EndPointFactory

__all__ = ["NO_SNI", "NO_UNIX_SOCKETS", "SniEndPoint", "SniEndPointFactory", "UnixSocketEndPoint"]

NO_SNI = (
    "nodes behind a proxy that is told by SNI which one is meant, as in Astra (cloud=), are not supported yet: connect to the "
    "nodes themselves, or through a proxy with an address for each of them and an address_translator"
)
NO_UNIX_SOCKETS = "unix sockets are not supported yet: connect over TCP"


class SniEndPoint(EndPoint):
    """A node behind an SNI proxy (`cassandra.connection.SniEndPoint`); not there yet: raises NotImplementedError."""

    def __init__(self, proxy_address: str, server_name: str, port: int = 9042, init_index: int = 0) -> None:
        raise NotImplementedError(NO_SNI)


class SniEndPointFactory(EndPointFactory):
    """Makes SniEndPoints (`cassandra.connection.SniEndPointFactory`); not there yet: raises NotImplementedError."""

    def __init__(self, proxy_address: str, port: int) -> None:
        raise NotImplementedError(NO_SNI)

    def create_from_sni(self, sni: str) -> SniEndPoint:
        """The end point of a server name."""
        raise NotImplementedError(NO_SNI)

    def create(self, row: Mapping[str, Any]) -> EndPoint:
        """The end point for a row."""
        raise NotImplementedError(NO_SNI)


class UnixSocketEndPoint(EndPoint):
    """A node's unix socket (`cassandra.connection.UnixSocketEndPoint`); not there yet: raises NotImplementedError."""

    def __init__(self, unix_socket_path: str) -> None:
        raise NotImplementedError(NO_UNIX_SOCKETS)
