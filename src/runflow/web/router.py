"""How a noun declares its routes: each says what opens it and which errors it answers, or it cannot be written."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, get_type_hints

from fastapi import APIRouter, Depends
from starlette.responses import Response

from runflow.errors import RunflowError
from runflow.web.auth import Caller, worker
from runflow.web.hot_routes import NO_QUERY, HotRoute, Serve, declared_path
from runflow.web.route_table import Access, Needed, RouteSpec, Tag
from runflow.web.waiting import Follow

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Described(TypedDict, total=False):
    """What the OpenAPI document says of a route: FastAPI's own words for it."""

    summary: str
    description: str
    status_code: int
    response_model: Any
    response_model_by_alias: bool
    response_class: type[Response]
    responses: dict[int | str, dict[str, Any]]
    openapi_extra: dict[str, Any]


class Router:
    """Collects the routes of one noun, for FastAPI and for the table of routes."""

    def __init__(self, tag: Tag | None, *, prefix: str = "") -> None:
        """Begin without routes. Those of a router without `tag` are no part of the OpenAPI document."""
        self.tag = tag
        self.prefix = prefix
        self.api = APIRouter(prefix=prefix, tags=[tag.name] if tag else None, include_in_schema=tag is not None)
        self.routes: list[RouteSpec] = []
        self.hot_routes: list[HotRoute] = []

    def add(
        self,
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        *,
        access: Needed,
        errors: Sequence[type[RunflowError]] = (),
        shows_secret: bool = False,
        streams_body: bool = False,
        operator_only: bool = False,
        follow: Follow | None = None,
        in_document: bool = True,
        shown_as: str | None = None,
        **described: Unpack[Described],
    ) -> None:
        """Add a route: `access` opens it, `errors` are what it answers beside what every such route does.

        `operator_only` when only keys of the operator's organization can hold its scope; `follow` answers an
        idempotent request whose caller waits for the end of what it created; `shown_as` is the template in the OpenAPI
        document, where it is another one (`RouteSpec.shown_as`).

        Raises TypeError where an API key opens it and `endpoint` takes no `Caller`, or the other way round.
        """
        served = self.prefix + path
        route = RouteSpec(
            method,
            served,
            access,
            tuple(errors),
            shows_secret=shows_secret,
            streams_body=streams_body,
            operator_only=operator_only,
            follow=follow,
            shown_as=shown_as,
        )
        asks_for_key = Caller in get_type_hints(endpoint, include_extras=True).values()
        if asks_for_key != route.takes_key:
            raise TypeError(f"{route.method} {route.path}: takes a Caller if, and only if, an API key opens it.")
        self.api.add_api_route(
            path,
            endpoint,
            methods=[method],
            dependencies=[Depends(worker)] if access is Access.WORKER else None,
            include_in_schema=in_document,
            **described,
        )
        self.routes.append(route)

    def get(
        self,
        path: str,
        *,
        access: Needed,
        errors: Sequence[type[RunflowError]] = (),
        in_document: bool = True,
        shown_as: str | None = None,
        **described: Unpack[Described],
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare a route that reads, or finds, something."""
        return self._declare(
            "GET", path, access=access, errors=errors, in_document=in_document, shown_as=shown_as, **described
        )

    def head(self, path: str, *, access: Needed) -> Callable[[Endpoint], Endpoint]:
        """Declare the route that answers as GET does, without a body: no part of the OpenAPI document."""
        return self._declare("HEAD", path, access=access, in_document=False)

    def post(
        self,
        path: str,
        *,
        access: Needed,
        errors: Sequence[type[RunflowError]] = (),
        shows_secret: bool = False,
        operator_only: bool = False,
        follow: Follow | None = None,
        **described: Unpack[Described],
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare a route that makes or does something; `shows_secret` when its answer holds one, shown once."""
        return self._declare(
            "POST",
            path,
            access=access,
            errors=errors,
            shows_secret=shows_secret,
            operator_only=operator_only,
            follow=follow,
            **described,
        )

    def put(
        self,
        path: str,
        *,
        access: Needed,
        errors: Sequence[type[RunflowError]] = (),
        streams_body: bool = False,
        **described: Unpack[Described],
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare a route that takes bytes; `streams_body` when it bounds them itself."""
        return self._declare("PUT", path, access=access, errors=errors, streams_body=streams_body, **described)

    def patch(
        self,
        path: str,
        *,
        access: Needed,
        errors: Sequence[type[RunflowError]] = (),
        shown_as: str | None = None,
        **described: Unpack[Described],
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare a route that changes something."""
        return self._declare("PATCH", path, access=access, errors=errors, shown_as=shown_as, **described)

    def delete(
        self,
        path: str,
        *,
        access: Needed,
        errors: Sequence[type[RunflowError]] = (),
        shown_as: str | None = None,
        **described: Unpack[Described],
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare a route that removes something."""
        return self._declare("DELETE", path, access=access, errors=errors, shown_as=shown_as, **described)

    def hot(self, method: str, path: str, *, query: re.Pattern[bytes] = NO_QUERY) -> Callable[[Serve], Serve]:
        """Declare what answers the plain requests of a route that was declared before (`hot_routes.py`).

        `path` is that route's, with `{id:uuid}` for an id; `query` matches the query strings of plain requests. Raises
        LookupError where there is no such route.
        """
        full = self.prefix + path
        spec = next((one for one in self.routes if (one.method, one.path) == (method, declared_path(full))), None)
        if spec is None:
            raise LookupError(f"{method} {full}: declare the route itself before its hot one.")

        def declare(serve: Serve) -> Serve:
            self.hot_routes.append(HotRoute(spec, full, serve, query))
            return serve

        return declare

    def _declare(self, method: str, path: str, **said: Any) -> Callable[[Endpoint], Endpoint]:
        def declare(endpoint: Endpoint) -> Endpoint:
            self.add(method, path, endpoint, **said)
            return endpoint

        return declare
