"""Another origin's page in a browser that knows ComfyUI's password: it gets nothing and changes nothing."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.browser.security import LOGIN, PASSWORD, queue, switch_on
from tests.support.editor import Editor
from tests.support.editor_fixtures import NEWEST, OpenPage, StartEditor
from tests.support.oldest_comfyui import OLDEST

pytestmark = pytest.mark.browser

ATTACK = """async ([url, prompt]) => {
    const tell = (name, promise) => promise.then((value) => [name, value], (error) => [name, "refused"])
    const once = (target, good) => new Promise((resolve, reject) => {
        target[good] = () => resolve("done")
        target.onerror = () => reject()
    })
    const image = new Image()
    image.src = `${url}/view?filename=secret.png&type=input`
    const socket = new WebSocket(`${url.replace("http", "ws")}/ws?clientId=evil`)
    const frame = document.createElement("iframe")
    frame.name = "frame"
    document.body.append(frame)
    const form = document.createElement("form")
    Object.assign(form, {action: `${url}/prompt`, method: "post", enctype: "text/plain", target: "frame"})
    const [start, end] = prompt.split("SPLIT")
    form.append(Object.assign(document.createElement("input"), {name: start + "=", value: end}))
    document.body.append(form)
    const framed = new Promise((resolve) => { frame.onload = () => resolve("loaded") })
    form.submit()
    const options = {credentials: "include", headers: {"Content-Type": "text/plain"}}
    const json = {credentials: "include", headers: {"Content-Type": "application/json"}, body: "{}"}
    return Object.fromEntries(await Promise.all([
        tell("image", once(image, "onload")),
        tell("socket", once(socket, "onopen")),
        tell("form", framed),
        tell("blind", fetch(`${url}/prompt`, {...options, method: "POST", mode: "no-cors", body: prompt})),
        tell("read", fetch(`${url}/history`, {credentials: "include"})),
        tell("off", fetch(`${url}/runflow/security/password`, {...json, method: "DELETE"})),
        tell("on", fetch(`${url}/runflow/security/password`, {...json, method: "PUT"})),
    ]))
}"""


@pytest.fixture
async def evil_url() -> AsyncIterator[str]:
    """A web site of somebody else: another port of this machine."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>evil</title><body>evil", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield str(server.make_url("/"))
    await server.close()


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("arguments", [(), ("--enable-cors-header",)], ids=["default", "cors"])
async def test_another_sites_page_is_refused(
    own_editor: StartEditor,
    lend_editor: Callable[[str], Editor],
    open_page: OpenPage,
    evil_url: str,
    version: str,
    arguments: tuple[str, ...],
) -> None:
    if arguments:
        editor = own_editor(version, separate=True, as_clone=version == OLDEST, arguments=arguments)
    else:
        editor = lend_editor(version)
    (editor.base / "input/secret.png").write_bytes(PIXEL)
    switch_on(editor)
    page = await open_page(Login(editor))
    await page.page.goto(editor.url)  # without the password in the address: the browser has it now
    await page.until_ready()
    await queue(page)
    before = httpx.get(f"{editor.url}/history", auth=LOGIN, timeout=30).json()

    attacker = await page.page.context.new_page()
    answers: list[tuple[str, str, int]] = []
    attacker.on("response", lambda each: answers.append((each.request.method, each.url, each.status)))
    await attacker.goto(evil_url)
    prompt = {"extra_data": {"x": "SPLIT"}, "prompt": {"1": {"class_type": "PreviewAny", "inputs": {"source": "evil"}}}}
    outcome = await attacker.evaluate(ATTACK, [editor.url, json.dumps(prompt)])
    blind: Any = outcome.pop("blind")
    assert outcome == {
        "image": "refused",
        "socket": "refused",
        "form": "loaded",
        "read": "refused",
        "off": "refused",
        "on": "refused",
    }
    assert blind in ({}, "refused")
    statuses = {(method, url.removeprefix(editor.url)): status for method, url, status in answers if editor.url in url}
    assert statuses
    assert {status for (method, _), status in statuses.items() if method != "OPTIONS"} == {403}
    assert httpx.get(f"{editor.url}/history", auth=LOGIN, timeout=30).json() == before
    assert httpx.get(f"{editor.url}/queue", auth=LOGIN, timeout=30).json()["queue_pending"] == []
    assert httpx.get(f"{editor.url}/prompt", timeout=30).status_code == 401

    # A link leads to the editor all the same; ComfyUI itself refuses it to some sites.
    await attacker.set_content(f'<a href="{editor.url}/">editor</a>')
    async with attacker.expect_navigation():
        await attacker.click("a")
    assert "ComfyUI" in await attacker.title()


class Login(Editor):
    """An editor whose address carries the password, as a person may type it."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor

    @property
    def url(self) -> str:
        return self._editor.url.replace("http://", f"http://ann:{PASSWORD.replace(' ', '%20')}@")


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000000000200"
    "01e221bc330000000049454e44ae426082"
)
