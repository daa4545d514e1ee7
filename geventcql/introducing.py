"""How load-balancing policies get to know the hosts (layer: driver): what they are populated with, and told from then on.

A policy is populated once, in a greenlet of the driver's, whoever asks for it and however many do. It may take its time: what
becomes of hosts meanwhile is told when it has returned, in order. So each policy hears of each host once, and misses nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import gevent

from geventcql.errors import OperationTimedOut
from geventcql.flights import Flights, landed
from geventcql.host import Host
from geventcql.net.interrupts import is_interrupt, report
from geventcql.policies import LoadBalancingPolicy

if TYPE_CHECKING:
    from geventcql.cluster import Cluster

__all__ = ["Introductions", "tell"]

log = logging.getLogger(__name__)


class Introductions:
    """The load-balancing policies that know the hosts of a Cluster, or are getting to know them.

    Policies are known as long as somebody holds them.

    :param on_known: called when there is another policy that knows them, in a driver greenlet; may wait
    """

    def __init__(self, cluster: Cluster, on_known: Callable[[], object]) -> None:
        self._cluster = cluster
        self._on_known = on_known
        self._hosts: dict[Host, Host] = {}
        """Those that policies have been told of."""
        self._flights = Flights(cluster, "a load-balancing policy was populated")
        self._untold: dict[int, deque[tuple[str, Host]] | None] = {}
        """What each policy, by id, is to be told when it has been populated; None: it has been, and is told at once."""
        self._met: dict[int, ref[LoadBalancingPolicy]] = {}
        """The policies by id: applications' may be equal to one another, and have no hash."""

    @property
    def policies(self) -> list[LoadBalancingPolicy]:
        """Those that know the hosts."""
        met = [self._met[key]() for key, untold in list(self._untold.items()) if untold is None]
        return [policy for policy in met if policy is not None]

    def knows(self, policy: LoadBalancingPolicy) -> bool:
        """Whether the policy knows the hosts."""
        return self._untold.get(id(policy), ()) is None

    def introduce(self, policy: LoadBalancingPolicy, timeout: float | None = None) -> None:
        """Have a policy know the hosts, and wait until it does.

        :param timeout: seconds to wait; None for no limit. The policy goes on behind that
        :raises OperationTimedOut: it is not done by then
        :raises BaseException: what the policy raises
        """
        if self.knows(policy):
            return
        flight = self._flights.join(id(policy), self._introduce, policy)
        if not flight.wait(timeout) and not flight.ready():
            raise OperationTimedOut({"(not sent)": f"populate() of {policy!r} has not returned within {timeout} s"}, None)
        landed(flight)

    def _introduce(self, policy: LoadBalancingPolicy) -> bool:
        key = id(policy)
        untold = self._untold[key] = deque()
        self._met[key] = ref(policy, partial(_forget, self._untold, self._met, key))
        try:
            policy.populate(self._cluster, list(self._hosts.values()))
            policy.check_supported()
        except BaseException:
            del self._untold[key], self._met[key]
            raise
        while untold:
            tell(policy, *untold.popleft())
        self._untold[key] = None
        self._on_known()
        return True

    def tell(self, method: str, host: Host) -> gevent.GreenletExit | None:
        """Tell the policies what has become of a host; they may switch.

        :returns: what should have ended the greenlet meanwhile: first all are told
        """
        if method == "on_add":
            self._hosts[host] = host
        elif method == "on_remove":
            self._hosts.pop(host, None)
        known = self.policies
        for untold in self._untold.values():
            if untold is not None:  # by then the host may be elsewhere
                untold.append((method, copy(host) if method in ("on_down", "on_remove") else host))
        killed = None
        for policy in known:
            try:
                tell(policy, method, host)
            except gevent.GreenletExit as error:
                killed = error
        return killed

    def begin_with(self, hosts: list[Host]) -> None:
        """These are the first hosts: policies are populated with them."""
        self._hosts = {host: host for host in hosts}


def _forget(untold: dict[int, Any], met: dict[int, Any], key: int, _: Any) -> None:
    """Nobody holds that policy any more."""
    untold.pop(key, None)
    met.pop(key, None)


def tell(listener: Any, method: str, *what: Host) -> None:
    """Tell a policy or a listener what has become of a host; it may switch, and fail. Others are to be told all the same.

    :raises gevent.GreenletExit: a kill, or the listener, ends the greenlet
    """
    try:
        getattr(listener, method)(*what)
    except BaseException as error:
        if is_interrupt(error):
            report(getattr(listener, method), error)
            return
        log.exception("%r failed in %s(%s)", listener, method, *what or ("",))
        if isinstance(error, gevent.GreenletExit):
            raise
