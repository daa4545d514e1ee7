"""Which host a request goes to (layer: driver): the first one quickly, the rest only if needed.

Runs in the greenlet that executes a statement, or in the one that owns a request's cold path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from geventcql.metadata import Murmur3Token
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
        self._only = self._registry._only

    def pool_of(self, host: Any, resolved: Resolved) -> HostPool | None:
        """The pool that a request may use on ``host``; None if there is none."""
        return self._registry.pool(host, resolved.pool_keyspace)

    def first(self, execution: Execution) -> HostPool | None:
        """The pool to try first, where a built-in policy's plan begins with it for certain; None: ask the policy."""
        resolved = execution.resolved
        if execution.only_host is not None or not resolved.plain_policy:
            return None
        try:
            only = self._only[resolved.pool_keyspace]
        except KeyError:
            only = self._registry.only_pool(resolved.pool_keyspace)
        if only is None and resolved.token_aware:
            return self._replica(execution)
        return only

    def _replica(self, execution: Execution) -> HostPool | None:
        """The pool of the first local replica, as TokenAwarePolicy's plan has it, straight from the encoded values."""
        resolved = execution.resolved
        token_map = self._session.cluster.metadata.token_map
        if token_map is None or token_map.token_class is not Murmur3Token or resolved.routing_keyspace is None:
            return None
        token = resolved.encoder.token(execution.values)
        if token is None:
            return None
        distance = resolved.policy._child_policy.distance
        for host in token_map.get_replicas(resolved.routing_keyspace, token):
            if host.is_up and distance(host) == HostDistance.LOCAL:
                return self._registry.pool(host, resolved.pool_keyspace)
        return None

    def plan(self, execution: Execution) -> Iterator[Any]:
        """The hosts to try, in order, as the profile's policy says."""
        if execution.only_host is not None:
            return iter((execution.only_host,))
        resolved = execution.resolved
        statement = resolved.policy_statement(execution.values)
        return iter(resolved.policy.make_query_plan(resolved.routing_keyspace, statement))
