"""Requests that come from this machine's own Runflow: the playground, Auto setup, and the worker that owns the engine.

They carry a secret of this process. A worker that starts ComfyUI makes the secret and hands it over in the
environment; otherwise it is made here, and nobody else has it. It is accepted only from this machine.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets

from aiohttp import web

HEADER = "X-Runflow-Internal"
ENVIRONMENT = "RUNFLOW_ENGINE_SECRET"

_HANDED_OVER = os.environ.pop(ENVIRONMENT, "")
_SECRET = _HANDED_OVER or secrets.token_urlsafe(32)

OF_A_WORKER = bool(_HANDED_OVER)
"""Whether a worker started this ComfyUI."""


def headers() -> dict[str, str]:
    """The header for a request, or a websocket, from this process to its own ComfyUI. Send it to nobody else."""
    return {HEADER: _SECRET}


def hand_over() -> None:
    """Leave the secret to the process that this one becomes: the worker that made it knows no other."""
    os.environ[ENVIRONMENT] = _SECRET


def accepts(request: web.Request) -> bool:
    """Whether the request comes from this machine and knows the secret."""
    given = request.headers.get(HEADER)
    if given is None or not _from_here(request):
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), _SECRET.encode())


def _from_here(request: web.Request) -> bool:
    """Whether the other end is this machine: loopback, or the very address that the connection arrived at."""
    if request.transport is None:
        return False
    ends = (request.transport.get_extra_info(name) for name in ("peername", "sockname"))
    peer, own = (str(end[0]).partition("%")[0] if isinstance(end, tuple) and end else "" for end in ends)
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or peer == own
