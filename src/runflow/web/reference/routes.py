"""The reference over HTTP: an interactive page that needs no other host, and the index for language models."""

from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.requests import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runflow.web.reference.llms import index

router = APIRouter(include_in_schema=False)

_HERE = files("runflow.web.reference")
_SWAGGER = files("fastapi_offline").joinpath("static")
_FILES = {
    "page.js": (_HERE.joinpath("page.js"), "text/javascript"),
    "page.css": (_HERE.joinpath("page.css"), "text/css"),
    "assets/swagger-ui-bundle.js": (_SWAGGER.joinpath("swagger-ui-bundle.js"), "text/javascript"),
    "assets/swagger-ui.css": (_SWAGGER.joinpath("swagger-ui.css"), "text/css"),
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@router.get("/")
async def front() -> Response:
    """Lead whoever opens the address that `runflow up` prints to the page. Relative: a proxy may add a prefix."""
    return Response(status_code=307, headers={"Location": "docs"})


@router.get("/docs")
async def page() -> Response:
    """Serve the interactive reference. `?url=/v1/…/openapi.json` shows another document of this server."""
    return Response(_HERE.joinpath("page.html").read_bytes(), media_type="text/html", headers=_PAGE_HEADERS)


@router.get("/docs/{name:path}")
async def part(name: str) -> Response:
    """Serve a script or style of the page."""
    if name not in _FILES:
        raise HTTPException(404)
    found, kind = _FILES[name]
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(found.read_bytes(), media_type=kind, headers=headers)


@router.get("/llms.txt")
async def llms(request: Request) -> Response:
    """Serve the index that tells a language model how to use this API (llmstxt.org)."""
    document: dict[str, Any] = request.app.state.reference()
    return Response(index(document), media_type="text/plain; charset=utf-8")
