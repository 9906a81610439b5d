"""The table of routes holds what the routers serve, and refuses what cannot be right."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from runflow.accounts.keys.scopes import ALL_SCOPES, SCOPES_OF_FIELDS
from runflow.errors import ALL_ERRORS
from runflow.server import ROUTERS, ROUTES
from runflow.web import openapi
from runflow.web.route_table import Access, RouteSpec, RouteTable, any_of


def served(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route that FastAPI serves."""
    for route in routes:
        assert isinstance(route, APIRoute)
        yield from ((method, route.path) for method in route.methods or ())


def test_the_table_holds_exactly_what_the_routers_serve_in_their_order() -> None:
    found = [one for router in ROUTERS for one in served(router.api.routes)]
    assert [*found, (openapi.SPEC.method, openapi.SPEC.path)] == [(route.method, route.path) for route in ROUTES]


def test_every_scope_opens_a_route_or_lets_have_a_field_and_every_error_is_answered_by_one() -> None:
    named = {scope for route in ROUTES if not isinstance(route.access, Access) for scope in route.access}
    assert named == set(ALL_SCOPES) - SCOPES_OF_FIELDS
    missing = {error for error in ALL_ERRORS if error.status == 404} - {error for one in ROUTES for error in one.errors}
    assert missing == set()


def test_a_scope_that_no_key_can_hold_is_refused() -> None:
    table = RouteTable([RouteSpec("GET", "/v1/health", any_of("health:read"))])
    with pytest.raises(ValueError, match="GET /v1/health names the scope health:read"):
        table.check_scopes(["runs:read"])
    table.check_scopes(["health:read"])


def test_a_route_is_said_once() -> None:
    with pytest.raises(ValueError, match="GET /v1/health is said twice"):
        RouteTable([RouteSpec("GET", "/v1/health", Access.PUBLIC), RouteSpec("GET", "/v1/health", Access.SIGNED)])


def test_an_address_finds_its_routes() -> None:
    table = RouteTable([RouteSpec("GET", "/a/{id}", Access.PUBLIC), RouteSpec("PUT", "/a/{key:path}", Access.SIGNED)])
    assert [route.method for route in table.at("/a/1")] == ["GET", "PUT"]
    assert [route.shown_path for route in table.at("/a/1/2")] == ["/a/{key}"]
    assert list(table.at("/b")) == []


@pytest.mark.parametrize(
    ("method", "access", "takes_key", "takes_idempotency_key"),
    [
        ("POST", any_of("runs:create"), True, True),
        ("GET", any_of("runs:read"), True, False),
        ("POST", Access.ANY_KEY, True, False),
        ("POST", Access.WORKER, False, False),
        ("GET", Access.PUBLIC, False, False),
        ("PUT", Access.SIGNED, False, False),
    ],
)
def test_what_follows_from_what_opens_a_route(
    method: str, access: frozenset[str] | Access, takes_key: bool, takes_idempotency_key: bool
) -> None:
    route = RouteSpec(method, "/", access)
    assert (route.takes_key, route.takes_idempotency_key) == (takes_key, takes_idempotency_key)
