"""A shop on Cassandra: Flask views over prepared statements, batches, user types, paging, profiles and listeners."""
