"""A real Cassandra for tests: single nodes and small clusters on loopback addresses, without Docker.

Layer: testing (beside the driver; nothing in the driver imports it). Runs in the greenlet that calls it: it waits with
``gevent.sleep``, so other greenlets go on, whether or not the process is monkey-patched.

>>> from geventcql.testing import CassandraCluster
>>> with CassandraCluster(3) as cassandra:          # doctest: +SKIP
...     session = geventcql.connect(cassandra.contact_points, port=cassandra.port)

The server's jars (about 66 MB) come through Maven once and are kept in the user's cache directory. Needs Linux or
another POSIX system on which all of 127.0.0.0/8 is local, Java 11 or 17, and Maven for the first use.
The fixtures for pytest stand in :mod:`geventcql.testing.plugin`.
"""

from geventcql.testing.addresses import AddressError, parse_address
from geventcql.testing.certificates import Certificates, make_certificates
from geventcql.testing.cluster import CassandraCluster
from geventcql.testing.jars import CASSANDRA_VERSION, MissingTool, cassandra_jars, find_java
from geventcql.testing.node import CassandraNode, Settings, StartError

__all__ = [
    "CASSANDRA_VERSION",
    "AddressError",
    "CassandraCluster",
    "CassandraNode",
    "Certificates",
    "MissingTool",
    "Settings",
    "StartError",
    "cassandra_jars",
    "find_java",
    "make_certificates",
    "parse_address",
]
