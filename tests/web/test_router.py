"""A route that does not say what opens it cannot be written."""

from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.responses import Response

from runflow import errors
from runflow.web.auth import Caller, worker
from runflow.web.route_table import Access, RouteSpec, Tag, any_of
from runflow.web.router import Router

TAG = Tag("Things", "What there is.")


async def keyed(caller: Caller) -> Response:
    return Response()


async def open_to_all() -> Response:
    return Response()


def made(router: Router) -> APIRoute:
    (route,) = router.api.routes
    assert isinstance(route, APIRoute)
    return route


def test_a_route_without_a_statement_is_refused_where_it_is_written() -> None:
    declare: Any = Router(TAG).get
    with pytest.raises(TypeError, match="access"):
        declare("/things", summary="List things")


@pytest.mark.parametrize(
    ("endpoint", "access"),
    [(open_to_all, any_of("things:read")), (open_to_all, Access.ANY_KEY), (keyed, Access.PUBLIC)],
)
def test_who_calls_is_asked_where_a_key_opens_the_route_and_nowhere_else(endpoint: Any, access: Any) -> None:
    with pytest.raises(TypeError, match="GET /v1/things: takes a Caller if, and only if, an API key opens it"):
        Router(TAG, prefix="/v1/things").get("", access=access)(endpoint)


def test_what_a_route_says_is_kept_and_handed_to_fastapi() -> None:
    router = Router(TAG, prefix="/v1/things")
    created = any_of("things:create")
    router.post("", access=created, errors=[errors.LimitReached], shows_secret=True, status_code=201)(keyed)
    assert router.routes == [RouteSpec("POST", "/v1/things", created, (errors.LimitReached,), shows_secret=True)]
    route = made(router)
    assert (route.path, route.methods, route.tags, route.status_code) == ("/v1/things", {"POST"}, ["Things"], 201)


def test_a_worker_is_asked_for_its_token_by_what_opens_the_route() -> None:
    router = Router(TAG)
    router.post("/things", access=Access.WORKER)(open_to_all)
    assert [one.dependency for one in made(router).dependencies] == [worker]


def test_what_is_beside_the_document_stays_out_of_it() -> None:
    hidden, head, page = Router(None), Router(TAG), Router(TAG)
    hidden.get("/", access=Access.PUBLIC)(open_to_all)
    head.head("/", access=Access.PUBLIC)(open_to_all)
    page.get("/", access=Access.PUBLIC, in_document=False)(open_to_all)
    assert [made(router).include_in_schema for router in (hidden, head, page)] == [False, False, False]
