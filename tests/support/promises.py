"""What the OpenAPI document promises of each route's errors, held against every answer that a test gets."""

import functools

import httpx
from fastapi import FastAPI

from runflow.server import ROUTERS, ROUTES
from runflow.web.openapi import document


@functools.cache
def promised() -> dict[tuple[str, str], frozenset[str]]:
    """Return the codes that the document names for each route that is in it, by method and path."""
    app = FastAPI(title="Runflow API")
    for router in ROUTERS:
        app.include_router(router.api)
    made = document(app, ROUTES)
    responses = made["components"]["responses"]
    return {
        (method.upper(), path): frozenset(
            code
            for answer in found["responses"].values()
            if "$ref" in answer
            for code in responses[answer["$ref"].rpartition("/")[2]]["content"]["application/json"]["examples"]
        )
        for path, of in made["paths"].items()
        for method, found in of.items()
    }


async def check_promise(answer: httpx.Response) -> None:
    """Fail for an error that no route of this method at this address says it answers."""
    if answer.status_code < 400:
        return
    method, path = answer.request.method, answer.request.url.path
    routes = [(route.method, route.shown_path) for route in ROUTES.at(path) if route.method == method]
    known = [promised()[route] for route in routes if route in promised()]
    if known:
        await answer.aread()
        code = answer.json()["code"]
        assert any(code in codes for codes in known), f"{routes[0]} answers {code}: say so where it is declared"
