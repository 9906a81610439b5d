"""This server's own signed URLs as inputs: clients send an upload's `url`, and one run's output to the next."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from runflow.runs import file_inputs
from runflow.web.services import Services
from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.uploading import picture, upload


def by_another_name(url: str) -> str:
    """The same URL, as a client gets it that reaches the server by another scheme, name and port."""
    return urlsplit(url)._replace(scheme="https", netloc="box.example:8443").geturl()


async def finished(dispatch: Dispatch, worker: Worker, content: bytes) -> dict[str, Any]:
    await dispatch()
    lease = await worker.lease(wait=20)
    assert lease is not None
    output = await worker.upload(lease, content)
    assert (await worker.complete(lease, outputs=[output])).status_code == 200
    return lease


async def photo_of(client: httpx.AsyncClient, run: dict[str, Any]) -> bytes:
    url = (await client.get(f"/v1/runs/{run['id']}")).json()["input"]["photo"]
    return (await client.get(url, headers={"Authorization": ""})).content


async def test_the_url_of_an_upload_is_the_asset(client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker) -> None:
    asset = await upload(client, picture())
    assert asset["url"].startswith("http://")
    for url in (asset["url"], by_another_name(asset["url"])):
        run = await dispatch(input={"prompt": "x", "photo": url})
        assert run["input"]["photo"] == f"runflow://assets/{asset['id']}"
    lease = await worker.lease(wait=20)
    assert lease is not None and f"runflow://assets/{asset['id']}" in lease["files"]
    assert len((await client.get("/v1/assets")).json()["items"]) == 1


async def test_the_output_of_a_run_is_the_input_of_the_next(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, workflow: Deployed
) -> None:
    lease = await finished(dispatch, worker, picture())
    url = (await client.get(f"/v1/runs/{lease['run_id']}")).json()["output"]["outputs"][0]["url"]
    run = await dispatch(input={"prompt": "x", "photo": url})
    assert await photo_of(client, run) == picture()
    following = await worker.lease(wait=20)
    assert following is not None
    file = following["files"][run["input"]["photo"]]
    assert (file["filename"], file["mime_type"], file["size_bytes"]) == ("a.png", "image/png", len(picture()))
    # What was read back can be sent again, to another item of a batch as well.
    sent = (await client.get(f"/v1/runs/{run['id']}")).json()["input"]
    body = {"input": [sent, {"prompt": "y", "photo": url}, {"prompt": "z", "photo": url}]}
    batch = await client.post(f"/v1/comfyui-workflows/{workflow.path}/batches", json=body)
    assert batch.status_code == 201, batch.text
    photos = [urlsplit(item["photo"]).path for item in batch.json()["input"]]
    assert photos[0] == urlsplit(sent["photo"]).path and photos[1] == photos[2] != photos[0]


async def test_a_url_that_another_organization_gave_away_becomes_a_copy(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    theirs = await upload(other_client, picture())
    run = await dispatch(input={"prompt": "x", "photo": theirs["url"]})
    assert run["input"]["photo"] != f"runflow://assets/{theirs['id']}"
    assert await photo_of(client, run) == picture()


async def test_what_this_server_did_not_sign_is_any_url(
    client: httpx.AsyncClient, services: Services, workflow: Deployed, dispatch: Dispatch
) -> None:
    asset = await upload(client, picture())
    path = f"/v1/comfyui-workflows/{workflow.path}/runs"
    for photo in (asset["url"] + "x", asset["url"].partition("?")[0], "http://[", "http://box.example/v1/storage/a"):
        answer = await client.post(path, json={"input": {"prompt": "x", "photo": photo}})
        assert answer.status_code == 422 and len(answer.json()["errors"]) == 1, photo
    text = await dispatch(input={"prompt": asset["url"]})
    assert text["input"]["prompt"] == asset["url"]


async def test_an_expired_or_emptied_url_says_what_to_send(
    client: httpx.AsyncClient, services: Services, workflow: Deployed
) -> None:
    def signed(key: str, seconds: int) -> str:
        base = "http://box.example"
        return services.storage.download_url(base, key, filename="a.png", content_type="image/png", seconds=seconds)

    for url, words in ((signed("runs/a/b/0-a.png", -1), "expired"), (signed("runs/a/b/0-a.png", 60), "not stored")):
        body = {"input": {"prompt": "x", "photo": url}}
        answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=body)
        assert answer.status_code == 422
        (problem,) = answer.json()["errors"]
        assert problem["loc"] == ["body", "input", "photo"] and problem["type"] == "invalid_reference"
        assert words in problem["msg"] and "runflow://assets/" in problem["msg"]
    assert (await client.get("/v1/assets")).json()["items"] == []


async def test_a_request_holds_a_bounded_number_of_them(
    client: httpx.AsyncClient, services: Services, workflow: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_inputs, "MAX_URLS", 2)
    asset = await upload(client, picture())
    urls = [asset["url"], by_another_name(asset["url"]), asset["url"].replace("http://", "HTTP://")]
    path = f"/v1/comfyui-workflows/{workflow.path}/batches"

    async def batch(*photos: str) -> httpx.Response:
        return await client.post(path, json={"input": [{"prompt": "x", "photo": photo} for photo in photos]})

    assert (await batch(*urls[:2], urls[0])).status_code == 201
    answer = await batch(*urls)
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["loc"] == ["body", "input", 2, "photo"] and problem["type"] == "too_many_files"
    assert "several requests" in problem["msg"]
