"""What cassandra-driver's names are in geventcql, and why some are not (layer: facade).

Found out from geventcql itself, so that it cannot be wrong about what is there; cassandra-driver need not be installed.
"""

from __future__ import annotations

import fnmatch
import importlib
from dataclasses import dataclass
from typing import Any

from geventcql.unsupported import Unsupported

__all__ = ["DEPENDS", "MODULES", "REASONS", "Found", "find", "module_of"]

MODULES = frozenset(
    [
        "cassandra", "cassandra.auth", "cassandra.cluster", "cassandra.column_encryption",
        "cassandra.column_encryption.policies", "cassandra.concurrent", "cassandra.connection", "cassandra.cqlengine",
        "cassandra.cqltypes", "cassandra.datastax", "cassandra.encoder", "cassandra.graph", "cassandra.io",
        "cassandra.io.asyncioreactor", "cassandra.io.asyncorereactor", "cassandra.io.eventletreactor",
        "cassandra.io.geventreactor", "cassandra.io.libevreactor", "cassandra.io.twistedreactor", "cassandra.marshal",
        "cassandra.metadata", "cassandra.metrics", "cassandra.murmur3", "cassandra.policies", "cassandra.pool",
        "cassandra.protocol", "cassandra.query", "cassandra.timestamps", "cassandra.util",
    ]
)  # fmt: skip
"""The modules of cassandra-driver that applications import from; others are below one of them."""

_ELSEWHERE = (
    "", "cluster", "query", "policies", "auth", "connection", "pool", "protocol", "util", "metadata", "encoder", "timestamps",
    "concurrent",
)  # fmt: skip
"""Where to look for a name that an application takes from a module which only imports it itself."""

_GRAPH = "DataStax Enterprise's graph is not supported"
_INSIDE = "of cassandra-driver's inside, which geventcql does otherwise"

REASONS = (
    ("cqlengine*", "the object mapper is not part of geventcql; execute statements with a Session"),
    ("graph*", _GRAPH),
    ("cluster.*GRAPH*", _GRAPH),
    ("datastax*", "what is particular to DataStax Enterprise and Astra (graph, insights, cloud bundles) is not supported"),
    ("io.*", "there is one event loop, gevent's, and one kind of connection: leave connection_class out"),
    ("metrics.*", "the driver itself counts: read cluster.metrics, or add instruments to its registry"),
    ("auth.*GSSAPI*", "GSSAPI (Kerberos) is not supported yet: making one raises NotImplementedError"),
    ("connection.Sni*", "SNI proxies are not supported yet: making one raises NotImplementedError"),
    ("connection.UnixSocketEndPoint", "unix sockets are not supported yet: making one raises NotImplementedError"),
    ("protocol.NumpyProtocolHandler", "not supported yet; refused when it is given to a Session"),
    ("protocol.cython_protocol_handler", "refused when it is called: subclass geventcql.protocol.ProtocolHandler"),
    ("protocol.*", "messages are encoded and decoded compiled: subclass CassandraType, or ProtocolHandler and its rows()"),
    ("connection.*", _INSIDE),
    ("pool.*", _INSIDE),
    ("cluster.*", _INSIDE),
    ("util.*", "Python has it by now, or nobody but cassandra-driver needs it"),
    ("*", "not in geventcql; see 'Names that are missing' in its docs/migration.md"),
)
"""Patterns of what is not there, or is refused when it is used, without `cassandra.`; the first that fits says why."""

DEPENDS = (
    "names the package cassandra-driver: left as it is, since some imports may stay; geventcql has versions of its own"
)
"""What is told of requirements, and of code that asks for a version."""

_ABSENT = ("cqlengine", "datastax", "graph")
"""Modules that are there to be refused with a reason."""

_REFUSED = (
    "auth.*GSSAPI*", "connection.Sni*", "connection.UnixSocketEndPoint", "protocol.NumpyProtocolHandler",
    "protocol.cython_protocol_handler",
)  # fmt: skip
"""Patterns of names that are there, to be refused with a better reason than that they are missing."""


@dataclass(frozen=True)
class Found:
    """What a name of cassandra-driver's is here.

    `module`: where geventcql has it; None: nowhere. `reason`: why it is not there, or is refused when it is used; '' if it
    simply works.
    """

    module: str | None
    reason: str = ""


def _reason(path: str) -> str:
    short = path.removeprefix("cassandra").lstrip(".")
    return next(reason for pattern, reason in REASONS if fnmatch.fnmatchcase(short, pattern))


def _attribute(module: str, name: str) -> Any:
    """None if it is not there, or only handed on."""
    try:
        return vars(importlib.import_module(module)).get(name)
    except ImportError:
        return None


def module_of(dotted: str) -> Found:
    """The counterpart of a module of cassandra-driver's."""
    module = dotted.replace("cassandra", "geventcql", 1)
    if dotted.split(".")[1:2] and dotted.split(".")[1] in _ABSENT:
        return Found(None, _reason(dotted))
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return Found(None, _reason(dotted))
    return Found(module)


def find(module: str, name: str) -> Found:
    """The counterpart of what cassandra-driver's `module` calls `name`, be it a module itself."""
    path = f"{module}.{name}"
    if path in MODULES:
        within = module_of(path)
        return Found(module_of(module).module, within.reason) if within.module else within
    home = module_of(module)
    if home.module is None:
        return home
    for candidate in (home.module, *(f"geventcql.{m}".rstrip(".") for m in _ELSEWHERE)):
        value: Any = _attribute(candidate, name)
        if value is None:
            continue
        refused = getattr(value, "reason", "") if isinstance(value, type) and issubclass(value, Unsupported) else ""
        if refused:
            return Found(candidate, f"refused when it is used: {refused}")
        short = path.removeprefix("cassandra.")
        return Found(candidate, _reason(path) if any(fnmatch.fnmatchcase(short, p) for p in _REFUSED) else "")
    return Found(None, _reason(path))
