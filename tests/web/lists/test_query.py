from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from runflow.errors import RunflowError
from runflow.web.lists import (
    ListEnvelope,
    ListQuery,
    RecordQuery,
    build,
    envelope,
    list_query,
    page,
    project,
    record_query,
)
from tests.web.lists.conftest import Samples
from tests.web.lists.rows import keyed_rows


class _Sample(BaseModel):
    id: str
    name: str | None = None


def _app(samples: Samples | None = None) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(RunflowError)
    async def on_error(_: Request, error: RunflowError) -> JSONResponse:
        return JSONResponse(error.envelope(), error.status)

    @app.get("/echo")
    async def echo(query: Annotated[ListQuery, Depends(list_query)]) -> dict[str, Any]:
        return {name: getattr(query, name) for name in ListQuery.__slots__}

    @app.get("/record")
    async def record(query: Annotated[RecordQuery, Depends(record_query)]) -> dict[str, Any]:
        return {"fields": query.fields, "embed": query.embed}

    @app.get("/samples", response_model=None, responses={200: {"model": ListEnvelope[_Sample]}})
    def search(query: Annotated[ListQuery, Depends(list_query)]) -> dict[str, Any]:
        assert samples is not None
        statement = build(samples.spec, query)
        with samples.engine.connect() as connection:
            found = page(samples.spec, query, keyed_rows(connection, statement))
        return envelope(found, [project({"id": str(row.id), "name": row.name}, query) for row in found.rows])

    return app


async def _get(app: FastAPI, path: str, **parameters: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, params=parameters)


async def test_defaults() -> None:
    answer = await _get(_app(), "/echo")
    assert answer.json() == {
        "q": None,
        "limit": 50,
        "sort_by": None,
        "fields": None,
        "pq": None,
        "from_prev": False,
        "embed": [],
    }


async def test_blank_parameters_count_as_absent() -> None:
    answer = await _get(_app(), "/echo", q=" ", sort_by="", fields="", pq="", embed=" ")
    assert answer.json() == (await _get(_app(), "/echo")).json()


async def test_every_parameter_arrives() -> None:
    answer = await _get(
        _app(), "/echo", q="a:1", limit=500, sort_by="a:asc", fields="a, b", pq="x", from_prev="true", embed="c,d"
    )
    assert answer.json() == {
        "q": "a:1",
        "limit": 500,
        "sort_by": "a:asc",
        "fields": ["a", "b"],
        "pq": "x",
        "from_prev": True,
        "embed": ["c", "d"],
    }
    answer = await _get(_app(), "/record", fields="a", embed="b")
    assert answer.json() == {"fields": ["a"], "embed": ["b"]}


@pytest.mark.parametrize("limit", ["0", "501", "-1", "ten", "1.5", ""])
async def test_a_limit_out_of_range_is_a_422(limit: str) -> None:
    answer = await _get(_app(), "/echo", limit=limit)
    assert answer.status_code == 422


async def test_a_client_walks_the_list_over_http(samples: Samples) -> None:
    app = _app(samples)
    names: list[str] = []
    parameters: dict[str, Any] = {"q": "size.gte:0 AND name != ''", "sort_by": "name:asc", "limit": 9, "fields": "name"}
    pages: list[dict[str, Any]] = []
    while not pages or pages[-1]["next"]:
        pages.append((await _get(app, "/samples", **parameters, **({"pq": pages[-1]["next"]} if pages else {}))).json())
        names += [item["name"] for item in pages[-1]["items"]]
        assert all(list(item) == ["name"] for item in pages[-1]["items"])
    assert names == sorted(row["name"] for row in samples.rows if row["size"] >= 0 and row["name"])
    for body in pages:
        assert list(body) == ["items", "first", "next", "previous", "next_pq", "prev_pq"]
        assert (body["next_pq"], body["prev_pq"]) == (body["next"], body["previous"])
    back = (await _get(app, "/samples", **parameters, pq=pages[-1]["previous"], from_prev="true")).json()
    assert back["items"] == pages[-2]["items"]


async def test_a_bad_request_is_a_400_with_the_envelope(samples: Samples) -> None:
    for parameters, code in [
        ({"q": "name:"}, "INVALID_FILTER"),
        ({"q": "name:a\x00"}, "INVALID_FILTER"),
        ({"sort_by": "nope"}, "INVALID_SORT"),
        ({"pq": "AAAA"}, "INVALID_CURSOR"),
        ({"fields": "nope"}, "INVALID_FIELD"),
        ({"embed": "nope"}, "INVALID_FIELD"),
    ]:
        answer = await _get(_app(samples), "/samples", **parameters)
        assert answer.status_code == 400
        body = answer.json()
        assert (body["code"], body["errors"][0]["loc"][0]) == (code, "query")


def test_openapi_describes_parameters_and_envelope() -> None:
    schema = _app().openapi()
    operation = schema["paths"]["/samples"]["get"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert set(parameters) == {"q", "limit", "sort_by", "fields", "pq", "from_prev", "embed"}
    assert all(parameter["description"] for parameter in parameters.values())
    assert (parameters["limit"]["schema"]["minimum"], parameters["limit"]["schema"]["maximum"]) == (1, 500)
    assert parameters["limit"]["schema"]["default"] == 50
    reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    model = schema["components"]["schemas"][reference.rpartition("/")[2]]
    assert set(model["properties"]) == {"items", "first", "next", "previous", "next_pq", "prev_pq"}
    assert model["properties"]["items"]["items"]["$ref"].endswith("_Sample")
