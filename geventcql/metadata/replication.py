"""Replication strategies: which hosts hold the data of a token, by the replication options of a keyspace.

Layer: model. Pure: computed from an immutable Ring, in whatever greenlet asks. The rules are those of Cassandra's
`org.apache.cassandra.locator`.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from geventcql.metadata.cqltext import map_literal

if TYPE_CHECKING:
    from geventcql.host import Host

__all__ = [
    "EverywhereStrategy",
    "LocalStrategy",
    "NetworkTopologyStrategy",
    "ReplicationFactor",
    "ReplicationStrategy",
    "Ring",
    "SimpleStrategy",
    "UnknownStrategy",
]

log = logging.getLogger(__name__)

SOME_TOKENS = 1000
"""So many tokens are looked at before others may have a turn."""
_PREFIX = "org.apache.cassandra.locator."


class Ring:
    """Who owns which token: an immutable snapshot.

    `values` are the tokens in order, as plain int or bytes; `owners` the hosts they belong to, position by position;
    `positions`, `hosts` and `racks` are those of each data centre, in the order of the ring.

    Parameters:
        owner_of: the host of each token.
        give_way: called now and then while it is made, since there may be many.
    """

    def __init__(self, owner_of: Mapping[Any, Host], give_way: Callable[[], object] | None = None) -> None:
        self.values: list[Any] = sorted(owner_of)
        self.owners: tuple[Host, ...] = tuple(owner_of[value] for value in self.values)
        self.positions: dict[str | None, list[int]] = {}
        self.hosts: dict[str | None, set[Host]] = {}
        self.racks: dict[str | None, set[str | None]] = {}
        for position, host in enumerate(self.owners):
            if give_way is not None and position % SOME_TOKENS == 0:
                give_way()
            dc = host.datacenter
            if dc not in self.positions:
                self.positions[dc], self.hosts[dc], self.racks[dc] = [], set(), set()
            self.positions[dc].append(position)
            self.hosts[dc].add(host)
            self.racks[dc].add(host.rack)

    def walk(self, position: int, dc: str | None) -> Iterator[Host]:
        """The owners of the tokens of one data centre, once around the ring from `position`."""
        positions = self.positions[dc]
        start = bisect_left(positions, position)
        for index in range(start, start + len(positions)):
            yield self.owners[positions[index % len(positions)]]


class ReplicationFactor:
    """How many replicas there are: `all_replicas`, of them `transient_replicas` (None without transient replication)
    that do not hold all data, and `full_replicas` that do.
    """

    def __init__(self, all_replicas: int, transient_replicas: int | None = None) -> None:
        self.all_replicas = all_replicas
        self.transient_replicas = transient_replicas
        self.full_replicas = all_replicas - (transient_replicas or 0)

    @staticmethod
    def create(rf: str | int) -> ReplicationFactor:
        """From '3', or '3/1' with one of three transient; ValueError for what is neither."""
        try:
            numbers = [int(part) for part in str(rf).split("/")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2):
            raise ValueError(f"not a replication factor: {rf!r}")
        return ReplicationFactor(*numbers)

    def __str__(self) -> str:
        return f"{self.all_replicas}/{self.transient_replicas}" if self.transient_replicas else str(self.all_replicas)

    def __repr__(self) -> str:
        return f"<ReplicationFactor: {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReplicationFactor):
            return False
        return (self.all_replicas, self.full_replicas) == (other.all_replicas, other.full_replicas)

    def __hash__(self) -> int:
        return hash((self.all_replicas, self.full_replicas))


class ReplicationStrategy:
    """The interface of all strategies (`cassandra.metadata.ReplicationStrategy`). Equal if they replicate alike.

    `name`: of the class, without its Java package. `options_map`: class and options of a strategy that is not known, as they
    came; None for others, which have attributes for them.
    """

    name = ""
    options_map: Mapping[str, str] | None = None

    @staticmethod
    def create(strategy_class: str | None, options_map: Mapping[str, str]) -> ReplicationStrategy | None:
        """The strategy for a class name, with or without its Java package, and the options besides.

        None without a name, or, with a warning, if the options do not fit; UnknownStrategy for a class of others.
        """
        if not strategy_class:
            return None
        name = strategy_class[len(_PREFIX) :] if strategy_class.startswith(_PREFIX) else strategy_class
        try:
            known = _STRATEGIES.get(name)
            return UnknownStrategy(name, options_map) if known is None else known(options_map)
        except (KeyError, ValueError) as error:
            log.warning("The replication options %s do not fit %s: %r", dict(options_map), name, error)
            return None

    @staticmethod
    def from_replication(replication: Mapping[str, str]) -> ReplicationStrategy | None:
        """The strategy for the `replication` column of system_schema.keyspaces, which holds its class among the
        options.
        """
        options = dict(replication)
        return ReplicationStrategy.create(options.pop("class", None), options)

    def replicas(self, ring: Ring, position: int) -> tuple[Host, ...]:
        """The hosts that hold the data of the token at this position of the ring, in order of preference."""
        raise NotImplementedError

    def make_token_replica_map(
        self, token_to_host_owner: Mapping[Any, Host], ring: Sequence[Any]
    ) -> dict[Any, list[Host]]:
        """The replicas of each Token of `ring` (cassandra-driver's form of `replicas`)."""
        owners = Ring({token.value: host for token, host in token_to_host_owner.items()})
        every = ((token, self.replicas(owners, bisect_left(owners.values, token.value))) for token in ring)
        return {token: list(hosts) for token, hosts in every if hosts}

    def options(self) -> dict[str, str]:
        """The options of the strategy besides its class."""
        return {}

    def export_for_schema(self) -> str:
        """The options as in CREATE KEYSPACE ... WITH replication = ..."""
        return map_literal({"class": self.name, **self.options()})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.export_for_schema() == other.export_for_schema()

    def __hash__(self) -> int:
        return hash(self.export_for_schema())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.export_for_schema()}>"


class UnknownStrategy(ReplicationStrategy):
    """A strategy whose class the driver does not know, nor its replicas."""

    def __init__(self, name: str, options_map: Mapping[str, str]) -> None:
        self.name = name
        self._options = dict(options_map)
        self.options_map = {**options_map, "class": name}

    def replicas(self, ring: Ring, position: int) -> tuple[Host, ...]:
        """None."""
        return ()

    def options(self) -> dict[str, str]:
        """The options as they came."""
        return self._options


class LocalStrategy(ReplicationStrategy):
    """Each node keeps its own: the system keyspaces. Any host will do, so no replicas are told."""

    name = "LocalStrategy"

    def __init__(self, options_map: Mapping[str, str]) -> None:
        """Takes no options."""

    def replicas(self, ring: Ring, position: int) -> tuple[Host, ...]:
        """None."""
        return ()


class EverywhereStrategy(ReplicationStrategy):
    """Every node holds everything; the owner of the token comes first."""

    name = "EverywhereStrategy"

    def __init__(self, options_map: Mapping[str, str]) -> None:
        """Takes no options."""

    def replicas(self, ring: Ring, position: int) -> tuple[Host, ...]:
        """All hosts, around the ring."""
        return tuple(dict.fromkeys(ring.owners[position:] + ring.owners[:position]))


class SimpleStrategy(ReplicationStrategy):
    """The next hosts around the ring, whatever their data centre and rack."""

    name = "SimpleStrategy"

    def __init__(self, options_map: Mapping[str, str]) -> None:
        """KeyError without `replication_factor`, ValueError if it is none."""
        self.replication_factor_info = ReplicationFactor.create(options_map["replication_factor"])

    @property
    def replication_factor(self) -> int:
        """The number of full replicas."""
        return self.replication_factor_info.full_replicas

    def replicas(self, ring: Ring, position: int) -> tuple[Host, ...]:
        """The first hosts around the ring, as many as the replication factor says."""
        found: list[Host] = []
        for index in range(len(ring.owners)):
            if len(found) == self.replication_factor:
                break
            host = ring.owners[(position + index) % len(ring.owners)]
            if host not in found:
                found.append(host)
        return tuple(found)

    def options(self) -> dict[str, str]:
        """The replication factor."""
        return {"replication_factor": str(self.replication_factor_info)}


class NetworkTopologyStrategy(ReplicationStrategy):
    """In each data centre as many hosts as its own replication factor says, on different racks as far as there are."""

    name = "NetworkTopologyStrategy"

    def __init__(self, dc_replication_factors: Mapping[str, str]) -> None:
        """From data centre to replication factor; ValueError if it is none."""
        self.dc_replication_factors_info = {
            dc: ReplicationFactor.create(factor) for dc, factor in dc_replication_factors.items()
        }
        self.dc_replication_factors = {dc: rf.full_replicas for dc, rf in self.dc_replication_factors_info.items()}

    def replicas(self, ring: Ring, position: int) -> tuple[Host, ...]:
        """The replicas of one data centre after the other, in the order in which these appear on the ring."""
        return tuple(
            host
            for dc in ring.positions
            if dc is not None and self.dc_replication_factors.get(dc, 0) > 0
            for host in self._in_dc(ring, position, dc)
        )

    def _in_dc(self, ring: Ring, position: int, dc: str) -> list[Host]:
        if self.dc_replication_factors_info[dc].transient_replicas:
            return self._full_in_dc(ring, position, dc)
        wanted = min(self.dc_replication_factors[dc], len(ring.hosts[dc]))  # so as not to look for more than there are
        racks_left = len(ring.racks[dc])
        racks_used: set[str | None] = set()
        found: list[Host] = []
        skipped: dict[Host, None] = {}  # hosts of racks that have a replica already, in the order of the ring
        for host in ring.walk(position, dc):
            if len(found) == wanted:
                break
            if host in found:
                continue
            if racks_left and host.rack in racks_used:
                skipped[host] = None
                continue
            found.append(host)
            if racks_left:
                racks_used.add(host.rack)
                racks_left -= 1
                if not racks_left:  # one replica on every rack: those passed over come before further ones
                    found.extend(list(skipped)[: wanted - len(found)])
        return found

    def _full_in_dc(self, ring: Ring, position: int, dc: str) -> list[Host]:
        """Which replicas are full where some are transient: the first that Cassandra finds. It takes a host of a rack that
        has a replica at once, as long as there are more replicas, transient ones counted, than racks.
        """
        factor = self.dc_replication_factors_info[dc]
        repeats = factor.all_replicas - len(ring.racks[dc])
        racks_used: set[str | None] = set()
        found: list[Host] = []
        for host in ring.walk(position, dc):
            if len(found) == factor.full_replicas:
                break
            if host in found or (host.rack in racks_used and repeats <= 0):
                continue
            repeats -= host.rack in racks_used
            racks_used.add(host.rack)
            found.append(host)
        return found

    def options(self) -> dict[str, str]:
        """The replication factor of each data centre, in the order of their names."""
        return {dc: str(factor) for dc, factor in sorted(self.dc_replication_factors_info.items())}


_STRATEGIES: dict[str, Any] = {
    kind.name: kind for kind in (SimpleStrategy, NetworkTopologyStrategy, LocalStrategy, EverywhereStrategy)
}
