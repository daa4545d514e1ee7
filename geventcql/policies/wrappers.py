"""Load balancing policies that change the plans of another one, their child.

Layer: model. As :mod:`geventcql.policies.load_balancing`.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from geventcql.cython.wire import is_busier
from geventcql.policies.load_balancing import DCAwareRoundRobinPolicy, HostDistance, LoadBalancingPolicy
from geventcql.protocol.constants import ConsistencyLevel

if TYPE_CHECKING:
    from geventcql.host import Host
    from geventcql.metadata.cluster import Metadata

__all__ = [
    "DSELoadBalancingPolicy",
    "DefaultLoadBalancingPolicy",
    "HostFilterPolicy",
    "TokenAwarePolicy",
    "WrapperPolicy",
    "default_lbp_factory",
]


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

    def in_local_rack(self, host: Host) -> bool:
        """The child's."""
        return self._child_policy.in_local_rack(host)

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
    """First the replicas of the statement's partition that are up and LOCAL to the child policy, those of the local rack
    first, then the child's plan (`cassandra.policies.TokenAwarePolicy`). A statement without routing key or keyspace gets
    the child's plan.

    The replicas come in the order of the ring, so that the nodes' caches serve each its own partitions, or in random
    order with `shuffle_replicas`, which spreads the load of a hot partition. `avoid_busy_replicas`: where the first has at
    least 10 requests in flight and more than twice as many as another one drawn at random, the two change places; so no
    more than a few requests wait for a slow replica.

    Conditional statements and whatever has a serial consistency level always find the replicas in the order of the ring,
    whatever the rack and however busy: clients that begin at different replicas hold up each other's Paxos rounds.
    """

    _cluster_metadata: Metadata

    def __init__(
        self, child_policy: LoadBalancingPolicy, shuffle_replicas: bool = False, *, avoid_busy_replicas: bool = True
    ) -> None:
        super().__init__(child_policy)
        self.shuffle_replicas = shuffle_replicas
        self.avoid_busy_replicas = avoid_busy_replicas
        self._load: Callable[[Host], int] | None = None

    def populate(self, cluster: Any, hosts: Sequence[Host]) -> None:
        """Remembers the Cluster's metadata, where the replicas come from, and how to tell which of them are busy."""
        self._watch_for(cluster)
        self._cluster_metadata = cluster.metadata
        self._load = getattr(cluster, "load_of", None)  # applications test their policies with Clusters of their own
        super().populate(cluster, hosts)

    def check_supported(self) -> None:
        """RuntimeError if the tokens of the cluster's partitioner cannot be computed."""
        if not self._cluster_metadata.can_support_partitioner():
            raise RuntimeError(f"TokenAwarePolicy does not know the partitioner {self._cluster_metadata.partitioner}")
        super().check_supported()

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        """The local replicas, then all hosts of the child's plan that have not been among them."""
        keyspace = working_keyspace
        near: Sequence[Host] = ()
        if query is not None:
            keyspace = query.keyspace or working_keyspace
            key = query.routing_key
            if key is not None and keyspace is not None:
                near = self._begin(self._cluster_metadata.get_replicas(keyspace, key), query)
        yield from near
        for host in self._child_policy.make_query_plan(keyspace, query):
            if host not in near:
                yield host

    def near_replicas(self, replicas: Iterable[Host], in_ring_order: bool) -> list[Host]:
        """Of `replicas`, in the order of the ring, those that are up and LOCAL, as plans begin with them where nothing is
        shuffled and nobody is busy.
        """
        child = self._child_policy
        near = [host for host in replicas if host.is_up and child.distance(host) == HostDistance.LOCAL]
        if not in_ring_order:
            near.sort(key=lambda host: not child.in_local_rack(host))
        return near

    def _begin(self, replicas: list[Host], query: Any) -> list[Host]:
        if ConsistencyLevel.is_serial(query.consistency_level) or query.is_lwt():
            return self.near_replicas(replicas, in_ring_order=True)
        if self.shuffle_replicas:
            replicas = random.sample(replicas, len(replicas))
        near = self.near_replicas(replicas, in_ring_order=False)
        if self.avoid_busy_replicas and self._load is not None and len(near) > 1:
            other = random.randrange(1, len(near))
            if is_busier(self._load(near[0]), self._load(near[other])):
                near[0], near[other] = near[other], near[0]
        return near


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


def default_lbp_factory() -> LoadBalancingPolicy:
    """What a Cluster uses unless told otherwise: replicas first, in the data centre of the contact points."""
    return TokenAwarePolicy(DCAwareRoundRobinPolicy())
