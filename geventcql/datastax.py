"""Refuses `cassandra.datastax` and what is in it with the reason (layer: facade)."""

raise ImportError(
    "geventcql.datastax is not there: what is particular to DataStax Enterprise and Astra (graph, insights, cloud bundles) is "
    "not supported",
    name=__name__,
)
