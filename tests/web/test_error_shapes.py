"""Every route, every generic way to fail: one envelope, CORS, a request id. Generated from the table of routes."""

import itertools
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.errors import ALL_ERRORS
from runflow.ids import new_id
from runflow.server import ROUTES
from runflow.web.route_table import Access
from runflow.web.services import Services
from tests.support import promises
from tests.support.application import open_client
from tests.support.everything import BODIES, CODES, OF_KEYS, Everything, Route, address

CODES_OF_STATUS: dict[int, set[str]] = {}
for _error in ALL_ERRORS:
    CODES_OF_STATUS.setdefault(_error.status, set()).add(_error.code)

ORIGIN = {"Origin": "http://127.0.0.1:8188"}
JSON = {"Content-Type": "application/json"}
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
SERVED = [route for route in ROUTES.access if route[0] != "HEAD"]
KEYED = [route for route in SERVED if ROUTES.access[route] not in (Access.PUBLIC, Access.SIGNED)]

LIST_FAULTS = {
    "q=nothing_of_it:1": "INVALID_FILTER",
    "q=id:(": "INVALID_FILTER",
    "q=%00": "INVALID_FILTER",
    "sort_by=nothing_of_it:asc": "INVALID_SORT",
    "sort_by=created_at:sideways": "INVALID_SORT",
    "pq=garbage": "INVALID_CURSOR",
    "fields=nothing_of_it": "INVALID_FIELD",
    "embed=nothing_of_it": "INVALID_FIELD",
    "limit=0": "VALIDATION_ERROR",
    "limit=501": "VALIDATION_ERROR",
    "limit=many": "VALIDATION_ERROR",
    "from_prev=perhaps": "VALIDATION_ERROR",
}
"""What any list refuses, and as what."""


OF_THE_OPERATOR = {"/v1/workers", "/v1/sources"}
"""Lists that only the operator's organization may ask for, whatever it asks."""


def check(answer: httpx.Response, *codes: str) -> None:
    """Check that this is an error of the contract, with one of these codes where any are named."""
    where = f"{answer.request.method} {answer.request.url} answered {answer.status_code} {answer.text[:300]}"
    assert 400 <= answer.status_code < 500, where
    body = answer.json()
    assert set(body) == {"code", "message", "errors"}, where
    assert body["code"] in CODES_OF_STATUS[answer.status_code], where
    assert not codes or body["code"] in codes, f"{where}, expected {' or '.join(codes)}"
    assert isinstance(body["message"], str) and body["message"], where
    for item in body["errors"] or ():
        assert {"loc", "msg", "type"} <= set(item), where
    assert answer.headers["Content-Type"] == "application/json", where
    assert answer.headers["Access-Control-Allow-Origin"] == "*", where
    assert UUID(answer.headers["Runflow-Request-Id"]), where


@pytest.fixture(scope="module")
async def nobody(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(services, None) as client:
        client.headers.update(ORIGIN)
        yield client


@pytest.fixture(scope="module")
async def caller(everything: Everything) -> httpx.AsyncClient:
    everything.client.headers.update(ORIGIN)
    return everything.client


@pytest.fixture(scope="module")
def operations() -> dict[Route, dict[str, Any]]:
    """The OpenAPI document's operations, by route."""
    return promises.operations()


@pytest.fixture(scope="module")
def promised() -> dict[Route, frozenset[str]]:
    """The codes that the OpenAPI document names for each route."""
    return promises.promised()


def filled(path: str, value: str) -> str:
    """Return the address with `value` for every parameter."""
    return re.sub(r"\{\w+(?::path)?\}", value, path)


@pytest.mark.parametrize("route", KEYED, ids=" ".join)
@pytest.mark.parametrize(
    "token", ["", "Basic eDp5", "Bearer", "Bearer rf_live_" + "a" * 40, "Bearer \u00e9", "Bearer  x y"]
)
async def test_no_token_or_a_bad_one(nobody: httpx.AsyncClient, route: Route, token: str) -> None:
    headers = {"Authorization": token.encode("utf-8")} if token else {}
    answer = await nobody.request(route[0], filled(route[1], str(new_id())), headers=headers)  # type: ignore[arg-type]
    check(answer, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("route", [route for route in OF_KEYS if "{" in route[1]], ids=" ".join)
async def test_ids_of_nothing(
    everything: Everything,
    caller: httpx.AsyncClient,
    operations: dict[Route, dict[str, Any]],
    promised: dict[Route, frozenset[str]],
    route: Route,
) -> None:
    """Each parameter in turn, the others being right; then in forms that no id or slug has."""
    shapes = {found["name"]: str(found["schema"]) for found in operations[route]["parameters"] if found["in"] == "path"}
    of_uuids = {name: "'any'" in shape for name, shape in shapes.items() if "'uuid'" in shape}
    assert all(name in of_uuids for name in shapes if name == "id" or name.endswith("_id")), "an id is a UUID"
    for name in re.findall(r"\{(\w+)\}", route[1]):
        for value in (
            str(new_id()),
            "not-an-id",
            "any%20thing",
            "%00",
            "%F0%9F%98%80",
            "%ff",
            "x" * 3000,
            "%2e%2e",
            "-1",
        ):
            path = address(route[1], everything.ids, {name: value})
            answer = await caller.request(route[0], path, json=BODIES.get(route, {}))
            # In forms that no slug has, the address may be none of this route.
            check(answer, *promised[route], *({"NOT_FOUND", "METHOD_NOT_ALLOWED"} if "%" in value else ()))
            if value == "not-an-id" and name in of_uuids:
                check(answer, "VALIDATION_ERROR")
                (fault,) = answer.json()["errors"]
                assert (fault["loc"], fault["type"]) == (["path", name], "uuid_parsing"), answer.text
                assert ("`any`" in fault["msg"]) == of_uuids[name] and "'not-an-id'" in fault["msg"], answer.text


async def test_bodies_are_known(operations: dict[Route, dict[str, Any]]) -> None:
    taking = {
        route for route in OF_KEYS if "application/json" in operations[route].get("requestBody", {}).get("content", {})
    }
    assert taking == set(BODIES)


@pytest.mark.parametrize("route", BODIES, ids=" ".join)
async def test_bad_bodies(
    everything: Everything, caller: httpx.AsyncClient, promised: dict[Route, frozenset[str]], route: Route
) -> None:
    assert {"INVALID_JSON", "VALIDATION_ERROR", "UNSUPPORTED_MEDIA_TYPE"} <= promised[route]
    for content in (b"{", b"\xff\xfe", b'{"a": 1', b"[" * 2000, b'{"a": "\\ud800"}', b"nul"):
        answer = await everything.call(route, caller, content=content, headers=JSON)
        check(answer, "INVALID_JSON", "VALIDATION_ERROR")
    check(await everything.call(route, caller, content=b"{", headers=JSON), "INVALID_JSON")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"):
        answer = await everything.call(route, caller, content=b'{"a": 1}', headers={"Content-Type": kind})
        check(answer, "UNSUPPORTED_MEDIA_TYPE")
    for content in (b"[]", b'"text"', b"1", b"null"):
        answer = await everything.call(route, caller, content=content, headers=JSON)
        check(answer, "VALIDATION_ERROR", "INVALID_JSON")
    odd: list[dict[str, Any]] = [{"name": "a\0b"}, {"input": {"a": "\0"}}, {"\0": 1}, {"limit": 10**400}]
    for body in odd:
        answer = await everything.call(route, caller, content=json.dumps(body).encode(), headers=JSON)
        if answer.status_code >= 400:
            check(answer, *promised[route])


@pytest.mark.parametrize("route", [route for route in SERVED if route[0] in ("POST", "PATCH")], ids=" ".join)
async def test_a_body_that_is_too_large(nobody: httpx.AsyncClient, route: Route) -> None:
    headers = {**JSON, "Content-Length": str(10**12)}
    answer = await nobody.request(route[0], filled(route[1], str(new_id())), content=b"{}", headers=headers)
    check(answer, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("route", [route for route in OF_KEYS if route[0] == "GET"], ids=" ".join)
async def test_what_lists_and_records_refuse(
    everything: Everything,
    caller: httpx.AsyncClient,
    operations: dict[Route, dict[str, Any]],
    promised: dict[Route, frozenset[str]],
    route: Route,
) -> None:
    taken = {parameter["name"] for parameter in operations[route].get("parameters", ())}
    if "q" in taken:
        assert {"limit", "sort_by", "fields", "pq", "from_prev", "embed"} <= taken, "a list takes all list parameters"
    for query, code in LIST_FAULTS.items():
        if query.partition("=")[0] in taken:
            path = address(route[1], everything.ids)
            codes = (code, "PERMISSION_DENIED") if route[1] in OF_THE_OPERATOR else (code,)
            assert promised[route].issuperset(codes)
            check(await caller.get(f"{path}?{query}"), *codes)


@pytest.mark.parametrize("path", sorted({path for _, path in SERVED}))
async def test_wrong_methods(everything: Everything, caller: httpx.AsyncClient, path: str) -> None:
    """Where no other route takes the method at this address, `Allow` names those that are taken."""
    place = (CODES.get(path) and path.replace("{code}", CODES[path])) or filled(path, "x")
    for method in METHODS:
        others = [other for verb, other in ROUTES.access if verb == method and matches(other, place)]
        if others:
            continue
        answer = await caller.request(method, place)
        check(answer, "METHOD_NOT_ALLOWED")
        assert answer.headers["Allow"]
    assert (await caller.request("TRACE", place)).status_code == 405


def matches(template: str, place: str) -> bool:
    pattern = re.sub(r"\{\w+:path\}", ".*", template)
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), place) is not None


NOWHERE = ("/", "/nowhere", "/v1", "/v1/nowhere", "/v2/runs", "/v1/runs/a/b/c/d", "/v1/%00", "//v1/runs", "/v1/runs/")
TO_THE_REFERENCE = ("GET", "/")


@pytest.mark.parametrize(
    ("method", "path"), [each for each in itertools.product(METHODS, NOWHERE) if each != TO_THE_REFERENCE]
)
async def test_addresses_of_nothing(caller: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await caller.request(method, f"http://testserver{path}")
    if answer.status_code in (307, 308):
        pytest.fail("an API does not redirect")
    check(answer, "NOT_FOUND", "METHOD_NOT_ALLOWED", "VALIDATION_ERROR")


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Organization-Id", "Last-Event-ID", "Range", "Accept"])
async def test_odd_headers(caller: httpx.AsyncClient, header: str) -> None:
    for value in (b"", b"\x80\xff", b"x" * 5000, b"0", b"bytes=9-1"):
        for method, path in (("POST", "/v1/asset-folders"), ("GET", "/v1/runs")):
            body: dict[str, Any] | None = {} if method == "POST" else None
            answer = await caller.request(method, path, headers=[(header.encode(), value)], json=body)
            if answer.status_code >= 400:
                check(answer)
