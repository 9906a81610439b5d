"""The password inside real ComfyUIs, 0.16.3 and 0.30.0: every route that the server has, its websocket, its workers."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from tests.plugin.security.conftest import PASSWORD, login
from tests.support.editor import Editor, copy_comfyui
from tests.support.editor_fixtures import NEWEST
from tests.support.oldest_comfyui import OLDEST

pytestmark = pytest.mark.e2e

LIST_ROUTES = """
import json, os
from pathlib import Path
from server import PromptServer

NODE_CLASS_MAPPINGS = {}

async def write(app):
    routes = [(route.method, route.resource.canonical) for route in app.router.routes() if route.resource]
    Path(__file__).with_name("routes.json").write_text(json.dumps(routes))

PromptServer.instance.app.on_startup.append(write)
"""
"""A custom node that writes down what the server serves once all is added."""


@pytest.fixture(scope="module", params=[OLDEST, NEWEST])
def editor(
    comfyui_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Editor]:
    """A ComfyUI of each version with a folder of its own, which was started with the password on."""
    folder = tmp_path_factory.mktemp("guarded")
    comfyui = copy_comfyui(comfyui_dirs[request.param], folder / "comfyui")
    made = Editor(comfyui, folder / "base", as_clone=request.param == OLDEST)
    (made.base / "custom_nodes/list_routes.py").write_text(LIST_ROUTES)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def guarded(editor: Editor) -> Iterator[Editor]:
    """The same with the password switched on by its route."""
    account = {"username": "ann", "password": PASSWORD}
    httpx.put(f"{editor.url}/runflow/security/password", json=account, timeout=60).raise_for_status()
    yield editor
    file = editor.comfyui / "runflow_security.json"
    file.unlink(missing_ok=True)
    wait_for(editor, 200)


def wait_for(editor: Editor, status: int) -> httpx.Response:
    """Wait until the server has seen a change of its file, which it looks at once a second."""
    deadline = time.monotonic() + 60
    while (answer := httpx.get(f"{editor.url}/prompt", timeout=30)).status_code != status:
        assert time.monotonic() < deadline, f"still {answer.status_code}"
        time.sleep(0.05)
    return answer


def test_every_route_asks(guarded: Editor) -> None:
    routes = json.loads((guarded.base / "custom_nodes/routes.json").read_text())
    paths = {path for _, path in routes}
    assert {"/ws", "/prompt", "/api/prompt", "/runflow/info", "/runflow/playground/{slug}", "/userdata"} <= paths
    assert any("/extensions/" in path for path in paths)
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        open_ones = []
        for method, path in routes:
            if method == "OPTIONS":
                continue
            method = "GET" if method == "*" else method
            answer = client.request(method, path.replace("{", "").replace("}", "").replace(":.*", ""))
            if answer.status_code != 401 or "ComfyUI" not in answer.headers.get("WWW-Authenticate", ""):
                open_ones.append((method, path, answer.status_code))
        assert open_ones == []
        assert len(routes) > 150
        plugin = "/extensions/ComfyUI-Runflow/security.js"
        for path in (plugin, "/", "/index.html", "/nothing/here", "/view?filename=x", "/api/nothing"):
            assert client.get(path).status_code == 401
        # The body of a stranger is not waited for.
        assert client.post("/upload/image", content=b"x" * 5_000_000).status_code == 401
        # A preflight is ComfyUI's own to answer; it changes nothing and allows no other site.
        preflight = client.options("/prompt", headers={"Origin": guarded.url, "Access-Control-Request-Method": "POST"})
        assert preflight.status_code == 200
        assert "Access-Control-Allow-Origin" not in preflight.headers
        client.auth = ("ann", PASSWORD)
        assert client.get(plugin).status_code == 200
        assert client.get("/").headers["X-Frame-Options"] == "SAMEORIGIN"
        assert client.get("/runflow/security").json()["username"] == "ann"
        assert PASSWORD not in client.get("/runflow/security").text + client.get("/settings").text
    assert PASSWORD not in guarded.log()


async def test_the_websocket_asks(guarded: Editor) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/ws", "/api/ws"):
            for headers in ({}, login(password="wrong")):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(guarded.url + path, headers=headers)
                assert refused.value.status == 401
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                headers = {**login(), "Origin": "http://evil.example"}
                await session.ws_connect(guarded.url + path, headers=headers)
            assert refused.value.status == 403
        socket: Any
        async with session.ws_connect(guarded.url + "/ws", headers=login()) as socket:
            assert (await socket.receive_json())["type"] == "status"


async def test_open_websockets_end_when_the_password_changes(guarded: Editor) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(guarded.url + "/ws", headers=login()) as socket:
        await socket.receive_json()
        body = {"username": "ann", "password": "another password", "current_password": PASSWORD}
        url = f"{guarded.url}/runflow/security/password"
        async with session.put(url, json=body, headers=login()) as answer:
            assert answer.status == 200
        async with asyncio.timeout(60):
            while not socket.closed:
                await socket.receive()
        async with session.get(guarded.url, headers=login()) as answer:
            assert answer.status == 401


def test_a_damaged_file_closes_and_its_removal_opens(guarded: Editor) -> None:
    file = guarded.comfyui / "runflow_security.json"
    file.write_text("{")
    answer = wait_for(guarded, 503)
    assert "runflow_security.json" in answer.json()["message"]
    assert httpx.get(guarded.url, auth=("ann", PASSWORD), timeout=30).status_code == 503
    assert f"{file} is damaged" in guarded.log()
    file.unlink()
    wait_for(guarded, 200)
