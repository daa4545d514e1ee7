"""Names of cassandra-driver's that stand for what geventcql does not do (layer: model).

Importing them works, so that one import more does not keep an application from starting; making use of them raises
UnsupportedOperation, which says why and what to do.
"""

from __future__ import annotations

from typing import Any, NoReturn

from geventcql.errors import UnsupportedOperation

__all__ = [
    "ContinuousPagingOptions",
    "GraphAnalyticsExecutionProfile",
    "GraphExecutionProfile",
    "Unsupported",
]

NO_GRAPH = "DataStax Enterprise's graph is not supported by geventcql: execute CQL, or stay with cassandra-driver for it"


class Unsupported:
    """A class of which no instance can be made; `reason` says why."""

    reason = ""

    def __init__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedOperation(f"{type(self).__name__}: {self.reason}")


class GraphExecutionProfile(Unsupported):
    """(`cassandra.cluster.GraphExecutionProfile`)"""

    reason = NO_GRAPH


class GraphAnalyticsExecutionProfile(GraphExecutionProfile):
    """(`cassandra.cluster.GraphAnalyticsExecutionProfile`)"""


class ContinuousPagingOptions(Unsupported):
    """(`cassandra.cluster.ContinuousPagingOptions`)"""

    reason = "continuous paging is a feature of DSE that geventcql does not have; automatic paging reads ahead, too"
