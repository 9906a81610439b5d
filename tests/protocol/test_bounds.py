"""What a worker may tell: all of it is stored and shown to callers, so all of it is bounded."""

from typing import Any

import httpx
import pytest

from runflow.protocol.bounds import MAX_DOCUMENT_BYTES, MAX_LINE
from tests.support.deployed import Dispatch, Worker

AT = "2026-01-01T00:00:00+00:00"


def deep(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels):
        document = {"x": document}
    return document


@pytest.mark.parametrize("data", [{"x": "a" * MAX_DOCUMENT_BYTES}, deep(400)], ids=["large", "deep"])
async def test_no_document_is_larger_or_deeper_than_it_may_be(
    dispatch: Dispatch,
    worker: Worker,
    data: dict[str, Any],
) -> None:
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    error = {"code": "EXECUTION_FAILED", "stage": "execute", "message": "It broke.", "details": data}
    registration = {**worker.me, "name": worker.name, "status": "ready", "engine": data}
    for answer in (
        await worker.heartbeat(lease, {"number": 1, "type": "progress", "at": AT, "data": data}),
        await worker.complete(lease, "failed", error=error),
        await worker.http.post("/v1/worker/registrations", json=registration),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")


async def test_a_long_line_of_the_log_is_cut(
    client: httpx.AsyncClient,
    dispatch: Dispatch,
    worker: Worker,
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    line = {"level_code": "info", "message": "é" * MAX_DOCUMENT_BYTES}
    assert (await worker.heartbeat(lease, {"number": 1, "type": "log", "at": AT, "data": line})).status_code == 200
    read = (await client.get(f"/v1/runs/{run['id']}?embed=logs")).json()
    assert [line["message"] for line in read["logs"]] == ["é" * MAX_LINE]
