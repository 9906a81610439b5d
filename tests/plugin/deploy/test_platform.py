"""The requests of a deployment, against a server of aiohttp that answers as a test wants."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugin.deploy.model_upload import LocalModel, send_model
from plugin.deploy.platform import DeployFailed, Platform, explain
from plugin.deploy.target import Target
from plugin.manifest.resources import InputFile
from tests.support.catalogue import write
from tests.support.platform_fixtures import free_port

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def platform(answer: Answer) -> AsyncIterator[Platform]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")
        async with Platform(Target(base, base, "rf_live_x")) as opened:
            yield opened


def says(status: int, **options: Any) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, **options) if options else web.json_response({}, status=status)

    return answer


async def test_a_file_goes_to_the_named_place_without_the_key(tmp_path: Path) -> None:
    seen: list[tuple[str, str, str | None, str | None, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append(
            (
                request.method,
                request.path,
                headers.get("Authorization"),
                headers.get("Content-Type"),
                await request.read(),
            )
        )
        if request.path.endswith("/asset-uploads"):
            return web.json_response(
                {"asset_id": "a/1", "upload_url": str(request.url.origin()) + "/put?sig=1"}, status=201
            )
        return web.json_response({"url": "https://signed"}, status=201 if request.method == "POST" else 200)

    content = b"\x00picture" * 100_000
    file = InputFile("sub/p.png", write(tmp_path / "p.png", content), len(content), "image/png")
    async with platform(answer) as opened:
        assert await opened.upload(file) == {"asset_id": "a/1", "url": "https://signed"}
    start, put, confirm = seen
    assert start[:4] == ("POST", "/v1/asset-uploads", "Bearer rf_live_x", "application/json")
    assert put == ("PUT", "/put", None, "image/png", content)
    assert confirm[:2] == ("POST", "/v1/asset-uploads/a/1/confirmations")


@pytest.mark.parametrize("secret", ["/put?sig=SECRET", "/SECRET"])
async def test_a_place_for_files_that_cannot_be_reached_is_named(tmp_path: Path, secret: str) -> None:
    storage = f"http://127.0.0.1:{free_port()}"

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"asset_id": "a", "upload_url": storage + secret}, status=201)

    file = InputFile("p.png", write(tmp_path / "p.png", b"p"), 1, "image/png")
    async with platform(answer) as opened:
        with pytest.raises(DeployFailed) as raised:
            await opened.upload(file)
        assert raised.value.unreachable
        assert f"{storage}, where the server has files sent to, could not be reached: nothing listens there" in str(
            raised.value
        )
        assert "SECRET" not in str(raised.value)
        file.place.unlink()
        with pytest.raises(DeployFailed, match=r"p\.png cannot be read: No such file") as raised:
            await opened.upload(file)
        assert not raised.value.unreachable


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(302, headers={"Location": "https://elsewhere/login"}), "redirect to https://elsewhere/login"),
        (says(200, text="<html>"), "does not answer with JSON"),
        (says(200, text="[]", content_type="application/json"), "does not answer like a Runflow server"),
        (says(401), "lookup failed — HTTP 401"),
        (says(403), "Give the key the scopes comfyui-workflows:read"),
        (says(404, text="404: Not Found"), "does not answer like a Runflow server (HTTP 404: 404: Not Found)."),
        (says(405, text=""), "Check API URL in Settings"),
        (says(404, text='{"code": "NOT_FOUND", "message": "Gone."}'), "lookup failed — NOT_FOUND: Gone."),
        (says(502, text="Bad gateway"), "HTTP 502: Bad gateway"),
    ],
)
async def test_a_lookup_that_fails(answer: Answer, said: str) -> None:
    async with platform(answer) as opened:
        with pytest.raises(DeployFailed) as raised:
            await opened.find("x")
    assert said in str(raised.value)


async def test_a_redirect_does_not_take_the_key_along() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/stolen"})

    async with platform(answer) as opened:
        with pytest.raises(DeployFailed):
            await opened.save(None, "x", {})
        assert await opened.has_asset("1") is False
        await opened.drop_asset("1")
    assert "/stolen" not in asked


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            b'{"code": "VALIDATION_ERROR", "message": "No.", "errors": [{"loc": ["body", "x"], "msg": "long"}, {}]}',
            "VALIDATION_ERROR: No. (body.x: long)",
        ),
        (
            b'{"code": "X", "message": "No.", "errors": [{"loc": "header.authorization", "msg": "m"}]}',
            "X: No. (header.authorization: m)",
        ),
        (b'{"message": "No.", "errors": [{"msg": "m"}]}', "HTTP 418: No. (m)"),
        (b'{"code": "X", "message": "No.", "errors": "odd"}', "X: No."),
        (b'{"error": "old style"}', 'HTTP 418: {"error": "old style"}'),
        (b"", "HTTP 418"),
        (b"<html>no</html>", "HTTP 418"),
        (b"\xff\xfe", "HTTP 418: \ufffd\ufffd"),
    ],
)
def test_a_refusal_in_the_servers_words(content: bytes, text: str) -> None:
    assert explain(418, content) == text


async def test_only_an_answer_tells_that_nothing_came_of_it() -> None:
    for status, refused in ((422, True), (403, True), (500, False), (302, False)):
        async with platform(says(status)) as opened:
            with pytest.raises(DeployFailed) as raised:
                await opened.save(None, "x", {})
        assert raised.value.refused is refused
    nobody = Target("http://127.0.0.1:1", "http://127.0.0.1:1", "rf_live_x")
    async with Platform(nobody) as opened:
        with pytest.raises(DeployFailed, match="Is the server running") as raised:
            await opened.save({"id": "1"}, "x", {})
    assert raised.value.refused is False


async def test_a_model_that_is_being_put_together_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin.deploy.model_upload._LONGEST_PAUSE", 0.01)
    place = write(tmp_path / "m.safetensors", b"model")
    tries = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal tries
        if not request.path.endswith("/confirmations"):
            return web.json_response({"id": "u", "offset": 5, "chunk_bytes": 16}, status=201)
        tries += 1
        if tries < 12:
            return web.json_response({"code": "CONFLICT", "message": "Being put together."}, status=409)
        return web.json_response({"id": "m"}, status=201)

    async with platform(answer) as opened:
        await send_model(opened, LocalModel("loras/m.safetensors", place, 5, "0" * 64), lambda _done, _total: None)
    assert tries == 12
