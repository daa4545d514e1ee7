"""What every test gets: the invariant checker, the hard timeout with stacks, certificates."""

from __future__ import annotations

import pytest

from tests.support import invariants, tls, watchdog


def pytest_configure(config: pytest.Config) -> None:
    for plugin in (invariants, watchdog, tls):
        config.pluginmanager.register(plugin)
