"""How the plugin's routes answer, on a server of aiohttp alone."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from plugin.answers import Refused, answered, read_json
from plugin.routes import add_to
from plugin.version import VERSION
from runflow import __version__

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A server with our routes and three of the test's own."""

    async def echo(request: web.Request) -> dict[str, Any]:
        return await read_json(request)

    async def refuse(_request: web.Request) -> Any:
        raise Refused("Not today. Come back tomorrow.", code="TODAY", status=409, errors=[{"msg": "no"}])

    async def fail(_request: web.Request) -> Any:
        raise RuntimeError("a secret path")

    table = web.RouteTableDef()
    add_to(table)
    for path, handler in {"/echo": echo, "/refuse": refuse, "/fail": fail}.items():
        table.post(path)(answered(handler))
    app = web.Application()
    app.add_routes(table)
    async with TestClient(TestServer(app)) as opened:
        yield opened


async def test_the_plugin_has_the_platforms_version(client: Client) -> None:
    answer = await client.get("/runflow/info")
    assert (answer.status, await answer.json()) == (200, {"version": __version__})
    assert __version__ == VERSION


async def test_a_refusal_is_an_envelope(client: Client) -> None:
    answer = await client.post("/refuse", json={})
    assert answer.status == 409
    assert await answer.json() == {
        "code": "TODAY",
        "message": "Not today. Come back tomorrow.",
        "errors": [{"msg": "no"}],
    }


async def test_a_fault_of_ours_tells_nothing_to_the_page(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    answer = await client.post("/fail", json={})
    assert (answer.status, (await answer.json())["code"]) == (500, "INTERNAL")
    assert "secret" not in await answer.text()
    assert "a secret path" in caplog.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://editor.example", "Host": "editor.example"}, 200),
        ({"Origin": "https://editor.example", "Host": "internal:8188", "Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_another_web_site_cannot_write(client: Client, headers: dict[str, str], status: int) -> None:
    answer = await client.post("/echo", json={"a": 1}, headers=headers)
    assert answer.status == status
    if status == 403:
        assert (await answer.json())["code"] == "OTHER_SITE"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json; charset=utf-8", 200),
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff", "application/json", 400),
    ],
)
async def test_a_body_is_a_json_object(client: Client, body: bytes, kind: str, status: int) -> None:
    answer = await client.post("/echo", data=body, headers={"Content-Type": kind})
    assert answer.status == status
    assert json.loads(await answer.text()) is not None
