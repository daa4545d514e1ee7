"""Work that is done once for all who wait for it ends for all of them, however it ends."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import AsyncResult

from geventcql.errors import ConnectionShutdown
from geventcql.flights import Flights, landed
from geventcql.session import Session


@pytest.mark.parametrize("begun", [False, True])
def test_work_that_is_killed(session: Session, begun: bool) -> None:
    flights = Flights(session.cluster, "something was done")
    flight = flights.join("key", gevent.sleep, 60)
    assert flights.join("key", gevent.sleep, 60) is flight
    if begun:
        gevent.sleep(0)
    session.cluster.shutdown()
    with pytest.raises(ConnectionShutdown, match="shut down while something was done"):
        flight.get(timeout=5)
    assert "key" not in flights


def test_work_that_fails_is_done_again_for_the_next(session: Session) -> None:
    flights = Flights(session.cluster, "something was done")
    failed = flights.join("key", int, "x")
    with pytest.raises(ValueError):
        failed.get(timeout=5)
    assert flights.join("key", int, "3").get(timeout=5) == 3


class Odd(Exception):
    """One that cannot be made of its arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(a + b)


@pytest.mark.parametrize("error", [ValueError("x"), Odd(1, 2), gevent.Timeout()], ids=["copied", "not copied", "a timeout"])
def test_no_error_is_its_own_cause(error: BaseException) -> None:
    flight = AsyncResult()
    flight.set_exception(error)
    with pytest.raises(type(error)) as raised:
        landed(flight)
    assert raised.value.__cause__ is (error if isinstance(error, ValueError) else None)
