"""Many requests at once that need a decision (layer: driver): those of a connection that was lost, or has fallen silent.

Each decision has a greenlet of its own, since it asks policies, which may wait; so many greenlets are begun in a turn of the
hub, so that everybody else has his turn between them. Runs in readers and in the hub; nothing in here switches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from geventcql.execution import Execution
from geventcql.net.connection import Connection
from geventcql.net.scheduler import Scheduler, Timer

if TYPE_CHECKING:
    from geventcql.net.pool import HostPool

__all__ = ["MAX_TURN_BEGUN", "Decisions", "leave"]

MAX_TURN_BEGUN = 128
"""Decisions begun in one turn of the hub: about 3 ms."""

Decision = tuple[Execution, Callable[..., object], tuple[Any, ...]]


class Decisions:
    """The cold paths of a Cluster's requests that are to begin.

    :param spawn: starts a greenlet of the Cluster's
    """

    def __init__(self, scheduler: Scheduler, spawn: Callable[..., Any]) -> None:
        self._scheduler = scheduler
        self._spawn = spawn
        self._queue: deque[Decision] = deque()
        self._begun = 0
        """In this turn."""
        self._timer: Timer | None = None
        """The next turn."""
        self._ended = False

    def __len__(self) -> int:
        """Decisions that have not begun."""
        return len(self._queue)

    def add(self, execution: Execution, work: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Begin ``work(*args)`` in a greenlet of the request's own, in this turn if it can be."""
        if self._ended:
            execution.given_up()
            return
        if self._begun < MAX_TURN_BEGUN and not self._queue:
            self._begin(execution, work, args)
        else:
            self._queue.append((execution, work, args))
        if self._timer is None:
            self._timer = self._scheduler.call_later(0, self._turn)

    def end(self) -> None:
        """The Cluster is shut down: what has not begun will not, and its requests are told so."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        while self._queue:
            self._queue.popleft()[0].given_up()

    def _turn(self) -> None:
        self._timer = None
        self._begun = 0
        while self._queue and self._begun < MAX_TURN_BEGUN:
            self._begin(*self._queue.popleft())
        if self._begun:
            self._timer = self._scheduler.call_later(0, self._turn)

    def _begin(self, execution: Execution, work: Callable[..., object], args: tuple[Any, ...]) -> None:
        if execution.done:
            execution.leave_cold_path()
            return
        self._begun += 1
        self._spawn(execution.decide, work, args).rawlink(execution.decided)


def leave(connection: Connection, pools: Iterable[HostPool]) -> None:
    """A connection has fallen silent: its requests go elsewhere if they may; in the hub.

    :param pools: of the Cluster
    """
    others: dict[str | None, list[Any]] = {}
    for pool in pools:
        if (best := pool.pick()) is not None and not best.suspect:
            others.setdefault(pool.keyspace, []).append(pool.host)
    for target in connection.table.waiting():
        if isinstance(target, Execution):
            target.on_suspect(connection, others)
