"""Requests that come from this machine's own Runflow: the playground, Auto setup, and the worker that owns the engine.

They carry a secret of this process. A worker that starts ComfyUI makes the secret and hands it over in the
environment; otherwise it is made here, and nobody else has it. It is accepted only from this machine.

A worker may import ComfyUI before it knows which engine that becomes: it calls `take` in the engine's own process.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket

from aiohttp import web

HEADER = "X-Runflow-Internal"
ENVIRONMENT = "RUNFLOW_ENGINE_SECRET"

_secret = ""
_is_of_a_worker = False


def take() -> None:
    """Take the secret that was handed over to this process, or make one."""
    global _secret, _is_of_a_worker
    handed_over = os.environ.pop(ENVIRONMENT, "")
    _secret = handed_over or secrets.token_urlsafe(32)
    _is_of_a_worker = bool(handed_over)


take()


def is_of_a_worker() -> bool:
    """Whether a worker started this ComfyUI."""
    return _is_of_a_worker


def headers() -> dict[str, str]:
    """The header for a request, or a websocket, from this process to its own ComfyUI. Send it to nobody else."""
    return {HEADER: _secret}


def hand_over() -> None:
    """Leave the secret to the process that this one becomes: the worker that made it knows no other."""
    os.environ[ENVIRONMENT] = _secret


def accepts(request: web.Request) -> bool:
    """Whether the request comes from this machine and knows the secret."""
    given = request.headers.get(HEADER)
    if given is None or not _from_here(request):
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), _secret.encode())


def _from_here(request: web.Request) -> bool:
    """Whether the other end is this machine: loopback, or the very address that the connection arrived at.

    A socket that is a file is the worker's, which let nobody else have it.
    """
    if request.transport is None:
        return False
    carrier = request.transport.get_extra_info("socket")
    if carrier is not None and carrier.family == getattr(socket, "AF_UNIX", None):
        return _is_of_a_worker
    ends = (request.transport.get_extra_info(name) for name in ("peername", "sockname"))
    peer, own = (str(end[0]).partition("%")[0] if isinstance(end, tuple) and end else "" for end in ends)
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or peer == own
