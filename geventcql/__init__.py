"""geventcql: the gevent-native driver for Apache Cassandra and ScyllaDB (layer: facade; re-exports only).

The short way::

    import geventcql

    with geventcql.connect(["127.0.0.1"]) as session:
        for row in session.execute("SELECT release_version FROM system.local"):
            print(row.release_version)

Applications of cassandra-driver find the names they know in the modules of the same names: ``geventcql.cluster``,
``geventcql.query``, ``geventcql.policies`` and so on.
"""

from geventcql._version import __version__
from geventcql.connecting import connect
from geventcql.errors import (
    AlreadyExists,
    AuthenticationFailed,
    Busy,
    CDCWriteFailure,
    ConfigurationException,
    CoordinationFailure,
    DecodeError,
    DependencyException,
    DriverException,
    EncodeError,
    ForkedError,
    FunctionFailure,
    InvalidRequest,
    NoHostAvailable,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    RequestExecutionException,
    RequestValidationException,
    Timeout,
    Unauthorized,
    Unavailable,
    UnresolvableContactPoints,
    UnsupportedOperation,
    WriteFailure,
    WriteTimeout,
    WrongHubError,
)
from geventcql.protocol.constants import (
    ConsistencyLevel,
    ProtocolVersion,
    SchemaChangeType,
    SchemaTargetType,
    SignatureDescriptor,
    UserAggregateDescriptor,
    UserFunctionDescriptor,
    WriteType,
    consistency_value_to_name,
)

__all__ = [
    "AlreadyExists",
    "AuthenticationFailed",
    "Busy",
    "CDCWriteFailure",
    "ConfigurationException",
    "ConsistencyLevel",
    "CoordinationFailure",
    "DecodeError",
    "DependencyException",
    "DriverException",
    "EncodeError",
    "ForkedError",
    "FunctionFailure",
    "InvalidRequest",
    "NoHostAvailable",
    "OperationTimedOut",
    "ProtocolVersion",
    "ReadFailure",
    "ReadTimeout",
    "RequestExecutionException",
    "RequestValidationException",
    "SchemaChangeType",
    "SchemaTargetType",
    "SignatureDescriptor",
    "Timeout",
    "Unauthorized",
    "Unavailable",
    "UnresolvableContactPoints",
    "UnsupportedOperation",
    "UserAggregateDescriptor",
    "UserFunctionDescriptor",
    "WriteFailure",
    "WriteTimeout",
    "WriteType",
    "WrongHubError",
    "__version__",
    "connect",
    "consistency_value_to_name",
]
