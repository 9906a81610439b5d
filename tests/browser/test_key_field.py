"""The field for a key on the Runflow Deploy node: what is typed goes to the server, and stays nowhere."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.connection import connection
from tests.browser.stranger import Stranger, answering
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EMPTY, EditorPage

pytestmark = pytest.mark.browser

KEY = "rf_live_" + "typed" * 6 + "9z9z9z"
SECRET = "rf_live_SECRET"
INNER = "11111111-0000-4000-8000-000000000001"
KEPT = """async () => JSON.stringify([
    { ...localStorage }, { ...sessionStorage }, document.body.innerText,
    app.extensionManager.workflow.activeWorkflow.changeTracker,
    app.graph.nodes.map((node) => node.clone().serialize()),
    app.graph.nodes.flatMap((node) => node.widgets.map((widget) => [widget.value, widget.label])),
    await navigator.clipboard.readText().catch(() => ""),
], (key, value) => (key === "workflow" || key === "ds" ? undefined : value))"""
"""Whatever the page keeps: drafts, undo, a copied node, the clipboard, values of widgets, and what can be read."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with answering() as made:
        yield made


@pytest.fixture
async def page(every_editor: Editor, open_page: OpenPage) -> AsyncIterator[EditorPage]:
    """An open page; afterwards the canvas draws the nodes again."""
    opened = await open_page(every_editor, permissions=["clipboard-read", "clipboard-write"])
    yield opened
    await opened.new_design(False)


async def build(page: EditorPage, **widgets: Any) -> str:
    await page.load(EMPTY)
    picture = await page.add("EmptyImage", 40, 40, width=16, height=16)
    output = await page.add("RunflowOutputImage", 400, 40)
    await page.connect(picture, 0, output, "value")
    return await page.add("RunflowDeploy", 300, 300, **{"endpoint_name": "Typed", **widgets})


async def test_a_key_is_typed_key_by_key_sent_whole_and_kept_nowhere(
    page: EditorPage, every_editor: Editor, stranger: Stranger
) -> None:
    with connection(every_editor, "http://127.0.0.1:1", None):
        for new_design in (False, True):
            await page.new_design(new_design)
            name = f"Typed {new_design}"
            deploy = await build(page, host=stranger.url)
            field = page.page.get_by_label("api_key")
            await expect(field).to_have_attribute("type", "password")
            await field.click()
            await page.page.keyboard.type(KEY[:-4])
            await page.page.keyboard.insert_text(KEY[-4:])  # as pasting does
            await expect(field).to_have_value(KEY)
            await page.screenshot(name)
            # Whatever makes the editor look for changes, and copy: other fields, a click, the shortcut.
            await page.set_widget(deploy, "endpoint_name", name)
            await page.page.mouse.click(900, 700)
            await page.page.evaluate("() => void app.canvas.selectItems([app.graph.nodes.at(-1)])")
            await page.page.keyboard.press("Control+c")
            drafts = "(name) => JSON.stringify({ ...localStorage }).includes(name)"
            await page.page.wait_for_function(drafts, arg=name)
            kept = await page.page.evaluate(KEPT)
            assert name in kept
            for part in (KEY, KEY[:12], KEY[-6:]):
                assert part not in kept + json.dumps(await page.graph())

            stranger.asked.clear()
            await page.press(deploy, "Deploy")
            assert "does not answer like a Runflow server" in await page.alert()
            assert [key for _, key in stranger.asked] == [f"Bearer {KEY}"]
            await expect(field).to_have_value(KEY)  # for the next press
        await page.load(await page.graph())
        await expect(page.page.get_by_label("api_key")).to_have_value("")


async def test_no_key_gets_out_of_a_subgraph(page: EditorPage) -> None:
    names = ["endpoint_name", "api_key"]
    slots = [
        {"name": name, "type": "STRING", "widget": {"name": name}} for name in ("endpoint_name", "host", "api_key")
    ]
    links = [
        {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "STRING"},
        {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 2, "type": "STRING"},
    ]
    node = {"id": 1, "type": "RunflowDeploy", "pos": [300, 200], "size": [340, 178], "widgets_values": ["Mine"]}
    node["inputs"] = [{**slot, "link": link} for slot, link in zip(slots, (1, None, 2), strict=True)]
    definition = {
        "id": INNER,
        "version": 1,
        "revision": 0,
        "name": "Inner",
        "config": {},
        "outputs": [],
        "widgets": [],
        "state": {"lastGroupId": 0, "lastNodeId": 3, "lastLinkId": 2, "lastRerouteId": 0},
        "inputNode": {"id": -10, "bounding": [0, 0, 120, 60]},
        "outputNode": {"id": -20, "bounding": [900, 0, 120, 60]},
        "inputs": [
            {"id": f"{INNER[:-1]}{number}", "name": name, "type": "STRING", "linkIds": [number]}
            for number, name in enumerate(names, 1)
        ],
        "nodes": [node],
        "links": links,
        "groups": [],
        "extra": {},
    }
    shown = {
        "id": 3,
        "type": INNER,
        "pos": [200, 200],
        "size": [210, 82],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": name, "type": "STRING", "widget": {"name": name}, "link": None} for name in names],
        "outputs": [],
        "properties": {"proxyWidgets": [["1", name] for name in names]},
        "widgets_values": ["Mine", SECRET],
        "widgets_values_named": {"endpoint_name": "Mine", "api_key": SECRET},
    }
    file = {**EMPTY, "last_node_id": 3, "nodes": [shown], "definitions": {"subgraphs": [definition]}}
    await page.load(file)
    await page.screenshot("loaded")
    saved = json.dumps(await page.graph())
    assert SECRET not in saved + await page.page.evaluate("() => JSON.stringify({ ...localStorage })")
    assert "Mine" in saved
    await page.load(json.loads(saved))
    assert SECRET not in json.dumps(await page.graph())

    # Of a new node only the name can be promoted, and promoting presses no button.
    await build(page)
    await page.page.evaluate("() => void app.graph.convertToSubgraph(new Set([app.graph.nodes.at(-1)]))")
    async with page.page.expect_event("requestfinished", lambda request: "/runflow/info" in request.url):
        await page.page.evaluate(
            """async () => {
                const outer = app.graph.nodes.find((node) => node.subgraph)
                app.canvas.openSubgraph(outer.subgraph, outer)
                for (const drawn of [1, 2]) {
                    app.canvas.draw(true, true)
                    await new Promise((next) => requestAnimationFrame(next))
                }
                const [node] = outer.subgraph.nodes
                for (const widget of [...node.widgets]) {
                    app.canvas.graph_mouse[0] = node.pos[0] + 100
                    app.canvas.graph_mouse[1] = node.pos[1] + (widget.last_y ?? widget.y) + 10
                    const options = []
                    node.getExtraMenuOptions(app.canvas, options)
                    options.find((each) => each?.content === `Promote Widget: ${widget.name}`).callback()
                }
                app.canvas.setGraph(app.rootGraph)
                await app.api.fetchApi("/runflow/info")
            }"""
        )
    assert page.alerts == []
    assert await page.page.get_by_role("dialog").count() == 0
    graph = await page.graph()
    (shown,) = [node for node in graph["nodes"] if node["type"] not in ("EmptyImage", "RunflowOutputImage")]
    promoted = [slot["name"] for slot in shown["inputs"]]
    if promoted:
        assert promoted == ["endpoint_name"]
    else:  # the oldest editor promotes whatever there is, but saves no values of it
        outer = "app.graph.nodes.find((node) => node.subgraph)"
        await page.page.evaluate(f"(text) => {{ for (const one of {outer}.widgets) one.value = text }}", SECRET)
        assert SECRET not in json.dumps([node for node in (await page.graph())["nodes"] if node["id"] == shown["id"]])
