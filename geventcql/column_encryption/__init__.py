"""cassandra-driver's package of column encryption policies (layer: facade)."""
