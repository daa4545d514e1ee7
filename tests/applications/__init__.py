"""Applications as they are written for cassandra-driver: tests run them on either driver."""
