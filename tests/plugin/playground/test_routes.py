"""With --multi-user each of ComfyUI's users has captures and runs of their own."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from plugin import comfyui
from plugin.answers import answered
from plugin.playground import routes

Client = TestClient[web.Request, web.Application]


class Users:
    """ComfyUI's user manager with --multi-user, as far as it is asked here."""

    def get_request_user_id(self, request: Any) -> str:
        user = request.headers.get("comfy-user", "default")
        if user not in ("ann_1", "bob_2"):
            raise KeyError(f"Unknown user: {user}")
        return str(user)


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    folder_paths = ModuleType("folder_paths")
    folder_paths.get_user_directory = lambda: str(tmp_path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "folder_paths", folder_paths)
    monkeypatch.setattr(comfyui, "server", lambda: SimpleNamespace(user_manager=Users()))
    routes._playground.cache_clear()
    app = web.Application()
    app.router.add_post("/captures", answered(routes.capture))
    app.router.add_get("/captures/{slug}", answered(routes.describe))
    async with TestClient(TestServer(app)) as client:
        yield client
    routes._playground.cache_clear()


async def test_a_capture_belongs_to_its_user(client: Client, prompt: dict[str, Any], graph: dict[str, Any]) -> None:
    body = {"endpoint_name": "Flow", "prompt": prompt, "graph": graph, "fingerprint": "1"}
    assert (await client.post("/captures", json=body, headers={"comfy-user": "ann_1"})).status == 200
    answers = {user: await client.get(f"/captures/flow?user={user}") for user in ("ann_1", "bob_2", "eve", "__runflow")}
    assert {user: answer.status for user, answer in answers.items()} == {
        "ann_1": 200,
        "bob_2": 404,
        "eve": 403,
        "__runflow": 403,
    }
    nobody = await client.post("/captures", json=body)
    assert (nobody.status, (await nobody.json())["code"]) == (403, "USER_UNKNOWN")
