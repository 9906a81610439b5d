"""The port exposure scan of Settings: what this machine knows, and, once the person has agreed, what others see."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from .. import comfyui
from ..answers import Refused, read_json
from . import guard, outside, services
from .exposure import Level, binding, reachable_addresses

COMMON_PORTS = (80, 8080, 443)

_scanning = asyncio.Lock()


async def scan(request: web.Request) -> dict[str, Any]:
    """Scan. `{"ask_outside": false}` asks nobody; true tells the services, which the answer names, the public address.

    Raises:
        Refused: a scan is running.
    """
    ask_outside = (await read_json(request)).get("ask_outside") is True
    if not ask_outside:
        return await _local()
    if _scanning.locked():
        raise Refused("A scan is running. Wait for its end.", code="SCAN_RUNNING", status=409)
    async with _scanning:
        local, found = await asyncio.gather(_local(), _outside())
    return {**local, "outside": found}


async def _local() -> dict[str, Any]:
    listen, port, tls = comfyui.listening()
    bindings = await asyncio.to_thread(lambda: [binding(address) for address in listen])
    scheme = "https" if tls else "http"
    addresses = await asyncio.to_thread(reachable_addresses, listen)
    return {
        "port": port,
        "bindings": [each.to_json() for each in bindings],
        "urls": [f"{scheme}://{f'[{each}]' if ':' in each else each}:{port}" for each in addresses],
        "tls": tls,
        "password": guard.gate().account is not None,
        "services": {
            "address": [services.host(url) for url in services.address_services()],
            "ports": services.host(services.port_service()),
        },
        "outside": None,
    }


async def _outside() -> dict[str, Any]:
    found = await outside.public_address(services.address_services())
    own = comfyui.listening()[1]
    wanted = list(dict.fromkeys((own, *COMMON_PORTS)))
    states: dict[int, bool] = {}
    failure: str | None = None
    if found.address is None:
        failure = "Without the public address the ports cannot be tried."
    else:
        try:
            states = await outside.open_ports(services.port_service(), found.address, wanted)
        except outside.Unavailable as error:
            failure = f"{services.host(services.port_service())}: {error}"
    protected = guard.gate().account is not None
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
