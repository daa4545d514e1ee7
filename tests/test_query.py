"""Statements: the same bytes, keys, options and refusals as with cassandra-driver's."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import cassandra.encoder
import cassandra.protocol
import cassandra.query
import pytest
from cassandra.cqltypes import lookup_casstype_simple
from hypothesis import given
from hypothesis import strategies as st

from geventcql import query
from geventcql.cqltypes import Int32Type
from geventcql.cython.codecs import ColumnSpec, RowDecoder, murmur3_token, parse_cql_type
from geventcql.encoder import Encoder
from geventcql.policies import RetryPolicy
from geventcql.protocol.constants import ConsistencyLevel
from geventcql.protocol.responses import Prepared
from geventcql.query import (
    FETCH_SIZE_UNSET,
    UNSET_VALUE,
    BatchStatement,
    BatchType,
    BoundStatement,
    HostTargetingStatement,
    PreparedStatement,
    SimpleStatement,
    Statement,
)

COLUMNS = (("a", "int", "Int32Type"), ("b", "text", "UTF8Type"), ("c", "uuid", "UUIDType"))
THEIR_UNSET = cassandra.query.UNSET_VALUE


def prepared(indexes: tuple[int, ...] | None = (0,), version: int = 4) -> PreparedStatement:
    columns = [ColumnSpec("ks", "t", name, parse_cql_type(cql)) for name, cql, _ in COLUMNS]
    return PreparedStatement(columns, b"id", indexes, "SELECT ...", None, version, None, None)


def their_prepared(indexes: tuple[int, ...] | None = (0,), version: int = 4) -> Any:
    columns = [cassandra.protocol.ColumnMetadata("ks", "t", name, lookup_casstype_simple(theirs))
               for name, _, theirs in COLUMNS]  # fmt: skip
    return cassandra.query.PreparedStatement(columns, b"id", indexes, "SELECT ...", None, version, None, None)


def outcome(bind: Any, values: Any) -> Any:
    """(values, routing key) of what was bound, or the class of the refusal."""
    try:
        bound = bind(values)
        return [b"UNSET" if v in (UNSET_VALUE, THEIR_UNSET) else v for v in bound.values], bound.routing_key
    except (ValueError, KeyError, TypeError) as error:
        return next(kind for kind in (KeyError, TypeError, ValueError) if isinstance(error, kind))


# -- binding

cells = st.tuples(
    st.one_of(st.integers(-5, 5), st.just("no int"), st.just("unset")),
    st.one_of(st.text(max_size=5), st.none(), st.just("unset")),
    st.one_of(st.uuids(), st.none(), st.just("unset")),
)


@given(cells, st.integers(0, 3), st.sampled_from([(0,), (1, 0), (0, 1, 2), None]), st.sampled_from([4, 5]))
def test_binds_sequences_as_cassandra_driver_does(
    row: tuple[Any, ...], length: int, indexes: tuple[int, ...] | None, version: int
) -> None:
    ours = [UNSET_VALUE if value == "unset" else value for value in row[:length]]
    theirs = [THEIR_UNSET if value == "unset" else value for value in row[:length]]
    expected = outcome(their_prepared(indexes, version).bind, theirs)
    if indexes and any(i < length and ours[i] is None for i in indexes):
        # cassandra-driver binds a null into the partition key and fails, if at all, when asked for the routing key.
        expected = ValueError if expected is not TypeError else TypeError
        assert outcome(prepared(indexes, version).bind, ours) in (ValueError, expected)
    else:
        assert outcome(prepared(indexes, version).bind, ours) == expected


@given(cells, st.sets(st.sampled_from("abcx")), st.sampled_from([3, 4]))
def test_binds_mappings_as_cassandra_driver_does(row: tuple[Any, ...], names: set[str], version: int) -> None:
    given_values = {name: value for name, value in zip("abcx", (*row, 1), strict=True) if name in names}
    if "unset" in given_values.values():
        given_values = {name: value for name, value in given_values.items() if value != "unset"}
    ours = outcome(prepared((0,), version).bind, given_values)
    assert ours == outcome(their_prepared((0,), version).bind, given_values)


def test_payload_is_count_and_values() -> None:
    bound = prepared().bind([1, None])
    assert bound.payload.hex(" ", 2) == "0003 0000 0004 0000 0001 ffff ffff ffff fffe"
    assert bound.values == [b"\x00\x00\x00\x01", None, UNSET_VALUE]
    assert bound.raw_values == [1, None]
    assert prepared().bind({"b": "x", "a": 1}).raw_values == [1, "x", UNSET_VALUE]
    assert BoundStatement(prepared()).payload == b"\x00\x00"
    assert prepared(None).bind(None).values == [UNSET_VALUE] * 3


def test_too_many_values() -> None:
    with pytest.raises(ValueError, match="4"):
        prepared().bind([1, "b", None, 4])


@pytest.mark.parametrize("indexes", [(0,), (1,), (0, 1), (2, 1, 0)])
def test_routing_keys(indexes: tuple[int, ...]) -> None:
    row = (7, "key", UUID(int=9))
    bound = prepared(indexes).bind(row)
    assert bound.routing_key == their_prepared(indexes).bind(row).routing_key
    assert bound.prepared_statement.encoder.token(bound.payload) == murmur3_token(bound.routing_key)
    packed = SimpleStatement("x", routing_key=[bound.values[index] for index in indexes])
    assert packed.routing_key == bound.routing_key
    bound.routing_key = b"mine"
    assert bound.routing_key == b"mine"
    assert prepared(None).bind(row).routing_key is None


def test_a_bound_statement_takes_over_the_options() -> None:
    source = prepared()
    policy = RetryPolicy()
    source.consistency_level = ConsistencyLevel.QUORUM
    source.serial_consistency_level = ConsistencyLevel.LOCAL_SERIAL
    source.fetch_size, source.retry_policy, source.is_idempotent = 10, policy, True
    source.custom_payload = {"a": b"1"}
    bound = source.bind([1])
    assert (bound.consistency_level, bound.serial_consistency_level, bound.fetch_size) == (4, 9, 10)
    assert (bound.retry_policy, bound.is_idempotent, bound.custom_payload) == (policy, True, {"a": b"1"})
    assert bound.keyspace == "ks"
    own = BoundStatement(source, consistency_level=1, fetch_size=None, keyspace="other", serial_consistency_level=8)
    assert (own.consistency_level, own.fetch_size, own.keyspace, own.serial_consistency_level) == (1, None, "other", 8)


def test_prepared_statements() -> None:
    statement = prepared((1, 0))
    columns = statement.column_metadata
    assert [c[:3] for c in columns] == [c[:3] for c in statement.bind_columns] and len(columns) == 3
    assert columns[0].type is Int32Type and columns[0].type.serialize(7, 5) == b"\0\0\0\7"
    assert [statement.is_routing_key_index(i) for i in range(3)] == [True, True, False]
    assert not prepared(None).is_routing_key_index(0) and prepared(()).routing_key_indexes is None
    assert statement.result == (None, None)
    assert statement.result_metadata is None and statement.result_metadata_id is None
    decoder = RowDecoder((ColumnSpec("ks", "t", "r", parse_cql_type("int")),))
    statement.result = (b"m", decoder)
    assert statement.result_metadata == [("ks", "t", "r", Int32Type)] and statement.result_metadata_id == b"m"
    with pytest.raises(AttributeError):
        statement.consistency = 1  # type: ignore[attr-defined]  # a misspelt option does not pass in silence
    alive = weakref.ref(statement)
    del statement
    gc.collect()
    assert alive() is None


def test_from_a_prepare_answer() -> None:
    columns = (ColumnSpec("ks", "t", "a", parse_cql_type("int")),)
    answer = Prepared(
        query_id=b"id", result_metadata_id=b"mid", bind_columns=columns, pk_indexes=(0,), result_flags=0,
        result_columns=columns, result_raw=b"raw",
    )  # fmt: skip
    statement = PreparedStatement.from_response(answer, "SELECT a", "given", 5)
    assert (statement.query_id, statement.query_string, statement.keyspace) == (b"id", "SELECT a", "given")
    assert (statement.routing_key_indexes, statement.protocol_version) == ((0,), 5)
    assert statement.result[0] == b"mid" and statement.result[1] is not None
    assert statement.result[1].columns == columns and statement.result[1].raw == b"\x00raw"
    answer = Prepared(b"id", None, (), None, 0, (), b"")
    statement = PreparedStatement.from_response(answer, "INSERT", None, 4)
    assert statement.result == (None, None) and statement.bind(()).payload == b"\x00\x00"
    assert statement.bind(()).keyspace is None and statement.bind(()).routing_key is None


# -- statements in general


def test_defaults_are_those_of_cassandra_driver() -> None:
    for ours, theirs in (
        (SimpleStatement("q"), cassandra.query.SimpleStatement("q")),
        (prepared().bind([1]), their_prepared().bind([1])),
        (BatchStatement(), cassandra.query.BatchStatement()),
    ):
        for name in ("retry_policy", "consistency_level", "serial_consistency_level", "keyspace", "custom_payload",
                     "is_idempotent"):  # fmt: skip
            assert getattr(ours, name) == getattr(theirs, name), name
        assert ours.fetch_size is FETCH_SIZE_UNSET


def test_options_of_simple_statements() -> None:
    statement = SimpleStatement(
        "SELECT", RetryPolicy(), ConsistencyLevel.ONE, b"key", ConsistencyLevel.SERIAL, 7, "ks", {"a": b"b"}, True
    )
    assert (statement.query_string, statement.consistency_level, statement.routing_key) == ("SELECT", 1, b"key")
    assert (statement.serial_consistency_level, statement.fetch_size, statement.keyspace) == (8, 7, "ks")
    assert (statement.custom_payload, statement.is_idempotent) == ({"a": b"b"}, True)
    del statement.routing_key, statement.serial_consistency_level
    assert statement.routing_key is None and statement.serial_consistency_level is None
    statement.routing_key = bytearray(b"k")
    assert statement.routing_key == b"k" and isinstance(statement.routing_key, bytes)


def test_options_that_make_no_sense() -> None:
    not_a_policy: Any = "SELECT"
    with pytest.raises(ValueError, match="retry_policy"):
        SimpleStatement("SELECT", not_a_policy)
    with pytest.raises(ValueError, match="SERIAL"):
        SimpleStatement("SELECT", serial_consistency_level=ConsistencyLevel.QUORUM)


def test_a_subclass_may_set_defaults_on_the_class() -> None:
    class Careful(SimpleStatement):
        consistency_level = ConsistencyLevel.ALL
        fetch_size = 3

    assert (Careful("q").consistency_level, Careful("q").fetch_size) == (5, 3)
    assert Careful("q", consistency_level=1).consistency_level == 1


def test_reprs_name_query_and_consistency() -> None:
    for ours, theirs in (
        (SimpleStatement("q", consistency_level=4), cassandra.query.SimpleStatement("q", consistency_level=4)),
        (prepared(), their_prepared()),
        (BatchStatement(BatchType.UNLOGGED), cassandra.query.BatchStatement(cassandra.query.BatchType.UNLOGGED)),
    ):
        assert str(ours) == repr(ours) == str(theirs)


def test_reprs_show_neither_values_nor_literals() -> None:
    """cassandra-driver shows both."""
    assert "secret" in str(their_prepared().bind([1, "secret"]))
    bound = prepared().bind([1, "secret"])
    assert "secret" not in repr(bound) and repr(bound) == str(bound) and f"values={len(COLUMNS)}," in repr(bound)
    assert bound.raw_values == [1, "secret"]
    text = "ALTER ROLE \"it's\" WITH PASSWORD = 'sec''ret' AND OPTIONS = {'x': $$secret$$, 'y': 0x5EC2E7}"
    assert repr(SimpleStatement(text)) == (
        "<SimpleStatement query=\"ALTER ROLE \"it's\" WITH PASSWORD = '...' AND OPTIONS = {'...': '...', '...': '...'}\", "
        "consistency=Not Set>"
    )


# -- batches


def test_a_batch_of_everything() -> None:
    batch = BatchStatement()
    source = prepared()
    batch.add("INSERT 1").add("INSERT %s", ("it's",)).add(SimpleStatement("INSERT %(x)s"), {"x": 5})
    batch.add(source, [1, "b"]).add(source.bind({"a": 2}))
    assert batch.queries == [
        (False, b"INSERT 1", b"\x00\x00"),
        (False, b"INSERT 'it''s'", b"\x00\x00"),
        (False, b"INSERT 5", b"\x00\x00"),
        (True, b"id", source.bind([1, "b"]).payload),
        (True, b"id", source.bind([2]).payload),
    ]
    assert len(batch) == 5 and batch.prepared_statements == {b"id": source}


def test_add_all_and_clear() -> None:
    batch = BatchStatement(custom_payload={"a": b"1"})
    batch.add_all(["INSERT %s", prepared(), "DELETE", "never"], [(1,), (2,), None])
    assert [text for _, text, _ in batch.queries] == [b"INSERT 1", b"id", b"DELETE"]
    assert batch.keyspace == "ks" and batch.routing_key == b"\x00\x00\x00\x02"
    batch.clear()
    assert (len(batch), batch.keyspace, batch.routing_key, batch.custom_payload) == (0, None, None, None)
    assert batch.prepared_statements == {}


def test_a_batch_goes_where_its_first_routable_statement_goes() -> None:
    statements = [("SELECT", None), (SimpleStatement("q", keyspace="only"), None),
                  (SimpleStatement("q", routing_key=b"only"), None), (prepared(None), (3,)),
                  (SimpleStatement("q", keyspace="k1", routing_key=b"r1"), None), (prepared(), (1,))]  # fmt: skip
    ours, theirs = BatchStatement(), cassandra.query.BatchStatement()
    for statement, values in statements:
        ours.add(statement, values)
        if isinstance(statement, PreparedStatement):
            their_statement: Any = their_prepared(statement.routing_key_indexes)
        elif isinstance(statement, SimpleStatement):
            their_statement = cassandra.query.SimpleStatement(
                "q", keyspace=statement.keyspace, routing_key=statement.routing_key
            )
        else:
            their_statement = statement
        theirs.add(their_statement, values)
        assert (ours.keyspace, ours.routing_key) == (theirs.keyspace, theirs.routing_key)
    assert (ours.keyspace, ours.routing_key) == ("k1", b"r1")


def test_custom_payloads_of_a_batch_add_up_without_touching_the_given_one() -> None:
    mine = {"a": b"1"}
    batch = BatchStatement(custom_payload=mine)
    batch.add(SimpleStatement("q", custom_payload={"b": b"2"})).add(SimpleStatement("q", custom_payload={"a": b"3"}))
    assert batch.custom_payload == {"a": b"3", "b": b"2"} and mine == {"a": b"1"}


def test_prepared_statements_behind_the_first_one() -> None:
    source = prepared()
    batch = BatchStatement().add(source, [1]).add(source, {"a": 2, "b": "x"}).add(source, (5,))
    assert batch.routing_key == b"\x00\x00\x00\x01"
    assert [payload for _, _, payload in batch.queries] == [source.bind(v).payload for v in ([1], {"a": 2, "b": "x"}, [5])]
    other = prepared()
    other.custom_payload = {"a": b"1"}
    assert batch.add(other, [3]).custom_payload == {"a": b"1"}
    with pytest.raises(ValueError, match="Too many"):
        batch.add(source, [1, 2, 3, 4, 5, 6, 7, 8, 9])


def test_what_a_batch_refuses() -> None:
    batch = BatchStatement()
    with pytest.raises(ValueError, match="BoundStatement"):
        batch.add(prepared().bind([1]), [1])
    not_a_statement: Any = BatchStatement()
    with pytest.raises(TypeError, match="BatchStatement"):
        batch.add(not_a_statement)
    with pytest.raises(TypeError):
        batch.add(prepared(), ["no int"])
    batch.add_all(["q"] * 65535, [None] * 65535)
    with pytest.raises(ValueError, match="65535"):
        batch.add("q")
    assert len(batch) == 65535 and batch.prepared_statements == {}


def test_a_batch_uses_its_sessions_encoder() -> None:
    class Shouting(Encoder):
        def cql_encode_all_types(self, val: Any, as_text_type: bool = False) -> str:
            return super().cql_encode_all_types(val, as_text_type).upper()

    batch = BatchStatement(session=SimpleNamespace(encoder=Shouting()))
    batch.add("INSERT %s", ["a"])
    assert batch.queries == [(False, b"INSERT 'A'", b"\x00\x00")]


# -- parameters, targets


@given(st.lists(st.one_of(st.integers(), st.text(), st.none(), st.booleans()), max_size=4))
def test_bind_params(params: list[Any]) -> None:
    positional = "SELECT '100%%', " + ", ".join(["%s"] * len(params))
    expected = cassandra.query.bind_params(positional, params, cassandra.encoder.Encoder())
    assert query.bind_params(positional, params, Encoder()) == expected
    named = {f"p{i}": value for i, value in enumerate(params)}
    text = ", ".join(f"%({name})s" for name in named)
    expected = cassandra.query.bind_params(text, named, cassandra.encoder.Encoder())
    assert query.bind_params(text, named, Encoder()) == expected


def test_too_few_parameters_are_an_error() -> None:
    with pytest.raises(TypeError):
        query.bind_params("SELECT %s, %s", [1], Encoder())
    with pytest.raises(KeyError):
        query.bind_params("SELECT %(a)s", {"b": 1}, Encoder())


@pytest.mark.parametrize("make", [lambda: SimpleStatement("q", keyspace="ks"), lambda: prepared().bind([1]), prepared])
def test_a_targeted_statement_is_still_that_statement(make: Any) -> None:
    inner = make()
    targeted: Any = HostTargetingStatement(inner, "127.0.0.2")
    assert isinstance(targeted, type(inner)) and isinstance(targeted, HostTargetingStatement)
    assert targeted.target_host == "127.0.0.2" and not hasattr(inner, "target_host")
    assert repr(targeted) == repr(inner)
    assert targeted.consistency_level == inner.consistency_level and targeted.keyspace == inner.keyspace
    if isinstance(inner, Statement):
        assert targeted.routing_key == inner.routing_key
    else:
        assert targeted.bind([1]).payload == inner.bind([1]).payload


@pytest.mark.parametrize(
    ("text", "conditional"),
    [
        ("INSERT INTO t (k) VALUES (1) IF NOT EXISTS", True),
        ("update t set v = ? where k = ? if v = ?", True),
        ("DELETE FROM t WHERE k = 1 IF EXISTS;", True),
        ("BEGIN BATCH INSERT INTO t (k) VALUES (1) IF NOT EXISTS APPLY BATCH", True),
        ("/* if */ -- so\n UPDATE t SET v = 1 WHERE k = 1\nIF v = 0", True),
        ("// a comment\nINSERT INTO t (k) VALUES ($$ ' $$) IF NOT EXISTS", True),
        ("INSERT INTO t (k) VALUES ('what if')", False),
        ("INSERT INTO t (k) VALUES ('it''s if')", False),
        ("INSERT INTO t (k) VALUES ($$if$$)", False),
        ('UPDATE "if" SET "a""if" = 1 WHERE k = 1 -- if', False),
        ("UPDATE t SET iffy = 1, gif = 2 WHERE k = 1", False),
        ("SELECT k FROM t WHERE k = 1", False),
        ("CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY)", False),
        ("", False),
        ("'", False),
    ],
)
def test_conditional_statements(text: str, conditional: bool) -> None:
    prepared = PreparedStatement(None, b"id", None, text, None, 5, None, None)
    assert SimpleStatement(text).is_lwt() is prepared.is_lwt() is prepared.bind(()).is_lwt() is conditional
    assert BatchStatement().add("INSERT INTO t (k) VALUES (1)").add(text).is_lwt() is conditional
    assert BatchStatement().add(prepared).is_lwt() is conditional
    assert Statement().is_lwt() is BatchStatement().is_lwt() is False
