"""Tokens and the token map, next to cassandra-driver's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cassandra.metadata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql import metadata
from geventcql.host import Host
from geventcql.metadata import (
    MAX_LONG,
    MIN_LONG,
    BytesToken,
    HashToken,
    LocalStrategy,
    MD5Token,
    Murmur3Token,
    SimpleStrategy,
    Token,
    TokenMap,
)
from geventcql.metadata.tokens import token_class_of
from geventcql.policies import SimpleConvictionPolicy

KINDS = ["Murmur3Token", "MD5Token", "BytesToken"]


@given(st.binary(max_size=80), st.sampled_from(KINDS))
def test_tokens_of_keys(key: bytes, kind: str) -> None:
    ours, theirs = getattr(metadata, kind).from_key(key), getattr(cassandra.metadata, kind).from_key(key)
    assert ours.value == theirs.value
    assert repr(ours) == repr(theirs)


@given(st.binary(), st.binary(), st.sampled_from(KINDS))
def test_tokens_are_ordered_by_value(one: bytes, other: bytes, kind: str) -> None:
    first, second = getattr(metadata, kind).from_key(one), getattr(metadata, kind).from_key(other)
    assert (first < second) == (first.value < second.value)
    assert (first == second) == (first.value == second.value) == (hash(first) == hash(second))
    assert (first >= second) == (not first < second)


@pytest.mark.parametrize(("kind", "text"), [("Murmur3Token", "-9223372036854775808"), ("MD5Token", "0"),
                                            ("MD5Token", str(2**127)), ("BytesToken", "00ff10")])  # fmt: skip
def test_tokens_of_the_system_tables(kind: str, text: str) -> None:
    ours = getattr(metadata, kind).from_string(text)
    assert ours.value == getattr(cassandra.metadata, kind).from_string(text).value
    assert ours == getattr(metadata, kind)(ours.value)


def test_odds_and_ends() -> None:
    assert MD5Token.from_key("text").value == MD5Token.from_key(b"text").value  # type: ignore[arg-type]
    assert Murmur3Token("12") == Murmur3Token(12) != BytesToken(b"12")
    assert (MIN_LONG, MAX_LONG) == (cassandra.metadata.MIN_LONG, cassandra.metadata.MAX_LONG)
    assert issubclass(Murmur3Token, HashToken) and issubclass(HashToken, Token)
    with pytest.raises(NotImplementedError):
        Token.from_string("1")


def test_partitioners() -> None:
    for name, kind in (("Murmur3Partitioner", Murmur3Token), ("RandomPartitioner", MD5Token),
                       ("ByteOrderedPartitioner", BytesToken), ("LocalPartitioner", None)):  # fmt: skip
        assert token_class_of(name) is token_class_of(f"org.apache.cassandra.dht.{name}") is kind
    assert token_class_of(None) is None


def make_hosts(count: int) -> list[Host]:
    return [Host(f"127.0.0.{i}", SimpleConvictionPolicy, "dc1", f"r{i % 2}") for i in range(1, count + 1)]


@given(st.dictionaries(st.integers(MIN_LONG, MAX_LONG), st.integers(0, 4), min_size=1, max_size=30),
       st.lists(st.integers(MIN_LONG, MAX_LONG), max_size=20), st.integers(1, 5))  # fmt: skip
def test_replicas_are_those_of_cassandra_driver(owners: dict[int, int], probes: list[int], factor: int) -> None:
    hosts = make_hosts(5)
    options = {"replication_factor": str(factor)}
    ours = TokenMap(Murmur3Token, {value: hosts[i] for value, i in owners.items()}, {"ks": SimpleStrategy(options)})
    tokens = {cassandra.metadata.Murmur3Token(value): hosts[i] for value, i in owners.items()}
    keyspace = SimpleNamespace(replication_strategy=cassandra.metadata.SimpleStrategy(options))
    theirs = cassandra.metadata.TokenMap(
        cassandra.metadata.Murmur3Token, tokens, sorted(tokens), SimpleNamespace(keyspaces={"ks": keyspace})
    )
    for probe in (*probes, *owners, MIN_LONG, MAX_LONG):
        expected = theirs.get_replicas("ks", cassandra.metadata.Murmur3Token(probe))
        assert ours.get_replicas("ks", probe) == ours.get_replicas("ks", Murmur3Token(probe)) == expected
    assert [token.value for token in ours.ring] == [token.value for token in theirs.ring]
    assert {t.value: h for t, h in ours.token_to_host_owner.items()} == {t.value: h for t, h in tokens.items()}


@given(st.binary(), st.sampled_from(KINDS))
def test_replicas_of_keys_are_those_of_their_tokens(key: bytes, kind: str) -> None:
    token_class = getattr(metadata, kind)
    owners = {token_class.from_key(bytes([i])).value: host for i, host in enumerate(make_hosts(5))}
    tokens = TokenMap(token_class, owners, {"ks": SimpleStrategy({"replication_factor": "2"})})
    found = tokens.get_replicas_of_key("ks", key)
    assert list(found) == tokens.get_replicas("ks", token_class.from_key(key)) and len(found) == 2
    assert tokens.get_replicas_of_key("unknown", key) == ()


def test_token_ranges_end_with_their_token() -> None:
    hosts = make_hosts(3)
    strategies = {"ks": SimpleStrategy({"replication_factor": "1"}), "local": LocalStrategy({}), "odd": None}
    tokens = TokenMap(Murmur3Token, dict(zip((-100, 0, 100), hosts, strict=True)), strategies)
    owner = {value: tokens.get_replicas("ks", value) for value in (MIN_LONG, -100, -99, 0, 1, 100, 101, MAX_LONG)}
    assert owner == {
        MIN_LONG: [hosts[0]], -100: [hosts[0]], -99: [hosts[1]], 0: [hosts[1]],
        1: [hosts[2]], 100: [hosts[2]], 101: [hosts[0]], MAX_LONG: [hosts[0]],
    }  # fmt: skip
    for keyspace in ("local", "odd", "unknown"):
        assert tokens.get_replicas(keyspace, 1) == []
    assert repr(tokens) == "<TokenMap: 3 tokens, 3 keyspaces>"


def test_an_empty_ring() -> None:
    tokens = TokenMap(Murmur3Token, {}, {"ks": SimpleStrategy({"replication_factor": "1"})})
    assert tokens.get_replicas("ks", 0) == [] and tokens.ring == []


def test_other_keyspaces_on_the_same_ring() -> None:
    hosts = make_hosts(3)
    before = TokenMap(MD5Token, dict(enumerate(hosts)), {"ks": SimpleStrategy({"replication_factor": "1"})})
    after = before.with_strategies({"ks": SimpleStrategy({"replication_factor": "2"})})
    assert before.get_replicas("ks", 0) == [hosts[0]] and after.get_replicas("ks", 0) == [hosts[0], hosts[1]]
    assert after.token_class is MD5Token and after.ring == before.ring


def test_replicas_are_worked_out_once() -> None:
    asked: list[int] = []

    class Counting(SimpleStrategy):
        def replicas(self, ring: Any, position: int) -> tuple[Host, ...]:
            asked.append(position)
            return super().replicas(ring, position)

    strategy = Counting({"replication_factor": "2"})
    twin = Counting({"replication_factor": "2"})
    tokens = TokenMap(Murmur3Token, dict(enumerate(make_hosts(4))), {"ks": strategy, "same": twin})
    assert asked == []
    for _ in range(3):
        assert tokens.replicas_at("ks", 2) is tokens.replicas_at("same", 2)
    tokens.get_replicas("ks", 2).clear()
    assert asked == [2] and len(tokens.get_replicas("same", 2)) == 2


def test_bytes_rings() -> None:
    hosts = make_hosts(2)
    tokens = TokenMap(BytesToken, {b"b": hosts[0], b"d": hosts[1]}, {"ks": SimpleStrategy({"replication_factor": "1"})})
    assert [tokens.get_replicas("ks", key)[0] for key in (b"a", b"b", b"c", b"e")] == [
        hosts[0], hosts[0], hosts[1], hosts[0],
    ]  # fmt: skip
