"""Executing statements (layer: driver): what most application code talks to.

A Session is cheap: connections belong to the Cluster. It belongs to the hub (and thread) that connected it. Its methods run
in the calling greenlet and wait only where they say so.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import gevent
from gevent.event import AsyncResult
from greenlet import getcurrent

from geventcql import concurrent, keyspaces, tracing
from geventcql.belonging import SessionBelonging
from geventcql.cython.wire import Page
from geventcql.encoder import Encoder
from geventcql.errors import (
    Busy,
    ConnectionShutdown,
    DriverException,
    NoHostAvailable,
    UnsupportedOperation,
)
from geventcql.execution import Execution
from geventcql.familiar import Submitted
from geventcql.net.outcomes import outcome
from geventcql.net.scheduler import A_TURN
from geventcql.profiles import EXEC_PROFILE_DEFAULT, NOT_SET
from geventcql.protocol.constants import ProtocolVersion
from geventcql.protocol.responses import SchemaChange, SetKeyspace
from geventcql.query import PreparedStatement, SimpleStatement, Statement
from geventcql.resolve import Resolved, ResolvedPrepare, resolve, with_parameters
from geventcql.response import ResponseFuture
from geventcql.resultset import ResultSet
from geventcql.showing import shown_words
from geventcql.sinks import Fetch, as_outcome
from geventcql.unsupported import NO_GRAPH
from geventcql.variants import HAS_VARIANTS, variant
from geventcql.waiting import park, thread_id

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["Session"]

log = logging.getLogger(__name__)

get_outcome = AsyncResult.get
"""What a future holds: the Page, or its error raised."""


class Session(SessionBelonging):
    """Executes statements (``cassandra.cluster.Session``). Made by :meth:`Cluster.connect` or :func:`geventcql.connect`.

    Attributes that may be set: ``default_timeout`` (seconds), ``default_fetch_size`` (rows per page),
    ``default_consistency_level``, ``default_serial_consistency_level``, ``row_factory`` (of the default profile),
    ``use_client_timestamp``, ``timestamp_generator``, ``encoder``, ``max_trace_wait`` (seconds), ``max_requests_per_second``,
    ``client_protocol_handler`` (:class:`~geventcql.protocol.ProtocolHandler`: an application's own decoding of rows).
    """

    max_trace_wait = 2.0

    def __init__(self, cluster: Cluster, keyspace: str | None = None) -> None:
        super().__init__(cluster)
        self.encoder = Encoder()
        self.is_shutdown = False
        self.max_requests_per_second = cluster.max_requests_per_second
        self._settle()
        self._init_listeners: list[tuple[Callable[..., Any], Any, Any]] = []
        if keyspace is not None:
            self.keyspace = keyspace

    # -- executing ----------------------------------------------------------------------------------------------------

    def execute(
        self,
        query: Any,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        timeout: Any = NOT_SET,
        trace: bool = False,
        custom_payload: Mapping[str, bytes | None] | None = None,
        execution_profile: Any = EXEC_PROFILE_DEFAULT,
        paging_state: bytes | None = None,
        host: Any = None,
        execute_as: str | None = None,
    ) -> ResultSet:
        """Execute a statement and wait for its result.

        :param query: CQL text, or a simple, prepared, bound or batch statement
        :param parameters: for a prepared statement its values, by position or by name; for CQL text what ``%s`` or
            ``%(name)s`` in it stand for
        :param timeout: seconds; None for no limit; the profile's if left out
        :param trace: have the server trace the request
        :param custom_payload: bytes by name for the server's query handler (protocol v4 and later)
        :param execution_profile: the name of a profile, or a profile
        :param paging_state: of an earlier ResultSet: go on from there
        :param host: the only host to ask
        :param execute_as: the user to act for (DSE proxy authentication)
        :returns: the rows
        :raises OperationTimedOut: no answer within the timeout
        :raises NoHostAvailable: no host could be asked; its ``errors`` say why
        :raises Busy: too many requests are waiting for a connection with room, or for their turn
        :raises DriverException: the server's error, by its class
        """
        if thread_id() != self._thread or getcurrent() is self._hub:
            self._check_wait()
        future = None
        try:
            future = self.execute_async(
                query, parameters, trace, custom_payload, timeout, execution_profile, paging_state, host, execute_as
            )
            if future._waiter is None:
                park(future, self._hub)
            else:  # a listener or a policy gave it to another greenlet, which is parked on it already
                future.wait()
            if future._failed:
                raise future.exception
            return ResultSet(future, get_outcome(future))
        except BaseException as error:
            if isinstance(error, (Busy, NoHostAvailable)) or (future is None and isinstance(error, Exception)):
                # Perhaps nothing was waited for: trying again in a loop must not keep the hub from its work.
                gevent.sleep(A_TURN)
            elif future is not None:  # a kill or a Timeout: nobody will ask for this answer any more
                future._execution.cancel()
            future = None  # its error leads here, and is not to lead back to it
            raise

    def execute_async(
        self,
        query: Any,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        trace: bool = False,
        custom_payload: Mapping[str, bytes | None] | None = None,
        timeout: Any = NOT_SET,
        execution_profile: Any = EXEC_PROFILE_DEFAULT,
        paging_state: bytes | None = None,
        host: Any = None,
        execute_as: str | None = None,
    ) -> ResponseFuture:
        """Send a statement; does not wait. The parameters are those of :meth:`execute`.

        :returns: the future, which gets every later error
        :raises EncodeError: a value does not fit its parameter
        :raises Busy: too many requests are waiting for a connection with room, or for their turn
        """
        if thread_id() != self._thread or self._hub.loop is None:
            self._check_thread()
            self._check_open()
        if (
            type(query) is PreparedStatement
            and execution_profile is EXEC_PROFILE_DEFAULT
            and not (trace or custom_payload or paging_state or execute_as)
        ):
            resolved = query._templates.get(self._shape)
            if resolved is None:
                resolved = self._remember(query)
            values = query.encoder.encode(() if parameters is None else parameters)
            statement = None  # made of the prepared one and its values where it is asked for
        else:
            used = keyspaces.used(query)
            if used is not None:
                return self._use(query, used, execution_profile, timeout)
            statement, resolved, values = self._resolve(
                query, parameters, trace, custom_payload, execution_profile, paging_state, execute_as
            )
        execution = self._execution_class(
            self,
            resolved,
            values,
            self.timestamp_generator() if resolved.timestamped else 0,
            resolved.timeout if timeout is NOT_SET else timeout,
            host,
        )
        future = ResponseFuture()
        future._execution = execution
        if statement is not None:
            execution._statement = statement  # policies and listeners are to see it itself
        if self._init_listeners:
            execution.sink = future
            self._tell_init_listeners(future)
            if execution._over():  # its time, or the Session, while they ran
                return future
        execution.start(future)
        return future

    def _remember(self, prepared: PreparedStatement) -> Resolved:
        profile = self._profile(EXEC_PROFILE_DEFAULT)
        resolved = resolve(self, prepared, profile, self._timeout(profile))
        if prepared.custom_payload is None:  # it may be changed in place
            prepared._templates[self._shape] = resolved
            self._remembered.statements.add(prepared)
        return resolved

    def _resolve(
        self,
        query: Any,
        parameters: Any,
        trace: bool,
        custom_payload: Mapping[str, bytes | None] | None,
        execution_profile: Any,
        paging_state: bytes | None,
        execute_as: str | None,
    ) -> tuple[Statement | None, Resolved, bytes]:
        if execute_as is not None:
            custom_payload = {**(custom_payload or {}), "ProxyExecute": execute_as.encode()}
        statement, values = with_parameters(self, query, parameters)
        if type(statement) in HAS_VARIANTS and not (trace or custom_payload or paging_state):
            resolved = variant(self, statement, execution_profile)
        else:
            profile = self._profile(execution_profile)
            resolved = resolve(
                self, statement, profile, self._timeout(profile),
                trace=trace, custom_payload=custom_payload, paging_state=paging_state,
            )  # fmt: skip
        return None if isinstance(statement, PreparedStatement) else statement, resolved, values

    def execute_graph(self, query: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused with UnsupportedOperation: DataStax Enterprise's graph is not supported."""
        raise UnsupportedOperation(NO_GRAPH)

    execute_graph_async = execute_graph

    def prepare(
        self, query: str, custom_payload: Mapping[str, bytes | None] | None = None, keyspace: str | None = None
    ) -> PreparedStatement:
        """Have the server parse a statement, to be executed any number of times; waits.

        The answers for the texts prepared last are kept (``Cluster(prepared_cache_size=...)``): the same text again is a new
        statement, but no PREPARE, until the schema changes.

        :param query: CQL with ``?`` or ``:name`` for the values
        :param custom_payload: sent along with PREPARE; the statement's own ``custom_payload``, which goes with each
            execution, is what the server answered with
        :param keyspace: the keyspace of unqualified names (protocol v5); the Session's if left out
        :raises UnsupportedOperation: it is a ``USE``
        """
        self._check_wait()
        self._check_open()
        text = query.query_string if isinstance(query, SimpleStatement) else query
        if keyspaces.used(text) is not None:  # executed, it would move the keyspace of a connection that others use
            raise UnsupportedOperation(f"USE cannot be prepared: execute {text!r} as it is, or call set_keyspace()")
        profile = self._profile(EXEC_PROFILE_DEFAULT)
        statement = SimpleStatement(text, keyspace=keyspace, is_idempotent=True)
        resolved = resolve(
            self, statement, profile, self._timeout(profile), custom_payload=custom_payload, prepare=text
        )
        message = self.cluster._preparer.prepare(self, resolved)
        named, version = resolved.options.keyspace, resolved.options.version  # as they were when it was sent
        if version < ProtocolVersion.V4 and message.pk_indexes is None:
            message.pk_indexes = self.cluster._schema.partition_key_indexes(message.bind_columns)
        prepared = PreparedStatement.from_response(message, text, named, version)
        prepared.custom_payload = message.custom_payload  # type: ignore[assignment]
        return prepared

    def _run(self, execution: Execution) -> Any:
        """Run one of the driver's own requests and wait: its Page or message."""
        fetch = Fetch()
        try:
            execution.start(fetch)
            return outcome(fetch)
        except BaseException:
            execution.cancel()
            del fetch  # as in execute()
            raise

    def execute_concurrent(
        self,
        statements_and_parameters: Iterable[tuple[Any, Any]],
        concurrency: int = 100,
        raise_on_first_error: bool = True,
        results_generator: bool = False,
        execution_profile: Any = EXEC_PROFILE_DEFAULT,
    ) -> Any:
        """See :func:`geventcql.concurrent.execute_concurrent`."""
        return concurrent.execute_concurrent(
            self, statements_and_parameters, concurrency, raise_on_first_error, results_generator, execution_profile
        )

    def execute_concurrent_with_args(self, statement: Any, parameters: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        """See :func:`geventcql.concurrent.execute_concurrent_with_args`."""
        return concurrent.execute_concurrent_with_args(self, statement, parameters, *args, **kwargs)

    def execute_concurrent_async(
        self,
        statements_and_parameters: Iterable[tuple[Any, Any]],
        concurrency: int = 100,
        raise_on_first_error: bool = False,
        execution_profile: Any = EXEC_PROFILE_DEFAULT,
    ) -> Any:
        """See :func:`geventcql.concurrent.execute_concurrent_async`."""
        return concurrent.execute_concurrent_async(
            self, statements_and_parameters, concurrency, raise_on_first_error, execution_profile
        )

    def imap(
        self, statement: Any, parameters: Iterable[Any], concurrency: int = 100, execution_profile: Any = EXEC_PROFILE_DEFAULT
    ) -> Iterator[ResultSet]:
        """Execute ``statement`` with each of ``parameters``; results in the order of the parameters.

        As gevent.pool's ``imap``: the parameters are pulled as there is room, so memory stays flat however many there are; a
        failed request raises where its result is due. Leaving the loop stops the sending.

        :param concurrency: requests under way, or ended and not yet taken, at once
        """
        return concurrent.imap(self, statement, parameters, concurrency, execution_profile, ordered=True)

    def imap_unordered(
        self, statement: Any, parameters: Iterable[Any], concurrency: int = 100, execution_profile: Any = EXEC_PROFILE_DEFAULT
    ) -> Iterator[ResultSet]:
        """As :meth:`imap`; results in the order in which they come."""
        return concurrent.imap(self, statement, parameters, concurrency, execution_profile, ordered=False)

    # -- keyspace and listeners --------------------------------------------------------------------------------------------

    def set_keyspace(self, keyspace: str) -> None:
        """Unqualified names are in ``keyspace`` from now on; waits.

        :raises InvalidRequest: there is no such keyspace
        """
        self._check_wait()
        self.cluster._enter_keyspace(keyspace)
        self.keyspace = keyspace

    def _use(self, query: str | SimpleStatement, keyspace: str, execution_profile: Any, timeout: Any) -> ResponseFuture:
        """``USE`` is never sent on a shared connection: it acts as :meth:`set_keyspace`, in a greenlet of the driver's."""
        statement = SimpleStatement(query) if isinstance(query, str) else query
        profile = self._profile(execution_profile)
        resolved = resolve(self, statement, profile, self._timeout(profile) if timeout is NOT_SET else timeout)
        execution = Execution(self, resolved, b"", 0, resolved.timeout)
        execution.host = self.cluster.get_control_connection_host()  # which is asked whether there is such a keyspace
        execution.sink = future = ResponseFuture.of(execution)

        def enter() -> None:
            execution.stage = f"keyspace {keyspace} was not looked up"
            self.cluster._enter_keyspace(keyspace)
            if not execution.done:  # nobody finds a keyspace set behind a USE that failed
                self.keyspace = keyspace
                execution._finish(Page.void())

        execution._decide(enter)
        return future

    def add_request_init_listener(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``fn(future, *args, **kwargs)`` for each request before it is sent, in the greenlet that sends it."""
        self._init_listeners.append((fn, args, kwargs))

    def _tell_init_listeners(self, future: ResponseFuture) -> None:
        try:
            for fn, args, kwargs in list(self._init_listeners):
                fn(future, *args, **kwargs)
        except BaseException as error:
            future.fail(as_outcome(error, None))  # others may have got hold of it
            raise

    def remove_request_init_listener(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Take back :meth:`add_request_init_listener`.

        :raises ValueError: it was not added
        """
        self._init_listeners.remove((fn, args, kwargs))

    def user_type_registered(self, keyspace: str, user_type: str, klass: type) -> None:
        """A class was registered for a user type: statements are to be prepared anew to use it. Waits.

        :raises UserTypeDoesNotExist: there is no such type
        """
        self._check_wait()
        field_names = self.cluster._control.user_type_fields(keyspace, user_type)
        self.encoder.mapping[klass] = self.encoder.user_type_writer(field_names)
        self._reshape()

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> list[Any]:
        """All hosts of the cluster."""
        return self.cluster.metadata.all_hosts()

    def get_pools(self) -> list[Any]:
        """The pools that this Session's requests may use."""
        return self.cluster._registry.pools()

    def get_pool_state(self) -> dict[Any, dict[str, Any]]:
        """For each host, over all its pools: open connections, requests in flight and orphaned, bytes unsent, and the last
        error.
        """
        states = {}
        for host, pools in itertools.groupby(self.get_pools(), key=lambda pool: pool.host):
            of_host = list(pools)
            connections = [connection for pool in of_host for connection in pool.connections]
            states[host] = {
                "open_count": len(connections),
                "in_flights": [c.in_flight for c in connections],
                "orphan_requests": [c.orphaned for c in connections],
                "unsent_bytes": [c.unsent_bytes for c in connections],
                "last_error": next((pool.last_error for pool in of_host if pool.last_error is not None), None),
                "shutdown": all(pool.is_shutdown for pool in of_host),
            }
        return states

    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Submitted:
        """Run ``fn(*args, **kwargs)`` in a greenlet of the driver's, which ends with the Cluster.

        :returns: the greenlet, which has ``result`` and ``done``, too
        """
        self._check_thread()
        submitted = Submitted(fn, *args, **kwargs)
        self.cluster._greenlets.start(submitted)
        return submitted

    def shutdown(self) -> None:
        """End the Session: waiting requests fail, requests in flight end by themselves. Twice is harmless.

        :raises WrongHubError: it belongs to another thread
        """
        if self.is_shutdown:
            return
        self.cluster._check_thread()
        self.is_shutdown = True
        self._refuse()
        self._reshape()  # statements live on: they need not keep this Session
        for queue in (self._throttle, self._admission):
            if queue is not None:
                queue.fail_all(
                    lambda execution: ConnectionShutdown(
                        f"the Session was shut down while the request waited for {execution.queue.waits_for}"
                    )
                )
        self.cluster.sessions.discard(self)

    def _refuse(self) -> None:
        """Take no new requests; those that are under way go on."""
        self._thread = -1

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        state = "shut down" if self.is_shutdown else "open"
        waiting = len(self._admission) + len(self._throttle or ())
        return f"<Session {state} keyspace={self.keyspace} waiting={waiting} of {self.cluster!r}>"

    # -- for the driver's other parts -----------------------------------------------------------------------------------

    def _spawn(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.cluster._greenlets.spawn(fn, *args, **kwargs)

    def _log_warnings(self, warnings: list[str]) -> None:
        # A log call may switch under a patched logging module, and this runs in the reader.
        # Without the statement: its text and values may be secrets.
        self._spawn(log.warning, "Server warning: %s", shown_words(warnings))

    def _message_received(self, execution: Execution, message: Any) -> Any:
        """An answer that is neither a page nor an error; in the request's cold path. What the sink gets."""
        if isinstance(message, SchemaChange):
            execution.stage = "the statement was executed, but the nodes did not agree on the changed schema"
            execution.schema_agreed = self.cluster._schema_changed(message, execution.connection)
        elif isinstance(message, SetKeyspace) and execution.connection is not None:
            # Nobody may find a keyspace set that he did not ask for.
            self.cluster._replace_connection(execution.connection)
        elif not isinstance(execution.resolved, ResolvedPrepare):
            raise DriverException(f"{execution.host} answered a request with {type(message).__name__}")
        return message if isinstance(execution.resolved, ResolvedPrepare) else Page.void()

    def _read_trace(self, trace_id: uuid.UUID, max_wait: float | None, query_cl: int) -> Any:
        return tracing.read_trace(self, trace_id, self.max_trace_wait if max_wait is None else max_wait, query_cl)

