"""Attacks on what the machine can reach: its own services, its neighbours, a cloud's metadata, names."""

import socket
from pathlib import Path

from .loot import Given, Loot, attack

_PRIVATE = ("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1")
_METADATA = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254")


@attack(
    "loopback-services", "services of the machine on 127.0.0.1 and ::1: the server, a database's port, another engine"
)
def loopback_services(loot: Loot, given: Given) -> None:
    """Connect to what listens on this machine; the test has put a service there."""
    for port in (given["server_port"], given["decoy_port"]):
        for host in ("127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0"):
            loot.attempt(f"{host}:{port}", _connect, host, port)
    loot.attempt("udp", _send, given["decoy_udp_port"])


@attack("cloud-metadata", "the metadata services of clouds, and link-local addresses")
def cloud_metadata(loot: Loot, given: Given) -> None:
    """Ask the kernel for a way there. Nothing is sent."""
    for address in _METADATA:
        loot.attempt(address, _route, address)


@attack("private-networks", "private addresses, the machine's own neighbours, and the machine's own address")
def private_networks(loot: Loot, given: Given) -> None:
    """Ask the kernel for a way there. Nothing is sent."""
    for address in (*_PRIVATE, *given["own_addresses"]):
        loot.attempt(address, _route, address)


@attack("internet", "public addresses and the machine's name servers")
def internet(loot: Loot, given: Given) -> None:
    """Ask the kernel for a way there, and the resolver for a name of the machine's own table."""
    for address in ("192.0.2.1", "2001:db8::1"):
        loot.attempt(address, _route, address)
    for server in _resolvers():
        loot.attempt(f"name server {server}", _route, server)


@attack("raw-network", "raw and packet sockets, and interfaces other than its own loopback")
def raw_network(loot: Loot, given: Given) -> None:
    """Open sockets below the protocols, and those that lead out of a virtual machine."""
    loot.attempt("raw", _opens, socket.AF_INET, socket.SOCK_RAW, 1)
    loot.attempt("packet", _opens, 17, socket.SOCK_RAW, 3)
    loot.attempt("interfaces", lambda: [name for _, name in socket.if_nameindex() if name != "lo"])


@attack("vsock", "sockets between a virtual machine and its host, which belong to no network namespace")
def vsock(loot: Loot, given: Given) -> None:
    """Make and bind one. Nothing is sent."""
    loot.attempt("bind", _binds_vsock)


def _connect(host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=2):
        return f"connected to {host}:{port}"


def _send(port: int) -> str:
    """Send to the test's own service and wait for its echo."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(2)
        sender.connect(("127.0.0.1", port))
        sender.send(b"hello")
        return sender.recv(16).decode()


def _route(address: str) -> str:
    """Connect a datagram socket, which sends nothing and fails where there is no way."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 80))
        return f"a way from {probe.getsockname()[0]}"


def _resolvers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []
    return [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]


def _opens(family: int, kind: int, protocol: int) -> str:
    with socket.socket(family, kind, protocol):
        return f"opened family {family}"


def _binds_vsock() -> str:
    """Bind a vsock socket. Nothing is sent."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
        probe.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
        return f"bound {probe.getsockname()}"
