"""The reference over HTTP: an interactive page that needs no other host."""

from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.responses import Response

from runflow.web.route_table import Access
from runflow.web.router import Router

router = Router(None)

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


@router.get("/", access=Access.PUBLIC)
async def front() -> Response:
    """Lead whoever opens the address that `runflow up` prints to the page. Relative: a proxy may add a prefix."""
    return Response(status_code=307, headers={"Location": "docs"})


@router.head("/", access=Access.PUBLIC)
async def front_for_monitors() -> Response:
    """Tell a monitor or load balancer, which follows no redirect, that the server answers."""
    return Response(status_code=200)


@router.get("/docs", access=Access.PUBLIC)
async def page() -> Response:
    """Serve the interactive reference. `?url=/v1/…/openapi.json` shows another document of this server."""
    return Response(_HERE.joinpath("page.html").read_bytes(), media_type="text/html", headers=_PAGE_HEADERS)


@router.get("/docs/{name:path}", access=Access.PUBLIC)
async def part(name: str) -> Response:
    """Serve a script or style of the page."""
    if name not in _FILES:
        raise HTTPException(404)
    found, kind = _FILES[name]
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(found.read_bytes(), media_type=kind, headers=headers)
