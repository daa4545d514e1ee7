"""The fake cluster and the servers that are no Cassandra."""

from __future__ import annotations

import gevent
import pytest
from gevent import socket

from tests.support.badserver import BadServer, Behaviour
from tests.support.fakecluster import FakeCluster
from tests.support.fakenode import Opcode
from tests.support.rawclient import RawClient


def test_nodes_know_each_other_and_share_a_port() -> None:
    with FakeCluster(3) as cluster:
        assert len({node.port for node in cluster}) == 1 and len(set(cluster.addresses)) == 3
        assert len({node.system.local.host_id for node in cluster}) == 3
        for node in cluster:
            assert {peer.address for peer in node.system.peers} == set(cluster.addresses) - {node.host}
        tokens = sorted(int(node.system.local.tokens[0]) for node in cluster)
        assert tokens[0] == -(1 << 63) and tokens[1] - tokens[0] == (1 << 64) // 3


def test_members_come_move_and_leave() -> None:
    with FakeCluster(2) as cluster:
        cluster.on("q", opcode=Opcode.QUERY)
        new = cluster.add()
        assert len(new.system.peers) == 2 and len(cluster[0].system.peers) == 2 and new.rules
        old_host, host_id = cluster[0].host, cluster[0].system.local.host_id
        moved = cluster.move(cluster[0])
        assert moved != old_host and cluster[0].system.local.host_id == host_id
        assert moved in {peer.address for peer in new.system.peers}
        with RawClient((moved, cluster.port)) as client:
            assert client.start().opcode == Opcode.READY
        with pytest.raises(ConnectionRefusedError):
            RawClient((old_host, cluster.port))
        cluster.remove(new)
        assert len(cluster) == 2 and len(cluster[0].system.peers) == 1


def test_a_cluster_raises_what_a_node_saw() -> None:
    with pytest.raises(AssertionError, match="violated"), FakeCluster(2) as cluster:
        cluster[1].violation("made up")


def _talk(server: BadServer) -> bytes:
    with gevent.Timeout(2):
        sock = socket.create_connection((server.host, server.port), 2)
        try:
            sock.sendall(bytes.fromhex("040000000500000000"))
            received = b""
            while data := gevent.with_timeout(0.2, sock.recv, 65536, timeout_value=b""):
                received += data
            return received
        finally:
            sock.close()


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("http", b"HTTP/1.1 400"),
        ("silent", b""),
        ("huge_frame", bytes.fromhex("84000000067fffffff")),
        ("closes_on_request", b""),
    ],
)
def test_bad_servers(behaviour: Behaviour, expected: bytes) -> None:
    with BadServer(behaviour) as server:
        received = _talk(server)
        assert received.startswith(expected) and bool(received) == bool(expected)
        assert server.accepted == 1


def test_garbage_is_reproducible() -> None:
    with BadServer("garbage", seed=3) as one, BadServer("garbage", seed=3) as two:
        assert _talk(one) == _talk(two) != b""


def test_one_that_closes_at_once() -> None:
    with BadServer("closes") as server:
        sock = socket.create_connection((server.host, server.port), 2)
        assert gevent.with_timeout(2, sock.recv, 1) == b""
        sock.close()


def test_one_that_cannot_be_reached() -> None:
    with BadServer("unreachable") as server, pytest.raises(socket.timeout):
        for _ in range(3):
            socket.create_connection((server.host, server.port), 0.2).close()
