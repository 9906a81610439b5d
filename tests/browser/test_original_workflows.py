"""Workflows saved with the original plugin, or with an earlier one of ours, in the real editor."""

from typing import Any

import pytest

from tests.support.comfyui_client import execute
from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage

pytestmark = pytest.mark.browser


def saved(node_id: int, kind: str, widgets: list[Any], *, takes: Any = (), gives: Any = ()) -> dict[str, Any]:
    """A node of a UI-format graph; `takes` are (name, type, link) of its sockets, `gives` have a list of links."""
    return {
        "id": node_id,
        "type": kind,
        "pos": [100 + 300 * (node_id % 4), 100 + 200 * (node_id // 4)],
        "size": [250, 150],
        "inputs": [{"name": name, "type": of, "link": link} for name, of, link in takes],
        "outputs": [{"name": name, "type": of, "links": links} for name, of, links in gives],
        "properties": {},
        "widgets_values": widgets,
    }


def workflow(*nodes: dict[str, Any]) -> dict[str, Any]:
    """The graph of these nodes, linked where one gives what another takes."""
    links = [
        [link, source["id"], slot, target["id"], at, output["type"]]
        for source in nodes
        for slot, output in enumerate(source["outputs"])
        for link in output["links"]
        for target in nodes
        for at, taken in enumerate(target["inputs"])
        if taken["link"] == link
    ]
    last = max(node["id"] for node in nodes)
    return {"last_node_id": last, "last_link_id": 99, "nodes": list(nodes), "links": links, "version": 0.4}


async def test_its_spellings_load_and_run(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    takes = [("value", "STRING", 3)], [("value", "STRING", 4)], [("value", "IMAGE", 6)]
    graph = workflow(
        saved(1, "EmptyAudio", [0.5, 44100, 2], gives=[("AUDIO", "AUDIO", [1, 2])]),
        saved(2, "RunflowSaveAudioFlac", ["x"], takes=[("audio", "AUDIO", 1)], gives=[("filename", "STRING", [3])]),
        saved(
            3, "RunflowSaveAudioOpus", ["x", "64k"], takes=[("audio", "AUDIO", 2)], gives=[("filename", "STRING", [4])]
        ),
        saved(4, "RunflowOutputFile", ["song", ""], takes=takes[0], gives=[("value", "STRING", [5])]),
        saved(5, "RunflowOutputFile", ["other", ""], takes=takes[1]),
        saved(6, "PreviewAny", [], takes=[("source", "*", 5)]),
        saved(7, "EmptyImage", [16, 16, 1, 0], gives=[("IMAGE", "IMAGE", [6])]),
        saved(8, "RunflowOutputImage", ["picture", ""], takes=takes[2], gives=[("value", "IMAGE", [7])]),
        saved(9, "PreviewImage", [], takes=[("images", "IMAGE", 7)]),
    )
    await page.load(graph)
    prompt = await page.prompt()
    assert prompt["3"]["inputs"] == {"audio": ["1", 0], "filename_prefix": "x", "bitrate": "64k"}
    execution = execute(editor.url, prompt)
    assert execution.error is None, execution.error
    assert execution.outputs["6"]["text"][0].endswith(".flac")
    assert execution.outputs["5"]["files"][0]["filename"].endswith(".opus")
    assert len(execution.outputs["9"]["images"]) == 1


async def test_outputs_saved_before_they_passed_anything_on(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    await page.load(
        workflow(
            saved(1, "EmptyImage", [16, 16, 1, 0], gives=[("IMAGE", "IMAGE", [1])]),
            saved(2, "RunflowOutputImage", ["picture", ""], takes=[("value", "IMAGE", 1)]),
        )
    )
    shown = await page.add("PreviewImage", 900, 100)
    await page.connect("2", 0, shown, "images")
    prompt = await page.prompt()
    assert prompt["2"]["inputs"] == {"output_id": "picture", "value": ["1", 0], "output_name": ""}
    assert prompt[shown]["inputs"] == {"images": ["2", 0]}
