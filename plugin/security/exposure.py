"""What this machine itself knows of who can reach ComfyUI: addresses, TLS, password. Nobody else is asked."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from enum import Enum
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Level(str, Enum):
    """How bad a finding is."""

    GOOD = "good"
    WARNING = "warning"
    DANGER = "danger"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Binding:
    """One address that ComfyUI listens at, and who reaches it there."""

    address: str
    level: Level
    meaning: str

    def to_json(self) -> dict[str, str]:
        """For the page."""
        return {"address": self.address, "level": self.level.value, "meaning": self.meaning}


def binding(address: str) -> Binding:
    """Judge an address of `--listen`, or a name for one."""
    parsed = _parse(address)
    if parsed is None:
        return Binding(address, Level.UNKNOWN, "a name that this machine cannot resolve")
    if parsed.is_unspecified:
        return Binding(address, Level.DANGER, "all network interfaces")
    if parsed.is_loopback:
        return Binding(address, Level.GOOD, "this machine only")
    if parsed.is_global:
        return Binding(address, Level.DANGER, "a public address, for the internet to reach unless a firewall stops it")
    return Binding(address, Level.WARNING, "machines of your network")


def reachable_addresses(listen: list[str]) -> list[str]:
    """The addresses of this machine's interfaces under which others can reach it, public ones first."""
    parsed = [_parse(address) for address in listen]
    versions = {address.version for address in parsed if address is not None and address.is_unspecified}
    named = {address for address in parsed if address is not None and not address.is_unspecified}
    everywhere = {address for address in _interface_addresses() if address.version in versions}
    others = [address for address in named | everywhere if not address.is_loopback and not address.is_link_local]
    return [str(address) for address in sorted(others, key=lambda each: (not each.is_global, each.version, int(each)))]


def _parse(address: str) -> Address | None:
    literal = _literal(address.strip("[]"))
    if literal is not None:
        return literal
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return None
    return _literal(str(found[0][4][0])) if found else None


def _literal(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _interface_addresses() -> set[Address]:
    parsed = (_literal(text) for text in _interface_texts())
    return {address for address in parsed if address is not None}


def _interface_texts() -> list[str]:
    try:
        import psutil  # ComfyUI brings it; if it ever does not, the machine's own name has to do
    except ImportError:
        try:
            return [str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None)]
        except OSError:
            return []
    families = (socket.AF_INET, socket.AF_INET6)
    interfaces: Any = psutil.net_if_addrs()
    return [each.address for addresses in interfaces.values() for each in addresses if each.family in families]
