"""Names that cassandra-driver's modules have only because they use them, and that applications import from there.

Layer: foundation. `from cassandra.query import ConsistencyLevel` is common, though it stands in `cassandra`. Each is looked up
in its own module when somebody asks for it; type checkers see it there only.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["HANDED_ON", "handing_on"]

# By the module that hands them on, and the one that has them.
HANDED_ON: dict[str, dict[str, str]] = {
    "cluster": {
        "geventcql": (
            "AuthenticationFailed ConsistencyLevel DependencyException OperationTimedOut SchemaTargetType "
            "UnresolvableContactPoints UnsupportedOperation"
        ),
        "geventcql.auth": "PlainTextAuthProvider",
        "geventcql.connection": (
            "ConnectionBusy ConnectionException ConnectionShutdown DefaultEndPoint DefaultEndPointFactory "
            "ProtocolVersionUnsupported SniEndPointFactory"
        ),
        "geventcql.cqltypes": "UserType",
        "geventcql.encoder": "Encoder",
        "geventcql.marshal": "int64_pack",
        "geventcql.metadata": "protect_name",
        "geventcql.policies": (
            "DCAwareRoundRobinPolicy DefaultLoadBalancingPolicy ExponentialReconnectionPolicy IdentityTranslator "
            "NeverRetryPolicy NoSpeculativeExecutionPlan NoSpeculativeExecutionPolicy RetryPolicy "
            "SimpleConvictionPolicy TokenAwarePolicy"
        ),
        "geventcql.pool": "NoConnectionsAvailable",
        "geventcql.protocol": (
            "ErrorMessage IsBootstrappingErrorMessage OverloadedErrorMessage PreparedQueryNotFound "
            "ProtocolException ProtocolHandler RESULT_KIND_PREPARED RESULT_KIND_ROWS RESULT_KIND_SCHEMA_CHANGE "
            "RESULT_KIND_SET_KEYSPACE RESULT_KIND_VOID ReadTimeoutErrorMessage ServerError TruncateError "
            "UnavailableErrorMessage WriteTimeoutErrorMessage"
        ),
        "geventcql.query": (
            "BatchStatement BoundStatement FETCH_SIZE_UNSET HostTargetingStatement PreparedStatement QueryTrace "
            "SimpleStatement TraceUnavailable bind_params dict_factory named_tuple_factory tuple_factory"
        ),
        "geventcql.timestamps": "MonotonicTimestampGenerator",
        "geventcql.util": "Version",
    },
    "query": {
        "geventcql": "ConsistencyLevel OperationTimedOut",
        "geventcql.policies": "ColDesc",
        "geventcql.util": "unix_time_from_uuid1",
    },
    "policies": {
        "geventcql": "ConsistencyLevel OperationTimedOut",
    },
    "concurrent": {
        "geventcql.cluster": "ResultSet",
    },
    "cqltypes": {
        "geventcql.marshal": (
            "double_pack double_unpack float_pack float_unpack int16_pack int16_unpack int32_pack int32_unpack "
            "int64_pack int64_unpack int8_pack int8_unpack uint16_pack uint16_unpack uint32_pack uint32_unpack "
            "uvint_pack uvint_unpack varint_pack varint_unpack vints_pack vints_unpack"
        ),
    },
    "metadata": {
        "geventcql": "ConsistencyLevel InvalidRequest SignatureDescriptor Unauthorized",
        "geventcql.connection": "EndPoint",
        "geventcql.encoder": "Encoder",
        "geventcql.marshal": "varint_unpack",
        "geventcql.policies": "HostDistance",
        "geventcql.query": "bind_params dict_factory",
        "geventcql.util": "Version",
    },
    "connection": {
        "geventcql": "AuthenticationFailed ConsistencyLevel OperationTimedOut ProtocolVersion",
        "geventcql.marshal": "int32_pack",
        "geventcql.protocol": "ErrorMessage InvalidRequestException ProtocolException ProtocolHandler",
    },
    "pool": {
        "geventcql": "AuthenticationFailed",
        "geventcql.connection": "ConnectionException DefaultEndPoint EndPoint",
        "geventcql.policies": "HostDistance",
    },
    "protocol": {
        "geventcql": (
            "AlreadyExists DriverException FunctionFailure InvalidRequest ProtocolVersion ReadFailure ReadTimeout "
            "SchemaTargetType Unauthorized Unavailable UnsupportedOperation UserAggregateDescriptor "
            "UserFunctionDescriptor WriteFailure WriteTimeout WriteType"
        ),
        "geventcql.cqltypes": (
            "AsciiType BooleanType ByteType BytesType CounterColumnType DateType DecimalType DoubleType "
            "DurationType FloatType InetAddressType Int32Type IntegerType ListType LongType MapType SetType "
            "ShortType SimpleDateType TimeType TimeUUIDType TupleType UTF8Type UUIDType UserType VarcharType "
            "lookup_casstype"
        ),
        "geventcql.marshal": (
            "int32_pack int32_unpack int8_unpack uint16_pack uint16_unpack uint32_pack uint64_pack uint8_pack"
        ),
        "geventcql.policies": "ColDesc",
    },
}


def handing_on(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that hands on names of others.

    :param module: its dotted name
    """
    homes = {name: home for home, names in HANDED_ON[module.removeprefix("geventcql.")].items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return __getattr__
