"""What each route says of itself: what opens it, which errors it answers. Pure.

Authorization, the OpenAPI document and the tests of docs/api.md read these statements; nothing else names a route.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from starlette.responses import Response
from starlette.routing import compile_path

from runflow.errors import RunflowError


class Access(StrEnum):
    """What opens a route that needs something else than a scope."""

    PUBLIC = "public"
    """No authentication."""
    SIGNED = "signed"
    """The URL itself is the permission: signed and expiring."""
    WORKER = "worker"
    """A worker token."""
    ANY_KEY = "any_key"
    """Any valid API key."""


Needed = frozenset[str] | Access
"""What opens a route: an API key with any one of these scopes, or something else."""


def any_of(*scopes: str) -> frozenset[str]:
    """Return these scopes: any one of them suffices, no other is implied (docs/api.md, "Authentication")."""
    return frozenset(scopes)


@dataclass(frozen=True, slots=True)
class Tag:
    """A group of routes in the OpenAPI document."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One method at one address, and what its route says of it."""

    method: str
    path: str
    """The template of the address, as `/v1/storage/{key:path}`."""
    access: Needed
    errors: tuple[type[RunflowError], ...] = ()
    """What it answers beside what follows from its parameters, body and access (`error_responses.py`)."""
    shows_secret: bool = False
    """Its answer holds a secret that is shown once: no repeated request gets it again."""
    streams_body: bool = False
    """It reads its body piece by piece and bounds it itself: the limit on bodies is not for it."""
    operator_only: bool = False
    """Only keys of the operator's organization can hold the scope that opens it."""
    follow: Callable[..., Awaitable[Response]] | None = None
    """Answers once what it created is committed, where the caller waits for its end (`waiting.Follow`)."""

    shown_as: str | None = None
    """The template in the OpenAPI document, where that of the route would be ambiguous there: the same route, with a
    fixed segment that it takes in the place of a parameter."""

    @property
    def served_path(self) -> str:
        """The template, without Starlette's `:path`."""
        return self.path.replace(":path}", "}")

    @property
    def shown_path(self) -> str:
        """The template as the OpenAPI document shows it."""
        return self.shown_as or self.served_path

    @property
    def takes_key(self) -> bool:
        """Tell whether an API key opens it."""
        return self.access is Access.ANY_KEY or not isinstance(self.access, Access)

    @property
    def takes_idempotency_key(self) -> bool:
        """Tell whether `Idempotency-Key` means something to it (docs/api.md, "Idempotency")."""
        return self.method == "POST" and not isinstance(self.access, Access)


class RouteTable:
    """Every route of an application, in the order in which they are tried."""

    def __init__(self, routes: Iterable[RouteSpec], tags: Iterable[Tag] = ()) -> None:
        """Put the routes together; `tags` in the order in which a reader wants them. Raises ValueError for a twin."""
        self.tags = tuple(tags)
        self._by_name: dict[tuple[str, str], RouteSpec] = {}
        for route in routes:
            if (route.method, route.path) in self._by_name:
                raise ValueError(f"{route.method} {route.path} is said twice.")
            self._by_name[route.method, route.path] = route
        self.access: dict[tuple[str, str], Needed] = {name: route.access for name, route in self._by_name.items()}
        """What opens each route, by method and path: asked at every request."""
        self.operator_scopes = frozenset(route.access for route in self if route.operator_only)
        """What opens routes that are the operator's: a key of another organization need not look for the scope."""
        self._patterns = [(compile_path(route.path)[0], route) for route in self]

    def __iter__(self) -> Iterator[RouteSpec]:
        """Yield each route."""
        return iter(self._by_name.values())

    def __getitem__(self, name: tuple[str, str]) -> RouteSpec:
        """Return the route of this method and template. Raises KeyError."""
        return self._by_name[name]

    def check_scopes(self, known: Collection[str]) -> None:
        """Raise ValueError where a route names a scope that no key can hold."""
        for route in self:
            for scope in () if isinstance(route.access, Access) else sorted(route.access):
                if scope not in known:
                    raise ValueError(f"{route.method} {route.path} names the scope {scope}, which no key can hold.")

    def at(self, path: str) -> Iterator[RouteSpec]:
        """Yield the routes that an address matches."""
        return (route for pattern, route in self._patterns if pattern.match(path))
