"""What a person is told about an address and a key, against a server of aiohttp that answers as a test wants."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugin.deploy.check import CREATE, EDIT, READ, Checked, check_address, check_key
from plugin.deploy.target import Target
from tests.support.platform_fixtures import free_port

KEY = "rf_live_x"


@contextlib.asynccontextmanager
async def answering(**answer: Any) -> AsyncIterator[str]:
    """A server that gives one answer to everything."""

    async def handle(_request: web.Request) -> web.Response:
        return web.json_response(**answer)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


def me(*scopes: str) -> dict[str, Any]:
    return {"id": "1", "organization": {"slug": "default"}, "api_key": {"scopes": list(scopes)}}


async def told(**answer: Any) -> tuple[Checked, str]:
    async with answering(**answer) as base:
        return await check_key(Target(base, base, KEY)), base


@pytest.mark.parametrize(
    ("scopes", "ok", "message"),
    [
        ((READ, CREATE, EDIT), True, "Connected: default, may deploy."),
        (
            (READ, CREATE),
            True,
            f"Connected: default, may deploy new endpoints. For new versions of one it lacks {EDIT}.",
        ),
        ((READ, EDIT), False, f"Connected: default, but this key may not deploy: it lacks {CREATE}. Make a key there"),
        ((), False, f"it lacks {READ} and {CREATE}."),
    ],
)
async def test_a_key_that_is_known(scopes: tuple[str, ...], ok: bool, message: str) -> None:
    checked, _ = await told(data=me(*scopes))
    assert checked.ok is ok
    assert message in checked.message


async def test_a_server_that_tells_no_scopes() -> None:
    checked, base = await told(data={"id": "1"})
    assert (checked.ok, checked.message) == (True, f"Connected: {base}.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {"status": 401, "data": {"code": "UNAUTHORIZED", "message": "No."}},
            "does not know this key, or it was revoked",
        ),
        ({"status": 401, "data": {}}, "There is no Runflow server at"),
        ({"status": 404, "data": {}}, "There is no Runflow server at"),
        ({"status": 302, "data": {}, "headers": {"Location": "/login"}}, "answers with a redirect to /login. Check"),
        (
            {"status": 308, "data": {}, "headers": {"Location": "https://127.0.0.1/v1/auth/me"}},
            "answers with a redirect to https://127.0.0.1/v1/auth/me. Did you mean https:// instead of http://?",
        ),
        ({"data": {"hello": "world"}}, "There is no Runflow server at"),
        ({"data": "text"}, "There is no Runflow server at"),
        ({"status": 503, "data": {"code": "UNAVAILABLE", "message": "Later."}}, "answers, but: UNAVAILABLE: Later."),
    ],
)
async def test_a_key_that_cannot_be_used(answer: dict[str, Any], message: str) -> None:
    checked, base = await told(**answer)
    assert not checked.ok
    assert message in checked.message
    assert base in checked.message
    assert KEY not in checked.message


async def test_an_address_where_nothing_listens() -> None:
    base = f"http://127.0.0.1:{free_port()}"
    expected = Checked(False, f"{base} could not be reached: nothing listens there. Is the server running?")
    assert await check_key(Target(base, base, KEY)) == expected
    assert await check_address(base) == expected


async def test_an_address_without_a_key() -> None:
    async with answering(data={"status": "ok", "ok": True, "version": "1"}) as base:
        assert await check_address(base) == Checked(False, f"Runflow answers at {base}. Paste an API key of it.")
    async with answering(data={"status": "ok"}) as base:
        assert "There is no Runflow server at" in (await check_address(base)).message
