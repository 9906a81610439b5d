from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph.addresses import REFUSED_V4, is_public
from runflow.outgoing.addresses import AddressPolicy, InvalidNetworks, parse_networks

REFUSED = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.7", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8", "64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "", "nonsense",
    "1.2.3", "0x7f.1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1",
          "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888"]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_refused(address: str) -> None:
    assert not is_public(address)
    assert AddressPolicy().select([address]) == []


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)
    assert AddressPolicy().select([address]) == [address]


@given(st.ip_addresses())
def test_never_wider_than_the_standard_library(ip: IPv4Address | IPv6Address) -> None:
    if is_public(str(ip)):
        assert ip.is_global
        assert not (ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved)


@given(st.sampled_from(REFUSED_V4).flatmap(lambda network: st.ip_addresses(v=4, network=network)))
def test_a_refused_ipv4_is_refused_in_every_ipv6_spelling(ip: IPv4Address) -> None:
    number = int(ip)
    spellings = [
        IPv6Address(0xFFFF << 32 | number),  # mapped
        IPv6Address(number),  # compatible
        IPv6Address((0x64_FF9B << 96) | number),  # NAT64
        IPv6Address((0x2002 << 112) | (number << 80)),  # 6to4
        IPv6Address((0x2001_0000 << 96) | (number ^ 0xFFFFFFFF)),  # Teredo
    ]
    assert not is_public(str(ip))
    assert not any(is_public(str(spelling)) for spelling in spellings)


@given(st.data(), st.integers(8, 32))
def test_an_allowed_network_allows_exactly_its_addresses(data: st.DataObject, prefix: int) -> None:
    inside = data.draw(st.ip_addresses(v=4))
    network = ip_network(f"{inside}/{prefix}", strict=False)
    other = data.draw(st.ip_addresses(v=4))
    policy = AddressPolicy((network,))
    assert policy.select([str(inside)]) == [str(inside)]
    assert policy.select([f"::ffff:{inside}"]) == [f"::ffff:{inside}"]
    assert bool(policy.select([str(other)])) == (other in network or is_public(str(other)))


def test_one_refused_address_refuses_the_host() -> None:
    assert AddressPolicy().select(["8.8.8.8", "10.0.0.1"]) == []


def test_an_allowed_network_is_enough_for_a_host_with_other_addresses() -> None:
    policy = AddressPolicy(parse_networks("127.0.0.0/8"))
    assert policy.select(["::1", "127.0.0.1", "8.8.8.8"]) == ["127.0.0.1", "8.8.8.8"]


def test_parse_networks() -> None:
    assert parse_networks("") == ()
    assert parse_networks(" 10.0.0.0/8, fd00::/8 ,") == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.1.2.3/8", "intranet", "10.0.0.0/8;fd00::/8"])
def test_parse_networks_names_what_is_wrong(text: str) -> None:
    with pytest.raises(InvalidNetworks, match="RUNFLOW_ALLOWED_NETWORKS"):
        parse_networks(text)
