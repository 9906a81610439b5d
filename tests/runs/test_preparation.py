"""What may stand in `input` and `metadata`: inline files anywhere, bounded in size, number and depth."""

import base64
from typing import Any

import httpx
import pytest

from runflow.runs.file_inputs import inline_files, with_references
from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.uploading import picture

PICTURE = "data:image/png;base64," + base64.b64encode(picture()).decode()


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


async def refused(client: httpx.AsyncClient, workflow: Deployed, **body: Any) -> list[dict[str, Any]]:
    sent = {"input": {"prompt": "x"}, **body}
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR"), answer.text
    return list(answer.json()["errors"])


def test_files_are_found_wherever_they_stand_and_prose_is_not() -> None:
    value = {"a": [PICTURE, "data: see below"], "b": {"c": PICTURE}, "d": "data:,", "e": 3}
    found = list(inline_files(value, ("body",)))
    assert [file.place for file in found] == [("body", "a", 0), ("body", "b", "c")]
    assert [file.name for file in found] == ["a", "c"]
    assert with_references(value, {PICTURE: "ref"}) == {**value, "a": ["ref", "data: see below"], "b": {"c": "ref"}}


async def test_equal_files_become_one_asset_and_a_text_stays_the_text_that_it_is(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch(input={"prompt": PICTURE, "photo": PICTURE}, metadata={"deep": [{"er": PICTURE}]})
    assert len((await client.get("/v1/assets")).json()["items"]) == 1
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    for url in (read["input"]["photo"], read["metadata"]["deep"][0]["er"]):
        assert (await client.get(url)).content == picture()
    assert read["input"]["prompt"] == PICTURE
    lease = await worker.lease(wait=20)
    assert lease is not None and lease["input"]["prompt"] == PICTURE


async def test_one_bad_file_leaves_nothing_behind(client: httpx.AsyncClient, workflow: Deployed) -> None:
    bad = "data:image/png;base64," + base64.b64encode(b"no picture").decode()
    problems = await refused(client, workflow, input={"prompt": "x", "photo": PICTURE}, metadata={"a": [bad]})
    assert [problem["loc"] for problem in problems] == [["body", "metadata", "a", 0]]
    problems = await refused(client, workflow, metadata={"many": [PICTURE] * 101})
    assert "101" in problems[0]["msg"]
    assert (await client.get("/v1/assets")).json()["items"] == []
    assert (await client.get("/v1/runs")).json()["items"] == []


async def test_metadata_has_a_size_and_a_depth(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch
) -> None:
    assert (await dispatch(metadata=nested(32)))["metadata"] == nested(32)
    assert (await dispatch(metadata={"a": "x" * 65_000}))["metadata"]["a"]
    for metadata in (nested(33), nested(900), {"a": "x" * 65_536}, {"a\0": 1}, {"a": ["\0"]}):
        assert (await refused(client, workflow, metadata=metadata))[0]["loc"][:2] == ["body", "metadata"]
    assert (await refused(client, workflow, input={"prompt": nested(900)}))[0]["loc"][:2] == ["body", "input"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "https://",
        "https://user:secret@example.com/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "http://[::1/",
        "https://example.com/" + "x" * 2048,
        "https://example.com/\n",
        "//example.com",
        "",
    ],
)
async def test_a_callback_that_could_never_be_called_is_refused(
    client: httpx.AsyncClient, workflow: Deployed, url: str
) -> None:
    assert (await refused(client, workflow, callback_url=url))[0]["loc"] == ["body", "callback_url"]


async def test_the_values_of_a_run_have_a_size_together(client: httpx.AsyncClient) -> None:
    texts = {
        name: {"class_type": "RunflowInputString", "inputs": {"input_id": name, "required": False}} for name in "abc"
    }
    made = (await client.post("/v1/comfyui-workflows", json={"name": "Texts", "workflow_json": texts})).json()
    address, text = f"/v1/comfyui-workflows/{made['path']}", "x" * 1_000_000
    assert (await client.post(f"{address}/runs", json={"input": {"a": text, "b": text}})).status_code == 201
    items = [{"input": {"a": "x"}}, {"input": dict.fromkeys("abc", text)}]
    for route, body, loc in (
        ("runs", {"input": dict.fromkeys("abc", text)}, ["body", "input"]),
        ("batches", {"items": items}, ["body", "items", 1, "input"]),
    ):
        answer = await client.post(f"{address}/{route}", json=body)
        assert answer.status_code == 422, answer.text
        assert [(fault["loc"], fault["type"]) for fault in answer.json()["errors"]] == [(loc, "too_long")]
