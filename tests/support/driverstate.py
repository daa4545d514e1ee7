"""The driver's state, watched from within: connections when they end, before their books are closed, futures when they are
told, what must not switch while it runs, and what must be gone once it has been shut down.

Test support; imports nothing of geventcql: it watches the classes that a test has imported. Used by the invariant checker.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import greenlet

__all__ = ["DriverState"]


class DriverState:
    """What the driver does, seen by the methods that its objects begin and end with."""

    def __init__(self) -> None:
        self.connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self.clusters: weakref.WeakSet[Any] = weakref.WeakSet()
        self.ending: weakref.WeakSet[Any] = weakref.WeakSet()
        """All that is to be gone once it has been shut down, or closed."""
        self.pending: dict[int, weakref.ref[Any]] = {}
        """The requests whose futures have not been told, by the id of the future, which they hold."""
        self.wrong: list[str] = []
        self._watched: set[type[Any]] = set()

    def watch(self) -> None:
        """Watch the classes that have been imported by now."""
        for module, name, watch in (
            ("geventcql.net.connection", "Connection", self._watch_connections),
            ("geventcql.net.pool", "HostPool", self._watch_ending),
            ("geventcql.session", "Session", self._watch_ending),
            ("geventcql.cluster", "Cluster", lambda kind: self._watch_ending(kind, self.clusters)),
            ("geventcql.execution", "Execution", self._watch_requests),
            ("geventcql.response", "ResponseFuture", self._watch_futures),
        ):
            kind = getattr(sys.modules.get(module), name, None)
            if kind is not None and kind not in self._watched:
                self._watched.add(kind)
                watch(kind)

    def _watch_connections(self, kind: Any) -> None:
        end = kind._end

        def _end(connection: Any, cause: Any) -> None:
            if not connection.closed:
                self.wrong += self._books(connection)
            end(connection, cause)

        kind._end = _end
        for name in ("_deliver", "_on_deadline", "_end"):
            setattr(kind, name, self._switchless(getattr(kind, name)))
        self._watch_ending(kind, self.connections)

    def _watch_ending(self, kind: Any, *others: weakref.WeakSet[Any]) -> None:
        """Have each that is made in `ending`, and in others."""
        begin = kind.__init__

        @functools.wraps(begin)
        def __init__(item: Any, *args: Any, **kwargs: Any) -> None:
            begin(item, *args, **kwargs)
            for made in (self.ending, *others):
                made.add(item)

        kind.__init__ = __init__

    def _switchless(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Targets are told in these; while they are, nothing may switch."""

        @functools.wraps(method)
        def watched(*args: Any) -> Any:
            before = greenlet.gettrace()

            def switched(event: str, greenlets: Any) -> None:
                greenlet.settrace(before)
                stack = "".join(traceback.format_stack(greenlets[0].gr_frame)[-4:])
                self.wrong.append(f"a switch in {method.__qualname__}:\n{stack}".rstrip())

            greenlet.settrace(switched)
            try:
                return method(*args)
            finally:
                greenlet.settrace(before)

        return watched

    def _watch_requests(self, kind: Any) -> None:
        begin = kind.start

        def start(request: Any, sink: Any) -> None:
            key = id(sink)
            self.pending[key] = weakref.ref(request, lambda ref: self._dropped(key, ref))
            begin(request, sink)

        kind.start = start
        self._watch_futures(sys.modules[kind.__module__].Fetch)

    def _watch_futures(self, kind: Any) -> None:
        interrupted: set[tuple[int, int]] = set()  # of whom it is not known how far he came

        def told(tell: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
            def end(future: Any, outcome: Any) -> None:
                key = id(future), id(outcome)
                if future.ready() and key not in interrupted:
                    self.wrong.append(f"a future was ended again, by {outcome!r}")
                interrupted.discard(key)
                self.pending.pop(id(future), None)
                try:
                    tell(future, outcome)
                except BaseException:
                    interrupted.add(key)
                    raise

            return end

        kind.finish, kind.fail = told(kind.finish), told(kind.fail)

    def _dropped(self, key: int, ref: weakref.ref[Any]) -> None:
        if self.pending.get(key) is ref:
            del self.pending[key]
            self.wrong.append("a request was dropped before its future was told")

    @staticmethod
    def _books(connection: Any) -> list[str]:
        """What is wrong with an open connection's stream ids and with what waits on them."""
        problems = []
        try:
            connection.check_invariants()
        except AssertionError as e:
            problems.append(f"connection state: {connection!r}: {e}")
        for target in connection.table.waiting():
            if getattr(target, "done", False) is True or getattr(target, "ready", bool)():
                problems.append(f"in flight though it has ended: {target!r} on {connection!r}")
        return problems

    @staticmethod
    def _hosts(cluster: Any) -> list[str]:
        """What is wrong with the hosts of a Cluster: each has a connection, or one is about to be opened."""
        registry = getattr(cluster, "_registry", None)
        if registry is None:
            return []
        try:
            registry.check_invariants()
        except AssertionError as e:
            return [f"hosts of {cluster!r}: {e}"]
        return []

    def _left(self) -> list[str]:
        """What has ended and is still there, by what holds it; the collector is asked only if anything is."""
        if any(map(_has_ended, self.ending)):
            gc.collect()
        left = [item for item in self.ending if _has_ended(item)]
        return [f"still there: {item!r}, held by {_holders(item, left)}" for item in left]

    def problems(self) -> list[str]:
        """What is wrong now, and what was since :meth:`forget`."""
        problems = list(self.wrong)
        all_shut_down = all(cluster.is_shutdown for cluster in self.clusters)
        pending = [request for ref in list(self.pending.values()) if (request := ref()) is not None]
        for connection in list(self.connections):
            problems += self._books(connection)
            if all_shut_down and not connection.closed:
                problems.append(f"connection open while every cluster is shut down: {connection!r}")
            if connection.in_flight and not pending and not connection.closed:
                problems.append(f"in flight, and nobody waits: {connection.table.waiting()!r} on {connection!r}")
        problems += [problem for cluster in self.clusters for problem in self._hosts(cluster)]
        if all_shut_down:
            problems += [f"future never told: that of {request!r}" for request in pending]
            problems += self._left()
        return problems

    def forget(self) -> None:
        """What was wrong has been told, or is allowed."""
        self.wrong.clear()
        for item in [item for item in self.ending if _has_ended(item)]:
            self.ending.discard(item)
        if all(cluster.is_shutdown for cluster in self.clusters):
            self.pending.clear()


def _has_ended(item: Any) -> bool:
    """A Cluster, Session or pool that is shut down, or a connection that is closed."""
    ended: bool = item.closed if hasattr(item, "closed") else item.is_shutdown
    return ended


def _holders(item: Any, beside: list[Any]) -> list[str]:
    """The types of what refers to it."""
    referrers = gc.get_referrers(item)
    return sorted({type(holder).__name__ for holder in referrers if holder is not beside and not inspect.isframe(holder)})
