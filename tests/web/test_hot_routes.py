"""The routes of every run are served past FastAPI's search, and answer what FastAPI would."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from runflow.ids import new_id
from runflow.protocol.codec import PARCEL
from runflow.server import ROUTERS, create_app
from runflow.web.auth import Caller
from runflow.web.hot_routes import HotRoute
from runflow.web.route_table import Access, any_of
from runflow.web.router import Router
from runflow.web.services import Services
from tests.support.application import MakeKey
from tests.support.deployed import Deployed, Worker

HOT = [route for router in ROUTERS for route in router.hot_routes]
NAMES = [f"{route.spec.method} {route.spec.path}" for route in HOT]
OF_HOT = pytest.mark.parametrize("route", HOT, ids=NAMES)


def address(route: HotRoute, one: object = "0198c0de-0000-7000-8000-00000000aaaa") -> str:
    """Return an address of the route, with this id where it takes one."""
    filled = route.spec.path.replace("{owner}/{slug}", "nobody/nothing").replace("{key:path}", "a/b")
    return filled.replace("{id}", str(one))


@dataclass(frozen=True)
class Twins:
    """Two applications on the same services: one with hot routes, one with FastAPI's alone."""

    hot: httpx.AsyncClient
    plain: httpx.AsyncClient

    async def both(self, method: str, path: str, **request: Any) -> tuple[httpx.Response, httpx.Response]:
        """Send the same request to both."""
        return await self.hot.request(method, path, **request), await self.plain.request(method, path, **request)

    async def agree(self, method: str, path: str, **request: Any) -> int:
        """Fail unless both give the same answer; return its status."""
        hot, plain = [(one.status_code, _headers(one), one.content) for one in await self.both(method, path, **request)]
        assert hot == plain
        return hot[0]


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "runflow-request-id"}


@pytest.fixture(scope="module")
async def twins(services: Services) -> AsyncIterator[Twins]:
    """Clients of both applications, without a token."""
    hot = create_app(services)
    with pytest.MonkeyPatch.context() as patched:
        for router in ROUTERS:
            patched.setattr(router, "hot_routes", [])
        plain = create_app(services)
    async with AsyncExitStack() as stack:
        yield Twins(
            *[
                await stack.enter_async_context(
                    httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")
                )
                for app in (hot, plain)
            ]
        )


def scope(method: str, path: str, query: bytes = b"") -> dict[str, Any]:
    """Return what an ASGI server says of a request."""
    return {"type": "http", "method": method, "path": path, "query_string": query, "headers": []}


def test_what_every_run_passes_is_hot() -> None:
    assert NAMES == [
        "POST /v1/worker/leases",
        "POST /v1/worker/leases/{id}/heartbeats",
        "POST /v1/worker/leases/{id}/completions",
        "PUT /v1/storage/{key:path}",
        "POST /v1/comfyui-workflows/{owner}/{slug}/runs",
        "GET /v1/runs/{id}",
    ]


@OF_HOT
def test_a_plain_request_is_served_in_front_and_no_other_method_is(route: HotRoute) -> None:
    path, method = address(route), route.spec.method
    assert [one for one in HOT if one.matches(scope(method, path))[0] is Match.FULL] == [route]
    for other in {*METHODS} - {method}:
        assert route.matches(scope(other, path))[0] is Match.NONE


@pytest.mark.parametrize("query", [b"wait=soon", b"wait=-1", b"wait=", b"wait=1&wait=2", b"fields=id", b"wait=1e400"])
def test_a_query_that_has_to_be_checked_is_left_to_fastapi(query: bytes) -> None:
    assert [one for one in HOT if one.matches(scope("GET", f"/v1/runs/{new_id()}", query))[0] is not Match.NONE] == []


@OF_HOT
async def test_who_may_not_pass_hears_the_same(
    twins: Twins, route: HotRoute, make_key: MakeKey, client: httpx.AsyncClient
) -> None:
    wrong = 403 if route.spec.access is Access.SIGNED else 401
    path, lacking = address(route), 403 if route.spec.takes_key else wrong
    scopeless = f"Bearer {await make_key(scopes=('gpus:read',))}"
    elsewhere = {"Authorization": client.headers["Authorization"], "X-Organization-Id": str(new_id())}
    for headers, status in (
        ({}, wrong),
        ({"Authorization": "Bearer nonsense"}, wrong),
        ({"Authorization": "Basic YTpi"}, wrong),
        ({"Authorization": "Bearer "}, wrong),
        ({"Authorization": scopeless}, lacking),
        (elsewhere, lacking),
    ):
        assert await twins.agree(route.spec.method, path, headers=headers, content=b"{") == status, headers


JSON = {"Content-Type": "application/json"}
BODIES: tuple[tuple[bytes, dict[str, str]], ...] = (
    (b"", {}),
    (b'{"input": ', JSON),
    (b"[]", JSON),
    (b'{"surprise": 1}', JSON),
    (
        b'{"protocol_version": 0, "worker_id": "0198c0de-0000-7000-8000-00000000aaaa", '
        b'"instance": "0198c0de-0000-7000-8000-00000000aaaa", "result": "cancelled"}',
        JSON,
    ),
    (b"hello", {"Content-Type": "text/plain"}),
    (b"{}", {"Content-Encoding": "gzip"}),
    (b"??", {"Content-Type": PARCEL}),
    (b'{"input": {}}', JSON),
    (b'{"input": {}}', JSON | {"Idempotency-Key": "once"}),
    (b'{"input": {}}', JSON | {"Idempotency-Key": "x" * 256}),
)
IDS = (
    "0198C0DE-0000-7000-8000-00000000AAAA",
    "0198c0de00007000800000000000aaaa",
    "urn:uuid:" + "0" * 32,
    "none",
    "%00",
)
QUERIES = ("wait=0.0", "wait=soon", "wait=-1", "wait=", "wait=1&wait=2", "unknown=1", "fields=id&_=1", "embed=nothing")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@OF_HOT
async def test_what_is_wrong_is_refused_in_the_same_words(
    twins: Twins, route: HotRoute, client: httpx.AsyncClient, worker: Worker
) -> None:
    caller = worker.http if route.spec.access is Access.WORKER else client
    token, path = {"Authorization": caller.headers["Authorization"]}, address(route)
    method = route.spec.method
    for content, headers in BODIES:
        assert await twins.agree(method, path, content=content, headers=token | headers) >= 400, (content, headers)
    for one in IDS:
        assert await twins.agree(method, address(route, one), json={"input": {}}, headers=token) >= 400, one
    for query in QUERIES:
        assert await twins.agree(method, f"{path}?{query}", json={"input": {}}, headers=token) >= 400, query
    for other in METHODS:
        for there in (path, address(route, "not-an-id"), f"{path}/"):
            assert await twins.agree(other, there, headers=token) >= 400, (other, there)


async def test_a_run_takes_the_same_steps(
    twins: Twins, client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    key, token = ({"Authorization": one.headers["Authorization"]} for one in (client, worker.http))
    steps: list[list[Any]] = []
    for one in (twins.hot, twins.plain):
        dispatched = await one.post(
            f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "an otter"}}, headers=key
        )
        waited = await one.get(f"/v1/runs/{dispatched.json()['id']}?wait=0.1", headers=key)
        leased = await one.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 0}, headers=token)
        lease = f"/v1/worker/leases/{leased.json()['lease']['id']}"
        kept = await one.post(f"{lease}/heartbeats", json={**worker.me, "events": []}, headers=token)
        done = await one.post(f"{lease}/completions", json={**worker.me, "result": "cancelled"}, headers=token)
        read = await one.get(f"/v1/runs/{dispatched.json()['id']}", headers=key)
        steps.append([_shape(answer) for answer in (dispatched, waited, leased, kept, done, read)])
    hot, plain = steps
    assert hot == plain
    assert [step[0] for step in hot] == [201, 200, 200, 200, 200, 200]


def _shape(answer: httpx.Response) -> tuple[int, set[str], Any, Any]:
    """Return what of an answer is the same for two runs."""
    content = answer.json()
    return answer.status_code, set(answer.headers), set(content), content.get("status_code")


async def test_a_repeated_dispatch_is_answered_by_either_with_what_the_other_created(
    twins: Twins, client: httpx.AsyncClient, workflow: Deployed
) -> None:
    headers = {"Authorization": client.headers["Authorization"], "Idempotency-Key": str(new_id())}
    path, body = f"/v1/comfyui-workflows/{workflow.path}/runs?wait=0.1", {"input": {"prompt": "an otter"}}
    first, again = await twins.both("POST", path, json=body, headers=headers)
    assert (first.status_code, again.status_code, again.json()["id"]) == (201, 201, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"


async def keyed(caller: Caller) -> Response:
    return Response()


async def serve(request: Request) -> Response:
    return Response()


def test_a_hot_route_belongs_to_a_route_that_was_declared() -> None:
    router = Router(None, prefix="/v1")
    router.get("/things/{id}", access=any_of("things:read"))(keyed)
    with pytest.raises(LookupError, match=r"POST /v1/things/\{id:uuid\}: declare the route itself before its hot one"):
        router.hot("POST", "/things/{id:uuid}")
    router.hot("GET", "/things/{id:uuid}")(serve)
    assert [route.spec for route in router.hot_routes] == router.routes
