"""What opens each route is asked of whoever calls it: sweeps over the table of routes."""

import re
from typing import Any

import httpx
import pytest

from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.ids import new_id
from runflow.server import ROUTES
from runflow.web.route_table import Access
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client

SCOPED = [(route, needed) for route, needed in ROUTES.access.items() if isinstance(needed, frozenset)]


def address(path: str) -> str:
    filled = path.replace("{owner}/{slug}", "nobody/nothing").replace("{code}", "nothing").replace("{version}", "1")
    return re.sub(r"\{\w*id\}", lambda _: str(new_id()), filled)


def body(method: str) -> dict[str, Any]:
    return {"json": {}} if method in ("POST", "PATCH", "PUT") else {}


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


@pytest.mark.parametrize(("method", "path"), [route for route, needed in ROUTES.access.items() if needed != "public"])
async def test_nothing_but_the_public_routes_opens_without_a_token(
    anonymous: httpx.AsyncClient, method: str, path: str
) -> None:
    signed = ROUTES.access[(method, path)] is Access.SIGNED
    answer = await anonymous.request(method, address(path).replace("{key:path}", "a/b"), **body(method))
    assert answer.status_code == (403 if signed else 401)
    assert method == "HEAD" or set(answer.json()) == {"code", "message", "errors"}
