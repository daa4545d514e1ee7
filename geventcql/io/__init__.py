"""cassandra-driver's package of event loops (layer: facade). Here there is one: gevent's."""
