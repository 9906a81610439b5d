"""The Runflow Deploy node on the canvas of each editor."""

import json

import pytest

from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage

pytestmark = pytest.mark.browser


async def test_the_node_is_never_in_a_prompt_nor_saved_with_a_host_or_key(
    every_editor: Editor, open_page: OpenPage
) -> None:
    page = await open_page(every_editor)
    await page.load({"nodes": [], "links": [], "version": 0.4})
    picture = await page.add("EmptyImage", width=16, height=16)
    output = await page.add("RunflowOutputImage", 500)
    await page.connect(picture, 0, output, "value")
    deploy = await page.add("RunflowDeploy", 100, 400, endpoint_name="My First Flow", host="http://elsewhere:1")
    await page.page.get_by_label("api_key").fill("rf_live_SECRET")
    assert set(await page.prompt()) == {picture, output}
    saved = json.dumps(await page.graph())
    assert "My First Flow" in saved
    assert "elsewhere" not in saved
    assert "SECRET" not in saved
    await page.load(json.loads(saved))
    assert await page.widget(deploy, "endpoint_name") == "My First Flow"
    await page.screenshot("node")
    # Below its last button is no empty strip, also where an older plugin saved one.
    gap = """(id) => {
        const node = app.graph.nodes.find((each) => String(each.id) === id)
        const last = node.widgets.at(-1)
        return node.size[1] - (last.last_y ?? last.y) - LiteGraph.NODE_WIDGET_HEIGHT
    }"""
    assert 0 < await page.page.evaluate(gap, deploy) < 20
    graph = await page.graph()
    (node,) = [each for each in graph["nodes"] if each["type"] == "RunflowDeploy"]
    node["size"][1] = 178
    await page.load(graph)
    assert 0 < await page.page.evaluate(gap, deploy) < 20


async def test_a_host_and_a_key_in_a_workflow_file_are_not_taken_over(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    values = ["My First Flow", "http://elsewhere:1", "rf_live_SECRET", None, None]
    node = {"id": 7, "type": "RunflowDeploy", "pos": [100, 100], "size": [300, 200], "widgets_values": values}
    await page.load({"last_node_id": 7, "last_link_id": 0, "nodes": [node], "links": [], "version": 0.4})
    assert [await page.widget("7", name) for name in ("endpoint_name", "host", "api_key")] == ["My First Flow", "", ""]
    assert "SECRET" not in json.dumps(await page.graph())
