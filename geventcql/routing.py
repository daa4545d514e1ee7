"""Which host a request goes to (layer: driver): the first one quickly, the rest only if needed.

Runs in the greenlet that executes a statement, or in the one that owns a request's cold path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from geventcql.cython.wire import Choice, Route
from geventcql.net.pool import HostPool
from geventcql.policies import HostDistance
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.statement import at_consistency

if TYPE_CHECKING:
    from geventcql.execution import Execution
    from geventcql.resolve import Resolved
    from geventcql.session import Session

__all__ = ["Router"]


class Router:
    """Finds the pools for a Session's requests."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._registry = session.cluster._registry

    def pool_of(self, host: Any, resolved: Resolved) -> HostPool | None:
        """The pool that a request may use on ``host``, or may wait for; None if there is none."""
        return self._registry.usable_pool(host, resolved.pool_keyspace)

    def route(self, resolved: Resolved) -> Route:
        """Where the plans of a built-in policy begin for certain: at the only host that there is, at the local replicas as
        TokenAwarePolicy has them, or at each local host in turn. Made once for all statements that it is the same for, as long
        as nothing changes.
        """
        routes = self._registry.routes
        in_ring_order = resolved.token_aware and resolved.in_ring_order
        keyspace = resolved.token_aware and resolved.routing_keyspace
        key = (resolved.policy, resolved.pool_keyspace, keyspace, in_ring_order, resolved.rotates)
        route = routes.get(key)
        if route is None:
            route = routes[key] = self._make_route(resolved)
        return route

    def _make_route(self, resolved: Resolved) -> Route:
        first: Choice | HostPool | None = self._registry.only_pool(resolved.pool_keyspace)
        if isinstance(first, HostPool) and resolved.policy.distance(first.host) == HostDistance.IGNORED:
            first = None  # another profile uses it
        if first is None and resolved.rotates:
            first = self._in_turn(resolved)
        token_map = self._session.cluster.metadata.token_map
        keyspace, pool_keyspace = resolved.routing_keyspace, resolved.pool_keyspace
        if first is not None or not resolved.token_aware or keyspace is None or token_map is None or token_map.tokens is None:
            return Route(lambda position: first)
        policy: Any = resolved.policy  # a TokenAwarePolicy
        in_ring_order = resolved.in_ring_order
        registry = self._registry  # a route outlives the Session that made it

        def find(position: int) -> Choice | HostPool | None:
            near = policy.near_replicas(token_map.replicas_at(keyspace, position), in_ring_order)
            used = {host: pool for host in near if (pool := registry.usable_pool(host, pool_keyspace)) is not None}
            if in_ring_order or len(used) < 2 or not (policy.shuffle_replicas or policy.avoid_busy_replicas):
                return next(iter(used.values()), None)
            in_rack = sum(map(policy.in_local_rack, used))
            spread = (in_rack or len(used)) if policy.shuffle_replicas else 1
            return Choice(used.values(), spread, policy.avoid_busy_replicas)

        return Route(find, token_map.tokens)

    def _in_turn(self, resolved: Resolved) -> Choice | HostPool | None:
        """The local hosts, those of the local rack if there are any, each the first one in turn."""
        policy = resolved.policy
        hosts = self._session.cluster.metadata.all_hosts()
        local = [host for host in hosts if host.is_up and policy.distance(host) == HostDistance.LOCAL]
        near = [host for host in local if policy.in_local_rack(host)] or local
        pools = [pool for host in near if (pool := self._registry.usable_pool(host, resolved.pool_keyspace)) is not None]
        return Choice(pools, len(pools), in_turn=True) if len(pools) > 1 else next(iter(pools), None)

    def plan(self, execution: Execution) -> Iterator[Any]:
        """The hosts to try, in order, as the profile's policy says."""
        if execution.only_host is not None:
            return iter((execution.only_host,))
        resolved = execution.resolved
        statement, level = execution.statement, resolved.consistency
        if ConsistencyLevel.is_serial(level) and not ConsistencyLevel.is_serial(statement.consistency_level):
            statement = at_consistency(statement, level)  # a TokenAwarePolicy, however deep, is to know
        return iter(resolved.policy.make_query_plan(resolved.working_keyspace, statement))
