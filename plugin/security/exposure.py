"""Who can reach ComfyUI: what this machine itself knows (addresses, TLS, password), and what others see."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .. import comfyui
from . import port_check
from .authenticator import Authenticator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
COMMON_PORTS = (80, 8080, 443)


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


async def local_findings(authenticator: Authenticator) -> dict[str, Any]:
    """What this machine itself knows. Nobody else is asked."""
    listen, port, tls = comfyui.listening()
    bindings = await asyncio.to_thread(lambda: [binding(address) for address in listen])
    scheme = "https" if tls else "http"
    addresses = await asyncio.to_thread(reachable_addresses, listen)
    return {
        "port": port,
        "bindings": [each.to_json() for each in bindings],
        "urls": [f"{scheme}://{f'[{each}]' if ':' in each else each}:{port}" for each in addresses],
        "tls": tls,
        "password": authenticator.account is not None,
        "services": {
            "address": [port_check.host(url) for url in port_check.address_services()],
            "ports": port_check.host(port_check.port_service()),
        },
        "outside": None,
    }


async def outside_findings(authenticator: Authenticator) -> dict[str, Any]:
    """What others see: public services are told the public address, and which ports to try."""
    found = await port_check.public_address(port_check.address_services())
    own = comfyui.listening()[1]
    wanted = list(dict.fromkeys((own, *COMMON_PORTS)))
    states: dict[int, bool] = {}
    failure: str | None = None
    if found.address is None:
        failure = "Without the public address the ports cannot be tried."
    else:
        try:
            states = await port_check.open_ports(port_check.port_service(), found.address, wanted)
        except port_check.Unavailable as error:
            failure = f"{port_check.host(port_check.port_service())}: {error}"
    protected = authenticator.account is not None
    return {
        "address": found.address,
        "address_from": found.service,
        "address_failures": list(found.failures),
        "ports": [_port(port, states.get(port), own=port == own, protected=protected) for port in wanted],
        "ports_failure": failure,
    }


def _port(port: int, is_open: bool | None, *, own: bool, protected: bool) -> dict[str, Any]:
    if is_open is None:
        level = Level.UNKNOWN
    elif not is_open:
        level = Level.GOOD
    else:
        level = Level.DANGER if own and not protected else Level.WARNING
    return {"port": port, "comfyui": own, "open": is_open, "level": level.value}
