"""Checks after every test that nothing is left behind: greenlets, descriptors, errors of the hub, the driver's state
(stream ids, futures, hosts), what has been shut down, and lines in the log that nobody expects.

Test support, a pytest plugin; runs in the main greenlet. The driver is watched from within, once a test has imported it
(nothing here imports it): see :mod:`.driverstate`. Its log: see :mod:`.logs`.

A test that must leave something says why: `@pytest.mark.allow_leaks("reason")`. A test that makes the hub report errors
takes the fixture `hub_errors`, asserts on it and clears it.
"""

from __future__ import annotations

import gc
import os
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import greenlet
import pytest
from gevent.hub import Hub

from . import logs
from .driverstate import DriverState

SETTLE_SECONDS = 2.0
FEWEST_LOOKS = 5
_REFREEZE_OBJECTS = 50_000
_IGNORED_DESCRIPTORS = ("anon_inode:[eventfd]", "anon_inode:[timerfd]", "anon_inode:[signalfd]", "/dev/", "/proc/")

_failed = pytest.StashKey[bool]()


class _Spawned:
    """Every Greenlet spawned so far that still exists, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._greenlets: weakref.WeakSet[gevent.Greenlet] = weakref.WeakSet()

    def note(self, item: gevent.Greenlet) -> None:
        self.count += 1
        self._greenlets.add(item)

    def alive(self) -> list[gevent.Greenlet]:
        return [item for item in self._greenlets if not item.dead]


_spawned = _Spawned()


@dataclass(frozen=True)
class HubError:
    """One error that reached the hub: in a greenlet that nobody joined, or in a callback of the loop."""

    context: str
    type: type[BaseException]
    text: str


_hub_errors: list[HubError] = []


def _recording(handle_error: Callable[..., None]) -> Callable[..., None]:
    def record(self: Hub, context: Any, type: Any, value: Any, tb: Any) -> None:
        if type is not None and not issubclass(type, self.NOT_ERROR):
            _hub_errors.append(HubError(repr(context), type, f"{type.__name__}: {value}"))
        handle_error(self, context, type, value, tb)

    return record


# --- what is there ---------------------------------------------------------------------------------------------------


def descriptors() -> dict[int, str]:
    """This process's open descriptors and what they are; those that gevent's loop opens for itself left out."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the listing's own descriptor
            continue
        if not target.startswith(_IGNORED_DESCRIPTORS):
            found[int(name)] = target
    return found


@dataclass
class _Scan:
    """The greenlets that the last look through the collector found, and how many had been spawned until then."""

    spawns: int = 0
    greenlets: weakref.WeakSet[greenlet.greenlet] = field(default_factory=weakref.WeakSet)
    objects: int = 0


_last_scan = _Scan()


def _with_subclasses(kind: type[Any]) -> set[type[Any]]:
    return {kind}.union(*map(_with_subclasses, type.__subclasses__(kind)))


def _greenlets() -> list[greenlet.greenlet]:
    """All greenlets that run, the raw ones among them, which only the collector knows."""
    wanted = _with_subclasses(greenlet.greenlet)
    found: list[greenlet.greenlet] = list(_spawned.alive())
    spawned = {id(g) for g in found}
    everything = gc.get_objects()
    found += [item for item in everything if type(item) in wanted and id(item) not in spawned and _is_running(item)]
    _last_scan.spawns, _last_scan.greenlets = _spawned.count, weakref.WeakSet(found)
    _last_scan.objects = len(everything)
    return found


def _is_running(item: greenlet.greenlet) -> bool:
    """Suspended greenlets of any hub; not the hubs themselves, nor what threads (of gevent's pool too) start in."""
    of_a_thread = item.parent is None or type(item).__module__ == "gevent.threadpool"
    return bool(item) and not of_a_thread and not isinstance(item, Hub) and item is not greenlet.getcurrent()


def _where(item: greenlet.greenlet) -> str:
    frame = item.gr_frame
    stack = "".join(traceback.format_stack(frame)[-4:]) if frame is not None else "    (not started)\n"
    return f"{item!r}\n{stack}".rstrip()


_driver = DriverState()


class Snapshot:
    """What was there before a test.

    The collector is asked only when greenlets live or have been spawned: most tests of pure code do neither.
    """

    def __init__(self) -> None:
        _driver.watch()
        _driver.ending.clear()  # what fixtures of modules have made ends in a later test, and may be held until behind it
        self._spawns = _spawned.count
        if _last_scan.spawns != _spawned.count:
            _greenlets()
        self._greenlets = _last_scan.greenlets
        self._descriptors = descriptors()
        self.objects = 0

    def problems(self) -> list[str]:
        """What is there now that was not, and what of the driver's state is wrong; empty when all is well."""
        problems = []
        if _spawned.count != self._spawns or _spawned.alive():
            problems += [f"greenlet left: {_where(g)}" for g in _greenlets() if g not in self._greenlets]
            self.objects = _last_scan.objects
        problems += _driver.problems()
        problems += [
            f"descriptor left: {number} {target}"
            for number, target in descriptors().items()
            if self._descriptors.get(number) != target
        ]
        problems += [f"hub error: {error.text} in {error.context}" for error in _hub_errors]
        return problems

    def settle(self) -> list[str]:
        """The problems that are still there after SETTLE_SECONDS and FEWEST_LOOKS, the hub running and garbage collected."""
        deadline = time.monotonic() + SETTLE_SECONDS
        pause = 0.0
        looks = 0
        while True:
            problems = self.problems()
            looks += 1
            if not problems or (looks > FEWEST_LOOKS and time.monotonic() > deadline):
                return problems
            gevent.sleep(pause)
            gc.collect()
            pause = min(0.1, pause + 0.005)


# --- the plugin ------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "allow_leaks(reason): what is left after the test is not checked; say why")
    gevent.Greenlet.add_spawn_callback(_spawned.note)
    config.pluginmanager.register(logs)
    Hub.handle_error = _recording(Hub.handle_error)
    gevent.get_hub()  # its descriptors are no test's


def pytest_collection_finish(session: pytest.Session) -> None:
    """What importing made lives for ever: out of the collector's sight, so that looking for leaks stays cheap."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.failed:
        item.stash[_failed] = True
    return report  # type: ignore[return-value]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What the end of a module's fixtures did wrong is told with the next test; here that of the last ones."""
    if _driver.wrong:
        print("\nleft behind or wrong after the last test:", *_driver.wrong, sep="\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def hub_errors() -> list[HubError]:
    """The errors that the hub has reported in this test so far; a test that expects some clears the list."""
    return _hub_errors


@pytest.fixture(autouse=True)
def check_invariants(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves something behind; a test that failed already only gets a section in its report."""
    marker = request.node.get_closest_marker("allow_leaks")
    _hub_errors.clear()
    logs.begin()
    if marker is not None:
        if not (marker.args and isinstance(marker.args[0], str) and marker.args[0].strip()):
            pytest.fail("allow_leaks needs a reason", pytrace=False)
        yield
        _driver.forget()
        return
    before = Snapshot()
    yield
    if request.node.funcargs is not None:  # it is where the run is being given up
        request.node.funcargs.clear()  # all other fixtures have ended
    problems = before.settle()
    problems += [f"unexpected in the log: {line}" for line in logs.unexpected(request.node)]
    if problems:
        _driver.forget()
        text = "left behind or wrong after the test:\n" + "\n".join(problems)
        if request.node.stash.get(_failed, False):
            request.node.add_report_section("teardown", "invariants", text)
        else:
            pytest.fail(text, pytrace=False)
    if before.objects > _REFREEZE_OBJECTS:
        gc.collect()
        gc.freeze()
