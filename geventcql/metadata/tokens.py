"""Tokens, and the map from tokens to replicas.

Layer: model. A TokenMap is an immutable snapshot, made anew by the driver whenever topology or replication change; any
greenlet may look replicas up in it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import total_ordering
from hashlib import md5
from typing import TYPE_CHECKING, Any, ClassVar

from geventcql.cython.codecs import murmur3_token
from geventcql.cython.wire import TokenRing
from geventcql.metadata.replication import ReplicationStrategy, Ring

if TYPE_CHECKING:
    from geventcql.host import Host

__all__ = [
    "MAX_LONG",
    "MIN_LONG",
    "BytesToken",
    "HashToken",
    "MD5Token",
    "Murmur3Token",
    "Token",
    "TokenMap",
    "token_class_of",
]

MIN_LONG = -(2**63)
MAX_LONG = 2**63 - 1


@total_ordering
class Token:
    """A position on the ring (`cassandra.metadata.Token`): `value`, ordered and hashed by it."""

    __slots__ = ("value",)

    def __init__(self, token: Any) -> None:
        self.value: Any = token

    @classmethod
    def hash_fn(cls, key: bytes) -> Any:
        """The value of the token of a serialized partition key."""
        return key

    @classmethod
    def from_key(cls, key: bytes) -> Token:
        """The token of a serialized partition key."""
        return cls(cls.hash_fn(key))

    @classmethod
    def from_string(cls, token_string: str) -> Token:
        """The token as the tables system.local and system.peers write it."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and bool(self.value == other.value)

    def __lt__(self, other: Token) -> bool:
        return bool(self.value < other.value)

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.value}>"


class HashToken(Token):
    """A token that is a number."""

    __slots__ = ()

    @classmethod
    def from_string(cls, token_string: str) -> Token:
        """From decimal digits."""
        return cls(int(token_string))


class Murmur3Token(HashToken):
    """The Murmur3Partitioner's: a signed 64-bit number."""

    __slots__ = ()

    def __init__(self, token: int | str) -> None:
        super().__init__(int(token))

    @classmethod
    def hash_fn(cls, key: bytes) -> int:
        """Cassandra's variant of MurmurHash3; never MIN_LONG, which stands for MAX_LONG then."""
        return murmur3_token(key)


class MD5Token(HashToken):
    """The RandomPartitioner's: a number from 0 to 2^127."""

    __slots__ = ()

    @classmethod
    def hash_fn(cls, key: bytes | str) -> int:
        """The absolute value of the key's MD5, taken as a signed number."""
        if isinstance(key, str):
            key = key.encode()
        return abs(int.from_bytes(md5(key, usedforsecurity=False).digest(), "big", signed=True))


class BytesToken(Token):
    """The ByteOrderedPartitioner's: the key itself."""

    __slots__ = ()

    @classmethod
    def from_string(cls, token_string: str) -> Token:
        """From hexadecimal digits."""
        return cls(bytes.fromhex(token_string))


_TOKEN_CLASSES: dict[str, type[Token]] = {
    "Murmur3Partitioner": Murmur3Token,
    "RandomPartitioner": MD5Token,
    "ByteOrderedPartitioner": BytesToken,
}


def token_class_of(partitioner: str | None) -> type[Token] | None:
    """The token class of a partitioner, by its Java class name with or without the package; None for an unknown one."""
    return _TOKEN_CLASSES.get((partitioner or "").rpartition(".")[2])


class TokenMap:
    """Replicas by keyspace and token (`cassandra.metadata.TokenMap`).

    Parameters:
        token_class: what the cluster's partitioner makes tokens of.
        owners: the host that owns each token, by the token's plain value, or a Ring made of that.
        strategies: the replication strategy of each keyspace; one that is missing has no known replicas.

    The replicas of a position are worked out when first asked for and kept: a cluster with many virtual nodes costs no
    long computation at any one time.
    """

    _NO_REPLICAS: ClassVar[tuple[Host, ...]] = ()

    def __init__(
        self,
        token_class: type[Token],
        owners: Mapping[Any, Host] | Ring,
        strategies: Mapping[str, ReplicationStrategy | None],
    ) -> None:
        self.token_class = token_class
        # For the usual partitioner without the class methods around it: this is asked for each request.
        self._value_of = murmur3_token if token_class is Murmur3Token else token_class.hash_fn
        self._ring = owners if isinstance(owners, Ring) else Ring(owners)
        self._tokens: TokenRing | None = None
        self._strategies = dict(strategies)
        self._by_strategy: dict[ReplicationStrategy, list[tuple[Host, ...] | None]] = {}
        self._by_keyspace: dict[str, list[tuple[Host, ...] | None]] = {}

    def with_strategies(self, strategies: Mapping[str, ReplicationStrategy | None]) -> TokenMap:
        """A map of the same ring for these keyspaces: itself if nothing has changed, since it knows many replicas."""
        if strategies == self._strategies:
            return self
        return TokenMap(self.token_class, self._ring, strategies)

    @property
    def tokens(self) -> TokenRing | None:
        """The tokens for fast look-ups; None if there are none, or they are not Murmur3's."""
        if self._tokens is None and self.token_class is Murmur3Token and self._ring.values:
            self._tokens = TokenRing(self._ring.values)
        return self._tokens

    @property
    def ring(self) -> list[Token]:
        """All tokens in order."""
        return [self.token_class(value) for value in self._ring.values]

    @property
    def token_to_host_owner(self) -> dict[Token, Host]:
        """The owner of each token."""
        return {self.token_class(value): host for value, host in zip(self._ring.values, self._ring.owners, strict=True)}

    def get_replicas(self, keyspace: str, token: Any) -> list[Host]:
        """The hosts that hold the data of a token: a Token or its plain value; a list of the caller's own, empty if that is
        not known.

        A token of the ring ends the range of what its owner holds, and belongs to it; beyond the last token the first
        one's range begins.
        """
        return list(self._replicas(keyspace, token.value if isinstance(token, Token) else token))

    def get_replicas_of_key(self, keyspace: str, key: bytes) -> tuple[Host, ...]:
        """The hosts that hold the partition of a serialized key; () if that is not known."""
        return self._replicas(keyspace, self._value_of(key))

    def _replicas(self, keyspace: str, value: Any) -> tuple[Host, ...]:
        position = bisect_left(self._ring.values, value)
        return self.replicas_at(keyspace, 0 if position == len(self._ring.values) else position)

    def replicas_at(self, keyspace: str, position: int) -> tuple[Host, ...]:
        """The hosts that hold what lies in the range that ends at a position of the ring; () if that is not known."""
        strategy = self._strategies.get(keyspace)
        if strategy is None or not self._ring.values:
            return self._NO_REPLICAS
        known = self._by_keyspace.get(keyspace)
        if known is None:
            known = self._by_strategy.get(strategy)  # keyspaces that replicate alike share what is known
            if known is None:
                known = self._by_strategy[strategy] = [None] * len(self._ring.values)
            self._by_keyspace[keyspace] = known
        replicas = known[position]
        if replicas is None:
            replicas = known[position] = strategy.replicas(self._ring, position)
        return replicas

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenMap, (self.token_class, self._ring, self._strategies)  # what was worked out is worked out anew

    def __repr__(self) -> str:
        return f"<TokenMap: {len(self._ring.values)} tokens, {len(self._strategies)} keyspaces>"
