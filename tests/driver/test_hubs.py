"""What the driver keeps for each hub ends with the hub, and connecting does not keep the hub."""

from __future__ import annotations

import gc
import weakref

import gevent

from geventcql.net.scheduler import Scheduler
from geventcql.waiting import Waker
from tests.driver.support import BY_KEY, cluster_of, serve_keys
from tests.support.fakecluster import FakeCluster
from tests.support.hubturns import HubTurns
from tests.support.native import Thread


def test_a_threads_hub_is_not_kept() -> None:
    found: list[weakref.ref[object]] = []

    def use() -> None:
        hub = gevent.get_hub()
        assert Scheduler.for_hub() is Scheduler.for_hub(hub)
        assert Waker.for_hub() is Waker.for_hub(hub)
        found.extend((weakref.ref(hub), weakref.ref(Scheduler.for_hub())))
        hub.destroy(destroy_loop=True)

    thread = Thread(target=use)
    thread.start()
    thread.join()
    gc.collect()
    assert len(found) == 2
    assert [reference() for reference in found] == [None, None]


def test_connecting_lets_others_run() -> None:
    """Nobody's socket or timer waits longer than a tenth of a second, the nodes' own work in this process included (E6)."""
    with FakeCluster(3) as nodes:
        serve_keys(nodes)
        with HubTurns() as turns, cluster_of(nodes) as cluster:
            session = cluster.connect(wait_for_all_pools=True)
            prepared = session.prepare(BY_KEY)
            assert [session.execute(prepared, (key,)).one().k for key in range(100)] == list(range(100))
        assert len(turns.held) > 100 and turns.longest < 0.1
