"""The exceptions: the same classes, hierarchy, texts and attributes as cassandra-driver's, and what ours add."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
import types
from typing import Any

import cassandra
import cassandra.cluster
import cassandra.connection
import cassandra.pool
import cassandra.protocol
import cassandra.query
import pytest

from geventcql import errors, protocol
from geventcql.host import DefaultEndPoint, Host
from geventcql.policies import SimpleConvictionPolicy

THEIR_MODULES = (cassandra, cassandra.cluster, cassandra.connection, cassandra.pool, cassandra.query)


def exceptions_of(module: types.ModuleType) -> dict[str, type[BaseException]]:
    """The exception classes that `module` itself defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == module.__name__
    }


PAIRS = [
    pytest.param(theirs, getattr(errors, name, None), id=f"{module.__name__}.{name}")
    for module in THEIR_MODULES
    for name, theirs in sorted(exceptions_of(module).items())
]
PROTOCOL_NAMES = sorted(
    name
    for name, value in exceptions_of(cassandra.protocol).items()
    if issubclass(value, cassandra.protocol.ErrorMessage) and name != "ErrorMessageSub"
)


def test_the_lists_below_are_not_empty() -> None:
    assert len(PAIRS) > 25
    assert len(PROTOCOL_NAMES) > 20


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_every_exception_is_there_with_its_parameters(theirs: type[Exception], ours: type[Exception]) -> None:
    assert ours is not None
    assert ours.__name__ == theirs.__name__
    if "__init__" in vars(theirs):
        wanted = inspect.signature(theirs).parameters
        have = inspect.signature(ours).parameters
        assert list(have)[: len([p for p in wanted.values() if p.kind is not p.VAR_KEYWORD])] == [
            name for name, p in wanted.items() if p.kind is not p.VAR_KEYWORD
        ]
        for name, parameter in wanted.items():
            if parameter.default is not parameter.empty and name != "excs":
                assert have[name].default == parameter.default


def test_the_hierarchy_is_theirs() -> None:
    pairs: list[Any] = [param.values for param in PAIRS]
    for (their_a, our_a), (their_b, our_b) in itertools.product(pairs, repeat=2):
        assert issubclass(our_a, our_b) is issubclass(their_a, their_b), (our_a, our_b)


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_every_error_message_is_exported_under_its_name(name: str) -> None:
    theirs, ours = getattr(cassandra.protocol, name), getattr(protocol, name)
    assert ours.summary == theirs.summary
    assert ours.error_code == getattr(theirs, "error_code", None)
    for other in PROTOCOL_NAMES:
        assert issubclass(ours, getattr(protocol, other)) is issubclass(theirs, getattr(cassandra.protocol, other))


def test_two_classes_of_one_name_stay_two() -> None:
    assert not issubclass(protocol.ConfigurationException, errors.DriverException)
    assert issubclass(protocol.AlreadyExistsException, protocol.ConfigurationException)
    assert issubclass(errors.AlreadyExists, errors.ConfigurationException)


SAMPLES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Unavailable", ("m", 1, 2, 1), {}),
    ("Unavailable", ("m",), {}),
    ("Timeout", ("m",), {"consistency": 4, "required_responses": 2, "received_responses": 1}),
    ("ReadTimeout", ("m",), {"data_retrieved": True, "consistency": 10}),
    ("WriteTimeout", ("m",), {"write_type": 0, "consistency": 4, "required_responses": 2, "received_responses": 1}),
    ("CDCWriteFailure", ("m",), {}),
    ("CoordinationFailure", ("m", 1, 2, 3, 4), {}),
    ("ReadFailure", ("m", True), {"consistency": 1, "error_code_map": {"1.1.1.1": 1}}),
    ("WriteFailure", ("m", 5), {"consistency": 1, "failures": 2}),
    ("FunctionFailure", ("m", "ks", "f", ["int"]), {}),
    ("AlreadyExists", ("ks", "t"), {}),
    ("AlreadyExists", ("ks",), {}),
    ("AlreadyExists", ("ks", ""), {}),
    ("OperationTimedOut", ({"h": ValueError("x")}, "h"), {}),
    ("OperationTimedOut", (), {}),
    ("InvalidRequest", ("m",), {}),
    ("DependencyException", ("m", [ValueError("a"), TypeError("b")]), {}),
    ("DependencyException", ("m",), {}),
    ("NoHostAvailable", ("m", {"h": 1}), {}),
    ("ConnectionException", ("m", None), {}),
    ("ProtocolVersionUnsupported", ("h:1", 5), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), SAMPLES)
def test_text_arguments_and_attributes_are_theirs(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    their_class = next(getattr(module, name) for module in THEIR_MODULES if hasattr(module, name))
    theirs, ours = their_class(*args, **kwargs), getattr(errors, name)(*args, **kwargs)
    assert str(ours) == str(theirs)
    assert [str(arg) for arg in ours.args] == [str(arg) for arg in theirs.args]
    for attribute, value in vars(theirs).items():
        assert getattr(ours, attribute) == value, attribute


def test_unknown_consistency_levels_and_write_types_are_shown_as_they_came() -> None:
    assert "'consistency': '0x0063'" in str(errors.Unavailable("m", 99, 1, 0))
    assert "'write_type': 'PAXOS'" in str(errors.WriteTimeout("m", "PAXOS"))
    assert errors.WriteTimeout("m").write_type is None


def test_contentions_are_kept_and_shown() -> None:
    error = errors.WriteTimeoutErrorMessage(
        0x1100, "m", {"consistency": 8, "received_responses": 1, "required_responses": 2, "write_type": 5}
    )
    error.contentions = 7
    exception = error.to_exception()
    assert isinstance(exception, errors.WriteTimeout)
    assert exception.contentions == 7
    assert "'contentions': 7" in str(exception)
    assert "contentions" not in error.info  # retry policies get it as keyword arguments


@pytest.mark.parametrize(
    "exception",
    [
        errors.DriverException("text"),
        errors.OperationTimedOut({}, "h"),
        errors.NoHostAvailable("text", {}),
        errors.ConnectionShutdown("text"),
        errors.ConnectionBusy("text"),
        errors.ProtocolError("text"),
        errors.ErrorMessage(0x2000, "text"),
    ],
    ids=lambda exception: type(exception).__name__,
)
def test_the_context_of_a_request_is_shown(exception: Any) -> None:
    before = str(exception)
    assert exception.context() == ""
    exception.host = "127.0.0.1:9042"
    exception.elapsed = 1.23456
    exception.attempts = 2
    exception.in_flight = 300
    exception.waited = exception.hub_lag = 0.049
    assert str(exception) == f"{before} [host=127.0.0.1:9042, elapsed=1.235 s, attempts=2, in_flight=300]"
    exception.waited, exception.hub_lag = 0.25, 1.0
    assert str(exception).endswith("in_flight=300, waited=0.250 s, hub_lag=1.000 s]")


def test_connection_exceptions_know_the_host_of_their_endpoint() -> None:
    endpoint = types.SimpleNamespace(address="127.0.0.7")
    error = errors.ConnectionShutdown("m", endpoint)
    assert error.host == "127.0.0.7"
    assert errors.ConnectionException("m").host is None
    assert errors.CrcMismatchException("m", endpoint).endpoint is endpoint
    error.host = "elsewhere"
    assert error.host == "elsewhere"


def test_protocol_version_unsupported_tells_why() -> None:
    error = errors.ProtocolVersionUnsupported("h:1", 5, "try 4")
    assert str(error) == "Unsupported protocol version on h:1: 5 (try 4)"
    assert (error.startup_version, error.next_version) == (5, None)


def test_encode_errors_name_parameter_and_type_and_are_type_and_value_errors() -> None:
    error = errors.EncodeError("age", "int", "x" * 1000, "not a number")
    for base in (errors.DriverException, TypeError, ValueError):
        assert isinstance(error, base)
    text = str(error)
    assert "'age'" in text and "as int" in text and "of type str" in text and "not a number" in text
    assert "xx" not in text
    assert (error.parameter, error.cql_type, error.value, error.reason) == ("age", "int", "x" * 1000, "not a number")


def test_encode_errors_survive_a_value_without_a_repr() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Mute" in str(errors.EncodeError("p", "int", Mute()))


def test_decode_errors_name_column_type_reason_and_host() -> None:
    error = errors.DecodeError("age", "int", reason="3 bytes, an int has 4")
    assert str(error) == "cannot decode column 'age' of type int: 3 bytes, an int has 4"
    assert error.host is None
    error.host = "127.0.0.1"
    assert str(error).endswith("[host=127.0.0.1]")
    assert errors.DecodeError("age", "int", "h").host == "h"


def test_busy_tells_how_many_wait() -> None:
    error = errors.Busy(65536, 2048)
    assert (error.waiting, error.in_flight) == (65536, 2048)
    assert "65536" in str(error) and "in_flight=2048" in str(error)
    assert isinstance(error, errors.DriverException) and isinstance(error, errors.NoConnectionsAvailable)


def test_frame_errors_are_protocol_errors() -> None:
    assert issubclass(errors.FrameError, errors.ProtocolError)
    assert issubclass(protocol.NotSupportedError, errors.ProtocolError)
    assert protocol.InternalError is errors.FrameError  # what cassandra-driver raises for a bad [inet]


def test_named_errors_say_what_to_do_without_being_told() -> None:
    assert "forked" in str(errors.ForkedError())
    assert "thread" in str(errors.WrongHubError())


def test_error_messages_show_code_meaning_and_text() -> None:
    ours = errors.SyntaxException(0x2000, "line 1", None)
    theirs = cassandra.protocol.SyntaxException(0x2000, "line 1", None)
    assert str(ours) == repr(ours) == str(theirs)
    assert ours.to_exception() is ours
    assert ours.args == theirs.args


def test_each_code_has_one_class() -> None:
    assert errors.error_classes.keys() >= cassandra.protocol.error_classes.keys()
    for code, error_class in errors.error_classes.items():
        assert error_class.error_code == code
    assert protocol.error_classes is errors.error_classes


def test_a_subclass_of_an_application_takes_no_code() -> None:
    class Mine(errors.SyntaxException):
        pass

    assert errors.error_classes[0x2000] is errors.SyntaxException
    assert Mine(0x2000, "m").info is None


# -- copies and pickles --------------------------------------------------------------------------------------------------

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "AlreadyExists": ("ks", "t"),
    "Busy": (5, 7),
    "CoordinationFailure": ("m", 1, 2, 3, 4, {"127.0.0.1": 1}),
    "DecodeError": ("c", "int", "127.0.0.1:9042", "3 bytes"),
    "DependencyException": ("m", [ValueError("a")]),
    "EncodeError": ("p", "int", {"some": "value"}, "no number"),
    "FunctionFailure": ("m", "ks", "f", ["int"]),
    "NoHostAvailable": ("m", {"h": errors.Busy(1, 2)}),
    "OperationTimedOut": ({"h": errors.Unavailable("m", 1, 2, 3)}, "h"),
    "ProtocolVersionUnsupported": (DefaultEndPoint("127.0.0.1"), 5, "m"),
    "Timeout": ("m", 4, 2, 1),
    "Unavailable": ("m", 1, 2, 1),
}


def a_sample(kind: type[Exception]) -> Any:
    """An exception of that class, with all that the driver adds to it."""
    message = (kind.error_code or 0, "m", {"consistency": 1}) if issubclass(kind, errors.ErrorMessage) else ("m",)
    error: Any = kind(*ARGUMENTS.get(kind.__name__, message))
    if isinstance(error, errors.RequestContext):
        error.host, error.elapsed, error.attempts, error.in_flight = Host("127.0.0.1", SimpleConvictionPolicy), 1.5, 2, 3
        error.waited, error.hub_lag = 0.25, 1.0
    error.more = "set by an application"
    return error


@pytest.mark.parametrize("kind", exceptions_of(errors).values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_copies_and_pickles_are_what_they_came_from(kind: type[Exception], again: Any) -> None:
    error = a_sample(kind)
    other = again(error)
    assert type(other) is kind and other is not error
    assert (str(other), repr(other.args), repr(vars(other))) == (str(error), repr(error.args), repr(vars(error)))


def test_what_cannot_be_pickled_travels_as_text() -> None:
    host: Any = Host("127.0.0.1", SimpleConvictionPolicy)
    host.conviction_policy.judge = lambda: True
    lost = errors.ConnectionShutdown("m", host.endpoint)
    lost.host = host

    class Odd(Exception):  # as a local class it has no name that others could import
        pass

    error = errors.NoHostAvailable("m", {host: lost, "other": [Odd("odd"), 5]})
    error.host = host
    for other in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert other.host == "127.0.0.1:9042" and other.context() == error.context() and other.args[0] == "m"
        assert other.errors["other"] == ["odd", 5] and str(other.errors["127.0.0.1:9042"]) == str(lost)
        assert type(other.errors["127.0.0.1:9042"]) is errors.ConnectionShutdown
    assert copy.copy(error).host is host and copy.copy(error).errors is error.errors
    value = lambda: 5  # noqa: E731
    wrong = errors.EncodeError("p", "int", value)
    assert str(pickle.loads(pickle.dumps(wrong))) == str(wrong) and pickle.loads(pickle.dumps(wrong)).value == str(value)


def test_errors_that_pickle_and_do_not_come_back_travel_as_text() -> None:
    error = errors.OperationTimedOut({"h": WithTwo(1, 2)}, "h")
    assert pickle.loads(pickle.dumps(error)).errors == {"h": "1 and 2"}


class WithTwo(Exception):
    """Its arguments are not those of its constructor."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
