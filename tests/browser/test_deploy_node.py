"""The Runflow Deploy node on the canvas of each editor."""

import json

import pytest

from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage

pytestmark = pytest.mark.browser


async def test_the_node_is_never_in_a_prompt_nor_saved_with_a_host_or_key(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    await page.load({"nodes": [], "links": [], "version": 0.4})
    picture = await page.add("EmptyImage", width=16, height=16)
    output = await page.add("RunflowOutputImage", 500)
    await page.connect(picture, 0, output, "value")
    deploy = await page.add(
        "RunflowDeploy", 100, 400, endpoint_name="My First Flow", host="http://elsewhere:1", api_key="rf_live_SECRET"
    )
    assert set(await page.prompt()) == {picture, output}
    saved = json.dumps(await page.graph())
    assert "My First Flow" in saved
    assert "elsewhere" not in saved
    assert "SECRET" not in saved
    await page.load(json.loads(saved))
    assert await page.widget(deploy, "endpoint_name") == "My First Flow"
    await page.screenshot("node")


async def test_a_host_and_a_key_in_a_workflow_file_are_not_taken_over(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    values = ["My First Flow", "http://elsewhere:1", "rf_live_SECRET", None, None]
    node = {"id": 7, "type": "RunflowDeploy", "pos": [100, 100], "size": [300, 200], "widgets_values": values}
    await page.load({"last_node_id": 7, "last_link_id": 0, "nodes": [node], "links": [], "version": 0.4})
    assert [await page.widget("7", name) for name in ("endpoint_name", "host", "api_key")] == ["My First Flow", "", ""]
    assert "SECRET" not in json.dumps(await page.graph())
