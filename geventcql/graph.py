"""Refuses the names of `cassandra.graph` with the reason (layer: facade)."""

from geventcql.unsupported import refusing

__getattr__ = refusing(
    __name__,
    "DataStax Enterprise's graph is not supported: execute CQL, or stay with cassandra-driver for it",
)
