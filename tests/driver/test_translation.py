"""Addresses of discovered nodes: as an application's translator gives them, and as Amazon's names do."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from geventcql.cluster import Cluster
from geventcql.net.transport import Resolver
from geventcql.policies import AddressTranslator, EC2MultiRegionTranslator
from tests.driver.support import pooled
from tests.support.fakecluster import FakeCluster


@pytest.fixture
def nodes() -> Iterator[FakeCluster]:
    with FakeCluster(3) as started:
        yield started


def connected(nodes: FakeCluster, translator: AddressTranslator, resolver: Resolver | None = None) -> set[str]:
    """Where the connections lead to."""
    with Cluster([nodes[0].host], port=nodes.port, address_translator=translator) as cluster:
        if resolver is not None:
            cluster.resolver = resolver
        session = cluster.connect(wait_for_all_pools=True)
        return {connection.endpoint.address for connection in pooled(session)}


def test_an_applications_translator(nodes: FakeCluster) -> None:
    told: list[str] = []

    class Gateway(AddressTranslator):
        """As applications write them for cassandra-driver."""

        def translate(self, addr: str) -> str:
            told.append(addr)
            return str(addr).replace("10.9.", "127.0.")

    for node in nodes:
        node.system.local.rpc_address = node.host.replace("127.0.", "10.9.")
    assert connected(nodes, Gateway()) == set(nodes.addresses)
    assert set(told) >= {str(node.system.local.rpc_address) for node in nodes.nodes[1:]}


class Amazon(Resolver):
    """Knows the public addresses of all nodes, and the private one of each."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def name(self, address: str) -> str:
        self.asked.append(address)
        return "ec2-" + address

    def addresses(self, name: str) -> list[str]:
        if not name.startswith("ec2-54."):
            raise OSError(f"no such name: {name}")
        return [name.replace("ec2-54.0.", "127.0.")]


def test_public_addresses_become_private_ones(nodes: FakeCluster) -> None:
    amazon = Amazon()
    for node in nodes:
        node.system.local.rpc_address = node.host.replace("127.0.", "54.0.")
    assert connected(nodes, EC2MultiRegionTranslator(), amazon) == set(nodes.addresses)
    assert set(amazon.asked) >= {str(node.system.local.rpc_address) for node in nodes.nodes[1:]}


@pytest.mark.logs("WARNING The name of the node at")
def test_an_address_whose_name_is_not_known_stays(nodes: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "geventcql.policies.translation"):
        assert connected(nodes, EC2MultiRegionTranslator(), Amazon()) == set(nodes.addresses)
    assert f"ec2-{nodes[1].host}" in caplog.text


def test_the_clusters_own_resolver() -> None:
    resolver = Resolver()
    assert resolver.addresses("127.0.0.1") == ["127.0.0.1"]
    assert resolver.name("127.0.0.1") and resolver.name("203.0.113.7.") == "203.0.113.7."  # no address: as it is
    assert "127.0.0.1" in resolver.addresses("localhost")
    with pytest.raises(OSError):
        resolver.addresses("nothing.invalid")
