"""Policies as applications write them for cassandra-driver, after what can be found in public code: with its locks, its
attributes and its calling conventions. :mod:`tests.driver.test_application_policies` runs them on either driver.
"""

from __future__ import annotations

import random
import time
from itertools import chain, islice, repeat
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.policies import (
    AddressTranslator,
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    HostDistance,
    HostFilterPolicy,
    LoadBalancingPolicy,
    ReconnectionPolicy,
    RetryPolicy,
    RoundRobinPolicy,
    SpeculativeExecutionPlan,
    SpeculativeExecutionPolicy,
    TokenAwarePolicy,
    WriteType,
)


class FromScratch(LoadBalancingPolicy):  # type: ignore[misc]
    """All hosts, the last one that came up first."""

    def __init__(self) -> None:
        LoadBalancingPolicy.__init__(self)
        self.hosts: list[Any] = []

    def populate(self, cluster: Any, hosts: Any) -> None:
        self.cluster = cluster
        self.hosts = list(hosts)

    def distance(self, host: Any) -> Any:
        return HostDistance.LOCAL if host.datacenter == "dc1" else HostDistance.REMOTE

    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> list[Any]:
        return [host for host in reversed(self.hosts) if host.is_up is not False]

    def on_up(self, host: Any) -> None:
        self.on_down(host)
        self.hosts.append(host)

    def on_down(self, host: Any) -> None:
        if host in self.hosts:
            self.hosts.remove(host)

    on_add = on_up
    on_remove = on_down


class PreferRack(DCAwareRoundRobinPolicy):  # type: ignore[misc]
    """The local rack first, with what DCAwareRoundRobinPolicy keeps."""

    def __init__(self, local_dc: str, rack: str, used_hosts_per_remote_dc: int = 0) -> None:
        super().__init__(local_dc, used_hosts_per_remote_dc)
        self.rack = rack

    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Any:
        pos = self._position
        self._position += 1
        local_live = self._dc_live_hosts.get(self.local_dc, ())
        near = [host for host in local_live if host.rack == self.rack]
        far = [host for host in local_live if host.rack != self.rack]
        for group in (near, far):
            start = (pos % len(group)) if group else 0
            yield from islice(group, start, len(group))
            yield from islice(group, start)


class Draining(RoundRobinPolicy):  # type: ignore[misc]
    """Hosts that operators are going to restart get no requests; changes what RoundRobinPolicy keeps under its lock."""

    _live_hosts: Any

    def __init__(self) -> None:
        super().__init__()
        self.draining: set[str] = set()

    def drain(self, host: Any) -> None:
        with self._hosts_lock:
            self.draining.add(host.address)
            self._live_hosts = self._live_hosts.difference((host,))

    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Any:
        plan = super().make_query_plan(working_keyspace=working_keyspace, query=query)
        return (host for host in plan if host.address not in self.draining)


class WritesToLeader(TokenAwarePolicy):  # type: ignore[misc]
    """The first replica for writes, any of them for reads."""

    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Any:
        keyspace = query.keyspace if query and query.keyspace else working_keyspace
        if query is None or query.routing_key is None or keyspace is None:
            yield from self._child_policy.make_query_plan(keyspace, query)
            return
        replicas = self._cluster_metadata.get_replicas(keyspace, query.routing_key)
        if not is_write(query):
            random.shuffle(replicas)
        for replica in replicas:
            if replica.is_up and self._child_policy.distance(replica) == HostDistance.LOCAL:
                yield replica
        for host in self._child_policy.make_query_plan(keyspace, query):
            if host not in replicas or self._child_policy.distance(host) == HostDistance.REMOTE:
                yield host


def is_write(query: Any) -> bool:
    text = query.prepared_statement.query_string if hasattr(query, "prepared_statement") else query.query_string
    return not text.lstrip().lower().startswith("select")


def without(*addresses: str) -> Any:
    return HostFilterPolicy(child_policy=RoundRobinPolicy(), predicate=lambda host: host.address not in addresses)


class Persistent(RetryPolicy):  # type: ignore[misc]
    """Retries what is safe a few times, at ever lower levels, and remembers what it was asked."""

    def __init__(self, max_retries: int = 3) -> None:
        self.max_retries = max_retries
        self.asked: list[str] = []

    def on_read_timeout(
        self,
        query: Any,
        consistency: Any,
        required_responses: Any,
        received_responses: Any,
        data_retrieved: Any,
        retry_num: Any,
    ) -> Any:
        self.asked.append("read")
        if retry_num >= self.max_retries:
            return self.RETHROW, None
        return self.RETRY, ConsistencyLevel.ONE

    def on_write_timeout(self, query: Any, consistency: Any, write_type: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked.append("write")
        if write_type == WriteType.SIMPLE and kwargs.get("retry_num", args[-1] if args else 0) < self.max_retries:
            return self.RETRY, consistency
        return RetryPolicy.on_write_timeout(self, query, consistency, write_type, *args, **kwargs)

    def on_unavailable(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append("unavailable")
        return (self.RETRY_NEXT_HOST, None) if kwargs["retry_num"] < self.max_retries else (self.RETHROW, None)

    def on_request_error(self, query: Any, consistency: Any, error: Any, retry_num: Any) -> Any:
        self.asked.append(type(error).__name__)
        time.sleep(0)
        return super().on_request_error(query, consistency, error, retry_num)


class IgnoreWrites(FallthroughRetryPolicy):  # type: ignore[misc]
    """Losing a measurement now and then is all right."""

    def on_write_timeout(self, *args: Any, **kwargs: Any) -> Any:
        return self.IGNORE, None


class Quick(ReconnectionPolicy):  # type: ignore[misc]
    """A few quick attempts, then slow ones; notes the schedules asked for."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.schedules = 0

    def new_schedule(self) -> Any:
        self.schedules += 1
        return chain(repeat(self.delay, 5), repeat(self.delay * 2))


class Jittered(ExponentialReconnectionPolicy):  # type: ignore[misc]
    def new_schedule(self) -> Any:
        for delay in super().new_schedule():
            yield delay * 0.5


class OnceForReads(SpeculativeExecutionPolicy):  # type: ignore[misc]
    """One further execution for reads, none for writes."""

    class Plan(SpeculativeExecutionPlan):  # type: ignore[misc]
        def __init__(self, delays: list[float]) -> None:
            self.delays = delays

        def next_execution(self, host: Any) -> float:
            return self.delays.pop() if self.delays else -1

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def new_plan(self, keyspace: Any, statement: Any) -> Any:
        return self.Plan([] if is_write(statement) else [self.delay])


class PortForward(AddressTranslator):  # type: ignore[misc]
    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses

    def translate(self, addr: str) -> str:
        return self.addresses.get(addr, addr)
