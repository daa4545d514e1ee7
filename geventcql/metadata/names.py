"""CQL's rules for names and keywords: when an identifier needs quotes.

Layer: model. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "cql_keywords",
    "cql_keywords_reserved",
    "cql_keywords_unreserved",
    "escape_name",
    "is_valid_name",
    "maybe_escape_name",
    "protect_name",
    "protect_names",
    "protect_value",
]

# First those of Cassandra's own grammar, then those that DataStax's servers add.
_RESERVED = """
    add allow alter and apply asc authorize batch begin by columnfamily create default delete desc describe drop entries
    execute from full grant if in index infinity insert into is keyspace limit materialized mbean mbeans modify nan
    norecursive not null of on or order primary rename replace revoke schema select set table to token truncate unlogged
    unset update use using view where with

    active any application applications authentication call calls cluster columns commit config delegation executor
    executors field indices internal java kerberos ldap lowercasestring method no node nodes object plan profiles
    rebuild redact reload remote renew restrict rows scheme schemes search std_err std_out submission unrestrict
    workpool
"""

_UNRESERVED = """
    aggregate all as ascii bigint blob boolean called clustering compact contains count counter custom date decimal
    deterministic distinct double exists filtering finalfunc float frozen function functions inet initcond input int
    json key keys keyspaces language list login map monotonic nologin nosuperuser options password permission
    permissions returns role roles sfunc smallint static storage stype superuser text time timestamp timeuuid tinyint
    trigger ttl tuple type user users uuid values varchar varint writetime
"""

cql_keywords_reserved = frozenset(_RESERVED.split())
"""Words that can be names only between double quotes."""

cql_keywords_unreserved = frozenset(_UNRESERVED.split())
"""Words with a meaning of their own that can be names all the same."""

cql_keywords = cql_keywords_reserved | cql_keywords_unreserved
"""All words with a meaning of their own."""

_PLAIN_NAME = re.compile(r"[a-z][0-9a-z_]*")


def is_valid_name(name: str | None) -> bool:
    """Whether `name` means itself without quotes: lower case, and no reserved word."""
    return name is not None and _PLAIN_NAME.fullmatch(name) is not None and name not in cql_keywords_reserved


def escape_name(name: str) -> str:
    """`name` between double quotes, those within doubled."""
    return '"' + name.replace('"', '""') + '"'


def maybe_escape_name(name: str) -> str:
    """`name`, between double quotes if it needs them."""
    return name if is_valid_name(name) else escape_name(name)


def protect_name(name: str) -> str:
    """`maybe_escape_name`."""
    return maybe_escape_name(name)


def protect_names(names: Iterable[str]) -> list[str]:
    """Each name, between double quotes where it needs them."""
    return [maybe_escape_name(name) for name in names]


def protect_value(value: str | float | None) -> str:
    """An option's value as CQL: NULL, a number or boolean, else a string literal."""
    if value is None:
        return "NULL"
    if isinstance(value, (int, float)):
        return str(value).lower()
    return "'" + value.replace("'", "''") + "'"
