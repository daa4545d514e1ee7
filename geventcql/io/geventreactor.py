"""cassandra-driver's module of the gevent event loop (layer: facade; re-exports only)."""

from geventcql.net.connection import Connection as GeventConnection

__all__ = ["GeventConnection"]
