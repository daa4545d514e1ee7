"""The names and numbers: those of cassandra-driver, where it has them."""

from __future__ import annotations

import cassandra
import cassandra.protocol
import cassandra.query
import pytest

from geventcql.protocol import constants


@pytest.mark.parametrize("name", ["ConsistencyLevel", "WriteType", "SchemaChangeType", "SchemaTargetType"])
def test_classes_of_constants_are_theirs(name: str) -> None:
    theirs, ours = getattr(cassandra, name), getattr(constants, name)
    wanted = {key: value for key, value in vars(theirs).items() if not key.startswith("_") and key != "is_serial"}
    assert wanted
    for key, value in wanted.items():
        assert getattr(ours, key) == value


def test_serial_consistency_levels() -> None:
    serial = {name for name, value in constants.ConsistencyLevel.name_to_value.items() if cassandra_says(value)}
    assert serial == {"SERIAL", "LOCAL_SERIAL"}
    for value in constants.ConsistencyLevel.value_to_name:
        assert constants.ConsistencyLevel.is_serial(value) is cassandra_says(value)
    assert constants.ConsistencyLevel.is_serial(None) is False


def cassandra_says(value: int) -> bool:
    """cassandra-driver's opinion."""
    answer: bool = cassandra.ConsistencyLevel.is_serial(value)
    return answer


@pytest.mark.parametrize("value", [None, *range(11)])
def test_names_of_consistency_levels(value: int | None) -> None:
    assert constants.consistency_value_to_name(value) == cassandra.consistency_value_to_name(value)


def test_versions() -> None:
    ours, theirs = constants.ProtocolVersion, cassandra.ProtocolVersion
    for name in ("V1", "V2", "V3", "V4", "V5", "V6", "DSE_V1", "DSE_V2"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.SUPPORTED_VERSIONS == (5, 4, 3)
    assert (ours.MIN_SUPPORTED, ours.MAX_SUPPORTED) == (3, 5)
    assert [ours.get_lower_supported(version) for version in (66, 6, 5, 4, 3, 1)] == [5, 5, 4, 3, 0, 0]


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize(
    "question", [name for name in dir(cassandra.ProtocolVersion) if name.startswith(("uses_", "has_"))]
)
def test_what_a_version_has(question: str, version: int) -> None:
    ours, theirs = (getattr(where.ProtocolVersion, question)(version) for where in (constants, cassandra))
    assert ours is theirs


def test_opcodes_flags_and_kinds() -> None:
    for opcode, message in cassandra.protocol.get_registered_classes().items():
        if message.name not in ("CREDENTIALS", "REVISE_REQUEST"):  # of v1, and of DSE
            assert constants.Opcode[message.name] == opcode
    for name in ("COMPRESSED", "TRACING", "CUSTOM_PAYLOAD", "WARNING", "USE_BETA"):
        assert getattr(constants, f"FLAG_{name}") == getattr(cassandra.protocol, f"{name}_FLAG")
    for name in ("VOID", "ROWS", "SET_KEYSPACE", "PREPARED", "SCHEMA_CHANGE"):
        assert getattr(constants, f"RESULT_KIND_{name}") == getattr(cassandra.protocol, f"RESULT_KIND_{name}")


def test_batch_types() -> None:
    for name in ("LOGGED", "UNLOGGED", "COUNTER"):
        theirs, ours = getattr(cassandra.query.BatchType, name), getattr(constants.BatchType, name)
        assert (ours.value, ours.name, str(ours), repr(ours)) == (theirs.value, theirs.name, str(theirs), repr(theirs))


def test_signatures() -> None:
    ours = constants.UserFunctionDescriptor("f", ["int", "text"])
    theirs = cassandra.UserFunctionDescriptor("f", ["int", "text"])
    assert ours.signature == theirs.signature == "f(int,text)"
    assert repr(ours) == repr(theirs)
    assert ours == constants.UserFunctionDescriptor("f", ("int", "text"))
    assert ours != constants.UserFunctionDescriptor("f", ["int"])
    assert ours != constants.UserAggregateDescriptor("f", ["int", "text"])
    assert len({ours, constants.UserFunctionDescriptor("f", ["int", "text"])}) == 1
