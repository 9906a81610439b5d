"""A ComfyUI of aiohttp alone behind the real guard, with its security file in a folder of the test's."""

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from plugin import comfyui
from plugin.routes import add_to
from plugin.security import middleware, scrypt
from plugin.security.authenticator import AUTHENTICATOR, Authenticator
from plugin.security.password_file import NAME, Account, PasswordFile
from plugin.security.scrypt import Hash

Client = TestClient[web.Request, web.Application]
PASSWORD = "correct horse battery"


def quick_hash(password: str) -> Hash:
    """A hash with parameters that cost nothing; real ones are slow on purpose."""
    value = hashlib.scrypt(password.encode(), salt=bytes(16), n=1024, r=8, p=1, dklen=32)
    return Hash(1024, 8, 1, bytes(16), value)


ANN = Account("ann", quick_hash(PASSWORD))


def login(username: str = "ann", password: str = PASSWORD) -> dict[str, str]:
    """The header of a request with these credentials."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.fixture
def authenticator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authenticator:
    """The authenticator of the test's ComfyUI; its password is off. Hashes cost little, and for it no time passes."""
    monkeypatch.setattr(scrypt, "N", 1024)
    monkeypatch.setattr(scrypt, "P", 1)
    made = Authenticator(PasswordFile(tmp_path / NAME), clock=lambda: 1000.0)
    monkeypatch.setattr(comfyui, "allowed_origin", lambda: None)
    monkeypatch.setattr(comfyui, "listening", lambda: (["0.0.0.0"], 8188, False))
    return made


@pytest.fixture
async def client(authenticator: Authenticator) -> AsyncIterator[Client]:
    """A client of that ComfyUI: a page, a file, a writing route, a websocket, and the plugin's own routes."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="the editor")

    async def queue(request: web.Request) -> web.Response:
        return web.json_response(await request.json())

    async def socket(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        await opened.send_json({"type": "status"})
        await opened.close()
        return opened

    table = web.RouteTableDef()
    add_to(table)
    table.get("/")(page)
    table.post("/prompt")(queue)
    table.get("/ws")(socket)
    app: Any = web.Application(middlewares=[middleware.ask_for_password])
    app[AUTHENTICATOR] = authenticator
    app.add_routes(table)
    async with TestClient(TestServer(app)) as opened:
        yield opened


@pytest.fixture
def switched_on(authenticator: Authenticator) -> Authenticator:
    """The same with ann's password."""
    authenticator.file.write(ANN)
    authenticator.look()
    return authenticator
