"""Defaults, limits and choices of inputs: in workflows from before them, and in the playground's form."""

from typing import Any

import pytest
from playwright.async_api import expect

from runflow.graph import read_interface, scrub_prompt
from tests.browser.playground import Playground
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EMPTY, EditorPage

pytestmark = pytest.mark.browser


async def test_workflows_from_before_them_load_as_they_were(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    nodes, links, before = [], [], {}
    kinds = {"String": "STRING", "Int": "INT", "Float": "FLOAT", "Boolean": "BOOLEAN"}
    for at, (kind, of) in enumerate(kinds.items(), 1):
        source, given = {"id": at + 10, "type": f"Primitive{kind}"}, {"id": at, "type": f"RunflowInput{kind}"}
        value: Any = {"STRING": "x", "BOOLEAN": True}.get(of, at)
        nodes.append(source | {"outputs": [{"name": of, "type": of, "links": [at]}], "widgets_values": [value]})
        nodes.append(
            given
            | {
                "inputs": [{"name": "value", "type": of, "link": at}],
                "outputs": [{"name": "value", "type": of, "links": []}],
                "widgets_values": [f"in{at}", f"Label {at}", f"About {at}", at % 2 == 0],
            }
        )
        links.append([at, at + 10, 0, at, 0, of])
        widgets = {"input_id": f"in{at}", "display_name": f"Label {at}", "description": f"About {at}"}
        before[str(at)] = {"class_type": f"RunflowInput{kind}", "inputs": widgets | {"required": at % 2 == 0}}
    await page.load({"last_node_id": 20, "last_link_id": 9, "nodes": nodes, "links": links, "version": 0.4})
    prompt = await page.prompt()
    assert prompt["2"]["inputs"]["value"] == ["12", 0]
    assert read_interface(scrub_prompt(prompt)).inputs == read_interface(before).inputs
    await page.load(await page.graph())
    assert await page.prompt() == prompt


async def build(page: EditorPage) -> str:
    await page.load(EMPTY)
    width = await page.add("RunflowInputInt", 40, 40, input_id="width", display_name="Width", required=False)
    for name, value in (("default_value", "64"), ("min", "16"), ("max", "128"), ("step", "16")):
        await page.set_widget(width, name, value)
    method = await page.add("RunflowInputChoice", 40, 400, input_id="method", display_name="Method")
    await page.set_widget(method, "choices", "bilinear\nlanczos")
    picture = await page.add("EmptyImage", 400, 40, height=32, batch_size=1, color=0)
    scale = await page.add("ImageScale", 760, 40, width=48, height=0, crop="disabled")
    output = await page.add("RunflowOutputImage", 1100, 40, output_id="image")
    height = await page.add("RunflowInputInt", 40, 700, input_id="height", display_name="Height", required=False)
    await page.connect(height, 0, picture, "height")
    deploy = await page.add("RunflowDeploy", 1100, 400, endpoint_name="Limits")
    await page.connect(width, 0, picture, "width")
    await page.connect(picture, 0, scale, "image")
    await page.connect(method, 0, scale, "upscale_method")
    await page.connect(scale, 0, output, "value")
    return deploy


async def test_the_form_shows_and_keeps_them(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    play = await Playground.opened_by(page, await build(page))
    width, method = (play.page.get_by_label(name, exact=True) for name in ("Width", "Method"))
    await expect(width).to_have_value("64")
    # Nobody typed it: the widget behind the input holds it.
    await expect(play.page.get_by_label("Height", exact=True)).to_have_value("32")
    await expect(play.field("Width")).to_contain_text("16 to 128, in steps of 16.")
    await width.press("ArrowUp")
    await expect(width).to_have_value("80")
    await width.fill("70")
    await play.run()
    await expect(play.field("Width").locator(".rf-problem")).to_have_text("16 to 128, in steps of 16.")
    await expect(play.field("Method").locator(".rf-problem")).to_have_text("Choose one.")
    await width.fill("128")
    await method.select_option("lanczos")
    await play.is_accessible()
    await play.shot("limits")
    await play.run()
    await play.ended("Succeeded")
    await expect(method.locator("option")).to_have_text(["Choose…", "bilinear", "lanczos"])
    assert play.faults == []


async def test_what_the_workflow_uses_by_itself_may_be_outside_of_them(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    await page.load(EMPTY)
    width = await page.add("RunflowInputInt", 40, 40, input_id="width", display_name="Width", required=False)
    await page.set_widget(width, "min", "64")
    method = await page.add("RunflowInputChoice", 40, 400, input_id="method", display_name="Method", required=False)
    await page.set_widget(method, "choices", "bilinear\nlanczos")
    seed = await page.add("RunflowInputInt", 40, 700, input_id="seed", display_name="Seed", required=False)
    for name, value in (("min", "1000"), ("max", "1008"), ("step", "4")):
        await page.set_widget(seed, name, value)
    picture = await page.add("EmptyImage", 400, 40, width=48, height=32, batch_size=1, color=0)
    scale = await page.add("ImageScale", 760, 40, upscale_method="area", width=16, height=0, crop="disabled")
    output = await page.add("RunflowOutputImage", 1100, 40, output_id="image")
    await page.connect(width, 0, picture, "width")
    await page.connect(seed, 0, picture, "color")
    await page.connect(picture, 0, scale, "image")
    await page.connect(method, 0, scale, "upscale_method")
    await page.connect(scale, 0, output, "value")
    play = await Playground.opened_by(page, await page.add("RunflowDeploy", 1100, 400, endpoint_name="Outside"))
    await expect(play.page.get_by_label("Width", exact=True)).to_have_value("48")
    await expect(play.page.get_by_label("Method", exact=True).locator("option:checked")).to_have_text("area")
    number = play.page.get_by_label("Seed", exact=True)
    await expect(number).to_have_value("0")
    await play.run()
    await play.ended("Succeeded")
    # What somebody types is for the limits, and so is what the button draws.
    await play.page.get_by_label("Width", exact=True).fill("50")
    await play.run()
    await expect(play.field("Width").locator(".rf-problem")).to_have_text("At least 64.")
    for _ in range(8):
        await play.page.get_by_role("button", name="Random Seed").click()
        assert await number.input_value() in ("1000", "1004", "1008")
    assert play.faults == []
