"""The plugin cannot import the server's tables of addresses: here both are asked the same."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin.autosetup.addresses import is_literal, is_public
from runflow.outgoing import addresses as theirs


@given(st.one_of(st.builds(IPv4Address, st.integers(0, 2**32 - 1)), st.builds(IPv6Address, st.integers(0, 2**128 - 1))))
def test_any_address_is_judged_as_the_server_judges_it(address: IPv4Address | IPv6Address) -> None:
    assert is_public(str(address)) == theirs.is_public(str(address))


def test_the_edges_of_every_refused_network_are_judged_alike() -> None:
    networks: list[IPv4Network | IPv6Network] = [*theirs.REFUSED_V4, *theirs.REFUSED_V6]
    for network in networks:
        for number in (int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1):
            if 0 <= number < 2**network.max_prefixlen:
                address = str(type(network[0])(number))
                assert is_public(address) == theirs.is_public(address), address


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "169.254.169.254", "fd00::1"])
def test_private_addresses_are_no_public_ones(host: str) -> None:
    assert is_literal(host)
    assert not is_public(host)


def test_a_name_is_no_address() -> None:
    assert not is_literal("localhost")
    assert not is_public("localhost")
