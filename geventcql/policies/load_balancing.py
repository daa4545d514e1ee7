"""Load balancing policies: which hosts to use, and in which order for a request.

Layer: model. Plans are made and drawn from in the greenlet that owns the request; the host registry reports changes of
state from a driver greenlet. Their state is immutable collections that are replaced whole, in code that cannot switch
greenlets, so they need no locks.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geventcql.host import EndPoint, Host
    from geventcql.metadata.cluster import Metadata

__all__ = [
    "DCAwareRoundRobinPolicy",
    "DSELoadBalancingPolicy",
    "DefaultLoadBalancingPolicy",
    "HostDistance",
    "HostFilterPolicy",
    "HostStateListener",
    "LoadBalancingPolicy",
    "RoundRobinPolicy",
    "TokenAwarePolicy",
    "WhiteListRoundRobinPolicy",
    "WrapperPolicy",
    "default_lbp_factory",
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


class LoadBalancingPolicy(HostStateListener):
    """The interface of all load balancing policies (`cassandra.policies.LoadBalancingPolicy`): a base."""

    # There is nothing to lock here; subclasses written for cassandra-driver say `with self._hosts_lock`.
    _hosts_lock = nullcontext()

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
        local = self._dc_live_hosts.get(self.local_dc, ())
        if local:
            start = self._position % len(local)
            yield from local[start:]
            yield from local[:start]
        if self.used_hosts_per_remote_dc:
            for dc, hosts in tuple(self._dc_live_hosts.items()):
                if dc != self.local_dc:
                    yield from hosts[: self.used_hosts_per_remote_dc]

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


class WrapperPolicy(LoadBalancingPolicy):
    """Does what its child policy does: a base for policies that change one thing
    (`cassandra.policies.WrapperPolicy`).
    """

    def __init__(self, child_policy: LoadBalancingPolicy) -> None:
        self._child_policy = child_policy

    def populate(self, cluster: Any, hosts: Sequence[Host]) -> None:
        """The child's."""
        self._child_policy.populate(cluster, hosts)

    def distance(self, host: Host) -> int:
        """The child's."""
        return self._child_policy.distance(host)

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterable[Host]:
        """The child's."""
        return self._child_policy.make_query_plan(working_keyspace, query)

    def check_supported(self) -> None:
        """The child's."""
        self._child_policy.check_supported()

    def on_up(self, host: Host) -> None:
        """Tells the child."""
        self._child_policy.on_up(host)

    def on_down(self, host: Host) -> None:
        """Tells the child."""
        self._child_policy.on_down(host)

    def on_add(self, host: Host) -> None:
        """Tells the child."""
        self._child_policy.on_add(host)

    def on_remove(self, host: Host) -> None:
        """Tells the child."""
        self._child_policy.on_remove(host)


class TokenAwarePolicy(WrapperPolicy):
    """First the replicas of the statement's partition that are up and LOCAL to the child policy, then the child's plan
    (`cassandra.policies.TokenAwarePolicy`).

    `shuffle_replicas` puts the replicas in random order, which spreads the load of a hot partition but uses the nodes'
    caches less well. A statement without routing key or keyspace gets the child's plan.
    """

    _cluster_metadata: Metadata

    def __init__(self, child_policy: LoadBalancingPolicy, shuffle_replicas: bool = False) -> None:
        super().__init__(child_policy)
        self.shuffle_replicas = shuffle_replicas

    def populate(self, cluster: Any, hosts: Sequence[Host]) -> None:
        """Remembers the Cluster's metadata, where the replicas come from."""
        self._cluster_metadata = cluster.metadata
        super().populate(cluster, hosts)

    def check_supported(self) -> None:
        """RuntimeError if the tokens of the cluster's partitioner cannot be computed."""
        if not self._cluster_metadata.can_support_partitioner():
            raise RuntimeError(f"TokenAwarePolicy does not know the partitioner {self._cluster_metadata.partitioner}")
        super().check_supported()

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        """The local replicas, then all hosts of the child's plan that have not been among them."""
        child = self._child_policy
        keyspace = working_keyspace
        replicas: Sequence[Host] = ()
        if query is not None:
            keyspace = query.keyspace or working_keyspace
            key = query.routing_key
            if key is not None and keyspace is not None:
                replicas = self._cluster_metadata.get_replicas(keyspace, key)
        if self.shuffle_replicas:
            replicas = random.sample(replicas, len(replicas))
        used = []
        for host in replicas:
            if host.is_up and child.distance(host) == HostDistance.LOCAL:
                used.append(host)
                yield host
        for host in child.make_query_plan(keyspace, query):
            if host not in used:
                yield host


class DefaultLoadBalancingPolicy(WrapperPolicy):
    """The host that the statement names as its `target_host`, if it is up, then the child's plan
    (`cassandra.policies.DefaultLoadBalancingPolicy`; see HostTargetingStatement).
    """

    _cluster_metadata: Metadata

    def populate(self, cluster: Any, hosts: Sequence[Host]) -> None:
        """Remembers the Cluster's metadata, where the host is looked up."""
        self._cluster_metadata = cluster.metadata
        super().populate(cluster, hosts)

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        """The target if there is one, then the rest of the child's plan."""
        keyspace = working_keyspace
        target = None
        if query is not None:
            keyspace = query.keyspace or working_keyspace
            address = getattr(query, "target_host", None)
            target = None if address is None else self._cluster_metadata.get_host(address)
        if target is not None and target.is_up:
            yield target
        else:
            target = None
        for host in self._child_policy.make_query_plan(keyspace, query):
            if target is None or host != target:
                yield host


class DSELoadBalancingPolicy(DefaultLoadBalancingPolicy):
    """The old name of DefaultLoadBalancingPolicy; deprecated, as in cassandra-driver."""

    def __init__(self, child_policy: LoadBalancingPolicy) -> None:
        warnings.warn(
            "DSELoadBalancingPolicy is deprecated: use DefaultLoadBalancingPolicy", DeprecationWarning, stacklevel=2
        )
        super().__init__(child_policy)


class HostFilterPolicy(WrapperPolicy):
    """The child policy, without the hosts that `predicate(host)` is false for: those are IGNORED
    (`cassandra.policies.HostFilterPolicy`).

    Filtering takes hosts out of the child's order as it is: of a round robin over three hosts, one of them filtered
    out, its successor gets its turns too.
    """

    def __init__(self, child_policy: LoadBalancingPolicy, predicate: Callable[[Host], bool]) -> None:
        super().__init__(child_policy)
        self._predicate = predicate

    @property
    def predicate(self) -> Callable[[Host], bool]:
        """The predicate as given."""
        return self._predicate

    def distance(self, host: Host) -> int:
        """The child's distance for hosts that pass, IGNORED for others."""
        return self._child_policy.distance(host) if self.predicate(host) else HostDistance.IGNORED

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        """What passes of the child's plan."""
        for host in self._child_policy.make_query_plan(working_keyspace, query):
            if self.predicate(host):
                yield host


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


def default_lbp_factory() -> LoadBalancingPolicy:
    """What a Cluster uses unless told otherwise: replicas first, in the data centre of the contact points."""
    return TokenAwarePolicy(DCAwareRoundRobinPolicy())


def _is_numeric(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True
