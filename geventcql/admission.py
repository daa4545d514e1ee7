"""Requests that wait for room (layer: driver): a Session's bounded queue, without a greenlet for any of them.

Requests that wait for the same hosts form a queue; a freed stream id or a drained socket admits whoever has waited longest
for its pool, among the heads of the queues, so that one mute host holds up nobody who waits for another. Runs in readers,
in the hub and in callers; nothing in here switches or runs user code.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

from geventcql.errors import Busy
from geventcql.net.pool import HostPool
from geventcql.net.scheduler import MAX_TURN_ENDED, Scheduler, Timer

__all__ = ["Admission", "Deadlines", "admit"]

NEVER = float("inf")
# So many requests that ended while they waited, or that wait no more, are kept before the queues, or the deadlines, are looked
# through for them.
FORGET_FLOOR = 64

Hosts = frozenset[HostPool]
Entry = tuple[int, Any, list[HostPool]]
"""The number of its arrival, the request, and the pools it may use, best first."""

arrivals = itertools.count(1)
"""Of all Sessions: room goes to whoever has waited longest, whatever Session he waits in."""


class Deadlines:
    """The deadlines of requests that wait in a queue, on one timer.

    :param cancelled: called for each request that its deadline ends, with what ends it
    """

    def __init__(self, scheduler: Scheduler, cancelled: Callable[[Callable[[], None]], None]) -> None:
        self._scheduler = scheduler
        self._cancelled = cancelled
        self._heap: list[tuple[float, int, Any]] = []
        """(deadline, number of the arrival, request); requests that wait no more stay in it for a while."""
        self._timer: Timer | None = None
        self._armed = NEVER

    def __len__(self) -> int:
        return len(self._heap)

    def keep(self, number: int, execution: Any, waiting: int) -> None:
        """End ``execution`` at its deadline, if it still waits under the ``number`` of its arrival.

        :param waiting: how many others wait
        """
        if len(self._heap) > 2 * waiting + FORGET_FLOOR:
            self._heap = [entry for entry in self._heap if entry[2].waiting == entry[1] and not entry[2].done]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (execution.deadline, number, execution))
        if execution.deadline < self._armed:
            self._arm(execution.deadline)

    def clear(self) -> None:
        """Nobody waits any more."""
        self._heap.clear()
        self._armed = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self._scheduler.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._armed = NEVER
        now = monotonic()
        for _ in range(MAX_TURN_ENDED):
            if not self._heap or self._heap[0][0] > now:
                break
            _, number, execution = heapq.heappop(self._heap)
            if execution.waiting == number and not execution.done:
                self._cancelled(execution.expire)
        if self._heap:
            self._arm(self._heap[0][0])


def admit(waiting: set[Admission], pool: HostPool) -> None:
    """Send the requests that have waited longest for ``pool``, as far as there is room.

    :param waiting: those of a Cluster's Admissions that have any
    """
    heads = [head for admission in waiting for head in admission._heads(pool)]
    heapq.heapify(heads)
    while heads:
        _, admission, hosts = heads[0]
        number = admission._serve(hosts)
        if number is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (number, admission, hosts))


class Admission:
    """The waiting requests of one Session.

    :param limit: how many may wait; one more is refused
    :param waiting: it is in this set of the Cluster's while requests wait, which keeps it and its Session alive
    """

    waits_for = "a connection with room"

    def __init__(self, scheduler: Scheduler, limit: int, waiting: set[Admission]) -> None:
        self.limit = limit
        self._waiting = waiting
        self._queues: dict[Hosts, deque[Entry]] = {}
        self._of_pool: dict[HostPool, set[Hosts]] = {}
        """The keys of the queues in which requests wait for a pool: there may be a queue for each of a thousand hosts."""
        self._entries = 0
        """Requests in all queues."""
        self._ended = 0
        """Requests in the queues that have ended."""
        self._deadlines = Deadlines(scheduler, self.cancelled)

    def __len__(self) -> int:
        return self._entries - self._ended

    def wait(self, execution: Any, pools: list[HostPool]) -> None:
        """Let a request wait until one of ``pools`` has room, or its deadline comes.

        :raises Busy: too many are waiting already
        """
        waiting = len(self)
        if waiting >= self.limit:
            raise Busy(waiting, sum(pool.in_flight for pool in pools))
        self._waiting.add(self)
        number = next(arrivals)
        execution.begin_waiting(self, number)
        self._queue_of(frozenset(pools)).append((number, execution, pools))
        self._entries += 1
        if execution.deadline < NEVER:
            self._deadlines.keep(number, execution, waiting)

    def _queue_of(self, hosts: Hosts) -> deque[Entry]:
        queue = self._queues.get(hosts)
        if queue is None:
            queue = self._queues[hosts] = deque()
            for pool in hosts:
                self._of_pool.setdefault(pool, set()).add(hosts)
        return queue

    def _take(self, hosts: Hosts) -> deque[Entry]:
        """A queue that is not to be one any more."""
        queue = self._queues.pop(hosts)
        for pool in hosts:
            keys = self._of_pool[pool]
            keys.remove(hosts)
            if not keys:
                del self._of_pool[pool]
        self._entries -= len(queue)
        return queue

    def _heads(self, pool: HostPool) -> Iterator[tuple[int, Admission, Hosts]]:
        """The queues in which requests wait for ``pool``, by the number of who has waited longest."""
        return ((self._queues[hosts][0][0], self, hosts) for hosts in self._of_pool.get(pool, ()))

    def _serve(self, hosts: Hosts) -> int | None:
        """Send the first of a queue: the number of the next one; None if there is no room, or nobody left."""
        queue = self._queues.get(hosts)
        if queue is None:  # all in it have ended with one of another queue
            return None
        entry = queue.popleft()  # first: its end may be that of others in here, who are then taken out
        self._entries -= 1
        if not self._admit(*entry):
            queue.appendleft(entry)
            self._entries += 1
            return None
        if queue:
            return queue[0][0]
        if hosts in self._queues:
            self._take(hosts)
        self._left()
        return None

    def _admit(self, number: int, execution: Any, pools: list[HostPool]) -> bool:
        """Send a request that waited; False if there is still no room for it."""
        if execution.done:
            self._ended -= 1
            return True
        if execution.deadline <= monotonic():  # the timer is late
            execution.expire()
            return True
        try:
            if any(execution.try_pool(pool) for pool in pools):  # not on a silent connection: not sent is a better end
                execution.end_waiting()
                return True
        except Exception as error:  # it cannot be sent at all: its own error, not the connection's
            execution._fail(error)
            return True
        return False

    def cancelled(self, end: Callable[[], None] | None = None) -> None:
        """A request was ended while it waited.

        :param end: ends it, if that is still to be done; its end may be that of others that wait
        """
        self._ended += 1
        if end is not None:
            end()
        waiting = len(self)
        if not waiting or self._ended > max(FORGET_FLOOR, waiting):
            for hosts, queue in list(self._queues.items()):
                living = [entry for entry in queue if not entry[1].done]
                self._entries -= len(queue) - len(living)
                queue.clear()  # the same queue: it may be the one that is being served
                queue.extend(living)
                if not queue:
                    self._take(hosts)
            self._ended = 0
            self._left()

    def give_up(self) -> None:
        """A host could not be reached: whoever waits for such hosts only is told so."""
        hopeless = [hosts for hosts in self._queues if not any(pool.connections or pool.opening for pool in hosts)]
        for _, execution, pools in self._taken([self._take(hosts) for hosts in hopeless]):
            if not execution.done:
                execution.unreachable(pools)
        self._left()

    def _taken(self, queues: Iterable[deque[Entry]]) -> list[Entry]:
        """What waits in queues that have been taken away, and waits no more: the end of one may be that of others, too."""
        entries = [entry for queue in queues for entry in queue]
        for _, execution, _ in entries:
            if execution.done:
                self._ended -= 1
            execution.end_waiting()
        return [entry for entry in entries if not entry[1].done]

    def _left(self) -> None:
        """Where nobody waits any more, nothing keeps the Session."""
        if self._queues:
            return
        self._waiting.discard(self)
        self._deadlines.clear()

    def fail_all(self, error_for: Any) -> None:
        """The Session ends: ``error_for(execution)`` gives each request's error."""
        queues = [self._take(hosts) for hosts in list(self._queues)]
        self._left()
        for _, execution, _ in self._taken(queues):
            execution._fail(error_for(execution))
