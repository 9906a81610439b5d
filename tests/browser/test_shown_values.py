"""What an optional input's field holds in the editor: also where a subgraph node shows it as its own."""

from typing import Any

import pytest

from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage
from tests.support.editor_page import EMPTY, EditorPage

pytestmark = pytest.mark.browser

IN_SUBGRAPHS = """async (shown) => {
    const { capture } = await import("/extensions/ComfyUI-Runflow/capture.js")
    let node = app.graph.nodes.find((each) => each.type === "EmptyImage")
    let field = "width"
    for (const value of shown) {
        const made = app.graph.convertToSubgraph(new Set([node]))
        const outer = made.node ?? made
        const inside = outer.subgraph.nodes[0]
        const input = outer.subgraph.addInput(`own ${field}`, "INT")
        input.connect(inside.inputs.find((each) => each.name === field), inside)
        field = `own ${field}`
        const widget = outer.widgets.find((each) => each.name === field)
        if (value !== null) {
            widget.value = value
            widget.callback?.(value)
        }
        node = outer
    }
    const free = (await capture()).prompt
    const given = app.graph.nodes.find((each) => each.type === "RunflowInputInt")
    given.connect(0, node, node.inputs.findIndex((each) => each.name === field))
    return [free, (await capture()).prompt]
}"""


async def captured(page: EditorPage, *shown: int | None) -> tuple[Any, Any]:
    """The width that the picture has while nothing is wired, and the one that Deploy tells once an input is."""
    await page.load(EMPTY)
    picture = await page.add("EmptyImage", 400, 40, width=64, height=32, batch_size=1, color=0)
    output = await page.add("RunflowOutputImage", 800, 40, output_id="image")
    await page.connect(picture, 0, output, "value")
    await page.add("RunflowInputInt", 40, 40, input_id="width", required=False)
    prompts = await page.page.evaluate(IN_SUBGRAPHS, list(shown))
    free, wired = (next(node for node in each.values() if node["class_type"] == "EmptyImage") for each in prompts)
    assert isinstance(wired["inputs"]["width"], list)
    return free["inputs"]["width"], wired["_meta"]["runflow_widgets"]["width"]


@pytest.mark.parametrize("shown", [(96,), (None,), (96, 128), (96, None)])
async def test_the_value_that_a_subgraph_node_shows_is_the_default(
    editor: Editor, open_page: OpenPage, shown: tuple[int | None, ...]
) -> None:
    page = await open_page(editor)
    free, told = await captured(page, *shown)
    assert told == free
    assert shown != (96,) or told == 96
