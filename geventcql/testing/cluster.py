"""Clusters of real Cassandra nodes on neighbouring loopback addresses.

Layer: testing. Runs in the calling greenlet and waits with ``gevent.sleep``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import gevent
from gevent import socket

from geventcql.auth import PlainTextAuthProvider
from geventcql.testing.certificates import Certificates, make_certificates
from geventcql.testing.node import STORAGE_PORT, CassandraNode, Settings, StartError
from geventcql.testing.processes import Guard, wait_for

TOKENS_PER_NODE = 16
"""Enough for an even ring, few enough for a test to look at."""


class CassandraCluster:
    """Real Cassandra nodes that form one cluster. A context manager that starts and closes it.

    `nodes`: how many, or how many in each data centre, as in ``{"dc1": 2, "dc2": 1}``. `racks`: the nodes of a data
    centre are dealt out to rack1 ... rackN. `base` and `first`: the nodes get the addresses `base` + `first`,
    `first` + 1, ...; without `base` a free subnet of 127.0.0.0/8 is chosen. `tls`: True makes certificates for nodes
    and clients (attribute `certificates`). Further arguments are the fields of :class:`geventcql.testing.Settings`.

    Attributes: `nodes` (list of CassandraNode; indexing and iterating the cluster works too), `contact_points`, `port`,
    `certificates`.
    """

    def __init__(
        self,
        nodes: int | Mapping[str, int] = 1,
        *,
        racks: int = 1,
        base: str | None = None,
        first: int = 1,
        tls: bool = False,
        **settings: Any,
    ) -> None:
        centres = {"datacenter1": nodes} if isinstance(nodes, int) else dict(nodes)
        places = [
            (name, f"rack{index % racks + 1}") for name, count in centres.items() for index in range(count)
        ]
        if not places:
            raise ValueError("a cluster has at least one node")
        self._settings = settings
        self._base = _free_subnet(Settings(**settings).port) if base is None else base
        self._first = first
        self._guard = Guard("geventcql-cassandra-")
        self._has_role = False
        self.certificates: Certificates | None = None
        if tls:
            # A few more addresses than nodes, for nodes that are added later.
            names = [self._address(index) for index in range(len(places) + 4)]
            self.certificates = make_certificates(self._guard.directory, names)
            self._settings = {**settings, "tls": self.certificates}
        seeds = [self._address(index) for index in range(len(places))]
        self.nodes = [
            self._node(index, seeds, _even_tokens(index, len(places)), datacenter, rack)
            for index, (datacenter, rack) in enumerate(places)
        ]

    def __repr__(self) -> str:
        return f"<CassandraCluster {self.nodes!r}>"

    def __enter__(self) -> CassandraCluster:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, index: int) -> CassandraNode:
        return self.nodes[index]

    def __iter__(self) -> Iterator[CassandraNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def contact_points(self) -> list[str]:
        """The addresses of all nodes."""
        return [node.address for node in self.nodes]

    @property
    def port(self) -> int:
        """The port for CQL clients, the same on all nodes."""
        return self.nodes[0].port

    def driver_options(self) -> dict[str, Any]:
        """The further arguments that ``geventcql.Cluster`` needs to get in: its `ssl_context` and `auth_provider`."""
        options: dict[str, Any] = {}
        if self.certificates is not None:
            options["ssl_context"] = self.certificates.ssl_context()
        if self.nodes[0].settings.auth:
            options["auth_provider"] = PlainTextAuthProvider("cassandra", "cassandra")
        return options

    def start(self) -> None:
        """Start the nodes that do not run, side by side, and wait until each takes clients and sees the others up.

        Raises StartError, with the node's own last words, if one does not come up.
        """
        started = [node for node in self.nodes if not node.running]
        for node in started:
            node.begin_start()
        for node in started:
            node.finish_start()
        self._await_members(started)
        if self.nodes[0].settings.auth and not self._has_role:
            self._await_role()

    def settle(self) -> None:
        """Wait until all nodes that run see each other up, as after one was paused.

        Raises StartError if that does not come about.
        """
        self._await_members([node for node in self.nodes if node.running])

    def stop(self) -> None:
        """Stop all nodes in good order; their data stays for the next :meth:`start`."""
        gevent.joinall([gevent.spawn(node.stop) for node in self.nodes], raise_error=True)

    def close(self) -> None:
        """Kill all nodes and remove their directories. May be called again."""
        for node in self.nodes:
            node.kill()
        self._guard.close()

    def add_node(self, datacenter: str | None = None, rack: str = "rack1") -> CassandraNode:
        """Start a further node, which takes its share of the data over from the others, and return it.

        `datacenter`: by default that of the first node.
        """
        seeds = [node.address for node in self.nodes]
        node = self._node(len(self.nodes), seeds, [], datacenter or self.nodes[0].datacenter, rack)
        node.start()
        self.nodes.append(node)
        self._await_members([node])
        return node

    def _node(
        self, index: int, seeds: list[str], tokens: list[int], datacenter: str, rack: str
    ) -> CassandraNode:
        return CassandraNode(
            self._address(index),
            seeds=seeds,
            tokens=tokens,
            datacenter=datacenter,
            rack=rack,
            guard=self._guard,
            **self._settings,
        )

    def _address(self, index: int) -> str:
        return f"{self._base}{self._first + index}"

    def _await_members(self, started: list[CassandraNode]) -> None:
        """Wait until the nodes that were `started` see all running nodes up, and are seen by them.

        Raises StartError, at once if a node that is waited for has ended.
        """
        members = [node for node in self.nodes if node.running or node in started]
        pairs = [(node, other) for node in members for other in members if node is not other]
        missing = [(node, other) for node, other in pairs if node in started or other in started]

        def decided() -> bool:
            missing[:] = [(node, other) for node, other in missing if not node.sees_up(other.address)]
            return not missing or not all(node.running for pair in missing for node in pair)

        wait_for(decided, self.nodes[0].settings.start_timeout, interval=0.1)
        if missing:
            told = ", ".join(f"{node.address} does not see {other.address}" for node, other in missing)
            involved = [node for node in members if any(node in pair for pair in missing)]
            raise StartError(f"the nodes do not form a cluster: {told}\n{_last_words(involved)}")

    def _await_role(self) -> None:
        """Wait until one of the nodes, whichever comes first, has made the role ``cassandra``."""

        def decided() -> bool:
            self._has_role = any(node.made_role() for node in self.nodes)
            return self._has_role or not all(node.running for node in self.nodes)

        wait_for(decided, self.nodes[0].settings.start_timeout, interval=0.1)
        if not self._has_role:
            raise StartError(f"no node made the role cassandra\n{_last_words(self.nodes)}")


def _last_words(nodes: list[CassandraNode]) -> str:
    return "\n".join(f"{node!r}\n{node.last_words()}" for node in nodes)


def _even_tokens(index: int, nodes: int) -> list[int]:
    """The tokens of node `index` when all tokens of the ring are evenly spaced and dealt out in turn.

    With tokens given, nodes need not start one after the other.
    """
    step = 2**64 // (nodes * TOKENS_PER_NODE)
    return [-(2**63) + 1 + (turn * nodes + index) * step for turn in range(TOKENS_PER_NODE)]


def _free_subnet(port: int) -> str:
    """The start of loopback addresses, as in "127.77.13.", on which no other test run works.

    Chosen at random, so that runs which start at the same moment do not choose the same.
    """
    for _ in range(20):
        base = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}."
        if all(_bindable(f"{base}1", number) for number in (port, STORAGE_PORT)):
            return base
    raise OSError("no free addresses in 127.0.0.0/8: are they local on this machine?")


def _bindable(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
