"""Which host a request goes to (layer: driver): the first one quickly, the rest only if needed.

Runs in the greenlet that executes a statement, or in the one that owns a request's cold path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from geventcql.net.pool import HostPool

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
        """The pool to try first, without a policy's generator, where that is certain; else None."""
        resolved = execution.resolved
        if execution.only_host is not None or not resolved.plain_policy:
            return None
        try:
            return self._only[resolved.pool_keyspace]
        except KeyError:
            return self._registry.only_pool(resolved.pool_keyspace)

    def plan(self, execution: Execution) -> Iterator[Any]:
        """The hosts to try, in order, as the profile's policy says."""
        if execution.only_host is not None:
            return iter((execution.only_host,))
        resolved = execution.resolved
        statement = resolved.policy_statement(execution.values)
        return iter(resolved.policy.make_query_plan(resolved.routing_keyspace, statement))
