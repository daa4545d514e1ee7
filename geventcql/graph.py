"""Refuses `cassandra.graph` and what is in it with the reason (layer: facade)."""

raise ImportError(
    "geventcql.graph is not there: DataStax Enterprise's graph is not supported. Execute CQL, or stay with cassandra-driver "
    "for it",
    name=__name__,
)
