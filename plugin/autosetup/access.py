"""Who may let this machine fetch and run somebody's code: the person at it, or who knows the password.

Without a password anybody who reaches the port could. A page of another site reaches it too, under a name of its own
that leads here, so the name that was asked for counts as well as the address that asks. A proxy on this machine passes
on what the whole world asks; most of them say so.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from ..answers import Refused
from ..security.authenticator import AUTHENTICATOR

_OF_PROXIES = ("Forwarded", "Via", "X-Forwarded-For", "X-Real-IP")
_NEXT = (
    "Switch password authentication on (Settings > Runflow), or open ComfyUI on its own machine, "
    "at http://127.0.0.1 and its port."
)


def require_access(request: web.Request) -> None:
    """Refuse whoever is neither at this machine nor asked for a password.

    Raises:
        Refused: see there.
    """
    if request.app[AUTHENTICATOR].account is not None:
        return
    if not _is_loopback(request.remote or ""):
        message = f"Auto setup installs programs, so it takes no orders from other machines without a password. {_NEXT}"
        raise Refused(message, code="NOT_AT_THIS_MACHINE", status=403)
    if any(name in request.headers for name in _OF_PROXIES):
        message = f"Auto setup takes no orders through a proxy without a password: anybody may be behind it. {_NEXT}"
        raise Refused(message, code="NOT_AT_THIS_MACHINE", status=403)
    host = _name(request.host)
    if not (_is_loopback(host) or host == "localhost" or host.endswith(".localhost")):
        message = f"Auto setup takes no orders under the name {host[:100]} without a password. {_NEXT}"
        raise Refused(message, code="NOT_AT_THIS_MACHINE", status=403)


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host


def _is_loopback(host: str) -> bool:
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return ip.is_loopback or (mapped is not None and mapped.is_loopback)
