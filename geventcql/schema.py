"""The driver's side of the schema metadata (layer: driver): who reads it, and the Cluster's methods to read it anew.

The model (:mod:`geventcql.metadata`) says what to ask and keeps what comes; here it is asked, over the control connection, in
greenlets of the driver's: whoever looks at metadata only waits, and may be killed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import gevent
from gevent.exceptions import BlockingSwitchOutError
from greenlet import getcurrent

from geventcql.agreement import wait_for_agreement
from geventcql.cython.codecs import ColumnSpec
from geventcql.errors import (
    ConnectionException,
    DriverException,
    ErrorMessage,
    NoHostAvailable,
)
from geventcql.flights import Flights, landed
from geventcql.metadata import Metadata
from geventcql.net.scheduler import Turn
from geventcql.protocol.constants import SignatureDescriptor

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.control import ControlConnection
    from geventcql.metadata.keyspaces import Contents
    from geventcql.metadata.reading import Ask

__all__ = ["SchemaReader", "SchemaRefreshing"]

log = logging.getLogger(__name__)

R = TypeVar("R")


class SchemaReader:
    """Reads parts of the schema, each once for all who wait for it: the ``SchemaSource`` of a Cluster's metadata."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._readings = Flights(cluster, "its schema was read")

    @property
    def enabled(self) -> bool:
        """Whether a look at what has not been read is to read it: the Cluster is connected, or was (then :meth:`load` fails:
        what nobody has read must not look empty), and its ``schema_metadata_enabled`` is set.
        """
        cluster = self._cluster
        return cluster.schema_metadata_enabled and (
            cluster._connecting is not None or cluster._is_forked or cluster.is_shutdown
        )

    def load(self, key: Hashable, read: Callable[[Ask], R]) -> R:
        """What ``read`` returns, run in a driver greenlet, once for all who ask for ``key`` meanwhile; waits.

        :raises DriverException: the Cluster is not connected, or was shut down meanwhile
        :raises WrongHubError: it belongs to another thread
        :raises BlockingSwitchOutError: called in the hub, or where the control connection would wait for itself
        """
        cluster = self._cluster
        if cluster.is_shutdown and cluster._connecting is None:
            raise DriverException(
                "the Cluster was shut down, and this part of its schema was not read before, or has changed since: look at it "
                "before shutdown(), or keep a copy, as in copy.deepcopy(cluster.metadata.keyspaces['name'])"
            )
        cluster._go_on(None)
        if cluster._connecting is None:
            raise DriverException("the Cluster is not connected: its schema cannot be read")
        if getcurrent() is gevent.get_hub():
            raise BlockingSwitchOutError("schema metadata was looked at in the hub, and has to be read: spawn a greenlet")
        if cluster._control.is_own_greenlet():
            raise BlockingSwitchOutError(
                "schema metadata was looked at, and has to be read, while the control connection waits: policies, address "
                "translators and end point factories must look at it in a greenlet of their own"
            )
        flight = self._readings.join(key, self._read, read)
        flight.wait()  # not for ever: each query has its timeout
        found: R = landed(flight)
        return found

    def forget(self) -> object:
        """In the child of a fork: what the parent reads is nothing of ours. What those wait for who asked for it."""
        return self._readings.forget()

    def partition_key_indexes(self, columns: Sequence[ColumnSpec]) -> tuple[int, ...] | None:
        """Which of a prepared statement's parameters make the partition key of its table, in the order of the key: protocol
        v4 tells it with PREPARE, v3 leaves it to the client. Reads the table if it has not been read, and waits.

        :returns: None if they do not make a whole key, or if that is not to be found out
        """
        if not columns:
            return None
        name = columns[0].table_name
        try:
            keyspace = self._cluster.metadata.keyspaces.get(columns[0].keyspace_name)
            table = None if keyspace is None else keyspace.tables.get(name) or keyspace.views.get(name)
        except (DriverException, NoHostAvailable, ConnectionException, ErrorMessage) as error:
            # The statement can be executed all the same, through any node.
            log.warning("the partition key of %s could not be read, its statement is not token-aware: %s", name, error)
            return None
        positions = {column.name: position for position, column in enumerate(columns)}
        if table is None or not all(column.name in positions for column in table.partition_key):
            return None
        return tuple(positions[column.name] for column in table.partition_key)

    def _read(self, read: Callable[[Ask], Any]) -> Any:
        try:
            return read(_Asking(self._cluster))
        except ErrorMessage as error:
            raise error.to_exception() from None


class _Asking:
    """Puts the queries of one reading; in a driver greenlet."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._control: ControlConnection = cluster._control
        self._turn = Turn()
        self.give_way = self._turn.give_way

    def __call__(self, *queries: str) -> list[list[dict[str, Any]]]:
        """All at once, over one connection."""
        if len(queries) == 1:
            outcomes = [self._outcome(queries[0])]
        else:
            greenlets = [self._cluster._greenlets.spawn(self._outcome, query) for query in queries]
            gevent.joinall(greenlets)
            outcomes = [greenlet.value for greenlet in greenlets]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._turn.begin()
        return outcomes

    def _outcome(self, query: str) -> Any:
        try:
            return self._control.query(query)
        except ErrorMessage as error:
            return error.to_exception()
        except Exception as error:
            return error


class SchemaRefreshing:
    """The methods of a Cluster that read schema metadata anew (``cassandra.cluster.Cluster``).

    Nobody has to call them for what this Cluster's own statements change, or what servers tell of. Each waits until the
    nodes agree on the schema, for at most ``max_schema_agreement_wait`` seconds (the Cluster's if left out; 0 or less: does
    not wait), and raises DriverException if they do not, or if reading fails. They work with ``schema_metadata_enabled`` off,
    too: what they have read is there.
    """

    metadata: Metadata
    schema_metadata_enabled: bool
    token_metadata_enabled: bool
    max_schema_agreement_wait: float
    _schema: SchemaReader
    _control: ControlConnection

    def refresh_schema_metadata(self, max_schema_agreement_wait: float | None = None) -> None:
        """Read keyspaces anew, and whatever is in them when it is next looked at; with ``schema_metadata_enabled`` off, at
        once.
        """
        self._await_agreement(max_schema_agreement_wait)
        keyspaces = self.metadata.keyspaces
        keyspaces.refresh()
        self.metadata.forget_schema()
        if not self.schema_metadata_enabled:
            for keyspace in keyspaces.known.values():
                for part in keyspace._contents.parts:
                    part.refresh()

    def refresh_keyspace_metadata(self, keyspace: str, max_schema_agreement_wait: float | None = None) -> None:
        """Read anew whether there is a keyspace, its replication and durable writes; not what is in it.

        :param keyspace: its name
        """
        self._await_agreement(max_schema_agreement_wait)
        self.metadata.keyspaces.refresh()

    def refresh_table_metadata(self, keyspace: str, table: str, max_schema_agreement_wait: float | None = None) -> None:
        """Read a table anew, with its indexes and triggers.

        :param keyspace: the name of its keyspace
        :param table: its name
        """
        contents = self._contents_to_refresh(keyspace, max_schema_agreement_wait)
        if contents is not None:
            contents.tables.forget_one(table)
            contents.tables.refresh_one(table)
            contents.indexes.forget()
            contents.views.forget()  # it may be one

    def refresh_materialized_view_metadata(
        self, keyspace: str, view: str, max_schema_agreement_wait: float | None = None
    ) -> None:
        """Read the views of a keyspace anew.

        :param keyspace: its name
        :param view: the view that is meant
        """
        self._refresh_part(keyspace, "views", max_schema_agreement_wait)

    def refresh_user_type_metadata(
        self, keyspace: str, user_type: str, max_schema_agreement_wait: float | None = None
    ) -> None:
        """Read the user types of a keyspace anew.

        :param keyspace: its name
        :param user_type: the type that is meant
        """
        self._refresh_part(keyspace, "user_types", max_schema_agreement_wait)

    def refresh_user_function_metadata(
        self, keyspace: str, function: SignatureDescriptor, max_schema_agreement_wait: float | None = None
    ) -> None:
        """Read the functions of a keyspace anew.

        :param keyspace: its name
        :param function: a :class:`geventcql.UserFunctionDescriptor` of the one that is meant
        """
        self._refresh_part(keyspace, "functions", max_schema_agreement_wait)

    def refresh_user_aggregate_metadata(
        self, keyspace: str, aggregate: SignatureDescriptor, max_schema_agreement_wait: float | None = None
    ) -> None:
        """Read the aggregates of a keyspace anew.

        :param keyspace: its name
        :param aggregate: a :class:`geventcql.UserAggregateDescriptor` of the one that is meant
        """
        self._refresh_part(keyspace, "aggregates", max_schema_agreement_wait)

    def set_meta_refresh_enabled(self, enabled: bool) -> None:
        """Deprecated: set ``schema_metadata_enabled`` and ``token_metadata_enabled`` to ``enabled``."""
        warnings.warn(
            "Cluster.set_meta_refresh_enabled is deprecated: set schema_metadata_enabled and token_metadata_enabled",
            DeprecationWarning,
            stacklevel=2,
        )
        self.schema_metadata_enabled = self.token_metadata_enabled = enabled

    def _refresh_part(self, keyspace: str, part: str, wait: float | None) -> None:
        contents = self._contents_to_refresh(keyspace, wait)
        if contents is not None:
            getattr(contents, part).forget()
            getattr(contents, part).refresh()

    def _contents_to_refresh(self, keyspace: str, wait: float | None) -> Contents | None:
        """None if there is no such keyspace: then nothing is left to be refreshed, as in cassandra-driver."""
        self._await_agreement(wait)
        keyspaces = self.metadata.keyspaces
        if keyspace not in keyspaces.known:
            keyspaces.refresh()
        known = keyspaces.known.get(keyspace)
        return None if known is None else known._contents

    def _await_agreement(self, wait: float | None) -> None:
        seconds = self.max_schema_agreement_wait if wait is None else wait
        if seconds > 0 and not self._schema.load(object(), lambda ask: wait_for_agreement(self._control, wait=seconds)):
            raise DriverException(
                f"the nodes have not agreed on a schema within {seconds} s, so it was not read: a node may be slow or down; "
                "try again, or pass max_schema_agreement_wait=0 to read what one node has"
            )
