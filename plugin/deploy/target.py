"""Which server a deployment goes to, and with which key.

The key of Settings belongs to the server that it was saved for, and goes to no other: whoever changes the address, or
names another one on the node, types a key of that server.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ..answers import Refused

HOSTED_URL = "https://api.runflow.io"
"""The hosted server: a choice of the settings, and where keys belong that an older plugin stored without an address."""

_PORTS = {"http": 80, "https": 443}
_SUCH_AS = "http://127.0.0.1:8700"
_WHERE = "Settings > Runflow > Connection"


@dataclass(frozen=True)
class StoredKey:
    """The key of Settings and the origin that it was saved for."""

    key: str
    origin: str

    def __repr__(self) -> str:
        """Without the key: it must not get into a log."""
        return f"StoredKey(origin={self.origin!r})"


@dataclass(frozen=True)
class Target:
    """A server and the key for it."""

    base: str
    origin: str
    key: str

    def __repr__(self) -> str:
        """Without the key: it must not get into a log."""
        return f"Target({self.base!r})"


def choose_target(settings_url: str, stored: StoredKey | None, host: str = "", node_key: str = "") -> Target:
    """The target of a deployment; `host` and `node_key` are what was typed into the Deploy node, mostly empty.

    Raises:
        Refused: no key for this server, no usable address.
    """
    host, node_key = host.strip(), node_key.strip()
    if not host and not settings_url.strip():
        message = (
            "Unconfigured key or URL: no server is named, and none answers on this machine. Start one with "
            f"`runflow up`, or fill in API URL in {_WHERE}."
        )
        raise Refused(message, code="UNCONFIGURED")
    base = base_url(host, "host") if host else base_url(settings_url, "API URL")
    origin = origin_of(base)
    key = node_key or (stored.key if stored and stored.origin == origin else "")
    if not key and stored:
        field = "the node's field api_key" if host else _WHERE
        message = (
            f"Unconfigured key or URL: your saved API key is for {stored.origin}, and goes to no other server. Paste a "
            f"key of {origin} into {field}."
        )
        raise Refused(message, code="UNCONFIGURED")
    if not key:
        message = f"Unconfigured key or URL: there is no API key for {origin}. Paste one in {_WHERE}, then save."
        raise Refused(message, code="UNCONFIGURED")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Refused(
            f"Unconfigured key or URL: the API key holds characters that no key has. Paste it again in {_WHERE}."
        )
    return Target(base, origin, key)


def base_url(text: str, field: str) -> str:
    """A server's address without a slash at its end.

    Raises:
        Refused: it is no http or https address, or holds more than one should.
    """
    text = text.strip().rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in _PORTS or not host or port == 0:
        message = f'Unconfigured key or URL: "{text[:200]}" in {field} is no address such as {_SUCH_AS}.'
        if "://" not in text and text:
            message += f" It begins with http:// or https://: http://{text[:200]}?"
        raise Refused(message, code="UNCONFIGURED")
    if "@" in parts.netloc or parts.query or parts.fragment:
        message = f"Unconfigured key or URL: {field} must be an address alone, without user, password or query."
        raise Refused(message, code="UNCONFIGURED")
    return text


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, in one spelling."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
