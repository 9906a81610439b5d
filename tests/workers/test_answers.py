"""What the server answers a worker is what the OpenAPI document says."""

from typing import Any

from pydantic import BaseModel

from runflow.workers import answers
from tests.runs.conftest import Dispatch, MakeWorker, Worker, dispatch, make_worker, worker, workflow  # noqa: F401

PARTS: dict[type[BaseModel], dict[str, type[BaseModel]]] = {
    answers.LeaseAnswer: {"lease": answers.Lease},
    answers.Lease: {"version": answers.LeasedVersion, "limits": answers.Limits},
}


def check(model: type[BaseModel], answer: dict[str, Any]) -> None:
    """The answer fits, and holds no field that the model does not name."""
    model.model_validate(answer)
    assert set(answer) == set(model.model_fields), model.__name__
    for name, part in PARTS.get(model, {}).items():
        check(part, answer[name])


async def test_each_answer_is_as_described(worker: Worker, dispatch: Dispatch) -> None:  # noqa: F811
    run = await dispatch()
    check(answers.Registered, await worker.register())
    answer = await worker.http.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 5})
    check(answers.LeaseAnswer, answer.json())
    lease = answer.json()["lease"]
    assert lease["run_id"] == run["id"]
    check(answers.HeartbeatAnswer, (await worker.heartbeat(lease)).json())
    file = {"ordinal": 0, "filename": "a.png", "content_type": "image/png", "size_bytes": 3}
    uploads = await worker.http.post(f"/v1/worker/leases/{lease['id']}/uploads", json={**worker.me, "files": [file]})
    check(answers.UploadsAnswer, uploads.json())
    check(answers.Upload, uploads.json()["uploads"][0])
    check(answers.CompletionAnswer, (await worker.fail(lease, "EXECUTION_FAILED")).json())
    assert (await worker.http.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 0})).json() == {
        "lease": None
    }
