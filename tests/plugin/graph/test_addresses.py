"""The one table of addresses, at its edges. What the server makes of it: tests/outgoing/test_addresses.py."""

from ipaddress import IPv4Network, IPv6Network

import pytest

from plugin.graph import addresses as plugins
from runflow.graph import addresses as servers
from runflow.graph.addresses import REFUSED_V4, REFUSED_V6, is_public


@pytest.mark.parametrize("network", [*REFUSED_V4, *REFUSED_V6], ids=str)
def test_a_refused_network_is_refused_from_end_to_end(network: IPv4Network | IPv6Network) -> None:
    for address in (network[0], network[-1]):
        assert not is_public(str(address))
        assert not plugins.is_public(str(address))


@pytest.mark.parametrize(
    "address", ["9.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.0", "2001:200::", "2003::"]
)
def test_its_neighbours_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "0x7f.1"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert servers.parse_address(text) is None
    assert not is_public(text)
