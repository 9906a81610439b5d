"""The forms in which callers send a prompt."""

from typing import Any

import httpx
import pytest

from runflow.workflows.sent_prompt import sent_documents
from tests.support.workflow_calls import ROUTE, created
from tests.support.workflow_prompts import body, prompt

GRAPH = {"nodes": [], "links": [], "version": 0.4}


@pytest.mark.parametrize(
    ("sent", "graph"),
    [
        ({"output": prompt(), "workflow": GRAPH}, GRAPH),
        ({"output": prompt()}, None),
        ({"workflow": None, "output": prompt()}, None),
        ({"prompt": prompt()}, None),
        ({"prompt": prompt(), "client_id": "x", "extra_data": {"extra_pnginfo": {"workflow": GRAPH}}}, GRAPH),
        ({"prompt": prompt(), "extra_data": None}, None),
        (prompt(), None),
    ],
)
def test_a_wrapper_is_taken_off(sent: Any, graph: Any) -> None:
    assert sent_documents({"workflow_json": sent, "graph": None}) == {"workflow_json": prompt(), "graph": graph}
    own: dict[str, Any] = {"nodes": [], "links": []}
    assert sent_documents({"workflow_json": sent, "graph": own})["graph"] is own


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "text",
        {},
        {"output": {"class_type": "KSampler", "inputs": {}}},
        {"output": {}, "other": {}},
        {"prompt": "text"},
        {"1": None},
    ],
)
def test_what_is_no_wrapper_stays(sent: Any) -> None:
    assert sent_documents({"workflow_json": sent})["workflow_json"] == sent


def test_notes_are_left_out_and_numbered_links_become_links() -> None:
    nodes = prompt()
    nodes["7"]["inputs"] |= {"text": [1, 0], "size": [64, 64], "flags": [1, True], "far": [1, 512]}
    nodes |= {"3": {"class_type": "Note"}, "4": {"class_type": "MarkdownNote", "inputs": {"text": "# Hi"}}}
    found = sent_documents({"workflow_json": nodes})["workflow_json"]
    assert set(found) == set(prompt())
    fields = {"text": ["1", 0], "size": [64, 64], "flags": [1, True], "far": [1, 512]}
    assert found["7"]["inputs"].items() >= fields.items()
    assert nodes["7"]["inputs"]["text"] == [1, 0]


async def test_create_and_patch_take_what_the_editor_gives(client: httpx.AsyncClient) -> None:
    sent: dict[str, Any] = {"output": prompt(), "workflow": GRAPH}
    sent["output"]["7"]["inputs"]["text"] = [1, 0]
    sent["output"]["20"] = {"class_type": "Note", "inputs": {}}
    made = await created(client, body(workflow_json=sent))
    assert (made["workflow_json"], made["graph"]) == (prompt(), GRAPH)
    assert [row["name"] for row in made["inputs"]] == ["prompt"]
    sent["output"]["7"]["inputs"]["steps"] = 21
    answer = await client.patch(f"{ROUTE}/{made['id']}", json={"workflow_json": sent})
    assert answer.status_code == 200, answer.text
    assert answer.json()["workflow_json"]["7"]["inputs"]["steps"] == 21
    assert answer.json()["version"] == "2"
