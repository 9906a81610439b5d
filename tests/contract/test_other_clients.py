"""What public clients of the ComfyUI dispatch route read, each by the field names it uses (docs/compatibility.md)."""

from typing import Any

import httpx
import pytest

from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.workflow_calls import NOWHERE


async def finished(client: httpx.AsyncClient, worker: Worker, run: dict[str, Any], *, fails: bool = False) -> Any:
    lease = await worker.lease(wait=5)
    while lease is not None and lease["run_id"] != run["id"]:
        # Left waiting by another test, for any GPU.
        await worker.fail(lease, "EXECUTION_FAILED")
        lease = await worker.lease(wait=5)
    assert lease is not None
    assert (await worker.heartbeat(lease)).status_code == 200
    if fails:
        assert (await worker.fail(lease, "EXECUTION_FAILED")).status_code == 200
    else:
        output = await worker.upload(lease)
        assert (await worker.complete(lease, outputs=[output])).status_code == 200
    return (await client.get(f"/v1/runs/{run['id']}")).json()


async def test_the_answer_to_a_dispatch_has_an_id_and_a_status_under_both_names(dispatch: Dispatch) -> None:
    run = await dispatch(client_ref=None, callback_url=None, metadata=None)
    assert run.get("run_id") or run["id"]
    assert run["status_code"] == run["status"] == "queued"


async def test_a_finished_run_has_what_each_client_takes_from_it(
    client: httpx.AsyncClient, worker: Worker, dispatch: Dispatch
) -> None:
    run = await finished(client, worker, await dispatch())
    first = run["output"]["outputs"][0]
    assert run["output"]["kind"] == "comfyui_outputs"
    assert (await client.get(first["url"])).content == b"png"
    assert {"output_id", "url", "content_type", "size_bytes", "width", "height"} <= set(first)
    assert float(run["cost"]) >= 0
    assert isinstance(run["duration_ms"], int)
    assert run["status"] in ("succeeded",) and run["error"] is None and run["failure_message"] is None


async def test_a_run_has_the_names_that_the_sdk_s_types_and_the_studio_know(
    client: httpx.AsyncClient, worker: Worker, workflow: Deployed, dispatch: Dispatch
) -> None:
    waiting = await dispatch()
    assert (waiting["model"], waiting["finished_at"]) == (workflow.path, None)
    run = await finished(client, worker, waiting)
    assert (run["model"], run["finished_at"]) == (workflow.path, run["completed_at"])
    assert run["output"]["image_urls"] == [run["output"]["outputs"][0]["url"]]
    listed = (await client.get("/v1/runs", params={"fields": "model", "embed": "model"})).json()["items"]
    assert listed[0] == {"model": workflow.path}


async def test_a_failed_run_says_why_under_every_name_that_is_read(
    client: httpx.AsyncClient, worker: Worker, dispatch: Dispatch
) -> None:
    run = await finished(client, worker, await dispatch(), fails=True)
    assert run["status_code"] == "failed"
    assert run["failure_code"] == run["error"]["code"] == "EXECUTION_FAILED"
    assert run["failure_message"] == run["failure_reason"] == run["error"]["message"] == "It broke. Mend it."
    assert run["failure_stage_code"] == "execute"


async def test_answers_are_json_by_their_content_type(client: httpx.AsyncClient, workflow: Deployed) -> None:
    for address in ("/v1/health", f"/v1/comfyui-workflows/{workflow.path}", "/v1/nothing", "/v1/credit-balances"):
        assert (await client.get(address)).headers["Content-Type"].startswith("application/json"), address


async def test_the_balance_stands_where_one_client_looks_for_it(client: httpx.AsyncClient) -> None:
    """Without a budget there is none to show: null, not a zero that reads as used up."""
    first = (await client.get("/v1/credit-balances")).json()["items"][0]
    assert first["balance_usd"] == first["balance"]
    assert first["balance"] is None or float(first["balance"]) >= 0


@pytest.mark.parametrize("name", ["Aux Reference 1", "prompt"])
async def test_input_names_may_contain_spaces(client: httpx.AsyncClient, name: str) -> None:
    prompt = {
        "1": {"class_type": "RunflowInputString", "inputs": {"input_id": name, "required": True}},
        "2": {"class_type": "Anything", "inputs": {"text": ["1", 0]}},
        "3": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "image", "value": ["2", 0]}},
    }
    body = {"name": f"Spaces {name}", "workflow_json": prompt, **NOWHERE}
    made = await client.post("/v1/comfyui-workflows", json=body)
    run = await client.post(f"/v1/comfyui-workflows/{made.json()['path']}/runs", json={"input": {name: "an otter"}})
    assert (run.status_code, run.json()["input"]) == (201, {name: "an otter"})


async def test_a_run_s_evaluations_are_a_list_even_where_there_are_none(
    client: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    run = await dispatch()
    assert (await client.get(f"/v1/runs/{run['id']}/evaluations")).json()["items"] == []
