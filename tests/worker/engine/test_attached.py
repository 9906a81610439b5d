"""An engine of somebody else: what is checked without one, and the rest on a real ComfyUI behind a password."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from runflow.worker.engine.attached import AttachedEngine, checked_url, credential_headers
from runflow.worker.engine.base import Ability, EngineError, EngineRefused, EngineUnreachable, FileMissing, OutputRef
from runflow.worker.engine.execution import Outcome
from runflow.worker.engine.owned import OwnedEngine
from tests.worker.engine.prompts import new_id, node, text

USER = {"RUNFLOW_COMFYUI_USERNAME": "ann", "RUNFLOW_COMFYUI_PASSWORD": "s3cret"}


def test_credentials_come_from_the_environment() -> None:
    assert credential_headers({}) == {}
    assert credential_headers({"RUNFLOW_COMFYUI_TOKEN": "t"}) == {"Authorization": "Bearer t"}
    basic = credential_headers(USER)["Authorization"]
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"ann:s3cret"


@pytest.mark.parametrize("url", ["localhost:8188", "ftp://x", "", "http://", "http://gpu:99999"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(EngineError, match="http://127"):
        checked_url(url)


def test_credentials_in_the_address_are_refused_without_repeating_them() -> None:
    with pytest.raises(EngineError, match="RUNFLOW_COMFYUI_USERNAME") as refused:
        checked_url("http://ann:s3cret@gpu:8188")
    assert "s3cret" not in str(refused.value)


def test_an_address_may_have_a_path() -> None:
    assert checked_url("https://gpu/comfy/") == "https://gpu/comfy"


async def test_nobody_there_is_said_plainly() -> None:
    with pytest.raises(EngineUnreachable, match="does not answer"):
        await AttachedEngine("http://127.0.0.1:9").start()


@pytest.fixture
async def guarded_url(comfyui_engine: OwnedEngine) -> AsyncIterator[str]:
    """The real ComfyUI behind a proxy that wants a password, under a path."""
    expected = credential_headers(USER)["Authorization"]
    session = aiohttp.ClientSession(auto_decompress=False)

    async def forward(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != expected:
            raise web.HTTPUnauthorized
        path = request.path_qs.removeprefix("/comfy")
        if path.startswith("/ws"):
            return await forward_socket(request, path)
        headers = {"Content-Type": request.headers.get("Content-Type", "")}
        target = f"{comfyui_engine.url}{path}"
        async with session.request(request.method, target, data=await request.read(), headers=headers) as response:
            return web.Response(
                body=await response.read(), status=response.status, headers={"Content-Type": response.content_type}
            )

    async def forward_socket(request: web.Request, path: str) -> web.StreamResponse:
        ours = web.WebSocketResponse()
        await ours.prepare(request)
        async with session.ws_connect(comfyui_engine.url + path) as theirs:
            async for message in theirs:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await ours.send_str(message.data)
        return ours

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/comfy"
    await session.close()
    await runner.cleanup()


@pytest.mark.e2e
async def test_a_run_through_upload_and_view_behind_a_password(guarded_url: str, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "in.png")
    engine = AttachedEngine(guarded_url, headers=credential_headers(USER))
    description = await engine.start()
    assert description.plugin
    assert Ability.KILL not in description.abilities
    assert Ability.LOCAL_FILES not in description.abilities
    name = await engine.place_input("runs/att", "in.png", tmp_path / "in.png")
    assert name == "runs/att/in.png"
    prompt = {
        "1": node("LoadImage", image=name),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="runs/att/out"),
    }
    execution = await engine.execute(prompt, new_id())
    assert execution.outcome is Outcome.SUCCEEDED
    (file,) = execution.outputs["3"]["images"]
    reference = OutputRef(file["filename"], file["subfolder"], file["type"])
    with await engine.open_output(reference, tmp_path / "staging/out.png") as opened, opened.reader() as reader:
        image = Image.open(reader)
        assert image.getpixel((0, 0)) == (0, 255, 255)
    with pytest.raises(FileMissing):
        await engine.open_output(OutputRef("nope.png", "runs/att"), tmp_path / "nope.png")
    await engine.stop()
    with pytest.raises(EngineError, match="not connected"):
        await engine.execute(text("gone"), new_id())


@pytest.mark.e2e
async def test_wrong_credentials_are_named(guarded_url: str) -> None:
    with pytest.raises(EngineRefused, match="Check the credentials") as refused:
        await AttachedEngine(guarded_url, headers={"Authorization": "Bearer wrong-token"}).start()
    assert "wrong-token" not in str(refused.value)
