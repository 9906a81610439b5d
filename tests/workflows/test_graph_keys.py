"""A key that was typed into a Deploy node is stored nowhere, whichever way it came and wherever it leads."""

import copy
from typing import Any

import httpx
import pytest

from runflow.ids import new_id, new_token
from runflow.web.services import Services
from runflow.workflows.graph_keys import graph_without_keys, prompt_without_keys
from tests.support.workflow_calls import ROUTE, created
from tests.support.workflow_prompts import body

KEY = new_token("rf_live_")
SUBGRAPH, OUTER = "0b0e5b2e-4c1f-4f5e-9f0a-0d6a4f9f6c11", "1c1e5b2e-4c1f-4f5e-9f0a-0d6a4f9f6c22"


def deploy(**more: Any) -> dict[str, Any]:
    return {"id": 7, "type": "RunflowDeploy", "widgets_values": ["rf_detr_2_name", "https://host", KEY], **more}


def promoted(key: str) -> dict[str, Any]:
    """A Deploy node in a subgraph in a subgraph, its key promoted to the outer subgraph's node."""
    inner = {"id": SUBGRAPH, "nodes": [deploy(widgets_values=["name", "", ""])]}
    outer = {"id": OUTER, "nodes": [{"id": 3, "type": SUBGRAPH, "widgets_values": [""]}]}
    node = {
        "id": 5,
        "type": OUTER,
        "properties": {"proxyWidgets": [["3", "api_key"]]},
        "inputs": [{"name": "key", "type": "STRING", "widget": {"name": "key"}, "value": key}],
        "widgets_values": [key],
    }
    return {"nodes": [node], "definitions": {"subgraphs": [outer, inner]}}


GRAPHS: dict[str, dict[str, Any]] = {
    "list": {"nodes": [deploy()]},
    "named": {"nodes": [deploy(widgets_values_named={"endpoint_name": "name", "api_key": KEY})]},
    "object": {"nodes": [deploy(widgets_values={"api_key": f" {KEY} "})]},
    "socket": {"nodes": [deploy(inputs=[{"name": "api_key", "value": KEY}], properties={"key": KEY})]},
    "inside": {"nodes": [], "definitions": {"subgraphs": [{"id": SUBGRAPH, "nodes": [deploy()]}]}},
    "promoted": promoted(KEY),
    "note": {"nodes": [{"id": 1, "type": "Note", "widgets_values": [f"my key: {KEY}!"]}]},
    "elsewhere": {"nodes": [], "extra": {"a": [{"b": f"Bearer {KEY}"}], KEY: 1}},
}


def text(value: Any) -> str:
    return repr(value)


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_no_key_stays_in_a_graph(graph: dict[str, Any]) -> None:
    found = copy.deepcopy(graph)
    warnings = graph_without_keys(found)
    assert KEY not in text(found) and KEY not in text(warnings)
    assert warnings and all("Revoke this key" in warning.next_step for warning in warnings)
    assert graph_without_keys(found) == (), "what is clean stays as it is"


@pytest.mark.parametrize("key", ["rf_test_short1", "rf_abcdefgh", " rf_live_x-y_z12\n"])
def test_what_is_like_a_key_goes_where_only_a_key_is_expected(key: str) -> None:
    for graph in ({"nodes": [deploy(widgets_values=["name", "", key])]}, promoted(key)):
        assert graph_without_keys(graph)
        assert key.strip() not in text(graph)


def test_whatever_the_widget_of_the_key_holds_goes() -> None:
    graph = {"nodes": [deploy(widgets_values={"endpoint_name": "a", "api_key": "hunter2"})]}
    (warning,) = graph_without_keys(graph)
    assert graph["nodes"][0]["widgets_values"] == {"endpoint_name": "a", "api_key": ""}
    assert warning.node_id == "7"


def test_everything_else_stays() -> None:
    graph = {
        "nodes": [
            deploy(widgets_values=["rf_detr_2_name", "https://host", ""]),
            {"id": 1, "type": "Loader", "widgets_values": ["rf_detr_base_coco", "rf_live_short"]},
        ],
        "extra": {"api_key": "another service's"},
    }
    before = copy.deepcopy(graph)
    assert graph_without_keys(graph) == ()
    assert graph == before
    assert graph_without_keys(None) == ()


def test_a_graph_as_deep_as_anyone_likes_is_looked_through() -> None:
    graph: Any = {"nodes": [deploy()]}
    for _ in range(5000):
        graph = {"a": [graph]}
    assert graph_without_keys(graph)


def test_a_prompt_keeps_what_its_other_nodes_are_given() -> None:
    prompt: dict[str, Any] = {
        "1": {"class_type": "RunflowDeploy", "inputs": {"endpoint_name": "a", "api_key": KEY}},
        "2": {"class_type": "CallsRunflow", "inputs": {"key": KEY}},
    }
    (warning,) = prompt_without_keys(prompt)
    assert warning.node_id == "1"
    assert prompt["1"]["inputs"] == {"endpoint_name": "a", "api_key": ""}
    assert prompt["2"]["inputs"] == {"key": KEY}


def test_a_prompt_keeps_no_key_in_what_leads_to_a_deploy_node_alone() -> None:
    prompt: dict[str, Any] = {
        "1": {"class_type": "RunflowDeploy", "inputs": {"endpoint_name": "a", "api_key": ["3", 0]}},
        "2": {"class_type": "CallsRunflow", "inputs": {"key": ["5", 0]}},
        "3": {"class_type": "Concatenate", "inputs": {"first": ["4", 0], "second": ["5", 0]}},
        "4": {"class_type": "PrimitiveString", "inputs": {"value": f" {KEY}\n"}},
        "5": {"class_type": "PrimitiveString", "inputs": {"value": KEY}},
    }
    (warning,) = prompt_without_keys(prompt)
    assert warning.node_id == "4"
    assert KEY not in prompt["4"]["inputs"]["value"]
    assert prompt["5"]["inputs"] == {"value": KEY}, "another node is given it, too"


STORED = """
    SELECT string_agg(what, ', ') FROM (
        SELECT 'workflow_versions' AS what FROM workflow_versions t WHERE t::text LIKE %(key)s
        UNION SELECT 'workflows' FROM workflows t WHERE t::text LIKE %(key)s
        UNION SELECT 'audit_events' FROM audit_events t WHERE t::text LIKE %(key)s
        UNION SELECT 'idempotency_keys' FROM idempotency_keys t
            WHERE t::text LIKE %(key)s OR encode(body, 'escape') LIKE %(key)s
    ) AS found
"""


async def test_nothing_that_is_stored_or_answered_holds_a_key(
    client: httpx.AsyncClient, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    answers = []
    for number, graph in enumerate(GRAPHS.values()):
        sent = {**body(f"w{number}"), "graph": graph}
        sent["workflow_json"] = {
            **sent["workflow_json"],
            "d": {"class_type": "RunflowDeploy", "inputs": {"api_key": KEY}},
        }
        header = {"Idempotency-Key": new_id().hex}
        answers += [await client.post(ROUTE, json=sent, headers=header) for _ in range(2)]
        made = answers[-1].json()
        assert any("Revoke this key" in warning["next_step"] for warning in made["warnings"]), made["warnings"]
        address = f"{ROUTE}/{made['id']}"
        answers.append(await client.patch(address, json={"graph": graph}))
        assert any("Revoke this key" in warning["next_step"] for warning in answers[-1].json()["warnings"])
        answers.append(await client.patch(address, json={"graph": answers[-1].json()["graph"]}))
        answers.append(await client.post(f"{address}/rollbacks", json={"version": "1"}))
        made_versions = (await client.get(f"{address}/versions")).json()["items"]
        answers += [await client.get(f"{address}/versions/{one['version']}") for one in made_versions]
        answers.append(await client.get(address))
    answers.append(await client.get("/v1/audit-events"))
    for answer in answers:
        assert answer.is_success, answer.text
        assert KEY not in answer.text
    async with services.db.system() as transaction:
        assert await transaction.value(STORED, {"key": f"%{KEY}%"}, of=str) is None
    assert KEY not in caplog.text


async def test_the_rest_of_a_graph_is_answered_as_it_was_sent(client: httpx.AsyncClient) -> None:
    graph: dict[str, Any] = {"nodes": [deploy(title="Mine")], "links": [], "version": 0.4}
    made = await created(client, {**body("kept"), "graph": graph})
    graph["nodes"][0]["widgets_values"][2] = ""
    assert made["graph"] == graph
