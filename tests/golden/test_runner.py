"""Golden runs from the deployment to the switch, with a worker that speaks the Worker API."""

import httpx
import pytest

from runflow.web.services import Services
from tests.golden.conftest import deploy, ended, finish, golden, keep, next_prompt, read
from tests.support.deployed import PROMPT, Deployed, Dispatch, Worker
from tests.support.waiting import until


async def test_a_version_serves_once_its_examples_succeeded(
    client: httpx.AsyncClient, kept: Deployed, worker: Worker, dispatch: Dispatch
) -> None:
    await keep(client, kept.id, "second", input={"prompt": "two otters", "steps": 8})
    made = await deploy(client, kept.id)
    tested = made["golden_run"]
    assert (made["version"], tested["version"], tested["status_code"]) == ("1", "2", "running")
    assert (await dispatch())["target_version"] == "1"
    first = await worker.lease(wait=20)
    assert first is not None
    await worker.complete(first, outputs=[])
    await finish(worker)
    assert (await read(client, kept.id))["version"] == "1"
    await finish(worker)
    found = await ended(client, kept.id, tested["id"])
    assert (found["status_code"], found["reasons"]) == ("passed", [])
    assert [one["name"] for one in found["examples"]] == ["otter", "second"]
    after = await read(client, kept.id)
    assert (after["version"], after["golden_run"]["status_code"]) == ("2", "passed")
    assert after["workflow_json"]["4"]["inputs"]["strength"] == 2
    assert (await dispatch())["target_version"] == "2"
    run = (await client.get(f"/v1/runs/{found['examples'][1]['run_id']}")).json()
    assert (run["source_code"], run["target_version"], run["input"]["steps"]) == ("golden", "2", 8)
    assert run["metadata"] == {"golden_run_id": tested["id"], "example": "second"}
    listed = (await client.get("/v1/runs?q=source_code:golden")).json()["items"]
    assert {one["id"] for one in listed} == {one["run_id"] for one in found["examples"]}
    events = (await client.get("/v1/audit-events?q=action_code:comfyui_workflow.promoted")).json()["items"]
    assert [event["details"]["version"] for event in events] == ["2"]


async def test_a_failure_keeps_the_old_version_and_stops_the_rest(
    client: httpx.AsyncClient, kept: Deployed, worker: Worker, dispatch: Dispatch
) -> None:
    await keep(client, kept.id, "second", input={"prompt": "two otters"})
    made = await deploy(client, kept.id)
    lease = await worker.lease(wait=20)
    assert lease is not None
    await worker.fail(lease, "EXECUTION_FAILED")
    found = await ended(client, kept.id, made["golden_run"]["id"])
    (why,) = found["reasons"]
    failed = found["examples"][0]
    assert (found["status_code"], why["code"], why["example"]) == ("failed", "EXECUTION_FAILED", "otter")
    assert why["run_id"] == failed["run_id"] and "It broke. Mend it." in why["message"]

    async def stopped() -> bool:
        return bool((await golden(client, kept.id, found["id"]))["examples"][1]["status_code"] == "cancelled")

    await until(stopped)
    assert (await read(client, kept.id))["version"] == "1"
    assert (await dispatch())["target_version"] == "1"
    version = (await client.get(f"/v1/comfyui-workflows/{kept.id}/versions/2")).json()
    assert (version["is_current"], version["golden_run"]["status_code"]) == (False, "failed")


async def test_the_interface_changes_with_the_switch_and_not_before(
    client: httpx.AsyncClient, kept: Deployed, worker: Worker
) -> None:
    prompt = next_prompt(text=["1", 0], scale=["5", 0])
    prompt["5"] = {"class_type": "RunflowInputFloat", "inputs": {"input_id": "scale", "required": False, "value": 1.0}}
    made = await deploy(client, kept.id, workflow_json=prompt)
    names = {row["name"] for row in made["inputs"]}
    assert names == {"prompt", "steps", "photo"}
    await finish(worker)
    await ended(client, kept.id, made["golden_run"]["id"])
    assert {row["name"] for row in (await read(client, kept.id))["inputs"]} == names | {"scale"}


async def test_of_two_deployments_the_newer_one_wins(client: httpx.AsyncClient, kept: Deployed, worker: Worker) -> None:
    older = (await deploy(client, kept.id))["golden_run"]
    lease = await worker.lease(wait=20)
    assert lease is not None
    newer = (await deploy(client, kept.id, workflow_json=next_prompt(strength=3)))["golden_run"]
    assert (newer["version"], newer["status_code"]) == ("3", "running")
    found = await ended(client, kept.id, older["id"])
    assert (found["status_code"], found["reasons"][0]["code"]) == ("superseded", "SUPERSEDED")
    await worker.complete(lease, outputs=[])
    await finish(worker)
    assert (await ended(client, kept.id, newer["id"]))["status_code"] == "passed"
    assert (await read(client, kept.id))["version"] == "3"


@pytest.mark.parametrize("way", ["deploy", "roll back", "input"])
async def test_what_changes_the_version_meanwhile_supersedes(
    client: httpx.AsyncClient, kept: Deployed, worker: Worker, way: str
) -> None:
    tested = (await deploy(client, kept.id))["golden_run"]
    path = f"/v1/comfyui-workflows/{kept.id}"
    if way == "deploy":
        answer = await client.patch(path, json={"workflow_json": next_prompt(strength=5)})
    elif way == "roll back":
        answer = await client.post(f"{path}/rollbacks", json={"version": "1"})
    else:
        inputs = (await client.get(f"{path}/inputs")).json()["items"]
        answer = await client.patch(f"{path}/inputs/{inputs[0]['id']}", json={"description": "What to draw."})
    assert answer.is_success, answer.text
    assert (await ended(client, kept.id, tested["id"]))["status_code"] == "superseded"
    assert (await read(client, kept.id))["version"] == "3"


async def test_a_deleted_workflow_is_not_tested(client: httpx.AsyncClient, kept: Deployed, worker: Worker) -> None:
    tested = (await deploy(client, kept.id))["golden_run"]
    assert (await client.delete(f"/v1/comfyui-workflows/{kept.id}")).status_code == 204
    found = await ended(client, kept.id, tested["id"])
    assert (found["status_code"], found["reasons"][0]["code"]) == ("cancelled", "WORKFLOW_DELETED")


async def test_a_first_version_serves_only_after_it_passed(
    client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    body = {
        "name": "Fresh",
        "workflow_json": PROMPT,
        "gpu_mode": "explicit",
        "gpu_explicit_models": [workflow.gpu],
        "examples": [{"name": "otter", "input": {"prompt": "an otter"}}],
        "golden": True,
    }
    made = (await client.post("/v1/comfyui-workflows", json=body)).json()
    assert (made["is_serving"], made["golden_run"]["status_code"]) == (False, "running")
    runs = f"/v1/comfyui-workflows/{made['path']}/runs"
    refused = await client.post(runs, json={"input": {"prompt": "x"}})
    assert (refused.status_code, refused.json()["code"]) == (409, "WORKFLOW_NOT_SERVING")
    batch = await client.post(
        f"/v1/comfyui-workflows/{made['path']}/batches", json={"items": [{"input": {"prompt": "x"}}]}
    )
    assert (batch.status_code, batch.json()["code"]) == (409, "WORKFLOW_NOT_SERVING")
    version = (await client.get(f"/v1/comfyui-workflows/{made['id']}/versions/1")).json()
    assert version["is_current"] is False
    await finish(worker)
    assert (await ended(client, made["id"], made["golden_run"]["id"]))["status_code"] == "passed"
    assert (await client.post(runs, json={"input": {"prompt": "x"}})).status_code == 201
    after = await read(client, made["id"])
    assert (after["is_serving"], after["version"]) == (True, "1")


async def test_the_time_limit_ends_what_nobody_runs(client: httpx.AsyncClient, kept: Deployed) -> None:
    tested = (await deploy(client, kept.id, golden={"timeout_seconds": 1}))["golden_run"]
    found = await ended(client, kept.id, tested["id"])
    (why,) = found["reasons"]
    assert (found["status_code"], why["code"], why["example"]) == ("failed", "TIME_LIMIT", "otter")
    assert "waiting for a worker" in why["message"]


async def test_an_example_that_does_not_fit_fails_at_once_and_can_be_mended(
    client: httpx.AsyncClient, kept: Deployed, worker: Worker
) -> None:
    prompt = next_prompt(style=["5", 0])
    prompt["5"] = {"class_type": "RunflowInputString", "inputs": {"input_id": "style", "required": True}}
    made = (await deploy(client, kept.id, workflow_json=prompt))["golden_run"]
    (why,) = made["reasons"]
    assert (made["status_code"], why["code"], why["example"]) == ("failed", "EXAMPLE_DOES_NOT_FIT", "otter")
    assert '"style"' in why["message"]
    await keep(client, kept.id, "otter", input={"prompt": "an otter", "style": "ink"}, version="2")
    again = await client.post(f"/v1/comfyui-workflows/{kept.id}/golden-runs", json={"version": "2"})
    assert again.status_code == 201, again.text
    await finish(worker)
    assert (await ended(client, kept.id, again.json()["id"]))["status_code"] == "passed"
    assert (await read(client, kept.id))["version"] == "2"


async def test_cancelling_and_promoting_anyway(client: httpx.AsyncClient, kept: Deployed, dispatch: Dispatch) -> None:
    path = f"/v1/comfyui-workflows/{kept.id}"
    tested = (await deploy(client, kept.id))["golden_run"]
    address = f"{path}/golden-runs/{tested['id']}/cancellation"
    answers = [await client.post(address) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[1].json()["status_code"] == "cancelled"
    promoted = await client.post(f"{path}/promotions", json={"version": "2"})
    assert (promoted.status_code, promoted.json()["version"]) == (201, "2")
    assert (await dispatch())["target_version"] == "2"
    again = await client.post(f"{path}/promotions", json={"version": "2"})
    older = await client.post(f"{path}/promotions", json={"version": "1"})
    unknown = await client.post(f"{path}/promotions", json={"version": "9"})
    assert [again.status_code, older.status_code, unknown.status_code] == [409, 409, 404]
    assert "rollbacks" in older.json()["message"]


async def test_a_run_that_a_caller_cancels_fails_it(client: httpx.AsyncClient, kept: Deployed) -> None:
    tested = (await deploy(client, kept.id))["golden_run"]

    async def dispatched() -> str | None:
        run: str | None = (await golden(client, kept.id, tested["id"]))["examples"][0]["run_id"]
        return run

    run = await until(dispatched)
    assert (await client.post(f"/v1/runs/{run}/cancellation")).status_code == 201
    found = await ended(client, kept.id, tested["id"])
    assert (found["status_code"], found["reasons"][0]["code"]) == ("failed", "RUN_CANCELLED")


async def test_a_rollback_can_be_tested_too(client: httpx.AsyncClient, kept: Deployed, worker: Worker) -> None:
    path = f"/v1/comfyui-workflows/{kept.id}"
    await client.patch(path, json={"workflow_json": next_prompt()})
    answer = await client.post(f"{path}/rollbacks", json={"version": "1", "golden": True})
    made = answer.json()
    assert (made["version"], made["golden_run"]["version"]) == ("2", "3")
    assert made["workflow_json"]["4"]["inputs"]["strength"] == 2
    await finish(worker)
    await ended(client, kept.id, made["golden_run"]["id"])
    after = await read(client, kept.id)
    assert (after["version"], "strength" in after["workflow_json"]["4"]["inputs"]) == ("3", False)


async def test_without_examples_it_says_what_to_do(client: httpx.AsyncClient, workflow: Deployed) -> None:
    body = {"workflow_json": next_prompt(), "golden": True}
    answer = await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "golden"])
    assert "POST /v1/comfyui-workflows/" in answer.json()["message"]
    assert (await client.get(f"/v1/comfyui-workflows/{workflow.id}/versions?fields=version")).json()["items"] == [
        {"version": "1"}
    ]


async def test_what_makes_no_version_is_not_tested(client: httpx.AsyncClient, kept: Deployed) -> None:
    made = await deploy(client, kept.id, workflow_json=PROMPT)
    assert (made["version"], made["golden_run"]) == ("1", None)
    assert any("tested nothing" in warning["message"] for warning in made["warnings"])


async def test_a_second_server_takes_up_what_a_first_one_left(
    services: Services, elsewhere: Services, client: httpx.AsyncClient, kept: Deployed, worker: Worker
) -> None:
    """Two servers look at once all the time: every example still runs once, and the version is switched once."""
    tested = (await deploy(client, kept.id))["golden_run"]
    elsewhere.hub.publish("golden")
    await finish(worker)
    assert (await ended(client, kept.id, tested["id"]))["status_code"] == "passed"
    listed = (await client.get("/v1/runs?q=source_code:golden")).json()["items"]
    assert len(listed) == 1
    events = (await client.get("/v1/audit-events?q=action_code:comfyui_workflow.promoted")).json()["items"]
    assert len(events) == 1

    async def closed() -> bool:
        async with services.db.system() as transaction:
            return (
                await transaction.value(
                    "SELECT due_at IS NULL FROM golden_runs WHERE id = %(id)s", {"id": tested["id"]}, of=bool
                )
                or False
            )

    await until(closed)
