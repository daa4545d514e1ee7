"""Hundreds and thousands of greenlets at once on a real Cassandra: no error, every row right, memory bounded."""

from __future__ import annotations

import random
import time
from typing import Any

import gevent
import pytest

from geventcql.concurrent import execute_concurrent_with_args
from geventcql.session import Session
from tests.integration.support import DDL_TIMEOUT, alone

pytest_plugins = "tests.integration.fixtures"

KEYS = 1000
SHORT = 5.0
LONG = 60.0
MEMORY_GROWTH = 200.0  # MB; twice what it takes
FLAT = 5.0  # MB
TIMEOUT = 120.0  # of each request: the server has two cores here, and its client one of them


def row_of(k: int) -> tuple[int, str, list[int], float]:
    """What the table has under a key; rows differ in length, so that frames lie anywhere in segments and reads."""
    return k, f"{k} " * (1 + k * 37 % 400), list(range(k % 50)), k / 7


@pytest.fixture(scope="module")
def table(sessions: dict[int, Session], ks: str) -> str:
    name = f"{ks}.crowd"
    session = sessions[5]
    session.execute(f"CREATE TABLE {name} (k int PRIMARY KEY, t text, l frozen<list<int>>, d double)", timeout=DDL_TIMEOUT)
    insert = session.prepare(f"INSERT INTO {name} (k, t, l, d) VALUES (?, ?, ?, ?)")
    execute_concurrent_with_args(session, insert, map(row_of, range(KEYS)), concurrency=100)
    return name


def crowd(session: Session, table: str, greenlets: int, seconds: float) -> int:
    """Have `greenlets` select rows by key for that long and check each; how many they selected."""
    select = session.prepare(f"SELECT k, t, l, d FROM {table} WHERE k = ?")
    end = time.monotonic() + seconds
    expected = [row_of(k) for k in range(KEYS)]

    def run(seed: int) -> int:
        choose = random.Random(seed).randrange
        done = 0
        while time.monotonic() < end:
            k = choose(KEYS)
            assert session.execute(select, [k], timeout=TIMEOUT).one() == expected[k]
            done += 1
        return done

    running = [gevent.spawn(run, seed) for seed in range(greenlets)]
    gevent.joinall(running, raise_error=True)
    return sum(greenlet.value for greenlet in running)


@pytest.mark.parametrize("greenlets", [256, 1024])
@pytest.mark.parametrize("version", [4, 5])
def test_a_crowd(sessions: dict[int, Session], table: str, version: int, greenlets: int) -> None:
    assert crowd(sessions[version], table, greenlets, SHORT) >= greenlets


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("greenlets", [256, 1024])
def test_a_crowd_for_long(sessions: dict[int, Session], table: str, greenlets: int) -> None:
    done = crowd(sessions[5], table, greenlets, LONG)
    print(f"{done / LONG:.0f} selects/s")
    assert done > 100 * LONG


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", [4, 5])
def test_ten_thousand_greenlets(cassandra: Any, table: str, version: int) -> None:
    """In a process of their own, for its memory."""
    result = alone("ten_thousand", cassandra, table, version)
    assert result["greenlets"] == 10_000 and result["right"] == 20_000
    print(result)
    assert result["growth"] < MEMORY_GROWTH, result


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_requests(cassandra: Any, table: str) -> None:
    """Memory stays what it is, though each request has a deadline that is later than thousands of other requests."""
    result = alone("million", cassandra, table)
    assert result["right"] == 1_000_000
    print(result)
    assert result["growth"] < FLAT, result
