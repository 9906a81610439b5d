import copy
import json
from typing import Any

import pytest

from runflow.graph import executed_nodes, graph_nodes, scrub_graph, scrub_prompt, without_text

PROMPT: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "local.png"}},
    "2": {"class_type": "RunflowInputImage", "inputs": {"input_id": "photo", "value": ["1", 0]}},
    "3": {"class_type": "RunflowInputInt", "inputs": {"input_id": "size", "value": 512}},
    "4": {"class_type": "ImageScale", "inputs": {"image": ["2", 0], "width": ["3", 0]}},
    "5": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "out", "value": ["4", 0]}},
    "6": {"class_type": "RunflowDeploy", "inputs": {"endpoint_name": "x", "api_key": "rf_live_SECRET"}},
}


def node(number: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "type": kind, **more}


def graph() -> dict[str, Any]:
    inner: dict[str, Any] = {
        "id": "5a1c0f6e-0000-4000-8000-000000000001",
        "inputs": [{"name": "photo", "linkIds": [1]}],
        "outputs": [{"name": "IMAGE", "linkIds": [2]}],
        "nodes": [
            node(
                3,
                "RunflowInputImage",
                inputs=[{"name": "value", "link": 1}],
                outputs=[{"name": "value", "links": [2, 9]}],
            ),
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "IMAGE"},
            {"id": 2, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
        "extra": {"linkExtensions": [{"id": 1, "parentId": 4}, {"id": 2, "parentId": 5}]},
    }
    return {
        "nodes": [
            node(
                1, "LoadImage", outputs=[{"name": "IMAGE", "links": [1, 2, 77]}], widgets_values=["local.png", "image"]
            ),
            node(
                2, "RunflowInputImage", inputs=[{"name": "value", "link": 1}], outputs=[{"name": "value", "links": []}]
            ),
            node(9, inner["id"], inputs=[{"name": "photo", "link": 2}]),
            node(4, "PreviewImage", inputs=[{"name": "images", "link": 88}]),
            node(
                6,
                "RunflowDeploy",
                widgets_values=["My Flow", "http://elsewhere", "rf_live_SECRET", "Deploying…"],
                widgets_values_named={
                    "endpoint_name": "My Flow",
                    "api_key": "rf_live_SECRET",
                    "host": "http://elsewhere",
                },
            ),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 1, 0, 9, 0, "IMAGE"]],
        "reroutes": [{"id": 4, "linkIds": [1, 2]}],
        "extra": {"ds": {"scale": 1}, "linkExtensions": [{"id": 1, "parentId": 4}]},
        "definitions": {"subgraphs": [inner]},
    }


def test_wires_into_inputs_go_and_literals_stay() -> None:
    before = copy.deepcopy(PROMPT)
    scrubbed = scrub_prompt(PROMPT)
    assert before == PROMPT
    assert scrubbed["2"]["inputs"] == {"input_id": "photo"}
    assert scrubbed["3"]["inputs"] == {"input_id": "size", "value": 512}
    assert scrubbed["4"] == PROMPT["4"]
    assert "6" not in scrubbed


def test_what_only_fed_an_input_is_not_executed() -> None:
    outputs = {"RunflowOutputImage"}
    assert executed_nodes(PROMPT, outputs.__contains__) == {"1", "2", "3", "4", "5"}
    assert executed_nodes(scrub_prompt(PROMPT), outputs.__contains__) == {"2", "3", "4", "5"}


def test_executed_nodes_survive_circles_and_missing_nodes() -> None:
    prompt: dict[str, Any] = {
        "1": {"class_type": "Out", "inputs": {"a": ["2", 0], "b": ["nowhere", 0]}},
        "2": {"class_type": "X", "inputs": {"a": ["1", 0]}},
        "3": {"class_type": "X", "inputs": {}},
    }
    assert executed_nodes(prompt, "Out".__eq__) == {"1", "2"}


def test_the_graph_loses_local_wires_and_dangling_links_everywhere() -> None:
    given = graph()
    before = copy.deepcopy(given)
    scrubbed = scrub_graph(given)
    assert given == before
    load, photo, subgraph, preview, _ = scrubbed["nodes"]
    assert scrubbed["links"] == [[2, 1, 0, 9, 0, "IMAGE"]]
    assert load["outputs"][0]["links"] == [2]  # 1 was local wiring, 77 never existed
    assert photo["inputs"][0]["link"] is None
    assert subgraph["inputs"][0]["link"] == 2
    assert preview["inputs"][0]["link"] is None
    assert scrubbed["reroutes"][0]["linkIds"] == [2]
    assert scrubbed["extra"] == {"ds": {"scale": 1}, "linkExtensions": []}
    (inner,) = scrubbed["definitions"]["subgraphs"]
    assert [link["id"] for link in inner["links"]] == [2]
    assert inner["inputs"][0]["linkIds"] == []
    assert inner["outputs"][0]["linkIds"] == [2]
    assert inner["nodes"][0]["outputs"][0]["links"] == [2]
    assert inner["extra"]["linkExtensions"] == [{"id": 2, "parentId": 5}]


def test_host_and_key_of_a_deploy_node_never_leave() -> None:
    given = graph()
    given["definitions"]["subgraphs"][0]["nodes"].append(
        node(8, "RunflowDeploy", widgets_values={"endpoint_name": "a", "api_key": "rf_live_SECRET"})
    )
    text = json.dumps(scrub_graph(given))
    assert "SECRET" not in text
    assert "elsewhere" not in text
    assert "My Flow" in text


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"nodes": None, "links": None},
        {"nodes": [None, 3, {"type": "RunflowInputImage"}], "links": ["x", []]},
        {"nodes": [{"type": "RunflowInputImage", "inputs": [{"name": "value"}]}], "links": []},
        {"definitions": [], "nodes": {}},
        {"definitions": {"subgraphs": [None, {"nodes": [{"type": "RunflowDeploy", "widgets_values": None}]}]}},
    ],
)
def test_odd_graphs_are_left_as_they_are(odd: dict[str, Any]) -> None:
    assert scrub_graph(odd).keys() == odd.keys()
    assert all(isinstance(each, dict) for each in graph_nodes(odd))


def test_a_text_is_taken_out_wherever_it_stands() -> None:
    given = {"a": ["xKEYy", {"KEY": "KEY"}, 3, None, True]}
    assert without_text(given, "KEY") == {"a": ["xy", {"": ""}, 3, None, True]}
