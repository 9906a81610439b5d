"""Finding the server of this machine: where it answers, where nothing does, and where another program does."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugin.deploy.local_server import USUAL_URL, candidates, find_local
from tests.support.platform_fixtures import free_port

HEALTH = {"status": "ok", "ok": True, "version": "0.1.0"}


@contextlib.asynccontextmanager
async def answering(answer: Any, status: int = 200) -> AsyncIterator[str]:
    async def health(_request: web.Request) -> web.Response:
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_get("/v1/health", health)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def found(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RUNFLOW_URL", url)
    return await find_local()


async def test_a_server_that_answers_like_runflow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(HEALTH) as url:
        assert await found(f"{url}/", monkeypatch) == url
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        assert await found(url, monkeypatch) == url


@pytest.mark.parametrize(
    ("answer", "status"), [({"status": "ok"}, 200), ([], 200), (HEALTH, 503), ({**HEALTH, "ok": "yes"}, 200)]
)
async def test_another_program_at_the_address_is_not(answer: Any, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(answer, status) as url:
        assert await found(url, monkeypatch) == ""


async def test_nor_is_an_address_where_nothing_listens_or_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await found(f"http://127.0.0.1:{free_port()}", monkeypatch) == ""
    assert await found("nonsense", monkeypatch) == ""


async def test_the_home_tells_the_address_of_a_server_at_another_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RUNFLOW_URL", raising=False)
    monkeypatch.setenv("RUNFLOW_HOME", str(tmp_path))
    assert candidates() == [USUAL_URL]
    async with answering(HEALTH) as url:
        (tmp_path / "server.url").write_text(f"{url}\n")
        assert candidates() == [url, USUAL_URL]
        assert await find_local() == url
    (tmp_path / "server.url").write_text("file:///etc/passwd")
    assert candidates() == [USUAL_URL]
