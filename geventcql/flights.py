"""What several may wait for, done once for all of them (layer: driver).

It runs in a greenlet of the Cluster's, never in the one that asked first, since that one may be killed. Whoever asks waits, in
his own greenlet.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from copy import copy
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult

from geventcql.errors import ConnectionShutdown

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["Flights", "landed"]


class Flights:
    """Work under way for a Cluster, by what it is about.

    :param what: the work, for the error of those who wait for it when the Cluster is shut down
    """

    def __init__(self, cluster: Cluster, what: str) -> None:
        self._cluster = cluster
        self._what = what
        self._flights: dict[Hashable, AsyncResult] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._flights

    def __len__(self) -> int:
        return len(self._flights)

    def forget(self) -> object:
        """In the child of a fork: the work goes on in the parent. What those wait for who wait for it."""
        flights, self._flights = self._flights, {}
        return flights

    def join(self, key: Hashable, work: Callable[..., Any], *args: Any) -> AsyncResult:
        """What becomes of the work that is under way for ``key``; ``work(*args)`` is begun if there is none. Does not wait."""
        flight = self._flights.get(key)
        return self._begin(key, work, args) if flight is None else flight

    def _begin(self, key: Hashable, work: Callable[..., Any], args: tuple[Any, ...]) -> AsyncResult:
        flight = self._flights[key] = AsyncResult()

        def run() -> None:
            try:
                value = work(*args)
            except (Exception, gevent.Timeout) as error:  # whatever it is, it ends for all of them
                del self._flights[key]
                flight.set_exception(error)
            else:
                del self._flights[key]
                flight.set(value)

        def ended(greenlet: Any) -> None:
            if not flight.ready():  # it was killed, perhaps before it began, or interrupted
                self._flights.pop(key, None)
                flight.set_exception(cut_short(greenlet, self._what))

        self._cluster._greenlets.spawn(run).rawlink(ended)
        return flight


def cut_short(greenlet: Any, what: str) -> ConnectionShutdown:
    """What to tell those who wait for what a greenlet of the driver's did not come to the end of.

    :param what: "something was done"
    """
    why = "the Cluster was shut down" if greenlet.exception is None else repr(greenlet.exception)
    return ConnectionShutdown(f"{why} while {what}", None)


def landed(flight: AsyncResult) -> Any:
    """What came of work that is done. Each who waited for it gets an error of his own, since errors tell of requests.

    :raises BaseException: what the work raised
    """
    error = flight.exception
    if error is None:
        return flight.value
    own = _own(error)
    try:
        raise own from (None if own is error else error)
    finally:
        del own, error, flight  # the error leads here, and is not to lead back to itself


def _own(error: BaseException) -> BaseException:
    if not isinstance(error, Exception):  # a gevent.Timeout of an application's
        return error
    try:
        return copy(error)
    except Exception:  # an application's, which is not made of its arguments
        return error
