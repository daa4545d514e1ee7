"""Real clusters: data centres, authentication, TLS. The reference driver looks at them from a process of its own."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from geventcql.testing import CassandraCluster, CassandraNode, StartError
from tests.support.children import run

pytestmark = pytest.mark.integration

LOOK = """
import json, ssl, sys
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
options = json.loads(sys.argv[1])
context = None
if options["ca"]:
    context = ssl.create_default_context(cafile=options["ca"])
    if options["certificate"]:
        context.load_cert_chain(*options["certificate"])
provider = PlainTextAuthProvider("cassandra", options["password"]) if options["password"] else None
access = {"ssl_context": context, "auth_provider": provider}
cluster = Cluster(options["hosts"], port=options["port"], protocol_version=4, **access)
try:
    cluster.connect()
    print(json.dumps(sorted([host.address, host.datacenter, host.rack] for host in cluster.metadata.all_hosts())))
except Exception as error:
    print(json.dumps(str(error)))
finally:
    cluster.shutdown()
"""


def _look(cluster: CassandraCluster, password: str = "", ca: str = "", certificate: tuple[str, ...] = ()) -> Any:
    """The hosts that the reference driver sees, or the text of its error."""
    options = {"hosts": cluster.contact_points, "port": cluster.port, "password": password, "ca": ca}
    command = [sys.executable, "-W", "ignore", "-c", LOOK, json.dumps({**options, "certificate": certificate})]
    return json.loads(run(command)[0])


def test_authentication_and_tls_with_a_demanded_certificate() -> None:
    with CassandraCluster(port=9142, auth=True, tls=True, client_auth=True) as cluster:
        assert cluster.certificates is not None
        ca = cluster.certificates.ca_file
        pair = (cluster.certificates.client_certificate, cluster.certificates.client_key)
        hosts = [[cluster[0].address, "datacenter1", "rack1"]]
        assert _look(cluster, "cassandra", ca, pair) == hosts
        assert "Bad credentials" in _look(cluster, "wrong", ca, pair)
        assert "SSL" in _look(cluster, "cassandra", ca) or "EOF" in _look(cluster, "cassandra", ca)
        assert "Unable to connect" in _look(cluster, "cassandra")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_data_centres_racks_restart_and_a_further_node() -> None:
    with CassandraCluster({"dc1": 2, "dc2": 1}, racks=2, heap="384m", auth=True) as cluster:
        hosts = [
            [cluster[0].address, "dc1", "rack1"],
            [cluster[1].address, "dc1", "rack2"],
            [cluster[2].address, "dc2", "rack1"],
        ]
        assert [node.address for node in cluster] == cluster.contact_points
        assert _look(cluster, "cassandra") == hosts
        cluster.stop()
        assert not any(node.is_listening() for node in cluster)
        cluster.start()
        assert _look(cluster, "cassandra") == hosts
        added = cluster.add_node("dc2", "rack9")
        assert _look(cluster, "cassandra") == [*hosts, [added.address, "dc2", "rack9"]]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes shell scripts of the nodes: each says that it listens, then does what the script says (seeds are in $@)."""

    def use(script: str) -> None:
        def command(node: CassandraNode, _jars: object) -> list[str]:
            listening = "echo 'INFO  [main] Starting listening for CQL clients' >>system.log"
            return ["sh", "-c", f"{listening}; {script}", node.address, *node._seeds]

        monkeypatch.setattr(CassandraNode, "_command", command)
        monkeypatch.setattr(CassandraNode, "is_listening", lambda node: True)

    return use


SEE_ALL = 'for seed; do echo "INFO  [main] /$seed:7000 is now UP, /$seed:7000 state NORMAL" >>system.log; done; '


def test_nodes_that_do_not_see_each_other_are_quoted(scripted: Callable[[str], None]) -> None:
    scripted('echo "INFO  [main] $0 is lonely" >>system.log; exec sleep 60')
    with pytest.raises(StartError) as caught, CassandraCluster(2, start_timeout=1):
        pytest.fail("it is no cluster")
    first, second = re.findall(r"(\S+) does not see", str(caught.value))
    assert f"{first} is lonely" in str(caught.value) and f"{second} is lonely" in str(caught.value)


@pytest.mark.parametrize(
    ("script", "auth", "reason"),
    [
        ("", False, "the nodes do not form a cluster"),
        (SEE_ALL, True, "no node made the role cassandra"),
    ],
)
def test_a_node_that_ends_while_the_cluster_forms_is_not_waited_for(
    scripted: Callable[[str], None], script: str, auth: bool, reason: str
) -> None:
    last = 'case $0 in *2) sleep 1; echo "it broke";; *) exec sleep 60;; esac'
    scripted(script + last)
    started = time.monotonic()
    with pytest.raises(StartError) as caught, CassandraCluster(2, auth=auth, start_timeout=50):
        pytest.fail("it is no cluster")
    assert time.monotonic() - started < 25
    assert reason in str(caught.value)
    assert "rack1 stopped>" in str(caught.value) and "it broke" in str(caught.value)


def test_a_cluster_has_nodes() -> None:
    with pytest.raises(ValueError, match="at least one"):
        CassandraCluster({})
