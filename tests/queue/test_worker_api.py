"""What the server answers a worker is what the OpenAPI document says."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import TypeAdapter

from runflow.ids import new_id
from runflow.protocol.completions import CompletionAnswer
from runflow.protocol.leases import HeartbeatAnswer, Lease, LeaseAnswer, LeasedVersion, Limits
from runflow.protocol.outputs import ExpectedUpload, Upload, UploadsAnswer
from runflow.protocol.workers import Registered
from tests.support.deployed import Deployed, Dispatch, Worker

PARTS: dict[type[Any], dict[str, type[Any]]] = {
    LeaseAnswer: {"lease": Lease},
    Lease: {"version": LeasedVersion, "limits": Limits},
}


def check(model: type[Any], answer: dict[str, Any]) -> None:
    """The answer fits, and holds no field that the model does not name."""
    TypeAdapter(model).validate_python(answer)
    assert set(answer) == {field.name for field in fields(model)}, model.__name__
    for name, part in PARTS.get(model, {}).items():
        check(part, answer[name])


async def test_tracebacks_are_asked_for_where_the_caller_owns_the_workflow(
    client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    worker: Worker,
    workflow: Deployed,
    dispatch: Dispatch,
) -> None:
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"is_public": True})
    await dispatch()
    own = await worker.lease()
    assert own is not None and own["tracebacks"] is True
    told = {"code": "EXECUTION_FAILED", "stage": "execute", "message": "It broke.", "node_id": "3"}
    event = {"number": 1, "type": "log", "at": datetime.now(UTC).isoformat()}
    line = {"level_code": "error", "message": "nodes.py, line 3", "node_id": "3"}
    failure = {**told, "details": {"input": "prompt"}}
    assert (await worker.complete(own, "failed", error=failure, events=[{**event, "data": line}])).status_code == 200
    run = (await client.get(f"/v1/runs/{own['run_id']}")).json()
    assert (run["error"]["input"], run["error"]["node_id"]) == ("prompt", "3")
    logs = (await client.get(f"/v1/runs/{own['run_id']}/logs", params={"q": "level_code:error"})).json()["items"]
    assert [(entry["message"], entry["meta"]) for entry in logs] == [("nodes.py, line 3", {"node_id": "3"})]
    await other_client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "x"}})
    foreign = await worker.lease()
    assert foreign is not None and foreign["tracebacks"] is False


async def test_each_answer_is_as_described(worker: Worker, dispatch: Dispatch) -> None:
    await dispatch()
    check(Registered, await worker.register())
    first = await worker.lease()
    assert first is not None
    assert first["uploads"] == []
    run = await dispatch()
    file = {"ordinal": 0, "filename": "a.png", "content_type": "image/png"}
    expected = [{"version_id": str(new_id()), "files": []}, {"version_id": first["version"]["id"], "files": [file]}]
    ask = {**worker.me, "wait_seconds": 5, "expected": expected}
    answer = await worker.http.post("/v1/worker/leases", json=ask)
    check(LeaseAnswer, answer.json())
    lease = answer.json()["lease"]
    assert lease["run_id"] == run["id"]
    (upload,) = lease["uploads"]
    check(ExpectedUpload, upload)
    assert upload["object_key"] == f"runs/{run['id']}/{lease['id']}/0-a.png"
    stored = await worker.http.put(upload["url"], content=b"png", headers=upload["headers"])
    assert stored.status_code == 200, stored.text
    check(HeartbeatAnswer, (await worker.heartbeat(lease)).json())
    files = [{**file, "size_bytes": 3}]
    uploads = await worker.http.post(f"/v1/worker/leases/{lease['id']}/uploads", json={**worker.me, "files": files})
    check(UploadsAnswer, uploads.json())
    check(Upload, uploads.json()["uploads"][0])
    check(CompletionAnswer, (await worker.fail(lease, "EXECUTION_FAILED")).json())
    assert (await worker.http.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 0})).json() == {
        "lease": None
    }
