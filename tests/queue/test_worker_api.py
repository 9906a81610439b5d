"""What the server answers a worker is what the OpenAPI document says."""

from typing import Any

from pydantic import BaseModel

from runflow.ids import new_id
from runflow.queue import schemas
from tests.support.deployed import Dispatch, Worker

PARTS: dict[type[BaseModel], dict[str, type[BaseModel]]] = {
    schemas.LeaseAnswer: {"lease": schemas.Lease},
    schemas.Lease: {"version": schemas.LeasedVersion, "limits": schemas.Limits},
}


def check(model: type[BaseModel], answer: dict[str, Any]) -> None:
    """The answer fits, and holds no field that the model does not name."""
    model.model_validate(answer)
    assert set(answer) == set(model.model_fields), model.__name__
    for name, part in PARTS.get(model, {}).items():
        check(part, answer[name])


async def test_each_answer_is_as_described(worker: Worker, dispatch: Dispatch) -> None:
    await dispatch()
    check(schemas.Registered, await worker.register())
    first = await worker.lease()
    assert first is not None
    assert first["uploads"] == []
    run = await dispatch()
    file = {"ordinal": 0, "filename": "a.png", "content_type": "image/png"}
    expected = [{"version_id": str(new_id()), "files": []}, {"version_id": first["version"]["id"], "files": [file]}]
    ask = {**worker.me, "wait_seconds": 5, "expected": expected}
    answer = await worker.http.post("/v1/worker/leases", json=ask)
    check(schemas.LeaseAnswer, answer.json())
    lease = answer.json()["lease"]
    assert lease["run_id"] == run["id"]
    (upload,) = lease["uploads"]
    check(schemas.ExpectedUpload, upload)
    assert upload["object_key"] == f"runs/{run['id']}/{lease['id']}/0-a.png"
    stored = await worker.http.put(upload["url"], content=b"png", headers=upload["headers"])
    assert stored.status_code == 200, stored.text
    check(schemas.HeartbeatAnswer, (await worker.heartbeat(lease)).json())
    files = [{**file, "size_bytes": 3}]
    uploads = await worker.http.post(f"/v1/worker/leases/{lease['id']}/uploads", json={**worker.me, "files": files})
    check(schemas.UploadsAnswer, uploads.json())
    check(schemas.Upload, uploads.json()["uploads"][0])
    check(schemas.CompletionAnswer, (await worker.fail(lease, "EXECUTION_FAILED")).json())
    assert (await worker.http.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 0})).json() == {
        "lease": None
    }
