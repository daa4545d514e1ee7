"""What is kept of prepared statements that are executed otherwise than by themselves (layer: driver).

A bound statement, or a request that names a profile, is resolved once for all that are alike, and kept on the prepared
statement under the Session's settings. Runs in the greenlet that executes the statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geventcql.profiles import EXEC_PROFILE_DEFAULT
from geventcql.query import BoundStatement, PreparedStatement
from geventcql.resolve import Resolved, resolve

if TYPE_CHECKING:
    from geventcql.session import Session

__all__ = ["MAX_VARIANTS", "variant"]

MAX_VARIANTS = 32
"""So many combinations of profile and options are kept for each prepared statement and Session."""


def variant(session: Session, statement: PreparedStatement | BoundStatement, name: Any) -> Resolved:
    """A prepared statement with a profile, or a bound one, resolved; what was kept, if it still holds.

    :param name: of the profile. One that has no name, but was given to ``execute`` itself, is not kept alive by this
    :raises ValueError: there is no such profile, or it may not be named
    """
    prepared = statement.prepared_statement if isinstance(statement, BoundStatement) else statement
    options = _options(statement)
    kept = prepared._variants.get(session._shape)
    if kept is not None and (name is EXEC_PROFILE_DEFAULT or not session.cluster._legacy):
        resolved: Resolved | None = kept.get((session.cluster.profile_manager.profiles.get(name), options))
        if resolved is not None:
            return resolved
    profile = session._profile(name)
    if options is None or name is profile:
        return resolve(session, statement, profile, session._timeout(profile))
    resolved = resolve(session, _without_values(prepared, options), profile, session._timeout(profile))
    kept = prepared._variants.setdefault(session._shape, {})
    if len(kept) >= MAX_VARIANTS:
        del kept[next(iter(kept))]
    kept[profile, options] = resolved
    session._remembered.statements.add(prepared)
    return resolved


def _options(statement: PreparedStatement | BoundStatement) -> tuple[Any, ...] | None:
    """What of a statement counts besides its prepared statement and its values: of a bound one what can be set on it.

    None for what is not worth keeping, or would keep alive what is the application's: a payload, which may be changed in
    place, a routing key, which is another for each partition, and a retry policy that the prepared statement does not have.
    """
    if statement.custom_payload:
        return None
    if not isinstance(statement, BoundStatement):
        return ()
    if statement._routing_key is not None or statement.retry_policy is not statement.prepared_statement.retry_policy:
        return None
    return (
        statement.consistency_level,
        statement._serial_consistency_level,
        statement.fetch_size,
        statement.keyspace,
        statement.is_idempotent,
    )


def _without_values(prepared: PreparedStatement, options: tuple[Any, ...]) -> PreparedStatement | BoundStatement:
    """What stands for all statements that have these options."""
    if not options:
        return prepared
    bound = BoundStatement(prepared)
    (
        bound.consistency_level,
        bound.serial_consistency_level,
        bound.fetch_size,
        bound.keyspace,
        bound.is_idempotent,
    ) = options
    bound.custom_payload = None
    return bound
