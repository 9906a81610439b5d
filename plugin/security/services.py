"""The public services of the port exposure scan, and what they answer.

The process environment, and nothing else, can name others: for tests, and for networks with services of their own.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

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
