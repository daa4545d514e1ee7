"""The native protocol without I/O: frames, requests, responses, handshake, compression.

Layer: protocol; imports the foundation and the compiled core only. Here stand the names that applications import from
`cassandra.protocol`.
"""

from typing import TYPE_CHECKING

from geventcql.cython.codecs import ColumnSpec as ColumnMetadata
from geventcql.errors import (
    AlreadyExistsException,
    BadCredentials,
    CASWriteUnknown,
    CDCWriteException,
    ClientWriteError,
    ErrorMessage,
    FunctionFailureMessage,
    InvalidRequestException,
    IsBootstrappingErrorMessage,
    NotSupportedError,
    OverloadedErrorMessage,
    PreparedQueryNotFound,
    ProtocolException,
    ReadFailureMessage,
    ReadTimeoutErrorMessage,
    ServerError,
    SyntaxException,
    TruncateError,
    UnauthorizedErrorMessage,
    UnavailableErrorMessage,
    WriteFailureMessage,
    WriteTimeoutErrorMessage,
    error_classes,
)
from geventcql.errors import ConfigurationErrorMessage as ConfigurationException
from geventcql.errors import FrameError as InternalError
from geventcql.errors import RequestExecutionErrorMessage as RequestExecutionException
from geventcql.errors import RequestValidationErrorMessage as RequestValidationException
from geventcql.handed_on import handing_on
from geventcql.protocol.constants import (
    RESULT_KIND_PREPARED,
    RESULT_KIND_ROWS,
    RESULT_KIND_SCHEMA_CHANGE,
    RESULT_KIND_SET_KEYSPACE,
    RESULT_KIND_VOID,
)
from geventcql.protocol.handler import (
    LazyProtocolHandler,
    NumpyProtocolHandler,
    ProtocolHandler,
    cython_protocol_handler,
)

__all__ = [
    "RESULT_KIND_PREPARED",
    "RESULT_KIND_ROWS",
    "RESULT_KIND_SCHEMA_CHANGE",
    "RESULT_KIND_SET_KEYSPACE",
    "RESULT_KIND_VOID",
    "AlreadyExistsException",
    "BadCredentials",
    "CASWriteUnknown",
    "CDCWriteException",
    "ClientWriteError",
    "ColumnMetadata",
    "ConfigurationException",
    "ErrorMessage",
    "FunctionFailureMessage",
    "InternalError",
    "InvalidRequestException",
    "IsBootstrappingErrorMessage",
    "LazyProtocolHandler",
    "NotSupportedError",
    "NumpyProtocolHandler",
    "OverloadedErrorMessage",
    "PreparedQueryNotFound",
    "ProtocolException",
    "ProtocolHandler",
    "ReadFailureMessage",
    "ReadTimeoutErrorMessage",
    "RequestExecutionException",
    "RequestValidationException",
    "ServerError",
    "SyntaxException",
    "TruncateError",
    "UnauthorizedErrorMessage",
    "UnavailableErrorMessage",
    "WriteFailureMessage",
    "WriteTimeoutErrorMessage",
    "cython_protocol_handler",
    "error_classes",
]

if not TYPE_CHECKING:
    __getattr__ = handing_on(__name__)
