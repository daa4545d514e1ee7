"""A real node starts, stops, freezes, and says why it cannot."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gevent import socket

from geventcql.testing import CassandraCluster, CassandraNode, StartError
from geventcql.testing.processes import wait_for

pytestmark = pytest.mark.integration

OPTIONS = bytes.fromhex("04000000" "05" "00000000")
SUPPORTED = 6


@pytest.fixture(scope="module")
def node() -> Iterator[CassandraNode]:
    with CassandraCluster() as cluster:
        yield cluster[0]


def _answer(connection: socket.socket) -> int:
    """The opcode with which a node answers OPTIONS of protocol version 4."""
    connection.sendall(OPTIONS)
    return connection.recv(4096)[4]


def _connect(node: CassandraNode, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection((node.address, node.port), timeout)


def test_it_answers_and_shows_its_state(node: CassandraNode) -> None:
    with _connect(node) as connection:
        assert _answer(connection) == SUPPORTED
    assert node.is_listening()
    assert node.contact_points == [node.address]
    assert repr(node) == f"<CassandraNode {node.address}:9042 datacenter1/rack1 running pid={node.pid}>"


def test_paused_it_is_mute_and_resumed_it_answers_what_came_meanwhile(node: CassandraNode) -> None:
    with _connect(node, timeout=0.5) as connection:
        node.pause()
        assert "paused" in repr(node)
        with pytest.raises(TimeoutError):
            _answer(connection)
        node.resume()
        connection.settimeout(10)
        assert connection.recv(4096)[4] == SUPPORTED


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_it_starts_again_with_its_data(node: CassandraNode, end: str) -> None:
    host_id = _host_id(node)
    if end == "kill":
        node.pause()  # a stopped process dies too
    getattr(node, end)()
    assert not node.running
    assert not node.is_listening()
    node.start()
    assert node.is_listening()
    assert _host_id(node) == host_id


def _host_id(node: CassandraNode) -> str:
    text = node.nodetool("info")
    return next(line.split()[-1] for line in text.splitlines() if line.startswith("ID "))


def test_a_failing_nodetool_is_quoted(node: CassandraNode) -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        node.nodetool("nonsense")


def test_a_taken_port_is_named(node: CassandraNode) -> None:
    with pytest.raises(StartError, match=f"{node.address}:9042 is already taken"):
        CassandraNode(node.address).start()


def test_a_start_that_fails_shows_the_nodes_own_words() -> None:
    cluster = CassandraCluster(yaml={"no_such_option": 1})
    try:
        with pytest.raises(StartError, match=r"ended with status 3(.|\n)*Please remove properties \[no_such_option\]"):
            cluster.start()
        assert not cluster[0].running
    finally:
        cluster.close()


def test_a_start_that_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(StartError, match=r"was not ready after 0\.5 s"), CassandraCluster(start_timeout=0.5):
        pytest.fail("it cannot be ready")
    assert time.monotonic() - started < 10


class RecordingGuard:
    """Keeps the ids of the processes that it would kill."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.pids: set[int] = set()
        self.add = self.pids.add
        self.discard = self.pids.discard


def test_the_id_of_a_process_that_ended_by_itself_is_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CassandraNode, "_command", lambda node, jars: ["sleep", "60"])
    guard: Any = RecordingGuard(tmp_path)
    node = CassandraNode("127.0.0.77", guard=guard)
    try:
        node.begin_start()
        assert node.pid is not None
        os.kill(node.pid, signal.SIGKILL)
        assert wait_for(lambda: not node.running, timeout=10)
        node.begin_start()
        assert guard.pids == {node.pid}
    finally:
        node.kill()
    assert guard.pids == set()


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="heap_size"):
        CassandraNode("127.0.0.1", heap_size="1g")


def test_nothing_is_left_of_a_closed_node() -> None:
    node = CassandraNode("127.0.0.1")
    directory = node.directory
    node.close()
    node.close()
    assert not os.path.exists(directory)


def test_signals_need_a_running_node() -> None:
    with pytest.raises(RuntimeError, match="does not run"):
        CassandraNode("127.0.0.1").pause()
