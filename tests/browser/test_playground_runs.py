"""Runs of the playground: progress, several at once, cancel, failures, files, a restart, a stale capture, phones."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.playground import Playground, build_picture_flow, save_picture
from tests.browser.security import ACCOUNT, switch_on
from tests.support.editor import Editor
from tests.support.editor_fixtures import NEWEST, OpenPage
from tests.support.editor_page import EMPTY, EditorPage
from tests.support.platform_fixtures import until

pytestmark = pytest.mark.browser

ENDLESS = 20_000
"""Steps of a run that lasts until it is ended."""


@pytest.fixture
def slow_editor(separate_editors: Callable[[str], Editor]) -> Editor:
    """The newest ComfyUI with the test's own nodes."""
    return separate_editors(NEWEST)


async def build_slow_flow(page: EditorPage, name: str) -> str:
    await page.load(EMPTY)
    steps = await page.add("RunflowInputInt", 40, 40, input_id="steps", display_name="Steps")
    empty = await page.add("EmptyImage", 40, 400, width=256, height=160, color=0x2266CC)
    slow = await page.add("RunflowTestSlow", 500, 40)
    output = await page.add("RunflowOutputImage", 900, 40, output_id="picture")
    deploy = await page.add("RunflowDeploy", 500, 400, endpoint_name=name)
    await page.connect(empty, 0, slow, "image")
    await page.connect(steps, 0, slow, "steps")
    await page.connect(slow, 0, output, "value")
    return deploy


WIDE = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"


async def start(play: Playground, steps: int) -> None:
    await play.page.get_by_label("Steps", exact=True).fill(str(steps))
    await play.run()


async def test_several_runs_at_once_and_cancel_stops_only_one(slow_editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(slow_editor)
    play = await Playground.opened_by(page, await build_slow_flow(page, "Two at once"))
    run = play.page.locator("runflow-run")
    await start(play, ENDLESS)
    await expect(run.locator(".rf-status")).to_have_text("Running")
    await expect(run.locator(".rf-doing")).to_contain_text(re.compile(rf"\(node 3\), step \d+ of {ENDLESS}"))
    await expect(run.locator(".rf-doing")).to_contain_text("2 of 4 nodes done")
    await expect(run.get_by_role("img", name="Unfinished picture")).to_have_js_property("naturalWidth", 64)
    await start(play, 3)
    await expect(run.locator(".rf-status")).to_have_text("Waiting")
    await expect(run.locator(".rf-doing")).to_have_text("ComfyUI works on run 1 first.")
    await expect(play.page.get_by_role("tab")).to_have_count(2)
    await play.page.get_by_role("tab", name="Run 2").press("ArrowRight")
    await expect(play.page.get_by_role("tab", name="Run 1, Running")).to_be_focused()
    await play.shot("two")

    await start(play, 5)
    await expect(run.locator(".rf-status")).to_have_text("Waiting")
    await run.get_by_role("button", name="Cancel").click()
    await play.ended("Cancelled")
    await play.page.get_by_role("tab", name="Run 1, Running").click()
    await run.get_by_role("button", name="Cancel").press("Enter")
    await play.ended("Cancelled")
    await expect(run.locator(".rf-status")).to_be_focused()  # the button is gone, the keyboard's place is not
    await expect(run.locator(".rf-preview")).to_be_hidden()
    await expect(play.page.locator("#ended")).to_have_text("Run 2: Succeeded.")  # spoken, for it is not the one shown
    await play.page.get_by_role("tab", name="Run 2").click()
    await play.ended("Succeeded")
    await expect(run.get_by_role("img", name="picture")).to_be_visible()
    await play.page.get_by_label("Steps", exact=True).fill("7")
    await run.get_by_role("button", name="Use these inputs").click()
    await expect(play.page.get_by_label("Steps", exact=True)).to_have_value("3")
    empty: dict[str, Any] = {"queue_running": [], "queue_pending": []}
    await asyncio.to_thread(
        until, lambda: httpx.get(f"{slow_editor.url}/queue", timeout=30).json() == empty, "an empty queue"
    )
    assert play.faults == []


async def test_a_failing_node_is_named_with_its_field(slow_editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(slow_editor)
    play = await Playground.opened_by(page, await build_slow_flow(page, "Fails"))
    await start(play, -5)
    await play.ended("Failed")
    error = play.page.get_by_role("region", name="Error")
    await expect(error).to_contain_text("(RunflowTestSlow) raised ValueError: steps must be positive, not -5.")
    await expect(error).to_contain_text('Check the values: its "steps" comes from input "steps".')
    await expect(error).to_contain_text("steps (goes to “steps”)")
    await error.locator("summary").click()
    await expect(error.locator("pre")).to_contain_text("playground_nodes.py")
    await play.shot("failed", whole=True)
    await play.is_accessible()


async def test_a_refused_field_is_named(slow_editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(slow_editor)
    deploy = await build_slow_flow(page, "Refused")
    await page.set_widget((await page.find("EmptyImage"))[0], "width", 0)
    await page.page.evaluate("app.graph.nodes.find((n) => n.type === 'EmptyImage').widgets[0].value = 0")
    markup = "<img src=x onerror=alert(1)>" + "W" * 400
    await page.set_widget((await page.find("RunflowInputInt"))[0], "description", markup)
    play = await Playground.opened_by(page, deploy)
    await expect(play.field("Steps")).to_contain_text(markup)
    assert not await play.page.evaluate(WIDE)
    await start(play, 1)
    await play.ended("Failed")
    error = play.page.get_by_role("region", name="Error")
    await expect(error).to_contain_text('ComfyUI does not accept field "width" of node 2')
    await expect(error).to_contain_text("Repair it in the editor and capture the workflow again.")
    await expect(error.locator("dd").nth(1)).to_have_text("width")


async def test_every_kind_of_file(slow_editor: Editor, open_page: OpenPage, tmp_path: Path) -> None:
    page = await open_page(slow_editor)
    await page.load(EMPTY)
    for number, kind in enumerate(("mp4", "wav", "glb", "zip")):
        made = await page.add("RunflowTestMake", 400, 40 + 160 * number, kind=kind)
        output = await page.add("RunflowOutputFile", 800, 40 + 160 * number, output_id=kind, output_name=f"The {kind}")
        await page.connect(made, 0, output, "value")
    given = await page.add("RunflowInputFile", 40, 40, input_id="archive", display_name="Archive")
    await page.connect(given, 0, made, "copy_of")
    pictures = await page.add("EmptyImage", 40, 760, width=96, height=64, color=0x2266CC, batch_size=2)
    batch = await page.add("RunflowOutputImage", 400, 760, output_id="batch", output_name="Batch")
    await page.connect(pictures, 0, batch, "value")
    flag = await page.add("RunflowInputBoolean", 40, 300, input_id="flag", display_name="Flag", required=False)
    shown = await page.add("PreviewAny", 40, 560)
    await page.connect(flag, 0, shown, "source")
    deploy = await page.add("RunflowDeploy", 1200, 40, endpoint_name="Every kind")
    play = await Playground.opened_by(page, deploy)
    missed = "document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true }))"
    assert await play.page.evaluate(missed) is False  # a file that misses its field does not replace the page
    await play.drop("Archive", "my archive.zip", 1_024_000)
    await play.page.get_by_role("switch", name="Flag").check()
    await play.run()
    await play.ended("Succeeded")
    result = play.page.locator("runflow-run")
    video = result.locator("video")
    await expect(video).to_have_js_property("videoWidth", 160)
    await expect(result.locator("audio")).to_have_js_property("duration", 1)
    if await play.page.evaluate("() => Boolean(document.createElement('canvas').getContext('webgl2'))"):
        await result.locator("model-viewer").scroll_into_view_if_needed()
        await expect(result.locator("model-viewer")).to_have_js_property("modelIsVisible", True)
    else:
        await expect(result.locator("runflow-model")).to_contain_text("Download the file instead.")
    async with play.page.expect_download() as download:
        await result.get_by_role("link", name="Download made.zip").click()
    assert Path(await (await download.value).path()).read_bytes() == bytes(range(256)) * 4000
    await expect(result.get_by_role("img", name=re.compile("^Batch [12] of 2$"))).to_have_count(2)
    await play.is_accessible()
    await play.shot("kinds", whole=True)
    assert [fault for fault in play.faults if "WebGL" not in fault] == []


async def test_a_capture_and_its_runs_survive_a_restart_under_password_authentication(
    lend_editor: Callable[[str], Editor], open_page: OpenPage
) -> None:
    editor = lend_editor(NEWEST)
    switch_on(editor)
    page = await open_page(editor, http_credentials=ACCOUNT)
    play = await Playground.opened_by(page, await build_slow_flow(page, "Survivor"))
    assert httpx.get(play.page.url, timeout=30).status_code == 401
    await start(play, 2)
    await play.ended("Succeeded")
    await start(play, ENDLESS)
    await expect(play.page.locator("runflow-run .rf-status")).to_have_text("Running")
    assert editor.process is not None
    editor.process.kill()
    editor.process.wait()
    await expect(play.page.get_by_text("ComfyUI does not answer.")).to_be_visible()
    editor.start()
    await expect(play.page.get_by_text("ComfyUI does not answer.")).to_be_hidden()
    await play.ended("Failed")
    await expect(play.page.get_by_role("region", name="Error")).to_contain_text("ComfyUI was stopped before")
    await play.page.get_by_role("tab", name="Run 1").click()
    await expect(play.page.locator("runflow-run").get_by_role("img", name="picture")).to_be_visible()
    await start(play, 2)
    await play.ended("Succeeded")
    await expect(play.page.get_by_role("tab", name="Run 3")).to_be_visible()
    page.faults.clear()


async def test_the_capture_is_older_than_the_editor(newest_editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(newest_editor)
    await page.load(EMPTY)
    local = await page.add("PrimitiveInt", 40, 40, value=3)
    width = await page.add("RunflowInputInt", 400, 40, input_id="width")
    picture = await page.add("EmptyImage", 760, 40, height=64)
    output = await page.add("RunflowOutputImage", 1100, 40)
    deploy = await page.add("RunflowDeploy", 400, 400, endpoint_name="Grows old")
    await page.connect(local, 0, width, "value")
    await page.connect(width, 0, picture, "width")
    await page.connect(picture, 0, output, "value")
    play = await Playground.opened_by(page, deploy)
    stale = play.page.get_by_text("has changed since it was captured")
    changed = "app.extensionManager.workflow.activeWorkflow.changeTracker.checkState()"

    # A local test value is no part of what was captured.
    async with page.page.expect_response(lambda answer: answer.url.endswith("/runflow/playground/shown")):
        await page.set_widget(local, "value", 99)
        await page.page.evaluate(changed)
    await expect(stale).to_be_hidden()
    await page.set_widget(picture, "height", 80)
    await page.page.evaluate(changed)
    await expect(stale).to_be_visible()
    await play.page.get_by_label("width", exact=True).fill("32")
    await play.shot("stale")
    await play.page.get_by_role("button", name="Capture again").click()
    await expect(stale).to_be_hidden()
    await expect(play.page.get_by_label("width", exact=True)).to_have_value("32")
    await play.run()
    await play.ended("Succeeded")
    image = play.page.get_by_role("img", name="image_output", exact=True)
    await expect(image).to_have_js_property("naturalHeight", 80)

    # What was typed stays; a new input shows its default.
    prompt = await page.prompt()
    prompt["99"] = {"class_type": "RunflowInputInt", "inputs": {"input_id": "depth", "value": 7}}
    body = {"endpoint_name": "Grows old", "prompt": prompt, "graph": {}, "fingerprint": "other"}
    httpx.post(f"{newest_editor.url}/runflow/playground/captures", json=body, timeout=30).raise_for_status()
    await expect(play.page.get_by_label("depth", exact=True)).to_have_value("7")
    await expect(play.page.get_by_label("width", exact=True)).to_have_value("32")
    await page.page.goto("about:blank")
    await play.page.get_by_role("button", name="Capture again").click()
    await expect(play.page.get_by_text("No editor shows this workflow now.")).to_be_visible()

    await play.page.goto(f"{newest_editor.url}/runflow/playground/never-seen")
    await expect(play.page.get_by_role("alert")).to_contain_text("There is no captured workflow “never-seen”")
    await expect(play.page.get_by_role("link", name="Open the editor")).to_be_visible()
    await play.is_accessible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone(slow_editor: Editor, open_page: OpenPage, tmp_path: Path, scheme: Any) -> None:
    page = await open_page(slow_editor, color_scheme=scheme)
    play = await Playground.opened_by(page, await build_picture_flow(page, "Postcard from the sea"))
    await play.page.set_viewport_size({"width": 390, "height": 844})
    await play.shot("phone-form")
    await play.run()
    await play.is_accessible()
    await play.choose("Photo", save_picture(tmp_path / "a sea otter holding a smooth pebble.png", size=(1200, 800)))
    await play.page.get_by_label("Width", exact=True).fill("900")
    await play.page.get_by_label("Caption", exact=True).fill("Greetings")
    await play.run()
    await play.ended("Succeeded")
    await expect(play.page.locator("runflow-run .rf-picture")).to_have_js_property("naturalWidth", 900)
    assert not await play.page.evaluate(WIDE)
    await play.is_accessible()
    await play.shot("phone-result")
    await play.shot("phone-whole", whole=True)
    await play.page.set_viewport_size({"width": 1280, "height": 860})
    await play.shot("desktop")
