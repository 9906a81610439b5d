"""Which requests another web site makes through a person's browser: it would send the password along by itself.

ComfyUI's own check covers loopback hosts, and on old versions only requests with an Origin. With the password on,
every request of another site is refused: forms, fetches, pictures, frames and websockets. A link to the editor or to a
playground works from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_READING = ("GET", "HEAD")
_OWN_SITE = ("same-origin", "none")
_PAGES = ("/runflow/playground/",)
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_foreign(method: str, path: str, headers: Mapping[str, str], allowed_origin: str | None) -> bool:
    """Whether a request comes from another site's page.

    Browsers name the site in Sec-Fetch-Site where the address is https or loopback, in Origin with everything that
    writes and with websockets, and mostly in Referer. Programs send none of them. `allowed_origin` is the one that
    ComfyUI was started with (`--enable-cors-header ORIGIN`); a `*` there allows nobody, because it names nobody.
    """
    origin = headers.get("Origin")
    if origin is not None and allowed_origin not in (None, "", "*") and origin == allowed_origin:
        return False
    if _opens_a_page(method, path, headers):
        return False
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in _OWN_SITE
    source = origin if origin is not None else headers.get("Referer")
    return source is not None and not _same_place(source, headers.get("Host", ""))


def _opens_a_page(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """Whether a link leads here: the person sees the page, and the other site learns nothing and changes nothing."""
    if method not in _READING or not (path == "/" or path.startswith(_PAGES)) or "Origin" in headers:
        return False
    return headers.get("Sec-Fetch-Dest", "document") == "document"


def _same_place(source: str, host: str) -> bool:
    try:
        url = urlsplit(source)
        own = urlsplit(f"//{host}")
        default = _PORTS.get(url.scheme)
        return bool(url.hostname) and (url.hostname, url.port or default) == (own.hostname, own.port or default)
    except ValueError:
        return False
