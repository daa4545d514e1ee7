"""Where requests go first: positions in the ring of tokens, and pools by position."""

from __future__ import annotations

from bisect import bisect_left
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.cython.codecs import BindEncoder, murmur3_token, parse_cql_type
from geventcql.cython.wire import Route, TokenRing

TOKENS = st.integers(-(2**63), 2**63 - 1)
KEY = SimpleNamespace(name="k", type=parse_cql_type("int"))


@given(st.lists(TOKENS, min_size=1, max_size=50, unique=True), TOKENS)
def test_a_range_ends_at_the_first_token_that_is_not_below(tokens: list[int], token: int) -> None:
    tokens.sort()
    ring = TokenRing(tokens)
    assert ring.size == len(tokens)
    for wanted in (token, *tokens[:3], -(2**63), 2**63 - 1):
        assert ring.position(wanted) == bisect_left(tokens, wanted) % len(tokens)


def test_what_is_no_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        TokenRing([])
    with pytest.raises(OverflowError):
        TokenRing([2**63])


def test_one_pool_for_all() -> None:
    asked: list[int] = []

    def find(position: int) -> str:
        asked.append(position)
        return "pool"

    route = Route(find)
    assert not route.stale and route.ring is None
    assert [route.first(None, b""), route.first(None, b"anything")] == ["pool", "pool"]
    assert asked == [0]


def test_pools_by_token_each_looked_for_once() -> None:
    tokens = [-(2**62), 0, 2**62]
    encoder = BindEncoder((KEY,), (0,), 4)
    asked: list[int] = []

    def find(position: int) -> str | None:
        asked.append(position)
        return None if position == 1 else f"pool {position}"

    route = Route(find, TokenRing(tokens))
    for key in [*range(60), *range(60)]:
        position = bisect_left(tokens, murmur3_token(key.to_bytes(4, "big"))) % 3
        expected = None if position == 1 else f"pool {position}"
        assert route.first(encoder, encoder.encode((key,))) == expected
    assert sorted(asked) == [0, 1, 2]


def test_a_search_that_fails_is_made_again() -> None:
    answers = iter([LookupError("not now"), "pool"])

    def find(position: int) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    route = Route(find)
    with pytest.raises(LookupError, match="not now"):
        route.first(None, b"")
    assert route.first(None, b"") == "pool"


def test_without_the_key_the_policy_is_asked() -> None:
    route = Route(lambda position: "pool", TokenRing([0]))
    encoder = BindEncoder((KEY,), (), 4)
    assert route.first(encoder, encoder.encode((1,))) is None
