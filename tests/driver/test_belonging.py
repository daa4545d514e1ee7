"""How many Clusters a thread has connected."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from geventcql import belonging
from tests.driver.support import cluster_of
from tests.support.fakenode import FakeNode

MANY = belonging.MANY_CLUSTERS


@pytest.mark.logs("WARNING 17 Clusters are connected in this thread")
def test_many_connected_clusters_are_warned_of_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belonging, "_warned", False)
    monkeypatch.setattr(belonging, "_connected", type(belonging._connected)())
    with FakeNode() as node, ExitStack() as stack:
        for _ in range(MANY + 1):  # one after the other
            with cluster_of(node) as cluster:
                cluster.connect()
        clusters = [stack.enter_context(cluster_of(node)) for _ in range(MANY + 5)]
        for cluster in clusters[:MANY]:
            cluster.connect()
        assert caplog.messages == []
        for cluster in clusters[MANY:]:
            cluster.connect()
        (message,) = caplog.messages
        assert message.startswith(f"{MANY + 1} Clusters are connected in this thread")
