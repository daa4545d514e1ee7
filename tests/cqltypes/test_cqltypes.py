"""Type classes: against cassandra-driver's of the same names, and subclasses as applications write them."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import cassandra.cqltypes as theirs
import pytest

from geventcql import cqltypes, util
from geventcql.cqltypes import CassandraType, CassandraTypeType, class_of
from geventcql.cython import codecs
from geventcql.errors import DecodeError, EncodeError

PREFIX = "org.apache.cassandra.db.marshal."

CLASS_NAMES = [
    "Int32Type",
    f"{PREFIX}UTF8Type",
    "CounterColumnType",
    "MapType(UTF8Type,ListType(Int32Type))",
    f"{PREFIX}SetType({PREFIX}UUIDType)",
    "TupleType(Int32Type, UTF8Type)",
    "FrozenType(ListType(Int32Type))",
    "ReversedType(TimeUUIDType)",
    "UserType(ks,6e616d65,61:UTF8Type,62:Int32Type)",
    "CompositeType(Int32Type,UTF8Type)",
    "DynamicCompositeType(b=>BytesType,i=>Int32Type)",
    "ColumnToCollectionType(6a:ListType(Int32Type))",
    "com.acme.Unknown",
    "com.acme.Unknown(Int32Type)",
    "PointType",
]

VALUES: list[tuple[str, Any]] = [
    ("Int32Type", -5),
    ("LongType", 2**40),
    ("ShortType", 300),
    ("ByteType", -1),
    ("CounterColumnType", 7),
    ("IntegerType", -(2**70)),
    ("DecimalType", decimal.Decimal("-12.340")),
    ("FloatType", 1.5),
    ("DoubleType", 0.1),
    ("BooleanType", True),
    ("UTF8Type", "grün"),
    ("VarcharType", ""),
    ("AsciiType", "plain"),
    ("BytesType", b"\0\1"),
    ("UUIDType", uuid.UUID(int=5)),
    ("TimeUUIDType", uuid.uuid1()),
    ("InetAddressType", "10.0.0.1"),
    ("DateType", datetime.datetime(2024, 5, 1, 12, 30, 1, 5000)),
    ("TimestampType", datetime.datetime(1960, 1, 1)),
    ("ListType(Int32Type)", [1, 2]),
    ("MapType(UTF8Type,ListType(Int32Type))", {"a": [1], "b": []}),
    ("TupleType(Int32Type,UTF8Type)", (1, None)),
    ("ReversedType(Int32Type)", 3),
    ("FrozenType(ListType(UTF8Type))", ["x"]),
    ("VectorType(FloatType, 2)", [1.0, 2.0]),
    ("VectorType(UTF8Type, 2)", ["a", "bc"]),
]


@pytest.mark.parametrize("text", CLASS_NAMES)
def test_names_are_those_of_cassandra_driver(text: str) -> None:
    mine, other = cqltypes.lookup_casstype(text), theirs.lookup_casstype(text)
    assert mine.cql_parameterized_type() == other.cql_parameterized_type()
    for full in (False, True):
        assert mine.cass_parameterized_type(full=full) == other.cass_parameterized_type(full=full)
    assert (mine.typename, mine.cassname, len(mine.subtypes)) == (other.typename, other.cassname, len(other.subtypes))
    assert (mine.fieldnames or None) == (getattr(other, "fieldnames", None) or None)
    assert mine.serial_size() == other.serial_size()
    assert cqltypes.cql_typename(text) == theirs.cql_typename(text)


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_bytes_are_those_of_cassandra_driver(text: str, value: Any) -> None:
    mine, other = cqltypes.lookup_casstype(text), theirs.lookup_casstype(text)
    data = mine.to_binary(value, 4)
    assert data == mine.serialize(value, 4) == other.to_binary(value, 4)
    assert mine.from_binary(data, 4) == mine.deserialize(data, 4) == value


def test_every_class_of_cassandra_driver_is_there() -> None:
    for name, kind in vars(theirs).items():
        if isinstance(kind, theirs.CassandraTypeType) and not name.startswith("_") and name != "CassandraType":
            mine = getattr(cqltypes, name)
            assert (mine.typename, mine.num_subtypes, mine.empty_binary_ok) == (
                kind.typename, kind.num_subtypes, kind.empty_binary_ok,
            )  # fmt: skip
            bases = [base.__name__ for base in kind.__mro__ if base in vars(theirs).values()]
            assert next(base.__name__ for base in mine.__mro__ if base.__name__ in bases) == name


def test_null_and_no_bytes() -> None:
    assert cqltypes.Int32Type.from_binary(None, 4) is None and cqltypes.Int32Type.from_binary(b"", 4) is None
    assert cqltypes.UTF8Type.from_binary(b"", 4) == "" and cqltypes.Int32Type.to_binary(None, 4) == b""

    class _Thrift(cqltypes.Int32Type):
        support_empty_values = True

    assert _Thrift.from_binary(b"", 4) is cqltypes.EMPTY and str(cqltypes.EMPTY) == "EMPTY"
    assert _Thrift.from_binary(b"\0\0\0\1", 4) == 1


def test_wrong_values_and_bytes_are_named_errors() -> None:
    with pytest.raises(EncodeError):
        cqltypes.Int32Type.serialize("x", 4)
    with pytest.raises(DecodeError):
        cqltypes.Int32Type.deserialize(b"\0", 4)
    with pytest.raises(NotImplementedError, match="apply_parameters"):
        cqltypes.ListType.serialize([], 4)
    with pytest.raises(NotImplementedError, match="apply_parameters"):
        cqltypes.VectorType.serialize([], 4)
    with pytest.raises(ValueError, match="1 subtypes"):
        cqltypes.ListType.apply_parameters([cqltypes.Int32Type] * 2)
    with pytest.raises(ValueError, match="no type"):
        cqltypes.lookup_casstype("ListType(")


def test_parameters_are_applied() -> None:
    made = cqltypes.MapType.apply_parameters([cqltypes.UTF8Type, cqltypes.SetType.apply_parameters([cqltypes.Int32Type])])
    assert made.__name__ == "MapType(UTF8Type, SetType(Int32Type))" and issubclass(made, cqltypes.MapType)
    assert made.deserialize(made.serialize({"a": {2, 1}}, 4), 4) == {"a": {1, 2}}
    assert repr(made()) == "<map<text, set<int>>>"
    assert cqltypes.lookup_casstype(made) is made
    user = cqltypes.UserType.make_udt_class("ks", "address", ("street", "no"), (cqltypes.UTF8Type, cqltypes.Int32Type))
    assert user.deserialize(user.serialize(("a", 1), 4), 4) == user.tuple_type("a", 1)
    assert (user.keyspace, user.typename, user.fieldnames) == ("ks", "address", ("street", "no"))


def test_classes_of_compiled_types() -> None:
    class Address:
        def __init__(self, **fields: Any) -> None:
            self.fields = fields

    user = codecs.UserType((codecs.UTF8Type(),), "ks", "address", ("street",), Address)
    made = class_of(user)
    assert made.mapped_class is Address and made.subtypes == (cqltypes.UTF8Type,)
    assert made.deserialize(made.serialize({"street": "x"}, 4), 4).fields == {"street": "x"}
    text = f"{PREFIX}MapType({PREFIX}Int32Type,{PREFIX}VectorType({PREFIX}FloatType, 3))"
    assert class_of(codecs.parse_type_class(text)).subtypes[1].vector_size == 3
    assert class_of(codecs.parse_cql_type("text")) is cqltypes.UTF8Type
    mapped = class_of(codecs.parse_cql_type("map<text, frozen<list<text>>>"), of_column=True)
    assert mapped.cql_parameterized_type() == "map<varchar, frozen<list<varchar>>>"
    assert issubclass(mapped.subtypes[0], cqltypes.UTF8Type)
    assert cqltypes.is_counter_type("CounterColumnType") and not cqltypes.is_counter_type(cqltypes.LongType)
    assert cqltypes.is_reversed_casstype(cqltypes.lookup_casstype("ReversedType(Int32Type)"))


# -- as applications write them


def test_a_class_of_the_server_that_an_application_knows() -> None:
    class MoneyType(CassandraType):
        typename = "MoneyType"

        @staticmethod
        def serialize(val: Any, protocol_version: int) -> bytes:
            return f"{val[0]}{val[1]}".encode()

        @staticmethod
        def deserialize(byts: bytes, protocol_version: int) -> Any:
            assert isinstance(byts, bytes) and protocol_version == 5
            return int(byts[:-3]), byts[-3:].decode()

    assert cqltypes.lookup_casstype(f"{PREFIX}MoneyType") is MoneyType
    column = codecs.parse_type_class(f"{PREFIX}MapType({PREFIX}UTF8Type,{PREFIX}ListType({PREFIX}MoneyType))")
    assert column.decode(column.encode({"a": [(5, "EUR"), None]})) == {"a": [(5, "EUR"), None]}
    listed = cqltypes.ListType.apply_parameters([MoneyType])
    assert listed.deserialize(listed.serialize([(1, "USD")], 4), 4) == [(1, "USD")]
    assert class_of(column).subtypes[1].subtypes == [MoneyType]
    with pytest.raises(DecodeError, match="invalid literal"):
        codecs.parse_type_class(f"{PREFIX}MoneyType").decode(b"no money")
    with pytest.raises(EncodeError):
        codecs.parse_type_class(f"{PREFIX}MoneyType").encode(5)


def test_a_class_outside_cassandras_package() -> None:
    made = CassandraTypeType(
        "com.acme.Celsius",
        (CassandraType,),
        {"typename": "'com.acme.Celsius'", "deserialize": staticmethod(lambda byts, protocol_version: byts[0] - 100)},
    )
    column = codecs.parse_type_class("com.acme.Celsius")
    assert column.decode(b"\x78") == 20 and column.name == "'com.acme.Celsius'"
    assert column.encode(b"\x78") == b"\x78"  # without a serialize of its own, bytes pass through
    assert class_of(column) is made and made.cql_parameterized_type() == "'com.acme.Celsius'"


def test_parameters_of_an_applications_class() -> None:
    class PairType(CassandraType):
        typename = "PairType"
        num_subtypes = 2

        @classmethod
        def deserialize(cls, byts: bytes, protocol_version: int) -> Any:
            first, second = cls.subtypes
            return first.from_binary(byts[:4], protocol_version), second.from_binary(byts[4:], protocol_version)

    column = codecs.parse_type_class(f"{PREFIX}PairType({PREFIX}Int32Type,{PREFIX}ListType({PREFIX}UTF8Type))")
    assert column.decode(b"\0\0\0\1" + b"\0\0\0\1\0\0\0\1a") == (1, ["a"])
    with pytest.raises(ValueError, match="2 subtypes"):
        codecs.parse_type_class(f"{PREFIX}PairType({PREFIX}Int32Type)")


def test_a_subclass_of_one_of_cqls_own() -> None:
    class _Aware(cqltypes.DateType):
        @staticmethod
        def deserialize(byts: bytes, protocol_version: int) -> Any:
            return cqltypes.DateType.deserialize(byts, protocol_version).replace(tzinfo=datetime.timezone.utc)

    moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    assert _Aware.from_binary(_Aware.serialize(moment, 4), 4) == moment
    listed = cqltypes.ListType.apply_parameters([_Aware])
    assert listed.deserialize(listed.serialize([moment], 4), 4) == [moment]
    assert codecs.parse_cql_type("timestamp").decode(_Aware.serialize(moment, 4)).tzinfo is None


def test_keys_of_an_applications_class_need_not_be_hashable() -> None:
    class ListedType(CassandraType):
        typename = "ListedType"

        @staticmethod
        def serialize(val: Any, protocol_version: int) -> bytes:
            return bytes(val)

        @staticmethod
        def deserialize(byts: bytes, protocol_version: int) -> Any:
            return list(byts)

    column = codecs.parse_type_class(f"{PREFIX}MapType({PREFIX}ListedType,{PREFIX}Int32Type)")
    assert column.decode(column.encode(util.OrderedMap([([1, 2], 5)])))[[1, 2]] == 5


def test_a_vector_of_an_applications_class_counts_on_its_size() -> None:
    class SmallType(CassandraType):
        typename = "SmallType"

        @classmethod
        def serial_size(cls) -> int:
            return 1

        @staticmethod
        def serialize(val: Any, protocol_version: int) -> bytes:
            return bytes([val])

        @staticmethod
        def deserialize(byts: bytes, protocol_version: int) -> Any:
            return byts[0]

    column = codecs.parse_type_class(f"{PREFIX}VectorType({PREFIX}SmallType, 3)")
    assert column.encode([1, 2, 3]) == b"\1\2\3" and column.decode(b"\1\2\3") == [1, 2, 3]


def test_maps_by_the_encoding_of_their_keys_take_type_classes() -> None:
    made = util.OrderedMapSerializedKey(cqltypes.UTF8Type, 4)
    made["a"] = 1
    assert made["a"] == 1


# -- names as text


@pytest.mark.parametrize(
    "text",
    ["int", "frozen<tuple<text, int>>", "map<text, frozen<list<int>>>", 'frozen<"My Type">', "list<frozen<map<int, text>>>"],
)
def test_cql_types_as_lists(text: str) -> None:
    listed = cqltypes.cqltype_to_python(text)
    assert listed == theirs.cqltype_to_python(text)
    assert cqltypes.python_to_cqltype(listed) == theirs.python_to_cqltype(listed) == text
    assert cqltypes.strip_frozen(text) == theirs.strip_frozen(text)


def test_names_in_a_cql_type() -> None:
    text = "map<text, frozen<list<int>>>"
    assert cqltypes.cql_types_from_string(text) == theirs.cql_types_from_string(text) == ["map", "text", "list", "int"]
    for wrong in ("list<int", "list>"):
        with pytest.raises(ValueError, match="without"):
            cqltypes.cqltype_to_python(wrong)
