"""What all type classes share: the metaclass that registers them, the base that applications subclass, and the lookups.

Layer: model. Values are read and written by the compiled types of `geventcql.cython.codecs`, which each class finds by its
`_compiled`; a class of an application's that has code of its own is asked itself, also for the columns of that type.
Runs wherever values are read or bound.
"""

from __future__ import annotations

from typing import Any, ClassVar

from geventcql.cython import codecs

__all__ = [
    "EMPTY",
    "CassandraType",
    "CassandraTypeType",
    "EmptyValue",
    "apache_cassandra_type_prefix",
    "class_of",
    "cql_typename",
    "lookup_casstype",
    "lookup_casstype_simple",
    "mkUnrecognizedType",
]

apache_cassandra_type_prefix = codecs.CASS_PREFIX

_casstypes: dict[str, Any] = {}
"""Classes by the names of the server's classes, without Cassandra's package."""
_cqltypes: dict[str, Any] = {}
"""Classes by their names in CQL."""


class EmptyValue:
    """The class of :data:`EMPTY`."""

    def __str__(self) -> str:
        return "EMPTY"

    __repr__ = __str__


EMPTY = EmptyValue()
"""What `from_binary` gives for no bytes where a type has `support_empty_values`."""


class CassandraTypeType(type):
    """The metaclass of type classes: registers each under its name, which is the name of the server's class, unless that
    begins with an underscore (`cassandra.cqltypes.CassandraTypeType`).
    """

    def __new__(metacls, name: str, bases: tuple[type, ...], dct: dict[str, Any]) -> Any:
        dct.setdefault("cassname", name)
        made: Any = super().__new__(metacls, name, bases, dct)
        if "serialize" in dct or "deserialize" in dct:
            made._has_code = bool(bases)
        if not name.startswith("_") and "(" not in name:  # types with parameters are made anew when they are needed
            _casstypes[name] = made
            if not made.typename.startswith(apache_cassandra_type_prefix):
                _cqltypes[made.typename] = made
            if made._has_code:
                codecs.register_class(name, _class_by_text)
        return made


class _CassandraType(metaclass=CassandraTypeType):
    """A CQL type as a class; instances are not made (`cassandra.cqltypes.CassandraType`).

    To have columns of a server's class of its own read and written, an application makes a subclass named like that class
    (its whole name, if it is not in Cassandra's package; the metaclass can be called for that), with the static methods
    `serialize(val, protocol_version)` and `deserialize(byts, protocol_version)`. It counts for statements that are prepared
    or executed for the first time afterwards. `protocol_version` is 5 then: values are the same in v3, v4 and v5.

    `typename`: in CQL; `cassname`: the server's class; `subtypes`: the classes of its parameters.
    """

    typename: ClassVar[str] = ""
    cassname: ClassVar[str]
    subtypes: ClassVar[Any] = ()
    num_subtypes: ClassVar[int | str] = 0
    fieldnames: ClassVar[Any] = None
    empty_binary_ok: ClassVar[bool] = False
    """Whether no bytes are a value; else they stand for null."""
    support_empty_values: ClassVar[bool] = False
    """Whether `from_binary` gives EMPTY, rather than None, for no bytes."""

    _compiled: ClassVar[Any] = None
    """The compiled type's class; None: bytes pass through."""
    _has_code: ClassVar[bool] = False
    """Whether this class or a base of it has a serialize or deserialize of its own."""
    _size: ClassVar[int | None] = None
    """Bytes of every value, if they are always the same and the server counts on it in a vector."""

    def __repr__(self) -> str:
        return f"<{self.cql_parameterized_type()}>"

    @classmethod
    def from_binary(cls, byts: bytes | None, protocol_version: int) -> Any:
        """The value of `byts`: None for None, and for no bytes unless they are a value of this type."""
        if byts is None:
            return None
        if not byts and not cls.empty_binary_ok:
            return EMPTY if cls.support_empty_values else None
        return cls.deserialize(byts, protocol_version)

    @classmethod
    def to_binary(cls, val: Any, protocol_version: int) -> bytes | None:
        """The bytes of `val`; none for None."""
        return b"" if val is None else cls.serialize(val, protocol_version)

    @classmethod
    def deserialize(cls, byts: bytes, protocol_version: int) -> Any:
        """The value of `byts`.

        :raises DecodeError: they are none of this type
        """
        return cls._native().decode(byts)

    @classmethod
    def serialize(cls, val: Any, protocol_version: int) -> bytes | None:
        """The bytes of `val`.

        :raises EncodeError: it does not fit the type
        """
        return cls._native().encode(val)

    @classmethod
    def cass_parameterized_type_with(cls, subtypes: Any, full: bool = False) -> str:
        """The server's class name with `subtypes` as its parameters; `full`: with Cassandra's package."""
        name = apache_cassandra_type_prefix + cls.cassname if full and "." not in cls.cassname else cls.cassname
        if not subtypes:
            return name
        return f"{name}({', '.join(subtype.cass_parameterized_type(full=full) for subtype in subtypes)})"

    @classmethod
    def cass_parameterized_type(cls, full: bool = False) -> str:
        """The server's class name with its parameters; `full`: with Cassandra's package."""
        return cls.cass_parameterized_type_with(cls.subtypes, full=full)

    @classmethod
    def cql_parameterized_type(cls) -> str:
        """The type as CQL writes it."""
        if not cls.subtypes:
            return cls.typename
        return f"{cls.typename}<{', '.join(subtype.cql_parameterized_type() for subtype in cls.subtypes)}>"

    @classmethod
    def apply_parameters(cls, subtypes: Any, names: Any = None) -> Any:
        """This type with parameters: a subclass with these `subtypes`, and `names` for them.

        :raises ValueError: it takes another number of them
        """
        if cls.num_subtypes != "UNKNOWN" and len(subtypes) != cls.num_subtypes:
            raise ValueError(f"{cls.typename} types require {cls.num_subtypes} subtypes ({len(subtypes)} given)")
        name = cls.cass_parameterized_type_with(subtypes)
        return CassandraTypeType(name, (cls,), {"subtypes": subtypes, "cassname": cls.cassname, "fieldnames": names})

    @classmethod
    def serial_size(cls) -> int | None:
        """Bytes of every value, if a vector stores them without their lengths; else None."""
        return cls._size

    @classmethod
    def _codec(cls) -> codecs.CqlType:
        """What reads and writes columns of this type."""
        if cls._has_code:
            return codecs.ApplicationType(cls.cass_parameterized_type(full=True), cls)
        return cls._native()

    @classmethod
    def _native(cls) -> codecs.CqlType:
        """The compiled type below this class, whatever code it has of its own."""
        native: codecs.CqlType | None = cls.__dict__.get("_native_made")
        if native is None:
            native = cls._native_made = cls._make_native()  # type: ignore[attr-defined]
        return native

    @classmethod
    def _make_native(cls) -> codecs.CqlType:
        if cls._compiled is None:
            return codecs.CustomType(cls.cass_parameterized_type(full=True))
        if cls.num_subtypes and not cls.subtypes:
            raise NotImplementedError(f"{cls.typename} without the types of its elements has no values: apply_parameters")
        native: codecs.CqlType = cls._compiled(*(subtype._codec() for subtype in cls.subtypes))
        return native


CassandraType = _CassandraType
"""The name that applications subclass it by; not one that is registered."""


class _UnrecognizedType(_CassandraType):
    num_subtypes = "UNKNOWN"


def mkUnrecognizedType(casstypename: str) -> Any:
    """A class for a server's class that nobody has a class for: bytes pass through."""
    return CassandraTypeType(
        f"_{casstypename}", (_UnrecognizedType,), {"typename": f"'{casstypename}'", "cassname": casstypename}
    )


def lookup_casstype_simple(casstype: str) -> Any:
    """The class for a server's class without parameters, its package may be left out; one that passes bytes through if
    there is none (`cassandra.cqltypes.lookup_casstype_simple`).
    """
    known = _casstypes.get(casstype.removeprefix(apache_cassandra_type_prefix))
    return mkUnrecognizedType(casstype) if known is None else known


def lookup_casstype(casstype: Any) -> Any:
    """The class for a server's class with its parameters (`cassandra.cqltypes.lookup_casstype`). A class is given back.

    :raises ValueError: `casstype` is no name of a class
    """
    if isinstance(casstype, (CassandraType, CassandraTypeType)):
        return casstype
    try:
        return class_of(codecs.parse_type_class(casstype))
    except ValueError as error:
        raise ValueError(f"{casstype!r} is no type that can be parsed: {error}") from error


def cql_typename(casstypename: str) -> str:
    """A server's class name as CQL writes the type: `ListType(IntegerType)` is `list<varint>`."""
    name: str = lookup_casstype(casstypename).cql_parameterized_type()
    return name


def class_of(cql_type: codecs.CqlType, of_column: bool = False) -> Any:
    """The class for a compiled type, which is what the driver itself works with.

    :param of_column: text is VarcharType then, a subclass of UTF8Type, as servers and cassandra-driver have it
    """
    if of_column and isinstance(cql_type, codecs.UTF8Type):
        return _casstypes["VarcharType"]
    if isinstance(cql_type, codecs.ApplicationType):
        return cql_type.cls
    if isinstance(cql_type, codecs.CustomType):
        return _class_by_text(cql_type.cass_name)
    made = _casstypes[cql_type.cass_name.removeprefix(apache_cassandra_type_prefix).partition("(")[0]]
    if isinstance(cql_type, codecs.UserType):
        return made._of(cql_type, tuple(class_of(subtype, of_column) for subtype in cql_type.subtypes))
    subtypes: list[Any] = [class_of(subtype, of_column) for subtype in cql_type.subtypes]
    if isinstance(cql_type, codecs.VectorType):
        subtypes.append(cql_type.dimension)
    return made.apply_parameters(subtypes, [None] * len(subtypes)) if subtypes else made


def _class_by_text(text: str) -> Any:
    """The class for a name with parameters, of those that the compiled types do not know; of parameters as the server
    writes them: `Type`, `name:Type`, `alias=>Type` or a number.
    """
    name, parenthesis, rest = text.partition("(")
    known = lookup_casstype_simple(name.strip())
    if not parenthesis:
        return known
    subtypes: list[Any] = []
    names: list[str | None] = []
    for parameter in _split(rest.rpartition(")")[0]):
        head = parameter.partition("(")[0]
        alias = next((head.partition(mark)[0] for mark in ("=>", ":") if mark in head), None)
        bare = parameter[len(alias) :].lstrip("=>:") if alias is not None else parameter
        names.append(alias)
        subtypes.append(int(bare) if bare.isdigit() else lookup_casstype(bare))
    return known.apply_parameters(subtypes, names)


def _split(parameters: str) -> list[str]:
    """At the commas that are in no parentheses of their own."""
    parts = [""]
    depth = 0
    for character in parameters:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
