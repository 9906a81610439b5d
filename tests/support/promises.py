"""What the OpenAPI document promises of each route's errors, held against every answer that a test gets."""

import functools
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from runflow.server import ROUTERS, ROUTES
from runflow.web.openapi import document


@functools.cache
def _document() -> dict[str, Any]:
    """Return the document with all that API keys open: what it leaves out as ambiguous as well."""
    app = FastAPI(title="Runflow API")
    for router in ROUTERS:
        app.include_router(router.api)
    with pytest.MonkeyPatch.context() as patched:
        for route in (route for router in ROUTERS for route in router.api.routes):
            if isinstance(route, APIRoute) and route.path.endswith("/{code}"):
                patched.setattr(route, "include_in_schema", True)
        return document(app, ROUTES)


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the document says of each route, by method and path as it is served."""
    paths = _document()["paths"]
    return {
        (route.method, route.served_path): paths[route.shown_path][route.method.lower()]
        for route in ROUTES
        if route.method.lower() in paths.get(route.shown_path, ())
    }


@functools.cache
def promised() -> dict[tuple[str, str], frozenset[str]]:
    """Return the codes that the document names for each route that is in it, by method and path as it is served."""
    responses = _document()["components"]["responses"]
    return {
        route: frozenset(
            code
            for answer in found["responses"].values()
            if "$ref" in answer
            for code in responses[answer["$ref"].rpartition("/")[2]]["content"]["application/json"]["examples"]
        )
        for route, found in operations().items()
    }


async def check_promise(answer: httpx.Response) -> None:
    """Fail for an error that no route of this method at this address says it answers."""
    if answer.status_code < 400:
        return
    method, path = answer.request.method, answer.request.url.path
    routes = [(route.method, route.served_path) for route in ROUTES.at(path) if route.method == method]
    known = [promised()[route] for route in routes if route in promised()]
    if known:
        await answer.aread()
        code = answer.json()["code"]
        assert any(code in codes for codes in known), f"{routes[0]} answers {code}: say so where it is declared"
