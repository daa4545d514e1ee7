"""Address translators: the address a node tells about itself, turned into one that this client can reach.

Layer: model. They run in the driver greenlet that reads system.peers, which may wait; names are resolved by a Resolver
that is handed in, since this layer opens no sockets.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

__all__ = ["AddressTranslator", "EC2MultiRegionTranslator", "IdentityTranslator", "Resolver"]

log = logging.getLogger(__name__)


class Resolver(Protocol):
    """Name resolution as policies need it; the Cluster has one as `resolver`. Both raise OSError if they fail."""

    def addresses(self, name: str) -> Sequence[str]:
        """The numeric addresses of a name, best first; that of a numeric address is itself."""

    def name(self, address: str) -> str:
        """The fully qualified name of a numeric address; the address itself if it has none."""


class AddressTranslator:
    """Translates addresses of discovered nodes, not of contact points (`cassandra.policies.AddressTranslator`)."""

    def translate(self, addr: str) -> str:
        """The address to connect to for a node that tells `addr`."""
        raise NotImplementedError


class IdentityTranslator(AddressTranslator):
    """Takes the address as it is: the default."""

    def translate(self, addr: str) -> str:
        """`addr`."""
        return addr


class EC2MultiRegionTranslator(AddressTranslator):
    """The private address for nodes in the client's own EC2 region, the public one for others.

    Amazon's DNS does it: it knows the name of a public address, and resolves that name to the private address inside
    the region. The Cluster sets `resolver` before the first use; RuntimeError without one.
    """

    def __init__(self, resolver: Resolver | None = None) -> None:
        self.resolver = resolver

    def translate(self, addr: str) -> str:
        """The first address, of the same family as `addr`, that the name of `addr` resolves to; else `addr`, with a warning
        if the name does not resolve: one node's name must not hide all nodes.
        """
        if self.resolver is None:
            raise RuntimeError("EC2MultiRegionTranslator has no resolver: it works as a Cluster's address_translator")
        try:
            found = self.resolver.addresses(self.resolver.name(addr))
        except OSError as error:
            log.warning("The name of the node at %s does not resolve, the address is used as it is: %s", addr, error)
            return addr
        return next((other for other in found if (":" in other) == (":" in addr)), addr)
