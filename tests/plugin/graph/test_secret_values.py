"""Values that lead to the key of a Deploy node: promoted out of subgraphs, wired, in every form that editors write."""

import json
from typing import Any

import pytest

from runflow.graph import scrub_graph

SECRET = "rf_live_SECRET"
INNER, OUTER = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"


def deploy(link: int | None) -> dict[str, Any]:
    """The node as older plugins' files have it, with a socket for each widget."""
    names = {"endpoint_name": 1, "host": None, "api_key": link}
    inputs = [{"name": name, "widget": {"name": name}, "link": each} for name, each in names.items()]
    return {"id": 1, "type": "RunflowDeploy", "inputs": inputs, "widgets_values": ["Mine"]}


def definition(part_id: str, nodes: list[Any], names: list[str], target: int) -> dict[str, Any]:
    """A subgraph whose inputs lead to the first and the third socket of a node in it."""
    links = [
        {"id": number + 1, "origin_id": -10, "origin_slot": number, "target_id": target, "target_slot": number}
        for number in range(len(names))
    ]
    inputs = [{"name": name, "type": "STRING", "linkIds": [number + 1]} for number, name in enumerate(names)]
    return {"id": part_id, "nodes": nodes, "links": links, "inputs": inputs, "outputs": []}


def instance(part_id: str, names: list[str], **values: Any) -> dict[str, Any]:
    inputs = [{"name": name, "widget": {"name": name}, "link": None} for name in names]
    return {"id": 3, "type": part_id, "inputs": inputs, "properties": {}, **values}


def graph(nodes: list[Any], *definitions: dict[str, Any], links: list[Any] | None = None) -> dict[str, Any]:
    return {"id": "root", "nodes": nodes, "links": links or [], "definitions": {"subgraphs": list(definitions)}}


def scrubbed(given: dict[str, Any]) -> dict[str, Any]:
    before = json.dumps(given)
    result = scrub_graph(given)
    assert json.dumps(given) == before
    assert SECRET not in json.dumps(result)
    return result


NAMES = ["endpoint_name", "api_key"]


@pytest.mark.parametrize(
    "values",
    [
        {"widgets_values": ["Mine", SECRET]},
        {
            "widgets_values": ["Mine", SECRET],
            "widgets_values_named": {"endpoint_name": "Mine", "api_key": SECRET},
        },
        {"widgets_values": {"endpoint_name": "Mine", "api_key": SECRET}},
    ],
)
def test_a_promoted_key_is_emptied_and_its_neighbours_stay(values: dict[str, Any]) -> None:
    inner = definition(INNER, [deploy(2)], NAMES, 1)
    result = scrubbed(graph([instance(INNER, NAMES, **values)], inner))
    assert json.dumps(result["nodes"][0]).count('"Mine"') == len(values)
    (part,) = result["definitions"]["subgraphs"]
    assert [link["id"] for link in part["links"]] == [1]  # it can be promoted no more: the link has gone
    assert [row["linkIds"] for row in part["inputs"]] == [[1], []]
    assert part["nodes"][0]["inputs"][2]["link"] is None


def test_a_renamed_promotion_through_two_subgraphs() -> None:
    inner = definition(INNER, [deploy(2)], ["a", "b"], 1)
    outer = definition(OUTER, [instance(INNER, ["a", "b"], widgets_values=["", SECRET])], ["x", "y"], 3)
    for slot, link in zip(outer["nodes"][0]["inputs"], (1, 2), strict=True):
        slot["link"] = link
    result = scrubbed(graph([instance(OUTER, ["x", "y"], widgets_values=["Mine", SECRET])], inner, outer))
    assert result["nodes"][0]["widgets_values"] == ["Mine", ""]


def test_where_the_place_of_a_value_is_not_known_every_text_goes() -> None:
    inner = definition(INNER, [deploy(2)], NAMES, 1)
    result = scrubbed(graph([instance(INNER, NAMES, widgets_values=["Mine", 7, SECRET])], inner))
    assert result["nodes"][0]["widgets_values"] == ["", 7, ""]


@pytest.mark.parametrize("name", ["api_key", "1: api_key"])
def test_the_pairs_of_older_editors(name: str) -> None:
    part = {"id": INNER, "nodes": [deploy(None)], "links": [], "inputs": [], "outputs": []}
    properties = {"proxyWidgets": [["1", "endpoint_name"], ["1", "api_key"]]}
    inside = {"id": 3, "type": INNER, "inputs": [], "properties": properties, "widgets_values": ["Mine", SECRET]}
    outer = {"id": OUTER, "nodes": [inside], "links": [], "inputs": [], "outputs": []}
    shown = {"proxyWidgets": [["3", name], ["3", "endpoint_name"]]}
    top = {"id": 4, "type": OUTER, "inputs": [], "properties": shown, "widgets_values": [SECRET, "Mine"]}
    result = scrubbed(graph([top], part, outer))
    assert (result["nodes"][0]["widgets_values"], result["nodes"][0]["properties"]) == (
        ["", "Mine"],
        {"proxyWidgets": [["3", "endpoint_name"]]},
    )


def test_texts_that_are_wired_to_the_key() -> None:
    source = {"id": 5, "type": "PrimitiveString", "outputs": [{"links": [8]}], "widgets_values": [SECRET]}
    wire = {"id": 6, "type": "Reroute", "inputs": [{"name": "", "link": 8}], "outputs": [{"links": [9]}]}
    other = {"id": 7, "type": "PrimitiveString", "outputs": [{"links": []}], "widgets_values": ["a prompt"]}
    links = [[8, 5, 0, 6, 0, "STRING"], [9, 6, 0, 1, 2, "STRING"]]
    result = scrubbed(graph([deploy(9), source, wire, other], links=links))
    assert [node.get("widgets_values") for node in result["nodes"]] == [["Mine"], [""], None, ["a prompt"]]
    assert [link[0] for link in result["links"]] == [8]
    # The same out of a subgraph.
    inner = {"id": INNER, "nodes": [source], "links": [{"id": 8, "origin_id": 5, "origin_slot": 0, "target_id": -20}]}
    inner["outputs"] = [{"name": "text", "linkIds": [8]}]
    scrubbed(graph([deploy(9), {"id": 6, "type": INNER}], inner, links=[[9, 6, 0, 1, 2, "STRING"]]))


def test_a_long_chain_and_nonsense_end() -> None:
    nodes = [deploy(0)]
    nodes += [
        {"id": n, "type": "Reroute", "inputs": [{"link": n - 1}], "widgets_values": [SECRET]} for n in range(2, 5000)
    ]
    links = [[n, n + 2, 0, n + 1, 0, "*"] for n in range(5000)]
    scrubbed(graph(nodes, links=links))
    loop = [deploy(1), {"id": 2, "type": "Reroute", "inputs": [{"link": 2}], "widgets_values": [SECRET]}]
    scrubbed(graph(loop, links=[[1, 2, 0, 1, 2, "*"], [2, 2, 0, 2, 0, "*"]]))
    odd = deploy(1) | {"inputs": [{"name": "api_key", "link": {}}, {"name": "host", "link": 1}]}
    part = {"id": INNER, "nodes": 7, "links": [None, [1]], "inputs": [None]}
    scrub_graph(graph([odd, {"type": INNER, "properties": {"proxyWidgets": [3, ["1"], [None, {}]]}}], part))
