"""Hosts and end points."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cassandra.connection
import pytest

from geventcql.errors import OperationTimedOut
from geventcql.host import DefaultEndPoint, DefaultEndPointFactory, EndPoint, EndPointFactory, Host, NodeAddresses
from geventcql.policies import IdentityTranslator, SimpleConvictionPolicy


def host(address: str = "127.0.0.1", **attributes: Any) -> Host:
    return Host(address, SimpleConvictionPolicy, **attributes)


def test_end_points() -> None:
    here, there = DefaultEndPoint("127.0.0.1"), DefaultEndPoint("127.0.0.2", 9043)
    assert (here.address, here.port) == here.resolve() == ("127.0.0.1", 9042)
    assert here == DefaultEndPoint("127.0.0.1", 9042) and hash(here) == hash(DefaultEndPoint("127.0.0.1"))
    assert here != DefaultEndPoint("127.0.0.1", 9043) and here != "127.0.0.1"
    assert sorted([there, here]) == [here, there] and here <= there
    theirs = cassandra.connection.DefaultEndPoint("127.0.0.2", 9043)
    assert (str(there), repr(there)) == (str(theirs), repr(theirs))
    assert (there.socket_family, there.ssl_options) == (theirs.socket_family, theirs.ssl_options)


def test_bases_ask_to_be_overridden() -> None:
    for attribute in ("address", "port"):
        with pytest.raises(NotImplementedError):
            getattr(EndPoint(), attribute)
    with pytest.raises(NotImplementedError):
        EndPoint().resolve()
    with pytest.raises(NotImplementedError):
        EndPointFactory().create({})


@pytest.mark.parametrize(
    ("row", "address", "port"),
    [
        ({"peer": "127.0.0.3", "rpc_address": "127.0.1.3"}, "127.0.1.3", 9999),
        ({"peer": "127.0.0.3", "rpc_address": "0.0.0.0"}, "127.0.0.3", 9999),
        ({"peer": "127.0.0.3", "native_address": "::", "native_port": 9043}, "127.0.0.3", 9043),
        ({"peer": "127.0.0.3", "rpc_address": None}, "127.0.0.3", 9999),
        ({"peer": "127.0.0.3", "native_address": "127.0.1.3", "native_port": 0}, "127.0.1.3", 9999),
        ({"native_transport_address": "127.0.2.3", "rpc_address": "127.0.1.3", "rpc_port": 9044}, "127.0.2.3", 9044),
    ],
)
def test_the_default_factory(row: dict[str, Any], address: str, port: int) -> None:
    cluster: Any = SimpleNamespace(address_translator=IdentityTranslator())
    ours = DefaultEndPointFactory(9999).configure(cluster).create(row)
    theirs = cassandra.connection.DefaultEndPointFactory(9999).configure(cluster).create(row)
    assert (ours.address, ours.port) == (theirs.address, theirs.port) == (address, port)


def test_the_factory_translates_and_refuses_rows_without_address() -> None:
    cluster = SimpleNamespace(address_translator=SimpleNamespace(translate=lambda address: "127.9." + address[6:]))
    factory = DefaultEndPointFactory().configure(cluster)
    assert factory.create({"peer": "127.0.0.1"}) == DefaultEndPoint("127.9.0.1", 9042)
    with pytest.raises(ValueError, match="without an address"):
        factory.create({"peer": None, "rack": "r1"})


def test_addresses_of_a_row() -> None:
    found = NodeAddresses(
        {"peer": "127.0.0.1", "peer_port": 7000, "native_address": "127.0.0.2", "native_port": 9042, "listen_port": 0}
    )
    assert vars(found) == {
        "broadcast_rpc_address": "127.0.0.2", "broadcast_rpc_port": 9042,
        "broadcast_address": "127.0.0.1", "broadcast_port": 7000,
        "listen_address": None, "listen_port": None,
    }  # fmt: skip


def test_hosts_are_their_end_points() -> None:
    one = host(datacenter="dc1", rack="r1")
    assert one == host() and hash(one) == hash(host()) and len({one, host()}) == 1
    assert one != host("127.0.0.2") and one == "127.0.0.1" and one != "127.0.0.2"
    assert (one.address, one.endpoint, one.datacenter, one.rack) == (
        "127.0.0.1", DefaultEndPoint("127.0.0.1"), "dc1", "r1",
    )  # fmt: skip
    assert Host(DefaultEndPoint("127.0.0.1", 9043), SimpleConvictionPolicy) != one


def test_hosts_are_ordered_by_their_end_points() -> None:
    one, two, three = host("127.0.0.1"), Host(DefaultEndPoint("127.0.0.1", 9043), SimpleConvictionPolicy), host("127.0.0.2")
    assert sorted([three, one, two]) == [one, two, three] and max(one, three) is three and not one < host("127.0.0.1")

    class Named(EndPoint):
        address, port = "127.0.0.1:b", None  # type: ignore[assignment]

    named = Host(Named(), SimpleConvictionPolicy)
    assert sorted([three, named, two, one]) == [one, two, named, three]
    others: list[Any] = ["127.0.0.3", None]
    for other in others:
        for ours in (one, one.endpoint):
            with pytest.raises(TypeError):
                assert ours < other


def test_state() -> None:
    one = host(datacenter="dc1")
    assert one.is_up is None and repr(one) == "<Host: 127.0.0.1:9042 dc1 unknown>"
    one.set_up()
    assert one.is_up is True and repr(one).endswith(" up>")
    one.set_down()
    assert one.is_up is False and repr(one).endswith(" down>")
    one.set_location_info("dc2", "r2")
    assert (one.datacenter, one.rack) == ("dc2", "r2")
    assert one.signal_connection_failure(OSError()) is True
    assert one.signal_connection_failure(OperationTimedOut()) is False


def test_what_a_host_needs() -> None:
    none: Any = None
    with pytest.raises(ValueError, match="endpoint"):
        Host(none, SimpleConvictionPolicy)
    with pytest.raises(ValueError, match="conviction_policy_factory"):
        Host("127.0.0.1", none)
