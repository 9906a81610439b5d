"""The panel that stays on the Deploy node: what was deployed, how to call it, and what to look at."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Locator, expect

from tests.browser.connection import connection
from tests.support.deploy_dialog import agree, press_deploy
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EMPTY, EditorPage
from tests.support.platform_fixtures import Platform

pytestmark = pytest.mark.browser


@pytest.fixture
async def page(
    every_editor: Editor, open_page: OpenPage, platform: Platform, platform_key: str
) -> AsyncIterator[EditorPage]:
    """An open page of each editor, connected; afterwards the canvas draws the nodes again."""
    with connection(every_editor, platform.url, platform_key):
        opened = await open_page(every_editor, permissions=["clipboard-read", "clipboard-write"])
        yield opened
        await opened.new_design(False)


async def build(page: EditorPage, name: str, *, second_output: str = "preview") -> str:
    """A workflow with two inputs, two outputs and a Deploy node. One name for both outputs is warned of."""
    await page.load(EMPTY)
    photo = await page.add("RunflowInputImage", 40, 40, input_id="photo", description="The picture to blend")
    strength = await page.add(
        "RunflowInputFloat", 40, 330, input_id="strength", required=False, default_value="0.5", min="0", max="1"
    )
    other = await page.add("EmptyImage", 40, 620, width=64, height=64, color=0x3366FF)
    blend = await page.add("ImageBlend", 380, 40)
    first = await page.add("RunflowOutputImage", 720, 40, output_id="blended")
    second = await page.add("RunflowOutputImage", 720, 220, output_id=second_output)
    await page.connect(photo, 0, blend, "image1")
    await page.connect(other, 0, blend, "image2")
    await page.connect(strength, 0, blend, "blend_factor")
    await page.connect(blend, 0, first, "value")
    await page.connect(blend, 0, second, "value")
    return await page.add("RunflowDeploy", 380, 420, endpoint_name=name)


async def size_of_deploy(page: EditorPage) -> list[float]:
    """The size of the Deploy node as the workflow's file would have it."""
    (size,) = [node["size"] for node in (await page.graph())["nodes"] if node["type"] == "RunflowDeploy"]
    return list(size)


async def deployed(page: EditorPage, deploy: str) -> Locator:
    """Deploy, and return the panel."""
    await press_deploy(page, deploy)
    await agree(page)
    await page.toast("Deployed ✓")
    await page.until_labelled(deploy, "Deploy")
    return page.page.get_by_role("region", name="Deployed: ")


async def test_the_summary_says_what_the_endpoint_will_be_and_the_panel_what_it_is(
    page: EditorPage, every_editor: Editor, platform: Platform, platform_key: str
) -> None:
    slug = f"panel-{every_editor.port}"
    deploy = await build(page, slug, second_output="blended")
    before = await size_of_deploy(page)
    await press_deploy(page, deploy)
    summary = page.page.get_by_role("dialog", name="Deploy “")
    await expect(summary).to_contain_text(f"as {slug}: a new endpoint.")
    await expect(summary).to_contain_text("Inputs (2)photo: image, required")
    await expect(summary).to_contain_text("strength: float, optional, default 0.5, 0 to 1")
    await expect(summary).to_contain_text("Outputs (2)blended: image")
    await page.screenshot("summary")
    found = await Axe().run(page.page, context=".runflow-dialog")
    assert found.violations_count == 0, found.generate_report()
    await page.page.keyboard.press("Escape")
    await page.until_labelled(deploy, "Deploy")

    panel = await deployed(page, deploy)
    url = f"{platform.url}/v1/comfyui-workflows/default/{slug}"
    await expect(panel).to_have_accessible_name(f"Deployed: default/{slug}, version 1")
    await expect(panel).to_contain_text(f"POST {url}/runs")
    await expect(panel).to_contain_text('"photo": "https://your-site.example/photo.png"')
    await expect(panel).to_contain_text('"strength": 0.5')
    await expect(panel).to_contain_text("Warnings (1)")
    link = panel.get_by_role("link", name="The endpoint's page")
    await expect(link).to_have_attribute(
        "href", f"{platform.url}/docs?url=/v1/comfyui-workflows/default/{slug}/openapi.json"
    )
    await page.screenshot("panel")
    await panel.get_by_role("button", name="Copy address").click()
    await expect(panel.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.page.evaluate("navigator.clipboard.readText()") == f"{url}/runs"
    found = await Axe().run(page.page, context=".runflow-deployed")
    assert found.violations_count == 0, found.generate_report()

    # By the keyboard alone.
    await panel.focus()
    await page.page.keyboard.press("Tab")
    await expect(panel.get_by_role("button", name="Hide this")).to_be_focused()
    for _ in range(2):
        await page.page.keyboard.press("Tab")
    await page.page.keyboard.press("Enter")
    await expect(panel.get_by_role("button", name="Copied")).to_have_count(1)
    copied = await page.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl '{url}/runs?wait=60'")
    assert '-H "Authorization: Bearer $RUNFLOW_API_KEY"' in copied

    # Neither the workflow nor what the tab keeps holds a key; the workflow knows nothing of the panel.
    assert "/runs" not in json.dumps(await page.graph())
    assert await size_of_deploy(page) == before
    kept = await page.page.evaluate("JSON.stringify({ ...sessionStorage }) + document.body.innerHTML")
    assert f"Deployed: default/{slug}" in kept
    assert platform_key not in kept


async def test_the_panel_stays_until_it_is_hidden(page: EditorPage, every_editor: Editor) -> None:
    deploy = await build(page, f"stays-{every_editor.port}")
    panel = await deployed(page, deploy)
    await expect(panel).to_contain_text("version 1")
    graph = await page.graph()

    await press_deploy(page, deploy)
    summary = page.page.get_by_role("dialog", name="Deploy “")
    await expect(summary).to_contain_text(
        f"version 2 of default/stays-{every_editor.port}, unless nothing has changed."
    )
    await agree(page)
    await expect(panel).to_contain_text("Nothing has changed since that version, so no new one was made.")
    await page.screenshot("unchanged")

    # As another tab, a step back and a reload of the page do it.
    await page.load(graph)
    await expect(panel).to_be_visible()
    await page.page.reload()
    await page.until_ready()
    await page.load(graph)
    await expect(panel).to_contain_text("version 1")
    await page.page.set_viewport_size({"width": 420, "height": 800})
    await page.page.evaluate("() => { app.canvas.ds.scale = 0.9; app.canvas.centerOnNode(app.graph.nodes.at(-1)) }")
    await expect(panel).to_be_in_viewport()
    await page.screenshot("narrow")
    await page.page.set_viewport_size({"width": 1280, "height": 800})

    height = (await page.graph())["nodes"][-1]["size"][1]
    await panel.get_by_role("button", name="Hide this").press("Enter")
    await expect(panel).to_have_count(0)
    assert (await page.graph())["nodes"][-1]["size"][1] == height
    await page.load(graph)
    await expect(panel).to_have_count(0)


async def test_the_panel_in_the_newer_nodes(page: EditorPage, every_editor: Editor) -> None:
    await page.new_design()
    deploy = await build(page, f"newer-{every_editor.port}", second_output="blended")
    await press_deploy(page, deploy)
    size = await size_of_deploy(page)
    await agree(page)
    panel = page.page.get_by_role("region", name="Deployed: ")
    await expect(panel).to_contain_text("version 1")
    assert await panel.evaluate("panel => panel.offsetHeight") <= 260
    assert await panel.evaluate("panel => panel.scrollHeight > panel.clientHeight")
    await page.until_labelled(deploy, "Deploy")
    assert await size_of_deploy(page) == size
    await panel.get_by_role("button", name="Copy command").click()
    await expect(panel.get_by_role("button", name="Copied")).to_be_visible()
    await page.screenshot("newer")
    await panel.get_by_role("button", name="Hide this").click()
    await expect(panel).to_have_count(0)
    assert await size_of_deploy(page) == size


async def test_what_no_worker_can_run_is_not_plainly_deployed(
    page: EditorPage, every_editor: Editor, platform: Platform, platform_key: str
) -> None:
    slug = f"unable-{every_editor.port}"
    deploy = await build(page, slug)
    panel = await deployed(page, deploy)
    await expect(panel).to_contain_text("Deployed ✓")
    async with httpx.AsyncClient(base_url=platform.url, headers={"Authorization": f"Bearer {platform_key}"}) as api:
        (found,) = (await api.get("/v1/comfyui-workflows", params={"q": f"slug:{slug}"})).json()["items"]
        await api.patch(f"/v1/comfyui-workflows/{found['id']}", json={"worker_labels": {"rack": "nowhere"}})
    await press_deploy(page, deploy)
    await agree(page)
    await page.toast("Deployed, but no worker can run it yet")
    await expect(panel).to_contain_text("Deployed, but no worker can run it yet")
    await expect(panel).to_contain_text("lacks the label rack=nowhere")
