"""Work that is done once for all who wait for it ends for all of them, however it ends."""

from __future__ import annotations

import gevent
import pytest

from geventcql.errors import ConnectionShutdown
from geventcql.flights import Flights
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
