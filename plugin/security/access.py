"""Who may have this machine do what others must not: run somebody's code, use the stored API key, change a password.

Without a password anybody who reaches the port could. A page of another site reaches it too, under a name of its own
that leads here (DNS rebinding), and the browser takes both for one site; so the name that was asked for counts as well
as the address that asks. A proxy on this machine passes on what the whole world asks; most of them say so.
"""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from ..answers import Refused
from .authenticator import AUTHENTICATOR

NAMES_VARIABLE = "RUNFLOW_TRUSTED_HOSTS"
"""In ComfyUI's environment: the names under which people open it, with commas between."""

_OF_PROXIES = ("Forwarded", "Via", "X-Forwarded-For", "X-Real-IP")
_LOCAL_ENDINGS = (".localhost", ".local")
_NEXT = (
    "Switch password authentication on (Settings > Runflow), or open ComfyUI on its own machine, "
    "at http://127.0.0.1 and its port."
)


def require_access(request: web.Request, what: str) -> None:
    """Refuse whoever is neither at this machine nor asked for a password. `what` is done here, as a sentence's subject.

    Raises:
        Refused: see there.
    """
    if request.app[AUTHENTICATOR].account is not None:
        return
    if not _is_loopback(request.remote or ""):
        raise _refusal(f"Without a password, {what} is not for other machines. {_NEXT}")
    if any(name in request.headers for name in _OF_PROXIES):
        raise _refusal(f"Without a password, {what} is not done through a proxy: anybody may be behind it. {_NEXT}")
    host = _name(request.host)
    if not _is_this_machine(host):
        raise _refusal(f"Without a password, {what} is not done under the name {host[:100]}. {_NEXT}")


def has_access(request: web.Request) -> bool:
    """Whether `require_access` lets a request through."""
    try:
        require_access(request, "this")
    except Refused:
        return False
    return True


def require_known_name(request: web.Request) -> None:
    """Refuse a request under a name that may be another site's; from where it comes does not matter.

    No site can lead an address, or a name of the local network, to its own page. Other names are known when ComfyUI's
    operator gave them in RUNFLOW_TRUSTED_HOSTS. With a password on it does not matter: browsers keep it for one name.

    Raises:
        Refused: nobody here gave this name.
    """
    if request.app[AUTHENTICATOR].account is not None:
        return
    host = _name(request.host)
    if not (_is_this_machine(host) or _is_address(host) or _is_local(host) or host in _trusted_names()):
        message = (
            f"This is not done under the name {host[:100]}: another web site's page may stand behind it. Open ComfyUI "
            f"by its address (http://127.0.0.1 on its own machine), or start it with {NAMES_VARIABLE}={host[:100]}."
        )
        raise _refusal(message)


def _refusal(message: str) -> Refused:
    return Refused(message, code="NOT_AT_THIS_MACHINE", status=403)


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_this_machine(host: str) -> bool:
    return _is_loopback(host) or host == "localhost" or host.endswith(".localhost")


def _is_local(host: str) -> bool:
    """Whether a name is one that only the local network gives: without a dot, of mDNS, or this machine's own."""
    return bool(host) and ("." not in host or host.endswith(_LOCAL_ENDINGS) or host == socket.gethostname().lower())


def _trusted_names() -> set[str]:
    return {name.strip().lower() for name in os.environ.get(NAMES_VARIABLE, "").split(",") if name.strip()}


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return ip.is_loopback or (mapped is not None and mapped.is_loopback)
