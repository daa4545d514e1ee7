"""The hash of Cassandra's Murmur3Partitioner, under the name of `cassandra.murmur3` (layer: facade; re-exports only)."""

from geventcql.cython.codecs import murmur3_token as murmur3

__all__ = ["murmur3"]
