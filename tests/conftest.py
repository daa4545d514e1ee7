"""What every test gets: the invariant checker, the hard timeout with stacks, certificates."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.support import invariants, tls, watchdog


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in what it runs in the background
    for plugin in (invariants, watchdog, tls):
        config.pluginmanager.register(plugin)


# A busy machine draws and checks slowly: that is no failure.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
