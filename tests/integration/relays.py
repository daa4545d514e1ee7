"""A relay before each node of a cluster, and the Cluster's way through them. Test support."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from geventcql.policies import AddressTranslator
from tests.support.relay import Relay

READING = partial(Relay, reads_along=True)


class Relays(AddressTranslator):
    """A relay before each node of a cluster, and the translator that has a Cluster go through them. A context manager.

    The relays listen on the nodes' port, on addresses of the nodes' own subnet or, if that is not this machine's, on others.
    `make`: what makes them, such as FrameProxy; by default they are Relays that read along.
    Attributes: `contact_points`, `port`.
    """

    def __init__(self, addresses: Iterable[str], port: int, make: Callable[..., Relay] = READING) -> None:
        self.port = port
        self._relays = {}
        for target in addresses:
            net, _, last = target.rpartition(".")
            address = f"{net if net.startswith('127.') else '127.0.99'}.{100 + int(last) % 100}"
            self._relays[target] = address, make((target, port), address, port=port)

    def __enter__(self) -> Relays:
        for relay in self:
            relay.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        for relay in self:
            relay.__exit__(*exc)

    def __iter__(self) -> Any:
        return (relay for _, relay in self._relays.values())

    def __getitem__(self, address: str) -> Any:
        """The relay before the node on `address`."""
        return self._relays[address][1]

    @property
    def contact_points(self) -> list[str]:
        return [address for address, _ in self._relays.values()]

    def translate(self, addr: str) -> str:
        """The relay's address for a node's."""
        return self._relays[addr][0] if addr in self._relays else addr
