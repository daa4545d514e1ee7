"""What servers tell unasked (layer: driver): events of topology, status and schema, and when to act on them.

An event is a hint that something is to be looked at; what it says is not relied on. Nodes send the same event to all their
clients, and many events when they start: each client waits for a random part of a window, and acts once for all that came.
Events arrive in the reader; the control connection's greenlet handles them.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

import gevent

from geventcql import reconnecting
from geventcql.host import Host
from geventcql.protocol.responses import Event

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.control import ControlConnection

__all__ = ["Events"]

log = logging.getLogger(__name__)

MOST_WAITING = 1000
"""Events that are kept until the control greenlet comes to them."""


class Events:
    """The events of a Cluster that have not been acted on."""

    def __init__(self, cluster: Cluster, control: ControlConnection) -> None:
        self._cluster = cluster
        self._control = control
        self._came: deque[Event] = deque()
        self._up: dict[Host, float] = {}
        """Hosts that are said to be up, and when to look at them, monotonic seconds."""
        self._missed = False
        """Whether there were more events than are kept."""
        self._topology_due: float | None = None
        self._keyspaces_due: float | None = None

    @property
    def due(self) -> float | None:
        """When there is something to do unless another event comes before, monotonic seconds."""
        due = [due for due in (self._topology_due, self._keyspaces_due, *self._up.values()) if due is not None]
        return min(due) if due else None

    def types(self) -> list[str]:
        """What to register for: all but the kinds whose window is negative."""
        cluster = self._cluster
        windows = {
            "TOPOLOGY_CHANGE": cluster.topology_event_refresh_window,
            "STATUS_CHANGE": cluster.status_event_refresh_window,
            "SCHEMA_CHANGE": cluster.schema_event_refresh_window,
        }
        return [name for name, window in windows.items() if window >= 0]

    def came(self, event: Event) -> None:
        """Take an event; in the reader, does not switch."""
        self._came.append(event)
        if len(self._came) > MOST_WAITING:  # a flood: what each says does not matter, where all is read anew
            self._came.clear()
            self._missed = True

    def refresh_soon(self, delay: float) -> None:
        """Have the topology read within ``delay`` seconds; does not switch."""
        due = monotonic() + delay
        if self._topology_due is None or due < self._topology_due:
            self._topology_due = due

    def handle(self) -> None:
        """Act on what is due; in the control greenlet, which waits for the server's answers."""
        while self._came:
            self._sort(self._came.popleft())
        if self._missed:
            self._missed = False
            self._cluster._preparer.cache.clear()
            self._cluster.metadata.forget_schema(names_too=True)
            for host in self._cluster.metadata.all_hosts():
                self._cluster._registry.look_again(host)
            self.refresh_soon(random.uniform(0, max(0.0, self._cluster.topology_event_refresh_window)))
        now = monotonic()
        for host in [host for host, due in self._up.items() if due <= now]:
            del self._up[host]
            self._cluster._registry.rumour(host, is_up=True)
        if self._topology_due is not None and self._topology_due <= now:
            self._topology_due = self._keyspaces_due = None  # one reading is for both
            try:
                self._control.read_topology()
            except (Exception, gevent.Timeout) as error:  # policies' and factories' errors are an application's
                log.warning("the topology could not be read, trying again in %s s: %s", reconnecting.PAUSE, error)
                self.refresh_soon(reconnecting.PAUSE)
            except BaseException:  # killed: the greenlet that follows reads it
                self.refresh_soon(0.0)
                raise
        elif self._keyspaces_due is not None and self._keyspaces_due <= now:
            self._keyspaces_due = None
            try:
                self._control.refresh_keyspaces()
            except (Exception, gevent.Timeout) as error:
                log.warning("the keyspaces could not be read, trying again in %s s: %s", reconnecting.PAUSE, error)
                self._keyspaces_due = monotonic() + reconnecting.PAUSE
            except BaseException:
                self._keyspaces_due = now
                raise

    def _sort(self, event: Event) -> None:
        log.debug("event: %s %s", event.event_type, event.event_args)
        if event.event_type == "TOPOLOGY_CHANGE":
            if event.event_args["change_type"] == "REMOVED_NODE":
                self._control.topology.removed(*event.event_args["address"])
            self.refresh_soon(random.uniform(0, self._cluster.topology_event_refresh_window))
        elif event.event_type == "STATUS_CHANGE":
            self._sort_status(event.event_args["change_type"], *event.event_args["address"])
        elif event.schema_change is not None:
            self._sort_schema(event)

    def _sort_status(self, change: str, address: str, port: int) -> None:
        host = self._cluster.metadata.get_host(address, port)
        delay = random.uniform(0, self._cluster.status_event_refresh_window)
        if change == "UP":
            self.refresh_soon(delay)  # it may be new, have moved, or be of another version now
            if host is not None:
                self._up.setdefault(host, monotonic() + delay)
        elif host is not None:
            self._up.pop(host, None)
            self._cluster._registry.rumour(host, is_up=False)

    def _sort_schema(self, event: Event) -> None:
        change = event.schema_change
        assert change is not None
        self._cluster._preparer.cache.clear()
        self._cluster.metadata.schema_changed(change)
        if change.target == "KEYSPACE" and self._cluster.token_metadata_enabled and self._keyspaces_due is None:
            self._keyspaces_due = monotonic() + random.uniform(0, self._cluster.schema_event_refresh_window)
