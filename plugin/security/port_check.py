"""How this machine looks from the internet: its public address, and which of its ports a public service can open.

The process environment, and nothing else, can name other services: for tests, and for networks with their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ..unreachable import why_unreachable
from ..version import VERSION

_ADDRESS_SECONDS = 6.0
_PORTS_SECONDS = 25.0
_MOST_BYTES = 16 * 1024
ADDRESS_SERVICES = (
    "https://api.ipify.org",
    "https://ifconfig.me/ip",
    "https://icanhazip.com",
    "https://checkip.amazonaws.com",
)
"""Each answers a GET with the asker's public address as text. Asked in this order until one answers."""
PORT_SERVICE = "https://portchecker.io/api/query"
"""Answers `{"host": IPV4, "ports": [80, …]}` with `{"check": [{"port": 80, "status": true}, …], …}`: whether a
connection from outside came about within a second (portchecker.io/docs). It does IPv4 only."""
_ADDRESS_VARIABLE = "RUNFLOW_SCAN_ADDRESS_SERVICES"
_PORT_VARIABLE = "RUNFLOW_SCAN_PORT_SERVICE"


class Unavailable(Exception):
    """A service did not answer, or not with what it should; the message says which."""


@dataclass(frozen=True)
class PublicAddress:
    """The address, the service that told it, and what went wrong with those before."""

    address: str | None
    service: str | None
    failures: tuple[str, ...]


async def public_address(services: Sequence[str]) -> PublicAddress:
    """Ask one service after the other until one answers with a public IPv4 address."""
    failures: list[str] = []
    # The probing service knows IPv4 only, so the address is asked for over IPv4.
    connector = aiohttp.TCPConnector(family=socket.AF_INET)
    async with _session(_ADDRESS_SECONDS, connector) as session:
        for service in services:
            try:
                address = _public_ipv4(await _exchange(session, "GET", service))
            except Unavailable as error:  # noqa: PERF203 (four requests at most)
                failures.append(f"{host(service)}: {error}")
            else:
                return PublicAddress(address, host(service), tuple(failures))
    return PublicAddress(None, None, tuple(failures))


async def open_ports(service: str, address: str, ports: Sequence[int]) -> dict[int, bool]:
    """Have a service try the ports of an address. A port that its answer does not mention is not in the result.

    Raises:
        Unavailable: it cannot be reached, or its answer is none.
    """
    async with _session(_PORTS_SECONDS) as session:
        content = await _exchange(session, "POST", service, {"host": address, "ports": list(ports)})
    return _checked(content, ports)


def _session(seconds: float, connector: aiohttp.TCPConnector | None = None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=seconds),
        headers={
            "User-Agent": f"ComfyUI-Runflow/{VERSION}",
            "Accept": "application/json, text/plain",
            "Accept-Encoding": "identity",
        },
        auto_decompress=False,  # a few bytes may unpack to gigabytes
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
    )


async def _exchange(session: aiohttp.ClientSession, method: str, url: str, body: object = None) -> bytes:
    try:
        async with session.request(method, url, json=body, allow_redirects=False) as answer:
            content = bytearray()
            async for chunk in answer.content.iter_chunked(_MOST_BYTES):
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise Unavailable("it answered far too much")
            if answer.status != 200:
                raise Unavailable(f"it answered HTTP {answer.status}")
            return bytes(content)
    except asyncio.TimeoutError:
        raise Unavailable("no answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable(f"cannot be reached, {why_unreachable(error)}") from error


def _public_ipv4(content: bytes) -> str:
    """Raises Unavailable."""
    try:
        address = ipaddress.IPv4Address(content.decode("ascii").strip())
    except ValueError:
        raise Unavailable("its answer is no IPv4 address") from None
    if not address.is_global or address.is_multicast:
        raise Unavailable(f"its answer, {address}, is no public address")
    return str(address)


def _checked(content: bytes, ports: Sequence[int]) -> dict[int, bool]:
    """Raises Unavailable."""
    try:
        answer: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise Unavailable("its answer is not JSON") from None
    checks = answer.get("check") if isinstance(answer, dict) and not answer.get("error") else None
    if not isinstance(checks, list):
        raise Unavailable("its answer is not about ports")
    found: dict[int, bool] = {}
    for check in checks:
        port, status = (check.get("port"), check.get("status")) if isinstance(check, dict) else (None, None)
        if type(port) is int and port in ports and type(status) is bool:
            found[port] = status
    if not found:
        raise Unavailable("its answer is not about these ports")
    return found


def address_services() -> tuple[str, ...]:
    """The URLs to ask for the public address (RUNFLOW_SCAN_ADDRESS_SERVICES: URLs with commas between)."""
    named = tuple(url.strip() for url in os.environ.get(_ADDRESS_VARIABLE, "").split(",") if url.strip())
    return named or ADDRESS_SERVICES


def port_service() -> str:
    """The URL to ask for ports (RUNFLOW_SCAN_PORT_SERVICE)."""
    return os.environ.get(_PORT_VARIABLE, "").strip() or PORT_SERVICE


def host(url: str) -> str:
    """The name under which people know a service."""
    return urlsplit(url).netloc.rpartition("@")[2]
