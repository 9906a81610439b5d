"""What can be told of a target before anything is sent: a literal address that is never reached is refused at once.

Host names are looked up when something is sent, and only then: what a name leads to may change until then.
"""

import re
import socket
from ipaddress import IPv4Address, IPv6Address

from runflow.graph.addresses import parse_address
from runflow.outgoing.addresses import AddressPolicy, parse_networks
from runflow.outgoing.errors import InvalidUrl
from runflow.outgoing.urls import check_url, label, origin, parse_origins
from runflow.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1")
_NUMBERS = re.compile(r"(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+)){0,3}", re.IGNORECASE)


def refusal(url: str, settings: Settings) -> str | None:
    """Return why nothing that is sent to this URL would arrive, with the setting that allows it; None if it may.

    Only loopback, private, link-local, metadata and reserved addresses that stand in the URL itself, and `localhost`,
    are told. A URL that cannot be read is somebody else's to refuse.
    """
    try:
        target = check_url(url)
    except InvalidUrl:
        return None
    addresses = _literal(target.host)
    if not addresses or origin(target) in parse_origins(settings.own_origins):
        return None
    if AddressPolicy(parse_networks(settings.allowed_networks)).select(addresses):
        return None
    return (
        f"{label(target)} is this server itself, or in a private or reserved network: nothing sent there would arrive. "
        f"Name a public address, or have the operator set RUNFLOW_ALLOWED_NETWORKS={_network(addresses[0])} and start "
        "the server again."
    )


def _literal(host: str) -> list[str]:
    """Return the addresses that a host names by itself, without any look-up."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return [*_LOOPBACK]
    if _NUMBERS.fullmatch(name):
        try:
            # The system's look-up reads 127.1, 2130706433 and 0x7f000001 as addresses, too.
            return [socket.inet_ntoa(socket.inet_aton(name))]
        except OSError:
            return []
    return [name] if parse_address(name) is not None else []


def _network(address: str) -> str:
    found = parse_address(address)
    if isinstance(found, IPv4Address) and found.is_loopback:
        return "127.0.0.0/8"
    return f"{found}/{128 if isinstance(found, IPv6Address) else 32}"
