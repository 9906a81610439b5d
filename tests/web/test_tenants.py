"""Every route, called for what another organization has: nothing is read, nothing is changed.

Generated from the table of routes: a new one is covered the day it is added.
"""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.web.services import Services
from tests.support import everything as of_everything
from tests.support.application import fresh_key, open_client
from tests.support.everything import BODIES, CODES, OF_KEYS, RAW, Everything, Route, served_order

FOR_EVERYBODY = {
    ("GET", "/v1/comfyui-workflows/categories/{code}"): "the same categories for all",
    ("GET", "/v1/webhooks/event-types/{code}"): "the same event types for all",
    ("GET", "/v1/gpus/{code}"): "the installation's catalogue",
}
"""Routes with a parameter that name nothing of an organization."""


@pytest.fixture(scope="module")
async def stranger(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of another organization, with every scope."""
    async with open_client(services, await fresh_key(services, ALL_SCOPES)) as client:
        yield client


def mentioned(answer: httpx.Response, ids: dict[str, str]) -> list[str]:
    """Return which of another organization's ids an answer tells."""
    told = {word: value for word, value in ids.items() if word not in ("version", "gpu", "slug", "worker")}
    return [word for word, value in told.items() if re.search(rf"\b{re.escape(value)}\b", answer.text)]


@pytest.mark.parametrize("route", OF_KEYS, ids=" ".join)
async def test_another_organization_s_key(everything: Everything, stranger: httpx.AsyncClient, route: Route) -> None:
    before = await everything.rows()
    answer = await everything.call(route, stranger)
    assert await everything.rows() == before, "rows of the other organization were changed"
    if "{" in route[1] and route not in FOR_EVERYBODY:
        assert answer.status_code in (403, 404), f"{answer.status_code} {answer.text[:300]}"
        assert answer.json()["code"] != "NOT_FOUND", "there is no such route"
        # A message may repeat what the caller itself sent, and nothing else.
        sent = str(answer.request.url)
        assert [word for word in mentioned(answer, everything.ids) if everything.ids[word] not in sent] == []
    else:
        assert answer.status_code < 500
        assert mentioned(answer, everything.ids) == []


async def test_the_routes_with_a_body_are_called_with_one(services: Services) -> None:
    """Else they would be refused for their body, and the sweep would show nothing of tenants."""
    async with open_client(services, None) as anonymous:
        paths = (await anonymous.get("/v1/openapi.json")).json()["paths"]
    taking = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "requestBody" in operation and (method.upper(), path) in OF_KEYS
    }
    assert taking - set(BODIES) - set(RAW) == set(), "give each a valid body in tests/support/everything.py"


async def test_the_same_calls_work_for_the_organization_itself(services: Services) -> None:
    """What the sweep sends is meant: its owner is served. What is deleted goes last, the inner before the outer."""
    async with of_everything.make(services) as own:
        faults = []
        for route in served_order(OF_KEYS):
            answer = await own.call(route)
            if answer.status_code >= 400 and not expected(route, answer):
                faults.append(f"{' '.join(route)}: {answer.status_code} {answer.text[:200]}")
    assert faults == [], "\n".join(faults)


def expected(route: Route, answer: httpx.Response) -> bool:
    """Tell whether an own organization's refusal is as it should be."""
    of_operator = ("/v1/workers", "/v1/sources", "/v1/gpus", "/v1/overview")
    if route[1].startswith(of_operator) or route == ("POST", "/v1/organizations"):
        return answer.status_code == 403  # the operator's, and this is not the operator's organization
    return answer.status_code == 409  # in a state that does not allow it: not deleted, still in flight, …


def test_every_code_is_one_of_a_table_for_everybody() -> None:
    assert {path for _, path in FOR_EVERYBODY} == set(CODES)
