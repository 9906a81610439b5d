"""The Local Playground from the button in the real editors to the result in its page."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.async_api import expect

from tests.browser.playground import Playground, build_picture_flow, save_picture
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EMPTY

pytestmark = pytest.mark.browser


async def test_fill_run_and_see(editor: Editor, open_page: OpenPage, tmp_path: Path) -> None:
    page = await open_page(editor)
    deploy = await build_picture_flow(page, "Invert It")
    assert await page.labels(deploy) == ["Deploy", "Local Playground", *(await page.labels(deploy))[2:]]
    before = await page.graph()
    play = await Playground.opened_by(page, deploy)
    assert play.page.url == f"{editor.url}/runflow/playground/invert-it"
    await expect(play.page.get_by_role("heading", name="Invert It")).to_be_visible()
    await expect(play.field("Photo")).to_contain_text("The picture to invert.")
    await play.shot("empty")

    await play.run()
    await expect(play.field("Photo").locator(".rf-problem")).to_have_text("Choose a picture.")
    await expect(play.field("Width").locator(".rf-problem")).to_have_text("Write an integer.")
    await expect(play.page.get_by_role("alert")).to_have_text("Please look at 2 fields.")
    await expect(play.page.get_by_label("Photo", exact=True)).to_be_focused()
    await play.shot("problems")

    (tmp_path / "otter.txt").write_text("no picture")
    await play.page.get_by_label("Photo", exact=True).set_input_files(tmp_path / "otter.txt")
    await expect(play.field("Photo").get_by_role("alert")).to_have_text("“otter.txt” is no picture. Choose a picture.")
    await play.choose("Photo", save_picture(tmp_path / "otter.png"))
    width = play.page.get_by_label("Width", exact=True)
    await width.press_sequentially("4,7")  # a browser's own number field makes 47 of it
    await play.run()
    await expect(play.field("Width").locator(".rf-problem")).to_have_text("Write an integer.")
    await width.fill("47")
    await width.press("ArrowUp")
    await play.page.get_by_label("Caption", exact=True).fill("two lines\nof text")
    await expect(play.field("Photo").locator("img")).to_be_visible()
    await play.run()
    await play.ended("Succeeded")
    picture = play.page.get_by_role("img", name="Inverted picture")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [48, 32]
    await play.shot("result", whole=True)

    source = await picture.get_attribute("src")
    assert source is not None
    (tmp_path / "result.png").write_bytes(httpx.get(source, timeout=30).content)
    with Image.open(tmp_path / "otter.png") as sent, Image.open(tmp_path / "result.png") as got:
        pixels = [np.asarray(each.convert("RGB").resize((12, 8)), dtype=int) for each in (sent, got)]
    assert abs(255 - pixels[0] - pixels[1]).mean() < 8

    await play.page.get_by_role("button", name="Inverted picture: full size").click()
    await expect(play.page.get_by_role("dialog", name="Inverted picture")).to_be_visible()
    await play.page.get_by_role("button", name="Every pixel").press("Enter")
    await play.is_accessible()
    await play.shot("full")
    await play.page.keyboard.press("Escape")

    await play.page.reload()
    await play.ended("Succeeded")
    await expect(play.page.get_by_role("img", name="Inverted picture")).to_be_visible()
    await expect(play.page.get_by_label("Width", exact=True)).to_have_value("48")
    assert (await page.graph())["links"] == before["links"]  # the live workflow keeps its test wire
    assert play.faults == []


async def test_a_change_is_told_without_another_click(every_editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(every_editor)
    await page.new_design()
    try:
        await page.load(EMPTY)
        given = await page.add("RunflowInputString", 40, 40, input_id="text", display_name="Text")
        shown = await page.add("PreviewAny", 460, 40)
        await page.connect(given, 0, shown, "source")
        play = await Playground.opened_by(page, await page.add("RunflowDeploy", 40, 400, endpoint_name="Told"))
        await page.page.bring_to_front()
        field = page.page.locator(f'[data-node-id="{given}"]').get_by_label("display_name")
        await field.focus()
        await field.press("End")
        await field.press("s")
        await expect(play.page.get_by_text("has changed since it was captured")).to_be_visible()
        await field.press("Backspace")
        await expect(play.page.get_by_text("has changed since it was captured")).to_be_hidden()
        assert play.faults == []
    finally:
        await page.new_design(False)
