"""The playground's page and its files, under a strict Content-Security-Policy."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from aiohttp import web

from ..answers import Refused

STATIC = Path(__file__).parent / "static"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self' blob: data:",  # the 3D viewer reads a model's textures from such addresses
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""No inline script or style, nothing from another host, in no other page's frame."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


def page() -> web.StreamResponse:
    """The page; it is the same for every slug."""
    return _file(STATIC / "index.html")


def static(name: str) -> web.StreamResponse:
    """A file of the page.

    Raises:
        Refused: there is none of that name.
    """
    place = STATIC / name
    if not place.is_file() or STATIC not in place.resolve().parents or place.suffix not in _TYPES:
        raise Refused("There is no such file.", code="NOT_FOUND", status=404)
    return _file(place)


def _file(place: Path) -> web.StreamResponse:
    kind = _TYPES.get(place.suffix) or mimetypes.guess_type(place.name)[0] or "application/octet-stream"
    # The system's table of types must not decide: Windows registries are known to hold text/plain for .js.
    return web.FileResponse(place, headers={**_HEADERS, "Content-Type": f"{kind}; charset=utf-8"})
