"""Refuses the names of `cassandra.datastax` with the reason (layer: facade)."""

from geventcql.unsupported import refusing

__getattr__ = refusing(
    __name__,
    "what is particular to DataStax Enterprise and Astra (graph, insights, cloud bundles) is not supported",
)
