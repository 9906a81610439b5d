"""The routes of every run are served past FastAPI's search, and answer what FastAPI would."""

from typing import Annotated
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response

from runflow.server import OF_EVERY_RUN, ROUTERS
from runflow.web.express import Express, NotPlain, find

router = APIRouter()
asked: list[str] = []


async def once(request: Request) -> str:
    asked.append(request.url.path)
    return request.headers.get("x-name", "nobody")


async def again(name: Annotated[str, Depends(once)]) -> str:
    return name.upper()


@router.get("/things/{thing_id}")
async def thing(
    thing_id: UUID,
    name: Annotated[str, Depends(once)],
    loud: Annotated[str, Depends(again)],
    wait: Annotated[float, Query(ge=0, le=30)] = 0,
) -> Response:
    return JSONResponse({"id": str(thing_id), "name": name, "loud": loud, "wait": wait})


@router.post("/with-a-body")
async def with_body(body: dict[str, str]) -> Response:
    return JSONResponse(body)


@pytest.fixture
async def both() -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
    """A client of the routes with the express way, and one without."""
    asked.clear()
    clients = []
    for middleware in ([Middleware(Express, routes=find([router], [("GET", "/things/{thing_id}")]))], []):
        app = FastAPI(middleware=middleware)
        app.include_router(router)
        clients.append(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver"))
    return clients[0], clients[1]


ID = "0198c0de-0000-7000-8000-00000000aaaa"


@pytest.mark.parametrize(
    "path",
    [
        f"/things/{ID}",
        f"/things/{ID.upper()}?wait=2.5",
        f"/things/{ID}?wait=1&wait=3&other=x",
        f"/things/{ID}?wait=31",
        f"/things/{ID}?wait=soon",
        f"/things/{ID}?wait=",
        "/things/statuses",
        f"/things/{ID}/more",
        "/other",
    ],
)
async def test_it_answers_what_fastapi_answers(both: tuple[httpx.AsyncClient, httpx.AsyncClient], path: str) -> None:
    express, plain = [await client.get(path, headers={"x-name": "ada"}) for client in both]
    assert (express.status_code, express.json()) == (plain.status_code, plain.json())


async def test_a_dependency_is_asked_once(both: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    assert (await both[0].get(f"/things/{ID}")).json()["loud"] == "NOBODY"
    assert asked == [f"/things/{ID}"]


def test_a_route_of_another_kind_is_refused_at_the_start() -> None:
    with pytest.raises(NotPlain):
        Express(FastAPI(), find([router], [("POST", "/with-a-body")]))


def test_every_route_of_a_run_is_of_the_kind() -> None:
    Express(FastAPI(), find([router.api for router in ROUTERS], OF_EVERY_RUN))
