"""Tests in this folder run on real Cassandra nodes; the fixtures come from geventcql.testing.plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.logs import REFUSED

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.logs("WARNING ", REFUSED))  # real nodes may be slow
