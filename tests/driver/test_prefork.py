"""Servers that fork their workers after the application has connected: Gunicorn, Celery and the like, multiprocessing."""

from __future__ import annotations

import pytest

from tests.driver.support import BY_KEY
from tests.support.fakenode import FakeNode, Opcode
from tests.support.preforking import ask_gunicorn, run_preforked

KEYS = 200


def test_gunicorn_with_preload(node: FakeNode) -> None:
    """pitfalls: A1, E5."""
    answers = ask_gunicorn(node.host, node.port, BY_KEY, KEYS)
    assert len(answers) == 2
    assert node.accepted == 2 + 2 * 2  # the application's when it was imported, and each worker's own
    executed = [request for request in node.requests if request.opcode == Opcode.EXECUTE]
    assert len(executed) == sum(answers.values())


def test_workers_that_get_tasks_over_a_pipe_and_are_replaced(node: FakeNode) -> None:
    found = run_preforked("prefork", node.host, node.port, BY_KEY)
    assert found == {"right": [60, True], "own": [1200, True], "ended": 0}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(node: FakeNode, method: str) -> None:
    assert run_preforked(method, node.host, node.port, BY_KEY) == {"right": True, "others": True, "exit": 0}
