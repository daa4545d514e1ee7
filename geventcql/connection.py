"""cassandra-driver's names around connections (layer: facade; re-exports only)."""

from typing import TYPE_CHECKING

from geventcql.endpoints import SniEndPoint, SniEndPointFactory, UnixSocketEndPoint
from geventcql.errors import (
    ConnectionBusy,
    ConnectionException,
    ConnectionShutdown,
    CrcMismatchException,
    ProtocolError,
    ProtocolVersionUnsupported,
)
from geventcql.handed_on import handing_on
from geventcql.host import DefaultEndPoint, DefaultEndPointFactory, EndPoint, EndPointFactory
from geventcql.net.connection import Connection

__all__ = [
    "Connection",
    "ConnectionBusy",
    "ConnectionException",
    "ConnectionShutdown",
    "CrcMismatchException",
    "DefaultEndPoint",
    "DefaultEndPointFactory",
    "EndPoint",
    "EndPointFactory",
    "ProtocolError",
    "ProtocolVersionUnsupported",
    "SniEndPoint",
    "SniEndPointFactory",
    "UnixSocketEndPoint",
]

if not TYPE_CHECKING:
    __getattr__ = handing_on(__name__)
