"""A fake node that answers keys, and a Session on it."""

from __future__ import annotations

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
