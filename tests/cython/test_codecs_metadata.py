"""Types from column metadata, class names and CQL text, and hostile ones among them."""

from __future__ import annotations

import struct

import pytest

from geventcql.cython import codecs
from geventcql.cython.codecs import parse_cql_type, parse_type_class, read_columns, skip_columns
from geventcql.errors import FrameError
from tests.support import refcodec

MARSHAL = "org.apache.cassandra.db.marshal."


def one_column(option: bytes) -> bytes:
    return refcodec.string("ks") + refcodec.string("t") + refcodec.string("c") + option


def test_a_column_specification() -> None:
    body = one_column(struct.pack(">H", 9))
    (spec,), end = read_columns(body, 0, 1, 1)
    assert spec == ("ks", "t", "c", parse_cql_type("int")) and end == len(body)
    assert (spec.keyspace_name, spec.table_name, spec.name, spec.type.code) == ("ks", "t", "c", 9)


def test_no_columns() -> None:
    assert read_columns(b"", 0, 0, 0) == ((), 0)
    assert read_columns(b"\0\0\0\0", 0, 1, 0) == ((), 4)
    assert skip_columns(b"\0\0\0\0", 0, 1, 0) == 4


def test_user_types_and_their_classes() -> None:
    class Address:
        def __init__(self, street: str) -> None:
            self.street = street

    udt = ("udt", "ks", "address", (("street", "text"),))
    body = refcodec.columns([("a", udt), ("b", ("list", udt)), ("v", ("vector", udt, 1))])
    columns, _ = read_columns(body, 0, 1, 3, {("ks", "address"): Address})
    cell = refcodec.encode(udt, ("x",))
    assert cell is not None
    assert type(columns[0].type.decode(cell)) is Address
    assert type(columns[1].type.decode(struct.pack(">i", 1) + refcodec.cell(cell))[0]) is Address
    assert type(columns[2].type.decode(refcodec.unsigned_vint(len(cell)) + cell)[0]) is Address
    for others in (None, {}, {("other", "address"): Address}):
        columns, _ = read_columns(body, 0, 1, 1, others)
        assert columns[0].type.decode(cell)._fields == ("street",)


def test_the_old_code_of_text() -> None:
    (spec,), _ = read_columns(one_column(struct.pack(">H", 0x0A)), 0, 1, 1)
    assert spec.type.name == "text"
    assert skip_columns(one_column(struct.pack(">H", 0x0A)), 0, 1, 1) == 12


@pytest.mark.parametrize("code", [0x16, 0x1F, 0x23, 0x32, 0xFFFF])
def test_unknown_codes_are_refused(code: int) -> None:
    body = one_column(struct.pack(">H", code)) + b"\0" * 20
    for parse in (read_columns, skip_columns):
        with pytest.raises(FrameError, match=f"0x{code:04x}"):
            parse(body, 0, 1, 1)


@pytest.mark.parametrize("count", [-1, 5, 2**31 - 1, 2**62])
def test_counts_that_do_not_fit_are_refused(count: int) -> None:
    body = one_column(struct.pack(">H", 9))
    for parse in (read_columns, skip_columns):
        with pytest.raises(FrameError, match="columns in"):
            parse(body, 0, 1, count)


@pytest.mark.parametrize("pos", [-1, 12, 2**40])
def test_positions_outside_the_body_are_refused(pos: int) -> None:
    for parse in (read_columns, skip_columns):
        with pytest.raises(FrameError, match="at"):
            parse(one_column(struct.pack(">H", 9)), pos, 1, 1)


def test_names_that_are_no_utf8_are_refused() -> None:
    body = b"\0\1a\0\1b\0\1\xff\0\x09"
    with pytest.raises(FrameError, match="utf-8"):
        read_columns(body, 0, 1, 1)


def test_nesting_ends_at_64_levels() -> None:
    """Whatever the way: a hundred thousand levels must not overflow the stack."""
    ways = {
        "list": (b"\0\x20", b"\0\x09"),
        "tuple": (b"\0\x31\0\1", b"\0\x09"),
        "udt": (b"\0\x30\0\1k\0\1n\0\1\0\1f", b"\0\x09"),
    }
    for level, leaf in ways.values():
        columns, _ = read_columns(one_column(level * 63 + leaf), 0, 1, 1)
        assert skip_columns(one_column(level * 63 + leaf), 0, 1, 1)
        assert columns[0].type.decode(b"") is None
        for depth in (64, 20_000):
            for parse in (read_columns, skip_columns):
                with pytest.raises(FrameError, match="deeper than 64"):
                    parse(one_column(level * depth + leaf), 0, 1, 1)


def test_class_names_and_cql_text_nest_as_deep() -> None:
    assert parse_type_class("ListType(" * 63 + "Int32Type" + ")" * 63).decode(b"") is None
    assert parse_cql_type("list<" * 63 + "int" + ">" * 63).decode(b"") is None
    for depth in (64, 20_000):
        with pytest.raises(ValueError, match="deeper than 64"):
            parse_type_class("ListType(" * depth + "Int32Type" + ")" * depth)
        with pytest.raises(ValueError, match="deeper than 64"):
            parse_cql_type("list<" * depth + "int" + ">" * depth)
    # Levels of metadata and of the class name in it add up.
    inner = "ListType(" * 40 + "Int32Type" + ")" * 40
    body = one_column(b"\0\x20" * 40 + b"\0\0" + refcodec.string(inner))
    with pytest.raises(FrameError, match="deeper than 64"):
        read_columns(body, 0, 1, 1)


def test_types_cannot_be_built_deeper_by_hand() -> None:
    cql_type: codecs.CqlType = parse_cql_type("int")
    with pytest.raises(ValueError, match="deeper than 64"):
        for _ in range(64):
            cql_type = codecs.ListType(cql_type)


def test_many_columns() -> None:
    specs = [(f"c{i}", "int") for i in range(5000)]
    for global_spec in (True, False):
        body = refcodec.columns(specs, global_spec=global_spec)
        columns, end = read_columns(body, 0, int(global_spec), 5000)
        assert [column.name for column in columns] == [name for name, _ in specs]
        assert end == len(body) == skip_columns(body, 0, int(global_spec), 5000)


CLASSES = [
    ("Int32Type", "int"),
    (MARSHAL + "UTF8Type", "text"),
    (MARSHAL + "DateType", "timestamp"),
    (MARSHAL + "LexicalUUIDType", "uuid"),
    (f"{MARSHAL}ListType({MARSHAL}LongType)", "list<bigint>"),
    (f"{MARSHAL}MapType( {MARSHAL}LongType , {MARSHAL}UTF8Type )", "map<bigint, text>"),
    (f"{MARSHAL}FrozenType({MARSHAL}SetType({MARSHAL}LongType))", "frozen<set<bigint>>"),
    (f"{MARSHAL}VectorType({MARSHAL}FloatType, 3)", "vector<float, 3>"),
    (f"{MARSHAL}VectorType({MARSHAL}FloatType,3)", "vector<float, 3>"),
    (f"{MARSHAL}TupleType({MARSHAL}LongType,{MARSHAL}UTF8Type)", "frozen<tuple<bigint, text>>"),
    (f"{MARSHAL}ReversedType({MARSHAL}LongType)", f"'{MARSHAL}ReversedType({MARSHAL}LongType)'"),
    (f"{MARSHAL}CompositeType({MARSHAL}LongType)", f"'{MARSHAL}CompositeType({MARSHAL}LongType)'"),
    (f"{MARSHAL}UserType(ks,61646472657373,737472656574:{MARSHAL}UTF8Type)", "frozen<address>"),
    (f"{MARSHAL}DynamicCompositeType(a=>{MARSHAL}LongType)", f"'{MARSHAL}DynamicCompositeType(a=>{MARSHAL}LongType)'"),
    (f"{MARSHAL}EmptyType", f"'{MARSHAL}EmptyType'"),
    ("com.example.Point", "'com.example.Point'"),
]


@pytest.mark.parametrize(("text", "name"), CLASSES)
def test_class_names(text: str, name: str) -> None:
    compiled = parse_type_class(text)
    assert compiled.name == name
    assert parse_type_class(compiled.cass_name) == compiled
    body = one_column(b"\0\0" + refcodec.string(text))
    (spec,), end = read_columns(body, 0, 1, 1)
    assert spec.type == compiled and end == len(body) == skip_columns(body, 0, 1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(",
        "ListType(",
        "ListType()",
        "ListType(Int32Type",
        "ListType(Int32Type,Int32Type)",
        "ListType(Int32Type))",
        "MapType(Int32Type)",
        "VectorType(FloatType)",
        "VectorType(FloatType, x)",
        "VectorType(FloatType, 0)",
        "VectorType(FloatType, -1)",
        "VectorType(FloatType, 99999999999999999999)",
        "UserType(ks)",
        "UserType(ks,zz)",
        "UserType(ks,61,62)",
        "UserType(ks,ff)",
        "com.example.Point(",
        "'unfinished",
        "Int32Type Int32Type",
    ],
)
def test_wrong_class_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_type_class(text)
    with pytest.raises(FrameError):
        read_columns(one_column(b"\0\0" + refcodec.string(text)), 0, 1, 1)


CQL = [
    ("int", "int"),
    ("INT", "int"),
    ("varchar", "text"),
    (" list < int > ", "list<int>"),
    ("map<text,frozen<list<int>>>", "map<text, frozen<list<int>>>"),
    ("tuple<int, text>", "frozen<tuple<int, text>>"),
    ("frozen<tuple<int, text>>", "frozen<tuple<int, text>>"),
    ("Vector<Float, 3>", "vector<float, 3>"),
    ("'com.example.Point'", "'com.example.Point'"),
    ("'org.apache.cassandra.db.marshal.Int32Type'", "int"),
    ("nobody_knows", "'nobody_knows'"),
]


@pytest.mark.parametrize(("text", "name"), CQL)
def test_cql_text(text: str, name: str) -> None:
    assert parse_cql_type(text).name == name


def test_cql_text_with_user_types() -> None:
    address = codecs.UserType((parse_cql_type("text"),), "ks", "address", ("street",))
    mixed = codecs.UserType((parse_cql_type("text"),), "ks", "Mixed Case", ("street",))
    known = {"address": address, "Mixed Case": mixed}
    assert parse_cql_type("frozen<address>", known) is address
    assert parse_cql_type("ADDRESS", known) is address
    assert parse_cql_type('list<frozen<"Mixed Case">>', known).subtypes == (mixed,)


@pytest.mark.parametrize(
    "text",
    ["", "list<", "list<int", "list<>", "list<int>>", "map<int>", "int<text>", "vector<int>", "int text", '"open', "<int>"],
)
def test_wrong_cql_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_cql_type(text)
