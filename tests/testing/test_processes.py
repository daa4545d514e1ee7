"""Helper processes end with their parent, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gevent
import pytest

from geventcql.testing.processes import Guard, run, wait_for

PARENT = """
import subprocess, sys
from geventcql.testing.processes import Guard
guard = Guard("geventcql-test-")
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
guard.add(child.pid)
print(guard.directory, child.pid, flush=True)
sys.stdin.read()
"""

FORKING_PARENT = PARENT.replace("sys.stdin", """import os, time
worker = os.fork()
if worker == 0:
    if sys.argv[1:] == ["discard"]:
        guard.discard(child.pid)
    time.sleep(60)
    os._exit(0)
print(worker, flush=True)
sys.stdin""")


def _is_there(pid: int) -> bool:
    """Whether `pid` runs; one that ended and waits for its parent (or init) to look at it does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_servers_and_their_directory_go_with_the_parent(how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        directory, _, number = parent.stdout.readline().rpartition(" ")
        assert os.path.isdir(directory)
        assert _is_there(int(number))
        parent.send_signal(how)
    assert wait_for(lambda: not _is_there(int(number)), timeout=10)
    assert wait_for(lambda: not os.path.exists(directory), timeout=10)


@pytest.mark.parametrize("arguments", [[], ["discard"]])
def test_a_forked_worker_does_not_keep_servers_alive_when_its_parent_is_killed(arguments: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKING_PARENT, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        directory, _, number = parent.stdout.readline().rpartition(" ")
        worker = int(parent.stdout.readline())
        try:
            assert _is_there(int(number)) and os.path.isdir(directory)
            parent.kill()
            assert wait_for(lambda: not _is_there(int(number)), timeout=10)
            assert wait_for(lambda: not os.path.exists(directory), timeout=10)
            assert _is_there(worker)
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_closed_guard_leaves_discarded_processes_alone() -> None:
    guard = Guard("geventcql-test-")
    kept, ended = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
    try:
        guard.add(kept.pid)
        guard.add(ended.pid)
        guard.discard(kept.pid)
        Path(guard.directory, "file").write_text("x")
        guard.close()
        guard.close()
        assert not os.path.exists(guard.directory)
        assert ended.wait(timeout=10) == -signal.SIGKILL
        assert kept.poll() is None
    finally:
        for process in (kept, ended):
            process.kill()
            process.wait()


def test_run_gives_status_and_both_outputs() -> None:
    assert run(["sh", "-c", "echo one; echo two >&2; exit 3"], timeout=10) == (3, "one\ntwo\n")


def test_run_does_not_hold_up_other_greenlets() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            gevent.sleep(0.01)

    ticker = gevent.spawn(tick)
    try:
        run(["sleep", "0.3"], timeout=10)
    finally:
        ticker.kill()
    assert ticks >= 10


def test_run_ends_what_takes_too_long_and_says_what_it_wrote() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"sh did not end within 0\.2 s; it wrote:\nworking"):
        run(["sh", "-c", "echo working; exec sleep 600"], timeout=0.2)
    assert time.monotonic() - started < 10


def test_run_raises_what_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/nonexistent/program"], timeout=1)
