"""A thread that has ended is no other one's owner, and a hub that was destroyed nobody's."""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent.event import Event

from geventcql.waiting import thread_id
from tests.driver.processes import Child
from tests.driver.support import serve_public_calls
from tests.support.fakenode import FakeNode
from tests.support.native import Thread


def numbers_of_a_thread() -> tuple[int, int]:
    """The system's, and the driver's."""
    found: list[tuple[int, int]] = []
    get_ident: Callable[[], int] = gevent.monkey.get_original("_thread", "get_ident")
    thread = Thread(lambda: found.append((get_ident(), thread_id())))
    thread.start()
    thread.join()
    return found[0]


def test_the_system_gives_a_number_again_and_the_driver_does_not() -> None:
    systems, drivers = zip(*[numbers_of_a_thread() for _ in range(50)], strict=True)
    assert len(set(systems)) < 50
    assert len({*drivers, thread_id()}) == 51 and thread_id() == thread_id()


def test_a_hub_that_has_been_destroyed() -> None:
    """In a process of its own, which it leaves with connections that nobody closes."""
    found: dict[str, str | None] = {}
    with FakeNode() as node:
        serve_public_calls(node, Event())
        child = Child("child.py", "never", "destroyed_hub", str(node.port))
        found.update(iter(child.tell, None))
        child.end()
    assert len(found) > 50
    assert {name: how for name, how in found.items() if how != "geventcql.errors.WrongHubError"} == {}
