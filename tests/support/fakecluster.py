"""Several fake nodes that know each other as peers, on addresses of 127.0.0.0/8 and one port.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import gevent

from .fakenode import FakeNode
from .replies import PushedEvent
from .requests import Request
from .rules import Rule
from .system import NodeInfo

T = TypeVar("T")

_nets = itertools.count(os.getpid())


class FakeCluster:
    """`size` nodes in one data centre, or a mapping of data centre to number of nodes.

    `options`: arguments of every FakeNode. Each node has one token, evenly spread. Nodes are stopped and started one by
    one with their own `stop()` and `start()`. Attributes: `nodes` (members, running or not), `port`.
    """

    def __init__(self, size: int | Mapping[str, int] = 3, **options: Any) -> None:
        self._options = options
        self._net = next(_nets) % 250 + 1
        self._octets = itertools.count(1)
        self.port = 0
        self.nodes: list[FakeNode] = []
        self._left: list[FakeNode] = []
        centres = {"dc1": size} if isinstance(size, int) else size
        names = [centre for centre, count in centres.items() for _ in range(count)]
        for index, centre in enumerate(names):
            token = -(1 << 63) + index * (1 << 64) // len(names)
            self.nodes.append(self._make(centre, str(token)))

    def __repr__(self) -> str:
        return f"<FakeCluster {self.nodes}>"

    def __enter__(self) -> FakeCluster:
        self.start()
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        self.stop()
        if exc is None:
            for node in self.nodes + self._left:
                node.check()

    def __getitem__(self, index: int) -> FakeNode:
        return self.nodes[index]

    def __iter__(self) -> Iterator[FakeNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def addresses(self) -> list[str]:
        """The members' addresses, for contact points."""
        return [node.host for node in self.nodes]

    @property
    def requests(self) -> list[Request]:
        """The requests of all members, node by node."""
        return [request for node in self.nodes for request in node.requests]

    @property
    def queries(self) -> list[Request]:
        """FakeNode.queries of all members, node by node."""
        return [request for node in self.nodes for request in node.queries]

    def start(self) -> None:
        """Start all nodes on one port that is free on all their addresses."""
        for attempt in itertools.count(1):
            try:
                for node in self.nodes:
                    node.port = self.port
                    node.start()
                    self.port = node.port
            except OSError as e:
                self.stop()
                if e.errno != errno.EADDRINUSE or attempt == 20:
                    raise
                self.port = 0
            else:
                self._introduce()
                return

    def stop(self) -> None:
        """Stop all nodes, also those that have left."""
        for node in self.nodes + self._left:
            node.stop()

    def on(self, *args: Any, **kwargs: Any) -> list[Rule]:
        """FakeNode.on of every member; one Rule for each."""
        return [node.on(*args, **kwargs) for node in self.nodes]

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """FakeNode.prepare of every member."""
        for node in self.nodes:
            node.prepare(*args, **kwargs)

    def push(self, event: PushedEvent) -> int:
        """Send an event to all connections that registered for it; their number."""
        return sum(node.push(event) for node in self.nodes)

    def add(self, data_center: str = "dc1", tokens: Sequence[str] | None = None) -> FakeNode:
        """A new member, started, with the rules and statements of the first; no event is pushed."""
        node = self._make(data_center, str(len(self.nodes)))
        if tokens is not None:
            node.system.local.tokens = tokens
        if self.nodes:
            node.rules = list(self.nodes[0].rules)
            node.statements.declared = dict(self.nodes[0].statements.declared)
        node.port = self.port
        node.start()
        self.nodes.append(node)
        self._introduce()
        return node

    def remove(self, node: FakeNode) -> None:
        """A member leaves: it stops and the others forget it; no event is pushed."""
        node.stop()
        self.nodes.remove(node)
        self._left.append(node)
        self._introduce()

    def move(self, node: FakeNode) -> str:
        """A member restarts on a new address, keeping its host id, as pods do; the new address."""
        node.stop()
        node.host = node.system.local.address = self._next_address()
        node.start()
        return node.host

    def wait_for(self, predicate: Callable[[FakeCluster], T], timeout: float = 5.0) -> T:
        """Wait until predicate(cluster) is true and return its value; AssertionError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not (value := predicate(self)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen within {timeout} s by {self!r}")
            gevent.sleep(0.002)
        return value

    def _make(self, data_center: str, token: str) -> FakeNode:
        address = self._next_address()
        info = NodeInfo(address, self.port, uuid.uuid4(), data_center=data_center, tokens=(token,))
        return FakeNode(address, self.port, info=info, **self._options)

    def _next_address(self) -> str:
        return f"127.0.{self._net}.{next(self._octets)}"

    def _introduce(self) -> None:
        for node in self.nodes:
            node.system.peers = [other.system.local for other in self.nodes if other is not node]
