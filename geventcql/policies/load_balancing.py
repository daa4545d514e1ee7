"""Load balancing policies: which hosts to use, and in which order for a request.

Layer: model. Plans are made and drawn from in the greenlet that owns the request; the host registry reports changes of
state from a driver greenlet. Their state is immutable collections that are replaced whole, in code that cannot switch
greenlets, so they need no locks.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from geventcql.host import EndPoint, Host

__all__ = [
    "DCAwareRoundRobinPolicy",
    "HostDistance",
    "HostStateListener",
    "LoadBalancingPolicy",
    "RackAwareRoundRobinPolicy",
    "RoundRobinPolicy",
    "WhiteListRoundRobinPolicy",
]

log = logging.getLogger(__name__)


class HostDistance:
    """How a host is used: IGNORED hosts get no connections, LOCAL ones come first, REMOTE ones are a last resort."""

    IGNORED = -1
    LOCAL = 0
    REMOTE = 1


class HostStateListener:
    """Hears of hosts coming and going (`cassandra.policies.HostStateListener`): a base for applications' own."""

    def on_up(self, host: Host) -> None:
        """The host is up."""
        raise NotImplementedError

    def on_down(self, host: Host) -> None:
        """The host is down."""
        raise NotImplementedError

    def on_add(self, host: Host) -> None:
        """The host is new; it counts as up."""
        raise NotImplementedError

    def on_remove(self, host: Host) -> None:
        """The host has left the cluster."""
        raise NotImplementedError


_LOOKED_AT = frozenset(("avoid_busy_replicas", "local_dc", "local_rack", "shuffle_replicas", "used_hosts_per_remote_dc"))
"""What Clusters have made connections and kept routes by."""


class LoadBalancingPolicy(HostStateListener):
    """The interface of all load balancing policies (`cassandra.policies.LoadBalancingPolicy`): a base."""

    # There is nothing to lock here; subclasses written for cassandra-driver say `with self._hosts_lock`.
    _hosts_lock = nullcontext()
    _watched_by: WeakSet[Any] | None = None
    """The Clusters that look at hosts again when one of _LOOKED_AT is set."""

    def __setattr__(self, name: str, value: Any) -> None:
        is_news = name in _LOOKED_AT and self.__dict__.get(name) != value
        object.__setattr__(self, name, value)
        if is_news:
            for cluster in self._watched_by or ():
                cluster.policies_changed()

    def _watch_for(self, cluster: Any) -> None:
        """From populate: what is set from now on counts at once."""
        if hasattr(cluster, "policies_changed"):  # applications test their policies with Clusters of their own
            self._watched_by = self._watched_by or WeakSet()
            self._watched_by.add(cluster)

    def populate(self, cluster: Any, hosts: Sequence[Host]) -> None:
        """Called once before the first plan, with the Cluster and the hosts known so far."""
        raise NotImplementedError

    def distance(self, host: Host) -> int:
        """The HostDistance of a host."""
        raise NotImplementedError

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterable[Host]:
        """The hosts to try for a statement, in order; drawn from one at a time.

        `working_keyspace` is the Session's keyspace, `query` the statement, None for requests of the driver itself.
        """
        raise NotImplementedError

    def check_supported(self) -> None:
        """Called when the Cluster's metadata is there; raises if the policy cannot work with this cluster."""

    def in_local_rack(self, host: Host) -> bool:
        """Whether a LOCAL host is to come before other LOCAL ones; False for policies that know nothing of racks.

        A distance of its own, as in scylla-driver, would not pass for LOCAL with code written for cassandra-driver.
        """
        return False


class RoundRobinPolicy(LoadBalancingPolicy):
    """All hosts in turn, whatever their data centre (`cassandra.policies.RoundRobinPolicy`)."""

    _live_hosts: frozenset[Host] = frozenset()
    _position = 0

    def populate(self, cluster: Any, hosts: Sequence[Host]) -> None:
        """Takes the hosts, and starts anywhere so that not all clients begin with the same one."""
        self._live_hosts = frozenset(hosts)
        self._position = random.randrange(len(hosts)) if hosts else 0

    def distance(self, host: Host) -> int:
        """LOCAL."""
        return HostDistance.LOCAL

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        """The live hosts, each plan beginning one further on."""
        hosts = tuple(self._live_hosts)
        self._position += 1
        start = self._position % len(hosts) if hosts else 0
        return iter(hosts[start:] + hosts[:start])

    def on_up(self, host: Host) -> None:
        """Uses the host."""
        self._live_hosts = self._live_hosts.union((host,))

    def on_down(self, host: Host) -> None:
        """Uses the host no longer."""
        self._live_hosts = self._live_hosts.difference((host,))

    def on_add(self, host: Host) -> None:
        """Uses the host."""
        self._live_hosts = self._live_hosts.union((host,))

    def on_remove(self, host: Host) -> None:
        """Uses the host no longer."""
        self._live_hosts = self._live_hosts.difference((host,))


class DCAwareRoundRobinPolicy(LoadBalancingPolicy):
    """The hosts of the local data centre in turn, then some of each other one
    (`cassandra.policies.DCAwareRoundRobinPolicy`).

    `local_dc` is the name of the local data centre; empty: that of the first contact point whose data centre gets
    known. `used_hosts_per_remote_dc` is how many hosts of each other one are REMOTE and end the plans; the rest of them
    is IGNORED.
    """

    def __init__(self, local_dc: str = "", used_hosts_per_remote_dc: int = 0) -> None:
        self.local_dc = local_dc
        self.used_hosts_per_remote_dc = used_hosts_per_remote_dc
        self._dc_live_hosts: dict[str, tuple[Host, ...]] = {}
        self._position = 0
        self._endpoints: Sequence[EndPoint] = ()

    def _dc(self, host: Host) -> str:
        return host.datacenter or self.local_dc

    def populate(self, cluster: Any, hosts: Sequence[Host]) -> None:
        """Takes the hosts by data centre; without a `local_dc` also the contact points,
        `cluster.endpoints_resolved`.
        """
        self._watch_for(cluster)
        self._endpoints = () if self.local_dc else tuple(cluster.endpoints_resolved)
        for host in hosts:
            self._find_local_dc(host)
        self._dc_live_hosts = {}
        for host in hosts:
            self._add(host)
        self._position = random.randrange(len(hosts)) if hosts else 0

    def distance(self, host: Host) -> int:
        """LOCAL in the local data centre, else REMOTE for the first hosts of each, else IGNORED."""
        dc = self._dc(host)
        if dc == self.local_dc:
            return HostDistance.LOCAL
        used = self._dc_live_hosts.get(dc, ())[: self.used_hosts_per_remote_dc]
        return HostDistance.REMOTE if host in used else HostDistance.IGNORED

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        """The live local hosts, each plan beginning one further on, then the remote ones."""
        self._position += 1
        yield from self._local_plan()
        if self.used_hosts_per_remote_dc:
            for dc, hosts in tuple(self._dc_live_hosts.items()):
                if dc != self.local_dc:
                    yield from hosts[: self.used_hosts_per_remote_dc]

    def _local_plan(self) -> Iterator[Host]:
        return self._in_turn(self._dc_live_hosts.get(self.local_dc, ()))

    def _in_turn(self, hosts: tuple[Host, ...]) -> Iterator[Host]:
        start = self._position % len(hosts) if hosts else 0
        return iter(hosts[start:] + hosts[:start])

    def on_up(self, host: Host) -> None:
        """Uses the host, in the data centre that it reports now."""
        self._find_local_dc(host)
        self._remove(host)
        self._add(host)

    def on_down(self, host: Host) -> None:
        """Uses the host no longer."""
        self._remove(host)

    def on_add(self, host: Host) -> None:
        """Uses the host."""
        self.on_up(host)

    def on_remove(self, host: Host) -> None:
        """Uses the host no longer."""
        self._remove(host)

    def _find_local_dc(self, host: Host) -> None:
        if not self.local_dc and host.datacenter and host.endpoint in self._endpoints:
            self.local_dc = host.datacenter
            log.info(
                "The local data centre is %r, that of the contact point %s. If that is wrong, give "
                "DCAwareRoundRobinPolicy a local_dc, or only contact points of one data centre.",
                self.local_dc, host.endpoint,
            )  # fmt: skip

    def _add(self, host: Host) -> None:
        dc = self._dc(host)
        hosts = self._dc_live_hosts.get(dc, ())
        if host not in hosts:
            self._dc_live_hosts = {**self._dc_live_hosts, dc: (*hosts, host)}

    def _remove(self, host: Host) -> None:
        # Looked for in every data centre: it may have been filed before its own was known.
        without = {dc: tuple(h for h in hosts if h != host) for dc, hosts in self._dc_live_hosts.items()}
        self._dc_live_hosts = {dc: hosts for dc, hosts in without.items() if hosts}


class RackAwareRoundRobinPolicy(DCAwareRoundRobinPolicy):
    """The hosts of the local rack in turn, then the others of the local data centre in turn, then some of each other one
    (scylla-driver's policy of this name).

    `local_dc` and `local_rack` are the names of the client's own; `used_hosts_per_remote_dc` as in
    DCAwareRoundRobinPolicy. The hosts of the whole local data centre are LOCAL. ValueError for an empty name: which rack
    the client is in cannot be told from its contact points.
    """

    def __init__(self, local_dc: str, local_rack: str, used_hosts_per_remote_dc: int = 0) -> None:
        if not local_dc or not local_rack:
            raise ValueError("RackAwareRoundRobinPolicy needs the names of the client's data centre and rack")
        super().__init__(local_dc, used_hosts_per_remote_dc)
        self.local_rack = local_rack

    def in_local_rack(self, host: Host) -> bool:
        """Whether it is in the local rack of the local data centre."""
        return host.rack == self.local_rack and self._dc(host) == self.local_dc

    def _local_plan(self) -> Iterator[Host]:
        local = self._dc_live_hosts.get(self.local_dc, ())
        yield from self._in_turn(tuple(host for host in local if host.rack == self.local_rack))
        yield from self._in_turn(tuple(host for host in local if host.rack != self.local_rack))


class WhiteListRoundRobinPolicy(RoundRobinPolicy):
    """The given hosts in turn, and no others (`cassandra.policies.WhiteListRoundRobinPolicy`).

    `hosts` are numeric addresses or names. Names are resolved by `cluster.resolver` when the Cluster connects, not
    already here, where nothing may wait.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._allowed_hosts = tuple(hosts)
        self._allowed_hosts_resolved = frozenset(filter(_is_numeric, self._allowed_hosts))

    def populate(self, cluster: Any, hosts: Sequence[Host]) -> None:
        """Resolves the names and takes the hosts that are allowed. OSError for a name that does not resolve."""
        for name in self._allowed_hosts:
            if not _is_numeric(name):
                self._allowed_hosts_resolved |= set(cluster.resolver.addresses(name))
        super().populate(cluster, [host for host in hosts if self._allows(host)])

    def _allows(self, host: Host) -> bool:
        return host.address in self._allowed_hosts_resolved

    def distance(self, host: Host) -> int:
        """LOCAL for allowed hosts, IGNORED for others."""
        return HostDistance.LOCAL if self._allows(host) else HostDistance.IGNORED

    def on_up(self, host: Host) -> None:
        """Uses the host if it is allowed."""
        if self._allows(host):
            super().on_up(host)

    def on_add(self, host: Host) -> None:
        """Uses the host if it is allowed."""
        if self._allows(host):
            super().on_add(host)


def _is_numeric(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True
