"""What the driver keeps for each hub ends with the hub."""

from __future__ import annotations

import gc
import weakref

import gevent

from geventcql.net.scheduler import Scheduler
from geventcql.waiting import Waker
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
