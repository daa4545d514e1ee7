"""A fake node that answers keys, a Session on it, and silence of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

import geventcql
from geventcql.session import Session
from tests.driver.support import serve_keys
from tests.support.fakenode import FakeNode


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as started:
        serve_keys(started)
        yield started


@pytest.fixture
def session(node: FakeNode) -> Iterator[Session]:
    with geventcql.connect([node.host], port=node.port) as opened:
        yield opened


@pytest.fixture
def no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Captured log records keep the errors that they tell of, and with them whatever their tracebacks lead to."""
    caplog.set_level(logging.CRITICAL + 1, "geventcql")
