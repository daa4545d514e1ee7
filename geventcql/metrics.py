"""What a Cluster counts and times (layer: driver), under cassandra-driver's names (``cassandra.metrics``), and more.

A :class:`Registry` of instruments: counters, which the cold paths of requests, supervisors and the hub add to; gauges, which
are computed when somebody reads them; timers. Nothing in here waits or switches, so it may be used in readers and in the hub.
Collectors read :attr:`Metrics.registry` of each of :func:`all_metrics`.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from geventcql.cython.wire import Histogram
from geventcql.errors import (
    ConnectionException,
    PreparedQueryNotFound,
    ReadTimeoutErrorMessage,
    UnavailableErrorMessage,
    WriteTimeoutErrorMessage,
)
from geventcql.net.transport import Traffic
from geventcql.retrying import Verdict

if TYPE_CHECKING:
    from geventcql.cluster import Cluster
    from geventcql.net.connection import Connection

__all__ = [
    "Counter",
    "Gauge",
    "Instrument",
    "Metrics",
    "Registry",
    "Sample",
    "Timer",
    "all_metrics",
    "count",
    "count_error",
    "count_verdict",
]


class Sample(NamedTuple):
    """One value of an instrument."""

    labels: Mapping[str, str]
    value: Any
    """A number; of a timer its :class:`~geventcql.cython.wire.Histogram`."""


class Instrument:
    """Something that is measured.

    :param name: of this one in its registry
    :param help: what it tells, in a sentence
    :param label: what its samples are told apart by, such as ``host``; None if there is one sample
    :param unit: ``s``, ``By`` (bytes), or nothing for a number of things (UCUM, as in OpenTelemetry)
    """

    kind: str
    """``counter`` (grows only), ``gauge`` or ``histogram``."""

    def __init__(self, name: str, help: str, label: str | None = None, unit: str = "") -> None:
        self.name = name
        self.help = help
        self.label = label
        self.unit = unit

    @property
    def value(self) -> Any:
        """All samples in one."""
        raise NotImplementedError

    def samples(self) -> list[Sample]:
        """The values at this moment."""
        raise NotImplementedError

    def _samples_of(self, values: Mapping[str, float]) -> list[Sample]:
        label = self.label
        if label is None:
            return [Sample({}, sum(values.values()))]
        return [Sample({label: of}, value) for of, value in values.items()]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.value}>"


class Counter(Instrument):
    """A number of events."""

    kind = "counter"

    def __init__(self, name: str, help: str, label: str | None = None, unit: str = "") -> None:
        super().__init__(name, help, label, unit)
        self._counts: dict[str, int] = {}

    def add(self, of: object = "", events: int = 1) -> None:
        """Count events.

        :param of: the label's value, such as a Host
        """
        key = str(of)
        self._counts[key] = self._counts.get(key, 0) + events

    def begin_anew(self) -> None:
        """Nothing has been counted."""
        self._counts.clear()

    @property
    def value(self) -> int:
        """How many in all."""
        return sum(tuple(self._counts.values()))

    def samples(self) -> list[Sample]:
        return self._samples_of(dict(self._counts))


class GaugeValue(int):
    """What a gauge shows. cassandra-driver has functions there: it may be called, too."""

    def __call__(self) -> int:
        return int(self)


class Gauge(Instrument):
    """What is there at the moment of reading.

    :param read: gives the values by the label's value; one of any key where there is no label
    :param kind: ``counter`` for what grows only, and is counted elsewhere
    """

    def __init__(
        self,
        name: str,
        help: str,
        read: Callable[[], Mapping[str, int]],
        label: str | None = None,
        unit: str = "",
        kind: str = "gauge",
    ) -> None:
        super().__init__(name, help, label, unit)
        self.kind = kind
        self._read = read

    @property
    def value(self) -> GaugeValue:
        """The sum."""
        return GaugeValue(sum(self._read().values()))

    def samples(self) -> list[Sample]:
        return self._samples_of(self._read())


class Timer(Instrument, Mapping[str, float]):
    """Durations: as a mapping what cassandra-driver's timers tell, seconds.

    ``count`` is of all since the start. The others are of the last one or two minutes in which there were any: ``min``,
    ``max``, ``mean``, ``stddev``, ``median``, ``75percentile``, ``95percentile``, ``98percentile``, ``99percentile``,
    ``999percentile`` (the 99.9th); percentiles to 2 %. Where there were none they are 0.0.

    :param read: gives the histogram, if that is kept elsewhere
    """

    kind = "histogram"
    PERCENTILES: Mapping[str, float] = {
        "median": 0.5,
        "75percentile": 0.75,
        "95percentile": 0.95,
        "98percentile": 0.98,
        "99percentile": 0.99,
        "999percentile": 0.999,
    }
    KEYS = ("count", "min", "max", "mean", "stddev", *PERCENTILES)

    def __init__(self, name: str, help: str, read: Callable[[], Histogram] | None = None) -> None:
        super().__init__(name, help, unit="s")
        self._read = read
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing has been timed."""
        self._histogram = Histogram()

    @property
    def histogram(self) -> Histogram:
        """For collectors: ``count``, ``total`` (seconds) and ``cumulative(bounds)`` are of all since the start."""
        return self._histogram if self._read is None else self._read()

    @property
    def value(self) -> Timer:
        return self

    def samples(self) -> list[Sample]:
        return [Sample({}, self.histogram)]

    def percentile(self, percent: float) -> float:
        """The duration that ``percent`` of the recent ones (0 to 100) do not exceed, seconds."""
        return self.histogram.recent_statistics((percent / 100,))[4][0]

    def get_stats(self) -> dict[str, float]:
        """Everything at once."""
        histogram = self.histogram
        *statistics, percentiles = histogram.recent_statistics(tuple(self.PERCENTILES.values()))
        return dict(zip(self.KEYS, (histogram.count, *statistics, *percentiles), strict=True))

    def __getitem__(self, key: str) -> float:
        return self.get_stats()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.KEYS)

    def __len__(self) -> int:
        return len(self.KEYS)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<Timer {self.name} {self.get_stats()}>"


class Registry:
    """Instruments by name; iterating gives them in the order in which they were added."""

    def __init__(self) -> None:
        self._instruments: dict[str, Instrument] = {}

    def add(self, instrument: Instrument) -> None:
        """Have one more: an application may have its own here.

        :raises ValueError: there is one of that name
        """
        if instrument.name in self._instruments:
            raise ValueError(f"there is an instrument {instrument.name!r} already")
        self._instruments[instrument.name] = instrument

    def __getitem__(self, name: str) -> Instrument:
        return self._instruments[name]

    def __iter__(self) -> Iterator[Instrument]:
        return iter(tuple(self._instruments.values()))

    def __len__(self) -> int:
        return len(self._instruments)


_by_name: weakref.WeakValueDictionary[str, Metrics] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def all_metrics() -> list[Metrics]:
    """The metrics of all Clusters of this process that have them enabled."""
    return list(_by_name.values())


COUNTERS = (
    ("connection_errors", "Attempts that failed because the connection broke or fell silent", "host"),
    ("write_timeouts", "Answers that replicas did not acknowledge a write in time", "host"),
    ("read_timeouts", "Answers that replicas did not answer a read in time", "host"),
    ("unavailables", "Answers that too few replicas were alive for the consistency level", "host"),
    ("other_errors", "Other errors that servers answered", "host"),
    ("retries", "Attempts that failed and were repeated, as the retry policy decided", "host"),
    ("ignores", "Errors that the retry policy had ignored", "host"),
    ("request_errors", "Requests that ended with an error, by the error's class", "error"),
    ("prepared_again", "Statements that a server had forgotten", "host"),
    ("speculative_executions", "Attempts that were made while another one was still under way", "host"),
    ("attempt_timeouts", "Attempts given up for another one, since they took longer than attempt_timeout", "host"),
    ("suspected", "Connections that fell silent with requests in flight", "host"),
    ("connect_errors", "Connections that could not be opened", "host"),
    ("reconnects", "Connections that were opened where one had been lost or could not be opened", "host"),
)


def _open(cluster: Any) -> list[tuple[Any, Connection]]:
    """Open connections with their hosts."""
    if cluster._connecting is None:
        return []
    return [(pool.host, connection) for pool in cluster._registry.all_pools() for connection in pool.open_connections]


def _of_cluster(reference: weakref.ref[Any], read: Callable[[Any], int]) -> dict[str, int]:
    cluster = reference()
    return {"": read(cluster) if cluster is not None else 0}


def _by_host(reference: weakref.ref[Any], value: Callable[[Connection], int]) -> dict[str, int]:
    cluster = reference()
    values: dict[str, int] = {}
    for host, connection in _open(cluster) if cluster is not None else ():
        values[str(host)] = values.get(str(host), 0) + value(connection)
    return values


def _lag(reference: weakref.ref[Any]) -> Histogram:
    scheduler = getattr(reference(), "_scheduler", None)
    return Histogram() if scheduler is None else scheduler.lag  # it is the hub's, whichever Clusters there are


def _bytes(traffic: dict[str, Traffic], way: str) -> dict[str, int]:
    return {host: getattr(counted, way) for host, counted in tuple(traffic.items())}


OF_CLUSTER: tuple[tuple[str, str, Callable[[Any], int]], ...] = (
    ("known_hosts", "Nodes of the cluster, as far as the driver knows", lambda cluster: len(cluster.metadata.all_hosts())),
    ("connected_to", "Nodes to which a connection is open", lambda cluster: len({host for host, _ in _open(cluster)})),
    ("queue_length", "Requests that wait for room", lambda cluster: sum(map(len, tuple(cluster._waiting)))),
    (
        "throttled",
        "Requests that wait their turn under max_requests_per_second",
        lambda cluster: sum(len(session._throttle or ()) for session in list(cluster.sessions)),
    ),
)
BY_HOST: tuple[tuple[str, str, Callable[[Connection], int], str], ...] = (
    ("open_connections", "Open connections, the control connection left out", lambda connection: 1, ""),
    ("in_flight", "Requests in flight", lambda connection: connection.in_flight, ""),
    ("orphans", "Requests given up that the server has not answered yet", lambda connection: connection.orphaned, ""),
    ("suspects", "Open connections that have fallen silent", lambda connection: int(connection.suspect), ""),
    ("unsent_bytes", "Bytes that the kernel has not taken yet", lambda connection: connection.unsent_bytes, "By"),
)
BYTES = (
    ("bytes_sent", "Bytes that sockets took, the control connection's among them", "sent"),
    ("bytes_received", "Bytes that sockets gave, decrypted, the control connection's among them", "received"),
)


class Metrics:
    """What a Cluster counts and times: ``cluster.metrics``, if it was made with ``metrics_enabled=True``
    (``cassandra.metrics.Metrics``).

    The value of each instrument in :attr:`registry` is an attribute, too: a number, or a :class:`Timer`. May be read in any
    thread.
    """

    request_timer: Timer
    connection_errors: int
    write_timeouts: int
    read_timeouts: int
    unavailables: int
    other_errors: int
    retries: int
    ignores: int
    known_hosts: GaugeValue
    connected_to: GaugeValue
    open_connections: GaugeValue
    hub_lag: Timer

    def __init__(self, cluster: Any) -> None:
        self.registry = Registry()
        self.stats_name = ""
        """Its name among those of other Clusters."""
        self._traffic: dict[str, Traffic] = {}
        self.set_stats_name(next(name for name in map("cassandra-{}".format, _numbers) if name not in _by_name))
        self.registry.add(Timer("request_timer", "Requests from execute to their end, with a result or an error"))
        self._counters = {name: Counter(name, help, label) for name, help, label in COUNTERS}
        for counter in self._counters.values():
            self.registry.add(counter)
        self._reference = reference = weakref.ref(cluster)
        for name, help, read in OF_CLUSTER:
            self.registry.add(Gauge(name, help, partial(_of_cluster, reference, read)))
        for name, help, value, unit in BY_HOST:
            self.registry.add(Gauge(name, help, partial(_by_host, reference, value), "host", unit))
        for name, help, way in BYTES:
            self.registry.add(Gauge(name, help, partial(_bytes, self._traffic, way), "host", "By", kind="counter"))
        self.registry.add(Timer("hub_lag", "How late the driver's timers came, the hub being busy", partial(_lag, reference)))

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["registry"][name].value
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    @property
    def stats(self) -> Metrics:
        """The object itself, which cassandra-driver's applications find the values in as attributes of ``stats``."""
        return self

    def get_stats(self) -> dict[str, Any]:
        """All values by name; those of a timer are a dict."""
        values = {instrument.name: instrument.value for instrument in self.registry}
        return {name: value.get_stats() if isinstance(value, Timer) else value for name, value in values.items()}

    def set_stats_name(self, stats_name: str) -> None:
        """Give it a name for collectors, instead of ``cassandra-<number>``.

        :raises ValueError: another Cluster's has that name
        """
        if stats_name == self.stats_name:
            return
        if stats_name in _by_name:
            raise ValueError(f"there are metrics of the name {stats_name!r} already")
        _by_name.pop(self.stats_name, None)
        _by_name[stats_name] = self
        self.stats_name = stats_name

    def count(self, name: str, of: object = "") -> None:
        """Count one event.

        :param name: of a counter
        :param of: the value of its label
        """
        self._counters[name].add(of)

    def begin_anew(self) -> None:
        """Count from nothing: the child of a fork counts what it does itself."""
        self._traffic.clear()
        self.request_timer.begin_anew()
        for counter in self._counters.values():
            counter.begin_anew()

    def traffic(self, endpoint: Any) -> Traffic:
        """What connections to ``endpoint`` count their bytes in."""
        return self._traffic.setdefault(str(endpoint), Traffic())

    def __repr__(self) -> str:
        return f"<Metrics {self.stats_name} {self.get_stats()}>"


def count(cluster: Cluster, name: str, of: object = "") -> None:
    """:meth:`Metrics.count`, if the Cluster has its metrics enabled."""
    metrics = cluster.metrics
    if metrics is not None:
        metrics.count(name, of)


ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (ReadTimeoutErrorMessage, "read_timeouts"),
    (WriteTimeoutErrorMessage, "write_timeouts"),
    (UnavailableErrorMessage, "unavailables"),
    (ConnectionException, "connection_errors"),
)


def count_error(cluster: Cluster, error: BaseException, host: object) -> None:
    """Count an attempt that came to nothing: by the server's answer, or by the end of the connection."""
    if not isinstance(error, PreparedQueryNotFound):  # that is counted when the statement has been prepared again
        count(cluster, next((name for kind, name in ERRORS if isinstance(error, kind)), "other_errors"), host)


def count_verdict(cluster: Cluster, verdict: Verdict, host: object) -> None:
    """Count what became of it."""
    if verdict is Verdict.IGNORE:
        count(cluster, "ignores", host)
    elif verdict is not Verdict.RETHROW:
        count(cluster, "retries", host)
