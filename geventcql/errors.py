"""Every exception of the driver, and the ERROR messages of a server as exceptions.

Layer: foundation; imports nothing of ours. Any greenlet may raise or create these: nothing here waits or logs.

Names, hierarchy, signatures and attributes are those of cassandra-driver (`cassandra`, `cassandra.cluster`,
`cassandra.connection`, `cassandra.pool`, `cassandra.query`, `cassandra.protocol`), so that `except` clauses of
applications go on working. Where two of its modules use one name for two classes, the one that `cassandra.protocol`
has ends in `ErrorMessage` here, and `geventcql.protocol` exports it under the name it has there:

    errors.RequestExecutionErrorMessage   protocol.RequestExecutionException
    errors.RequestValidationErrorMessage  protocol.RequestValidationException
    errors.ConfigurationErrorMessage      protocol.ConfigurationException

The driver adds what it knows of a failed request to the exception (`host`, `elapsed`, `attempts`, `in_flight`, `waited`,
`hub_lag`); `str()` shows what is set, and the last two where they matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

# Protocol section 3, [consistency]; the index is the value on the wire.
CONSISTENCY_NAMES = (
    "ANY",
    "ONE",
    "TWO",
    "THREE",
    "QUORUM",
    "ALL",
    "LOCAL_QUORUM",
    "EACH_QUORUM",
    "SERIAL",
    "LOCAL_SERIAL",
    "LOCAL_ONE",
)
# cassandra.WriteType: the index is its value; the wire carries the name.
WRITE_TYPE_NAMES = ("SIMPLE", "BATCH", "UNLOGGED_BATCH", "COUNTER", "BATCH_LOG", "CAS", "VIEW", "CDC")


def consistency_name(value: int | None) -> str:
    """Name of a consistency level, "Not Set" for None, the number itself for one that no protocol version has."""
    if value is None:
        return "Not Set"
    return CONSISTENCY_NAMES[value] if 0 <= value < len(CONSISTENCY_NAMES) else f"0x{value:04x}"


def write_type_name(value: int | str | None) -> str | None:
    """Name of a WriteType value; a name (of a kind that this driver does not know) is returned as it is."""
    return WRITE_TYPE_NAMES[value] if isinstance(value, int) else value


SECONDS = "{:.3f} s"
CONTEXT = {"host": "{}", "elapsed": SECONDS, "attempts": "{}", "in_flight": "{}", "waited": SECONDS, "hub_lag": SECONDS}
WORTH_TELLING = 0.05  # seconds; shorter waits and lags explain nothing


class RequestContext:
    """Mixin: what the driver knows of the request that ended with this exception; None where it knows nothing.

    `host`: the node; `elapsed`: seconds since the request began; `attempts`: how often it was sent; `in_flight`:
    requests on that connection at the time; `waited`: of those seconds, how many it was in a queue of the driver's, for a
    connection with room or its turn under a limit; `hub_lag`: how late the driver's timers came at most in the last minute or
    two, seconds, because something else kept the hub busy.
    """

    host: Any = None
    elapsed: float | None = None
    attempts: int | None = None
    in_flight: int | None = None
    waited: float | None = None
    hub_lag: float | None = None

    def context(self) -> str:
        """The attributes that are set, as text: "host=..., elapsed=1.234 s, attempts=2, in_flight=7"; may be ''."""
        parts = []
        for name, form in CONTEXT.items():
            value = getattr(self, name)
            if value is not None and (name not in ("waited", "hub_lag") or value >= WORTH_TELLING):
                parts.append(f"{name}={form.format(value)}")
        return ", ".join(parts)

    def __str__(self) -> str:
        context = self.context()
        text = super().__str__()
        return f"{text} [{context}]" if context else text

    # Copies and pickles get the text and the attributes that were made: `__init__` made them from other arguments.

    def __copy__(self: Any) -> Any:
        return _again(type(self), self.args, vars(self))

    def __reduce__(self: Any) -> tuple[Any, ...]:
        return _again, (type(self), _portable(self.args), _portable(vars(self)))


def _again(kind: type[BaseException], args: tuple[Any, ...], attributes: Mapping[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


def _portable(value: Any) -> Any:
    """`value` if it can be pickled; else what it contains, one by one, or its text: a Host may hold anything."""
    import pickle  # hardly any program pickles errors: not worth its time at every import

    try:
        pickle.loads(pickle.dumps(value))
    except Exception:
        if isinstance(value, Mapping):
            return {_portable(key): _portable(item) for key, item in value.items()}
        return type(value)(map(_portable, value)) if type(value) in (list, tuple) else str(value)
    return value


# -- cassandra -------------------------------------------------------------------------------------------------------


class DriverException(RequestContext, Exception):
    """Base of what the driver raises itself, and of most of what a server's ERROR becomes."""


class RequestExecutionException(DriverException):
    """The server accepted the request and failed to execute it."""


class Unavailable(RequestExecutionException):
    """Too few replicas were alive for the consistency level; nothing was executed."""

    def __init__(
        self,
        summary_message: str,
        consistency: int | None = None,
        required_replicas: int | None = None,
        alive_replicas: int | None = None,
    ) -> None:
        self.consistency = consistency
        self.required_replicas = required_replicas
        self.alive_replicas = alive_replicas
        info = {
            "consistency": consistency_name(consistency),
            "required_replicas": required_replicas,
            "alive_replicas": alive_replicas,
        }
        super().__init__(f"{summary_message} info={info!r}")


class Timeout(RequestExecutionException):
    """Too few replicas answered the coordinator in its own timeout; a write may have been applied all the same."""

    def __init__(
        self,
        summary_message: str,
        consistency: int | None = None,
        required_responses: int | None = None,
        received_responses: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.consistency = consistency
        self.required_responses = required_responses
        self.received_responses = received_responses
        info = {
            "consistency": consistency_name(consistency),
            "required_responses": required_responses,
            "received_responses": received_responses,
            **kwargs,
        }
        super().__init__(f"{summary_message} info={info!r}")


class ReadTimeout(Timeout):
    """A read timed out on the server; `data_retrieved`: whether the replica asked for the data itself answered."""

    def __init__(self, message: str, data_retrieved: bool | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.data_retrieved = data_retrieved


class WriteTimeout(Timeout):
    """A write timed out on the server. `write_type`: a WriteType value (or a name that the driver does not know).

    `contentions`: how often a lightweight transaction lost its round; protocol v5, write type CAS, else None.
    """

    def __init__(
        self, message: str, write_type: int | str | None = None, *, contentions: int | None = None, **kwargs: Any
    ) -> None:
        if contentions is not None:
            kwargs["contentions"] = contentions
        super().__init__(message, write_type=write_type_name(write_type), **kwargs)
        self.write_type = write_type
        self.contentions = contentions


class CDCWriteFailure(RequestExecutionException):
    """The server's directory for change data is full."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class CoordinationFailure(RequestExecutionException):
    """Replicas answered with a failure. `error_code_map`: address -> reason code, from protocol v5 on, else None."""

    def __init__(
        self,
        summary_message: str,
        consistency: int | None = None,
        required_responses: int | None = None,
        received_responses: int | None = None,
        failures: int | None = None,
        error_code_map: Mapping[str, int] | None = None,
    ) -> None:
        self.consistency = consistency
        self.required_responses = required_responses
        self.received_responses = received_responses
        self.failures = failures
        self.error_code_map = error_code_map
        info: dict[str, Any] = {
            "consistency": consistency_name(consistency),
            "required_responses": required_responses,
            "received_responses": received_responses,
            "failures": failures,
        }
        if error_code_map is not None:
            info["error_code_map"] = {address: f"0x{code:04x}" for address, code in error_code_map.items()}
        super().__init__(f"{summary_message} info={info!r}")


class ReadFailure(CoordinationFailure):
    """Replicas failed to read; `data_retrieved` as in ReadTimeout."""

    def __init__(self, message: str, data_retrieved: bool | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.data_retrieved = data_retrieved


class WriteFailure(CoordinationFailure):
    """Replicas failed to write; `write_type` as in WriteTimeout."""

    def __init__(self, message: str, write_type: int | str | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.write_type = write_type


class FunctionFailure(RequestExecutionException):
    """A user defined function raised: `keyspace`, `function`, `arg_types` (CQL names)."""

    def __init__(self, summary_message: str, keyspace: str, function: str, arg_types: Sequence[str]) -> None:
        self.keyspace = keyspace
        self.function = function
        self.arg_types = arg_types
        super().__init__(summary_message)


class RequestValidationException(DriverException):
    """The server refused the request without executing it."""


class ConfigurationException(RequestValidationException):
    """The request contradicts the configuration of the server or of the schema."""


class AlreadyExists(ConfigurationException):
    """The keyspace, or the table if `table` is set, exists already."""

    def __init__(self, keyspace: str | None = None, table: str | None = None) -> None:
        what = f"Table '{keyspace}.{table}'" if table else f"Keyspace '{keyspace}'"
        super().__init__(f"{what} already exists")
        self.keyspace = keyspace
        self.table = table


class InvalidRequest(RequestValidationException):
    """The query is well formed and wrong: an unknown table, a value of the wrong type and the like."""


class Unauthorized(RequestValidationException):
    """The user may not do this."""


class AuthenticationFailed(DriverException):
    """The server refused the credentials, or asked for some and none are configured."""


class OperationTimedOut(DriverException):
    """The driver's own timeout ran out.

    `errors`: what attempts before the last one ended with, by host; `last_host`: the one whose answer is missing.
    """

    def __init__(self, errors: Mapping[Any, Any] | None = None, last_host: Any = None) -> None:
        self.errors = errors
        self.last_host = last_host
        super().__init__(f"errors={errors}, last_host={last_host}")


class UnsupportedOperation(DriverException):
    """The protocol version in use, or the server, lacks the feature."""


class UnresolvableContactPoints(DriverException):
    """None of the contact points' names could be resolved."""


class DependencyException(Exception):
    """An optional dependency is missing or broken; `excs`: what importing it raised."""

    def __init__(self, msg: str, excs: Sequence[BaseException] = ()) -> None:
        self.excs = excs
        if excs:
            msg += "\nThe following exceptions were observed: \n - " + "\n - ".join(str(exc) for exc in excs)
        super().__init__(msg)


# -- cassandra.cluster, cassandra.query, cassandra.pool --------------------------------------------------------------


class NoHostAvailable(RequestContext, Exception):
    """No host could execute the request; `errors`: what each host that was tried ended with, by host."""

    def __init__(self, message: str, errors: Mapping[Any, Any]) -> None:
        super().__init__(message, errors)
        self.errors = errors


class QueryExhausted(Exception):
    """The next page was asked for and there is none (see `has_more_pages`)."""


class UserTypeDoesNotExist(Exception):
    """A class was registered for a user type that the keyspace does not have."""


class TraceUnavailable(Exception):
    """The trace of a query is not there, or not complete, in the time given."""


class NoConnectionsAvailable(RequestContext, Exception):
    """The host has no open connection, or all of them are full."""


# -- cassandra.connection --------------------------------------------------------------------------------------------


class ConnectionException(RequestContext, Exception):
    """A connection could not be opened, or broke; `endpoint`: where to (None if not known)."""

    def __init__(self, message: str, endpoint: Any = None) -> None:
        super().__init__(message)
        self.endpoint = endpoint

    @property
    def host(self) -> Any:
        """The address of the endpoint, or what the driver set."""
        return self.__dict__.get("host", getattr(self.endpoint, "address", None))

    @host.setter
    def host(self, host: Any) -> None:
        self.__dict__["host"] = host


class ConnectionShutdown(ConnectionException):
    """The connection was closed, by the driver or after an error, before the request ended."""


class ProtocolVersionUnsupported(ConnectionException):
    """The server does not speak protocol version `startup_version`.

    `reason`: its own words. `next_version`: the lower one that its answer suggests, 0 if it speaks none of ours, None
    if it did not say.
    """

    next_version: int | None = None

    def __init__(self, endpoint: Any, startup_version: int, reason: str = "") -> None:
        message = f"Unsupported protocol version on {endpoint}: {startup_version}"
        super().__init__(f"{message} ({reason})" if reason else message, endpoint)
        self.startup_version = startup_version


class ConnectionBusy(RequestContext, Exception):
    """The connection has as many requests in flight as it takes."""


class ProtocolError(RequestContext, Exception):
    """What the server sent does not follow the protocol."""


class CrcMismatchException(ConnectionException):
    """A segment of protocol v5 has a wrong checksum."""


class NotSupportedError(ProtocolError):
    """The server sent a kind of message or of type that the driver does not know (`cassandra.protocol`)."""


# -- ours ------------------------------------------------------------------------------------------------------------


class FrameError(ProtocolError):
    """A frame, or the body of a message, is truncated or its lengths contradict each other."""


class Busy(DriverException, NoConnectionsAvailable):
    """The queue of waiting requests is full; nothing was sent. `waiting`: requests in the queue at that moment; `in_flight`:
    those whose answer was awaited from the hosts that this one might have gone to.
    """

    def __init__(self, waiting: int, in_flight: int, waits_for: str = "a connection with room") -> None:
        super().__init__(
            f"{waiting} requests are waiting for {waits_for} already, and {in_flight} are in flight: the request was not "
            "sent; send fewer at once, or allow more"
        )
        self.waiting = waiting
        self.in_flight = in_flight


class ForkedError(DriverException):
    """The process forked after this request was made; its answer goes to the parent."""

    def __init__(
        self, message: str = "the request belongs to the process that this one was forked from; send it again"
    ) -> None:
        super().__init__(message)


class WrongHubError(DriverException):
    """Used from another thread than the one whose hub connected it."""

    def __init__(
        self, message: str = "a Cluster belongs to the thread that connected it: make one in each thread that needs one"
    ) -> None:
        super().__init__(message)


class DecodeError(DriverException):
    """A cell does not hold what its type says: `column`, `cql_type`, `reason`; `host` is added by the driver."""

    def __init__(self, column: str, cql_type: str, host: Any = None, reason: str = "") -> None:
        super().__init__(f"cannot decode column {column!r} of type {cql_type}" + (f": {reason}" if reason else ""))
        self.column = column
        self.cql_type = cql_type
        self.reason = reason
        if host is not None:
            self.host = host


class EncodeError(DriverException, TypeError, ValueError):
    """A value does not fit the CQL type of its parameter: `parameter`, `cql_type`, `value`, `reason`. The text does not show
    the value, which may be a secret.

    cassandra-driver raises TypeError or ValueError here, so it is both.
    """

    def __init__(self, parameter: str, cql_type: str, value: Any, reason: str = "") -> None:
        super().__init__(
            f"cannot encode parameter {parameter!r} as {cql_type}: a value of type {type(value).__name__}"
            + (f": {reason}" if reason else "")
        )
        self.parameter = parameter
        self.cql_type = cql_type
        self.value = value
        self.reason = reason


# -- cassandra.protocol: ERROR messages, protocol section 9 ------------------------------------------------------------

error_classes: dict[int, type[ErrorMessage]] = {}


class ErrorMessage(RequestContext, Exception):
    """An ERROR of the server: `code`, `message` (its text), `info` (the fields of that code, decoded).

    `warnings`, `custom_payload` and `trace_id` are those of the envelope it came in.
    """

    opcode: ClassVar[int] = 0x00
    name: ClassVar[str] = "ERROR"
    summary: ClassVar[str] = "Unknown"
    error_code: ClassVar[int | None] = None
    tracing = False
    warnings: list[str] | None = None
    custom_payload: dict[str, bytes | None] | None = None
    trace_id: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        code = cls.__dict__.get("error_code")
        if code is not None:
            error_classes[code] = cls

    def __init__(self, code: int, message: str, info: Any = None) -> None:
        super().__init__(code, message, info)
        self.code = code
        self.message = message
        self.info = info

    def summary_msg(self) -> str:
        """One line: the code, what it means, and the server's text."""
        return f'Error from server: code={self.code:04x} [{self.summary}] message="{self.message}"'

    def __str__(self) -> str:
        context = self.context()
        return f"<{self.summary_msg()}>" + (f" [{context}]" if context else "")

    __repr__ = __str__

    def to_exception(self) -> Exception:
        """The exception that an application gets: itself, if cassandra-driver has no other class for it."""
        return self


class RequestExecutionErrorMessage(ErrorMessage):
    """Base of the errors of execution (`cassandra.protocol.RequestExecutionException`)."""


class RequestValidationErrorMessage(ErrorMessage):
    """Base of the errors of validation (`cassandra.protocol.RequestValidationException`)."""


class ServerError(ErrorMessage):
    """Something went wrong in the server, most likely a fault of its own."""

    summary = "Server error"
    error_code = 0x0000


class ProtocolException(ErrorMessage):
    """The server says that the client broke the protocol, or speaks a version that it does not."""

    summary = "Protocol error"
    error_code = 0x000A

    @property
    def is_beta_protocol_error(self) -> bool:
        """Whether the version asked for is a beta there (Cassandra 3.10 and 3.11 answer v5 so)."""
        return "USE_BETA flag is unset" in self.message


class BadCredentials(ErrorMessage):
    """The server refused the user name or the password."""

    summary = "Bad credentials"
    error_code = 0x0100


class UnavailableErrorMessage(RequestExecutionErrorMessage):
    """`info`: consistency, required_replicas, alive_replicas."""

    summary = "Unavailable exception"
    error_code = 0x1000

    def to_exception(self) -> Exception:
        return Unavailable(self.summary_msg(), **self.info)


class OverloadedErrorMessage(RequestExecutionErrorMessage):
    """The coordinator has too much to do; nothing was executed."""

    summary = "Coordinator node overloaded"
    error_code = 0x1001


class IsBootstrappingErrorMessage(RequestExecutionErrorMessage):
    """The coordinator is joining the ring; nothing was executed."""

    summary = "Coordinator node is bootstrapping"
    error_code = 0x1002


class TruncateError(RequestExecutionErrorMessage):
    """A TRUNCATE failed."""

    summary = "Error during truncate"
    error_code = 0x1003


class WriteTimeoutErrorMessage(RequestExecutionErrorMessage):
    """`info`: consistency, received_responses, required_responses, write_type.

    `contentions` stands apart, because retry policies get `info` as their keyword arguments.
    """

    summary = "Coordinator node timed out waiting for replica nodes' responses"
    error_code = 0x1100
    contentions: int | None = None

    def to_exception(self) -> Exception:
        return WriteTimeout(self.summary_msg(), contentions=self.contentions, **self.info)


class ReadTimeoutErrorMessage(RequestExecutionErrorMessage):
    """`info`: consistency, received_responses, required_responses, data_retrieved."""

    summary = "Coordinator node timed out waiting for replica nodes' responses"
    error_code = 0x1200

    def to_exception(self) -> Exception:
        return ReadTimeout(self.summary_msg(), **self.info)


class ReadFailureMessage(RequestExecutionErrorMessage):
    """`info`: consistency, received_responses, required_responses, failures, error_code_map, data_retrieved."""

    summary = "Replica(s) failed to execute read"
    error_code = 0x1300

    def to_exception(self) -> Exception:
        return ReadFailure(self.summary_msg(), **self.info)


class FunctionFailureMessage(RequestExecutionErrorMessage):
    """`info`: keyspace, function, arg_types."""

    summary = "User Defined Function failure"
    error_code = 0x1400

    def to_exception(self) -> Exception:
        return FunctionFailure(self.summary_msg(), **self.info)


class WriteFailureMessage(RequestExecutionErrorMessage):
    """`info`: consistency, received_responses, required_responses, failures, error_code_map, write_type."""

    summary = "Replica(s) failed to execute write"
    error_code = 0x1500

    def to_exception(self) -> Exception:
        return WriteFailure(self.summary_msg(), **self.info)


class CDCWriteException(RequestExecutionErrorMessage):
    """The server's directory for change data is full."""

    summary = "Failed to execute write due to CDC space exhaustion."
    error_code = 0x1600


class CASWriteUnknown(RequestExecutionErrorMessage):
    """A lightweight transaction whose outcome nobody knows (protocol v5); read the row to learn it.

    `info`: consistency, received_responses, required_responses.
    """

    summary = "Outcome of the lightweight transaction is unknown"
    error_code = 0x1700


class SyntaxException(RequestValidationErrorMessage):
    """The query does not parse."""

    summary = "Syntax error in CQL query"
    error_code = 0x2000


class UnauthorizedErrorMessage(RequestValidationErrorMessage):
    """The user may not do this."""

    summary = "Unauthorized"
    error_code = 0x2100

    def to_exception(self) -> Exception:
        return Unauthorized(self.summary_msg())


class InvalidRequestException(RequestValidationErrorMessage):
    """The query is well formed and wrong."""

    summary = "Invalid query"
    error_code = 0x2200

    def to_exception(self) -> Exception:
        return InvalidRequest(self.summary_msg())


class ConfigurationErrorMessage(RequestValidationErrorMessage):
    """`cassandra.protocol.ConfigurationException`: the request contradicts the configuration."""

    summary = "Query invalid because of configuration issue"
    error_code = 0x2300


class PreparedQueryNotFound(RequestValidationErrorMessage):
    """The node does not know the prepared statement; `info`: its id (bytes)."""

    summary = "Matching prepared statement not found on this node"
    error_code = 0x2500


class AlreadyExistsException(ConfigurationErrorMessage):
    """`info`: keyspace, table ('' for a keyspace)."""

    summary = "Item already exists"
    error_code = 0x2400

    def to_exception(self) -> Exception:
        return AlreadyExists(**self.info)


class ClientWriteError(RequestExecutionErrorMessage):
    """A DataStax server could not write to the client."""

    summary = "Client write failure."
    error_code = 0x8000
