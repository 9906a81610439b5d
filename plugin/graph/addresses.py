"""Which IP addresses are ordinary ones of the public internet. Pure; here because server and plugin must agree.

The tables are our own because `ipaddress.is_global` differs between Python releases: 3.11.7 calls NAT64 and 6to4
addresses global, and both carry an IPv4 address that may be private.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

REFUSED_V4 = tuple(
    IPv4Network(cidr)
    for cidr in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; one cloud's metadata service is 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the host of Azure's virtual machines: looks public, answers the guest only
        "169.254.0.0/16",  # link-local, metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments; one cloud's metadata service is 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
"""IANA IPv4 special-purpose registry, what of it is not globally reachable, multicast, and metadata services."""

GLOBAL_V6 = IPv6Network("2000::/3")
"""Global unicast. Everything outside is refused: loopback, mapped IPv4, NAT64, unique and link local, multicast."""

REFUSED_V6 = tuple(
    IPv6Network(cidr)
    for cidr in (
        "2001::/23",  # IETF protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries any IPv4 address
        "3fff::/20",  # documentation
    )
)
"""What of global unicast is refused (IANA IPv6 special-purpose registry)."""


def is_public(address: str) -> bool:
    """Whether an address, as text, is an ordinary one of the public internet; False for what is no address."""
    ip = parse_address(address)
    if isinstance(ip, IPv6Address):
        return ip in GLOBAL_V6 and not any(ip in network for network in REFUSED_V6)
    return ip is not None and not any(ip in network for network in REFUSED_V4)


def parse_address(address: str) -> IPv4Address | IPv6Address | None:
    """The address in a text, or None where it is none."""
    try:
        # Name look-ups give link-local addresses with a zone: fe80::1%eth0.
        return ip_address(address.partition("%")[0])
    except ValueError:
        return None
