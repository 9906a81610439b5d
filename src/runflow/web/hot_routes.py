"""Plain Starlette routes in front of FastAPI's, for the few that every run passes.

FastAPI tries one route after the other and asks of each parameter anew what it is: for routes that do a fraction of a
millisecond of work of their own, that is most of a request. Here a noun says by hand where the arguments of such a
route come from (`Router.hot`). FastAPI's own route stays: the OpenAPI document is made of it, and it serves every
request whose parameters have to be checked, or may be wrong.
"""

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from runflow.web.auth import let_pass
from runflow.web.route_table import RouteSpec

Serve = Callable[[Request], Awaitable[Response]]
"""Answers a plain request, once its caller was let pass."""

NO_QUERY = re.compile(rb"")
ANY_QUERY = re.compile(rb".*", re.DOTALL)
"""For a route whose function reads its query string itself."""

_CHECKED_ID = ":uuid}"
"""How the path of a hot route names a parameter that must be a UUID; another value is FastAPI's to refuse."""


def declared_path(path: str) -> str:
    """Return the path by which FastAPI and the table of routes know the hot route at `path`."""
    return path.replace(_CHECKED_ID, "}")


class HotRoute(Route):
    """Serves the plain requests of one route, and leaves all others to the routes that follow."""

    def __init__(self, spec: RouteSpec, path: str, serve: Serve, query: re.Pattern[bytes]) -> None:
        """Serve the route of `spec` where the whole query string matches `query`; what opens it is asked here."""

        async def answer(request: Request) -> Response:
            await let_pass(request, spec.access)
            return await serve(request)

        super().__init__(path, answer, methods=[spec.method], name=spec.path)
        self.spec = spec
        self._query = query

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tell whether this is a plain request; never `PARTIAL`, so FastAPI's routes tell what an address takes."""
        if (
            scope["type"] != "http"
            or scope["method"] != self.spec.method  # Starlette would serve HEAD where it serves GET
            or not self._query.fullmatch(scope["query_string"])
        ):
            return Match.NONE, {}
        return super().matches(scope)
