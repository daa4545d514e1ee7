"""What an application may ask and tell a Cluster about its hosts (layer: driver); the Cluster inherits it.

The registry and the control connection do the work. Nothing in here waits but where it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geventcql.belonging import ClusterBelonging
from geventcql.cython.wire import load_of
from geventcql.errors import DriverException
from geventcql.host import DefaultEndPoint, Host
from geventcql.options import ClusterOptions
from geventcql.policies import HostDistance

if TYPE_CHECKING:
    from geventcql.metadata import Metadata

__all__ = ["ClusterHosts"]


class ClusterHosts(ClusterBelonging, ClusterOptions):
    """The methods of a Cluster that are about hosts."""

    metadata: Metadata
    _listeners: list[Any]

    def get_core_connections_per_host(self, host_distance: int) -> int:
        """How many connections hosts at this distance have."""
        wanted = self.connections_per_host
        return wanted if isinstance(wanted, int) else wanted.get(host_distance, 1)

    def set_core_connections_per_host(self, host_distance: int, core_connections: int) -> None:
        """Have so many connections to each host at this distance; the pools follow.

        cassandra-driver has one connection per host from protocol v3 on, and refuses this.

        :raises ValueError: less than one
        """
        if core_connections < 1:
            raise ValueError(f"core_connections must be at least 1, not {core_connections}")
        self._check_thread()
        distances = (HostDistance.LOCAL, HostDistance.REMOTE)
        self.connections_per_host = {
            **{distance: self.get_core_connections_per_host(distance) for distance in distances},
            host_distance: core_connections,
        }
        if self._connecting is not None:
            self._registry.reconsider()

    def policies_changed(self) -> None:
        """A policy in use may see hosts otherwise than before: connections and plans follow. The built-in ones call this when
        their attributes are set; do so for your own.
        """
        self._check_thread()
        if self._connecting is not None:
            self._registry.reconsider()

    def load_of(self, host: Host) -> int:
        """The requests in flight on the least loaded connection of a host's busiest pool; a large number if none can."""
        return max((load_of(pool.connections) for pool in self._registry.pools_of(host)), default=load_of([]))

    def register_listener(self, listener: Any) -> None:
        """Have a :class:`~geventcql.policies.HostStateListener` told of hosts that come, go down, come back and leave.

        Each change is told once, in order, in a greenlet of the driver's, where a listener may wait and execute statements;
        while it does, listeners hear of nothing else. The hosts that a connecting Cluster finds are told as ``on_add``. A
        listener that is registered twice is told once.
        """
        if listener not in self._listeners:
            self._listeners.append(listener)

    def unregister_listener(self, listener: Any) -> None:
        """Take back :meth:`register_listener`.

        :raises ValueError: it was not registered
        """
        self._listeners.remove(listener)

    def on_up(self, host: Host) -> None:
        """Have the driver look whether a host is up, as it does when a server says so."""
        self._check_connected()
        self._registry.rumour(host, is_up=True)

    def on_down(self, host: Host, is_host_addition: bool = False, expect_host_to_be_down: bool = False) -> None:
        """Have the driver look whether a host is down, as it does when a server says so: its connections are asked for a sign
        of life, and those that have been silent before are closed.
        """
        self._check_connected()
        self._registry.rumour(host, is_up=False)

    def signal_connection_failure(
        self, host: Host, connection_exc: BaseException | None, is_host_addition: bool = False,
        expect_host_to_be_down: bool = False,
    ) -> bool:  # fmt: skip
        """As :meth:`on_down`; an application's own connection to the host has failed.

        :returns: whether the host is down
        """
        self.on_down(host)
        return host.is_up is False

    def add_host(
        self, endpoint: Any, datacenter: str | None = None, rack: str | None = None, signal: bool = True,
        refresh_nodes: bool = True,
    ) -> tuple[Host, bool]:  # fmt: skip
        """Use a node before any server tells of it. What readings of the topology do not show is forgotten again.

        :returns: the host, and whether it is new
        """
        self._check_connected()
        at = DefaultEndPoint(endpoint, self.port) if isinstance(endpoint, str) else endpoint
        host = Host(at, self.conviction_policy_factory, datacenter, rack)
        known = self.metadata.get_host(host.endpoint)
        if known is not None:
            return known, False
        self._registry.add(host)
        return host, True

    def on_add(self, host: Host, refresh_nodes: bool = True) -> None:
        """Have the driver look for new nodes, as it does when a server says that there is one; waits."""
        self.refresh_nodes()

    def remove_host(self, host: Host) -> None:
        """Use a node no more; if a reading of the topology shows it, it is used again."""
        self._check_connected()
        self._registry.remove(host)

    on_remove = remove_host

    def refresh_nodes(self, force_token_rebuild: bool = False) -> None:
        """Read again which nodes there are; waits.

        :param force_token_rebuild: make the token map anew even if nothing has changed
        :raises DriverException: nobody could be asked
        :raises BlockingSwitchOutError: called by an address translator or end point factory, which it would wait for
        """
        self._check_connected()
        self._control.refresh_topology(force_token_rebuild)

    def _check_connected(self) -> None:
        self._go_on(None)
        if self._connecting is None:
            raise DriverException("the Cluster is not connected" + (": it was shut down" if self.is_shutdown else ""))

    @property
    def listeners(self) -> list[Any]:
        """The registered listeners."""
        return list(self._listeners)

    def get_control_connection_host(self) -> Host | None:
        """The host that the control connection leads to; None if it is not open."""
        return self._control.host if self._connecting is not None else None
