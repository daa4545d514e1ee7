"""Conviction policies: which failures of a connection mean that its host is down.

Layer: model. Called by the host registry, in a driver greenlet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geventcql.errors import OperationTimedOut

if TYPE_CHECKING:
    from geventcql.host import Host

__all__ = ["ConvictionPolicy", "SimpleConvictionPolicy"]


class ConvictionPolicy:
    """Judges one host by its failures (`cassandra.policies.ConvictionPolicy`): a base for applications' own."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def add_failure(self, connection_exc: BaseException | None) -> bool:
        """Takes note of a failure; True if the host counts as down now."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forgets all failures: the host is up."""
        raise NotImplementedError


class SimpleConvictionPolicy(ConvictionPolicy):
    """Any failure convicts but a request that timed out, which says nothing about the connection."""

    def add_failure(self, connection_exc: BaseException | None) -> bool:
        """False for OperationTimedOut, True for all else."""
        return not isinstance(connection_exc, OperationTimedOut)

    def reset(self) -> None:
        """Nothing to forget."""
