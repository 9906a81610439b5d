"""The playground's routes inside real ComfyUIs, without a browser."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from plugin.playground.pages import POLICY
from tests.support.editor import Editor

pytestmark = pytest.mark.e2e

PROMPT: dict[str, Any] = {
    "1": {"class_type": "RunflowInputInt", "inputs": {"input_id": "width"}},
    "2": {"class_type": "EmptyImage", "inputs": {"width": ["1", 0], "height": 16, "batch_size": 2, "color": 255}},
    "3": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "blue", "value": ["2", 0]}},
}
DEADLINE_S = 60


@pytest.fixture
def client(editor: Editor) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=editor.url, timeout=30) as client:
        body = {
            "endpoint_name": "In ComfyUI",
            "prompt": PROMPT,
            "graph": {"nodes": [], "links": []},
            "fingerprint": "1",
        }
        answer = client.post("/runflow/playground/captures", json=body)
        assert answer.json()["slug"] == "in-comfyui", answer.text
        yield client


CAPTURE = "/runflow/playground/captures/in-comfyui"


def ended(client: httpx.Client, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        runs = {run["id"]: run for run in client.get(f"{CAPTURE}/runs").json()["items"]}
        if runs[run_id]["is_terminal"]:
            return dict(runs[run_id])
        time.sleep(0.02)
    raise AssertionError(f"run {run_id} did not end within {DEADLINE_S} s")


def test_a_run_and_the_same_run_again(client: httpx.Client) -> None:
    for _ in range(2):  # the second is answered from ComfyUI's cache as far as possible, and has files of its own
        started = client.post(f"{CAPTURE}/runs", json={"input": {"width": 24}}).json()
        assert started["status_code"] == "queued"
        run = ended(client, started["id"])
        assert run["status_code"] == "succeeded", run["error"]
        assert (run["nodes_completed"], run["nodes_total"], run["progress"]) == (3, 3, None)
        assert run["output"]["kind"] == "comfyui_outputs"
        first, second = run["output"]["outputs"]
        assert (first["output_id"], first["content_type"]) == ("blue", "image/png")
        for row in (first, second):
            file = client.get(f"/{row['url']}")
            assert len(file.content) == row["size_bytes"]
        assert f"{started['id'][:8]}" in first["url"]


def test_values_that_do_not_fit_start_nothing(client: httpx.Client) -> None:
    before = len(client.get(f"{CAPTURE}/runs").json()["items"])
    answer = client.post(f"{CAPTURE}/runs", json={"input": {"width": "wide"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["loc"] == ["body", "input", "width"]
    assert len(client.get(f"{CAPTURE}/runs").json()["items"]) == before
    assert client.post(f"{CAPTURE}/runs", content=b"[").status_code == 415
    assert client.post(f"{CAPTURE}/runs", json=[]).status_code == 400
    assert client.post("/runflow/playground/runs/none/cancellation", json={}).status_code == 404


def test_a_node_that_is_not_installed(client: httpx.Client) -> None:
    prompt = {**PROMPT, "2": {**PROMPT["2"], "class_type": "NobodyHasThis"}}
    body = {"endpoint_name": "In ComfyUI", "prompt": prompt, "graph": {}, "fingerprint": "2"}
    assert client.post("/runflow/playground/captures", json=body).status_code == 200
    run = ended(client, client.post(f"{CAPTURE}/runs", json={"input": {"width": 8}}).json()["id"])
    assert (run["status_code"], run["failure_code"]) == ("failed", "NODE_TYPE_MISSING")
    assert run["error"]["node_id"] == "2"
    assert "NobodyHasThis" in run["failure_message"]


def test_events_begin_with_everything(client: httpx.Client) -> None:
    run_id = client.post(f"{CAPTURE}/runs", json={"input": {"width": 8}}).json()["id"]
    ended(client, run_id)
    seen: list[tuple[str, Any]] = []
    with client.stream("GET", f"{CAPTURE}/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        kind = ""
        for line in answer.iter_lines():
            name, _, text = line.partition(": ")
            kind = text if name == "event" else kind
            if name == "data":
                seen.append((kind, json.loads(text)))
            if kind == "ready" and name == "data":
                break
    assert seen[0][0] == "capture"
    assert [row["name"] for row in seen[0][1]["inputs"]] == ["width"]
    assert seen[-2][1]["id"] == run_id


def test_the_editor_says_what_it_shows(client: httpx.Client) -> None:
    def shown(name: str, fingerprint: str) -> bool:
        body = {"endpoint_name": name, "fingerprint": fingerprint}
        return bool(client.post("/runflow/playground/shown", json=body).json()["captured"])

    assert not shown("never captured", "1")
    assert not shown("…", "1")
    assert shown("In ComfyUI", "other")
    assert client.get(CAPTURE).json()["stale"] is True
    assert shown("In ComfyUI", "1")
    assert client.get(CAPTURE).json()["stale"] is False


def test_the_page_is_strict_about_what_it_loads(client: httpx.Client) -> None:
    page = client.get("/runflow/playground/in-comfyui")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers.get_list("content-security-policy") == [POLICY]
    for name in ("page.js", "components/form.js", "vendor/model-viewer.min.js"):
        file = client.get(f"/runflow/playground/static/{name}")
        assert (file.status_code, file.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        assert file.headers["x-content-type-options"] == "nosniff"
    assert client.get("/runflow/playground/static/%2e%2e/pages.py").status_code == 404
    assert client.get("/api/runflow/playground/in-comfyui").status_code == 200


def test_other_sites_cannot_start_anything(client: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    for path in ("/runflow/playground/captures", f"{CAPTURE}/runs", "/runflow/upload-input-file"):
        assert client.post(path, json={}, headers=headers).status_code == 403


def test_a_file_larger_than_comfyuis_own_limit(client: httpx.Client, editor: Editor) -> None:
    content = bytes(110 * 1024 * 1024)
    answer = client.post("/runflow/upload-input-file", files={"file": ("large.safetensors", content)})
    assert answer.json() == {"name": "large.safetensors", "subfolder": "", "type": "input"}
    stored = editor.base / "input/large.safetensors"
    assert stored.stat().st_size == len(content)
    stored.unlink()
