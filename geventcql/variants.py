"""What is kept of statements that are executed otherwise than as a prepared one with the default profile (layer: driver).

Requests that differ in their values only, or in their text, are resolved once for all that have the same profile and options.
What they were resolved into is kept on the prepared statement, and for simple statements by the Session. Runs in the greenlet
that executes the statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geventcql.profiles import EXEC_PROFILE_DEFAULT
from geventcql.query import BoundStatement, PreparedStatement, SimpleStatement
from geventcql.resolve import Resolved, resolve

if TYPE_CHECKING:
    from geventcql.session import Session

__all__ = ["HAS_VARIANTS", "MAX_VARIANTS", "variant"]

HAS_VARIANTS = frozenset((BoundStatement, PreparedStatement, SimpleStatement))
"""The classes, without subclasses, that :func:`variant` takes."""
MAX_VARIANTS = 32
"""So many combinations of profile and options are kept of each prepared statement, and of the simple ones."""


def variant(session: Session, statement: PreparedStatement | BoundStatement | SimpleStatement, name: Any) -> Resolved:
    """A statement with a profile, resolved; what was kept, if there is any for it.

    :param name: of the profile. One that has no name, but was given to ``execute`` itself, is not kept alive by this
    :raises ValueError: there is no such profile, or it may not be named
    """
    prepared = None
    if isinstance(statement, BoundStatement):
        prepared = statement.prepared_statement
    elif isinstance(statement, PreparedStatement):
        prepared = statement
    options = _options(statement, prepared)
    if name is EXEC_PROFILE_DEFAULT or not session.cluster._legacy:
        key = session.cluster.profile_manager.profiles.get(name), options
        resolved = session._variants(prepared).get(key)
        if resolved is not None:
            return resolved
    profile = session._profile(name)
    if options is None or name is profile:
        return resolve(session, statement, profile, session._timeout(profile))
    resolved = resolve(session, _model(prepared, options), profile, session._timeout(profile))
    kept = session._variants(prepared)
    if len(kept) >= MAX_VARIANTS:
        del kept[next(iter(kept))]
    kept[profile, options] = resolved
    return resolved


def _options(statement: Any, prepared: PreparedStatement | None) -> tuple[Any, ...] | None:
    """What of a statement counts besides its prepared statement, its values and its text: what can be set on it.

    None for what is not worth keeping, or would keep alive what is the application's: a payload, which may be changed in
    place, and a retry policy that the prepared statement does not have.
    """
    if statement.custom_payload:
        return None
    if statement is prepared:
        return ()
    if statement.retry_policy is not (None if prepared is None else prepared.retry_policy):
        return None
    return (
        statement.consistency_level,
        statement._serial_consistency_level,
        statement.fetch_size,
        statement.keyspace,
        statement.is_idempotent,
        statement._routing_key is None,
    )


def _model(prepared: PreparedStatement | None, options: tuple[Any, ...]) -> Any:
    """What stands for all statements that have these options."""
    if prepared is not None and not options:
        return prepared
    model = SimpleStatement("") if prepared is None else BoundStatement(prepared)
    (
        model.consistency_level,
        model.serial_consistency_level,
        model.fetch_size,
        model.keyspace,
        model.is_idempotent,
        has_no_key,
    ) = options
    model.routing_key = None if has_no_key else b""
    model.custom_payload = None
    return model
