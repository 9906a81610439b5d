"""The playground's page and its files, under a strict Content-Security-Policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web

from ..answers import Refused

STATIC = Path(__file__).resolve().parent / "static"

VIEWER_STYLE = "sha256-PXtZZkJMMyc18o/DN1ZEFOJ2qEGq95IQbVaJFMOXOb0="
"""The one style that the 3D viewer (static/vendor) brings inline."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",  # the 3D viewer's decoder of compressed models
        f"style-src 'self' '{VIEWER_STYLE}'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self' blob: data:",  # the 3D viewer reads a model's textures from such addresses
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""No other inline script or style, nothing from another host, in no other page's frame."""

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


class _StrictFile(web.FileResponse):
    """A file with our headers. With --disable-api-nodes ComfyUI replaces the policy of every answer by a laxer one of
    its own, after the handler; so ours are set last.
    """

    async def prepare(self, request: web.BaseRequest) -> Any:
        self.headers.update(_HEADERS)
        return await super().prepare(request)


def _file(place: Path) -> web.StreamResponse:
    # Not by the system's table of types: Windows registries are known to hold text/plain for .js.
    return _StrictFile(place, headers={"Content-Type": f"{_TYPES[place.suffix]}; charset=utf-8"})
