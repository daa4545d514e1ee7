"""Refuses `cassandra.cqlengine` and what is in it with the reason (layer: facade)."""

raise ImportError(
    "geventcql.cqlengine is not there: the object mapper is not part of geventcql. Execute statements with "
    "geventcql.cluster.Session, or stay with cassandra-driver, whose Session the mapper needs, for models",
    name=__name__,
)
