"""Which IP addresses outgoing requests may reach. Pure.

The tables are our own because `ipaddress.is_global` differs between Python releases: 3.11.7 calls NAT64 and 6to4
addresses global, and both carry an IPv4 address that may be private.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Network = IPv4Network | IPv6Network

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


class InvalidNetworks(ValueError):
    """`RUNFLOW_ALLOWED_NETWORKS` holds something that is not a network."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a comma-separated list such as `10.0.0.0/8, fd00::/8`. Raises `InvalidNetworks`."""
    networks = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ip_network(part))
        except ValueError as error:
            raise InvalidNetworks(
                f"RUNFLOW_ALLOWED_NETWORKS: {error}. Write networks such as 10.0.0.0/8, separated by commas."
            ) from error
    return tuple(networks)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses, and those of `allowed` networks."""

    allowed: Sequence[Network] = ()

    def select(self, addresses: Sequence[str]) -> list[str]:
        """Return those addresses of a host (as text) that may be connected to, in their order; none: it is refused.

        One refused address refuses the host, whichever of them would be taken, unless the operator allowed a network
        that the host is in: `localhost` has two addresses, and 127.0.0.0/8 allows one of them.
        """
        allowed = [address for address in addresses if self._is_allowed(address)]
        public = [address for address in addresses if is_public(address)]
        if allowed or len(public) == len(addresses):
            return [address for address in addresses if address in allowed or address in public]
        return []

    def _is_allowed(self, address: str) -> bool:
        ip = _parse(address)
        candidates: list[IPv4Address | IPv6Address | None] = [ip]
        if isinstance(ip, IPv6Address):
            # The kernel connects a mapped address by IPv4, so a network that is allowed is allowed in this spelling.
            candidates.append(ip.ipv4_mapped)
        return any(ip in network for ip in candidates if ip is not None for network in self.allowed)


def is_public(address: str) -> bool:
    """Say whether an address is an ordinary one of the public internet."""
    ip = _parse(address)
    if isinstance(ip, IPv6Address):
        return ip in GLOBAL_V6 and not any(ip in network for network in REFUSED_V6)
    return ip is not None and not any(ip in network for network in REFUSED_V4)


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        # Name look-ups give link-local addresses with a zone: fe80::1%eth0.
        return ip_address(address.partition("%")[0])
    except ValueError:
        return None
