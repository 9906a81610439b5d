"""Every route stands in the scope table, and the sweeps that the table generates."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from runflow.ids import new_id
from runflow.server import ROUTERS
from runflow.web.scopes import ALL_SCOPES, ROUTE_SCOPES, Access
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client

SCOPED = [(route, needed) for route, needed in ROUTE_SCOPES.items() if isinstance(needed, frozenset)]


def address(path: str) -> str:
    filled = path.replace("{owner}/{slug}", "nobody/nothing").replace("{code}", "nothing").replace("{version}", "1")
    return re.sub(r"\{\w*id\}", lambda _: str(new_id()), filled)


def body(method: str) -> dict[str, Any]:
    return {"json": {}} if method in ("POST", "PATCH", "PUT") else {}


def served(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route, those of routers inside routers included."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield from ((method, route.path) for method in route.methods or ())
        else:
            yield from served(route.original_router.routes)


def test_every_route_is_in_the_table_and_every_row_is_a_route() -> None:
    found = {one for router in ROUTERS for one in served(router.routes)}
    assert found == set(ROUTE_SCOPES) - {("GET", "/v1/openapi.json")}


def test_every_scope_of_the_table_can_be_held() -> None:
    assert {scope for _, needed in SCOPED for scope in needed} <= set(ALL_SCOPES)


@pytest.mark.parametrize(("route", "needed"), SCOPED)
async def test_a_key_without_any_sufficient_scope_is_refused(
    services: Services, make_key: MakeKey, route: tuple[str, str], needed: frozenset[str]
) -> None:
    org = await new_org(services)
    scopes = tuple(scope for scope in ALL_SCOPES if scope not in needed)
    async with open_client(services, await make_key(scopes=scopes, org=org)) as client:
        answer = await client.request(route[0], address(route[1]), **body(route[0]))
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert all(f"`{scope}`" in answer.json()["message"] for scope in needed)


@pytest.mark.parametrize(("method", "path"), [route for route, needed in ROUTE_SCOPES.items() if needed != "public"])
async def test_nothing_but_the_public_routes_opens_without_a_token(
    anonymous: httpx.AsyncClient, method: str, path: str
) -> None:
    signed = ROUTE_SCOPES[(method, path)] is Access.SIGNED
    answer = await anonymous.request(method, address(path).replace("{key:path}", "a/b"), **body(method))
    assert answer.status_code == (403 if signed else 401)
    assert method == "HEAD" or set(answer.json()) == {"code", "message", "errors"}
