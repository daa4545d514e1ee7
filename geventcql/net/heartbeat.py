"""Liveness of connections (layer: net): one periodic pass of the scheduler over all connections of a Cluster.

An idle connection is asked for OPTIONS every ``interval`` seconds. One with requests in flight from which nothing has come
for :data:`SUSPECT_AFTER` is asked at once; still silent :data:`SUSPECT_AFTER` later it is *suspect* (the pool avoids it), and
it is closed when ``timeout`` has passed since the question. Before each judgement the socket is looked at: bytes that wait
there mean that this process was busy, not that the peer is dead; and when the hub was busy right after asking, the peer's
time begins behind that, since the question may have left only then. Runs in the hub; nothing blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from geventcql.cython.wire import Frame, Page
from geventcql.errors import ConnectionException, ConnectionShutdown
from geventcql.net.connection import Connection
from geventcql.net.scheduler import Scheduler, Timer
from geventcql.protocol import requests
from geventcql.protocol.constants import Opcode

__all__ = ["Heartbeat"]

SUSPECT_AFTER = 1.0
TICK = 0.5


class _Probe:
    """One OPTIONS in flight; its target. The rounds judge it; its own deadline only ends it where none does."""

    __slots__ = ("asked", "left", "stream")

    def __init__(self) -> None:
        self.asked = monotonic()
        self.left = False
        """Whether a round has come since."""
        self.stream = -1

    def on_page(self, page: Page) -> None:
        """Never: OPTIONS is not answered with rows; any answer would show life all the same."""

    def on_frame(self, frame: Frame, connection: Connection) -> None:
        connection.probe = None

    def on_timeout(self, connection: Connection) -> None:
        connection.probe = None

    def on_lost(self, connection: Connection, cause: BaseException) -> None:
        connection.probe = None


class Heartbeat:
    """Watches the connections that ``connections()`` lists.

    :param interval: seconds an idle connection may be silent before it is asked; 0 or None switches all of this off
    :param timeout: seconds it may take to answer
    :param on_suspect: called with a connection that has become suspect; must not switch
    """

    def __init__(
        self,
        scheduler: Scheduler,
        connections: Callable[[], Iterable[Connection]],
        interval: float | None,
        timeout: float,
        on_suspect: Callable[[Connection], Any] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._connections = connections
        self._interval = interval or 0.0
        self._timeout = timeout
        self._period = min(TICK, self._interval / 2)
        self._on_suspect = on_suspect
        self._timer: Timer | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin; harmless when running or switched off."""
        if self._interval > 0 and self._timer is None:
            self._schedule()

    def stop(self) -> None:
        """End; probes in flight end with their connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self.stop()  # a beat that was cut short has its successor already
        self._due = monotonic() + self._period
        self._timer = self._scheduler.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = monotonic()
        late = now - self._due
        self._schedule()  # first: what listeners do, stop() included, comes behind it
        for connection in list(self._connections()):
            if connection.closed:
                continue
            probe = connection.probe
            if probe is None:
                waiting = connection.table.in_flight > 0
                if now - connection.last_received >= (min(SUSPECT_AFTER, self._interval) if waiting else self._interval):
                    self.ask(connection)
                continue
            if not probe.left:
                probe.left = True
                if late > self._period:
                    probe.asked = now
            self._judge(connection, probe, now - probe.asked)

    def ask(self, connection: Connection) -> None:
        """Ask a connection for a sign of life now, unless that is under way; does not wait."""
        if connection.closed or connection.probe is not None or connection.drain_socket():
            return
        probe = _Probe()
        try:
            probe.stream = connection.start_call(probe, Opcode.OPTIONS, requests.options(), 2 * self._timeout + TICK)
        except ConnectionShutdown:
            return  # every stream id is taken
        connection.probe = probe

    def _judge(self, connection: Connection, probe: _Probe, waited: float) -> None:
        if connection.last_received >= probe.asked or connection.drain_socket():
            if waited >= self._timeout:  # slow, not dead: to be asked again
                connection.orphan(probe.stream, probe)
                connection.probe = None
        elif waited >= self._timeout:
            connection.defunct(
                ConnectionException(
                    f"{connection.endpoint} has been silent for {monotonic() - connection.last_received:.1f} s "
                    "and did not answer a heartbeat",
                    connection.endpoint,
                )
            )
        elif waited >= SUSPECT_AFTER and not connection.suspect:
            connection.suspect = True
            if self._on_suspect is not None:
                self._on_suspect(connection)
