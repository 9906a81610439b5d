"""Serves the few routes that every run passes, past the framework's search and its general way to find arguments.

FastAPI tries one route after the other and asks of each parameter anew what it is: for routes that do a fraction of a
millisecond of work of their own, that is most of a request. Here this is asked once, at the start. It is the same route
all the same, with the same function, dependencies and documentation; a request whose parameters are not plainly right
goes FastAPI's way, which says what is wrong.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

Values = Mapping[str, Any]


class NotPlain(Exception):
    """A route has a parameter or dependency of a kind that is not understood here."""


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """A parameter in the path or in the query."""

    name: str
    alias: str
    in_path: bool
    field: Any

    def value(self, path: Values, query: Values) -> Any:
        """Return the checked value. Raises ValueError."""
        given = (path if self.in_path else query).get(self.alias)
        if given is None:
            if self.field.field_info.is_required():
                raise ValueError(self.alias)
            return self.field.get_default()
        value, problems = self.field.validate(given, {}, loc=())
        if problems:
            raise ValueError(self.alias)
        return value


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A function and where its arguments come from."""

    function: Callable[..., Awaitable[Any]]
    parts: tuple[tuple[str | None, "_Call"], ...]
    fields: tuple[_Field, ...]
    request_name: str | None

    @classmethod
    def of(cls, dependant: Dependant) -> "_Call":
        """Read what FastAPI found out. Raises `NotPlain`."""
        others = (dependant.header_params, dependant.cookie_params, dependant.body_params)
        if any(others) or not inspect.iscoroutinefunction(dependant.call) or not dependant.use_cache:
            raise NotPlain(str(dependant.call))
        fields = [
            _Field(field.name, field.alias, in_path, field)
            for in_path, found in ((True, dependant.path_params), (False, dependant.query_params))
            for field in found
        ]
        parts = tuple((part.name, cls.of(part)) for part in dependant.dependencies)
        return cls(dependant.call, parts, tuple(fields), dependant.request_param_name)

    def values(self, path: Values, query: Values) -> Iterator[tuple[_Field, Any]]:
        """Give the value of each parameter, of dependencies too. Raises ValueError."""
        for field in self.fields:
            yield field, field.value(path, query)
        for _, part in self.parts:
            yield from part.values(path, query)

    async def result(self, request: Request, values: Mapping[_Field, Any], known: dict[Any, Any]) -> Any:
        """Call it, its dependencies first, each once per request."""
        if self.function in known:
            return known[self.function]
        arguments: dict[str, Any] = {}
        for name, part in self.parts:
            found = await part.result(request, values, known)
            if name is not None:
                arguments[name] = found
        for field in self.fields:
            arguments[field.name] = values[field]
        if self.request_name is not None:
            arguments[self.request_name] = request
        known[self.function] = found = await self.function(**arguments)
        return found


class Express:
    """Stands right before FastAPI's router."""

    def __init__(self, app: ASGIApp, routes: Collection[APIRoute]) -> None:
        """Serve `routes`. Raises `NotPlain` for one that cannot be served here."""
        self.app = app
        self._routes: dict[str, list[tuple[re.Pattern[str], APIRoute, _Call]]] = {}
        for route in routes:
            for method in route.methods or ():
                found = (route.path_regex, route, _Call.of(route.dependant))
                self._routes.setdefault(method, []).append(found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope.get("root_path"):
            await self.app(scope, receive, send)
            return
        for pattern, route, call in self._routes.get(scope["method"], ()):
            match = pattern.match(scope["path"])
            if match is None:
                continue
            request = Request(scope, receive, send)
            path = match.groupdict()
            try:
                values = dict(call.values(path, request.query_params))
            except ValueError:
                break
            scope["route"], scope["path_params"] = route, path
            response = await call.result(request, values, {})
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


def find(routers: Collection[Any], wanted: Collection[tuple[str, str]]) -> list[APIRoute]:
    """Return these routes, `(method, path)`, of the routers. Raises LookupError for one that none has."""
    found = {
        (method, route.path): route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    return [found[name] for name in wanted]
