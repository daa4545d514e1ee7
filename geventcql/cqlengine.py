"""Refuses the names of `cassandra.cqlengine` with the reason (layer: facade)."""

from geventcql.unsupported import refusing

__getattr__ = refusing(
    __name__,
    "the object mapper is not part of geventcql; execute statements with geventcql.cluster.Session",
)
