"""The classes of CQL's own types (layer: model). Each names the compiled type that reads and writes its values."""

from __future__ import annotations

from typing import Any, ClassVar

from geventcql.cqltypes.base import CassandraType, CassandraTypeType, apache_cassandra_type_prefix, lookup_casstype
from geventcql.cython import codecs

__all__ = [
    "AsciiType",
    "BooleanType",
    "ByteType",
    "BytesType",
    "ColumnToCollectionType",
    "CompositeType",
    "CounterColumnType",
    "DateType",
    "DecimalType",
    "DoubleType",
    "DurationType",
    "DynamicCompositeType",
    "FloatType",
    "FrozenType",
    "InetAddressType",
    "Int32Type",
    "IntegerType",
    "ListType",
    "LongType",
    "MapType",
    "ReversedType",
    "SetType",
    "ShortType",
    "SimpleDateType",
    "TimeType",
    "TimeUUIDType",
    "TimestampType",
    "TupleType",
    "UTF8Type",
    "UUIDType",
    "UserType",
    "VarcharType",
    "VectorType",
    "is_counter_type",
    "is_reversed_casstype",
]


class BytesType(CassandraType):
    """blob: bytes."""

    typename = "blob"
    empty_binary_ok = True
    _compiled = codecs.BytesType


class DecimalType(CassandraType):
    """decimal: Decimal."""

    typename = "decimal"
    _compiled = codecs.DecimalType


class UUIDType(CassandraType):
    """uuid: uuid.UUID."""

    typename = "uuid"
    _compiled = codecs.UUIDType
    _size = 16


class BooleanType(CassandraType):
    """boolean: bool."""

    typename = "boolean"
    _compiled = codecs.BooleanType
    _size = 1


class ByteType(CassandraType):
    """tinyint: int."""

    typename = "tinyint"
    _compiled = codecs.ByteType


class AsciiType(CassandraType):
    """ascii: str."""

    typename = "ascii"
    empty_binary_ok = True
    _compiled = codecs.AsciiType


class FloatType(CassandraType):
    """float: float, rounded to 32 bits."""

    typename = "float"
    _compiled = codecs.FloatType
    _size = 4


class DoubleType(CassandraType):
    """double: float."""

    typename = "double"
    _compiled = codecs.DoubleType
    _size = 8


class LongType(CassandraType):
    """bigint: int."""

    typename = "bigint"
    _compiled = codecs.LongType
    _size = 8


class Int32Type(CassandraType):
    """int: int."""

    typename = "int"
    _compiled = codecs.Int32Type
    _size = 4


class IntegerType(CassandraType):
    """varint: int of any size."""

    typename = "varint"
    _compiled = codecs.IntegerType


class InetAddressType(CassandraType):
    """inet: str."""

    typename = "inet"
    _compiled = codecs.InetAddressType


class CounterColumnType(LongType):
    """counter: int."""

    typename = "counter"
    _compiled = codecs.CounterColumnType


class DateType(CassandraType):
    """timestamp: datetime.datetime, naive, UTC. Its name before Cassandra 2.0, and the base of applications' own."""

    typename = "timestamp"
    _compiled: ClassVar[Any] = codecs.TimestampType
    _size = 8


class TimestampType(DateType):
    """timestamp: datetime.datetime, naive, UTC."""


class TimeUUIDType(DateType):
    """timeuuid: uuid.UUID."""

    typename = "timeuuid"
    _compiled = codecs.TimeUUIDType
    _size = 16


class SimpleDateType(CassandraType):
    """date: util.Date."""

    typename = "date"
    _compiled = codecs.SimpleDateType
    date_format = "%Y-%m-%d"
    EPOCH_OFFSET_DAYS = 2**31


class ShortType(CassandraType):
    """smallint: int."""

    typename = "smallint"
    _compiled = codecs.ShortType


class TimeType(CassandraType):
    """time: util.Time."""

    typename = "time"
    _compiled = codecs.TimeType


class DurationType(CassandraType):
    """duration: util.Duration."""

    typename = "duration"
    _compiled = codecs.DurationType


class UTF8Type(CassandraType):
    """text: str."""

    typename = "text"
    empty_binary_ok = True
    _compiled = codecs.UTF8Type


class VarcharType(UTF8Type):
    """varchar, another name of text."""

    typename = "varchar"


class _ParameterizedType(CassandraType):
    num_subtypes: ClassVar[int | str] = "UNKNOWN"


class ListType(_ParameterizedType):
    """list: list."""

    typename = "list"
    num_subtypes = 1
    _compiled = codecs.ListType


class SetType(_ParameterizedType):
    """set: util.SortedSet."""

    typename = "set"
    num_subtypes = 1
    _compiled = codecs.SetType


class MapType(_ParameterizedType):
    """map: dict, or util.OrderedMapSerializedKey if the keys cannot be hashed."""

    typename = "map"
    num_subtypes = 2
    _compiled = codecs.MapType


class FrozenType(_ParameterizedType):
    """frozen: what is in it."""

    typename = "frozen"
    num_subtypes = 1
    _compiled = codecs.FrozenType


class ReversedType(_ParameterizedType):
    """A clustering column in descending order: what is in it."""

    typename = f"{apache_cassandra_type_prefix}ReversedType"
    num_subtypes = 1
    _compiled = codecs.ReversedType


class TupleType(_ParameterizedType):
    """tuple: tuple."""

    typename = "tuple"
    _compiled: ClassVar[Any] = codecs.TupleType

    @classmethod
    def cql_parameterized_type(cls) -> str:
        return f"frozen<tuple<{', '.join(subtype.cql_parameterized_type() for subtype in cls.subtypes)}>>"

    @classmethod
    def _make_native(cls) -> codecs.CqlType:
        native: codecs.CqlType = cls._compiled(tuple(subtype._codec() for subtype in cls.subtypes))
        return native


class CompositeType(TupleType):
    """Several values in one, of tables without a CQL schema: tuple."""

    typename = f"{apache_cassandra_type_prefix}CompositeType"
    _compiled = codecs.CompositeType

    @classmethod
    def cql_parameterized_type(cls) -> str:
        return f"'{cls.cass_parameterized_type(full=True)}'"


class DynamicCompositeType(_ParameterizedType):
    """Values of types that each names; bytes pass through."""

    typename = f"{apache_cassandra_type_prefix}DynamicCompositeType"

    @classmethod
    def cql_parameterized_type(cls) -> str:
        pairs = zip(cls.fieldnames or (), cls.subtypes, strict=False)
        inner = ", ".join(f"{alias}=>{subtype.cass_parameterized_type(full=True)}" for alias, subtype in pairs)
        return f"'{cls.typename}({inner})'"


class ColumnToCollectionType(_ParameterizedType):
    """Of tables without a CQL schema; has no values."""

    typename = f"{apache_cassandra_type_prefix}ColumnToCollectionType"


class UserType(TupleType):
    """A user defined type: an instance of `mapped_class`, else a named tuple."""

    typename = f"{apache_cassandra_type_prefix}UserType"
    keyspace: ClassVar[str] = ""
    mapped_class: ClassVar[Any] = None
    tuple_type: ClassVar[Any] = None

    @classmethod
    def make_udt_class(cls, keyspace: str, udt_name: str, field_names: Any, field_types: Any) -> Any:
        """The class of a user type.

        :raises ValueError: there are more names than types, or less
        """
        codec = codecs.UserType(tuple(t._codec() for t in field_types), keyspace, udt_name, tuple(field_names))
        return cls._of(codec, tuple(field_types))

    @classmethod
    def _of(cls, codec: codecs.UserType, subtypes: Any) -> Any:
        return CassandraTypeType(
            f"_{codec.type_name}",
            (cls,),
            {
                "subtypes": subtypes, "cassname": cls.cassname, "typename": codec.type_name, "fieldnames": codec.field_names,
                "keyspace": codec.keyspace, "mapped_class": codec.user_class, "tuple_type": codec.row_class,
            },
        )  # fmt: skip

    @classmethod
    def apply_parameters(cls, subtypes: Any, names: Any = None) -> Any:
        """As the server writes it: the keyspace, the type's name and those of its fields in hexadecimal."""
        keyspace = subtypes[0].cass_parameterized_type()
        fields = [bytes.fromhex(name).decode() for name in names[2:]]
        return cls.make_udt_class(keyspace, bytes.fromhex(subtypes[1].cassname).decode(), fields, subtypes[2:])

    @classmethod
    def cql_parameterized_type(cls) -> str:
        return f"frozen<{cls.typename}>"

    @classmethod
    def _make_native(cls) -> codecs.CqlType:
        codes = tuple(subtype._codec() for subtype in cls.subtypes)
        return codecs.UserType(codes, cls.keyspace, cls.typename, tuple(cls.fieldnames or ()), cls.mapped_class)


class VectorType(CassandraType):
    """vector: list of `vector_size` values of `subtype`."""

    typename = f"{apache_cassandra_type_prefix}VectorType"
    vector_size: ClassVar[int] = 0
    subtype: ClassVar[Any] = None

    @classmethod
    def apply_parameters(cls, params: Any, names: Any = None) -> Any:
        subtype, size = params
        made = {"vector_size": int(size), "subtype": lookup_casstype(subtype), "cassname": cls.cassname}
        return CassandraTypeType(f"{cls.cassname}({size})", (cls,), made)

    @classmethod
    def serial_size(cls) -> int | None:
        size: int | None = cls.subtype.serial_size()
        return None if size is None else cls.vector_size * size

    @classmethod
    def cql_parameterized_type(cls) -> str:
        return f"{cls.typename}<{cls.subtype.cql_parameterized_type()}, {cls.vector_size}>"

    @classmethod
    def cass_parameterized_type(cls, full: bool = False) -> str:
        name = cls.cass_parameterized_type_with((), full)
        if cls.subtype is None:
            return name
        return f"{name}({cls.subtype.cass_parameterized_type(full=full)}, {cls.vector_size})"

    @classmethod
    def _make_native(cls) -> codecs.CqlType:
        if cls.subtype is None:
            raise NotImplementedError("a vector without a type and a dimension has no values: apply_parameters")
        return codecs.VectorType(cls.subtype._codec(), cls.vector_size)


def is_counter_type(t: Any) -> bool:
    """Whether a class, or the name of a server's class, is the counter's."""
    return issubclass(lookup_casstype(t), CounterColumnType)


def is_reversed_casstype(data_type: Any) -> bool:
    """Whether a class is that of a clustering column in descending order."""
    return issubclass(data_type, ReversedType)
