"""A completion that brings its small outputs along, and whose answer brings the next run."""

import asyncio
import dataclasses
import hashlib
from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from runflow.protocol.codec import PARCEL, pack
from runflow.web.responses import dumps
from runflow.web.services import Services
from tests.support.application import open_client
from tests.support.deployed import Deployed, Dispatch, Worker


def output(content: bytes = b"png", ordinal: int = 0, **changes: Any) -> dict[str, Any]:
    """What a completion says of an output that it brings along."""
    return {
        "ordinal": ordinal,
        "filename": f"{ordinal}.png",
        "content_type": "image/png",
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "output_id": "picture",
        "node_id": "9",
        **changes,
    }


async def bring(
    worker: Worker, lease: dict[str, Any], outputs: list[dict[str, Any]], content: bytes, **more: Any
) -> httpx.Response:
    body = {**worker.me, "result": "succeeded", "outputs": outputs, **more}
    return await worker.http.post(
        f"/v1/worker/leases/{lease['id']}/completions",
        content=pack(dumps(body), [content]),
        headers={"Content-Type": PARCEL},
    )


async def taken(dispatch: Dispatch, worker: Worker) -> tuple[dict[str, Any], dict[str, Any]]:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None and lease["run_id"] == run["id"]
    return run, lease


async def test_what_comes_along_is_what_the_caller_gets(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await taken(dispatch, worker)
    assert lease["limits"]["inline_bytes"] == 4 * 1024 * 1024
    done = await bring(worker, lease, [output(b"one"), output(b"two!", 1)], b"onetwo!")
    assert done.status_code == 200, done.text
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    files = read["output"]["outputs"]
    assert [(await client.get(file["url"])).content for file in files] == [b"one", b"two!"]
    assert [file["sha256"] for file in files] == [hashlib.sha256(each).hexdigest() for each in (b"one", b"two!")]


async def test_the_same_said_again_changes_nothing_and_other_bytes_are_refused(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run, lease = await taken(dispatch, worker)
    first = await bring(worker, lease, [output()], b"png")
    again = await bring(worker, lease, [output()], b"png")
    assert first.json() == again.json()
    other = await bring(worker, lease, [output(b"PNG")], b"PNG")
    assert other.status_code == 409, other.text
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert (await client.get(read["output"]["outputs"][0]["url"])).content == b"png"


@pytest.mark.parametrize(
    ("outputs", "content", "said"),
    [
        ([output(size_bytes=4)], b"png", "ends before the bytes of the output '0.png'"),
        ([output()], b"png and more", "has 9 bytes more than its outputs"),
        ([output(sha256="0" * 64)], b"png", "has the SHA-256"),
        ([output(sha256=None)], b"png", "has the SHA-256"),
    ],
)
async def test_what_does_not_fit_is_refused_and_the_lease_stays(
    client: httpx.AsyncClient,
    dispatch: Dispatch,
    worker: Worker,
    outputs: list[dict[str, Any]],
    content: bytes,
    said: str,
) -> None:
    run, lease = await taken(dispatch, worker)
    refused = await bring(worker, lease, outputs, content)
    assert (refused.status_code, refused.json()["code"]) == (422, "VALIDATION_ERROR")
    assert said in refused.json()["message"]
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["status_code"] == "dispatching"
    assert (await bring(worker, lease, [output()], b"png")).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"0000000009{}", b"-000000002{}", b"0000000001{{}"])
async def test_what_is_no_parcel_is_refused(dispatch: Dispatch, worker: Worker, body: bytes) -> None:
    _, lease = await taken(dispatch, worker)
    refused = await worker.http.post(
        f"/v1/worker/leases/{lease['id']}/completions", content=body, headers={"Content-Type": PARCEL}
    )
    assert refused.status_code in (400, 422), refused.text


async def test_nothing_is_stored_for_a_lease_that_is_not_the_workers(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    _, lease = await taken(dispatch, worker)
    stranger = Worker(worker.http, f"worker-{new_id().hex[-8:]}", worker.gpu)
    await stranger.register()
    refused = await bring(stranger, lease, [output()], b"png")
    assert (refused.status_code, refused.json()["code"]) == (404, "LEASE_NOT_FOUND")
    assert await services.storage.head(f"runs/{lease['run_id']}/{lease['id']}/0-0.png") is None


async def test_the_next_run_comes_with_the_answer(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    _, lease = await taken(dispatch, worker)
    second, third = await dispatch(), await dispatch()
    expected = [{"version_id": lease["version"]["id"], "files": [{"ordinal": 0, "filename": "a", "content_type": "b"}]}]
    room = {"warm": [], "expected": expected}
    answer = (await bring(worker, lease, [output()], b"png", next=room)).json()
    assert answer["lease"]["run_id"] == second["id"]
    assert [each["filename"] for each in answer["lease"]["uploads"]] == ["a"]
    without = (await bring(worker, answer["lease"], [output()], b"png")).json()
    assert without["lease"] is None
    last = await worker.lease()
    assert last is not None and last["run_id"] == third["id"]
    ended = (await worker.complete(last, "failed", next=room)).json()
    assert (ended["status_code"], ended["lease"] is None or ended["lease"]["run_id"]) in (
        ("failed", True),
        ("queued", third["id"]),
    )


async def test_a_run_is_handed_out_once_when_completions_and_polls_ask_together(
    dispatch: Dispatch, worker: Worker
) -> None:
    _, lease = await taken(dispatch, worker)
    waiting = {(await dispatch())["id"] for _ in range(3)}
    room: dict[str, Any] = {"warm": [], "expected": []}
    answer, *polled = await asyncio.gather(
        bring(worker, lease, [output()], b"png", next=room), *(worker.lease() for _ in range(4))
    )
    found = [one["run_id"] for one in (answer.json()["lease"], *polled) if one is not None]
    assert len(found) == len(set(found)) and set(found) <= waiting


async def test_the_items_of_a_batch_come_one_after_the_other(
    client: httpx.AsyncClient, workflow: Deployed, worker: Worker
) -> None:
    path = f"/v1/comfyui-workflows/{workflow.path}/batches"
    made = (await client.post(path, json={"input": [{"prompt": text} for text in "abc"]})).json()
    lease = await worker.lease()
    taken = []
    while lease is not None:
        taken.append(lease["run_id"])
        answer = await bring(worker, lease, [output()], b"png", next={"warm": [], "expected": []})
        lease = answer.json()["lease"]
    assert taken == [item["run_id"] for item in made["items"]]
    assert (await client.get(f"/v1/batches/{made['id']}")).json()["status_code"] == "succeeded"


@pytest.mark.parametrize(
    ("public_url", "led_to"),
    [("https://testserver", "https://testserver/"), ("https://other.example", "http://testserver/")],
)
async def test_urls_lead_to_where_the_worker_reaches_the_server(
    services: Services, dispatch: Dispatch, worker: Worker, public_url: str, led_to: str
) -> None:
    """A proxy that speaks TLS for the server is known by the public address alone."""
    _, lease = await taken(dispatch, worker)
    settings = services.settings.model_copy(update={"public_url": public_url})
    token = worker.http.headers["Authorization"].removeprefix("Bearer ")
    async with open_client(dataclasses.replace(services, settings=settings), token) as http:
        file = {"ordinal": 0, "filename": "a.png", "content_type": "image/png"}
        path = f"/v1/worker/leases/{lease['id']}/uploads"
        answer = await http.post(path, json={**worker.me, "files": [file]})
    assert answer.json()["uploads"][0]["url"].startswith(led_to)
