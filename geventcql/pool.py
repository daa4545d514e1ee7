"""cassandra-driver's names around hosts and pools (layer: facade; re-exports only)."""

from typing import TYPE_CHECKING

from geventcql.errors import NoConnectionsAvailable
from geventcql.handed_on import handing_on
from geventcql.host import Host
from geventcql.net.pool import HostPool

__all__ = ["Host", "HostPool", "NoConnectionsAvailable"]

if not TYPE_CHECKING:
    __getattr__ = handing_on(__name__)
