"""Which host a request goes to (layer: driver): the first one quickly, the rest only if needed.

Runs in the greenlet that executes a statement, or in the one that owns a request's cold path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from geventcql.cython.wire import Route
from geventcql.net.pool import HostPool
from geventcql.policies import HostDistance

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
        """Where the plans of a built-in policy begin for certain: at the only host that there is, or at the first local
        replica as TokenAwarePolicy has it. Made once for all statements that it is the same for, as long as nothing changes.
        """
        routes = self._registry.routes
        key = (resolved.policy, resolved.pool_keyspace, resolved.token_aware and resolved.routing_keyspace)
        route = routes.get(key)
        if route is None:
            route = routes[key] = self._make_route(resolved)
        return route

    def _make_route(self, resolved: Resolved) -> Route:
        only = self._registry.only_pool(resolved.pool_keyspace)
        if only is not None and resolved.policy.distance(only.host) == HostDistance.IGNORED:
            only = None  # another profile uses it
        token_map = self._session.cluster.metadata.token_map
        keyspace, pool_keyspace = resolved.routing_keyspace, resolved.pool_keyspace
        if only is not None or not resolved.token_aware or keyspace is None or token_map is None or token_map.tokens is None:
            return Route(lambda position: only)
        policy: Any = resolved.policy  # a TokenAwarePolicy
        distance = policy._child_policy.distance
        registry = self._registry  # a route outlives the Session that made it

        def find(position: int) -> HostPool | None:
            for host in token_map.replicas_at(keyspace, position):
                if host.is_up and distance(host) == HostDistance.LOCAL:
                    return registry.pool(host, pool_keyspace)
            return None

        return Route(find, token_map.tokens)

    def plan(self, execution: Execution) -> Iterator[Any]:
        """The hosts to try, in order, as the profile's policy says."""
        if execution.only_host is not None:
            return iter((execution.only_host,))
        resolved = execution.resolved
        return iter(resolved.policy.make_query_plan(resolved.working_keyspace, execution.statement))
