"""Where requests go first: positions in the ring of tokens, and pools by position."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventcql.cython.codecs import BindEncoder, murmur3_token, parse_cql_type
from geventcql.cython.wire import Choice, InFlight, Route, Sender, TokenRing, is_busier, load_of

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


def sender(in_flight: int, **state: bool) -> Sender:
    made = Sender(InFlight(40), lambda callback: None, 1000)
    for _ in range(in_flight):
        made.table.acquire(object())
    for name, value in state.items():
        setattr(made, name, value)
    return made


def pool(*in_flight: int, **state: bool) -> SimpleNamespace:
    return SimpleNamespace(connections=[sender(number, **state) for number in in_flight])


def chosen(choice: Choice, times: int = 400) -> dict[int, int]:
    found = Counter(map(id, (choice.pick() for _ in range(times))))
    return {index: found[id(pool)] for index, pool in enumerate(choice.pools) if found[id(pool)]}


def test_the_load_of_a_host() -> None:
    assert load_of([sender(5), sender(3)]) == 3
    assert load_of([sender(5), sender(3, closed=True), sender(2, draining=True)]) == 5
    assert load_of([sender(5), sender(3, suspect=True)]) == 5
    nobody = [load_of([]), load_of([sender(1, suspect=True)]), load_of([sender(40)])]
    assert min(nobody) > 32768


def test_who_is_so_busy_that_others_are_better() -> None:
    assert not is_busier(9, 0) and is_busier(10, 0) and is_busier(10, 4)
    assert not is_busier(10, 5) and not is_busier(100, 50) and is_busier(101, 50)


def test_a_choice_is_the_first_unless_it_is_busy() -> None:
    assert chosen(Choice([pool(9), pool(0)], avoid_busy=True)) == {0: 400}
    assert chosen(Choice([pool(30), pool(0)], avoid_busy=True)) == {1: 400}
    assert chosen(Choice([pool(30), pool(0)])) == {0: 400}
    drawn = chosen(Choice([pool(30), pool(0), pool(20)], avoid_busy=True))
    assert set(drawn) == {0, 1} and min(drawn.values()) > 100  # the other one is drawn, not the best of all
    assert chosen(Choice([pool(), pool(12)], avoid_busy=True)) == {1: 400}
    assert chosen(Choice([pool(1, suspect=True), pool(12)], avoid_busy=True)) == {1: 400}


def test_a_choice_by_chance() -> None:
    drawn = chosen(Choice([pool(0), pool(0), pool(0)], spread=2))
    assert set(drawn) == {0, 1} and min(drawn.values()) > 100
    drawn = chosen(Choice([pool(30), pool(0), pool(30)], spread=3, avoid_busy=True))
    assert drawn[1] > 200 and min(drawn.values()) > 20


def test_a_choice_in_turn() -> None:
    pools = [pool(30), pool(0), pool(0), pool(0)]
    began = set()
    for _ in range(200):
        choice = Choice(pools, spread=3, in_turn=True)
        picked = [pools.index(choice.pick()) for _ in range(9)]
        assert sorted(picked[:3]) == [0, 1, 2] and picked == picked[:3] * 3
        began.add(picked[0])
    assert began == {0, 1, 2}


def test_what_is_no_choice() -> None:
    for pools, spread in (([], 1), ([pool(0)], 1), ([pool(0), pool(0)], 3), ([pool(0), pool(0)], 0)):
        with pytest.raises(ValueError, match="no choice"):
            Choice(pools, spread)


def test_a_route_makes_its_choice_each_time() -> None:
    near, far = pool(0), pool(0)
    route = Route(lambda position: Choice([near, far], avoid_busy=True))
    assert route.first(None, b"") is near
    near.connections.append(sender(20))
    del near.connections[0]
    assert route.first(None, b"") is far
