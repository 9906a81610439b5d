"""What the person is told when a deployment cannot be, and that nothing went out before they agreed."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.connection import connection
from tests.browser.stranger import Stranger, answering
from tests.support.deploy_dialog import agree
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EditorPage
from tests.support.platform_fixtures import Platform, free_port, until

pytestmark = pytest.mark.browser

KEY = "rf_live_" + "x" * 36 + "ab12"


async def build(page: EditorPage, **widgets: Any) -> str:
    """A workflow without files, and a Deploy node. Returns the node's id."""
    await page.load({"nodes": [], "links": [], "version": 0.4})
    picture = await page.add("EmptyImage", 40, 40, width=16, height=16)
    output = await page.add("RunflowOutputImage", 400, 40)
    await page.connect(picture, 0, output, "value")
    return await page.add("RunflowDeploy", 40, 300, **{"endpoint_name": "Refused", **widgets})


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with answering() as made:
        yield made


async def test_without_a_key(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    deploy = await build(page)
    await page.press(deploy, "Deploy")
    text = await page.alert()
    assert text.startswith("Runflow: Unconfigured key or URL: no server is named, and none answers on this machine.")
    assert "Start one with `runflow up`, or fill in API URL in Settings > Runflow > Connection." in text
    await page.until_labelled(deploy, "Deploy")
    with connection(editor, "http://127.0.0.1:1", None):
        await page.press(deploy, "Deploy")
        assert "there is no API key for http://127.0.0.1:1." in await page.alert()


async def test_without_a_usable_name(newest_editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(newest_editor)
    with connection(newest_editor, "http://127.0.0.1:1", KEY):
        deploy = await build(page, endpoint_name="日本語 !!!")
        await page.press(deploy, "Deploy")
        assert "endpoint_name must be URL-safe" in await page.alert()


async def test_with_a_node_that_is_not_installed(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    with connection(editor, "http://127.0.0.1:1", KEY):
        await build(page)
        graph = await page.graph()
        graph["nodes"].append({"id": 99, "type": "NobodysNode", "pos": [40, 500], "size": [200, 100]})
        await page.load(graph)
        # ComfyUI's own notice about missing nodes lies over the canvas, where the mouse would press.
        deploy = "app.graph.nodes.find(({ type }) => type === 'RunflowDeploy')"
        await page.page.evaluate(f"void {deploy}.widgets.find(({{ type }}) => type === 'button').callback()")
        assert "this ComfyUI lacks the custom nodes of node 99 (NobodysNode). Install them" in await page.alert()


async def test_with_a_wrong_key(editor: Editor, open_page: OpenPage, platform: Platform) -> None:
    page = await open_page(editor)
    with connection(editor, platform.url, KEY):
        deploy = await build(page)
        await page.press(deploy, "Deploy")
        text = await page.alert()
        assert "lookup failed — UNAUTHORIZED: " in text
        assert "Make a new one there and save it in Settings" in text
        assert KEY not in text
        await page.until_labelled(deploy, "Deploy")


async def test_with_a_key_that_may_only_read(
    newest_editor: Editor, open_page: OpenPage, platform: Platform, platform_key: str
) -> None:
    with httpx.Client(base_url=platform.url, headers={"Authorization": f"Bearer {platform_key}"}, timeout=30) as client:
        made = client.post("/v1/api-keys", json={"name": "reader", "scopes": ["comfyui-workflows:read"]}).json()
    page = await open_page(newest_editor)
    with connection(newest_editor, platform.url, made["key"]):
        await page.press(await build(page), "Deploy")
        await agree(page)
        text = await page.alert()
        assert "deploy failed — PERMISSION_DENIED: " in text
        assert "comfyui-workflows:create" in text


async def test_while_the_server_is_down(newest_editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(newest_editor)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with connection(newest_editor, url, KEY):
        deploy = await build(page)
        await page.press(deploy, "Deploy")
        dialog = page.page.get_by_role("dialog", name="The server could not be reached")
        await expect(dialog).to_contain_text(f"lookup failed — {url} could not be reached: nothing listens there")
        await expect(dialog).to_contain_text("Is the server running?")
        await expect(dialog.get_by_role("button", name="Try again")).to_be_focused()
        await page.screenshot("unreachable")
        with answering(port) as stranger:
            await page.page.keyboard.press("Enter")
            assert "does not answer like a Runflow server" in await page.alert()
            assert [path.partition("?")[0] for path, _ in stranger.asked] == ["/v1/comfyui-workflows"]
        await page.press(deploy, "Deploy")
        await dialog.get_by_role("button", name="Close").click()
        await page.until_labelled(deploy, "Deploy")
        assert page.alerts == []


async def test_the_key_of_settings_goes_to_no_other_host(
    newest_editor: Editor, open_page: OpenPage, stranger: Stranger
) -> None:
    page = await open_page(newest_editor)
    with connection(newest_editor, "http://127.0.0.1:1", KEY):
        deploy = await build(page, host=stranger.url)
        await page.press(deploy, "Deploy")
        text = await page.alert()
        assert "your saved API key is for http://127.0.0.1:1, and goes to no other server" in text
        assert f"Paste a key of {stranger.url} into the node's field api_key." in text
        assert stranger.asked == []


async def test_the_pages_of_these_tests_may_speak_with_comfyui_alone(editor: Editor) -> None:
    policy = httpx.get(editor.url, timeout=30).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "connect-src 'self' data:;" in policy


async def test_a_second_press_stops_it_and_so_does_leaving_the_page(newest_editor: Editor, open_page: OpenPage) -> None:
    models = newest_editor.base / "models/upscale_models"
    models.mkdir(parents=True, exist_ok=True)
    with (models / "huge.safetensors").open("wb") as sparse:
        sparse.truncate(100 * 1024**3)
    try:
        page = await open_page(newest_editor)
        with connection(newest_editor, "http://127.0.0.1:1", KEY):
            deploy = await build(page)
            loader = await page.add("UpscaleModelLoader", 40, 500)
            sizer = await page.add("ImageUpscaleWithModel", 400, 500)
            await page.connect(loader, 0, sizer, "upscale_model")
            await page.connect((await page.find("EmptyImage"))[0], 0, sizer, "image")
            await page.connect(sizer, 0, (await page.find("RunflowOutputImage"))[0], "value")
            await page.press(deploy, "Deploy")
            hashing = "app.graph.nodes.some((node) => node.widgets?.some((one) => /huge.*[1-9] %/.test(one.label)))"
            await page.page.wait_for_function(hashing)
            await page.screenshot("hashing")
            await page.press(deploy)  # its label changes with every percent
            await page.toast("Nothing was published.")
            await page.until_labelled(deploy, "Deploy")
            assert page.alerts == []

            async with page.page.expect_response("**/runflow/deploy/jobs") as answered:
                await page.press(deploy, "Deploy")
            job = f"{newest_editor.url}/runflow/deploy/jobs/{(await (await answered.value).json())['id']}"
            await page.page.wait_for_function(hashing)
            await page.page.reload()
            await asyncio.to_thread(
                until, lambda: httpx.get(job, timeout=30).json()["state"] == "cancelled", "the end of the job"
            )
    finally:
        (models / "huge.safetensors").unlink()
