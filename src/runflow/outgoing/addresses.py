"""Which IP addresses outgoing requests may reach: public ones (runflow.graph.addresses), and what is allowed beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from runflow.graph.addresses import is_public, parse_address

Network = IPv4Network | IPv6Network


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
        ip = parse_address(address)
        candidates: list[IPv4Address | IPv6Address | None] = [ip]
        if isinstance(ip, IPv6Address):
            # The kernel connects a mapped address by IPv4, so a network that is allowed is allowed in this spelling.
            candidates.append(ip.ipv4_mapped)
        return any(ip in network for ip in candidates if ip is not None for network in self.allowed)
