"""The SDK against the application: what a program does, with either client."""

import asyncio
import inspect
import io
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow.client import (
    AsyncRunflow,
    Conflict,
    Event,
    File,
    InvalidRequest,
    NotFound,
    Run,
    RunCancelled,
    RunFailed,
    Runflow,
    RunTimeout,
    Unauthorized,
)
from tests.client.conftest import Both
from tests.support.deployed import PROMPT, Deployed, Worker
from tests.support.serving_worker import Serving
from tests.support.uploading import picture

UUID = "0197f3a0-0000-7000-8000-000000000000"


def test_both_clients_have_one_shape() -> None:
    blocking, awaited = (
        {name: member for name, member in vars(kind).items() if not name.startswith("_")}
        for kind in (Runflow, AsyncRunflow)
    )
    assert blocking.keys() == awaited.keys()
    for name, member in blocking.items():
        if not inspect.isfunction(member):
            continue
        ours, theirs = inspect.signature(member), inspect.signature(awaited[name])
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
        iterates = "Iterator" in str(ours.return_annotation)
        assert inspect.iscoroutinefunction(awaited[name]) is not iterates, name


async def test_a_run_is_made_and_its_picture_saved(
    api: Both, workflow: Deployed, worker: Worker, tmp_path: Path
) -> None:
    content = picture()
    async with Serving(worker, content) as serving:
        run = await api.run(workflow.path, {"prompt": "an otter"}, client_ref="ticket-1")
    assert isinstance(run, Run) and run["status_code"] == run.status_code == "succeeded"
    assert run.client_ref == "ticket-1" and run.created_at is not None and run.created_at.tzinfo is not None
    assert serving.inputs[0]["prompt"] == "an otter"
    (first,) = await api.save_outputs(run, tmp_path / "made")
    (second,) = await api.save_outputs(run.id, tmp_path / "made")
    assert (first.name, second.name) == ("a.png", "a-1.png"), "nothing is replaced"
    assert first.read_bytes() == second.read_bytes() == content
    single = await api.download(run.outputs[0], tmp_path / "one.png")
    assert single.read_bytes() == content


async def test_files_among_the_inputs_are_uploaded_the_same_bytes_once(
    api: Both, workflow: Deployed, tmp_path: Path
) -> None:
    content = picture()
    path = tmp_path / "photo.jpg"  # what it is tells its type, not its name
    path.write_bytes(content)
    with path.open("rb") as file:
        given = [path, content, io.BytesIO(content), file, File(content, "otter.png")]
        runs = [await api.submit(workflow.path, {"prompt": "x", "photo": photo}) for photo in given]
    references = {run["input"]["photo"] for run in runs}
    assert len(references) == 1
    (asset,) = await api.assets()
    assert references == {asset.reference}
    assert (asset.mime_type, asset.size_bytes, asset.name) == ("image/png", len(content), "photo.jpg")
    others = await asyncio.gather(*(api.upload(picture(size=(9, 9))) for _ in range(6)))
    assert len({*others}) == 1 and len(await api.assets()) == 2, "also at the same time"


async def test_a_file_that_somebody_deleted_is_uploaded_anew(
    api: Both, workflow: Deployed, client: httpx.AsyncClient
) -> None:
    inputs = {"prompt": "x", "photo": picture()}
    first = await api.submit(workflow.path, inputs)
    reference = first["input"]["photo"]
    assert (await client.delete("/v1/assets/" + reference.rpartition("/")[2])).status_code == 204
    with io.BytesIO(picture()) as file:
        second = await api.submit(workflow.path, {"prompt": "x", "photo": file})
    assert second["input"]["photo"] not in (reference, None)
    asset = await client.get("/v1/assets/" + second["input"]["photo"].rpartition("/")[2])
    assert asset.json()["size_bytes"] == len(picture())


async def test_a_text_never_names_a_file(api: Both, workflow: Deployed) -> None:
    run = await api.submit(workflow.path, {"prompt": "/etc/passwd"})
    assert run["input"]["prompt"] == "/etc/passwd"
    assert await api.assets() == []


async def test_a_subscriber_hears_of_every_event_and_gets_the_run(
    api: Both, workflow: Deployed, worker: Worker
) -> None:
    heard: list[Event] = []
    queued: list[Run] = []
    async with Serving(worker):
        run = await api.subscribe(
            workflow.path, {"prompt": "x"}, on_event=heard.append, on_submit=queued.append, metadata={"a": 1}
        )
    assert run.status_code == "succeeded" and run.metadata == {"a": 1} and len(run.outputs) == 1
    assert [one.id for one in queued] == [run.id]
    kinds = [one.kind for one in heard]
    assert kinds[0] == kinds[-1] == "status" and "progress" in kinds
    assert heard[-1].is_end and not any(one.is_end for one in heard[:-1])
    heard = [one for one in heard if one.kind != "queue"]  # true at that moment only, and not told again
    again = await api.events(run.id)
    assert [one.number for one in again] == [one.number for one in heard]
    rest = await api.events(run, last_event_id=heard[1].number)
    assert rest == heard[2:]
    assert await api.events(run, last_event_id=heard[-1].number) == []


async def test_a_coroutine_function_may_be_told(
    own_address: str, client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    heard: list[str] = []

    async def tell(event: Event) -> None:
        await asyncio.sleep(0)
        heard.append(event.kind)

    key = client.headers["Authorization"].removeprefix("Bearer ")
    async with AsyncRunflow(own_address, key) as api, Serving(worker):
        await api.subscribe(workflow.path, {"prompt": "x"}, on_event=tell)
    assert heard[-1] == "status"


async def test_a_run_that_fails_or_is_cancelled_raises(api: Both, workflow: Deployed, worker: Worker) -> None:
    async with Serving(worker, fails=True):
        with pytest.raises(RunFailed, match="It broke") as failed:
            await api.run(workflow.path, {"prompt": "x"})
    assert failed.value.code == "EXECUTION_FAILED" and failed.value.run.failure_stage_code == "execute"
    queued = await api.submit(workflow.path, {"prompt": "x"})
    assert (await api.cancel(queued, reason="not wanted")).status_code == "cancelled"
    with pytest.raises(RunCancelled) as cancelled:
        await api.wait(queued.id)
    assert cancelled.value.run.cancellation_reason == "not wanted"
    repeated = await api.rerun(queued, client_ref="second")
    assert (repeated.rerun_of, repeated.client_ref) == (queued.id, "second")
    with pytest.raises(RunTimeout, match=repeated.id) as late:
        await api.wait(repeated, timeout=0.2)
    assert isinstance(late.value, TimeoutError)


async def test_waiting_tells_of_the_record(api: Both, workflow: Deployed, worker: Worker) -> None:
    queued = await api.submit(workflow.path, {"prompt": "x"})
    told: list[Run] = []
    async with Serving(worker):
        await api.wait(queued, progress=told.append)
    assert told[-1].is_terminal and all(isinstance(one, Run) for one in told)


async def test_refusals_are_of_the_family_that_fits(api: Both, workflow: Deployed, own_address: str) -> None:
    with pytest.raises(InvalidRequest, match="Did you mean") as invalid:
        await api.submit(workflow.path, {"promt": "x"})
    assert invalid.value.code == "VALIDATION_ERROR" and invalid.value.request_id
    assert {one.loc[-1] for one in invalid.value.errors} == {"promt", "prompt"}
    with pytest.raises(NotFound) as missing:
        await api.get_run(UUID)
    assert (missing.value.status, missing.value.code) == (404, "RUN_NOT_FOUND")
    stranger = Runflow(own_address, "rf_live_" + "x" * 40)
    with stranger, pytest.raises(Unauthorized):
        await asyncio.to_thread(stranger.get_run, UUID)
    for wrong in ("portrait", "/portrait", "default/", ""):
        with pytest.raises(ValueError, match="default/portrait"):
            await api.submit(wrong, {})


async def test_one_key_is_one_run(api: Both, workflow: Deployed) -> None:
    first = await api.submit(workflow.path, {"prompt": "x"}, idempotency_key="order-1")
    assert (await api.submit(workflow.path, {"prompt": "x"}, idempotency_key="order-1")).id == first.id
    waiting = await api.submit(workflow.path, {"prompt": "x"}, idempotency_key="order-1", wait=0.01)
    assert waiting.id == first.id, "however long it is waited for"
    with pytest.raises(Conflict):
        await api.submit(workflow.path, {"prompt": "y"}, idempotency_key="order-1")
    assert (await api.submit(workflow.path, {"prompt": "x"})).id != first.id


async def test_lists_go_on_through_their_pages(api: Both, workflow: Deployed) -> None:
    made = [(await api.submit(workflow.path, {"prompt": str(number)})).id for number in range(7)]
    newest = made[::-1]
    assert [run.id for run in await api.runs(page_size=3)] == newest
    assert [run.id for run in await api.runs(workflow.path, page_size=2, limit=5)] == newest[:5]
    assert [run.id for run in await api.runs(q="status_code:succeeded")] == []
    (listed,) = await api.workflows(embed=["inputs", "outputs"])
    assert (listed.path, [one.name for one in listed.inputs]) == (workflow.path, ["prompt", "steps", "photo"])
    assert [one["id"] for one in await api.each("/v1/comfyui-workflows")] == [workflow.id]
    assert (await api.request("GET", "/v1/gpus", params={"limit": 1})).keys() >= {"items", "next"}


async def test_deployments_at_the_same_time_are_versions_of_one_workflow(
    own_address: str, client: httpx.AsyncClient
) -> None:
    key = client.headers["Authorization"].removeprefix("Bearer ")
    prompts = [{**PROMPT, str(90 + number): {"class_type": "Anything", "inputs": {}}} for number in range(4)]
    async with AsyncRunflow(own_address, key) as api:
        made = await asyncio.gather(*(api.deploy("portrait", prompt) for prompt in prompts))
    assert len({one.id for one in made}) == 1 and sorted(one.version or "" for one in made) == ["1", "2", "3", "4"]


async def test_a_second_deployment_leaves_the_name_that_people_gave(api: Both) -> None:
    made = await api.deploy("portrait", PROMPT)
    assert (made.name, made.slug, made.version) == ("portrait", "portrait", "1")
    changed: dict[str, Any] = {**PROMPT, "5": {"class_type": "Anything", "inputs": {}}}
    assert (await api.deploy("portrait", changed, name="Portrait")).name == "Portrait"
    assert (await api.deploy("portrait", PROMPT)).name == "Portrait"
    found = await api.get_workflow(made.path)
    assert found.version == "3" and [one.name for one in found.inputs if one.is_required] == ["prompt"]
    assert (await api.get_workflow(made.id)).path == made.path
    with pytest.raises(InvalidRequest, match="API format"):
        await api.deploy("other", {"nodes": [], "links": []})
