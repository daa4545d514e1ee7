"""cassandra-driver's names around hosts and pools (layer: facade; re-exports only)."""

from geventcql.errors import NoConnectionsAvailable
from geventcql.host import Host
from geventcql.net.pool import HostPool

__all__ = ["Host", "HostPool", "NoConnectionsAvailable"]
