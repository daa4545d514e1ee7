"""What befalls a cluster, its connections and its clients in the soak: drawn at random, from a seed. Test support."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence

import gevent

from geventcql.testing import CassandraCluster
from tests.integration.faults import restart_noting_when_it_listens
from tests.integration.relays import Relays
from tests.support.frameproxy import Action, black_hole, cut, delay, drop, duplicate, forge, reorder
from tests.support.replies import Error, ErrorCode
from tests.support.requests import Request
from tests.support.wire import Opcode

DEAD_FOR = 3.0
SILENT_FOR = 8.0
WORK = (Opcode.QUERY, Opcode.PREPARE, Opcode.EXECUTE, Opcode.BATCH)


def _unprepared(request: Request) -> Error:
    return Error(ErrorCode.UNPREPARED, id=request.id)


TOO_FEW = {"consistency": 4, "required": 2, "alive": 1}
MISHAPS: dict[str, tuple[str, Callable[[], Action], int, Sequence[Opcode]]] = {
    "request lost": ("requests", lambda: drop, 3, WORK),
    "answer lost": ("responses", lambda: drop, 3, WORK),
    "request late": ("requests", lambda: delay(1.0), 50, WORK),
    "answer late": ("responses", lambda: delay(0.5), 50, WORK),
    "other order": ("responses", lambda: reorder(4), 40, WORK),
    "overloaded": ("requests", lambda: forge(Error(ErrorCode.OVERLOADED)), 20, WORK),
    "unavailable": ("requests", lambda: forge(Error(ErrorCode.UNAVAILABLE, **TOO_FEW)), 20, WORK),
    "read timeout": ("requests", lambda: forge(Error(ErrorCode.READ_TIMEOUT)), 10, WORK),
    "server error": ("requests", lambda: forge(Error(ErrorCode.SERVER_ERROR)), 10, WORK),
    "server error for an answer": ("responses", lambda: forge(Error(ErrorCode.SERVER_ERROR)), 5, WORK),
    "forgotten": ("requests", lambda: forge(_unprepared), 20, (Opcode.EXECUTE,)),
    "answer twice": ("responses", duplicate, 1, WORK),
    "cut in a request": ("requests", cut, 1, WORK),
    "cut in an answer, FIN": ("responses", cut, 1, WORK),
    "cut in an answer, RST": ("responses", lambda: cut(rst=True), 1, WORK),
    "black hole": ("requests", lambda: black_hole, 1, WORK),
}
"""What is looked at, what becomes of how many of them. Nothing that has a node do twice what it was asked once."""


class Mishaps:
    """Greenlets that make one mishap after the other; a context manager that ends them and mends what they did.

    Attribute: `made`, how many of each kind.
    """

    def __init__(
        self,
        servers: CassandraCluster,
        proxies: Relays,
        replace_worker: Callable[[int], None],
        all_well: Callable[[], bool],
        seed: int,
    ) -> None:
        self.made: Counter[str] = Counter()
        self._servers = servers
        self._proxies = list(proxies)
        self._replace_worker = replace_worker
        self._all_well = all_well
        self._seed = seed
        self._greenlets: list[gevent.Greenlet] = []

    def __enter__(self) -> Mishaps:
        self._greenlets = [gevent.spawn(self._nodes), gevent.spawn(self._workers)]
        self._greenlets += [gevent.spawn(self._frames, n) for n in range(len(self._proxies))]
        return self

    def __exit__(self, *exc: object) -> None:
        gevent.killall(self._greenlets)
        for node in self._servers:
            node.resume()
        self._servers.start()
        self._servers.settle()
        for proxy in self._proxies:
            proxy.request_rules.clear()
            proxy.response_rules.clear()
        for greenlet in self._greenlets:
            greenlet.get()

    def _nodes(self) -> None:
        """One node at a time is killed and started, or falls silent; the next when all are in full use again."""
        drawn = random.Random(f"{self._seed}:nodes")
        for number in itertools.count():
            gevent.sleep(3 * drawn.random())
            while not self._all_well():
                gevent.sleep(0.2)
            node = drawn.choice(self._servers.nodes)
            if number == 0 or (number > 1 and drawn.random() < 0.5):  # each of the two at the beginning
                node.kill()
                self.made["node killed"] += 1
                gevent.sleep(DEAD_FOR)
                starting, _ = restart_noting_when_it_listens(self._servers, node.address)
                starting.get()
            else:
                node.pause()
                self.made["node silent"] += 1
                gevent.sleep(SILENT_FOR * drawn.random())
                node.resume()
                self._servers.settle()

    def _frames(self, n: int) -> None:
        """For a while something becomes of some messages of one node, then nothing for a while."""
        drawn = random.Random(f"{self._seed}:frames:{n}")
        proxy = self._proxies[n]
        while True:
            gevent.sleep(drawn.random())
            name = drawn.choice(list(MISHAPS))
            way, make, times, opcodes = MISHAPS[name]
            share = drawn.random()

            def concerned(request: Request, opcodes: Sequence[Opcode] = opcodes, share: float = share) -> bool:
                return request.opcode in opcodes and drawn.random() < share

            rule = getattr(proxy, way)(concerned, make(), times=times)
            gevent.sleep(drawn.random())
            rule.remove()
            self.made[name] += rule.hits

    def _workers(self) -> None:
        """Workers are killed, wherever they are, and others go on with what they had."""
        drawn = random.Random(f"{self._seed}:workers")
        while True:
            gevent.sleep(0.4 * drawn.random())
            self._replace_worker(drawn.getrandbits(32))
            self.made["worker killed"] += 1

